"""Commands on a host with GPUs: which are found, planned for, trained on, and refused in one sentence. The GPUs are the
stand-in's (tests/standin)."""
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

from commands import expect, failures, finish, refused, run

STANDIN = sys.argv[2]
SOURCE = pathlib.Path(sys.argv[3])
NVML = sys.argv[4]


def host(options=''):
    """The environment of a host with such GPUs."""
    return {**os.environ, 'CUDA_HOME': STANDIN, 'FATHOM_STANDIN': options}


def told_by_driver(folder):
    """The environment in which its management library is the tests' own."""
    libraries = folder / 'libraries'
    libraries.mkdir(exist_ok=True)
    link = libraries / 'libnvidia-ml.so.1'
    if not link.is_symlink():
        link.symlink_to(pathlib.Path(NVML).resolve())
    return {'LD_LIBRARY_PATH': str(libraries)}


def told(*words, options='', code=0):
    done = run(*words, '--json', env=host(options))
    expect(done.returncode == code, f'{words} on {options}: exit code {done.returncode}, {done.stderr}')
    return json.loads(done.stdout)


def check_listed():
    page = run('devices', env=host('memory=140GiB,gpus=2')).stdout
    for part in ('GPU 0: NVIDIA H200, compute capability 9.0', 'GPU 1:', 'of 140 GiB free', 'planned\n    for as h200'):
        expect(part in page, f'devices does not say {part!r}: {page[:400]}')
    found = told('devices', options='memory=140GiB,gpus=2')['host']
    expect(found['cuda_fault'] is None and len(found['gpus']) == 2, f'devices --json: {found}')
    gpu = found['gpus'][0]
    expect(gpu['compute_capability'] == 9.0 and gpu['catalogue'] == 'h200' and 0 < gpu['free_bytes'] <= gpu['memory_bytes'] == 140 << 30,
           f'devices --json: {gpu}')
    page = run('devices', env=host('name=NVIDIA GeForce GTX 1080,capability=6.1')).stdout
    expect('7.5' in page[:page.index('catalogue')], 'an old card is not told to be one')
    found = told('devices', options='driver=0')['host']
    expect(found['gpus'] == found['unusable_gpus'] == [] and 'driver' in found['cuda_fault'], f'without a driver: {found}')


def check_held(folder):
    """Another process holds most of the GPU: it is named."""
    env = {**host('memory=8GiB'), **told_by_driver(folder), 'FATHOM_NVML_FAKE': f'{8 << 30},{1 << 30},4711,{7 << 30}'}
    page = ' '.join(run('devices', env=env).stdout.split())
    expect('1.00 GiB of 8.00 GiB free (process 4711 holds 7.00 GiB)' in page, page[:400])
    gpu = json.loads(run('devices', '--json', env=env).stdout)['host']['gpus'][0]
    expect(gpu['holders'] == {'processes': 1, 'largest': 4711, 'largest_bytes': 7 << 30} and gpu['free_bytes'] == 1 << 30, f'{gpu}')
    data = folder / 'held'
    expect(run('data', 'synth', data, '--train', 256, '--test', 128).returncode == 0, 'no data')
    refused(['train', 'resnet-8', '--gpus', '8GiB', '--batch', 4000, '--micro-batches', 1, '--recompute', 'none', '--data', data, '--iterations', 1],
            '1.00 GiB free of 8.00 GiB', 'process 4711 holds 7.00 GiB', '--budget', env=env, code=1)


def check_calibrated(folder):
    env = {**host('memory=8GiB'), **told_by_driver(folder), 'FATHOM_NVML_FAKE': f'{8 << 30},{8 << 30},1,1'}
    done = run('devices', '--calibrate', env=env)
    expect(done.returncode == 0 and 'context and fathom\'s kernels take 5' in ' '.join(done.stdout.split()), f'{done.stdout}{done.stderr}')
    done = run('devices', '--calibrate', env=host('memory=8GiB,gpus=2'))
    expect(done.returncode == 0 and ' '.join(done.stdout.split()).count('context takes is not known') == 2, f'without NVML: {done.stdout}{done.stderr}')
    refused(['devices', '--calibrate'], 'no NVIDIA driver', code=1, env=host('driver=0'))


