"""Hosts that are network namespaces, joined by a switch: the first one is where mpirun is called. For root, with `ip`."""
import os
import pathlib
import shutil
import subprocess

from ranks_kit import MPIRUN

AGENT = """#!/bin/sh
# As ssh: [OPTIONS] HOST COMMAND...
while case $1 in -*) ;; *) false ;; esac; do
    [ "$1" = -o ] && shift
    shift
done
number=${{1##*.}}
shift
[ "$number" = 1 ] && exec sh -c "$*"
ip -n {first} link show port$number | grep -q LOWER_UP || exit 255
exec ip netns exec {prefix}$number unshare -u sh -c "hostname node-$number; $*"
"""


def why_not():
    """Why there can be no hosts here; empty where there can."""
    if not MPIRUN:
        return 'mpirun is not here, or fathom-mpi.so was not built'
    return '' if os.geteuid() == 0 and shutil.which('ip') and shutil.which('unshare') else 'it takes root and ip to make hosts'


def ip(*words):
    return subprocess.run(['ip', *map(str, words)], capture_output=True, text=True).returncode == 0


class Hosts:
    def __init__(self, count):
        self.prefix = f'fathom-{os.getpid()}-'
        self.names = [f'{self.prefix}{i + 1}' for i in range(count)]
        self.addresses = [f'10.213.77.{i + 1}' for i in range(count)]

    def make(self):
        if not all(ip('netns', 'add', name) and ip('-n', name, 'link', 'set', 'lo', 'up') for name in self.names):
            return False
        first = self.names[0]
        made = ip('-n', first, 'link', 'add', 'cable', 'type', 'bridge') and ip('-n', first, 'link', 'set', 'cable', 'up')
        for i, name in enumerate(self.names[1:], 2):
            made = made and ip('link', 'add', f'port{i}', 'netns', first, 'type', 'veth', 'peer', 'name', 'cable', 'netns', name)
            made = made and ip('-n', first, 'link', 'set', f'port{i}', 'master', 'cable', 'up') and ip('-n', name, 'link', 'set', 'cable', 'up')
        return made and all(ip('-n', name, 'addr', 'add', f'{address}/24', 'dev', 'cable')
                            for name, address in zip(self.names, self.addresses))

    def drop(self):
        for name in self.names:
            subprocess.run(['ip', 'netns', 'del', name], capture_output=True)

    def agent(self, folder):
        """A file that does for mpirun what ssh does."""
        path = folder / 'ssh'
        path.write_text(AGENT.format(first=self.names[0], prefix=self.prefix))
        path.chmod(0o755)
        return path

    def enter(self):
        return ['ip', 'netns', 'exec', self.names[0], 'unshare', '-u', 'sh', '-c', 'hostname node-1; exec "$@"', 'sh']

    def launcher(self, folder, each, hosts=None):
        count = hosts or len(self.names)
        listed = ','.join(f'{address}:{each}' for address in self.addresses[:count])
        return [*self.enter(), MPIRUN, '--allow-run-as-root', '--oversubscribe', '--mca', 'plm_rsh_agent', self.agent(folder), '--mca',
                'btl', 'self,vader,tcp', '-H', listed, '-n', each * count]

    def cut(self, number):
        return ip('-n', self.names[0], 'link', 'set', f'port{number}', 'down')

    def mend(self, number):
        return ip('-n', self.names[0], 'link', 'set', f'port{number}', 'up')

    def shape(self, number, *how):
        """The line to a host is slow, or loses packets (tc-netem(8)); without words it is as it was. False where it cannot be."""
        begin = ['ip', 'netns', 'exec', self.names[0], 'tc', 'qdisc']
        words = [*begin, 'add', 'dev', f'port{number}', 'root', 'netem', *how] if how else [*begin, 'del', 'dev', f'port{number}', 'root']
        return bool(shutil.which('tc')) and subprocess.run(words, capture_output=True).returncode == 0


def ranks_of(word):
    """Processes that train with this word in their command, on whatever host."""
    found = []
    for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
        try:
            words = path.read_bytes().split(b'\0')
        except OSError:
            continue
        if words[0].endswith(b'fathom') and str(word).encode() in words:
            found.append(int(path.parent.name))
    return found
