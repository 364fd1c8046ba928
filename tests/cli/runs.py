"""Runs in folders of their own: what is in them, going on, what is refused."""
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree

from commands import FATHOM, check_with_images, expect, log_of, refused, run, wait_for, write

FORMATS = (pathlib.Path(sys.argv[2]) / 'docs/formats.md').read_text()
FILES = {'plan.json', 'recipe.json', 'run.json', 'log.jsonl', 'run.trace', 'curves.svg', 'data.json', 'best.safetensors'}


def train(data, *words, model='resnet-8', **options):
    return run('train', model, '--gpus', 'cpu', '--batch', 8, '--data', data, '--evaluate-images', 40, *words, **options)


def facts(folder):
    return json.loads((folder / 'run.json').read_text())


def check_folder(scratch, data):
    """All of a run is there; another run is not begun over it, and the recipe gives the same run again."""
    one = scratch / 'one'
    done = train(data, '--iterations', 6, '--evaluate-every', 3, '--seed', 5, '--learning-rate', 0.05, '--run', one)
    expect(done.returncode == 0, f'--run: {done.stderr}')
    there = {path.name for path in one.iterdir()}
    expect(FILES <= there and 'step-000000000006.safetensors' in there, f'in the folder: {sorted(there)}')
    expect('fathom.lock' not in there, 'the lock stays')
    told = facts(one)
    expect(told['state'] == 'finished' and told['step'] == told['iterations'] == 6 and told['seed'] == 5 and told['batch'] == 8
           and told['model'] == 'resnet-8' and told['recipe'] == 'cifar' and not told['diverged'], f'run.json: {told}')
    expect(0 < told['used_bytes'] and 0 < told['planned_bytes'] and 0 < told['seconds'] < 100, f'run.json: {told}')
    expect(len(told['starts']) == 1 and told['starts'][0]['command'].startswith('fathom train resnet-8 ')
           and told['starts'][0]['version'] in run('--version').stdout, f'starts: {told["starts"]}')
    svg = xml.etree.ElementTree.parse(one / 'curves.svg').getroot()
    words = [element.text for element in svg.iter('{http://www.w3.org/2000/svg}text')]
    expect({'training loss', 'test loss', 'test error, top-1', 'steps'} <= set(words), f'words of curves.svg: {words}')
    before = {path.name: path.read_bytes() for path in one.iterdir()}
    refused(['train', 'resnet-8', '--data', data, '--run', one, '--iterations', 9], '--run', 'has a run already', '--resume')
    refused(['train', '--resume', one], f'fathom train {one}/plan.json --resume {one}')
    expect(before == {path.name: path.read_bytes() for path in one.iterdir()}, 'a refused run has changed the folder')
    done = train(data, '--evaluate-every', 3, '--seed', 5, '--recipe', one / 'recipe.json', '--run', scratch / 'again')
    expect(done.returncode == 0 and log_of(scratch / 'again') == log_of(one), f'the run of recipe.json: {done.stderr}')
    expect(facts(scratch / 'again')['recipe'] == 'cifar', 'a recipe that was read back has another name')
    done = run('train', one / 'plan.json', '--data', data, '--iterations', 1, '--no-evaluate')
    expect(done.returncode == 0, f'plan.json: {done.stderr}')


