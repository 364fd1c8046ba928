"""`fathom plan --engines`: what is planned is what was answered, and no plan differs without saying so."""
import json
import os
import pathlib
import sys
import tempfile

from commands import expect, failures, finish, refused, run

STANDIN = pathlib.Path(sys.argv[2]) / 'tests/planner/engines/standin.py'
REAL = os.environ.get('FATHOM_TEST_ENGINES')
# The system's interpreter starts sooner than what may be wrapped around another one.
os.environ['PATH'] = '/usr/bin:/bin:' + os.environ['PATH']
FUSED = 'bn,sums,normalize,normalize-weights,gradient-sums,add'


def environment(folder, how='answers', helper=STANDIN):
    return {**os.environ, 'FATHOM_ENGINES': str(helper), 'STANDIN': how, 'XDG_CACHE_HOME': str(folder / 'cache'),
            'STANDIN_LOG': str(folder / 'asked')}


def asked(folder):
    path = folder / 'asked'
    count = len(path.read_text().splitlines()) if path.exists() else 0
    path.unlink(missing_ok=True)
    return count


def answers(path):
    """{(fused, type of the weights, question without the number of its engines): engines}"""
    book = json.loads(path.read_text())
    rows = iter(book['engines'])
    return {(*(q[11:] or ('', q[1])), *q[:10]): [next(rows) for _ in range(q[10])] for q in book['questions']}


def chosen(engines, dtype, cap):
    for _, size, notes, *_ in engines:
        if size <= cap and not (dtype == 'f32' and set(notes) & set('TD')):
            return size
    return None


def planned_workspaces(plan):
    programs = [plan['variants'][0][name] for name in ('train', 'evaluate')]
    return {program['tensors'][op[7]][3] if op[7] is not None else 0
            for program in programs for op in program['ops'] if op[1].startswith('conv')}


def check_planned(folder, helper, model, dtype, batch, words):
    """Every workspace of the plan is that of the first engine that may be taken, with the copy of 16-bit weights."""
    out, file = folder / 'plan.json', folder / f'{model}-{dtype}.json'
    ask = ['plan', model, '--batch', batch, '--dtype', dtype, '--gpus', 'h200', *words]
    if helper == REAL: # with a plan's file the engines' plans would be built, which takes a minute
        done = run(*ask, '--engines', file, env=environment(folder, helper=helper))
        expect(done.returncode == 0 and not done.stderr, f'{model}: {done.stderr[-300:]}')
    done = run(*ask, '--engines', 'auto' if helper == REAL else file, '-o', out, env=environment(folder, helper=helper))
    expect(done.returncode == 0 and not done.stderr, f'{model}: {done.stderr[-300:]}')
    if done.returncode:
        return None
    plan = json.loads(out.read_text())
    cap = plan['devices'][0]['workspace_bytes']
    wanted, known = set(), answers(file)
    for (fused, weights, *question), engines in known.items():
        kind, (channels, filters, kernel) = question[1], question[5:8]
        rounds = plan.get('lowering', [])
        of_weights = question[0] == 'backward-weights'
        rounded = 'weights' in rounds and not of_weights or 'half-gradients' in rounds and of_weights and 'normalized' in fused
        copy = 0 if weights == 'f32' or rounded else (2 * channels * filters * kernel * kernel + 255) // 256 * 256
        wide = known.get((fused, 'f32', *question)) if weights != 'f32' else None
        if (wide and chosen(wide, kind, cap) is not None) or chosen(engines, kind, cap) is None:
            continue  # gradients of weights come in f32 where that can be
        wanted.add(chosen(engines, kind, cap) + copy)
    found = planned_workspaces(plan)
    expect(found == wanted, f'{model} {dtype}: planned {sorted(found ^ wanted)[:9]} or answered, not both')
    expect(plan['devices'][0].get('cudnn_version', 0) >= 90000, 'the plan does not say whose workspaces it has')
    expect('workspaces           of cuDNN' in done.stdout, 'the page does not say whose workspaces they are')
    return file


