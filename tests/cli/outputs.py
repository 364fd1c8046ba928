"""What commands read and write: no output destroys an input, nobody waits for a pipe, one run at a time, nothing is left."""
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

from commands import FATHOM, catches, expect, failures, finish, refused, run, wait_for, write

TRAIN = ['train', 'p.json', '--data', 'data', '--no-evaluate']


def made(*words, **options):
    done = run(*words, **options)
    assert done.returncode == 0, done.stderr
    return done


def make_inputs(folder):
    made('data', 'synth', 'data', '--train', 40, '--test', 8, cwd=folder)
    made('plan', 'resnet-8', '--batch', 8, '--gpus', 'cpu', '-o', 'p.json', cwd=folder)
    made(*TRAIN, '--iterations', 2, '--save', 'run', '--log', 'run.log', '--trace', 'run.trace', cwd=folder)
    made('devices', '--gpus', '2xcpu', '-o', 'machine.json', cwd=folder)
    write(folder / 'problem.csv', 'id,lower,upper,size\na,0,2,8\nb,1,3,8\n')
    for name in ('p.json', 'run.trace', 'machine.json', 'problem.csv'):
        os.symlink(name, folder / f'link-{name}')
        os.link(folder / name, folder / f'hard-{name}')


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}


def check_same_file(folder):
    """Refused before anything is written, whatever the file is called."""
    for part in ('train', 'test'):
        os.makedirs(folder / 'data' / part, exist_ok=True)
    before = contents(folder)
    train = [*TRAIN, '--iterations', 1]
    for name in ('p.json', './p.json', 'data/../p.json', 'link-p.json', 'hard-p.json'):
        refused([*train, '--log', name], '--log', name, cwd=folder)
        refused([*train, '--trace', name], '--trace', name, cwd=folder)
    for name in ('data/data_batch_1.bin', 'data/data_batch_5.bin', 'data/test.bin', 'data/batches.meta.txt'):
        refused([*train, '--log', name], '--log', name, 'dataset', cwd=folder)
        refused([*train, '--trace', name], '--trace', name, 'dataset', cwd=folder)
    for name in ('data/train/run', './data/test/x', 'data/train/new/run/'):
        refused([*train, '--save', name], '--save', name, 'dataset', cwd=folder)
    refused([*train, '--log', 'new', '--trace', './new'], '--trace', '--log', cwd=folder)
    refused([*train, '--log', 'new', '--save', 'new'], '--log', '--save', cwd=folder)
    refused([*train, '--log', 'run/step-000000000002.safetensors'], '--log', 'checkpoint', cwd=folder)
    refused([*train, '--trace', 'run/step-9.safetensors'], '--trace', 'checkpoint', cwd=folder)
    refused([*train, '--resume', 'run/step-000000000002.safetensors', '--trace', 'run/step-000000000002.safetensors'], '--trace', cwd=folder)
    refused([*train, '--log', 'problem.csv', '--trace', 'run.trace'], '--log', 'not a log', cwd=folder)
    refused([*train, '--save', 'run', '--trace', 'run.trace'], '--save', '--resume', cwd=folder)
    refused([*train, '--resume', 'run', '--log', 'problem.csv'], '--log', 'not a log', cwd=folder)
    adamw = ['train', 'resnet-8', '--batch', 8, '--gpus', 'cpu', '--optimizer', 'adamw', '--data', 'data', '--iterations', 3]
    done = run(*adamw, '--resume', 'run', cwd=folder)
    expect(done.returncode == 2 and "this one's is adamw" in done.stderr and 'going on' not in done.stdout,
           f'a resume that is refused: {done.returncode} {done.stdout} {done.stderr}')
    for name in ('p.json', '/dev/null', 'none'):
        refused(['train', 'p.json', '--data', name, '--trace', 'run.trace', '--log', 'run.log'], '--data', name, cwd=folder)
    for name in ('run.trace', 'link-run.trace', 'hard-run.trace'):
        refused(['trace', 'export', '--csv', 'run.trace', '-o', name], name, cwd=folder)
        refused(['plan', 'resnet-8', '--gpus', 'cpu', '--costs', f'run.trace,{name}', '-o', name], name, '--costs', cwd=folder)
    for name in ('machine.json', 'link-machine.json', 'hard-machine.json'):
        refused(['devices', '--gpus', 'machine.json', '-o', name], name, '--gpus', cwd=folder)
        refused(['plan', 'resnet-8', '--gpus', 'machine.json', '-o', name], name, '--gpus', cwd=folder)
        refused(['plan', 'resnet-8', '--gpus', 'machine.json', '--svg', name], name, '--gpus', cwd=folder)
    for name in ('problem.csv', 'link-problem.csv', 'hard-problem.csv'):
        refused(['place', 'problem.csv', '--minimise', '-o', name], name, cwd=folder)
        refused(['place', 'problem.csv', '--minimise', '--svg', name], name, cwd=folder)
    refused(['place', 'problem.csv', '--minimise', '-o', 'new', '--svg', 'data/../new'], 'new', cwd=folder)
    refused(['plan', 'resnet-8', '--gpus', 'cpu', '-o', 'new', '--svg', 'new'], 'new', cwd=folder)
    with open(folder / 'out', 'w') as out:
        done = subprocess.run([FATHOM, *TRAIN, '--iterations', '1', '--log', 'out'], cwd=folder, stdout=out, stderr=subprocess.PIPE, text=True)
    expect(done.returncode == 2 and 'standard output' in done.stderr, f'a log on standard output: {done.returncode} {done.stderr}')
    for words in (['place', 'problem.csv', '--minimise', '-o', '-'], ['plan', 'resnet-8', '--gpus', 'cpu', '-o', '-']):
        with open(folder / 'out', 'w') as out:
            done = subprocess.run([FATHOM, *words], cwd=folder, stdout=out, stderr=subprocess.STDOUT)
        told = (folder / 'out').read_text()
        expect(done.returncode == 2 and '--output: - is standard output, and standard error goes there too' in told,
               f'both streams in one file: {done.returncode} {told}')
    with open(folder / 'problem.csv', 'a') as both:
        done = subprocess.run([FATHOM, 'place', 'problem.csv', '--minimise', '-o', '-'], cwd=folder, stdout=both, stderr=subprocess.PIPE, text=True)
    expect(done.returncode == 2 and '--output: - is what fathom place reads' in done.stderr, f'an input as output: {done.returncode} {done.stderr}')
    os.unlink(folder / 'out')
    expect(contents(folder) == before, 'a refused command changed a file')


