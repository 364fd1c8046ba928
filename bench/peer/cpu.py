#!/usr/bin/env python3
"""A training step on this machine's processors beside PyTorch's at its best, in turn.

  bench/peer/cpu.py --python PYTHON [--rounds 3] [--models resnet-20:128,resnet-164:64] [--seconds 20] [--busy] [--dtype bf16]

PYTHON has PyTorch and torchvision (peer_resnet.py runs in it). PyTorch gets its fastest known allocator settings (no mmap, no
trimming), channels-last tensors, and runs eagerly and compiled; fathom runs as it does by itself, and with nothing fused.
All of them train on one repeated batch, so that nobody waits for data. Medians of the rounds' median steps; memory is the
peak of the process. Run it on a machine that does nothing else: ratios within a run stand, figures of two runs do not
compare. On a machine that others use --busy counts processor time in place of the clock's: everybody on one processor, a step's
time is that of a long run less a short one.

--dtype bf16 has both in bfloat16: PyTorch by autocast, fathom's activations."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FATHOM = ROOT / 'build' / 'fathom'
PEER = pathlib.Path(__file__).with_name('peer_resnet.py')
MODELS = 'resnet-20:128,resnet-110:128,resnet-164:64,resnet-1001:8,resnet-18:16,resnet-50:8'
TUNED = {'MALLOC_MMAP_MAX_': '0', 'MALLOC_TRIM_THRESHOLD_': '100000000000'}
# About how long a step takes with two threads, to give each about as many seconds.
STEP_SECONDS = {'resnet-20': 0.15, 'resnet-110': 1, 'resnet-164': 0.8, 'resnet-1001': 1.1, 'resnet-18': 0.9, 'resnet-50': 1.2}


def run(words, **more):
    """Output, peak resident bytes and processor seconds of a process that must succeed."""
    child = subprocess.Popen([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    output, complaint = child.stdout.read(), child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f'{" ".join(map(str, words))}: {complaint.strip().splitlines()[-1:]}')
    return output, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime


def step_of(arguments, steps, go):
    """A step's seconds and the peak, of go(steps), which gives output's median step, peak and processor seconds."""
    if not arguments.busy:
        return go(steps)[:2]
    few, many = go(1), go(1 + steps)
    return (many[2] - few[2]) / steps, many[1]


def torch_step(arguments, model, batch, mode, steps):
    def go(count):
        output, peak, spent = run([arguments.python, PEER, '--device', 'cpu', '--dtype', {'f32': 'fp32'}.get(arguments.dtype, arguments.dtype),
                                   '--model', model, '--batch', batch, '--mode', mode, '--steps', count, '--warmup', 3],
                                  env={**os.environ, **TUNED})
        return json.loads(output)['step_ms'] / 1e3, peak, spent

    return step_of(arguments, steps, go)


def fathom_step(arguments, scratch, data, model, batch, steps, *more):
    log = scratch / 'log.jsonl'

    def go(count):
        _, peak, spent = run([FATHOM, 'train', model, '--batch', batch, '--gpus', 'cpu', '--data', data, '--iterations', count + 3,
                              '--repeat-batch', '--no-evaluate', '--schedule', 'constant', '--dtype', arguments.dtype, '--log', log,
                              *more])
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        return statistics.median(batch / line['images_per_second'] for line in lines[3:]), peak, spent

    return step_of(arguments, steps, go)


def make_photographs(python, folder):
    """A few JPEGs of noise in ten classes: what is in them does not matter here."""
    code = ('import sys, pathlib, random\nfrom PIL import Image\nrandom.seed(1)\n'
            'for c in range(10):\n  for part, n in (("train", 4), ("val", 1)):\n'
            '    d = pathlib.Path(sys.argv[1]) / part / f"class{c}"; d.mkdir(parents=True)\n'
            '    for i in range(n):\n'
            '      Image.effect_noise((256, 256), 60).convert("RGB").save(d / f"{i}.jpg", quality=80)\n')
    run([python, '-c', code, folder])
    return folder


def measure(arguments, scratch, model, batch, cifar, photographs):
    data = photographs if int(model.split('-')[1]) in (18, 34, 50, 101, 152, 200) else cifar
    steps = max(4, round(arguments.seconds / STEP_SECONDS.get(model, 1)))
    ways = {'PyTorch eager': lambda: torch_step(arguments, model, batch, 'eager', steps),
            'PyTorch compiled': lambda: torch_step(arguments, model, batch, 'compile', steps),
            'fathom': lambda: fathom_step(arguments, scratch, data, model, batch, steps),
            'fathom --fuse none': lambda: fathom_step(arguments, scratch, data, model, batch, steps, '--fuse', 'none')}
    if arguments.ways:
        ways = {name: way for name, way in ways.items() if name in arguments.ways.split(',')}
    found = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            found[name].append(way())
    seconds = {name: statistics.median(each[0] for each in rounds) for name, rounds in found.items()}
    best = min((name for name in ways if name.startswith('PyTorch')), key=seconds.get, default=next(iter(ways)))
    best_memory = statistics.median(each[1] for each in found[best])
    print(f'{model}, batch {batch}, {arguments.dtype}, {steps} steps, {arguments.rounds} rounds'
          + (', processor time on one processor' if arguments.busy else ''))
    for name, rounds in found.items():
        memory = statistics.median(each[1] for each in rounds)
        print(f'  {name:18} {seconds[name] * 1e3:8.1f} ms  {batch / seconds[name]:8.1f} images/s  {seconds[best] / seconds[name]:5.2f} x best'
              f'  {memory / 2**20:7.0f} MiB  {memory / best_memory:4.2f} x', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--python', required=True)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--models', default=MODELS)
    parser.add_argument('--seconds', type=float, default=20)
    parser.add_argument('--dtype', choices=('f32', 'bf16'), default='f32')
    parser.add_argument('--ways', help='some of: PyTorch eager,PyTorch compiled,fathom,fathom --fuse none; all if not given')
    parser.add_argument('--busy', action='store_true', help="processor time on one processor, not the clock's on all")
    arguments = parser.parse_args()
    if arguments.busy:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        run([FATHOM, 'data', 'synth', scratch / 'cifar'])
        photographs = make_photographs(arguments.python, scratch / 'photographs')
        for pair in arguments.models.split(','):
            model, batch = pair.split(':')
            measure(arguments, scratch, model, int(batch), scratch / 'cifar', photographs)


main()