def check_planned():
    """auto is what is here: the card of its name, or its properties."""
    plan = told('plan', 'resnet-20', '--gpus', 'auto', '--dtype', 'f16', options='memory=140GiB,gpus=2')
    expect([device['name'] for device in plan['devices']] == ['h200', 'h200'], 'auto is not the two cards')
    expect('gradient-sums' in plan['fused'], f'fused {plan["fused"]}')
    plan = told('plan', 'resnet-20', '--gpus', 'auto', options='name=NVIDIA Other 9,capability=7.5,memory=6GiB')
    device = plan['devices'][0]
    expect(device['name'] == 'NVIDIA Other 9' and device['memory_bytes'] == 6 << 30, f'{device}')
    expect(plan['fused'] == ['input'] and plan['step_seconds'] is None, 'an unknown card is known')
    for gpus, dtype, fused, trains in (('h200', 'f32', True, True), ('titan-x', 'f32', False, False), ('12GiB', 'f32', False, True),
                                       ('v100', 'f16', False, False), ('t4', 'f32', True, True), ('h100,titan-x', 'f32', False, False)):
        plan = told('plan', 'resnet-20', '--gpus', gpus, '--dtype', dtype)
        expect(('input' in plan.get('fused', [])) == fused, f'{gpus}: fused {plan.get("fused")}')
        expect(('devices-cannot-train' in plan['notes']) != trains, f'{gpus}: notes {plan["notes"]}')
    expect('devices-cannot-train' in told('plan', 'resnet-20', '--gpus', 't4', '--dtype', 'bf16')['notes'], 'a T4 trains in bf16')
    whole = told('plan', 'resnet-20', '--gpus', 'h200', '--dtype', 'f16', '--fuse', 'none')
    expect('fused' not in whole and whole['devices'][0]['peak_bytes'] >
           told('plan', 'resnet-20', '--gpus', 'h200', '--dtype', 'f16')['devices'][0]['peak_bytes'], '--fuse none fuses')
    page = ' '.join(run('plan', 'resnet-20', '--gpus', 'titan-x').stdout.split())
    expect('cannot run this plan on titan-x' in page and '7.5' in page, 'an old card is not said to be one')
    expect(told('plan', 'resnet-20', options='driver=0')['devices'][0]['name'] == 'cpu', 'without a driver it is not the cpu')


