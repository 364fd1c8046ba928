"""A rank that is killed, stopped, short of memory, meets a NaN or has another plan: every rank ends in time, the first cause is
named once, the last checkpoint is whole, and the exit code is 1. With `--random N` (after the program and the module) so many
faults at random moments and places in place of the handful that the suite looks at."""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

from faults_kit import ENDLESS, TIMEOUT, Run, check_checkpoint, check_fault, is_running, sentences
from ranks_kit import ENV, FATHOM, FEW, MPIRUN, Folder, checkpoint, expect, finish, make_plan, mpirun, train
from ranks_kit import failures
from ranks_kit import run as fathom

def check_restart(folder, plan):
    """A rank is killed, and the run goes on from its checkpoint to the same weights."""
    words = ['--no-evaluate', '--schedule', 'constant', '--save-every', 2, '--iterations', 30]
    run = Run(folder, [], plan, *words, '--processes', '--restarts', 1, name='again')
    run.wait_for_steps(5)
    run.hit(1, signal.SIGKILL)
    code, said, _, _ = run.end(60)
    expect(code == 0 and 'begins again from its last checkpoint' in said and 'SIGKILL' in said, f'a restart: {code}, {said}')
    train([], plan, '--data', folder / 'data', '--save', folder / 'unbroken', *words)
    for file in checkpoint(30):
        expect((folder / 'again' / file).read_bytes() == (folder / 'unbroken' / file).read_bytes(), f'a restart: other {file}')


def check_branch(folder, plan, save_every, steps, said_from):
    """The folder holds later steps of another run: a run that goes on from an earlier one is never begun again from those."""
    name, words = f'branch-{save_every}', ['--no-evaluate', '--schedule', 'constant', '--save-every', save_every, '--iterations', 30]
    shutil.copytree(folder / 'unbroken', folder / name)
    first = folder / 'unbroken' / checkpoint(4)[0]
    run = Run(folder, [], plan, *words, '--processes', '--restarts', 1, '--resume', first, name=name)
    run.wait_for_steps(steps)
    run.hit(1, signal.SIGKILL)
    code, said, _, _ = run.end(60)
    again = [line for line in said.splitlines() if 'begins again' in line]
    expect(code == 0 and len(again) == 1 and said_from in again[0] and checkpoint(30)[0] not in said, f'{name}: {code}, {said}')
    made = [json.loads(line)['step'] for line in run.log.read_text().splitlines()]
    expect(made == list(range(5, 31)), f'{name}: steps {made}')


def check_fewer(folder, plan):
    """A rank is killed, and again before a step is saved: the run goes on without it, under another plan, and sees the same images in
    the same order."""
    words = ['--no-evaluate', '--schedule', 'constant', '--save-every', 20, '--iterations', 44]
    run = Run(folder, [], plan, *words, '--processes', '--restarts', 2, '--trace', folder / 'fewer.trace', name='fewer')
    run.wait_for_steps(22)
    run.hit(1, signal.SIGKILL)
    run.wait_for_ranks(3)
    run.hit(1, signal.SIGKILL)
    code, said, _, left = run.end(60)
    expect(code == 0 and not left, f'fewer ranks: {code}, {said}')
    expect('rank 1 of 3 has failed twice' in said and 'goes on with 2 devices' in said, f'fewer ranks: {said}')
    check_checkpoint(run, plan, 'fewer ranks')
    others = {'unbroken': [], 'other-images': ['--seed', 1]}
    losses = {name: losses_of(folder, plan, name, *words, *more) for name, more in others.items()}
    mine = [json.loads(line)['loss'] for line in run.log.read_text().splitlines()]
    apart = {name: max(abs(a - b) for a, b in zip(mine[20:30], theirs[20:30])) for name, theirs in losses.items()}
    expect(len(mine) == 44 and apart['unbroken'] < 2e-3 < 0.1 < apart['other-images'], f'fewer ranks: losses apart by {apart}')
    for name, ranks in (('fewer.trace', 2), ('fewer.trace.of-3-ranks', 3)):
        told = json.loads(fathom('trace', 'info', '--json', folder / name).stdout)
        expect(told['origin']['ranks'] == ranks, f'fewer ranks: {name}: {told["origin"]}')


