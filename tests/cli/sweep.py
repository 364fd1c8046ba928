"""Tables of runs: what they come to, going on however they ended, and rows that are refused."""
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import xml.etree.ElementTree
import zlib

from commands import FATHOM, check_with_images, expect, log_of, refused, run, wait_for, write

SOURCE = pathlib.Path(sys.argv[2]).resolve()
FORMATS = (SOURCE / 'docs/formats.md').read_text()
TABLE = {'name': 'two units', 'source': 'nobody', 'model': 'resnet-8', 'seeds': [3, 4],
         'options': {'gpus': 'cpu', 'batch': 8, 'iterations': 4, 'evaluate-images': 40, 'no-augment': True},
         'rows': [{'name': 'Original, as it is', 'published': 6.61},
                  {'name': 'pre-activation', 'published': 'fail', 'options': {'unit': 'preact', 'no-augment': False}}]}


def sweep(folder, data, *words, **options):
    done = run('sweep', folder.with_suffix('.json'), '--data', data, '-o', folder, '--json', *words, **options)
    return json.loads(done.stdout) if done.stdout else {}, done


def runs_of(told):
    return {(row['name'], one['seed']): one for row in told['rows'] for one in row['runs']}


def check_table(scratch, data):
    """Means and deviations are those of the runs' tests; nothing is run twice."""
    folder = scratch / 'table'
    write(folder.with_suffix('.json'), json.dumps(TABLE))
    told, done = sweep(folder, data, '--dry-run')
    expect(done.returncode == 0 and not folder.exists(), f'a dry run has run: {done.stderr}')
    expect([one['state'] for one in runs_of(told).values()] == ['new'] * 4 and all(row['planned_bytes'] > 1e6 and row['batch'] == 8 and row['iterations'] == 4
           and row['mean'] is None and row['deviation'] is None for row in told['rows']), f'a dry run: {told}')
    keys = set(told) | set(told['rows'][0]) | set(told['rows'][0]['runs'][0])
    documented = FORMATS[FORMATS.index('## Sweep'):]
    expect(all(f'`{key}`' in documented for key in keys | set(TABLE) | {'published', 'compare'}), 'a key of sweeps is not documented')
    told, done = sweep(folder, data)
    expect(done.returncode == 0 and told['compare'] == 'top1_error' and told['source'] == 'nobody', f'a sweep: {done.stderr}')
    expect('run 1 of 4: Original, as it is, seed 3' in done.stderr and 'run 2 of 4: pre-activation, seed 3' in done.stderr, f'its words: {done.stderr}')
    for row, name in zip(told['rows'], ('original-as-it-is', 'pre-activation')):
        errors = [log_of(folder / name / f'seed-{seed}')[-1]['top1_error'] for seed in (3, 4)]
        expect(row['seeds'] == 2 and abs(row['mean'] - statistics.mean(errors)) < 1e-12 and abs(row['deviation'] - statistics.stdev(errors)) < 1e-12,
               f'{name}: {errors} is told as {row}')
        commands = [json.loads((folder / name / f'seed-{seed}' / 'run.json').read_text())['starts'][0]['command'] for seed in (3, 4)]
        expect(('--no-augment' in commands[0]) == (name != 'pre-activation') and '--seed 4' in commands[1], f'{commands}')
    expect([row['published'] for row in told['rows']] == ['6.61', 'fail'], f'published: {told}')
    xml.etree.ElementTree.parse(folder / 'curves.svg')
    before = {path: path.stat().st_mtime_ns for path in folder.rglob('run.json')}
    done = run('sweep', folder.with_suffix('.json'), '--data', data, '-o', folder)
    expect(done.returncode == 0 and '±' in done.stdout and 'Original, as it is' in done.stdout and '6.61' in done.stdout
           and before == {path: path.stat().st_mtime_ns for path in folder.rglob('run.json')}, f'a finished sweep: {done.stdout}{done.stderr}')
    refused(['sweep', folder.with_suffix('.json'), '--data', data, '-o', folder, '--', '--batch', 4], 'seed-3', 'other options', '-o')
    lines = (folder / 'pre-activation/seed-3/log.jsonl').read_bytes()
    for path in ('pre-activation/seed-3/log.jsonl', 'pre-activation/new.svg', 'original-as-it-is'):
        refused(['sweep', folder.with_suffix('.json'), '--data', data, '-o', folder, '--svg', folder / path], '--svg', path, "sweep's runs")
    expect(lines == (folder / 'pre-activation/seed-3/log.jsonl').read_bytes(), 'a picture has replaced a file of a run')
    told, done = sweep(folder, data, '--dry-run', '--svg', scratch / 'none.svg')
    expect(not (scratch / 'none.svg').exists() and all(row['predicted_seconds'] > 0 for row in told['rows']), f'a dry run of a finished sweep: {told}')


