"""Every way in which a GPU, its driver or cuDNN can fail under `fathom train`, by the stand-in: one sentence, exit code 1 (2
where the run cannot begin), and the last checkpoint is whole: a run that goes on from it ends with the losses of one that
was never disturbed."""
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from standin_run import environment, left, losses, told, train

from commands import FATHOM, FEW, expect, finish, run

STEPS = 6


def steps(folder, options, *words, report=None):
    return train(folder, folder / 'plan.json', options, '--iterations', STEPS, *words, report=report)


def check(folder, name, options, sound, begins=True):
    """The run fails in its middle, or before its beginning. What it says."""
    save, log, report = folder / f'{name}.save', folder / f'{name}.log', folder / f'{name}.report'
    done = steps(folder, options, '--save', save, '--save-every', 2, '--log', log, report=report)
    lines = done.stderr.strip().splitlines()
    words = f'{name}: {done.stderr[-400:]}'
    expect(done.returncode == (1 if begins else 2), f'exit code {done.returncode}: {words}')
    expect(len(lines) == 1 and lines[0].startswith('fathom train: '), words)
    broken, _ = told(report)
    expect(not broken, f'{name}: {broken[:1]}')
    if not save.exists() or not list(save.glob('*')):
        return done.stderr
    again = steps(folder, 'seed=3', '--resume', save, '--log', log)
    expect(again.returncode == 0, f'{name}, resumed: {again.stderr[-400:]}')
    if again.returncode == 0:
        got = losses(log)
        expect(all(got[step] == sound[step] for step in got) and STEPS in got, f'{name}, resumed: other losses')
    return done.stderr


# kind of call, code: of the first call, and of one in the middle of the run
CALLS = [('Malloc', 2), ('HostAlloc', 2), ('StreamCreateWithFlags', 2), ('EventCreateWithFlags', 2),
         ('LibraryLoadData', 209), ('LibraryGetKernel', 500), ('LaunchKernel', 719), ('MemcpyAsync', 1),
         ('MemsetAsync', 1), ('EventRecord', 700), ('StreamWaitEvent', 400), ('EventQuery', 214), ('StreamBeginCapture', 900),
         ('StreamEndCapture', 901), ('GraphInstantiate', 2), ('GraphUpload', 2), ('GraphLaunch', 719),
         ('Create', 1001), ('SetStream', 2000)]


def survive(folder, name, options, sound, *said):
    """The run takes another engine, or its own kernels: near the same losses."""
    log, report = folder / f'{name}.log', folder / f'{name}.report'
    done = steps(folder, options, '--log', log, report=report)
    expect(done.returncode == 0 and not done.stderr, f'{name}: {done.stderr[-400:]}')
    words = ' '.join(done.stdout.split())
    expect(all(part in words for part in said), f'{name}: {said} is not said: {words[:600]}')
    broken, _ = told(report)
    expect(not broken, f'{name}: {broken[:1]}')
    got = losses(log)
    expect(set(got) == set(sound) and all(abs(got[step] - sound[step]) < 2e-3 * abs(sound[step]) for step in got),
           f'{name}: {got}, not {sound}')