def losses_of(folder, plan, name, *words):
    done = train([], plan, '--data', folder / 'data', '--log', folder / f'{name}.log', *words[:3], *words[5:])
    expect(done.returncode == 0, f'{name}: {done.stderr}')
    return [json.loads(line)['loss'] for line in (folder / f'{name}.log').read_text().splitlines()]


def check_stopped(folder, plan):
    """A request to end reaches all ranks, which end after the same step with a checkpoint."""
    run = Run(folder, [], plan, *ENDLESS, '--processes', name='asked')
    run.wait_for_steps(3)
    run.seen = run.ranks()
    run.process.send_signal(signal.SIGTERM)
    code, said, _, left = run.end(10)
    expect(code == 0 and not left and not sentences(said), f'a request to end: exit code {code}, {said}')
    check_checkpoint(run, plan, 'a request to end')


def check_orphans(folder, plan):
    """Who has started the ranks is killed: none of them goes on without it."""
    run = Run(folder, [], plan, *ENDLESS, '--processes', name='orphans')
    run.wait_for_steps(3)
    run.seen = run.ranks()
    run.process.kill()
    run.process.wait()
    end = time.monotonic() + 10
    while any(map(is_running, run.seen)) and time.monotonic() < end:
        time.sleep(0.01)
    _, _, _, left = run.end(1)
    expect(len(run.seen) == 2 and not left, f'ranks whose launcher was killed: {left} of {run.seen} go on')
    check_checkpoint(run, plan, 'ranks whose launcher was killed')


def check_told_once(folder, launcher, more, words, *parts, code=1):
    done = train(launcher, *words, '--data', folder / 'data', '--no-evaluate', '--timeout', TIMEOUT, *more)
    told = sentences(done.stderr)
    expect(done.returncode == code and len(told) == 1 and all(part in told[0] for part in parts),
           f'{words}: exit code {done.returncode}, wanted {code} and {parts}: {done.stderr}')


def check_diverged(folder, plan):
    check_told_once(folder, [], ['--processes'], [plan, '--learning-rate', 1000, '--iterations', 50, '--schedule', 'constant'],
                    'the loss is', 'of rank', 'diverged', 'not finite') # by an op of a layer, or by the update before


