#!/usr/bin/env python3
"""Two ranks on this machine's processors: their sums beside MPI's own, and a step as it is simulated beside one that runs.

  bench/ranks.py [--models MODEL:BATCH[:OPTION]...,...] [--iterations 12] [--real-time]

For each model (with options of `fathom plan`, as in vgg-a:8:classes=10:image-size=32) a run by mpirun, whose ops are timed,
gives rank 0's trace; the plan is made again with the times of its ops (`--costs`) and with the speed at which
bench_ranks_all_reduce adds up 41 MB as the link's, so that only the sums are simulated and how all of it goes together; a run
of that plan says both in its last lines. Run it on a machine that does nothing else, or as root with --real-time, which lets
nothing else in between (chrt -f)."""
import argparse
import json
import pathlib
import re
import subprocess
import tempfile

BUILD = pathlib.Path(__file__).resolve().parent.parent / 'build'
FATHOM = BUILD / 'fathom'


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f'{" ".join(map(str, words))}: {done.stdout}{done.stderr}')
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', default='resnet-164:16,resnet-164:4,resnet-1001:2,vgg-a:8:dataset=cifar10,'
                        'vgg-a:8:classes=10:image-size=32')
    parser.add_argument('--iterations', type=int, default=12)
    parser.add_argument('--real-time', action='store_true')
    words = parser.parse_args()
    ranks = [*(['chrt', '-f', 10] if words.real_time else []), 'mpirun', '--allow-run-as-root', '--bind-to', 'core', '-n', 2]
    said = run(*ranks, BUILD / 'bench' / 'bench_ranks_all_reduce', 41.3, 30)
    print(said, end='')
    bandwidth = 41.3e6 / (float(re.search(r'in rank order ([\d.]+) ms', said)[1]) * 1e-3)  # a ring of two moves them once
    with tempfile.TemporaryDirectory(prefix='fathom-ranks-') as folder:
        scratch = pathlib.Path(folder)
        run(FATHOM, 'data', 'synth', scratch / 'data', '--train', 256, '--test', 50)
        machine = scratch / 'machine.json'
        run(FATHOM, 'devices', '--gpus', '2xcpu', '-o', machine)
        known = json.loads(machine.read_text())
        known['link']['bandwidth'] = known['devices'][0]['link_bandwidth'] = bandwidth
        machine.write_text(json.dumps(known))
        for item in words.models.split(','):
            model, batch, *more = item.split(':')
            plan = [FATHOM, 'plan', model, *(f'--{option}' for option in more), '--batch', batch, '--gpus', machine, '-o',
                    scratch / 'plan.json']
            train = [*ranks, FATHOM, 'train', scratch / 'plan.json', '--data', scratch / 'data', '--iterations',
                     words.iterations, '--no-evaluate', '--schedule', 'constant']
            run(*plan)
            run(*train, '--trace', scratch / 'run.trace', '--time-every', 1)
            run(*plan, '--costs', scratch / 'run.trace')
            print(f'{", ".join([model, f"batch {batch}", *more])}: {re.search(r"step +(.* ms .*predicted.*)", run(*train))[1]}')


if __name__ == '__main__':
    main()
