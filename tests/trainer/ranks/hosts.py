"""Hosts that are network namespaces joined by a switch: ranks on four give the bits of one process, over lines that are slow, lose
packets or are cut for a while too; when one stays cut off all ranks end in time, one of them says whom it has not heard of, and
docs/cluster.sh goes on with the hosts that are left. So do ranks with a GPU each, the stand-in's (its folder is named after the
program and the module), whose sums go over sockets. For root, with `ip` and mpirun. With `--random N` so many hosts are cut off at
random moments, and nothing else."""
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

STANDIN = sys.argv.pop(3) if len(sys.argv) > 3 and not sys.argv[3].startswith('-') else None  # where there is one
from faults_kit import BUSY, ENDLESS, SPARE, TIMEOUT, Run, check_checkpoint, sentences  # noqa: E402
from hosts_kit import Hosts, ranks_of, why_not  # noqa: E402
from ranks_kit import ENV, FATHOM, Folder, expect, failures, finish, make_plan, rates_apart, train  # noqa: E402
from ranks_kit import run as fathom  # noqa: E402

SOURCE = pathlib.Path(__file__).resolve().parents[3]
SCRIPT = SOURCE / 'docs' / 'cluster.sh'


def check_same(folder, plan, launcher, name):
    done = train(launcher, plan, '--data', folder / 'data', '--iterations', 4, '--evaluate-every', 3, '--log', folder / f'{name}.log')
    expect(done.returncode == 0, f'{name}: exit code {done.returncode}: {done.stderr}')
    expect(rates_apart(folder / f'{name}.log') == rates_apart(folder / 'threads.log'), f'{name}: other losses than in one process')


def check_lines(folder, hosts, plan):
    """Four hosts with a rank each, and two with two."""
    train([], plan, '--data', folder / 'data', '--iterations', 4, '--evaluate-every', 3, '--log', folder / 'threads.log')
    check_same(folder, plan, hosts.launcher(folder, 1), 'hosts')
    if hosts.shape(2, 'delay', '3ms', '1ms', 'loss', '1%', 'rate', '200mbit'):
        check_same(folder, plan, hosts.launcher(folder, 2, hosts=2), 'slow')
        hosts.shape(2)


def check_mended(folder, hosts, plan):
    """A line that is cut for less than the time-out has ranks wait, and changes nothing."""
    words = ['--no-evaluate', '--schedule', 'constant']
    run = Run(folder, hosts.launcher(folder, 1, hosts=2), plan, *words, '--iterations', 10**6, '--timeout', 20, name='mended')
    run.wait_for_steps(3)
    run.seen = ranks_of(run.log)
    hosts.cut(2)
    time.sleep(0.5)
    steps = run.log.read_text().count('\n')
    hosts.mend(2)
    run.wait_for_steps(steps + 5)
    os.kill(run.seen[0], signal.SIGUSR1)
    code, said, _, _ = run.end(60)
    expect(code == 0 and not sentences(said), f'a line that was mended after step {steps}: {code}, {said}')
    made = run.log.read_text().count('\n')
    done = train([], plan, '--data', folder / 'data', *words, '--iterations', made, '--log', folder / 'never-cut.log')
    expect(done.returncode == 0, f'a line that was never cut: {done.returncode}, {done.stderr}')
    expect(rates_apart(run.log) == rates_apart(folder / 'never-cut.log'), 'a line that was mended: other losses than in one process')


