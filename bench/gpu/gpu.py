#!/usr/bin/env python3
"""What a GPU says of fathom: runs from a folder that `./dev gpu-pack` made, on a machine with a GPU and nothing else of ours.

  gpu.py [--out FOLDER] [--work FOLDER] [--seconds 570] [--dry] [PART ...]

Each part is bounded in time, so that some is left for speeds whatever the others take, and its result is appended at once to
report.md in --out, made for docs/measurements.md; logs.tar.gz there has what each command said, after each part anew, and
peers.jsonl what PyTorch reached: a later run that finds it there, or beside this script, measures that no more. Caches, logs
and checkpoints lie in --work (--out, if nothing is said). A part that fails is written down and the next begins. What this
script has started ends with it, however it ends. Exit code: 0 when every part passed; 1 when one did not, or where no GPU is. --dry runs small sizes: to try this script, not a GPU. --record writes the
CPU's losses into the folder (gpu-pack does)."""
import argparse
import contextlib
import datetime
import fcntl
import glob
import hashlib
import json
import os
import pathlib
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tarfile
import threading
import time

import peer_figures

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
        carried = re.search(r'^(.*carried here(?:.|\n  )*)$', said, re.M)
        return {'carried': ' '.join(carried.group(1).split()) if carried else 'built here', 'losses': [row['loss'] for row in rows], 'images_per_second': float(speed.group(1)) if speed else None,
                'memory': (memory.group(1) if memory else 'unknown') + (f'; {" ".join(note.group(1).split())}' if note else '')}

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


# ---- Where CUDA is ----------------------------------------------------------------------------------------------------


def library_folders():
    """Where wheels beside PyTorch, toolkits and packages have their libraries."""
    ask = 'import site, sys; print("\\n".join([*site.getsitepackages(), site.getusersitepackages(), *sys.path]))'
    done = subprocess.run(['python3', '-c', ask], capture_output=True, text=True)
    for folder in filter(None, dict.fromkeys(done.stdout.splitlines())):
        yield from sorted(glob.glob(f'{glob.escape(folder)}/nvidia/*/lib'))
    for folder in ('lib64', 'extras/CUPTI/lib64'):
        yield from sorted(glob.glob(f'/usr/local/cuda*/{folder}'))
    yield from ('/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64', str(HERE / 'cuda'))


def find_cuda(bench):
    """A folder with lib64/ of CUDA's runtime and cuDNN: $CUDA_HOME, the toolkit's, or links to what there is in several."""
    def whole(root):
        return all(any((pathlib.Path(root) / folder / name).exists() for folder in ('lib64', 'lib'))
                   for name in ('libcudart.so.13', 'libcudnn.so.9'))
    for root in filter(None, [os.environ.get('CUDA_HOME'), '/usr/local/cuda', *sorted(glob.glob('/usr/local/cuda-13*'))]):
        if whole(root):
            bench.environment['CUDA_HOME'] = root
            return root
    links = bench.out / 'cuda' / 'lib64'
    shutil.rmtree(links, ignore_errors=True)
    links.mkdir(parents=True)
    for folder in library_folders():
        for name in ('cudart', 'cudnn', 'nccl', 'cupti', 'nvrtc', 'nvJitLink', 'cublas'):
            for library in glob.glob(f'{glob.escape(folder)}/lib{name}*.so*'):
                link = links / os.path.basename(library)
                if not link.exists():
                    link.symlink_to(library)
    if not (links / 'libcudart.so.13').exists():
        return None
    bench.environment['CUDA_HOME'] = str(links.parent)
    return str(links.parent)


# ---- Comparing losses -------------------------------------------------------------------------------------------------


def difference(ours, theirs):
    """The largest relative difference of the first step, and of all."""
    if not ours or len(ours) != len(theirs):
        raise Failed(f'{len(ours)} losses against {len(theirs)}')
    each = [abs(a - b) / max(abs(b), 1e-6) if a == a else float('inf') for a, b in zip(ours, theirs)]
    return each[0], max(each)


# How far a first loss and the next ones may be from another implementation's: rounding, which steps amplify.
ALLOWED = {'f32': (1e-4, 2e-2), 'tf32': (5e-3, 0.1), 'f16': (1e-2, 0.15), 'bf16': (3e-2, 0.3)}


