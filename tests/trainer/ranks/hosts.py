"""Two hosts, which are network namespaces joined by a cable: ranks on both give the bits of one process, over a slow line too; when
the cable is cut all ranks end in time, and one of them says whom it has not heard of. For root, with `ip` and mpirun."""
import os
import pathlib
import shutil
import signal
import subprocess
import time

from faults_kit import SPARE, TIMEOUT, Run, check_checkpoint, sentences
from ranks_kit import ENV, MPIRUN, Folder, expect, finish, make_plan, rates_apart, train

HOSTS = [f'fathom-{name}-{os.getpid()}' for name in 'ab']
ADDRESSES = ['10.213.77.1', '10.213.77.2']
AGENT = """#!/bin/sh
# As ssh: HOST COMMAND...
shift
exec ip netns exec {host} unshare -u sh -c "hostname node-b; $*"
"""


def ip(*words):
    return subprocess.run(['ip', *map(str, words)], capture_output=True, text=True).returncode == 0


def make_hosts():
    for host in HOSTS:
        if not ip('netns', 'add', host):
            return False
    if not ip('link', 'add', 'cable', 'netns', HOSTS[0], 'type', 'veth', 'peer', 'name', 'cable', 'netns', HOSTS[1]):
        return False
    return all(ip('-n', host, 'link', 'set', 'lo', 'up') and ip('-n', host, 'link', 'set', 'cable', 'up') and
               ip('-n', host, 'addr', 'add', f'{address}/24', 'dev', 'cable') for host, address in zip(HOSTS, ADDRESSES))


def drop_hosts():
    for host in HOSTS:
        subprocess.run(['ip', 'netns', 'del', host], capture_output=True)


def launcher(folder, ranks):
    agent = folder / 'agent'
    agent.write_text(AGENT.format(host=HOSTS[1]))
    agent.chmod(0o755)
    each = ranks // 2
    hosts = ','.join(f'{address}:{each}' for address in ADDRESSES)
    return ['ip', 'netns', 'exec', HOSTS[0], 'unshare', '-u', 'sh', '-c', 'hostname node-a; exec "$@"', 'sh', MPIRUN,
            '--allow-run-as-root', '--oversubscribe', '--mca', 'plm_rsh_agent', agent, '--mca', 'btl', 'self,vader,tcp', '-H', hosts,
            '-n', ranks]


def check_same(folder, plan, name):
    done = train(launcher(folder, 4), plan, '--data', folder / 'data', '--iterations', 4, '--evaluate-every', 3, '--log',
                 folder / f'{name}.log')
    expect(done.returncode == 0, f'{name}: exit code {done.returncode}: {done.stderr}')
    expect(rates_apart(folder / f'{name}.log') == rates_apart(folder / 'threads.log'), f'{name}: other losses than in one process')


def ranks_of(log):
    """Processes that train with this log, on whatever host."""
    found = []
    for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
        try:
            words = path.read_bytes().split(b'\0')
        except OSError:
            continue
        if words[0].endswith(b'fathom') and str(log).encode() in words:
            found.append(int(path.parent.name))
    return found


def check_cut(folder, plan):
    run = Run(folder, launcher(folder, 2), plan, '--iterations', 10**6, '--no-evaluate', '--schedule', 'constant', '--save-every', 2,
              '--timeout', TIMEOUT, name='cut')
    run.wait_for_steps(3)
    run.seen = ranks_of(run.log)
    expect(len(run.seen) == 2, f'{len(run.seen)} ranks are there')
    ip('-n', HOSTS[0], 'link', 'set', 'cable', 'down')
    begin = time.monotonic()
    while ranks_of(run.log) and time.monotonic() - begin < TIMEOUT + SPARE:
        time.sleep(0.1)
    expect(not ranks_of(run.log), 'a rank waits for a host that is cut off')
    ip('-n', HOSTS[0], 'link', 'set', 'cable', 'up') # mpirun waits for its own part of the other host
    code, said, _, _ = run.end(20)
    told = sentences(said)
    expect(code == 1 and told and 'rank 1 of 2 (host node-b) has not been heard of' in told[0], f'a cut cable: {code}, {said}')
    check_checkpoint(run, plan, 'a cut cable')


def check_all(folder):
    four = make_plan(folder, 'four.json', 'resnet-8', '--batch', 13, '--gpus', '4xcpu', '--sync-bn')
    two = make_plan(folder, 'two.json', 'resnet-8', '--batch', 8, '--gpus', '2xcpu')
    train([], four, '--data', folder / 'data', '--iterations', 4, '--evaluate-every', 3, '--log', folder / 'threads.log')
    check_same(folder, four, 'hosts')
    if shutil.which('tc'):
        slow = ['ip', 'netns', 'exec', HOSTS[0], 'tc', 'qdisc', 'add', 'dev', 'cable', 'root', 'netem', 'delay', '3ms']
        if subprocess.run(slow, capture_output=True).returncode == 0:
            check_same(folder, four, 'slow')
            slow[5] = 'del'
            subprocess.run(slow, capture_output=True)
    check_cut(folder, two)


if __name__ == '__main__':
    why = 'mpirun is not here, or fathom-mpi.so was not built' if not MPIRUN else ''
    if not why and (os.geteuid() != 0 or not shutil.which('ip') or not shutil.which('unshare')):
        why = 'it takes root and ip to make hosts'
    if why:
        print(f'skipped: {why}')
        raise SystemExit(77)
    signal.signal(signal.SIGTERM, lambda *_: exit(1))
    try:
        made = make_hosts()
        if made:
            with Folder() as place:
                check_all(place)
    finally:
        drop_hosts()
    if not made:
        print('skipped: network namespaces cannot be made here')
        raise SystemExit(77)
    raise SystemExit(finish('things about ranks on two hosts are as they should be'))