def check_cut(folder, hosts, plan, size, number, steps, name='cut', why='has not been heard of', pause=0, words=ENDLESS):
    """Host `number` of `size`, with a rank each, is cut off: what the run says of it first."""
    what = f'host {number} of {size} cut off after step {steps}'
    run = Run(folder, hosts.launcher(folder, 1, hosts=size), plan, *words, name=name)
    run.wait_for_steps(steps)
    run.seen = ranks_of(run.log)
    expect(len(run.seen) == size, f'{what}: {len(run.seen)} ranks are there')
    time.sleep(pause)
    hosts.cut(number)
    begin = time.monotonic()
    while ranks_of(run.log) and time.monotonic() - begin < TIMEOUT + SPARE:
        time.sleep(0.1)
    expect(not ranks_of(run.log), f'{what}: a rank waits for it')
    hosts.mend(number) # mpirun waits for its own part of the other host
    code, said, _, _ = run.end(20)
    told = sentences(said)
    wanted = f'rank {number - 1} of {size} (host node-{number}, device {number - 1})'
    expect(code == 1 and told and wanted in told[0] and why in told[0], f'{what}: {code}, {said}')
    check_checkpoint(run, plan, what)
    return told[0] if told else ''


def check_cut_evaluating(folder, hosts, plan):
    """A host is cut off while all test: an evaluation takes a second, a step next to nothing unless others take the time."""
    (folder / 'tested').mkdir()
    fathom('data', 'synth', folder / 'tested' / 'data', '--train', 64, '--test', 10000)
    words = [word for word in ENDLESS if word != '--no-evaluate']
    for attempt in range(3):
        told = check_cut(folder / 'tested', hosts, plan, 2, 2, 3, name=f'tested-{attempt}', pause=0.3, words=[*words, '--evaluate-every', 1])
        if 'the evaluation after step' in told:
            return
    expect(False, f'host 2 of 2 was never cut off while all test: {told}')


def other_cards(folder):
    """A host whose GPU of the stand-in is behind a switch with two of its cards of RDMA, and six cards are elsewhere."""
    text = (SOURCE / 'tests/machines/two-sockets-eight-h100.xml').read_text()
    (folder / 'host.xml').write_text(text.replace('pci_busid="0000:13:00.0"', 'pci_busid="0000:10:00.0"'))
    return ['env', f'HWLOC_XMLFILE={folder}/host.xml']


def check_gpus(folder, hosts):
    """Two hosts with a GPU each: the bits of one process, by the cards that are near; and a line that is cut."""
    ENV.update({'CUDA_HOME': STANDIN, 'FATHOM_STANDIN': 'gpus=2,memory=8GiB,nccl=sockets', 'FATHOM_ENGINES': ''})
    os.environ.update(ENV)
    plan = make_plan(folder, 'gpus.json', 'resnet-8', '--batch', 8, '--gpus', 'auto', '--sync-bn', '--fuse', 'bn')
    words = ['--data', folder / 'data', '--iterations', 3, '--no-evaluate']
    done = train([], plan, *words, '--threads', '--log', folder / 'gpus-threads.log')
    expect(done.returncode == 0, f'GPUs of one process: {done.stderr}')
    launcher = [*hosts.launcher(folder, 1, hosts=2), *other_cards(folder)]
    done = train(launcher, plan, *words, '--log', folder / 'gpus-hosts.log')
    expect(done.returncode == 0, f'GPUs of two hosts: {done.returncode}, {done.stderr}')
    expect(rates_apart(folder / 'gpus-hosts.log') == rates_apart(folder / 'gpus-threads.log'), 'GPUs of two hosts: other losses than in one process')
    expect('network cards near the GPUs: mlx5_0,mlx5_1' in done.stdout, f'GPUs of two hosts: {done.stdout}')
    done = train([*launcher, 'NCCL_IB_HCA=mlx5_7'], plan, *words)
    expect(done.returncode == 0 and 'network cards' not in done.stdout, f'cards that are named: {done.returncode}, {done.stdout}')
    check_cut(folder, hosts, plan, 2, 2, 3, name='gpus-cut', why='')


def check_random(folder, hosts, count):
    four = make_plan(folder, 'four.json', 'resnet-8', '--batch', 8, '--gpus', '4xcpu')
    seed = int(os.environ.get('SEED', time.time()))
    print(f'seed {seed}')
    draw, ended = random.Random(seed), 0
    for i in range(count):
        wrong = len(failures)
        check_cut(folder, hosts, four, 4, draw.randrange(2, 5), draw.randrange(3, 30), name=f'cut{i}')
        ended += len(failures) == wrong
    print(f'{ended} of {count} runs ended in time and told the right cause')


