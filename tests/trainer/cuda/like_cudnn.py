"""The stand-in has an engine for a graph of ops exactly where cuDNN has one for an H200: the planner's helper asks both about
the same descriptors. Without cuDNN there is nothing to compare."""
import json
import os
import pathlib
import sys
import tempfile

from standin_run import HOME

from commands import expect, finish, run

HELPER = os.environ.get('FATHOM_TEST_ENGINES')
FUSED = 'bn,sums,normalize,normalize-weights,gradient-sums,add'


def answers(folder, model, dtype, fused, home):
    """{question, but for the number of its engines: whether there are any}"""
    book, env = folder / 'book.json', {**os.environ, 'FATHOM_ENGINES': HELPER, 'XDG_CACHE_HOME': tempfile.mkdtemp(dir=folder)}
    env.pop('CUDA_HOME', None)
    if home:
        env['CUDA_HOME'] = home
    done = run('plan', model, '--batch', 8, '--dtype', dtype, '--gpus', 'h200', '--fuse', fused, '--engines', book, env=env)
    expect(done.returncode == 0, f'{model} {dtype}: {done.stderr[-300:]}')
    if done.returncode:
        return {}
    return {json.dumps([*q[:10], *q[11:]]): q[10] > 0 for q in json.loads(book.read_text())['questions']}


def check(folder, model, dtype, fused):
    real, here = (answers(folder, model, dtype, fused, home) for home in (None, HOME))
    expect(len(real) > 10 and set(real) == set(here), f'{model} {dtype}: {len(real)} and {len(here)} questions')
    for question in set(real) & set(here):
        expect(real[question] == here[question], f'{question}: cuDNN has {"an" if real[question] else "no"} engine')
    return list(real.values())


if not HELPER:
    sys.exit(77)
with tempfile.TemporaryDirectory() as made:
    found = [known for model, fused in (('resnet-20', 'none'), ('resnet-29', FUSED))
             for dtype in ('f32', 'f16', 'bf16') for known in check(pathlib.Path(made), model, dtype, fused)]
expect(any(found) and not all(found), f'{sum(found)} of {len(found)} graphs have an engine')
sys.exit(finish('answers of the stand-in are those of cuDNN'))
