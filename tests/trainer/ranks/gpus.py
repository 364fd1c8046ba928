"""A process for each GPU, on the stand-in's: the same bits as threads of one process, by mpirun too; a GPU that the plan does not
mean, a process that is killed, that crashes, and one that is stopped are named once, in time; hosts of one name are told apart."""
import os
import signal
import subprocess
import sys

STANDIN = sys.argv.pop(2)
import ranks_kit  # noqa: E402
from faults_kit import TIMEOUT, Run, check_fault  # noqa: E402
from ranks_kit import FEW, MPIRUN, Folder, checkpoint, expect, finish, make_plan, mpirun, rates_apart, train  # noqa: E402


def host(options='gpus=2,memory=8GiB', **more):
    return {**ranks_kit.ENV, 'CUDA_HOME': STANDIN, 'FATHOM_STANDIN': options, 'FATHOM_ENGINES': '', **more}


def one_run(folder, name, launcher, plan, env, *more):
    done = train(launcher, plan, '--data', folder / 'data', '--iterations', 3, '--no-evaluate', '--log', folder / f'{name}.log',
                 '--save', folder / name, *more, env=env)
    expect(done.returncode == 0, f'{name}: exit code {done.returncode}: {done.stderr}')


def check_same(folder, name, other):
    expect(rates_apart(folder / f'{name}.log') == rates_apart(folder / f'{other}.log'), f'{name}: other losses than {other}')
    for file in checkpoint(3):
        expect((folder / name / file).read_bytes() == (folder / other / file).read_bytes(), f'{name}: other {file} than {other}')


def check_many(folder, count):
    """Each in a process, with gradients apart in 16 bits, as threads of one."""
    many = f'gpus={count},memory=8GiB'
    os.environ['FATHOM_STANDIN'] = many
    plan = make_plan(folder, f'{count}.json', 'resnet-8', '--batch', 2 * count, '--gpus', 'auto', '--reduce-dtype', 'bf16')
    one_run(folder, f'{count}-threads', [], plan, host(many), '--threads')
    one_run(folder, f'{count}-processes', [], plan, host(f'{many},nccl=processes'))
    check_same(folder, f'{count}-processes', f'{count}-threads')


def check_refused(folder, plan):
    """The second rank's host has another GPU."""
    launcher = [*mpirun(1), '-x', 'FATHOM_STANDIN=memory=8GiB,nccl=processes', ranks_kit.FATHOM, 'train', plan, '--data', folder / 'data',
                '--iterations', 2, '--no-evaluate', ':', '-n', 1, '-x', 'FATHOM_STANDIN=gpus=0']
    done = train(launcher, plan, '--data', folder / 'data', '--iterations', 2, '--no-evaluate', env=host())
    told = [line for line in done.stderr.splitlines() if line.startswith('fathom train: ')]
    expect(done.returncode == 2 and len(told) == 1 and 'rank 1 of 2' in told[0], f'another host: {done.returncode}, {done.stderr}')


def check_gone(folder, plan):
    """A GPU of two that is no more when its rank has ended, and one whose rank ends twice: the run goes on on the other."""
    count = folder / 'gpus'
    count.write_text('2\n')
    ranks_kit.ENV |= host(f'gpus=@{count},memory=8GiB,nccl=processes')
    words = [plan, '--iterations', 14, '--no-evaluate', '--schedule', 'constant', '--save-every', 4, '--timeout', TIMEOUT]
    run = Run(folder, [], *words, '--restarts', 1, name='gone')
    run.wait_for_steps(6)
    count.write_text('1\n')
    run.hit(1, signal.SIGKILL)
    code, said, _, left = run.end(60)
    expect(code == 0 and not left, f'a GPU that is gone: {code}, {said}')
    expect('the GPU of rank 1' in said and 'goes on with 1 device,' in said, f'a GPU that is gone: {said}')
    if FEW:  # ranks of processors are given up too
        return
    count.write_text('2\n')
    run = Run(folder, [], *words, '--restarts', 2, name='given-up')
    run.wait_for_steps(6)
    run.hit(0, signal.SIGKILL)
    run.wait_for_ranks(2)
    run.hit(0, signal.SIGKILL)
    code, said, _, left = run.end(60)
    expect(code == 0 and not left, f'a rank that is given up: {code}, {said}')
    expect('rank 0 of 2 has failed twice' in said and 'goes on with 1 device,' in said, f'a rank that is given up: {said}')