def check_carried(folder, file):
    """The same plan where no cuDNN is; nothing is asked and nothing is different."""
    ask = ['plan', 'resnet-20', '--batch', 64, '--gpus', 'h200', '--engines', file]
    with_, without = environment(folder), environment(folder, helper='')
    asked(folder)
    for env in (with_, without):
        out = folder / f'carried-{len(env["FATHOM_ENGINES"])}.json'
        expect(run(*ask, '-o', out, env=env).returncode == 0, 'a carried file is not enough')
    expect(asked(folder) == 0, 'what is carried was asked')
    plans = [json.loads(path.read_text()) for path in folder.glob('carried-*.json')]
    expect(len(plans) == 2 and plans[0]['variants'] == plans[1]['variants'], 'two plans of one file differ')
    refused([*ask[:3], 32, *ask[4:]], 'has no answer', '32x32x32x3', file.name, env=without)
    refused([*ask[:5], 'h100', *ask[6:]], 'h200', 'h100', file.name, env=without)
    refused(ask, '9.19.0', '9.20.0', file.name, env={**with_, 'STANDIN_CUDNN': '92000'})
    refused([*ask[:-1], folder / 'none.json'], 'none.json', 'not there', env=without)
    expect(not (folder / 'none.json').exists(), 'a file was made of nothing')
    before = file.read_bytes()
    file.write_bytes(before[:len(before) // 2])
    refused(ask, file.name, env=with_)
    file.write_bytes(before)


def check_cached(folder):
    ask = ['plan', 'resnet-20', '--batch', 48, '--gpus', '2xt4', '--engines', 'auto']
    env = environment(folder)
    asked(folder)
    first = run(*ask, '--json', env=env)
    expect(asked(folder) > 15, 'nothing was asked')
    again = run(*ask, '--json', env=env)
    expect(asked(folder) == 0, 'what is kept was asked again')
    one, two = json.loads(first.stdout), json.loads(again.stdout)
    one.pop('plan_seconds'), two.pop('plan_seconds')
    expect(one == two, 'a plan from kept answers differs')
    expect(one['devices'][0]['cudnn'] == '9.19.0', 'the version is not in the JSON')
    plain = json.loads(run(*ask[:-2], '--json', env=env).stdout)
    expect(plain['devices'][0]['cudnn'] is None, 'engines are used though nobody asked for them')


def check_faults(folder):
    """One sentence, and the plan is that without engines."""
    ask = ['plan', 'resnet-20', '--batch', 40, '--gpus', 'h200']
    plain = json.loads(run(*ask, '--json', env=environment(folder)).stdout)
    for how, part in (('ends', 'exit code 3'), ('crashes', 'signal 11'), ('killed', 'signal 9'), ('rubbish', 'no answer')):
        done = run(*ask, '--engines', 'auto', '--json', env=environment(folder, how))
        line = done.stderr.strip()
        expect(done.returncode == 0 and part in line and 'estimated' in line and '\n' not in line, f'{how}: {line}')
        expect('\x1b' not in line, f'{how}: an escape reaches the terminal')
        found = json.loads(done.stdout)
        found['plan_seconds'] = plain['plan_seconds']
        expect(found == plain, f'{how}: the plan is another than without --engines')
    done = run(*ask, '--engines', 'auto', env=environment(folder, helper=''))
    expect(done.returncode == 0 and 'without cuDNN' in done.stderr, f'no helper: {done.stderr}')
    done = run('plan', 'resnet-20', '--gpus', 'titan-x', '--engines', 'auto', env=environment(folder))
    expect(done.returncode == 0 and 'titan-x' in done.stderr and 'h200' in done.stderr, f'titan-x: {done.stderr}')
    refused(['plan', 'resnet-20', '--gpus', 'titan-x', '--engines', folder / 'x.json'], 'titan-x', 'h200',
            env=environment(folder))
    refused(['plan', 'resnet-20', '--gpus', 'cpu', '--engines', 'auto'], '--engines', 'cpu')
    refused(['plan', 'resnet-20', '--gpus', 'h100,h200', '--engines', 'auto'], '--engines', 'h100', 'h200')
    fused = json.loads(run(*ask, '--engines', 'auto', '--json', env=environment(folder)).stdout)['fused']
    expect(fused == plain['fused'] == ['input'], f'--engines: fused {fused}, without {plain["fused"]}')
    refused(['plan', 'resnet-20', '--gpus', 'h200', '--engines', folder / 'same.json', '-o', folder / 'same.json'],
            'same.json', env=environment(folder))


def check_explained(folder):
    done = run('plan', 'resnet-20', '--batch', 64, '--gpus', 'h200', '--engines', 'auto', '--explain', env=environment(folder))
    lines = done.stdout.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith('  convolution ')), None)
    expect(start is not None, 'no table of engines')
    if start is None:
        return
    rows = [line for line in lines[start + 1:lines.index('', start)] if not line.startswith('    ')]
    expect(sum(int(row[53:58]) for row in rows) == 56, f'the ops do not add up to 56 convolutions: {rows[:2]}')
    expect(all(len(line) <= 80 for line in lines[start - 2:lines.index('', start)]), 'the table is too wide')


