"""What the parts of gpu.py share: sizes, time, commands that end with the script, the report."""
import contextlib
import json
import os
import pathlib
import re
import subprocess
import tarfile
import time

HERE = pathlib.Path(__file__).resolve().parent
DTYPES = ('f32', 'f16', 'bf16')


class Sizes:
    """Models, batches and steps of every part."""

    def __init__(self, dry):
        self.dry = dry
        # A dry run's pictures are small: the net is one for CIFAR all the same.
        self.net = ['--dataset', 'cifar10', '--classes', '2', '--image-size', '8'] if dry else []
        # Compared with the CPU and with the naive kernels: original and pre-activation units.
        self.compared = [('resnet-8', 8, 2)] if dry else [('resnet-20', 32, 5), ('resnet-29', 32, 5)]
        self.dtypes = DTYPES
        self.deep = ('resnet-8', 4, 2) if dry else ('resnet-1001', 8, 5)
        self.same = ('resnet-8', 4, 2) if dry else ('resnet-110', 64, 20)
        self.carried = [('resnet-8', 8)] if dry else [('resnet-20', 128), ('resnet-110', 128)]
        self.timed = ([('resnet-8', 8, 3, ['f16', 'tf32'])] if dry else
                      [('resnet-1001', 128, 30, ['f16', 'tf32', 'bf16', 'f32']), ('resnet-50', 256, 30, ['f16', 'tf32', 'bf16', 'f32'])])
        self.records = ('resnet-8', 8, 6) if dry else ('resnet-164', 128, 60)
        self.kernels = ('resnet-8', 8, 4) if dry else ('resnet-1001', 128, 12)


class Failed(Exception):
    pass


class Unfinished(Failed):
    """For want of time."""


def answer(said):
    """The JSON in what a command said, whatever it said before and after."""
    begin = min((said.index(sign) for sign in '{[' if sign in said), default=None)
    if begin is None:
        raise Failed(f'no JSON in what was said: {said.strip()[:200] or "nothing"}')
    return json.JSONDecoder().raw_decode(said[begin:])[0]


def log_tail(bench, lines):
    """The end of what the last command said, in one line."""
    log = bench.out / 'logs' / f'{bench.commands:03}.txt'
    said = log.read_text(errors='replace').splitlines()[1:] if log.exists() else ['nothing was run']
    return ' / '.join(line.strip() for line in said[-lines:] if line.strip())


class Clock:
    """What is left of the whole and of a part."""

    def __init__(self, seconds, now=time.monotonic):
        self.now = now
        self.end = now() + seconds
        self.part_end = self.end

    def begin(self, seconds, kept=0):
        """A part, beside which so many seconds are kept for others."""
        now = self.now()
        self.part_end = min(self.end, now + seconds, max(self.end - kept, now + 1))

    def left(self):
        return self.part_end - self.now()


@contextlib.contextmanager
def ended_together():
    """The id of a process group; all that is in it ends when this is left, or when this script ends, however it does: a run that
    is left behind would keep the GPU from the next one. Its first process waits on a pipe that nothing but this script can
    write to; a parent's death would tell a command alone, not what that has started."""
    watcher = subprocess.Popen(['sh', '-c', "trap '' HUP INT TERM; read -r _; kill -KILL 0"], stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=os.setpgrp)
    try:
        yield watcher.pid
    finally:
        watcher.stdin.close()
        watcher.wait()


class Bench:
    def __init__(self, options):
        self.sizes = Sizes(options.dry)
        self.clock = Clock(options.seconds)
        self.out = pathlib.Path(options.work or options.out).resolve()  # all but what results are
        self.results = pathlib.Path(options.out).resolve()
        self.fathom = pathlib.Path(options.fathom or HERE / 'fathom').resolve()
        # Plans of cuDNN that one run has built serve the next.
        self.environment = {**os.environ, 'XDG_CACHE_HOME': str(self.out / 'cache')}
        self.commands = 0
        self.report_path = self.results / 'report.md'
        self.results.mkdir(parents=True, exist_ok=True)
        (self.out / 'logs').mkdir(parents=True, exist_ok=True)

    def keep_logs(self):
        """All logs so far, as one file that is whole at any time."""
        made = self.results / 'logs.tar.gz'
        with tarfile.open(f'{made}.new', 'w:gz') as archive:
            for path in sorted((self.out / 'logs').glob('*.txt')):
                archive.add(path, path.name)
        os.replace(f'{made}.new', made)

    # ---- Commands ----

    def run(self, words, most=120):
        """Runs within what is left; what it says goes to a log. Returns the output; Failed when it fails or takes too long."""
        self.commands += 1
        words = [str(word) for word in words]
        limit = min(most, self.clock.left())
        short = {str(self.fathom): 'fathom', f'{self.out}/': '', f'{HERE}/': ''}
        shown = ' '.join(words)
        for path, name in short.items():
            shown = shown.replace(path, name)
        if limit < 1:
            raise Unfinished(f'no time left for `{shown}`')
        log = self.out / 'logs' / f'{self.commands:03}.txt'
        with open(log, 'w') as to, ended_together() as group:
            to.write(f'$ {shown}\n')
            to.flush()
            child = subprocess.Popen(words, stdout=to, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self.environment,
                                     preexec_fn=lambda: os.setpgid(0, group))
            try:
                code = child.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
        if code is None:
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that a driver holds is left behind
                child.wait(10)
        said = log.read_text(errors='replace').split('\n', 1)[1]
        if code is None:
            raise Unfinished(f'`{shown}` took longer than {limit:.0f} s')
        if code != 0:
            last = [line for line in said.splitlines() if line.strip()][-1:] or ['nothing was said']
            raise Failed(f'`{shown}` ended with {code}: {last[0].strip()[:400]}')
        return said

    def train(self, what, *more, batch=None, steps=5, most=90):
        """A run on the small data; its losses, speed, memory and checkpoint."""
        model = str(what)
        log = self.out / 'logs' / f'{self.commands + 1:03}.jsonl'
        log.unlink(missing_ok=True)
        photos = self.sizes.dry or re.match(r'resnet-(18|34|50|101|152)$', model)
        data = HERE / ('photos' if photos else 'data')
        words = [self.fathom, 'train', what, '--data', data, '--iterations', steps, '--no-evaluate', '--log', log]
        words += ['--batch', batch, *self.sizes.net] if batch else []
        said = self.run([*words, *more], most)
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        speed = re.search(r'([\d.e+]+) images/s \(median\)', said)
        memory = re.search(r'^  memory  (.*)$', said, re.M)
        note = re.search(r'^  note    (.*(?:\n {10}.*)*)', said, re.M)
        unrecorded = re.search(r'kernels are (?:not|no longer) recorded.*', said)
        carried = re.search(r'^(.*carried here(?:.|\n  )*)$', said, re.M)
        return {'carried': ' '.join(carried.group(1).split()) if carried else 'built here',
                'losses': [row['loss'] for row in rows], 'images_per_second': float(speed.group(1)) if speed else None,
                'memory': (memory.group(1) if memory else 'unknown') + (f'; {" ".join(note.group(1).split())}' if note else ''),
                'unrecorded': unrecorded.group() if unrecorded else None}

    # ---- The report ----

    def write(self, text):
        with open(self.report_path, 'a') as report:
            report.write(text + '\n')
        print(text, flush=True)

    def table(self, head, rows):
        self.write('| ' + ' | '.join(head) + ' |\n|' + '---|' * len(head))
        for row in rows:
            self.row(*row)

    def row(self, *cells):
        self.write('| ' + ' | '.join(str(cell) for cell in cells) + ' |')
