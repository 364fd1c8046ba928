"""Times from a GPU's kernels: a trace of ResNet-20 predicts what steps of ResNet-56 and of another batch take, on the stand-in's
GPU with a clock that was made up (tests/standin/pace.c). No GPU has confirmed it."""
import pathlib
import re
import sys
import tempfile

from standin_run import environment, train

from commands import expect, finish, run

PACED = 'seed=3,memory=8GiB,pace=1'
BOUND = 10  # per cent
UNITS = {'us': 1e-6, 'ms': 1e-3, 's': 1}


def summary(done):
    """What a step took and what was predicted, in seconds, of a run's last lines."""
    found = re.search(r'step +([\d.]+) (\w+) \(median\), ([\d.]+) (\w+) predicted \(([-+][\d.]+) %\)', done.stdout)
    expect(done.returncode == 0 and found, done.stdout + done.stderr[-300:])
    return (float(found[1]) * UNITS[found[2]], float(found[3]) * UNITS[found[4]], float(found[5])) if found else (1, 0, 100)


def predict(folder, model, batch, *traces):
    plan = folder / f'{model}-{batch}.json'
    made = run('plan', model, '--batch', batch, '--gpus', 'auto', '--costs', ','.join(map(str, traces)), '-o', plan,
               env=environment(folder, PACED))
    expect(made.returncode == 0 and 'predicted from' in made.stdout, made.stderr[-300:])
    took, predicted, off = summary(train(folder, plan, PACED, '--iterations', 24))
    expect(abs(took / predicted - 1 - off / 100) < 0.02, f'{took} against {predicted} is not {off} %')
    expect(abs(off) < BOUND, f'{model} at {batch}: {took * 1e3:.2f} ms, {predicted * 1e3:.2f} ms predicted')


def measure(folder, model, batch):
    trace = folder / f'{model}-{batch}.trace'
    done = train(folder, model, PACED, '--batch', batch, '--gpus', 'auto', '--iterations', 32, '--trace', trace)
    expect(done.returncode == 0, done.stderr[-300:])
    return trace


with tempfile.TemporaryDirectory() as made:
    made = pathlib.Path(made)
    run('data', 'synth', made / 'data', '--train', 512, '--test', 20)
    large, small = measure(made, 'resnet-20', 128), measure(made, 'resnet-20', 64)
    predict(made, 'resnet-56', 128, large)
    predict(made, 'resnet-32', 96, large, small)
sys.exit(finish('predictions held'))
