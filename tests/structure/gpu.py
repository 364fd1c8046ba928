"""The script for a machine with a GPU (`./dev gpu`, bench/gpu), in its dry mode: it says where no GPU is; on the stand-in's GPU
every part is run, bounded, and written down. Arguments: the source, build/fathom, the stand-in's folder and the test of
dumps, or neither."""
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import types

SOURCE = pathlib.Path(sys.argv[1])
FATHOM = pathlib.Path(sys.argv[2]).resolve()
STANDIN, DUMPS = sys.argv[3:5] if len(sys.argv) > 3 else (None, None)
LIMIT = 240 # s for each of its commands: several times what they take, for machines on which others are busy too
PARTS = ('machine', 'nccl', 'carried', 'compared', 'same', 'deep', 'speed', 'records', 'cupti', 'kernels', 'compiled', 'sanitizer')


def gpu(pack, *words, **environment):
    # Somewhere else, and without anything of the environment here.
    clean = {key: os.environ[key] for key in ('PATH', 'TMPDIR') if key in os.environ}
    return subprocess.run([sys.executable, pack / 'gpu.py', '--dry', '--out', pack / 'out', *words], cwd='/',
                          env={**clean, **environment}, capture_output=True, text=True, timeout=LIMIT)


def check_without(pack):
    done = gpu(pack, CUDA_HOME=str(pack))
    assert done.returncode == 1 and 'no GPU can be used here' in done.stdout, done.stdout + done.stderr
    done = gpu(pack, 'speeds')
    assert done.returncode == 2 and 'speeds' in done.stderr, done.stderr


def check_with(pack):
    done = gpu(pack, CUDA_HOME=STANDIN, FATHOM_STANDIN='memory=140GiB')
    report = (pack / 'out' / 'report.md').read_text()
    assert report.strip() == done.stdout.strip(), 'the report is not what was said'
    for part in PARTS:
        assert f'\n{part}: ' in report, f'{part} is not in the report:\n{report}'
    assert report.index('\nsame: ') < report.index('\ncupti: ') < report.index('\nspeed: '), 'what is right comes first'
    assert done.returncode == 0 and report.rstrip().endswith(f'{len(PARTS)} parts, all passed'), f'exit code {done.returncode}:\n{report}'
    assert report.count('as it should') == 8, report
    check_dump(pack / 'out' / 'dumps')
    with tarfile.open(pack / 'out' / 'logs.tar.gz') as logs:
        said = logs.extractfile(logs.getnames()[0]).read().decode()
    assert said.startswith('$ fathom devices'), said
    assert re.search(r'from the times of these ops \(`--costs`\): [\d.]+ ms', report), report
    return report


def check_found(pack):
    """Libraries lie in several folders: each comes whole from the first that has it, and what is missing is told of."""
    sys.path.insert(0, str(pack))
    import gpu as script
    with tempfile.TemporaryDirectory(prefix='fathom-cuda-') as name:
        home, wheels = pathlib.Path(name) / 'home', pathlib.Path(name) / 'site/nvidia/cudnn/lib'
        beside = pathlib.Path(name) / 'site/nvidia/cu13/lib'
        for path in (beside / 'libnvrtc.so.13', beside / 'libcudart.so.13', home / 'lib64/libnvrtc.so.13', home / 'lib64/libcudart.so.13', home / 'extras/CUPTI/lib64/libcupti.so.13', home / 'lib64/libcudnn_ops.so.9',
                     wheels / 'libcudnn.so.9', wheels / 'libcudnn_graph.so.9', wheels / 'libnccl.so.2'):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        bench = types.SimpleNamespace(out=pathlib.Path(name) / 'out', environment={})
        kept, script.library_folders = script.library_folders, lambda roots: [*(f'{roots[0]}/{folder}' for folder in (
            'lib64', 'extras/CUPTI/lib64')), str(wheels), str(beside)]
        before = os.environ.get('CUDA_HOME')
        os.environ['CUDA_HOME'] = str(home)
        try:
            found = pathlib.Path(script.find_cuda(bench)) / 'lib64'
        finally:
            script.library_folders = kept
            os.environ.pop('CUDA_HOME')
            os.environ.update({'CUDA_HOME': before} if before else {})
        linked = {path.name: path.resolve().parent for path in found.iterdir()}
        assert bench.environment['CUDA_HOME'] == str(found.parent) and set(linked) == {
            'libcudart.so.13', 'libcupti.so.13', 'libcudnn.so.9', 'libcudnn_graph.so.9', 'libnccl.so.2', 'libnvrtc.so.13'}, linked
        assert linked['libcudart.so.13'] == home / 'lib64' and linked['libnvrtc.so.13'] == beside, linked
    if STANDIN:
        done = gpu(pack, 'deep', CUDA_HOME=STANDIN, FATHOM_STANDIN='gpus=0')
        assert done.returncode == 1 and 'no GPU can be used here' in done.stdout and 'list index' not in done.stdout, done.stdout


