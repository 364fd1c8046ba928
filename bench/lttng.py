"""Records of kernels through LTTng-UST and through our writer, in turns, in one run: what a record costs, how many bytes it
takes, how many are lost. LTTng runs as it is used for long traces: a channel of 8 x 4 MiB for each processor, written to disk
as it fills. Needs lttng-tools, and build/bench/bench_lttng (liblttng-ust-dev): ninja -C build bench/bench_lttng.

    bench/lttng.py build/bench/bench_lttng [RECORDS A SECOND] [SECONDS of each]
"""
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

SESSION = f'fathom-bench-{os.getpid()}'


def lttng(*words):
    done = subprocess.run(['lttng', '--no-sessiond', *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'lttng {" ".join(words)}: {done.stdout}{done.stderr}')
    return done.stdout + done.stderr


def running(name):
    """Process -> its parent, of those with that name."""
    found = {}
    for stat in pathlib.Path('/proc').glob('[0-9]*/stat'):
        try:
            number, rest = stat.parent.name, stat.read_text()
        except OSError:
            continue
        if rest[rest.index('(') + 1:rest.rindex(')')] == name[:15]:
            found[int(number)] = int(rest[rest.rindex(')') + 2:].split()[1])
    return found


def cpu_seconds(processes):
    ticks = 0
    for number in processes:
        fields = pathlib.Path(f'/proc/{number}/stat').read_text().rpartition(')')[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf('SC_CLK_TCK')


def measure(program, folder, arguments):
    lttng('create', SESSION, f'--output={folder}/ctf')
    try:
        lttng('enable-channel', '--userspace', '--session', SESSION, '--subbuf-size=4M', '--num-subbuf=8', 'kernels')
        lttng('enable-event', '--userspace', '--session', SESSION, '--channel', 'kernels', 'fathom_bench:kernel')
        lttng('start', SESSION)
        before = cpu_seconds(running('lttng-consumerd'))
        done = subprocess.run([program, *arguments, f'{folder}/own.trace'], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f'{program}: {done.stderr}')
        lttng('stop', SESSION)
        found = json.loads(done.stdout)
        found['lttng_consumer_ns'] = (cpu_seconds(running('lttng-consumerd')) - before) * 1e9 / found['records']
        found['lttng_lost'] = sum(int(n) for n in re.findall(r'Discarded events: *(\d+)', lttng('list', SESSION)))
    finally:
        lttng('destroy', SESSION)
    size = sum(p.stat().st_size for p in pathlib.Path(folder, 'ctf').rglob('*') if p.is_file())
    found['lttng_bytes'] = size / found['records']
    return found


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if not shutil.which('lttng') or not shutil.which('lttng-sessiond') or not pathlib.Path(sys.argv[1]).exists():
        print('skipped: LTTng is not here (lttng-tools, liblttng-ust-dev), or bench_lttng was not built')
        return
    daemon = None
    if not running('lttng-sessiond'):
        daemon = subprocess.Popen(['lttng-sessiond', '--background', '--quiet'])
        daemon.wait()
    started = running('lttng-sessiond') if daemon else {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(sys.argv[1], folder, sys.argv[2:4] or ['250000', '10'])
    finally:
        for number in started:
            os.kill(number, 15)
    version = subprocess.run(['lttng', '--version'], capture_output=True, text=True).stdout.strip()
    print(f'{found["records"]:.0f} records each, in turns by the second; {version}, {platform.machine()}')
    print(f'{"":12} {"report":>8} {"write":>8} {"bytes":>7} {"lost":>6}   ns of processor time a record')
    print(f'{"LTTng-UST":12} {found["lttng_ns"]:8.1f} {found["lttng_consumer_ns"]:8.1f} {found["lttng_bytes"]:7.2f} {found["lttng_lost"]:6}')
    print(f'{"fathom":12} {found["own_ns"]:8.1f} {found["own_writer_ns"]:8.1f} {found["own_bytes"]:7.2f} {found["own_lost"]:6}')


if __name__ == '__main__':
    main()
