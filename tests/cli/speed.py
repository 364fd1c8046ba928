"""The table of nets: its columns, what is not known, what does not fit, and a measurement."""
import json
import re
import sys

from commands import expect, finish, refused, run

POST = {'vgg-a': (372, 29.6), 'vgg-d': (687, 26.8), 'resnet-34': (231, 26.7), 'bn-inception': (192, 25.2),
        'resnet-50': (403, 24.0), 'resnet-101': (649, 22.4), 'inception-v3': (494, 21.2)}


def table(*words):
    done = run('speed', *words)
    expect(done.returncode == 0 and not done.stderr, f'speed {words}: {done.stderr}')
    expect(all(len(line) <= 80 for line in done.stdout.splitlines()), f'wider than 80 columns:\n{done.stdout}')
    return done.stdout, {row.split()[0]: row for row in done.stdout.splitlines() if re.match(r'  [a-z-]+-\w+ ', row)}


def models(*words):
    done = run('speed', *words, '--json')
    expect(done.returncode == 0, f'speed {words} --json: {done.stderr}')
    told = json.loads(done.stdout)
    return told, {row['model']: row for row in told['models']}


def check_post():
    text, rows = table('--gpus', 'titan-x')
    expect(list(rows) == list(POST), f'the rows are {list(rows)}')
    told, exact = models('--gpus', 'titan-x')
    expect(told['device'] == 'titan-x' and told['batch'] == 32 and told['dtype'] == 'f32', told)
    for name, (milliseconds, error) in POST.items():
        row = exact[name]
        expect(re.search(rf' {row["predicted_ms"]:.0f} +- +{milliseconds} +{error} %$', rows[name]), f'{name}: {rows[name]}')
        expect(row['published_ms'] == milliseconds and abs(100 * row['published_top1_error'] - error) < 1e-9, row)
        expect(row['measured_ms'] is None and row['fits'] and milliseconds / 1.35 < row['predicted_ms'] < 1.35 * milliseconds, row)
    expect(re.search(r'Predicted times are 0\.\d\d to 1\.\d\d of the published ones', text), text)


def check_unknown():
    _, rows = table('resnet-50', '--gpus', '12GiB', '--batch', 8)
    expect(rows['resnet-50'].split()[-5:] == ['-', '-', '-', '24.0', '%'], rows) # of a batch of 32 alone
    _, rows = table('vgg-d', 'resnet-18', '--gpus', '1GiB')
    expect('does not fit' in rows['vgg-d'] and 'does not fit' not in rows['resnet-18'], rows)
    _, exact = models('vgg-d', '--gpus', '1GiB')
    expect(not exact['vgg-d']['fits'] and exact['vgg-d']['predicted_ms'] is None, exact)
    text, _ = table('resnet-50', '--gpus', '2.5GiB')
    expect(re.search(r'resnet-50: \d+ convolutions run twice\s+to fit', text), text)


def check_measured():
    told, exact = models('resnet-20', 'bn-inception', '--gpus', 'cpu', '--batch', 1, '--measure', '--repeats', 2)
    expect(told['device'] == 'cpu' and all(0 < row['measured_ms'] < 60000 for row in exact.values()), exact)
    _, rows = table('resnet-20', '--gpus', 'cpu', '--batch', 2, '--measure', '--repeats', 1)
    expect(re.search(r' - +[\d.]+ +- +-$', rows['resnet-20']), rows)


def check_refused():
    refused(['speed', 'resnet-51'], 'resnet-50')
    refused(['speed', 'resnet-50', 'alexnet'], 'alexnet')
    refused(['speed', '--gpus', '2xtitan-x'], '--gpus', '2 devices', 'one')
    refused(['speed', '--repeats', 3], '--repeats', '--measure')
    refused(['speed', '--batch', 0], '--batch')
    refused(['speed', '--gpus', 'titan-y'], 'titan-x')
    refused(['speed', '--measure', '--gpus', 'titan-x'], '--measure')


check_post()
check_unknown()
check_measured()
check_refused()
sys.exit(finish('checks of the table of nets'))