def check_no_files(folder):
    """A pipe, a socket or a device in the place of a file: one sentence, and no waiting."""
    os.mkfifo(folder / 'pipe')
    socket.socket(socket.AF_UNIX).bind(str(folder / 'socket'))
    inputs = [['plan', 'resnet-8', '--gpus', './{}'], ['plan', 'resnet-8', '--gpus', 'cpu', '--costs', '{}'],
              ['train', './{}', '--data', 'data'], ['train', 'p.json', '--data', '{}'],
              ['train', 'p.json', '--data', 'data', '--resume', '{}'], ['place', '{}', '--minimise'],
              ['place', '--check', '{}'], ['place', '--check', 'problem.csv', '{}'], ['top', '{}', '--once'], ['trace', 'stats', '{}'],
              ['trace', 'diff', 'run.trace', '{}'], ['data', 'info', '{}'], ['data', 'convert', '{}', 'new']]
    outputs = [['plan', 'resnet-8', '--gpus', 'cpu', '-o', '{}'], ['plan', 'resnet-8', '--gpus', 'cpu', '--svg', '{}'],
               [*TRAIN, '--log', '{}'], [*TRAIN, '--trace', '{}'], [*TRAIN, '--save', '{}'],
               ['trace', 'export', '--csv', 'run.trace', '-o', '{}'], ['place', 'problem.csv', '--minimise', '-o', '{}'],
               ['place', 'problem.csv', '--minimise', '--svg', '{}'], ['devices', '-o', '{}'], ['data', 'synth', '{}']]
    for words in [*inputs, *outputs]:
        for name in ('pipe', 'socket'):
            refused([word.format(name) for word in words], name, cwd=folder, timeout=20)
    refused(['place', '/dev/zero', '--minimise'], '/dev/zero', 'device')
    for words in (['plan', 'resnet-8', '--batch', 8, '--gpus', 'cpu', '-o'], [*TRAIN, '--iterations', 1, '--trace']):
        refused([*words, '/dev/full'], '/dev/full', 'space', code=1, cwd=folder)
    for name in ('data/batches.meta.txt', 'data/data_batch_3.bin'):
        os.rename(folder / name, folder / 'kept')
        os.mkfifo(folder / name)
        refused(['data', 'info', 'data'], name, cwd=folder, timeout=20)
        refused([*TRAIN, '--iterations', 1], name, cwd=folder, timeout=20)
        os.rename(folder / 'kept', folder / name)
    given = subprocess.run(['bash', '-c', '"$1" place <(cat problem.csv) --minimise -o >(cat) --json', 'sh', FATHOM], cwd=folder, capture_output=True, text=True, timeout=20)
    expect(given.returncode == 0 and 'offset' in given.stdout, f'a pipe of the shell: {given.stderr}')


