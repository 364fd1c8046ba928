"""Plans of cuDNN that `fathom plan --engines FILE` has built without a GPU are read by `fathom train --engines FILE` on a machine
that has one: nothing is built there, unless they are of another GPU or cuDNN, or do not run. The stand-in for cuDNN answers on
both sides; no GPU has confirmed it."""
import json
import os
import pathlib
import re
import sys
import tempfile

from standin_run import HOME, environment, losses, told

from commands import expect, finish, run

HELPER = os.environ.get('FATHOM_TEST_ENGINES')
HERE = 'memory=140GiB,times=3'


def plan(folder, gpu, *words):
    done = run('plan', 'resnet-8', '--batch', 2, '--dtype', 'f16', '--gpus', gpu, '--engines', folder / f'{gpu}.json', *words,
               env={**environment(folder, ''), 'FATHOM_ENGINES': HELPER})
    expect(done.returncode == 0 and not done.stderr, f'{gpu}: {done.stderr[-300:]}')


def train(folder, name, options, *words, cache=None):
    """What it said, its losses, and how many plans were built in it."""
    log, report = folder / f'{name}.log', folder / f'{name}.report'
    env = {**environment(folder, options, report), **({'XDG_CACHE_HOME': str(cache)} if cache else {})}
    done = run('train', folder / 'plan.json', '--data', folder / 'data', '--no-evaluate', '--iterations', 2, '--log', log, *words,
               env=env)
    expect(done.returncode == 0 and not done.stderr, f'{name}: {done.stderr[-300:]}')
    expect(not told(report)[0], f'{name}: {told(report)[0][:1]}')
    engines = [line for line in map(json.loads, report.read_text().splitlines()) if line['kind'] == 'engine']
    return ' '.join(done.stdout.split()), losses(log), sum(engine['builds'] for engine in engines)


def check_file(folder):
    """Each convolution of the plan has a plan of the engine that is taken; the others have none."""
    book = json.loads((folder / 'h200.json').read_text())
    rows, carried = iter(book['engines']), 0
    for question in book['questions']:
        engines = [next(rows) for _ in range(question[10])]
        carried += sum(len(engine) == 5 for engine in engines)
        expect(sum(len(engine) == 5 for engine in engines) <= 2, f'{question} has more plans than it is run with')
    before = (folder / 'h200.json').read_bytes()
    plan(folder, 'h200')
    expect(carried > 10 and (folder / 'h200.json').read_bytes() == before, f'{carried} plans; others the second time')
    return carried


def check(folder):
    carried = check_file(folder)
    file, cache = folder / 'h200.json', folder / 'cache'
    said, wanted, built = train(folder, 'alone', HERE)
    expect(built > 10 and 'carried' not in said, f'without the file {built} plans are built: {said[:300]}')
    said, got, built = train(folder, 'carried', HERE, '--engines', file, cache=cache)
    expect(built == 0 and got == wanted and f'{carried} convolution plans that were carried here are used' in said,
           f'{built} plans are built beside those carried: {said[:400]}')
    said, got, built = train(folder, 'kept', HERE, cache=cache)
    expect(built == 0 and got == wanted, f'{built} plans are built though they were carried before')
    for name, options, words, sentence in (
            ('version', HERE + ',cudnn=91901', file, 'are of cuDNN 9.19.0, and here is 9.19.1: they are built here'),
            ('device', HERE, folder / 'h100.json', 'are of NVIDIA H100 80GB HBM3, not of NVIDIA H200: they are built here')):
        said, got, built = train(folder, name, options, '--engines', words)
        expect(sentence in said and built > 10 and got == wanted, f'{name}: {built} built: {said[:400]}')
    said, got, built = train(folder, 'failing', HERE + ',engines=run_fails', '--engines', file)
    expect('do not run: they are built here' in said and built > 10, f'plans that fail: {built} built: {said[:400]}')
    spoilt = folder / 'spoilt.json'
    spoilt.write_text(file.read_text().replace('stand-in 1', 'stand-in 0'))
    said, got, built = train(folder, 'spoilt', HERE, '--engines', spoilt)
    expect(re.search(r'\d+ of \d+ plans that were carried here do not run', said) and got == wanted and built > 10,
           f'texts of another kind: {said[:400]}')


if not HELPER:
    sys.exit(77)
with tempfile.TemporaryDirectory() as made:
    made = pathlib.Path(made)
    plan(made, 'h200', '-o', made / 'plan.json')
    plan(made, 'h100')
    run('data', 'synth', made / 'data', '--train', 40, '--test', 8)
    check(made)
sys.exit(finish('of the things that carried plans are to be were so'))