def check_refusals(scratch, data):
    small = ['train', 'resnet-8', '--gpus', 'cpu', '--batch', 8, '--data', data, '--iterations', 1, '--no-evaluate']
    for flag, where in (('--save', 'folder'), ('--log', 'file'), ('--trace', 'file')):
        refused([*small, '--run', scratch / 'flags', flag, scratch / where], flag, 'folder')
    expect(not (scratch / 'flags').exists(), 'a refused run has left a folder')
    refused([*small, '--schedule', 'plateau', '--run', scratch / 'flags'], '--no-evaluate', 'plateau')
    zipped = write(scratch / 'net.pth', 'PK\x03\x04' + 60 * 'x')
    refused([*small, '--weights', zipped, '--run', scratch / 'flags'], 'net.pth', 'torch.save', 'safetensors.torch.save_file')
    zipped.unlink()
    expect(not (scratch / 'flags').exists(), 'a run that was refused for its options has left a folder')
    mine = scratch / 'mine'
    mine.mkdir()
    write(mine / 'curves.svg', 'mine')
    refused([*small, '--run', mine], '--run', 'curves.svg', 'is there already')
    expect({path.name for path in mine.iterdir()} == {'curves.svg'} and (mine / 'curves.svg').read_text() == 'mine', 'what was there is gone')
    write(scratch / 'file', 'text')
    refused([*small, '--run', scratch / 'file'], '--run', 'file')


def begin(data, *words):
    """A run of many steps, once some are logged."""
    folder = pathlib.Path(words[words.index('--run') + 1] if '--run' in words else words[words.index('--resume') + 1])
    command = [FATHOM, 'train', 'resnet-8', '--gpus', 'cpu', '--batch', '8', '--data', str(data), '--no-evaluate', *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (folder / 'log.jsonl').exists() and len((folder / 'log.jsonl').read_text().splitlines()) > 3)
    return process


def end(process, number):
    process.send_signal(number)
    process.communicate(timeout=60)


def check_going_on(scratch, data):
    """Ctrl-C, then --resume, is the run that was not stopped; a killed one that saved nothing begins again; one at a time."""
    whole, parts = scratch / 'whole', scratch / 'parts'
    process = begin(data, '--iterations', 100000, '--run', parts)
    refused(['train', 'resnet-8', '--gpus', 'cpu', '--batch', 8, '--data', data, '--iterations', 9, '--resume', parts], '--run',
            'parts', f'process {process.pid} is writing there')
    end(process, signal.SIGINT)
    told = facts(parts)
    expect(told['state'] == 'stopped' and 0 < told['step'] < 100000 and len(log_of(parts)) == told['step'], f'after Ctrl-C: {told}')
    steps = told['step'] + 4
    done = train(data, '--iterations', steps, '--schedule', 'constant', '--no-evaluate', '--resume', parts)
    expect(done.returncode == 0 and 'was begun for' not in done.stdout, f'--resume of the folder: {done.stdout}{done.stderr}')
    again = facts(parts)
    expect(again['state'] == 'finished' and again['step'] == steps and again['seconds'] > told['seconds']
           and [start['after_step'] for start in again['starts']] == [0, steps - 4], f'after --resume: {again}')
    train(data, '--iterations', steps, '--schedule', 'constant', '--no-evaluate', '--run', whole)
    train(data, '--iterations', 12, '--no-evaluate', '--run', scratch / 'longer')
    longer = train(data, '--iterations', 14, '--no-evaluate', '--resume', scratch / 'longer')
    expect('was begun for 12 steps and goes on to 14,' in longer.stdout, f'another number of steps: {longer.stdout}{longer.stderr}')
    expect('--iterations 12 leaves it' not in longer.stdout, f'a length that is behind is advised: {longer.stdout}')
    shutil.rmtree(scratch / 'longer')
    for schedule, changes in (('5,8', False), ('cosine', True)):
        shorter = scratch / 'shorter'
        train(data, '--iterations', 4, '--schedule', schedule, '--no-evaluate', '--run', shorter)
        told = train(data, '--iterations', 6, '--schedule', schedule, '--no-evaluate', '--resume', shorter)
        expect(told.returncode == 0 and ('was begun for' in told.stdout) == changes, f'--schedule {schedule} and more steps: {told.stdout}{told.stderr}')
        shutil.rmtree(shorter)
    expect([line['loss'] for line in log_of(whole)] == [line['loss'] for line in log_of(parts)], 'losses differ once the run went on')
    killed = scratch / 'killed'
    end(begin(data, '--iterations', 100000, '--run', killed), signal.SIGKILL)
    expect(facts(killed)['state'] == 'running', 'a killed run has said how it ended')
    done = train(data, '--iterations', 3, '--no-evaluate', '--resume', killed)
    expect(done.returncode == 0 and facts(killed)['state'] == 'finished' and len(log_of(killed)) == 3 and 'begins again' in done.stdout,
           f'a killed run that had saved nothing: {done.stdout}{done.stderr}')