def different(first, second):
    """mpirun with another program for the second rank."""
    words = ['--data', *first[1], '--iterations', '3', '--no-evaluate', '--timeout', str(TIMEOUT)]
    line = [*mpirun(1), FATHOM, 'train', first[0], *words, ':', '-n', '1', *second, *words]
    return subprocess.run(list(map(str, line)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=ENV)


def check_module(folder, plan):
    """Found at run: who has no module for MPI says so, and runs alone as ever."""
    words = [plan, '--data', folder / 'data', '--iterations', 2, '--no-evaluate']
    env = {**ENV, 'FATHOM_MPI': str(folder / 'nowhere.so')}
    done = train(mpirun(2), *words, env=env)
    expect(done.returncode == 2 and 'fathom-mpi.so, which joins them, is not there' in done.stderr, f'no module: {done.returncode}, {done.stderr}')
    done = train([], *words, env=env)
    expect(done.returncode == 0, f'alone, no module: {done.returncode}, {done.stderr}')


def check_no_pmix(folder, plan):
    """Ranks of srun without PMIx: Open MPI would say so in a page from each; one rank says it in a line. Others start one by one."""
    version = subprocess.run([MPIRUN, '--version'], stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
    wanted = 'srun --mpi=pmix is wanted' if 'Open MPI' in version else 'srun --mpi=pmix may be wanted'
    told = []
    for rank in range(2):
        env = {**ENV, 'SLURM_STEP_NUM_TASKS': '2', 'SLURM_PROCID': str(rank)}
        done = train([], plan, '--data', folder / 'data', '--iterations', 2, '--no-evaluate', env=env)
        told += done.stderr.splitlines()
        expect(done.returncode == 2, f'srun without PMIx: {done.returncode}, {done.stderr}')
    expect(len(told) == 1 and wanted in told[0], f'srun without PMIx: {told}')


def check_differences(folder, plan):
    other = make_plan(folder, 'other.json', 'resnet-8', '--batch', 16, '--gpus', '2xcpu')
    done = different((plan, [folder / 'data']), [FATHOM, 'train', other])
    told = sentences(done.stderr)
    expect(done.returncode == 2 and len(told) == 1 and 'the plan of rank 1' in told[0], f'another plan: {done.returncode}, {done.stderr}')
    large = make_plan(folder, 'large.json', 'resnet-20', '--batch', 2048, '--gpus', '2xcpu')
    done = different((large, [folder / 'data']), ['sh', '-c', 'ulimit -v 600000; exec "$0" "$@"', FATHOM, 'train', large])
    told = sentences(done.stderr)
    expect(done.returncode == 1 and len(told) == 1 and 'rank 1 of 2' in told[0] and 'memory' in told[0],
           f'too little memory: {done.returncode}, {done.stderr}')


def check_start(folder, plan):
    """A rank that is stopped before it has joined the others: these do not wait for it for ever."""
    words = ['--timeout', '1', '--data', folder / 'data', '--iterations', '3', '--no-evaluate']
    line = [*mpirun(1), FATHOM, 'train', plan, *words, ':', '-n', '1', 'sh', '-c', 'kill -STOP $$; exec "$0" "$@"', FATHOM, 'train', plan, *words]
    done = subprocess.run(list(map(str, line)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=ENV)
    told = sentences(done.stderr)
    expect(done.returncode == 1 and len(told) == 1 and 'not all ranks have started in time' in told[0],
           f'a rank that does not join: {done.returncode}, {done.stderr}')


def check_random(folder, plan, count):
    seed = int(os.environ.get('SEED', time.time()))
    print(f'seed {seed}')
    ended = 0
    draw = random.Random(seed)
    for i in range(count):
        ways = [([], ['--processes'])] + ([(mpirun(4), [])] if MPIRUN else [])
        launcher, more = draw.choice(ways)
        number = draw.choice([signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
        wrong = len(failures)
        check_fault(folder, plan, launcher, more, 4, draw.randrange(4), number, draw.randrange(5, 40), name=f'fault{i}')
        ended += len(failures) == wrong
    print(f'{ended} of {count} runs ended in time and told the right cause')


if __name__ == '__main__':
    with Folder() as place:
        four = make_plan(place, 'four.json', 'resnet-8', '--batch', 8, '--gpus', '4xcpu')
        if '--random' in sys.argv:
            check_random(place, four, int(sys.argv[sys.argv.index('--random') + 1]))
        else:
            two = make_plan(place, 'two.json', 'resnet-8', '--batch', 8, '--gpus', '2xcpu')
            check_fault(place, two, [], ['--processes'], 2, 1, signal.SIGKILL, 3, name='killed')
            check_fault(place, two, [], ['--processes'], 2, 0, signal.SIGSTOP, 3, name='stopped')
            check_restart(place, two)
            check_branch(place, two, 2, 4, f'from its last checkpoint, {place}/branch-2/step-')
            if not FEW:
                check_branch(place, two, 20, 2, f'from where it began, {place}/unbroken/{checkpoint(4)[0]};')
            check_fewer(place, make_plan(place, 'three.json', 'resnet-8', '--batch', 8, '--gpus', '3xcpu', '--sync-bn'))
            check_stopped(place, two)
            check_orphans(place, two)
            check_diverged(place, two)
            if MPIRUN:
                check_fault(place, two, mpirun(2), [], 2, 0, signal.SIGSTOP, 3, name='mpi-stopped')
                check_differences(place, two)
                check_start(place, two)
                check_module(place, two)
                check_no_pmix(place, two)
    print('' if MPIRUN else 'skipped with mpirun: it is not here, fathom-mpi.so was not built, or leaks are looked for')
    raise SystemExit(finish('things about faults of ranks are as they should be'))