def check_unrecorded(pack):
    """Where CUPTI is another's, that is said for each run, and nothing else is the matter."""
    done = gpu(pack, 'records', CUDA_HOME=STANDIN, FATHOM_STANDIN='cupti=taken')
    assert done.returncode == 1 and done.stdout.count('another profiler has') > 5 and 'Error' not in done.stdout, done.stdout


def check_dump(folder):
    """What CUPTI told is found again where there is no GPU."""
    done = subprocess.run([pathlib.Path(DUMPS).resolve(), '--filter=dumps/of_gpus*', '--verbose=1'], capture_output=True,
                          text=True, timeout=LIMIT, env={**os.environ, 'FATHOM_TEST_DUMPS': str(folder), 'FATHOM_TEST_CUDA_HOME': STANDIN})
    assert done.returncode == 0 and 'Passing: 1' in done.stderr, done.stdout + done.stderr


def check_bounded(pack):
    """What hangs is ended, and the next part begins."""
    began = time.monotonic()
    fathom = pack / 'fathom'
    fathom.unlink()
    fathom.write_text(f'#!/bin/sh\n[ "$1" != train ] || exec sleep 100\nexec {FATHOM} "$@"\n')
    fathom.chmod(0o755)
    done = gpu(pack, '--seconds', '2', 'deep', 'machine', CUDA_HOME=STANDIN)
    assert 'took longer than' in done.stdout and time.monotonic() - began < 20, done.stdout
    assert '\nmachine: **failed**: no time left' in done.stdout and done.returncode == 1, done.stdout
    done = gpu(pack, '--seconds', '5', CUDA_HOME=STANDIN)  # too little for any that trains
    assert time.monotonic() - began < 60 and 'Traceback' not in done.stdout + done.stderr, done.stdout + done.stderr
    for part in PARTS:
        assert f'\n{part}: ' in done.stdout, f'{part} is not told:\n{done.stdout}'
    assert 'Error' not in done.stdout, done.stdout


def check_ended(pack):
    """However this ends, what it has started ends too, and what that has started; results and the rest lie apart."""
    (pack / 'fathom').write_text(f'#!/bin/sh\n[ "$1" != train ] || {{ sleep 100; exit 1; }}\nexec {FATHOM} "$@"\n')
    out, work = pack / 'results', pack / 'work'
    script = subprocess.Popen([sys.executable, pack / 'gpu.py', '--dry', '--out', out, '--work', work, 'machine', 'deep'], cwd='/',
                              env={**os.environ, 'CUDA_HOME': STANDIN}, stdout=subprocess.DEVNULL)

    def read(pid, name):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            return pathlib.Path(f'/proc/{pid}/{name}').read_bytes()
        return b''

    def below(pid):
        for child in map(int, read(pid, f'task/{pid}/children').split()):
            yield child
            yield from below(child)

    def sleeping():
        started = list(below(script.pid))
        return started if any(read(pid, 'cmdline').startswith(b'sleep\0') for pid in started) else None

    def wait_for(what):
        end = time.monotonic() + 60
        while not (found := what()):
            assert time.monotonic() < end, 'waited in vain'
            time.sleep(0.02)
        return found

    started = wait_for(sleeping)
    assert len(started) >= 3, 'it, its parent and what watches over both'
    assert {path.name for path in out.iterdir()} == {'report.md', 'logs.tar.gz'}, sorted(out.iterdir())
    script.kill()
    script.wait()
    wait_for(lambda: not any(read(pid, 'cmdline') for pid in started))


def check_crashed(pack):
    """So is what crashes."""
    (pack / 'fathom').write_text(f'#!/bin/sh\n[ "$1" != train ] || kill -SEGV $$\nexec {FATHOM} "$@"\n')
    done = gpu(pack, 'deep', 'machine', CUDA_HOME=STANDIN)
    report = (pack / 'out' / 'report.md').read_text()
    assert 'deep: **failed**: `fathom train' in report and 'ended with -11' in report, report
    assert '\nmachine: passed' in report and report.rstrip().endswith('2 parts, failed: deep') and done.returncode == 1, report


def check_kept(pack):
    """What comes early leaves time for speeds, and an answer is found among warnings."""
    sys.path.insert(0, str(pack))
    import gpu as script
    import gpu_bench
    now = 1000
    clock = gpu_bench.Clock(100, lambda: now)
    clock.begin(50)
    assert clock.left() == 50, clock.left()
    clock.begin(50, kept=90)
    assert clock.left() == 10, clock.left()
    now += 20
    clock.begin(50, kept=90)
    assert clock.left() == 1, clock.left()
    names = list(script.PARTS)
    assert names.index('compared') < names.index('cupti') < names.index('speed') < names.index('compiled'), names
    assert script.PARTS['speed'][2] > 100
    assert gpu_bench.answer('fathom: a warning\n{"a": [1]}\nthe end') == {'a': [1]}
    try:
        gpu_bench.answer('')
        raise AssertionError('an answer of nothing')
    except gpu_bench.Failed:
        pass