def judge(dtype, first, most):
    allowed = ALLOWED[dtype]
    return 'as it should' if first <= allowed[0] and most <= allowed[1] else f'**too far** (allowed {allowed[0]:g}, {allowed[1]:g})'


def flags(dtype):
    return ['--dtype', 'f32', '--tf32'] if dtype == 'tf32' else ['--dtype', dtype]


def reference_name(model, batch, steps, dtype):
    return f'{model}-{batch}-{steps}-{dtype}'


def record(bench):
    """The CPU's losses, where there is oneDNN: into losses.json."""
    sizes = bench.sizes
    wanted = [(*case, dtype) for case in sizes.compared for dtype in sizes.dtypes] + [(*sizes.deep, 'f32')]
    losses = {}
    for model, batch, steps, dtype in wanted:
        bench.clock.begin(600)
        losses[reference_name(model, batch, steps, dtype)] = bench.train(
            model, '--gpus', 'cpu', '--dtype', dtype, batch=batch, steps=steps, most=600)['losses']
    (HERE / 'losses.json').write_text(json.dumps(losses, indent=1) + '\n')
    for folder in ('plans', 'engines'):
        (HERE / folder).mkdir(exist_ok=True)
    for model, batch in sizes.carried:
        for dtype in sizes.dtypes:
            words = [bench.fathom, 'plan', model, '--batch', batch, '--gpus', 'h200', '--dtype', dtype, '-o',
                     HERE / 'plans' / f'{model}-{dtype}.json', *sizes.net]
            try: # with plans of cuDNN, where that is here to build them
                bench.run([*words, '--engines', HERE / 'engines' / f'{model}-{dtype}.json'], most=300)
            except Failed as failure:
                print(f'gpu-pack: {model} in {dtype} goes without plans of cuDNN: {failure}', file=sys.stderr)
                bench.run(words)


def references():
    return json.loads((HERE / 'losses.json').read_text())


# ---- The parts --------------------------------------------------------------------------------------------------------


def keep(bench, *words):
    """What a command says, for the logs alone; whether it could be had does not matter."""
    if shutil.which(words[0]):
        with contextlib.suppress(Failed):
            bench.run(words, most=10)


def part_machine(bench):
    """What the machine is."""
    keep(bench, 'nvidia-smi', '-q')
    keep(bench, 'nvidia-smi', 'topo', '-m')
    keep(bench, 'uname', '-a')
    said = bench.run([bench.fathom, 'devices'])
    here = said[:said.index('\ncatalogue')]
    smi = ''
    if shutil.which('nvidia-smi'):
        query = 'name,driver_version,memory.total,memory.used,clocks.max.sm,clocks.max.memory,power.limit'
        smi = bench.run(['nvidia-smi', f'--query-gpu={query}', '--format=csv'])
    version = (HERE / 'VERSION').read_text().strip() if (HERE / 'VERSION').exists() else 'unknown'
    libraries = sorted({os.path.basename(os.path.realpath(path)) for name in ('libcudart.so.13', 'libcudnn.so.9', 'libnvrtc.so.13', 'libcupti.so.13', 'libnccl.so.2')
                        for path in glob.glob(f'{bench.environment.get("CUDA_HOME", "")}/lib*/{name}')})
    bench.write(f'fathom {version}; {", ".join(libraries) or "libraries unknown"}\n\n```\n{here.strip()}\n{smi.strip()}\n```')


def part_carried(bench):
    """Plans that were made without this GPU."""
    plans = sorted((HERE / 'plans').glob('*.json'))
    if not plans:
        raise Failed('there are no plans in the folder')
    bad = []
    bench.table(['plan', 'losses', 'plans of cuDNN', 'memory'], [])
    for plan in plans:
        engines = HERE / 'engines' / plan.name
        carried = ['--engines', engines] if engines.exists() else []
        try:
            got = bench.train(plan, *carried, steps=3)
            bench.row(plan.stem, ' '.join(f'{loss:.4f}' for loss in got['losses']), got['carried'], got['memory'])
        except Failed as failure:
            bad.append(plan.stem)
            bench.row(plan.stem, failure, '', '')
    if bad:
        raise Failed(f'of {len(plans)} plans {len(bad)} did not run: {", ".join(bad)}')