def check_refused(folder):
    data, plan = folder / 'data', folder / 'plan.json'
    expect(run('data', 'synth', data, '--train', 256, '--test', 128).returncode == 0, 'no data')
    train = ['train', 'resnet-8', '--data', data, '--iterations', 1, '--no-evaluate']
    cuda = [*train, '--backend', 'cuda']
    refused(cuda, 'no NVIDIA driver', env=host('driver=0'))
    refused(cuda, 'too old', '12.8', '13.0', env=host('driver=12080'))
    refused(cuda, 'no GPU', env=host('gpus=0'))
    refused([*train, '--gpus', 'h200'], 'h200', 'no NVIDIA driver', '--backend cpu', env=host('driver=0'))
    old = 'name=NVIDIA GeForce GTX 1080,capability=6.1'
    refused(cuda, 'gtx-1080', '6.1', '7.5', env=host(old))
    refused([*train, '--gpus', '4GiB'], 'GTX 1080', '6.1', '7.5', env=host(old))
    refused([*train, '--gpus', 'h200', '--backend', 'cpu-reference', '--no-graph'], '--no-graph', env=host())
    refused([*cuda, '--dtype', 'f16', '--tf32'], '--tf32', 'f16', env=host())
    refused([*cuda, '--gpus', 'cpu'], '--backend cuda', 'cpu', env=host())
    refused([*train, '--gpus', '4xh200'], '4 x h200', 'this host has 2', '--gpus auto', env=host('gpus=2,memory=140GiB'))
    refused([*train, '--gpus', 'a100'], 'a100-40gb', 'NVIDIA H200', '--gpus auto', env=host('memory=140GiB'))
    refused([*train, '--gpus', 'h100'], 'h100', 'NVIDIA H200', '--gpus auto', env=host('memory=140GiB'))
    refused([*train, '--gpus', '40GiB', '--batch', 20000], '1.00 GiB', 'more; ', '--budget', env=host('memory=1GiB'), code=1)
    refused(['train', 'resnet-110', '--batch', 1024, '--micro-batches', 1, '--data', data, '--iterations', 1, '--gpus', 'auto'], 'does not fit NVIDIA H200',
            'what would: --', env=host('memory=700MiB'), code=1)
    refused([*train, '--gpus', 'cpu', '--engines', 'auto'], '--engines', 'cpu')
    refused([*train, '--gpus', 'titan-x', '--engines', folder / 'none.json'], '--engines', 'titan-x')
    expect(run('plan', 'resnet-8', '--gpus', 'h200', '--batch', 8, '-o', plan).returncode == 0, 'no plan')
    refused(['train', plan, '--data', data, '--engines', 'auto'], 'plan.json', '--engines')
    planned = ['train', plan, '--data', data, '--engines', folder / 'engines.json']
    here = host('memory=140GiB')
    refused(planned, '--engines', 'engines.json', env=here)
    refused([*planned, '--backend', 'cpu-reference'], '--engines', 'cpu-reference', env=here)
    for content, *words in (('{', 'engines.json'), ('{"format": "fathom-plan"}', 'engines.json', 'version'),
                            ('{"format": "fathom-engines", "version": 1, "cudnn": 91900, "device": "zx81", "description": "0", "questions": [], '
                             '"engines": []}', 'engines.json', 'zx81')):
        (folder / 'engines.json').write_text(content)
        refused(planned, '--engines', *words, env=here)
    refused(['train', plan, '--data', data], 'h200', 'NVIDIA L4', '--gpus auto', env=host('name=NVIDIA L4,capability=8.9,memory=22GiB'))
    done = run(*train, env=host(old))
    expect(done.returncode == 0 and 'cpu device' in done.stdout and 'GTX 1080 is not used' in done.stderr, f'an old card: {done.stderr}{done.stdout}')
    done = run(*train, env=host('driver=0'))
    expect(done.returncode == 0 and 'cpu device' in done.stdout and not done.stderr, f'no driver: {done.stderr}{done.stdout}')


