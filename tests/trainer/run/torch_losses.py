"""Losses of a small net's first steps, by every optimizer and by several options at a time, are those of PyTorch's float64 (2.15;
bench/peer/learning.py) from the same weights and images. One ReLU that opens by rounding is 1e-4 of them."""
import json
import pathlib
import subprocess
import sys
import tempfile

FATHOM = sys.argv[1]
MOST = 1e-3
RUNS = [
    ([], [2.426747, 2.319741, 2.358995, 2.407933, 2.487484]),
    (['--momentum', 0], [2.426747, 2.319741, 2.355163, 2.377777, 2.326339]),
    (['--optimizer', 'nesterov'], [2.426747, 2.324361, 2.393519, 2.410768, 2.480847]),
    (['--clip-norm', 0.5], [2.426747, 2.335019, 2.358216, 2.377437, 2.319995]),
    (['--no-decay-bn', '--weight-decay', 0.1], [2.426747, 2.319005, 2.357276, 2.40271, 2.487873]),
    (['--optimizer', 'rmsprop', '--learning-rate', 0.001], [2.426747, 2.365184, 2.499713, 2.586613, 2.599743]),
    (['--optimizer', 'adagrad', '--learning-rate', 0.01], [2.426747, 2.365185, 2.499863, 2.593439, 2.602253]),
    (['--optimizer', 'adadelta', '--learning-rate', 1], [2.426747, 2.311988, 2.404221, 2.440964, 2.33671]),
    (['--optimizer', 'adam', '--learning-rate', 0.001, '--weight-decay', 1e-4], [2.426747, 2.332231, 2.37478, 2.410837, 2.262081]),
    (['--optimizer', 'adamw', '--learning-rate', 0.001], [2.426747, 2.332297, 2.374693, 2.410664, 2.262159]),
    # Several at a time: each micro-batch or device has statistics of its own, one loss and one norm over all.
    (['--label-smoothing', 0.2, '--optimizer', 'nesterov', '--gpus', '2xcpu', '--sync-bn'], [2.419544, 2.323917, 2.361552, 2.377771, 2.430358]),
    (['--micro-batches', 4, '--clip-norm', 0.3, '--label-smoothing', 0.1, '--average-weights', 0.9], [2.410642, 2.313447, 2.369356, 2.380276, 2.308292]),
    (['--gpus', '2xcpu', '--no-decay-bn', '--weight-decay', 0.1, '--clip-norm', 1, '--optimizer', 'nesterov'], [2.433726, 2.306517, 2.371477, 2.370887, 2.465026]),
    (['--bn-group', 8, '--micro-batches', 2, '--optimizer', 'nesterov', '--label-smoothing', 0.2], [2.408073, 2.319558, 2.330914, 2.36033, 2.431508]),
    (['--optimizer', 'adamw', '--learning-rate', 0.001, '--weight-decay', 0.1, '--no-decay-bn', '--clip-norm', 0.3, '--micro-batches', 2], [2.433726, 2.320631, 2.387083, 2.375304, 2.273921]),
]


def run(*words):
    done = subprocess.run([FATHOM, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f'{words}: {done.stderr}'


def main():
    failures = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        run('data', 'synth', folder / 'data', '--train', 200, '--test', 20)
        for options, exact in RUNS:
            run('train', 'resnet-8', '--batch', 32, '--data', folder / 'data', '--iterations', len(exact), '--no-evaluate',
                '--schedule', 'constant', '--warm-up', 0, '--learning-rate', 0.1, '--log', folder / 'log',
                *([] if '--gpus' in options else ['--gpus', 'cpu']), *options)
            losses = [json.loads(line)['loss'] for line in (folder / 'log').read_text().splitlines()]
            if len(losses) != len(exact) or max(abs(a - b) for a, b in zip(losses, exact)) > MOST:
                failures.append(f'{options}: losses {losses}, and PyTorch has {exact}')
    print('\n'.join(failures) or f'{len(RUNS)} ways to move weights do as PyTorch does')
    return bool(failures)


raise SystemExit(main())