def check_namesakes(folder):
    """Hosts of one name are told apart by their kernel's start, and containers of one name by their namespace: each has two GPUs,
    where four ranks of one host would want four."""
    os.environ['FATHOM_STANDIN'] = 'gpus=4,memory=8GiB'
    four = make_plan(folder, 'four.json', 'resnet-8', '--batch', 8, '--gpus', 'auto')
    words = [ranks_kit.FATHOM, 'train', four, '--data', folder / 'data', '--iterations', 1, '--no-evaluate']
    (folder / 'boot').write_text('11111111-1111-1111-1111-111111111111\n')
    enter = f'mount --bind {folder}/boot /proc/sys/kernel/random/boot_id && exec "$@"'
    for other in (['unshare', '-m', 'sh', '-c', enter, 'sh'], ['unshare', '-u']):
        if subprocess.run([*other, 'true'], capture_output=True).returncode != 0:
            print('skipped: namespaces cannot be made here')
            return
        line = [*mpirun(2), *words, ':', '-n', 2, *other, *words]
        done = subprocess.run(list(map(str, line)), capture_output=True, text=True, timeout=60,
                              env=host('gpus=2,memory=8GiB,nccl=processes'))
        expect(done.returncode == 0, f'hosts of one name, {other[:2]}: {done.returncode}, {done.stderr}')
    done = subprocess.run(list(map(str, [*mpirun(4), *words])), capture_output=True, text=True, timeout=60,
                          env=host('gpus=2,memory=8GiB,nccl=processes'))
    expect(done.returncode == 2 and 'which has 2' in done.stderr, f'four ranks of one host: {done.returncode}, {done.stderr}')


def check_sockets(folder):
    """Where NCCL tells of a peer's end, or of a rank that gave up, it is the rank that has failed which is named."""
    os.environ.update(host('gpus=4,memory=8GiB,nccl=sockets'))
    ranks_kit.ENV |= host('gpus=4,memory=8GiB,nccl=sockets')
    four = make_plan(folder, 'sockets.json', 'resnet-8', '--batch', 8, '--gpus', 'auto')
    if not FEW:  # one of those without was
        check_fault(folder, four, [], [], 4, 3, signal.SIGKILL, 3, name='sockets-killed')
    check_fault(folder, four, [], [], 4, 1, signal.SIGSTOP, 3, name='sockets-stopped')
    if MPIRUN:
        check_fault(folder, four, mpirun(4), [], 4, 2, signal.SIGSTOP, 3, name='sockets-ranks')


with Folder() as place:
    os.environ.update(host())
    two = make_plan(place, 'two.json', 'resnet-8', '--batch', 8, '--gpus', 'auto', '--sync-bn', '--fuse', 'bn')
    one_run(place, 'threads', [], two, host(), '--threads')
    processes = host('gpus=2,memory=8GiB,nccl=processes')
    one_run(place, 'processes', [], two, processes)
    check_same(place, 'processes', 'threads')
    for count in (4,) if FEW else (4, 8):
        check_many(place, count)
    os.environ.update(host())
    if MPIRUN:
        one_run(place, 'ranks', mpirun(2), two, processes)
        check_same(place, 'ranks', 'threads')
        check_refused(place, two)
        check_namesakes(place)
        os.environ.update(host())
    ranks_kit.ENV |= processes
    check_fault(place, two, [], [], 2, 1, signal.SIGKILL, 3, name='killed')
    if not FEW:  # of those with sockets one is stopped
        check_fault(place, two, [], [], 2, 0, signal.SIGSTOP, 3, name='stopped')
    if 'ASAN_OPTIONS' not in os.environ:  # it would report the crash
        check_fault(place, two, [], [], 2, 1, signal.SIGSEGV, 3, name='crashed')
    check_gone(place, two)
    check_sockets(place)
print('' if MPIRUN else 'skipped with mpirun: it is not here, fathom-mpi.so was not built, or leaks are looked for')
raise SystemExit(finish('things about a process for each GPU are as they should be'))