def check_one_seed(scratch, data):
    folder = scratch / 'one'
    write(folder.with_suffix('.json'), json.dumps({**TABLE, 'seeds': [3], 'compare': 'loss', 'rows': TABLE['rows'][:1]}))
    told, done = sweep(folder, data, '--', '--iterations', 2)
    row = told['rows'][0]
    expect(done.returncode == 0 and row['seeds'] == 1 and row['deviation'] is None and row['mean'] == log_of(folder / 'original-as-it-is/seed-3')[-1]['loss']
           and row['runs'][0]['step'] == 2, f'one seed: {row}')
    told = run('sweep', folder.with_suffix('.json'), '--data', data, '-o', folder, '--', '--iterations', 2).stdout
    expect('±' not in told.split('measured: ')[0], f'one seed has a deviation: {told}')


def check_going_on(scratch, data):
    """Ctrl-C, then kill -9, then to the end: as if nothing had happened."""
    table = {**TABLE, 'options': {**TABLE['options'], 'iterations': 150, 'save-every': 10, 'no-evaluate': True}, 'compare': 'loss', 'seeds': [1],
             'rows': TABLE['rows'] + [{'name': 'diverges', 'model': 'plain-8', 'options': {'learning-rate': 1000, 'schedule': 'constant'}}]}
    folder, whole = scratch / 'parts', scratch / 'whole'
    for path in (folder, whole):
        write(path.with_suffix('.json'), json.dumps(table))
    command = [FATHOM, 'sweep', str(folder.with_suffix('.json')), '--data', str(data), '-o', str(folder)]
    for number, row in ((signal.SIGINT, 'original-as-it-is'), (signal.SIGKILL, 'pre-activation')):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        first = folder / row / 'seed-1'
        wait_for(lambda: any(first.glob('step-*.safetensors')))
        if number == signal.SIGINT:
            refused(command[1:], 'parts', f'process {process.pid}')
        process.send_signal(number)
        said = process.communicate(timeout=60)[0]
        if number == signal.SIGINT:
            expect(process.returncode == 0 and 'the same command goes on' in said, f'Ctrl-C of a sweep: {said}')
            state = json.loads((first / 'run.json').read_text())
            expect(state['state'] == 'stopped' and 10 <= state['step'] < 150, f'a sweep that was stopped: {state}')
    told, done = sweep(folder, data)
    expect(done.returncode == 0, f'a sweep that goes on: {done.stderr}')
    straight, done = sweep(whole, data)
    for (name, seed), one in runs_of(told).items():
        expect(one['state'] == ('diverged' if name == 'diverges' else 'finished'), f'{name}: {one}')
        other = runs_of(straight)[name, seed]
        expect([line['loss'] for line in log_of(pathlib.Path(one['folder']))] == [line['loss'] for line in log_of(pathlib.Path(other['folder']))],
               f'{name}: other losses once the sweep went on')
    starts = [len(json.loads((pathlib.Path(one['folder']) / 'run.json').read_text())['starts']) for one in runs_of(told).values()]
    expect(starts == [2, 2, 1], f'starts of the runs: {starts}')
    expect(told['rows'][2]['mean'] is None and 'diverged' in runs_of(told)['diverges', 1]['reason'], f'{told["rows"][2]}')