def check_other_options(scratch, data):
    """A run goes on as it was begun: of another plan the options are named, and nothing is changed."""
    folder, again, reference = scratch / 'other', scratch / 'budget', ['--backend', 'cpu-reference']
    small = ['train', 'resnet-8', '--gpus', 'cpu', '--batch', 8, '--data', data, '--no-evaluate', '--iterations']
    expect(run(*small, 1, '--run', folder).returncode == 0, 'no run')
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for words, there, here in ((['--bn-group', 4], 'no --bn-group', '--bn-group 4'),
                               (['--gpus', '12GiB', *reference], 'devices cpu', 'devices 12GiB'),
                               (['--dtype', 'bf16', '--batch', 4], '--batch 8, --dtype f32', '--batch 4, --dtype bf16')):
        refused([*small, 2, '--resume', folder, *words], f'--resume: the run in {folder} has {there}',
                f'; this command has {here}:', '--weights')
    done = run(*small, 1, '--run', again, '--recompute', 'budget', '--budget', '5MiB')
    expect(done.returncode == 0, f'no run that computes again: {done.stderr}')
    for place, words, there, here in ((folder, ['--fuse', 'none'], 'fuse bn', 'fuse none'),
                                      (folder, ['--recompute', 'elementwise'], 'recompute none', 'recompute elementwise'),
                                      (again, [], 'recompute budget', 'recompute none')):
        refused([*small, 2, '--resume', place, *words], f'--resume: the plan of the run in {place} has {there}',
                f'; that of this command has {here}:', '--weights')
    done = run(*[word if word != 'resnet-8' else 'resnet-14' for word in small], 2, '--weights', folder)
    expect(done.returncode == 2 and not done.stdout and 'is of resnet-8' in done.stderr, f'weights of another model: {done.stdout}{done.stderr}')
    expect(before == {path.name: path.read_bytes() for path in folder.iterdir()}, 'a refused command has changed the folder')
    shutil.rmtree(folder)
    shutil.rmtree(again)


def check_ranks(scratch, data):
    """Rank 0 writes; each has its own trace."""
    folder = scratch / 'ranks'
    both = ['train', 'resnet-8', '--gpus', '2xcpu', '--processes', '--batch', 8, '--data', data, '--no-evaluate', '--iterations']
    done = run(*both, 2, '--run', folder)
    expect(done.returncode == 0 and (folder / 'run.rank1.trace').exists() and (folder / 'run.trace').exists()
           and facts(folder)['devices'] == 2 and len(log_of(folder)) == 2, f'a run of two processes: {done.stderr}')
    done = run(*both, 3, '--resume', folder)
    expect(done.returncode == 0 and len(log_of(folder)) == 3 and len(facts(folder)['starts']) == 2, f'it goes on: {done.stderr}')


    write(folder / 'run.rank1.trace.partial-4194300-0123456789abcdef', 'of a writer that was killed')
    one = ['train', 'resnet-8', '--gpus', 'cpu', '--batch', 8, '--data', data, '--no-evaluate', '--iterations']
    two = {path.name: path.read_bytes() for path in folder.glob('run*.trace')}
    done = run(*one, 4, '--resume', folder)
    aside = {path.name.replace('.of-2-ranks', ''): path.read_bytes() for path in folder.glob('*.of-2-ranks')}
    expect(done.returncode == 0 and len(log_of(folder)) == 4 and facts(folder)['devices'] == 1 and aside == two and len(two) == 2
           and 'run.trace.of-2-ranks' in done.stdout, f'it goes on with one device: {done.stdout}{done.stderr}')
    expect(run('trace', 'info', folder / 'run.trace').returncode == 0 and not list(folder.glob('*.partial-*')), f'{sorted(folder.iterdir())}')
    done = run(*both, 5, '--resume', folder)
    expect(done.returncode == 0 and len(log_of(folder)) == 5 and (folder / 'run.rank1.trace').exists() and (folder / 'run.trace.of-1-ranks').exists(),
           f'it goes on with two again: {done.stderr}')