def check_script(folder, hosts):
    """docs/cluster.sh on three hosts, of which one is lost for good: who is missed is told, and the images and their order stay."""
    log, save = folder / 'script.log', folder / 'script'
    words = ['--data', str(folder / 'data'), '--iterations', '60', '--no-evaluate', '--schedule', 'constant']
    env = {**ENV, 'HOSTS': ' '.join(hosts.addresses[:3]), 'EACH': '1', 'DEVICE': 'cpu', 'MODEL': 'resnet-8 --batch 8 --sync-bn',
           'RUN': str(save), 'TRAIN': ' '.join([*words, '--save-every', '4', '--log', str(log)]), 'TIMEOUT': '10' if BUSY else '2', 'LOOK': '1', 'SPARE': '3',
           'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1', 'OMPI_MCA_btl': 'self,vader,tcp',
           'OMPI_MCA_rmaps_base_oversubscribe': '1', 'PATH': f'{hosts.agent(folder).parent}:{pathlib.Path(FATHOM).parent}:{ENV["PATH"]}'}
    said = open(folder / 'script.err', 'w+')
    script = subprocess.Popen([*hosts.enter(), str(SCRIPT)], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
    end = time.monotonic() + 60
    while time.monotonic() < end and not (log.exists() and log.read_text().count('\n') >= 9):
        time.sleep(0.01)
    hosts.cut(3)
    code = script.wait(timeout=120)
    hosts.mend(3)
    begin = time.monotonic()
    while ranks_of(log) and time.monotonic() - begin < TIMEOUT + SPARE: # the lost one hears of the end by itself
        time.sleep(0.1)
    said.seek(0)
    told = said.read()
    missed = [line for line in sentences(told) if 'rank 2 of 3 (host node-3, device 2) has not been heard of' in line]
    expect(code == 0 and 'does not answer' in told and '2 ranks on' in told, f'cluster.sh: {code}, {told}')
    expect(len(missed) == 1 and not ranks_of(log), f'cluster.sh: {len(sentences(told))} causes, {len(ranks_of(log))} ranks left: {told}')
    done = train([], save / 'plan-3.json', *words, '--log', folder / 'whole.log')
    expect(done.returncode == 0, f'cluster.sh, in one process: {done.stderr}')
    if code or done.returncode:
        return
    losses = [[json.loads(line)['loss'] for line in path.read_text().splitlines()] for path in (log, folder / 'whole.log')]
    apart = max(abs(a - b) for a, b in zip(losses[0][:16], losses[1])) # later rounding has grown
    expect([len(found) for found in losses] == [60, 60] and apart < 2e-3, f'cluster.sh: losses apart by {apart}')


def check_all(folder, hosts):
    four = make_plan(folder, 'four.json', 'resnet-8', '--batch', 13, '--gpus', '4xcpu', '--sync-bn')
    two = make_plan(folder, 'two.json', 'resnet-8', '--batch', 8, '--gpus', '2xcpu')
    check_lines(folder, hosts, four)
    check_mended(folder, hosts, two)
    check_cut_evaluating(folder, hosts, two)
    check_script(folder, hosts)
    if STANDIN:
        check_gpus(folder, hosts)


if __name__ == '__main__':
    why = why_not()
    hosts = Hosts(4)
    signal.signal(signal.SIGTERM, lambda *_: exit(1))
    try:
        if not why and not hosts.make():
            why = 'network namespaces cannot be made here'
        if not why:
            with Folder() as place:
                if '--random' in sys.argv:
                    check_random(place, hosts, int(sys.argv[sys.argv.index('--random') + 1]))
                else:
                    check_all(place, hosts)
    finally:
        hosts.drop()
    if why:
        print(f'skipped: {why}')
        raise SystemExit(77)
    raise SystemExit(finish('things about ranks on several hosts are as they should be'))
