"""A run of several processes under way, what is done to one of them, and how the run has to end."""
import os
import pathlib
import signal
import subprocess
import time

from ranks_kit import ENV, command, expect, train

BUSY = os.getloadavg()[0] > 2 * os.cpu_count()  # then ranks are late who have done nothing wrong
TIMEOUT = float(os.environ.get('TIMEOUT', 10 if BUSY else 2.5))  # that ranks wait for each other
SPARE = 14 if BUSY else 8  # seconds beyond it: comparing causes, killing what hangs, ending
ENDLESS = ['--iterations', 10**6, '--no-evaluate', '--schedule', 'constant', '--save-every', 2, '--keep', 1000, '--timeout', TIMEOUT]


class Run:
    """A run under way, with its ranks' processes."""

    def __init__(self, folder, launcher, plan, *more, name='fault'):
        self.folder, self.save, self.log = folder, folder / name, folder / f'{name}.log'
        self.by_mpirun = bool(launcher)
        words = command(launcher, plan, '--data', folder / 'data', '--save', self.save, '--log', self.log, *more)
        self.errors = open(folder / f'{name}.err', 'w+')
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors, env=ENV)

    def wait_for_steps(self, count):
        end = time.monotonic() + (300 if BUSY else 60)
        while time.monotonic() < end and self.process.poll() is None:
            if self.log.exists() and self.log.read_text().count('\n') >= count:
                return
            time.sleep(0.01)
        self.process.terminate()
        self.process.wait()
        self.errors.seek(0)
        raise SystemExit(f'the run did not come to step {count}: {self.errors.read()}')

    def ranks(self):
        """Process ids in the order of ranks."""
        pid = self.process.pid
        found = [int(word) for word in pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
        if not self.by_mpirun:
            return sorted(found)
        ranked = {}
        for child in found:
            for word in pathlib.Path(f'/proc/{child}/environ').read_bytes().split(b'\0'):
                if word.startswith(b'OMPI_COMM_WORLD_RANK='):
                    ranked[int(word.split(b'=')[1])] = child
        return [ranked[rank] for rank in sorted(ranked)]

    def wait_for_ranks(self, count):
        """Others than those that were seen."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            now = self.ranks()
            if len(now) == count and not set(now) & set(self.seen):
                return
            time.sleep(0.01)
        raise SystemExit('the run was not begun again')

    def end(self, seconds):
        """Exit code, what it said, and how long it took; ranks that are left are ended, and told."""
        begin, ranks = time.monotonic(), self.seen
        try:
            code = self.process.wait(timeout=seconds + 30)
        except subprocess.TimeoutExpired:
            code = None
            self.process.kill()
        took = time.monotonic() - begin
        time.sleep(0.1)
        left = [pid for pid in ranks if is_running(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        self.errors.seek(0)
        return code, self.errors.read(), took, left

    def hit(self, rank, number):
        self.seen = self.ranks()
        os.kill(self.seen[rank], number)


def is_running(pid):
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False


def sentences(text):
    return [line for line in text.splitlines() if line.startswith('fathom train: ')]


def check_checkpoint(run, plan, what):
    """The last one can be gone on from."""
    steps = sorted(path for path in run.save.glob('step-*.safetensors') if '.state.' not in path.name)
    expect(steps, f'{what}: there is no checkpoint')
    if not steps:
        return
    step = int(steps[-1].name[5:17])
    done = train([], plan, '--data', run.folder / 'data', '--resume', run.save, '--iterations', step + 1, '--no-evaluate', '--schedule',
                 'constant')
    expect(done.returncode == 0, f'{what}: the checkpoint is not whole: {done.stderr}')


def check_fault(folder, plan, launcher, more, size, rank, number, steps, name='fault'):
    what = f'{"mpirun" if launcher else "processes"}, rank {rank} of {size}, {signal.Signals(number).name}, after step {steps}'
    run = Run(folder, launcher, plan, *ENDLESS, *more, name=name)
    run.wait_for_steps(steps)
    run.hit(rank, number)
    limit = TIMEOUT + SPARE
    code, said, took, left = run.end(limit)
    expect(took < limit, f'{what}: took {took:.1f} s')
    expect(not left, f'{what}: processes are left')
    told = sentences(said)
    # Of a rank that was killed mpirun tells itself, before the others are late.
    by_launcher = launcher and number != signal.SIGSTOP and f'process rank {rank}' in said and f'signal {int(number)}' in said
    expect(code == 1 or by_launcher, f'{what}: exit code {code}')
    expect(by_launcher or len(told) == 1, f'{what}: {len(told)} causes are told: {said}')
    expect(by_launcher or any(f"rank {rank} of {size} (host " in line and f", device {rank}" in line for line in told[:1]), f'{what}: the rank is not named: {said}')
    check_checkpoint(run, plan, what)
