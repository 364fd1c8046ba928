"""However many processes a run has, its losses, evaluations and weights are bitwise those of one process with as many virtual
devices; a run goes on with another number of them; each rank has a trace."""
import filecmp
import json
import os
import pathlib
import re
import subprocess

from ranks_kit import ENV, FATHOM, FEW, MPIRUN, Folder, checkpoint, expect, finish, make_plan, mpirun, rates_apart, run, train

STEPS = ['--iterations', 4, '--evaluate-every', 3]


def one_run(folder, name, launcher, plan, *more):
    done = train(launcher, plan, '--data', folder / 'data', '--log', folder / f'{name}.log', '--save', folder / name, *more)
    expect(done.returncode == 0, f'{name}: exit code {done.returncode}: {done.stderr}')
    return done


def check_same(folder, name, other, step=4):
    expect(rates_apart(folder / f'{name}.log') == rates_apart(folder / f'{other}.log'), f'{name}: other losses than {other}')
    for file in checkpoint(step):
        expect(filecmp.cmp(folder / name / file, folder / other / file, shallow=False), f'{name}: other {file} than {other}')


def check_bitwise(folder, what, ranks, *request, steps=STEPS):
    plan = make_plan(folder, f'{what}.json', 'resnet-8', *request)
    one_run(folder, what, [], plan, *steps)
    one_run(folder, f'{what}-processes', [], plan, *steps, '--processes')
    check_same(folder, f'{what}-processes', what)
    for count in ranks if MPIRUN else []:
        one_run(folder, f'{what}-{count}', mpirun(count), plan, *steps)
        check_same(folder, f'{what}-{count}', what)
    return plan


def check_resumed(folder, plan):
    """The second half with other processes than the first."""
    half = ['--schedule', 'constant', '--no-evaluate']
    one_run(folder, 'whole', [], plan, '--iterations', 4, *half)
    one_run(folder, 'parts', [], plan, '--iterations', 2, *half, '--processes')
    done = train([], plan, '--data', folder / 'data', '--iterations', 4, *half, '--resume', folder / 'parts',
                 '--log', folder / 'parts.log')
    expect(done.returncode == 0, done.stderr)
    check_same(folder, 'parts', 'whole')


def check_top(*traces):
    """Both ranks in one view, in their order, however their files are named."""
    done = run('top', *traces, '--batch', 'json')
    told = json.loads(done.stdout) if done.returncode == 0 else {}
    ranks = told.get('ranks', [])
    expect([rank['rank'] for rank in ranks] == [0, 1] and told['compared_steps'] == 2, f'top --batch json: {done.stdout} {done.stderr}')
    expect(all(rank['ended'] and rank['devices'] == 1 and rank['step_seconds'] > 0 for rank in ranks), f'top --batch json: {ranks}')
    expect(told and told['waited_for'] in (0, 1) and min(rank['waits_seconds'] for rank in ranks) == 0, f'top --batch json: {told}')
    page = run('top', *traces, '--once', '--size', '10x110').stdout
    expect('2 ranks  step 2 of 2' in page and 'is waited for' in page, page)
    done = run('top', traces[0], traces[0], '--once')
    expect(done.returncode == 2 and 'two ranks of one run' in done.stderr, f'one trace twice: {done.returncode}, {done.stderr}')


def check_memory(what, said, ranks):
    """The last lines tell of each rank, which holds no more than was planned for it."""
    apart = [float(number) for number in re.findall(r'rank \d+: \S+ \S+ planned, \S+ \S+ at the peak of the process \(([+-][\d.]+) %\)', said)]
    expect(len(apart) == ranks, f'{what}: {len(apart)} ranks tell of their memory: {said}')
    expect('ASAN_OPTIONS' in os.environ or all(-35 < number < 3 for number in apart), f'{what}: memory is apart from its plan by {apart} %')