def part_compared(bench):
    """Every op in every dtype: cuDNN and the kernels, the naive kernels, and the CPU."""
    known, bad = references(), []
    bench.table(['model', 'batch', 'dtype', 'against', 'first loss', 'all', ''], [])
    for model, batch, steps in bench.sizes.compared:
        for dtype in (*bench.sizes.dtypes, 'tf32'):
            try:
                cpu = known[reference_name(model, batch, steps, 'f32' if dtype == 'tf32' else dtype)]
                fast = bench.train(model, *flags(dtype), batch=batch, steps=steps)['losses']
                naive = bench.train(model, *flags(dtype), '--backend', 'cuda-reference', batch=batch, steps=steps)['losses']
                for name, losses in (('naive kernels', naive), ('CPU', cpu)):
                    first, most = difference(fast, losses)
                    verdict = judge(dtype, first, most)
                    bench.row(model, batch, dtype, name, f'{first:.2e}', f'{most:.2e}', verdict)
                    bad += [f'{model} {dtype}'] if 'too far' in verdict else []
            except Failed as failure:
                bench.row(model, batch, dtype, failure, '', '', '**failed**')
                bad.append(f'{model} {dtype}')
    if bad:
        raise Failed(', '.join(dict.fromkeys(bad)))


def part_same(bench):
    """CUDA graphs and launches one by one, twice: the same bits."""
    model, batch, steps = bench.sizes.same
    digests = {}
    bench.table(['run', 'last loss', 'checkpoint'], [])
    for name, more in (('recorded', []), ('one by one', ['--no-graph']), ('recorded, again', [])):
        folder = bench.out / 'checkpoints' / name.replace(', ', '-').replace(' ', '-')
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        got = bench.train(model, '--deterministic', '--save', folder, *more, batch=batch, steps=steps)
        digest = hashlib.sha256(b''.join(path.read_bytes() for path in sorted(folder.glob('*.safetensors')))).hexdigest()[:16]
        digests[name] = (digest, got['losses'])
        bench.row(name, f'{got["losses"][-1]:.9g}', digest)
    if len({str(value) for value in digests.values()}) != 1:
        raise Failed('they differ')
    bench.write(f'\n{model}, batch {batch}, {steps} steps with --deterministic: bitwise equal')


# What the names of our kernels begin with whose threads wait for each other; bn_whole's and bn_backward_whole's wait for other
# blocks too. They are `extern "C"`, so that none is mangled; one of cuDNN's that begins so would cost time alone.
WAITING = ('bn_', 'gradient_', 'product', 'softmax_loss', 'squares', 'update')

# compute-sanitizer's tools, and the kernels each looks at: racecheck and synccheck cost most, and cuDNN's are left to their
# makers. --kernel-name is of compute-sanitizer 2023.3, older than any CUDA 13 (its manual: Specifying Filters).
OURS = [word for start in WAITING for word in ('--kernel-name', f'regex=^{start}')]
SANITIZERS = (('memcheck', 'all', []), ('racecheck', 'ours that wait', OURS), ('synccheck', 'ours that wait', OURS))


def part_sanitizer(bench):
    """Kernels under compute-sanitizer."""
    tool = shutil.which('compute-sanitizer') or shutil.which('compute-sanitizer', path=f'{bench.environment.get("CUDA_HOME", "")}/bin:/usr/local/cuda/bin')
    if not tool or bench.sizes.dry:
        bench.write(f'not run: {"a dry run" if tool else "there is no compute-sanitizer"}')
        return
    ended, bad = [], []
    bench.table(['tool', 'kernels', ''], [])
    for name, kernels, filters in SANITIZERS:
        words = [tool, '--tool', name, *filters, '--error-exitcode', 86, bench.fathom, 'train', 'resnet-8', '--dataset',
                 'cifar10', '--classes', 2, '--image-size', 8, '--data', HERE / 'photos', '--batch', 4, '--iterations', 2,
                 '--no-evaluate', '--no-graph', '--backend', 'cuda']
        try:
            bench.run(words, most=40)
            ended.append(name)
            bench.row(name, kernels, 'nothing found')
        except Unfinished as failure:
            bench.row(name, kernels, f'not finished: {failure}')
        except Failed as failure:
            bad.append(name)
            bench.row(name, kernels, f'**{failure}**: {log_tail(bench, 12)}')
    if bad:
        raise Failed(', '.join(bad))
    if not ended:
        raise Failed('no tool ended, so nothing was checked')