def check_asked(folder):
    """Asked to end while recorded steps are replayed, several in flight: all that is seen is in the checkpoint."""
    save, log, report = folder / 'asked.save', folder / 'asked.log', folder / 'asked.report'
    words = ['train', folder / 'plan.json', '--data', folder / 'data', '--no-evaluate', '--log', log]
    child = subprocess.Popen([FATHOM, *map(str, words), '--save', save, '--iterations', '100000'], stdin=subprocess.DEVNULL,
                             env=environment(folder, 'seed=5', report), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while child.poll() is None and len(losses(log)) < 8:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    said, errors = child.communicate(timeout=60)
    broken, counted = told(report)
    last = max(losses(log))
    expect(child.returncode == 0 and not errors and f'stopped by Ctrl-C after step {last} of 100000' in ' '.join(said.split()),
           f'asked to end: exit code {child.returncode}, {said[-300:]}{errors}')
    expect(not broken and not left(counted) and counted['counts']['graph_launches'] > 8, f'asked to end: {broken[:1]}, {counted}')
    again = run(*words, '--resume', save, '--iterations', last + 2, env=environment(folder, 'seed=6'))
    expect(again.returncode == 0 and max(losses(log)) == last + 2, f'asked to end, resumed: {again.stderr[-300:]}')


def main(folder):
    plan = run('plan', 'resnet-8', '--batch', 2, '--gpus', 'auto', '-o', folder / 'plan.json', env=environment(folder, ''))
    expect(plan.returncode == 0, plan.stderr)
    run('data', 'synth', folder / 'data', '--train', 40, '--test', 8)
    log, report = folder / 'sound.log', folder / 'sound.report'
    done = steps(folder, 'seed=2', '--log', log, '--save', folder / 'sound.save', '--save-every', 2, report=report)
    expect(done.returncode == 0, done.stderr)
    sound = losses(log)
    broken, counted = told(report)
    counts, ran = counted['calls'], counted['counts']
    expect(not broken and not left(counted) and ran['graph_launches'] >= STEPS - 1, f'{broken[:1]}, {counted}')
    for i, (call, code) in enumerate(CALLS):
        many = counts.get(call, 0)
        expect(many > 0, f'{call} is never called')
        # How often it has to be asked whether something has come depends on chance.
        # The first of cuDNN's handles is the device's; those after it are of threads that build plans, which it can do itself.
        if call == 'Create':
            survive(folder, 'builders', f'fail=Create:{many}:{code}', sound)
        places = {many // 3, many // 2} if call == 'EventQuery' else {1} if call == 'Create' else {many, 1 + many * 2 // 3}
        for n in sorted(places)[i % 2:][:1] or places if FEW else places:  # in its middle or at its end, in turn
            check(folder, f'{call}-{n}', f'seed={n},fail={call}:{n}:{code}', sound)
    kernels = ran['kernels'] + ran['executes']
    for n in (1, kernels // 2, kernels - 5):
        check(folder, f'illegal-{n}', f'illegal={n}', sound)
    for options in ('driver=0', 'driver=12040', 'gpus=0', 'capability=7.0'):
        check(folder, options, options, sound, begins=False)
    check(folder, 'memory', 'memory=16MiB', sound)
    for name, options, *parts in (('beside', 'fail=GraphInstantiate:1:2', 'out of memory', 'GiB free', '--budget', 'beside its arena'),
                                  ('pinned', 'fail=HostAlloc:1:2', 'this host', 'pinned')):
        said = check(folder, name, options, sound)
        expect(all(part in said for part in parts), f'{name}: {said}')
    # The last is of an execution's arguments; those before it are of engines and plans, of which there are others.
    n = counts['BackendFinalize']
    check(folder, f'BackendFinalize-{n}', f'fail=BackendFinalize:{n}:2000', sound)
    survive(folder, f'BackendFinalize-{n // 2}', f'fail=BackendFinalize:{n // 2}:2000', sound)
    # One that fails in the first step, in which nothing is recorded.
    n = counts['BackendExecute']
    survive(folder, 'first-step', f'fail=BackendExecute:{n // 4}:3000', sound, 'failed when it ran', 'runs in its place')
    # One that fails while a step is recorded, which is launched op by op then.
    survive(folder, 'recorded', f'fail=BackendExecute:{1 + n * 2 // 3}:5000', sound, 'failed while it was recorded', 'runs in its place')
    check_asked(folder)
    for engines in ('build_fails', 'run_fails', 'all_fail', 'none'):
        survive(folder, engines, f'engines={engines}', sound)


with tempfile.TemporaryDirectory() as made:
    main(pathlib.Path(made))
sys.exit(finish('of the GPU failures were told and survived'))
