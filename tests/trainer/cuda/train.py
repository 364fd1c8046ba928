"""Thirty steps of whole networks on the stand-in's GPU: the losses are those of processors that train the same network, no rule is
broken, the memory is the plan's, and neither the order that streams run in nor recordings change a bit. No GPU has confirmed
it."""
import json
import pathlib
import sys
import tempfile

from standin_run import environment, left, losses, told, train

from commands import expect, finish, run

STEPS = 30
BESIDE = (8 << 20) + 4096 # scratch of the backend's own kernels, and the step block
# The first loss comes before any update; all thirty follow from sums in another order.
NETS = [(model, dtype, *tolerances) for model in ('resnet-20', 'resnet-29') # basic blocks; pre-activation bottlenecks
        for dtype, *tolerances in (('f32', 1e-6, 3e-3), ('f16', 2e-3, 1e-2), ('bf16', 1e-2, 2e-2))]
NETS.append(('resnet-29', 'f16', 2e-3, 1e-2, '--freeze', 'stage1')) # whose first layers run as in evaluation


def learn(folder, plan, name, options, steps, *words):
    log, report = folder / f'{name}.log', folder / f'{name}.report'
    done = train(folder, plan, options, '--iterations', steps, '--schedule', 'constant', '--learning-rate', 0.00025, '--log', log,
                 *words, report=report)
    expect(done.returncode == 0 and not done.stderr, f'{name}: {done.stderr[-300:]}')
    return losses(log), report


def check(folder, model, dtype, first, every, *freeze):
    name = f'{model}-{dtype}{"-".join(freeze)}'
    plan = folder / f'{name}.json'
    done = run('plan', model, '--batch', 2, '--dtype', dtype, '--gpus', 'auto', '-o', plan, *freeze, env=environment(folder, ''))
    expect(done.returncode == 0, done.stderr)
    # Taken apart as little as the GPU's f32: what rounds otherwise drifts further in thirty steps.
    wanted, _ = learn(folder, model, f'{name}-cpu', '', STEPS, '--batch', 2, '--dtype', dtype, '--gpus', 'cpu', '--fuse', 'none', *freeze)
    got, report = learn(folder, plan, name, 'refuse=graph', STEPS)
    broken, counts = told(report)
    expect(not broken, f'{name}: {broken[:1]}')
    expect(not left(counts), f'{name} leaves {left(counts)}')
    expect(counts['counts']['executes'] > (5 if freeze else 15) * STEPS and counts['counts']['graph_launches'] > STEPS, counts)
    arena, peak = json.loads(plan.read_text())['variants'][0]['arena_bytes'], counts['memory']['device_peak_bytes']
    expect(arena <= peak <= arena + BESIDE, f'{name}: {peak} bytes were taken for an arena of {arena}')
    apart = [abs(got.get(step, 9) - wanted[step]) for step in wanted]
    if not apart:
        return
    print(name, f'losses apart: first {apart[0]:.2g}, most {max(apart):.2g}')
    expect(len(wanted) == STEPS and apart[0] <= first and max(apart) <= every, f'{name}: losses are {apart} apart')
    again, report = learn(folder, plan, f'{name}-again', 'seed=77', 4, '--no-graph')
    expect(again == {step: got[step] for step in again} and len(again) == 4, f'{name}: launched one by one, other bits')
    expect(not told(report)[0], f'{name}, launched one by one: {told(report)[0][:1]}')


def check_branches(folder):
    """BN-Inception: concatenations, pools inside the net. After the first update ReLUs that rounding shuts go their own way."""
    words = ['bn-inception', '--dataset', 'cifar10', '--batch', 4, '--gpus']
    plan = folder / 'branches.json'
    done = run('plan', *words, 'auto', '-o', plan, env=environment(folder, ''))
    expect(done.returncode == 0, done.stderr)
    wanted, _ = learn(folder, words[0], 'branches-cpu', '', 1, *words[1:], 'cpu')
    got, report = learn(folder, plan, 'branches', 'refuse=graph', 2)
    broken, counts = told(report)
    expect(not broken and not left(counts), f'branches: {broken[:1]} {left(counts)}')
    expect(len(got) == 2 and abs(got[1] - wanted[1]) < 1e-4, f'branches: losses {got}, on processors {wanted}')


with tempfile.TemporaryDirectory() as made:
    made = pathlib.Path(made)
    run('data', 'synth', made / 'data', '--train', 80, '--test', 64)
    for net in NETS:
        check(made, *net)
    check_branches(made)
sys.exit(finish('of the things that a run on a GPU is to be were so'))