def part_deep(bench):
    """The deep net in f32 against the CPU."""
    model, batch, steps = bench.sizes.deep
    cpu = references()[reference_name(model, batch, steps, 'f32')]
    got = bench.train(model, batch=batch, steps=steps)
    first, most = difference(got['losses'], cpu)
    bench.table(['step', 'CPU', 'GPU'], [(i + 1, f'{a:.6f}', f'{b:.6f}') for i, (a, b) in enumerate(zip(cpu, got['losses']))])
    bench.write(f'\n{model}, batch {batch}: the first loss differs by {first:.2e}, all by at most {most:.2e}; memory: {got["memory"]}')
    if 'too far' in judge('f32', first, most):
        raise Failed(judge('f32', first, most))


def peer(bench, model, batch, dtype, steps, mode='graph', most=75):
    """PyTorch's figures, of a captured graph if nothing else is said; a word where there are none."""
    if bench.sizes.dry or not bench.peers.script.exists():
        return 'not run', ''
    name = {'f32': 'fp32', 'f16': 'fp16'}.get(dtype, dtype)
    what = {'model': model, 'batch': batch, 'dtype': name, 'mode': mode}
    try:
        got = bench.peers.measure(bench.run, what, min(steps, 15), most)
        return f'{got["images_per_second"]:.0f}', f'{got["peak_reserved_bytes"] / 2**30:.2f} GiB'
    except (Failed, ValueError, IndexError, KeyError) as failure:
        return str(failure)[:120], ''


def part_speed(bench):
    """Images a second beside PyTorch's, in turn, PyTorch's first, and memory used against planned."""
    bad = []
    bench.table(['model', 'batch', 'dtype', 'fathom, images/s', 'memory', 'PyTorch, images/s', 'its memory'], [])
    jobs = [(model, batch, steps, dtype) for model, batch, steps, dtypes in bench.sizes.timed for dtype in dtypes]
    jobs.sort(key=lambda job: ('f16', 'tf32', 'bf16', 'f32').index(job[3]))
    for model, batch, steps, dtype in jobs:
        theirs = peer(bench, model, batch, dtype, steps)
        try:
            got = bench.train(model, *flags(dtype), '--repeat-batch', '--schedule', 'constant', batch=batch, steps=steps, most=150)
            ours = f'{got["images_per_second"]:.0f}', got['memory']
        except Failed as failure:
            ours = f'**{failure}**', ''
            bad.append(f'{model} {dtype}')
        bench.row(model, batch, dtype, *ours, *theirs)
    if bad:
        raise Failed(', '.join(bad))


def part_compiled(bench):
    """PyTorch compiled with max-autotune, which takes it minutes."""
    bench.table(['model', 'batch', 'dtype', 'PyTorch, images/s', 'its memory'], [])
    for model, batch, steps, dtypes in reversed(bench.sizes.timed):
        for dtype in ('bf16', 'f16'):
            if dtype in dtypes:
                bench.row(model, batch, dtype, *peer(bench, model, batch, dtype, steps, 'max-autotune', 140))


def predict(bench, model, batch, dtype, *more):
    """The step that a plan predicts, in milliseconds."""
    said = bench.run([bench.fathom, 'plan', model, '--batch', batch, '--gpus', 'auto', *flags(dtype), '--json', *bench.sizes.net, *more])
    seconds = answer(said)['step_seconds']
    return 'unknown' if seconds is None else f'{1000 * seconds:.2f} ms'


def part_kernels(bench):
    """Where the time goes, and what a plan predicts that knows it."""
    model, batch, steps = bench.sizes.kernels
    trace = bench.out / 'logs' / 'kernels.trace'
    trace.unlink(missing_ok=True)
    dtype = 'f16'
    bench.train(model, *flags(dtype), '--repeat-batch', '--schedule', 'constant', '--trace', trace, '--time-every', 2, batch=batch,
                steps=steps)
    for by in ('kind', 'kernel'):
        try:
            said = bench.run([bench.fathom, 'trace', 'stats', trace, '--by', by, '--limit', 20])
            bench.write(f'{model}, batch {batch}, {dtype}, by {by}:\n\n```\n{said.strip()}\n```')
        except Failed as failure:
            if by == 'kind':
                raise
            bench.write(f'\nby kernel: {failure}')
    before, after = (predict(bench, model, batch, dtype, *more) for more in ([], ['--costs', trace]))
    bench.write(f'\na step, predicted from the catalogue: {before}; from the times of these ops (`--costs`): {after}')