def check_trained(folder):
    """Without a word about it a model is trained on the GPU here; used and planned are told side by side."""
    photos = folder / 'photos'
    picture = SOURCE / 'tests/fuzz/corpus/data_jpeg/rgb.jpg'
    for label in 'ab':
        (photos / 'train' / label).mkdir(parents=True)
        shutil.copy(picture, photos / 'train' / label / '0.jpg')
    small = ['train', 'resnet-8', '--dataset', 'cifar10', '--classes', 2, '--image-size', 8, '--batch', 4, '--data', photos,
             '--iterations', 2, '--no-evaluate']
    env = {**host('memory=140GiB'), 'XDG_CACHE_HOME': str(folder / 'cache')}
    done = run(*small, env=env)
    expect(done.returncode == 0 and 'on 1 cuda device' in done.stdout and not done.stderr, f'{done.stdout}{done.stderr}')
    memory = [line for line in done.stdout.splitlines() if line.startswith('  memory')]
    expect(len(memory) == 1 and 'arena' in memory[0] and 'planned' in memory[0] and 'used' in memory[0], f'memory: {memory}')
    if os.path.exists(os.path.join(STANDIN, 'lib', 'libnccl.so.2')):
        done = run(*small, '--gpus', 'auto', env={**env, 'FATHOM_STANDIN': 'memory=140GiB,gpus=2,nccl=processes'})
        expect(done.returncode == 0 and 'on 2 cuda devices' in done.stdout, f'two GPUs: {done.stdout}{done.stderr}')
        done = run(*small, '--gpus', 'auto', env={**env, 'FATHOM_STANDIN': 'memory=140GiB,gpus=2,nccl=processes,fail=AllReduce:1:3'})
        expect(done.returncode == 1 and done.stderr.count('NCCL') == 1 and done.stderr.count('\n') == 1, f'NCCL fails: {done.returncode} {done.stderr}')
    done = run(*small, '--gpus', 'cpu', env=env)
    expect(done.returncode == 0 and 'on 1 cpu device' in done.stdout, f'--gpus cpu: {done.stdout}{done.stderr}')
    done = run(*small, '--backend', 'cuda-reference', '--tf32', '--deterministic', '--no-graph', '--fill-dead', env=env)
    expect(done.returncode == 0 and 'on 1 cuda-reference device' in done.stdout, f'cuda-reference: {done.stdout}{done.stderr}')
    begun = time.monotonic()
    done = run(*small, '--timeout', 1, env={**env, 'FATHOM_STANDIN': 'memory=140GiB,hang=60'})
    expect(done.returncode == 1 and done.stderr.count('\n') == 1 and 'within 1 s' in done.stderr, f'a hang: {done.returncode} {done.stderr}')
    expect(time.monotonic() - begun < 30, 'a run waits for a GPU that hangs')
    answers = folder / 'answers.json'
    done = run(*small, '--engines', answers, env={**env, 'FATHOM_ENGINES': str(SOURCE / 'tests/planner/engines/standin.py')})
    expect(done.returncode == 0 and json.loads(answers.read_text())['device'] == 'h200', f'--engines: {done.stdout}{done.stderr}')
    plan = folder / 'h200.json'
    expect(run('plan', *small[1:10], '--gpus', 'h200', '-o', plan).returncode == 0, 'no plan for an H200')
    done = run('train', plan, *small[10:], env=env)
    expect(done.returncode == 0 and 'on 1 cuda device' in done.stdout, f'a plan made elsewhere: {done.stdout}{done.stderr}')
    made = run('plan', *small[1:10], '--gpus', 'h200', '--tf32', '-o', plan, '--json', env=env)
    expect('normalize' in json.loads(made.stdout)['fused'], f'with --tf32 nothing more is fused: {made.stdout[:200]}')
    for words, note in ((['--tf32'], ''), ([], 'TF32 alone'), (['--backend', 'cuda-reference'], '')):
        done = run('train', plan, *small[10:], *words, env=env)
        expect(done.returncode == 0 and (note in done.stderr if note else not done.stderr), f'a plan for TF32, {words}: {done.stdout}{done.stderr}')
    done = run(*small, env={**env, 'FATHOM_STANDIN': 'memory=140GiB,engines=none', 'XDG_CACHE_HOME': str(folder / 'other')})
    expect(done.returncode == 0 and 'run by plain loops' in done.stdout, f'no engines: {done.stdout}{done.stderr}')
    # What is free of the GPU is planned with: a plan of more is refused above.
    done = run(*small, '--batch', 4, env={**env, 'FATHOM_STANDIN': 'memory=1GiB'})
    expect(done.returncode == 0, f'a small GPU: {done.stdout}{done.stderr}')


def check_timed():
    """The table of nets is of one GPU, also where there are several."""
    for words in ([], ['--gpus', 'auto']):
        table = told('speed', 'resnet-20', '--batch', 2, '--measure', '--repeats', 1, *words, options='memory=140GiB,gpus=2')
        expect(table['device'] == 'h200' and table['models'][0]['measured_ms'] > 0 < table['models'][0]['predicted_ms'], f'speed: {table}')
    refused(['speed', 'resnet-20', '--measure', '--gpus', 'a100-40gb'], '--measure', 'a100-40gb', 'H200', env=host('memory=140GiB'))
    refused(['speed', 'resnet-20', '--measure', '--gpus', 'h200'], '--measure', env=host('driver=0'))


def main():
    with tempfile.TemporaryDirectory() as name:
        check_listed()
        check_calibrated(pathlib.Path(name))
        check_planned()
        check_timed()
        check_held(pathlib.Path(name))
        check_refused(pathlib.Path(name))
        check_trained(pathlib.Path(name))
    return finish('checks of commands on hosts with GPUs')


sys.exit(main())
