#!/usr/bin/env python3
"""Two builds of fathom, the same answers? For changes that are to change nothing: plans as files and as JSON, losses, and
the op tables of traces, byte for byte but for clocks and for what was decided to change.

usage: tests/same_answers.py OLD_FATHOM NEW_FATHOM [KEY ...]

KEYs are JSON keys that were changed on purpose. Not part of the test suite: it needs an older build."""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

PLANS = [
    'resnet-20 --batch 128 --gpus cpu',
    'resnet-1001 --batch 128 --gpus 2x12GiB',
    'resnet-1001 --batch 128 --gpus 4GiB',
    'resnet-1001 --batch 128 --gpus 24GiB --recompute elementwise',
    'resnet-1001 --batch 128 --gpus titan-x --budget 1.2GB',
    'resnet-1001 --batch 128 --gpus titan-x --budget 1GiB --offload auto',
    'resnet-164 --batch 64 --gpus 2GiB --reconstruct',
    'resnet-110 --batch 128 --gpus 8xh100',
    'resnet-50 --batch 256 --gpus h100,a100-80gb --dtype f16',
    'resnet-152 --batch 64 --gpus 2xtitan-x --sync-bn',
    'resnet-200 --batch 32 --gpus a100-80gb --micro-batches 4',
    'resnet-18 --batch 32 --gpus cpu --strategy grad-input',
    'vgg-d --batch 64 --gpus 2x24GiB --dtype bf16',
    'plain-56 --batch 128 --gpus 12GiB',
    'resnet-56 --batch 128 --gpus 2xcpu --unit preact --shortcut gating',
    'resnet-50 --batch 8 --gpus 12GiB --max-batch',
]
RUNS = [
    'resnet-20 --batch 16 --iterations 4',
    'resnet-29 --batch 8 --iterations 3 --recompute elementwise --micro-batches 2',
    'resnet-20 --batch 16 --gpus 2xcpu --iterations 3 --sync-bn',
    'resnet-8 --batch 16 --iterations 4 --backend cpu-reference',
]
# Clocks, and what differs from host to host.
CLOCKS = {'plan_seconds', 'images_per_second', 'written_by'}
def strip(value):
    if isinstance(value, dict):
        return {key: strip(item) for key, item in value.items() if key not in CLOCKS}
    return [strip(item) for item in value] if isinstance(value, list) else value


def call(binary, words, folder):
    done = subprocess.run([binary, *words], capture_output=True, text=True, cwd=folder)
    return done.returncode, done.stdout


def answers(binary, folder):
    """command -> what it says."""
    found = {}
    for line in PLANS:
        code, out = call(binary, ['plan', *line.split(), '--json', '-o', 'plan.json'], folder)
        file = folder / 'plan.json'
        found['plan ' + line] = (code, strip(json.loads(out)) if out else None,
                                 strip(json.loads(file.read_text())) if file.exists() else None)
        file.unlink(missing_ok=True)
    for line in RUNS:
        for name in ('log', 'trace', 'chrome'):
            (folder / name).unlink(missing_ok=True)
        words = line.split()
        code, _ = call(binary, ['train', *words, '--data', 'shapes', '--log', 'log', '--trace', 'trace', '--time-every',
                                '1', '--evaluate-images', '64'], folder)
        losses = [strip(json.loads(row)) for row in (folder / 'log').read_text().splitlines()]
        call(binary, ['trace', 'export', 'trace', '--chrome', '-o', 'chrome'], folder)
        text = (folder / 'chrome').read_text()
        events = json.loads(text)
        events = events['traceEvents'] if isinstance(events, dict) else events
        ops = sorted({json.dumps([event.get('name'), event.get('cat'), strip(event.get('args', {}))], sort_keys=True)
                      for event in events if event.get('ph') == 'X'})
        ops = [re.sub(r'\bstep\b"?:? \d+', 'step', op) for op in ops]  # counted from 0 once, from 1 now
        found['train ' + line] = (code, losses, sorted(set(ops)))
    return found


def first_difference(a, b, path=''):
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(set(a) | set(b)):
            if a.get(key) != b.get(key):
                return first_difference(a.get(key), b.get(key), f'{path}.{key}')
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b)):
            if x != y:
                return first_difference(x, y, f'{path}[{i}]')
    return f'{path}: {str(a)[:120]} against {str(b)[:120]}'


def main():
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    old, new = (str(pathlib.Path(path).resolve()) for path in sys.argv[1:3])
    CLOCKS.update(sys.argv[3:])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([old, 'data', 'synth', 'shapes'], cwd=folder, check=True, capture_output=True)
        before, after = answers(old, folder), answers(new, folder)
    differ = 0
    for command in before:
        same = before[command] == after[command]
        differ += not same
        print(('same     ' if same else 'DIFFERS  ') + command)
        if not same:
            print('         ' + first_difference(before[command], after[command]))
    print(f'{len(before) - differ} of {len(before)} commands give the same')
    return 1 if differ else 0


sys.exit(main())