def check_pytorch(folder):
    """PyTorch's workspaces are those of NCHW tensors, of the first engine whatever it takes; each is asked for once."""
    words = ['plan', 'resnet-20', '--batch', 16, '--gpus', 'a100-40gb', '--strategy', 'pytorch', '--json', '--engines', 'auto']
    first = run(*words, env=environment(folder))
    questions = [json.loads(line) for line in (folder / 'asked').read_text().splitlines()]
    of_torch = [q for q in questions if q.get('fused') == 'channels-first']
    expect(of_torch and all(q['weights'] == 'f32' for q in of_torch), 'no questions about NCHW')
    torch = json.loads(first.stdout)['pytorch']
    expect(torch['cudnn'] == '9.19.0', f"{torch['cudnn']}")
    most = max(100000 * (1000 * q['channels'] + q['filters'] + q['stride']) for q in of_torch)
    expect(torch['workspace_bytes'] == most, f"{torch['workspace_bytes']} instead of {most}")
    asked(folder)
    again = run(*words, env=environment(folder))
    expect(asked(folder) == 0 and json.loads(again.stdout)['pytorch'] == torch, 'asked again')
    estimated = run(*words[:-2], env=environment(folder))
    expect(json.loads(estimated.stdout)['pytorch']['cudnn'] is None, 'asked unasked')
    expect(asked(folder) == 0, 'asked unasked')


def check_fused(folder):
    """What convolutions do besides is asked, and told; what cuDNN has no op for is estimated and said."""
    ask = ['plan', 'resnet-29', '--batch', 64, '--dtype', 'f16', '--gpus', 'h200', '--engines', 'auto', '--explain', '--fuse']
    page = run(*ask, 'sums,normalize', env=environment(folder)).stdout
    expect('\n    normalized+rectified+sums\n' in page, 'the page does not say what a convolution does besides')
    expect('read their gradient' not in page, 'convolutions read gradients through a BN that they do not')
    page = run(*ask, 'gradient', env=environment(folder)).stdout
    expect('convolutions read their gradient' in page, 'the page does not say what cuDNN was not asked about')


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        file = check_planned(folder, STANDIN, 'resnet-20', 'f32', 64, [])
        check_planned(folder, STANDIN, 'resnet-29', 'f16', 64, [])
        check_planned(folder, STANDIN, 'resnet-29', 'bf16', 64, ['--fuse', FUSED])
        if REAL:
            for dtype in ('f32', 'bf16'):
                real = folder / f'real-{dtype}'
                real.mkdir()
                check_planned(real, REAL, 'resnet-50', dtype, 32, [])
            real = folder / 'real-fused'
            real.mkdir()
            check_planned(real, REAL, 'resnet-29', 'f16', 32, ['--fuse', FUSED])
        if file:
            check_carried(folder, file)
        check_cached(folder)
        check_faults(folder)
        check_explained(folder)
        check_fused(folder)
        asked(folder)
        check_pytorch(folder)
    return finish('checks of engines' + ('' if REAL else ' (cuDNN is not in this build: a stand-in answered)'))


sys.exit(main())
