"""What README.md, docs/guide.md and docs/*.svg show of the program is what it prints.

A fenced block after `<!-- from the program -->` holds commands ("$ build/fathom ...") with their output; a line "..." stands
for lines left out. A figure in the text after `<!-- COMMAND: KEY -->` is that key of the command's JSON, as per cent.
Times of planning are not compared. Of the screen of `fathom top` in README.md the titles of the ops' columns are, with those of
a short run; the screen itself is somebody's to make anew. With --write the documents are made what the program prints
(`./dev docs`)."""
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(sys.argv[1])
FATHOM = os.path.abspath(sys.argv[2])
WRITE = '--write' in sys.argv[3:]
DOCUMENTS = ('README.md', 'docs/guide.md')
PICTURES = {'docs/resnet-1001.svg': 'plan resnet-1001 --batch 128 --gpus 2x12GiB',
            'docs/resnet-1001-4GiB.svg': 'plan resnet-1001 --batch 128 --gpus 4GiB'}
told = {}  # what commands said as JSON
BLOCK = re.compile(r'(<!-- from the program -->\n```\n)(.*?)(```\n)', re.S)
FIGURE = re.compile(r'<!-- (plan [^:>]+): (\w+) -->([\d.]+) %')
TIMES = re.compile(r'^(  planned in +)\d[\d.]* \S+$', re.M)


def run(command, *more):
    """Standard output of `fathom COMMAND`, whether the plan fits or not."""
    environment = {**os.environ, 'LC_ALL': 'C.UTF-8'}
    with tempfile.TemporaryDirectory(prefix='fathom-docs-') as folder:
        done = subprocess.run([FATHOM, *shlex.split(command), *more], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode > 1:
        raise SystemExit(f'fathom {command}: {done.stderr}')
    return done.stdout.rstrip('\n').split('\n')


def elide(printed, shown):
    """The printed lines with those left out that are left out of the shown ones."""
    if '...' not in shown:
        return printed
    at = shown.index('...')
    after = shown[at + 1:]
    starts = [i for i, line in enumerate(printed) if after and line == after[0] and i >= at]
    rest = printed[starts[0]:] if starts else after
    rest = rest[:rest.index('')] if '' in rest else rest
    return printed[:at] + ['...'] + rest


def renew_block(match):
    out = []
    for part in filter(None, re.split(r'^(?=\$ )', match.group(2), flags=re.M)):
        lines = part.rstrip('\n').split('\n')
        if lines[0].startswith('$ build/fathom '):
            printed = elide(run(lines[0][len('$ build/fathom '):]), lines[1:])
            lines = [lines[0], *printed]
        out.append('\n'.join(lines) + '\n')
    made = ''.join(out)
    same = TIMES.sub(r'\1', made) == TIMES.sub(r'\1', match.group(2))
    return match.group(0) if same else match.group(1) + made + match.group(3)


def renew_figure(match):
    command, key = match.groups()[:2]
    if command not in told:
        told[command] = '\n'.join(run(command, '--json'))
    return f'<!-- {command}: {key} -->{100 * json.loads(told[command])[key]:.1f} %'


def renewed(name):
    if name in PICTURES:
        with tempfile.TemporaryDirectory(prefix='fathom-docs-') as folder:
            picture = pathlib.Path(folder) / 'picture.svg'
            told[PICTURES[name]] = '\n'.join(run(PICTURES[name], '--json', '--svg', str(picture)))
            return picture.read_text()
    text = BLOCK.sub(renew_block, (SOURCE / name).read_text())
    return FIGURE.sub(renew_figure, text)


def titles(screen):
    return next((line for line in screen if line.startswith('│') and ' Pass ' in line), None)


def titles_of_a_run():
    with tempfile.TemporaryDirectory(prefix='fathom-docs-') as folder:
        data, trace = f'{folder}/data', f'{folder}/run.trace'
        run(f'data synth {data} --train 64 --test 16')
        run(f'train resnet-8 --batch 8 --gpus cpu --data {data} --iterations 4 --no-evaluate --trace {trace}')
        return titles(run(f'top {trace} --once --size 24x80'))


def main():
    stale = []
    shown, printed = titles((SOURCE / 'README.md').read_text().split('\n')), titles_of_a_run()
    if shown is None or shown != printed:
        print(f'README.md: the screen of `fathom top` has the columns\n{shown}\nand the program\n{printed}')
        return 1
    for name in (*PICTURES, *DOCUMENTS):
        old, new = (SOURCE / name).read_text(), renewed(name)
        if old == new:
            continue
        stale.append(name)
        if WRITE:
            (SOURCE / name).write_text(new)
    if WRITE:
        print('\n'.join(f'{name} renewed' for name in stale) or 'nothing has changed')
        return 0
    print('\n'.join(f'{name} is not what the program prints: ./dev docs renews it' for name in stale) or 'documents are what the program prints')
    return 1 if stale else 0


sys.exit(main())