def check_failure(scratch, data):
    """A run that fails otherwise is told, and tried again by the next command."""
    folder = scratch / 'fails'
    write(folder.with_suffix('.json'), json.dumps({**TABLE, 'seeds': [1]}))
    blocked = folder / 'original-as-it-is' / 'seed-1'
    blocked.mkdir(parents=True)
    write(blocked / 'log.jsonl', 'mine')
    told, done = sweep(folder, data)
    states = [one['state'] for one in runs_of(told).values()]
    expect(done.returncode == 1 and states == ['failed', 'finished'] and (blocked / 'log.jsonl').read_text() == 'mine', f'a run that cannot begin: {states}')
    (blocked / 'log.jsonl').unlink()
    told, done = sweep(folder, data)
    expect(done.returncode == 0 and [one['state'] for one in runs_of(told).values()] == ['finished'] * 2, f'the failed run again: {done.stderr}')


def check_kill(scratch, data):
    """A run that is killed is told with the signal and its step; all are told though the picture cannot be drawn."""
    folder = scratch / 'killed'
    write(folder.with_suffix('.json'), json.dumps({**TABLE, 'seeds': [1], 'rows': TABLE['rows'][:1],
                                                   'options': {**TABLE['options'], 'iterations': 100000, 'no-evaluate': True}}))
    command = [FATHOM, 'sweep', str(folder.with_suffix('.json')), '--data', str(data), '-o', str(folder), '--json', '--svg', str(scratch / 'gone' / 'x.svg')]
    refused(command[1:], '--svg', 'x.svg')
    expect(not folder.exists(), 'a sweep whose picture cannot be written has left its folder')
    refused([*command[1:-1], folder / 'original-as-it-is' / 'x.svg'], '--svg', 'x.svg', "sweep's runs")
    expect(not folder.exists(), 'a sweep whose picture is in a folder of its runs has left its folder')
    (scratch / 'gone').mkdir()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = folder / 'original-as-it-is' / 'seed-1' / 'log.jsonl'
    wait_for(lambda: lines.exists() and len(lines.read_text().splitlines()) > 2)
    children = pathlib.Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    (scratch / 'gone').rmdir()
    os.kill(int(children[0]), signal.SIGKILL)
    out, said = process.communicate(timeout=60)
    step = len(lines.read_text().splitlines())
    one = json.loads(out)['rows'][0]['runs'][0] if out else {}
    expect(process.returncode == 1 and one['state'] == 'failed' and f'killed by SIGKILL after step {step}' in one['reason']
           and one['reason'] in said.replace('\n  ', ' ') and 'x.svg' in said, f'a run that was killed: {one} {said}')