def check_appending(folder):
    """What a shell appends to keeps what stood there."""
    write(folder / 'all.csv', 'before\n')
    done = subprocess.run(['sh', '-c', '"$0" place problem.csv --minimise -o - >> all.csv', FATHOM], cwd=folder, capture_output=True, text=True)
    text = (folder / 'all.csv').read_text()
    expect(done.returncode == 0 and text.startswith('before\n') and 'offset' in text, f'-o - >> file: {done.stderr} {text}')
    done = subprocess.run(['sh', '-c', '"$0" place problem.csv --minimise -o - >> problem.csv', FATHOM], cwd=folder, capture_output=True, text=True)
    expect(done.returncode == 2 and 'offset' not in (folder / 'problem.csv').read_text(), f'-o - >> its input: {done.returncode}')


def check_closed_streams(folder):
    """What is said goes nowhere, and not into the files that are written."""
    for closed in ('>&-', '2>&-', '<&- >&- 2>&-'):
        command = f'"$0" "$@" --iterations 2 --log c.log --trace c.trace {closed}'
        done = subprocess.run(['sh', '-c', command, FATHOM, *TRAIN], cwd=folder, timeout=60, stdout=subprocess.DEVNULL)
        log = (folder / 'c.log').read_text()
        expect(done.returncode == 0 and log.count('\n') == 2 and log.startswith('{"step": 1,'), f'{closed}: {done.returncode} {log!r}')
        expect(run('trace', 'check', 'c.trace', cwd=folder).returncode == 0, f'{closed}: the trace is damaged')
        done = subprocess.run(['sh', '-c', f'"$0" plan resnet-8 --batch 8 --gpus cpu -o c.json {closed}', FATHOM], cwd=folder, timeout=60, stdout=subprocess.DEVNULL)
        expect(done.returncode == 0 and (folder / 'c.json').read_bytes()[:1] == b'{', f'plan {closed}: {done.returncode}')


