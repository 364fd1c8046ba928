"""Losses are bitwise the same whatever the number of threads, more than there are processors too; and a plan in bf16 that was
made where the processor multiplies that holds where it does not."""
import json
import os
import pathlib
import sys
import tempfile

from commands import expect, finish, refused, run

COUNTS = (1, 2, 3, 5)
RUNS = (('resnet-14', 24, ()), ('resnet-11', 24, ()), ('resnet-8', 16, ('--fuse', 'none')), ('resnet-8', 16, ('--dtype', 'bf16')))


def losses(scratch, data, words, threads):
    log = scratch / 'log.jsonl'
    log.unlink(missing_ok=True)
    done = run('train', *words, '--gpus', 'cpu', '--data', data, '--iterations', 3, '--no-evaluate', '--log', log,
               env={**os.environ, 'FATHOM_CPU_THREADS': str(threads)})
    expect(done.returncode == 0, f'{words} with {threads} threads: {done.stderr}')
    return [json.loads(line)['loss'] for line in log.read_text().splitlines()] if done.returncode == 0 else []


def without_bf16(scratch, data):
    plan = scratch / 'bf16.json'
    expect(run('plan', 'resnet-20', '--batch', 32, '--dtype', 'bf16', '--gpus', 'cpu', '-o', plan).returncode == 0, 'no plan')
    done = run('train', plan, '--data', data, '--iterations', 1, '--no-evaluate', env={**os.environ, 'ONEDNN_MAX_CPU_ISA': 'AVX512_CORE'})
    expect(done.returncode == 0, f'without bf16: {done.stderr}')


def main():
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        expect(run('data', 'synth', scratch / 'cifar').returncode == 0, 'no data')
        for model, batch, more in RUNS:
            found = [losses(scratch, scratch / 'cifar', (model, '--batch', batch, *more), threads) for threads in COUNTS]
            expect(len(found[0]) == 3 and all(one == found[0] for one in found), f'{model} {more}: {dict(zip(COUNTS, found))}')
        without_bf16(scratch, scratch / 'cifar')
        for wrong in ('0', '257', 'many', '3 '):
            refused(['train', 'resnet-8', '--batch', 8, '--gpus', 'cpu', '--data', scratch / 'cifar', '--iterations', 1],
                    'FATHOM_CPU_THREADS', wrong.strip(), '1 to 256', env={**os.environ, 'FATHOM_CPU_THREADS': wrong})
    return finish('threads agree')


sys.exit(main())