def check_refusals(scratch, data):
    def wrong(change, *parts):
        path = write(scratch / 'wrong.json', json.dumps({**TABLE, **change}))
        refused(['sweep', path, '--data', data, '-o', scratch / 'wrong'], 'wrong.json', *parts)

    def row(**change):
        return {'rows': [TABLE['rows'][0], {**TABLE['rows'][1], **change}]}

    wrong({'row': []}, "'row'", "'rows'")
    wrong({'rows': []}, 'rows', '1 to')
    wrong({'seeds': [1, 1]}, 'seeds', 'twice')
    wrong({'seeds': [-1]}, 'seeds', 'place 1')
    wrong({'compare': 'top1_eror'}, 'compare', 'top1_error')
    wrong(row(optionz={}), "row 'pre-activation'", "'options'")
    wrong(row(options={'unit': 'preactt'}), "row 'pre-activation'", '--unit', 'did you mean preact')
    wrong(row(options={'momentun': 1}), "row 'pre-activation'", '--momentun', '--momentum')
    wrong(row(options={'seed': 1}), "row 'pre-activation'", 'seed', 'seeds')
    wrong(row(options={'lo': 'elsewhere.jsonl'}), "row 'pre-activation'", "option 'lo'", "sweep's own")
    wrong(row(options={'': True}), "row 'pre-activation'", "option ''", 'its name alone')
    wrong(row(options={'batch': [1]}), "row 'pre-activation'", 'batch')
    wrong(row(model='resnet-9'), "row 'pre-activation'", 'resnet-9')
    wrong(row(name='original as IT is'), 'original-as-it-is')
    wrong(row(published=[]), 'published')
    wrong(row(name='Curves.SVG'), "row 'Curves.SVG'", 'curves.svg', "file of the sweep's folder")
    wrong(row(options={'batch': True}), "row 'pre-activation'", "'batch'", 'a value is wanted')
    wrong({'options': {**TABLE['options'], 'iterations': True}}, 'all rows', "'iterations'", 'a value is wanted')
    expect(not (scratch / 'wrong').exists(), 'a refused sweep has begun')
    path = write(scratch / 'right.json', json.dumps(TABLE))
    for word in ('--log', '--save', '--trace', '--run', '--seed', '--resume=x', '--data', '--data-dir', '--to', '--restarts'):
        refused(['sweep', path, '--data', data, '-o', scratch / 'wrong', '--', '--batch', 4, word, 'x'], word, 'after --')
    expect(not (scratch / 'wrong').exists(), 'a refused sweep has begun')
    refused(['sweep'], 'file')
    refused(['sweep', path], '--data')
    refused(['sweep', path, 'more', '--data', data], 'more')
    refused(['sweep', path, '--data', scratch / 'none'], 'none')
    refused(['sweep', path, '--data', data, '-o', path], 'right.json')
    refused(['sweep', write(scratch / 'text.json', 'rows'), '--data', data], 'text.json', 'line 1')


def write_png(path, size):
    def chunk(kind, content):
        return len(content).to_bytes(4, 'big') + kind + content + zlib.crc32(kind + content).to_bytes(4, 'big')

    header = size.to_bytes(4, 'big') * 2 + bytes([8, 2, 0, 0, 0])
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(bytes((1 + 3 * size) * size))) + chunk(b'IEND', b''))


def check_papers(scratch, data):
    """The tables that are here can be run: all rows are planned, each with what was published."""
    pictures = scratch / 'pictures'
    for part in ('train', 'test'):
        for name in 'ab':
            write_png(pictures / part / name / 'one.png', 8)
    installed = (SOURCE / 'recipes/meson.build').read_text()
    files = sorted((SOURCE / 'recipes/sweeps').iterdir())
    expect(len(files) >= 9, f'tables: {files}')
    for path in files:
        photos = 'resnet-50' in path.read_text()
        done = run('sweep', path, '--data', pictures if photos else data, '--dry-run', '--json', '--', '--gpus', 'cpu', *(['--classes', 2] if photos else []))
        told = json.loads(done.stdout) if done.stdout else {'rows': []}
        expect(done.returncode == 0 and len(told['rows']) > 1 and all(row['planned_bytes'] > 1e6 for row in told['rows'])
               and all(bool(row['published']) != ('without published figures' in told['source']) for row in told['rows'])
               and told['source'] and told['name'] == path.stem and f"'sweeps/{path.name}'" in installed, f'{path.name}: {done.stderr}')
    rows = json.loads((SOURCE / 'recipes/sweeps/shortcuts.json').read_text())['rows']
    expect(len({json.dumps(row.get('options')) for row in rows}) == len(rows) == 11, 'rows of table 1 that are the same')


sys.exit(check_with_images('sweeps', check_table, check_one_seed, check_going_on, check_failure, check_kill, check_refusals, check_papers))