# Kernels of our own whose names say which op they are of.
OWN_KERNELS = {'update': 'update', 'gradient_norm': 'update', 'weights_average': 'update', 'softmax_loss': 'loss', 'avgpool': 'avgpool', 'maxpool': 'maxpool', 'add_': 'add', 'dropout': 'dropout'}


def misattributed(kernels):
    """Kernels under an op of another sort than their name says."""
    wrong = []
    for kernel in kernels:
        wanted = [kind for name, kind in OWN_KERNELS.items() if kernel['kernel'].startswith(name)]
        if wanted and kernel['pass'] != 'run' and wanted[0] not in f"{kernel['kind']} {kernel['pass']}":
            wrong.append(f"{kernel['kernel']} under {kernel['kind']}")
    return wrong


@contextlib.contextmanager
def looking(trace):
    """Is seen by the run as one who looks at its trace (traces/viewer.h): then GPUs' own counters are read."""
    stop = threading.Event()

    def hold():
        while not stop.wait(0.02):
            try:
                with open(trace, 'rb') as file:
                    lock = struct.pack('hhqqi4x', fcntl.F_RDLCK, os.SEEK_SET, 1 << 60, 1, 0)
                    fcntl.fcntl(file, 37, lock)  # F_OFD_SETLK
                    stop.wait()
            except OSError:
                pass

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def dump_records(bench):
    """What CUPTI tells of a short run, into a file that tests read where there is no GPU (tests/profiler/dumps.c)."""
    folder = bench.results / 'dumps'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    dump = folder / (re.sub(r'[^a-z0-9]+', '-', bench.gpu['name'].lower()).strip('-') + '.dump')
    kept, bench.environment = bench.environment, {**bench.environment, 'FATHOM_CUPTI_DUMP': str(dump)}
    try:
        bench.train('resnet-8', '--repeat-batch', '--schedule', 'constant', '--trace', bench.out / 'logs' / 'dump.trace', '--time-every', 2,
                    batch=8, steps=6)
    finally:
        bench.environment = kept
    bench.write(f'CUPTI\'s records of six steps of resnet-8: dumps/{dump.name}, {dump.stat().st_size / 1024:.0f} KiB\n')


def run_recorded(bench, name, more, environment):
    """Images a second of a run with records as the words `more` say (None: without), and what its trace tells."""
    model, batch, steps = bench.sizes.records
    trace = bench.out / 'logs' / f'records-{name.replace(" ", "-").replace(",", "")}.trace'
    trace.unlink(missing_ok=True)
    words = [] if more is None else ['--trace', trace, *more]
    kept, bench.environment = bench.environment, {**bench.environment, **environment}
    try:
        with looking(trace):
            got = bench.train(model, '--repeat-batch', '--schedule', 'constant', *words, batch=batch, steps=steps)
    finally:
        bench.environment = kept
    if more is None:
        return got['images_per_second'], None
    state = answer(bench.run([bench.fathom, 'top', trace, '--batch', 'json']))
    state['stats'] = answer(bench.run([bench.fathom, 'trace', 'stats', trace, '--by', 'kernel', '--json']))
    return got['images_per_second'], state


