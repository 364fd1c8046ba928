#!/usr/bin/env python3
"""A training step beside processes that want the same processors, in turn with one that has them alone.

  bench/busy.py [--models resnet-20:128,resnet-164:64] [--busy 0,1,2] [--rounds 3] [--seconds 10] [-- FATHOM'S OPTIONS]

Each busy process is one thread that computes without end. The share is what a fair scheduler leaves the run's threads of the
processors that they could use, with as many threads as processors: P / (P + busy) of P processors. A step that takes
1 / share as long as alone loses nothing but that: `of the share` is 1.00 then. Medians of the rounds' median steps. Run it on a
machine that does nothing else."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

FATHOM = pathlib.Path(__file__).resolve().parent.parent / 'build' / 'fathom'
STEP_SECONDS = {'resnet-20': 0.12, 'resnet-110': 0.8, 'resnet-164': 0.6, 'resnet-1001': 0.8}
WARM_UP = 3


def step_seconds(scratch, model, batch, steps, busy, options):
    log = scratch / 'log.jsonl'
    words = [FATHOM, 'train', model, '--batch', batch, '--gpus', 'cpu', '--data', scratch / 'cifar', '--iterations',
             steps + WARM_UP, '--repeat-batch', '--no-evaluate', '--schedule', 'constant', '--log', log, *options]
    others = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(busy)]
    try:
        subprocess.run([str(w) for w in words], check=True, stdout=subprocess.DEVNULL)
    finally:
        for other in others:
            other.kill()
            other.wait()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return statistics.median(batch / line['images_per_second'] for line in lines[WARM_UP:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', default='resnet-20:128,resnet-164:64')
    parser.add_argument('--busy', default='0,1,2')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--seconds', type=float, default=10)
    parser.add_argument('options', nargs='*')
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.busy.split(',')]
    processors = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        subprocess.run([str(FATHOM), 'data', 'synth', str(scratch / 'cifar')], check=True, stdout=subprocess.DEVNULL)
        for model, batch in (pair.split(':') for pair in arguments.models.split(',')):
            steps = max(4, round(arguments.seconds / STEP_SECONDS.get(model, 1)))
            found = {count: [] for count in counts}
            for _ in range(arguments.rounds):
                for count in counts:
                    found[count].append(step_seconds(scratch, model, int(batch), steps, count, arguments.options))
            seconds = {count: statistics.median(each) for count, each in found.items()}
            print(f'{model}, batch {batch}, {processors} processors, {steps} steps, {arguments.rounds} rounds')
            for count in counts:
                share, speed = processors / (processors + count), seconds[counts[0]] / seconds[count]
                print(f'  {count} busy  {seconds[count] * 1e3:8.1f} ms  {speed:5.2f} x alone  share {share:4.2f}  '
                      f'{speed / share:5.2f} of the share', flush=True)


main()