def check_figures(pack):
    """What PyTorch reaches is measured once for a GPU, whatever became of the run that measured it."""
    sys.path.insert(0, str(pack))
    import peer_figures
    what, asked, versions = {'model': 'resnet-50', 'batch': 256, 'dtype': 'fp16', 'mode': 'graph'}, [], {'torch': '2.9', 'cudnn': 91900}

    def run(words, most):
        if words[1] == '-c':
            return f'a warning\n{json.dumps(versions)}\n'
        asked.append(words)
        return 'a warning\n{"images_per_second": 2500.5, "peak_reserved_bytes": 5, "more": 1}\n'

    def measure(gpu, folder, *others):
        return peer_figures.Peers(gpu, script, folder, *others).measure(run, what, 15, 60)

    with tempfile.TemporaryDirectory(prefix='fathom-peers-') as name:
        first, second = pathlib.Path(name) / 'first', pathlib.Path(name) / 'second'
        script = pathlib.Path(name) / 'peer.py'
        script.write_text('first')
        first.mkdir()
        second.mkdir()
        assert measure('a', first) == {'images_per_second': 2500.5, 'peak_reserved_bytes': 5} and len(asked) == 1, asked
        with open(first / peer_figures.NAME, 'a') as file:
            file.write('{"key": {"gpu"')  # broken off
        assert measure('a', first)['images_per_second'] == 2500.5 and measure('a', second, first) and len(asked) == 1, asked
        measure('b', first)
        assert measure('b', first) and len(asked) == 2 and asked[1][:5] == ['python3', script, '--model', 'resnet-50', '--batch'], asked
        for change in (lambda: versions.update(torch='2.10'), lambda: versions.update(cudnn=92000), lambda: script.write_text('second')):
            change()
            before = len(asked)
            assert measure('b', first) and measure('b', first) and len(asked) == before + 1, f'{versions}: {asked}'


class Sanitized:
    """As much of gpu.py's Bench as its part for compute-sanitizer asks of, with outcomes given: None, or what is raised."""

    def __init__(self, pack, outcomes):
        self.sizes, self.environment = types.SimpleNamespace(dry=False), {'CUDA_HOME': str(pack)}
        self.fathom, self.out, self.commands = pack / 'fathom', pack, 0
        self.outcomes, self.runs, self.said = list(outcomes), [], []

    def run(self, words, most):
        self.runs.append([str(word) for word in words])
        outcome = self.outcomes[len(self.runs) - 1]
        if outcome:
            raise outcome

    def table(self, head, rows):
        pass

    def row(self, *cells):
        self.said.append(cells[-1])


def check_sanitizer(pack):
    """What compute-sanitizer has not finished is said, and where it has finished nothing the part fails."""
    tool = pack / 'bin' / 'compute-sanitizer'
    tool.parent.mkdir()
    tool.touch(0o755)
    sys.path.insert(0, str(pack))
    import gpu_bench
    import gpu_checks as script
    header = (SOURCE / 'trainer' / 'cuda' / 'kernels.h').read_text()
    kernels = re.findall(r'\b(?:EACH|ALONE)\((\w+)\)', header)
    for start in script.WAITING:
        assert any(name.startswith(start) for name in kernels), f'no kernel of ours is called {start}...'
    late, wrong = gpu_bench.Unfinished('took longer than 40 s'), gpu_bench.Failed('ended with 86')
    cases = ((None, late, late), None), ((late, late, late), 'no tool ended'), ((late, wrong, None), 'racecheck')
    for outcomes, why in cases:
        bench = Sanitized(pack, outcomes)
        try:
            script.part_sanitizer(bench)
            failed = None
        except gpu_bench.Failed as failure:
            failed = str(failure)
        assert failed == why or why and failed and failed.startswith(why), f'{failed}, not {why}'
        assert [said.startswith('not finished') for said in bench.said] == [outcome is late for outcome in outcomes], bench.said
        assert ['regex=^bn_' in words for words in bench.runs] == [False, True, True], bench.runs
        assert all(words[-2:] == ['--backend', 'cuda'] for words in bench.runs), bench.runs


def main():
    with tempfile.TemporaryDirectory(prefix='fathom-gpu-') as name:
        pack = pathlib.Path(name) / 'pack'
        done = subprocess.run(['bench/gpu/pack', '--dry', str(pack)], cwd=SOURCE, env={**os.environ, 'FATHOM_BUILT': str(FATHOM)},
                              capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 0, done.stdout + done.stderr
        check_without(pack)
        check_sanitizer(pack)
        check_kept(pack)
        check_found(pack)
        check_figures(pack)
        if STANDIN:
            print(check_with(pack))
            check_unrecorded(pack)
            check_bounded(pack)
            check_ended(pack)
            check_crashed(pack)
    return 0


sys.exit(main())