def check_locks(folder):
    """A second run is told who has the folder, the log or the trace, and changes nothing; a killed one leaves no lock."""
    words = [FATHOM, *TRAIN, '--iterations', '1000000', '--save', 'both', '--save-every', '1', '--log', 'both.log', '--trace', 'both.trace']
    first = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not list((folder / 'both').glob('*.safetensors')) and first.poll() is None:
            time.sleep(0.01)
        train = [*TRAIN, '--iterations', 1]
        for more in (['--save', 'both'], ['--resume', 'both'], ['--log', 'both.log'], ['--trace', 'both.trace']):
            kept = write(folder / 'kept.trace', 'FATHOMTR of an earlier run')
            other = [] if '--trace' in more else ['--trace', kept]
            refused([*train, *more, *other], more[1], f'process {first.pid} ' if more[0] != '--save' else 'both', cwd=folder)
            expect(kept.read_text() == 'FATHOMTR of an earlier run', f'{more}: the refused run replaced another trace')
    finally:
        first.kill()
        first.wait()
    done = run(*TRAIN, '--iterations', 1, '--resume', 'both', '--log', 'both.log', '--trace', 'both.trace', cwd=folder)
    expect(done.returncode == 0, f'after a killed run: {done.stderr}')
    expect(not (folder / 'both' / 'fathom.lock').exists(), 'the lock file stays')


def check_leftovers(folder):
    left = folder / 'run' / 'step-000000000077.safetensors.partial-2000000000-0123456789abcdef'
    write(left, 'cut')
    made(*TRAIN, '--iterations', 3, '--resume', 'run', cwd=folder)
    expect(not left.exists(), 'what a killed run left of a checkpoint stays')


def limit_files():
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))


def check_limit(folder):
    """A file that may not grow is a full disk: a sentence, exit code 1, and nothing half-written."""
    before = contents(folder)
    for words, name in ((['plan', 'resnet-20', '--gpus', 'cpu', '-o', 'big'], 'big'), (['plan', 'resnet-20', '--gpus', 'cpu', '--svg', 'big'], 'big'),
                        (['trace', 'export', '--chrome', 'run.trace', '-o', 'big'], 'big'), ([*TRAIN, '--iterations', 1, '--save', 'big'], 'big'),
                        ([*TRAIN, '--iterations', 4, '--resume', 'run'], 'run'), (['data', 'synth', 'big'], 'big'),
                        (['data', 'synth', 'data'], 'data')):
        refused(words, name, 'File too large', code=1, cwd=folder, preexec_fn=limit_files)
    expect(contents(folder) == before, f'a limit left behind {sorted(set(contents(folder)) ^ set(before))}')
    done = run(*TRAIN, '--iterations', 120, '--log', 'limited.log', '--trace', 'limited.trace', cwd=folder, preexec_fn=limit_files)
    log = (folder / 'limited.log').read_text()
    expect(done.returncode == 1 and 'limited.log' in done.stderr and 'trace ends' in done.stderr, f'a limited run: {done.returncode} {done.stderr}')
    expect(log.endswith('}\n') and log.count('\n') > 40, 'a limited log ends within a line')
    expect(run('trace', 'stats', 'limited.trace', cwd=folder).returncode == 0, 'a limited trace cannot be read')


def check_stopped_search(folder):
    """A search of minutes ends when it is asked to, within one memory layout, too, and says so."""
    words = ['plan', 'resnet-1001', '--gpus', 'titan-x', '--batch', 128, '--budget', '1GiB', '-o', 'searched.json']
    process = subprocess.Popen([FATHOM, *map(str, words)], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: process.poll() is not None or catches(process, signal.SIGTERM))
    process.send_signal(signal.SIGTERM)
    told, errors = process.communicate(timeout=60)
    expect(process.returncode in (1, -signal.SIGTERM) and not told and 'planning was stopped' in errors,
           f'a stopped search: {process.returncode} {told}{errors}')
    expect(not (folder / 'searched.json').exists(), 'a stopped search left a plan')


def main():
    with tempfile.TemporaryDirectory(prefix='fathom-outputs-') as name:
        folder = pathlib.Path(name)
        make_inputs(folder)
        check_same_file(folder)
        check_no_files(folder)
        check_appending(folder)
        check_closed_streams(folder)
        check_locks(folder)
        check_leftovers(folder)
        check_limit(folder)
        check_stopped_search(folder)
        left = [str(p.relative_to(folder)) for p in folder.rglob('*partial*')]
        expect(not left, f'left behind: {left}')
    return finish('commands kept what was there')


sys.exit(main())