def check_model(folder):
    """A model is planned once, and every rank has that plan; every rank has a trace."""
    words = ['resnet-8', '--batch', 8, '--gpus', '2xcpu', '--iterations', 2, '--no-evaluate', '--data', folder / 'data',
             '--trace', folder / 'run.trace', '--time-every', 1]
    launchers = [([], ['--processes'])] + ([(mpirun(2), [])] if MPIRUN else [])
    for launcher, more in launchers:
        done = train(launcher, *words, *more)
        expect(done.returncode == 0 and 'step 2/2' in done.stdout, f'{launcher}: {done.stdout} {done.stderr}')
        expect(done.stdout.count('images done') == 1, f'more than one rank speaks: {done.stdout}')
        expect('ranks 0 to 1, devices 0 to 1' in done.stdout, f'it is not said which rank runs what: {done.stdout}')
        check_memory(launcher, done.stdout, 2)
        check_top(folder / 'run.rank1.trace', folder / 'run.trace')
        for name in ('run.trace', 'run.rank1.trace'):
            checked = run('trace', 'check', folder / name)
            expect(checked.returncode == 0, f'{name}: {checked.stderr}')
            (folder / name).unlink()


def check_requeued(folder, script, env):
    """A job that failed goes back into the queue, up to three times; one whose command is wrong, that ended well, or
    whose time was up (USR1) before it had begun, does not."""
    (folder / 'scontrol').write_text('#!/bin/sh\necho asked: "$@"\n')
    (folder / 'scontrol').chmod(0o755)
    for code, restarts, wanted in ((0, 0, False), (1, 0, True), (137, 2, True), (1, 3, False), (2, 0, False), (138, 0, False), (143, 2, True)):
        (folder / 'srun').write_text(f'#!/bin/sh\nexit {code}\n')
        done = subprocess.run(['bash', '-c', script], cwd=folder, env={**env, 'SLURM_JOB_ID': '7', 'SLURM_RESTART_COUNT': str(restarts)},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)
        expect(done.returncode == code and ('asked: requeue 7' in done.stdout) == wanted, f'a job that ended with {code}: {done.stdout}, {done.stderr}')


def check_batch_script(folder):
    """The script for Slurm in docs/cluster.md, on a smaller model and with mpirun for srun: the second job goes on from the first's end."""
    text = (pathlib.Path(__file__).resolve().parents[3] / 'docs' / 'cluster.md').read_text()
    script = re.search(r'```\n(#!/bin/bash\n.*?)```', text, re.S)[1]
    script = script.replace('resnet-50 --gpus 16xh100 --per-node 8 --batch 4096 --dtype f16', 'resnet-8 --gpus 2xcpu --batch 8')
    script = script.replace('--save-every 500', '--save-every 2 --no-evaluate --schedule constant --iterations $STEPS')
    srun = folder / 'srun'
    srun.write_text('#!/bin/sh\nwhile case $1 in -*) ;; *) false ;; esac; do shift; done\nexec ' + ' '.join(mpirun(2)) + ' "$@"\n')
    srun.chmod(0o755)
    (folder / 'imagenet').symlink_to(folder / 'data')
    env = {**ENV, 'SCRATCH': str(folder), 'PATH': f'{folder}:{pathlib.Path(FATHOM).parent}:{ENV["PATH"]}'}
    for steps, more in ((3, 'step 3/3'), (6, 'going on after step 3')):
        done = subprocess.run(['bash', '-c', script], cwd=folder, env={**env, 'STEPS': str(steps)}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=100)
        expect(done.returncode == 0 and more in done.stdout, f'the batch script to step {steps}: {done.returncode}, {done.stdout}, {done.stderr}')
    check_requeued(folder, script, env)


with Folder() as place:
    two = check_bitwise(place, 'two', [2], '--batch', 8, '--gpus', '2xcpu')
    check_bitwise(place, 'uneven', [2, 3], '--batch', 13, '--gpus', '3xcpu', '--sync-bn')
    check_bitwise(place, 'rounded', [2], '--batch', 9, '--gpus', '3xcpu', '--reduce-dtype', 'bf16')
    updates = ['--optimizer', 'adamw', '--clip-norm', 0.5, '--average-weights', 0.9]
    check_bitwise(place, 'updates', [2], '--batch', 9, '--gpus', '3xcpu', *updates, steps=[*STEPS, *updates, '--no-decay-bn', '--bn-recompute', 9])
    if not FEW:
        check_bitwise(place, 'eight', [4, 8], '--batch', 19, '--gpus', '8xcpu')
    check_resumed(place, two)
    check_model(place)
    if MPIRUN:
        check_batch_script(place)
print('' if MPIRUN else 'skipped with mpirun: it is not here, fathom-mpi.so was not built, or leaks are looked for')
raise SystemExit(finish('things about runs of several processes are as they should be'))