def check_early_ends(scratch, data):
    """Whenever a run is killed, it can go on; so can an attempt of --restarts after one that wrote nothing."""
    early, again = scratch / 'early', scratch / 'attempts'
    command = [FATHOM, 'train', 'resnet-8', '--gpus', 'cpu', '--batch', '8', '--data', str(data), '--no-evaluate', '--iterations', '3']
    process = subprocess.Popen([*command, '--run', early], stdout=subprocess.DEVNULL)
    wait_for(lambda: early.exists() and FILES & {path.name for path in early.iterdir()})
    there = FILES & {path.name for path in early.iterdir()}
    end(process, signal.SIGKILL)
    expect('run.json' in there, f'files that come before run.json: {there}')
    done = run(*command[1:], '--resume', early)
    expect(done.returncode == 0 and facts(early)['state'] == 'finished' and FILES - {'best.safetensors'} <= {path.name for path in early.iterdir()},
           f'a run that was killed as it began: {done.stderr}')
    again.mkdir()
    write(again / 'log.jsonl', '')
    done = run(*command[1:], '--run', again, env={**os.environ, 'FATHOM_RANKS_AGAIN': '1'})
    expect(done.returncode == 0 and len(log_of(again)) == 3, f'a second attempt, after one that wrote no run.json: {done.stderr}')


def check_failure(scratch, data):
    folder = scratch / 'diverged'
    done = train(data, '--iterations', 50, '--learning-rate', 1000, '--schedule', 'constant', '--no-evaluate', '--run', folder, model='plain-8')
    told = facts(folder)
    expect(done.returncode == 1 and told['state'] == 'failed' and told['diverged'] and 'diverged' in told['reason']
           and (folder / 'curves.svg').exists(), f'a run that diverges: {told}')


def check_weights_alone(scratch, data):
    """An average is nothing to go on from; that is said before anything of its run is touched."""
    folder = scratch / 'average'
    done = train(data, '--iterations', 2, '--average-weights', 0.5, '--evaluate-every', 1, '--schedule', 'constant', '--run', folder)
    expect(done.returncode == 0 and os.readlink(folder / 'best.safetensors').startswith('average-'), f'a run with averages: {done.stderr}')
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    refused(['train', 'resnet-8', '--gpus', 'cpu', '--batch', 8, '--data', data, '--iterations', 4, '--average-weights', 0.5, '--schedule', 'constant',
             '--resume', folder / 'best.safetensors', '--run', folder], 'weights alone')
    expect(before == {path.name: path.read_bytes() for path in folder.iterdir()}, 'a refused --resume has changed the run')


