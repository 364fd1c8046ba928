"""Names and words full of what a terminal obeys (escape sequences, also overlong or as C1, bidirectional controls): no
command lets them through, JSON and CSV give them back, and SVG stays XML."""
import csv
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

FATHOM, MAKE_TRACE = map(os.path.abspath, sys.argv[1:3])
NAME = 'a\x1b]0;b\x07\x9b31m\u202e\x7f\u2066,"\r\n猫'  # as text: JSON can hold it
BYTES = b'a\x1b[31m\xc0\x9b\xc2\x9b\x9b\xe2\x80\xae\x7f'  # as bytes of a word or a file's name
failures = []
checked = 0


def obeyed(text):
    """The first character of a text that a terminal would obey."""
    for c in text.replace('\n', ''):
        if c < ' ' or '\x7f' <= c <= '\x9f' or c in '\u061c\u200e\u200f\u2028\u2029' or '\u202a' <= c <= '\u202e' or '\u2066' <= c <= '\u2069':
            return c
    return None


def run(*words, code=None, cwd=None):
    global checked
    checked += 1
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    done = subprocess.run([FATHOM.encode(), *words], capture_output=True, stdin=subprocess.DEVNULL, cwd=cwd, timeout=60)
    for stream, output in (('stdout', done.stdout), ('stderr', done.stderr)):
        try:
            found = obeyed(output.decode())
        except UnicodeDecodeError as fault:
            found = fault
        if found:
            failures.append(f'{words}: {stream} has {found!r}: {output[:400]!r}')
    if code is not None and done.returncode != code:
        failures.append(f'{words}: exit code {done.returncode}, not {code}: {done.stderr[-300:]!r}')
    return done.stdout.decode(errors='replace')


def check_words(folder):
    missing = os.fsencode(folder) + b'/' + BYTES
    run(BYTES, code=2)
    run('help', BYTES, code=2)
    for command in ('plan', 'train', 'top', 'trace', 'place', 'devices', 'data'):
        run(command, BYTES)
        run(command, missing)
        run(command, b'--' + BYTES, code=2)
    for words in (['trace', 'stats', missing], ['trace', 'diff', missing, missing], ['trace', 'check', missing], ['data', 'info', missing],
                  ['data', 'convert', missing, missing], ['place', missing, '--minimise'], ['plan', '--compare', missing, missing], ['train', missing],
                  ['plan', 'resnet-20', '--gpus', BYTES], ['plan', 'resnet-20', '--batch', BYTES], ['plan', 'resnet-20', '--costs', missing],
                  ['plan', 'resnet-20', '--gpus', 'cpu', '--batch', '8', '-o', missing + b'/x'], ['plan', 'resnet-20', '--unit', BYTES],
                  ['place', missing, '--capacity', BYTES], ['place', missing, '--chunks', BYTES], ['data', 'synth', '/proc/' + BYTES.decode('latin-1')]):
        run(*words, code=2)


def check_json_files(folder):
    file = folder / 'file.json'
    for content in (f'{{"version": {NAME}', json.dumps({NAME: NAME}), json.dumps({'version': NAME}), '{"a": "\x1b"}', json.dumps({'format': NAME}),
                    json.dumps({'version': 1, 'devices': [{'name': NAME * 10}]}), json.dumps({'version': 1, 'devices': [{NAME: 1}]})):
        file.write_text(content, newline='')
        run('plan', 'resnet-20', '--gpus', file, code=2)
        run('train', file, code=2)
        run('plan', '--compare', file, file, code=2)


def check_device(folder):
    name = 'x\x1b[1m\x9b\u202e\x7f'
    machine = folder / 'machine.json'
    devices = [{'name': name, 'kind': 'cpu', 'memory_bytes': 4 << 30}]
    machine.write_text(json.dumps({'version': 1, 'devices': devices}))
    words = ['plan', 'resnet-8', '--batch', '8', '--gpus', machine]
    run(*words, '-o', folder / 'plan.json', '--svg', folder / 'plan.svg', '--explain', code=0)
    run(*words, '--batch', '8', '--search', '--svg', folder / 'frontier.svg')
    for picture in ('plan.svg', 'frontier.svg'):
        if (folder / picture).exists():
            xml.etree.ElementTree.parse(folder / picture)
    told = json.loads(run(*words, '--json', code=0))
    if told['devices'][0]['name'] != name:
        failures.append(f'plan --json: {told["devices"][0]["name"]!r}')
    run('plan', '--compare', folder / 'plan.json', folder / 'plan.json', code=0)
    machine.write_text(json.dumps({'version': 1, 'devices': [{**devices[0], 'memory_bytes': 1 << 20}]}))
    run(*words)


