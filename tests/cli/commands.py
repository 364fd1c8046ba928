"""Running the built program, and what a refused command must be like."""
import os
import subprocess
import sys

FATHOM = os.path.abspath(sys.argv[1])
failures = []
checked = [0]


def run(*words, **options):
    options = {'stdin': subprocess.DEVNULL, 'timeout': 120, 'capture_output': True, 'text': True, **options}
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


def finish(what):
    print('\n'.join(failures) or f'{checked[0]} {what}')
    return 1 if failures else 0