def part_records(bench):
    """CUPTI's records: whose kernels they are, what they cost, GPM without root."""
    model, batch, _ = bench.sizes.records
    ways = [('off', None, {}), ('windowed', [], {}), ('every second step', ['--time-every', 2], {}), ('every step', ['--time-every', 1], {}),
            ('every step, 256 KiB', ['--time-every', 1], {'FATHOM_CUPTI_BUFFER_KIB': '256'}),
            ('every step, 8 MiB', ['--time-every', 1], {'FATHOM_CUPTI_BUFFER_KIB': '8192'})]
    rates, states, failed, rounds = {}, {}, {}, 1 if bench.sizes.dry else 2
    for _ in range(rounds):  # in turn, so that a drift of clocks falls out
        for name, more, environment in ways:
            try:
                rate, state = run_recorded(bench, name, more, environment)
                rates.setdefault(name, []).append(rate)
                states[name] = state
            except Failed as failure:
                failed[name] = failure
    off = statistics.median(rates['off']) if 'off' in rates else None
    bench.table(['records', 'images/s', 'cost', 'kernels', 'dropped', 'without times', 'of nobody'], [])
    for name, _, _ in ways:
        if name not in rates:
            bench.row(name, f'**{failed[name]}**', *[''] * 5)
            continue
        rate, stats = statistics.median(rates[name]), (states[name] or {}).get('stats')
        told = [sum(row['instances'] for row in stats['rows']), stats['dropped'], stats['lost_timestamps'], stats['unattributed']] if stats else ['', '', '', '']
        bench.row(name, f'{rate:.0f}', f'{100 * (off / rate - 1):+.2f} %' if off else 'unknown', *told)
    bench.write('')
    dump_records(bench)
    if failed:
        raise Failed('; '.join(f'{name}: {failure}' for name, failure in failed.items()))
    every = states['every step']
    wrong = misattributed(every['kernels'])
    active = [gpu.get('sm_active_percent') for gpu in every['gpus']]
    bench.write(f'\n{model}, batch {batch}: {len(every["kernels"])} places of a step, {len(wrong)} under an op that their name denies'
                f'{": " + ", ".join(wrong[:5]) if wrong else ""}; SMs active (GPM, user {os.geteuid()}): {active[0] if active and active[0] is not None else "unknown"}')
    if not every['kernels']:
        raise Failed('no kernel was recorded')
    if wrong or every['stats']['unattributed']:
        raise Failed(f'{len(wrong)} kernels under another op, {every["stats"]["unattributed"]} of nobody')


def part_cupti(bench):
    """CUPTI by itself: what switching records and fetching them takes, and whether their times are lost."""
    probe, dry = HERE / 'fathom-records', bench.sizes.dry
    if not probe.exists():
        raise Failed('fathom-records is not in the folder: the build had no CUPTI')
    sizes = ['--nodes', 20 if dry else 1000, '--seconds', 1 if dry else 6]

    def ask(*words):
        said = bench.run([probe, *words, *sizes], most=15)
        return answer(said)

    def times(row, name):
        return f'{row[name + "_us"][0]:.1f} ({row[name + "_us"][1]:.1f})'

    got = ask('switch')
    off, on = got['replay_off_us'][0], got['replay_on_us'][0]
    bench.write(f'{got["replays"]} replays of {got["nodes"]} kernels, median (most) in us: without records {times(got, "replay_off")}, with them '
                f'{times(got, "replay_on")} ({100 * (on / off - 1):+.2f} %), the first with them {times(got, "replay_first_on")}; '
                f'switching the three kinds on {times(got, "enable")}, off {times(got, "disable")}\n')
    bench.table(['buffers', 'ActivityFlushAll(0), us', 'a replay, us', 'buffers that came', 'KiB in each'], [])
    for kib in (256, 1024, 8192):
        row = ask('flush', kib)
        bench.row(f'{kib} KiB', times(row, 'flush'), times(row, 'replay_on'), row['buffers'],
                  f'{row["bytes"] / row["buffers"] / 1024:.0f}' if row['buffers'] else '')
    bench.write('')
    bench.table(['a pool of 8 buffers, records of', 'kernels replayed', 'records', 'without times', 'the first of them', 'memory of the GPU grew by'], [])
    bad = []
    for kinds in ('kernels', 'all'):
        row = ask('pool', kinds, '--records', 400 if dry else 1200000)
        bench.row(kinds, row['replayed'], row['records'], row['timeless'], row['first_timeless'] or 'none', f'{row["grown_bytes"] / 2**20:.0f} MiB')
        bad += [kinds] if kinds == 'all' and (row['timeless'] or row['records'] != row['replayed']) else []
    if got['records'] != 2 * got['replays'] * got['nodes'] or bad:
        raise Failed('records are missing or without times where copies and fills are recorded too')


