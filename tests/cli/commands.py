"""Running the built program, and what a refused command must be like."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

FATHOM = os.path.abspath(sys.argv[1])
# Of what differs only in where, how often or between how many, less is tried, as in C (rounds.h): under `./dev test`'s sanitizers.
FEW = 'FATHOM_TEST_FEW' in os.environ
failures = []
checked = [0]
# A shell lets what it runs in the background ignore SIGINT, and so would every run that a test sends one.
signal.signal(signal.SIGINT, signal.default_int_handler)


def run(*words, **options):
    given = {} if 'input' in options else {'stdin': subprocess.DEVNULL}
    options = {**given, 'timeout': 120, 'capture_output': True, 'text': True, **options}
    return subprocess.run([FATHOM, *map(str, words)], **options)


def refused(words, *parts, code=2, **options):
    """The command fails with `code`, one line of explanation, and all `parts` in it."""
    checked[0] += 1
    done = run(*words, **options)
    line = done.stderr.strip()
    wrong = []
    if done.returncode != code:
        wrong.append(f'exit code {done.returncode}, not {code}')
    if not line or '\n' in line:
        wrong.append('not one line')
    wrong += [f'does not say {part!r}' for part in parts if str(part).lower() not in line.lower()]
    if wrong:
        failures.append(f'fathom {" ".join(map(str, words))}: {"; ".join(wrong)}\n    {line or done.stdout[-300:]}')


def expect(right, what):
    checked[0] += 1
    if not right:
        failures.append(what)


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def wait_for(what):
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end, 'nothing came'
        time.sleep(0.02)


def catches(process, number):
    """Whether the process handles the signal by now, or has ended."""
    if process.poll() is not None:
        return True
    caught = re.search(r'^SigCgt:\s*([0-9a-f]+)', pathlib.Path(f'/proc/{process.pid}/status').read_text(), re.MULTILINE)
    return caught is not None and int(caught[1], 16) >> number - 1 & 1 == 1


def log_of(folder):
    """The lines of a run's log without what is of the moment."""
    lines = [json.loads(line) for line in (folder / 'log.jsonl').read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != 'images_per_second'} for line in lines]


def check_with_images(what, *checks):
    """Each check(scratch, data) in turn, in a temporary folder with 200 training and 40 test images in data."""
    os.environ['FATHOM_CPU_THREADS'] = '1'  # as fast with nets so small, and none waits for another where all cores are busy
    with tempfile.TemporaryDirectory(prefix='fathom-') as name:
        scratch = pathlib.Path(name)
        data = scratch / 'data'
        os.chdir(scratch)
        expect(run('data', 'synth', data, '--train', 200, '--test', 40).returncode == 0, 'no data')
        for check in checks:
            check(scratch, data)
    return finish(what)


def finish(what):
    print('\n'.join(failures) or f'{checked[0]} {what}')
    return 1 if failures else 0
