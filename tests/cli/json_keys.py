"""What `plan --json` and others print and what docs/formats.md says that they print are the same keys."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

FATHOM = os.path.abspath(sys.argv[1])
SOURCE = pathlib.Path(sys.argv[2])
LEAVES = {'classes'}  # its keys are the memory classes

COMMANDS = [
    'resnet-20 --gpus 2xtitan-x --explain',
    'resnet-164 --gpus 1GiB --micro-batches 1',
    'resnet-50 --gpus 2GiB --batch 4096 --micro-batches 1 --recompute none',
    'resnet-20 --gpus titan-x --search',
    'resnet-20 --gpus titan-x --fuse all --freeze stage1 --freeze-bn',
    'resnet-20 --gpus titan-x --batch 128 --bn-group 32',
    'resnet-29 --gpus titan-x --shortcut scaling --shortcut-scale 0.75',
    'resnet-20 --gpus titan-x --shortcut exclusive-gate --gate-bias -6',
    'resnet-20 --gpus titan-x --shortcut dropout',
    'resnet-20 --gpus 2xtitan-x --scaling',
    'resnet-20 --gpus titan-x --strategy pytorch',
    'resnet-20 --gpus 1GiB --batch 64 --max-batch',
    'resnet-20 --gpus 512MiB --batch 8 --recompute none --max-depth',
]


def documented(text, heading):
    """{path of the object: keys}, from a section whose headings name the objects and whose tables' first column keys."""
    section = text[text.index(heading):]
    section = section[:section.index('\n## ')]
    paths, objects = [''], {}
    for line in section.splitlines():
        if line.startswith('####'):
            paths = re.findall(r'`([^`]+)`', line) or ['']
        elif line.startswith('| `'):
            for path in paths:
                objects.setdefault(path, set()).update(re.findall(r'`([^`]+)`', line.split('|')[1]))
    return objects


def gather(value, path, objects):
    if isinstance(value, list):
        for item in value:
            if isinstance(item, (dict, list)):
                gather(item, path + '[]', objects)
    elif isinstance(value, dict):
        for key, child in value.items():
            objects.setdefault(path, set()).add(key)
            if key not in LEAVES:
                gather(child, f'{path}.{key}' if path else key, objects)


def printed():
    objects = {}
    for command in COMMANDS:
        done = subprocess.run([FATHOM, 'plan', *command.split(), '--json'], capture_output=True, text=True, timeout=250)
        said = [line for line in done.stderr.splitlines() if 'memory layout' not in line]  # progress, on a slow machine
        assert done.returncode in (0, 1) and not said, f'{command}: {done.returncode}, {done.stderr}'
        gather(json.loads(done.stdout), '', objects)
    return objects


def compared():
    """The keys of --compare, with what the text above the next section says of them."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [f'{folder}/{name}.json' for name in 'ab']
        for path, policy in zip(paths, ('none', 'elementwise')):
            subprocess.run([FATHOM, 'plan', 'resnet-20', '--gpus', '1GiB', '--recompute', policy, '-o', path], check=True,
                           capture_output=True)
        done = subprocess.run([FATHOM, 'plan', '--compare', *paths, '--json'], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    assert result['better'] == {'fits': None, 'memory': 'b', 'time': 'a'}, result['better']
    assert 'b is better in memory' in result['sentence'], result['sentence']
    return set(result) | set(result['better'])


def said_of_data():
    """The keys of `data info --json`."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([FATHOM, 'data', 'synth', folder, '--train', '20', '--test', '10'], check=True, capture_output=True)
        done = subprocess.run([FATHOM, 'data', 'info', folder, '--json', '--check'], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    assert result['divided'] is False, result
    return set(result) | set(result['classes'][0])


told, found = documented((SOURCE / 'docs/formats.md').read_text(), '### For scripts'), printed()
failures = [f'{path or "the object"}: {key} is printed, not documented'
            for path in found for key in sorted(found[path] - told.get(path, set()))]
failures += [f'{path or "the object"}: {key} is documented, not printed'
             for path in told for key in sorted(told[path] - found.get(path, set()))]
text = (SOURCE / 'docs/formats.md').read_text()
text = text[text.index('`fathom plan --compare --json`'):text.index('\n## Trace')]
failures += [f'--compare: {key} is printed, not documented' for key in sorted(compared()) if f'`{key}`' not in text]
text = (SOURCE / 'docs/formats.md').read_text()
text = text[text.index('| of `fathom data info --json`'):].split('\n\n')[0]
named = set(re.findall(r'`(\w+)`', '\n'.join(line.split(' | ', 1)[0] for line in text.splitlines()[2:]))) | {'name'}
failures += [f'data info: {key} is either printed or documented' for key in sorted(said_of_data() ^ named)]
print('\n'.join(failures))
print(f'{sum(map(len, told.values()))} keys, {len(failures)} failed')
sys.exit(bool(failures))