def check_data(folder):
    data = folder / 'data'
    run('data', 'synth', data, '--train', 50, '--test', 10, code=0)
    meta = data / 'batches.meta.txt'
    names = [b'c%d' % i + BYTES for i in range(10)]
    meta.write_bytes(b'\n'.join(names) + b'\n')
    run('data', 'info', data, code=0)
    classes = json.loads(run('data', 'info', data, '--json', code=0))['classes']
    if classes[3]['name'] != 'c3a\x1b[31m??\x9b?\u202e\x7f':
        failures.append(f'data info --json: {classes[3]}')
    images = folder / 'images'
    for part in (b'/train/', b'/test/'):
        os.makedirs(os.fsencode(images) + part + BYTES)
        pathlib.Path(os.fsdecode(os.fsencode(images) + part + BYTES + b'/' + BYTES + b'.jpg')).write_bytes(b'no JPEG')
    run('data', 'info', images)
    run('data', 'info', images, '--check')
    run('data', 'convert', images, folder / 'out')


def all_of(main_side):
    """What was written to a terminal whose other side is closed; a read gives a part of it."""
    seen = b''
    while True:
        try:
            part = os.read(main_side, 4096)
        except OSError:  # Linux's end of a terminal
            return seen
        if not part:
            return seen
        seen += part


def check_place(folder):
    problem, placed, picture = folder / 'p.csv', folder / 'placed.csv', folder / 'p.svg'
    ids = [BYTES + b'%d' % i for i in range(4)] + [b',"\n', b'x']
    rows = b''.join(b'"%s",0,2,%d\n' % (id.replace(b'"', b'""'), 8 + i) for i, id in enumerate(ids))
    problem.write_bytes(b'id,lower,upper,size\n' + rows)
    run('place', problem, '--minimise', '--live', '-o', placed, '--svg', picture, code=0)
    xml.etree.ElementTree.parse(picture)
    live = json.loads(run('place', problem, '--minimise', '--live', '--json', code=0))['live']
    if sorted(live)[-1] != 'x' or ',"\n' not in live:
        failures.append(f'place --json: {live}')
    with open(placed, newline='', encoding='latin-1') as file:
        back = [row['id'].encode('latin-1') for row in csv.DictReader(file)]
    if back != ids:
        failures.append(f'place -o: {back}')
    run('place', '--check', placed, problem, code=0)
    main_side, program_side = os.openpty()
    subprocess.run([FATHOM, 'place', problem, '--minimise', '-o', '-'], stdin=subprocess.DEVNULL, stdout=program_side, stderr=program_side, check=True)
    os.close(program_side)
    seen = all_of(main_side).decode().replace('\r\n', '\n')
    os.close(main_side)
    if obeyed(seen) or '\\x1b[31m' not in seen:
        failures.append(f'place -o - on a terminal: {seen!r}')
    problem.write_bytes(b'id,lower,upper,size\n' + rows.replace(b',0,2,', b',0,3,'))
    run('place', '--check', placed, problem)
    run('place', '--check', placed, problem, '--json')
    problem.write_bytes(b'id,lower,upper,size\n' + rows + rows)
    run('place', problem, '--minimise', code=2)
    problem.write_bytes(b'id,lower,upper,size,' + BYTES + b'\n')
    run('place', problem, '--minimise', code=2)
    problem.write_bytes(b'id,lower,upper,size\na,' + BYTES + b',1,1\n')
    run('place', problem, '--minimise', code=2)