def part_nccl(bench):
    """NCCL's memory, and a sum in a recorded graph, by a communicator of one rank."""
    try:
        got = answer(bench.run([sys.executable, HERE / 'nccl.py'], most=40))
    except Failed as failure:
        if 'libnccl.so.2 cannot be loaded' not in str(failure):
            raise
        bench.write('not run: there is no libnccl.so.2')
        return
    taken = ', '.join(f'{int(size) >> 20} MiB takes {bytes / 2**20:.0f}' for size, bytes in got['taken_bytes'].items())
    bench.write(f'NCCL {got["version"] // 10000}.{got["version"] // 100 % 100}.{got["version"] % 100}: in memory of its own, known to the '
                f'communicator, sums of {", ".join(got["types"])} are replayed; of that memory {taken} MiB of the GPU')


# name: (part, seconds at most, seconds kept for it), in this order: what is right, what is asked of the libraries, how fast it is.
PARTS = {'machine': (part_machine, 30, 0), 'compared': (part_compared, 130, 0), 'same': (part_same, 50, 0),
         'deep': (part_deep, 50, 0), 'carried': (part_carried, 50, 0), 'nccl': (part_nccl, 40, 0), 'cupti': (part_cupti, 50, 0),
         'records': (part_records, 60, 0), 'kernels': (part_kernels, 50, 30), 'speed': (part_speed, 200, 160),
         'compiled': (part_compiled, 150, 0), 'sanitizer': (part_sanitizer, 120, 0)}


def check_gpu(bench):
    """None where there is a GPU that fathom can use, else why not."""
    if not find_cuda(bench):
        return 'libcudart.so.13 is not there: $CUDA_HOME, /usr/local/cuda*, or the wheels beside PyTorch'
    bench.clock.begin(60)
    try:
        host = answer(bench.run([bench.fathom, 'devices', '--json']))['host']
        if host['cuda_fault']:
            return host['cuda_fault']
        bench.gpu = host['gpus'][0]
        bench.peers = peer_figures.Peers(bench.gpu['name'], HERE / 'peers' / 'peer_resnet.py', bench.results, HERE)
    except (Failed, ValueError, LookupError, TypeError) as failure:
        return str(failure)
    return None


def run_parts(bench, names):
    failed = []
    bench.write(f'## GPU: {datetime.date.today()}, {bench.gpu["name"]}{" (dry run: small sizes)" if bench.sizes.dry else ""}')
    for name in names:
        part, seconds, _ = PARTS[name]
        bench.clock.begin(seconds, sum(PARTS[later][2] for later in names[names.index(name) + 1:]))
        began = time.monotonic()
        bench.write(f'\n### {part.__doc__.rstrip(".")}\n')
        try:
            part(bench)
            outcome = 'passed'
        except Failed as failure:
            outcome = f'**failed**: {failure}'
        except Exception as failure:  # a fault of this script must not end the others
            outcome = f'**failed**: {type(failure).__name__}: {failure}'
        failed += [name] if outcome != 'passed' else []
        bench.write(f'\n{name}: {outcome} ({time.monotonic() - began:.0f} s)')
        if outcome != 'passed' and bench.commands > 0:  # so that the report alone may do
            bench.write(f'the last command, logs/{bench.commands:03}.txt, ended: {log_tail(bench, 8)[-1500:]}')
        bench.keep_logs()
    bench.write(f'\n{len(names)} parts, ' + (f'failed: {", ".join(failed)}' if failed else 'all passed'))
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default=str(HERE / 'out'))
    parser.add_argument('--work')
    parser.add_argument('--seconds', type=float, default=570)
    parser.add_argument('--dry', action='store_true')
    parser.add_argument('--record', action='store_true')
    parser.add_argument('--fathom')
    parser.add_argument('parts', nargs='*', metavar='PART', help=', '.join(PARTS))
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f'{unknown[0]!r} is none of {", ".join(PARTS)}')
    bench = Bench(options)
    if options.record:
        record(bench)
        return 0
    bench.report_path.unlink(missing_ok=True)
    why = check_gpu(bench)
    if why:
        bench.write(f'no GPU can be used here: {why}')
        return 1
    return run_parts(bench, options.parts or list(PARTS))


if __name__ == '__main__':
    sys.exit(main())