def check_table(scratch, _):
    """`fathom runs` over what the other checks have left."""
    told = json.loads(run('runs', scratch, '--json').stdout)['runs']
    names = [pathlib.Path(row['folder']).name for row in told]
    expect(set(names) == {'one', 'again', 'parts', 'whole', 'killed', 'ranks', 'diverged'}, f'runs found: {names}')
    expect(set(names[:2]) == {'one', 'again'} and names[0] == 'again', f'order of runs: {names}')
    one = told[names.index('one')]
    lines = log_of(scratch / 'one')
    expect(one['top1_error'] == lines[-1]['top1_error'] and one['loss'] == lines[-1]['loss']
           and one['best_top1_error'] == min(line['top1_error'] for line in lines if 'top1_error' in line)
           and one['lowest_loss'] == min(line['loss'] for line in lines), f'{one}')
    whole = told[names.index('whole')]
    expect(whole['top1_error'] is None and whole['images_per_second'] > 0, f'a run without tests: {whole}')
    documented = FORMATS[FORMATS.index('`fathom runs DIR... --json`'):]
    expect(all(f'`{key}`' in documented for key in one), 'a key of runs --json is not documented')
    expect(all(f'`{key}`' in FORMATS for key in facts(scratch / 'one')), 'a key of run.json is not documented')
    done = run('runs', scratch / 'one', scratch / 'diverged', '--svg', scratch / 'both.svg')
    expect(done.returncode == 0 and 'diverged: training' not in done.stderr and 'finished' in done.stdout
           and 'diverged' in done.stdout and ' nan' not in done.stdout and ' - ' in done.stdout, f'the table: {done.stdout}{done.stderr}')
    svg = (scratch / 'both.svg').read_text()
    expect('>one<' in svg and '>diverged<' in svg and 'nan' not in svg, 'the picture of two runs')
    xml.etree.ElementTree.fromstring(svg)
    before = {path.name: path.read_bytes() for path in (scratch / 'one').iterdir()}
    for name in ('step-000000000006.safetensors', 'log.jsonl', '../one/new.svg'):
        refused(['runs', scratch / 'one', scratch / 'diverged', '--svg', scratch / 'one' / name], '--svg', name, 'folder of a run')
    expect(before == {path.name: path.read_bytes() for path in (scratch / 'one').iterdir()}, 'a picture has replaced a file of a run')
    refused(['runs'], 'folders')
    text = (scratch / 'whole' / 'log.jsonl').read_text()
    write(scratch / 'whole' / 'log.jsonl', text.split('\n')[0] + '\n{"step": 2, bad}\n')
    refused(['runs', scratch / 'whole'], 'log.jsonl: line 2, column')
    write(scratch / 'whole' / 'log.jsonl', text)
    refused(['runs', scratch / 'data'], 'no run is there')
    refused(['runs', scratch / 'none'], 'none')
    write(scratch / 'again' / 'run.json', json.dumps({**facts(scratch / 'again'), 'state': 'runing'}))
    refused(['runs', scratch / 'again'], 'run.json', 'state', 'running')


def check_interrupt(scratch, data):
    """On a terminal Ctrl-C is answered at once, however long the step takes."""
    main_side, program_side = os.openpty()
    process = subprocess.Popen([FATHOM, 'train', 'resnet-8', '--gpus', 'cpu', '--batch', '8', '--data', str(data), '--no-evaluate', '--save', scratch / 'asked',
                                '--iterations', '100000', '--schedule', 'constant'], stdin=subprocess.DEVNULL, stdout=program_side, stderr=program_side)
    os.close(program_side)
    seen, limit = b'', time.monotonic() + 60
    try:
        while (left := limit - time.monotonic()) > 0 and select.select([main_side], [], [], left)[0]:
            try:
                part = os.read(main_side, 4096)
            except OSError:  # its other side is closed
                break
            if b'step 1/' not in seen and b'step 1/' in seen + part:
                process.send_signal(signal.SIGINT)
            seen += part
        process.wait(timeout=max(1, limit - time.monotonic()))
    except subprocess.TimeoutExpired:
        pass  # its exit status says so below
    finally:
        process.kill()
        process.wait()
        os.close(main_side)
    answer = b'the step comes to its end, then a checkpoint is written; another Ctrl-C ends the run at once'
    expect(process.returncode == 0 and seen.count(answer) == 1 and seen.find(answer) < seen.find(b'stopped by Ctrl-C'), f'Ctrl-C: {seen!r}')


sys.exit(check_with_images('runs in their folders', check_folder, check_refusals, check_going_on, check_other_options, check_ranks, check_failure, check_table,
                           check_weights_alone, check_early_ends, check_interrupt))