def check_trace(folder):
    trace, other = folder / 'a.trace', folder / 'b.trace'
    subprocess.run([MAKE_TRACE, trace, '20', '2', 'hostile'], check=True)
    subprocess.run([MAKE_TRACE, other, '20', '1'], check=True)
    for by in ('op', 'layer', 'unit', 'stage', 'kind', 'pass'):
        run('trace', 'stats', trace, '--by', by, code=0)
        heads = [line.split() for line in run('trace', 'diff', trace, other, '--by', by, code=0).splitlines() if line.endswith(' Name')]
        if heads != [['A', 'B', 'Change', 'Noise', 'Of', 'A', 'Name']]:
            failures.append(f'trace diff --by {by}: its columns are {heads}')
        json.loads(run('trace', 'stats', trace, '--by', by, '--json', code=0))
        json.loads(run('trace', 'diff', trace, other, '--by', by, '--json', code=0))
        rows = list(csv.reader(io.StringIO(run('trace', 'export', '--csv', trace, '--by', by, code=0))))
        if len({len(row) for row in rows}) != 1:
            failures.append(f'trace export --csv --by {by}: rows of {({len(row) for row in rows})} fields')
    json.loads(run('trace', 'export', '--chrome', trace, code=0))
    run('trace', 'check', trace, code=0)
    for view in ('overview', 'ops', 'layers', 'memory', 'loss'):
        for size in ('24x80', '40x120', '50x200'):
            run('top', trace, '--once', '--view', view, '--size', size, code=0)
    run('top', trace, '--once', '--filter', BYTES, code=0)
    json.loads(run('top', trace, '--batch', 'json', code=0))
    rows = list(csv.reader(io.StringIO(run('top', trace, '--batch', 'csv', code=0), newline='')))
    if len({len(row) for row in rows}) != 1 or not any(',"\\r\n' in field for row in rows for field in row):
        failures.append(f'top --batch csv: rows of {({len(row) for row in rows})} fields')


def check_train(folder):
    """A run whose data, log, trace and checkpoints have such names, stopped and resumed; then a plan whose model has one."""
    here = os.fsencode(folder) + b'/' + BYTES
    os.mkdir(here)
    data, trace, save, log, plan = (here + b'/' + name + BYTES for name in (b'd', b't', b's', b'l', b'p'))
    run('data', 'synth', data, '--train', 20, '--test', 10, code=0)
    run('plan', 'resnet-8', '--batch', 4, '--gpus', 'cpu', '-o', plan, code=0)
    words = ['train', plan, '--data', data, '--trace', trace, '--save', save, '--log', log, '--evaluate-images', 4]
    run(*words, '--iterations', 2, code=0)
    run(*words, '--iterations', 2)
    run(*words[:-4], '--resume', save, '--iterations', 4, code=0)
    run('train', plan, '--data', data, '--resume', data, '--iterations', 4)
    run('top', trace, '--once', code=0)
    run('trace', 'check', trace, code=0)
    run('plan', 'resnet-8', '--batch', 4, '--gpus', 'cpu', '--costs', trace, '-o', plan, '--svg', here + b'/x')
    names = json.loads(pathlib.Path(os.fsdecode(plan)).read_text())
    for change in (lambda plan: plan['model'].update(name=NAME), lambda plan: plan.update({NAME: NAME}), lambda plan: plan['devices'][0].update(kind=NAME)):
        changed = json.loads(json.dumps(names))
        change(changed)
        pathlib.Path(os.fsdecode(plan)).write_text(json.dumps(changed))
        run('train', plan, '--data', data, '--iterations', 1)
        run('plan', '--compare', plan, plan)
    (folder / 'photos').mkdir()
    os.mkdir(os.fsencode(folder) + b'/photos/' + BYTES)
    run('train', 'resnet-18', '--data', folder / 'photos', '--iterations', 1)


def main():
    with tempfile.TemporaryDirectory(prefix='fathom-hostile-') as name:
        for check in (check_words, check_json_files, check_device, check_data, check_place, check_trace, check_train):
            folder = pathlib.Path(name) / check.__name__
            folder.mkdir()
            check(folder)
    print('\n'.join(failures) or f'{checked} commands, none lets a control character through')
    return 1 if failures else 0


sys.exit(main())
