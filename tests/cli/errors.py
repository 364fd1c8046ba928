"""Wrong commands and files: one clear sentence on standard error, the right exit code, nothing left behind."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from xml.etree import ElementTree

from commands import FATHOM, checked, expect, failures, finish, refused, run, write


def check_pipes():
    """Plans and devices through pipes: - is standard input."""
    devices = accepted(['devices', '--gpus', '2xtitan-x', '-o', '-']).stdout
    plan = accepted(['plan', 'resnet-20', '--gpus', '-', '-o', '-'], input=devices).stdout
    expect(len(json.loads(plan)['devices']) == 2, 'the plan is for the devices of the pipe')
    for command in (['plan', 'resnet-20', '--gpus', '-'], ['train', '-', '--data', 'none'], ['plan', '--compare', '-', 'none.json']):
        refused(command, '/dev/stdin', 'not JSON', input='{"version": 1,')
        refused(command, '/dev/stdin', input='')
    refused(['plan', '--compare', '-', '-'], '--compare', 'standard input')
    refused(['plan', '--compare', 'a.json'], 'found 1 plan file, expected two')
    refused(['train', '-', '--data', 'none'], '/dev/stdin: model: found "resnet-7"', 'resnet-8', input=plan.replace('"resnet-20"', '"resnet-7"'))


def check_plan(folder):
    refused(['plan', 'resnet-7'], 'resnet-7')
    refused(['plan', 'resnet-1000', '--batch', 128, '--gpus', 'cpu'], 'resnet-1000', '1001')
    refused(['plan', 'lenet'], 'lenet')
    refused(['plan'], 'model')
    refused(['plan', 'resnet-20', '--batch', 0], '--batch')
    refused(['plan', 'resnet-20', '--micro-batches', 'some'], '--micro-batches', 'some')
    refused(['plan', 'resnet-20', '--micro-batches', 0], '--micro-batches')
    refused(['plan', 'resnet-20', '--batch', -1], '--batch')
    refused(['plan', 'resnet-20', '--gpus', '8xh100', '--batch', 7], '--batch: 7', '8 devices')
    for parts, fewer in ((3, 2), (127, 64), (300, 128)):
        refused(['plan', 'resnet-20', '--gpus', 'titan-x', '--batch', 128, '--micro-batches', parts], '--micro-batches',
                f'into {parts} equal parts', f'into {fewer} they can')
    for devices, batch, whole, parts, fewer in (('2xtitan-x', 129, '64 images of a device', '5', '1 those of every device'),
                                                ('2xtitan-x', 129, '65 images of a device', '4', '1 those of every device'),
                                                ('titan-x,v100', 130, '130 images of the batch', '3', '2 they'),
                                                ('titan-x,v100', 130, '130 images of the batch', '130', '65 they')):
        refused(['plan', 'resnet-20', '--gpus', devices, '--batch', batch, '--micro-batches', parts],
                f'--micro-batches: the {whole} cannot be cut into {parts} equal parts', f'; into {fewer} can',
                ' that have images for every device' if parts == '130' else 'parts; ')
    refused(['plan', 'resnet-20', '--batch', '99999999999999999999'], '--batch')
    refused(['plan', 'resnet-20', '--gpus', 'titan-y'], 'titan-y', 'titan-x')
    check_pipes()
    refused(['plan', 'resnet-20', '--gpus', '0x12GiB'], '--gpus')
    refused(['plan', 'resnet-20', '--gpus', '2x'], '--gpus')
    for size in ('99999999999GiB', '2x99999999999TiB'):
        refused(['plan', 'resnet-20', '--gpus', size], size.removeprefix('2x'), 'from 64MiB to 1024TiB')
    refused(['plan', 'resnet-20', '--gpus', '9999999999.GPU'], 'not a device')
    accepted(['plan', 'resnet-8', '--batch', 8, '--gpus', 'cpu', '-o', folder / 'model.json'])
    refused(['plan', folder / 'model.json'], 'a plan', 'fathom train')
    refused(['plan', 'resnet-20', '--gpus', folder / 'none.json'], 'none.json')
    refused(['plan', 'resnet-20', '--gpus', write(folder / 'bad.json', '{"version": 1,')], 'bad.json')
    refused(['plan', 'resnet-20', '--batch', 8, '--gpus', 'cpu', '-o', folder / 'no' / 'plan.json'], 'plan.json')
    refused(['plan', 'resnet-20', '--batch', 8, '--gpus', 'cpu', '--svg', folder / 'no' / 'plan.svg'], 'plan.svg')
    refused(['plan', 'resnet-20', '--recompute', 'sometimes'], '--recompute')
    for host in ('some', '0', '-1GiB', '8GiB8'):
        refused(['plan', 'resnet-20', '--gpus', 'titan-x', '--offload', host], '--offload', host, '8GiB')
    refused(['plan', 'resnet-20', '--gpus', 'titan-x', '--strategy', 'shared-gradinput', '--offload', 'auto'],
            '--strategy', '--offload')
    refused(['plan', 'resnet-20', '--strategy', 'pytorch', '--gpus', 'cpu'], '--strategy pytorch', 'cpu', 'a100-40gb')
    refused(['plan', 'resnet-20', '--strategy', 'pytorch', '--gpus', '2xh100'], '--strategy pytorch', '2 devices')
    refused(['train', 'resnet-20', '--strategy', 'pytorch', '--data', folder, '--classes', 10], '--strategy pytorch',
            'fathom plan')
    for rate in ('fast', '400GB', 'Gb/s', '0Gb/s', '-3Gb/s', '9999999Tb/s'):
        refused(['plan', 'resnet-20', '--gpus', '16xh100', '--network', rate], '--network', rate, '3200Gb/s')
    refused(['plan', 'resnet-20', '--gpus', '16xh100', '--per-node', 0], '--per-node')
    refused(['plan', 'resnet-20', '--gpus', '2xcpu', '--scaling'], '--scaling', 'cpu')
    refused(['plan', 'resnet-20', '--gpus', '2x12GiB', '--scaling'], '--scaling', '12GiB')
    refused(['plan', 'resnet-20', '--gpus', '2xh100', '--input', 1000], '--input', '--scaling')
    refused(['plan', 'resnet-20', '--gpus', '2xh100', '--spread', 0], '--spread', '--scaling')
    refused(['plan', 'resnet-20', '--gpus', '2xh100', '--scaling', '--spread', 101], '--spread')
    refused(['plan', 'resnet-20', '--gpus', 'h100', '--price', 'cheap'], '--price')
    refused(['plan', 'resnet-20', '--gpus', 'h100', '--price', -1], '--price')
    refused(['plan', 'resnet-20', '--gpus', 'h100', '--epochs', 0], '--epochs')
    refused(['plan', 'resnet-20', '--gpus', 'h100', '--epochs', 5, '--images', 9], '--images', '--epochs')
    device = '{"version": 1, "devices": [{"name": "h100", "memory_bytes": 80000000000}], %s}'
    for field, part in (('"node_devices": 0', 'node_devices'), ('"node_devices": 5000', 'node_devices'),
                        ('"network": {"bandwith": 1}', 'bandwith'), ('"network": {"bandwidth": -1}', 'network'),
                        ('"network": 3', 'network')):
        refused(['plan', 'resnet-20', '--gpus', write(folder / 'net.json', device % field)], 'net.json', part)
    refused(['plan', 'resnet-20', '--gpus', 'cpu', '--costs', folder / 'none.trace'], '--costs', 'none.trace')
    refused(['plan', 'resnet-20', '--gpus', 'cpu', '--costs', write(folder / 'no.trace', 'no')], '--costs', 'no.trace')
    refused(['plan', 'resnet-20', '--gpus', 'cpu', '--costs', ','], '--costs', 'a.trace,b.trace')
    refused(['devices', '--gpus', '2xh100'], '--gpus', '-o')
    refused(['plan', 'resnet-29', '--gpus', '8GiB', '--reconstruct', '--recompute', 'none'], '--reconstruct', 'none')
    refused(['plan', 'resnet-20', '--gpus', '8GiB', '--reconstruct'], 'reconstruct', 'resnet-20', 'preact')
    refused(['plan', 'resnet-29', '--gpus', '8GiB', '--reconstruct', '--strategy', 'shared-gradinput'], '--reconstruct')
    refused(['plan', 'resnet-20', '--gpus', 'cpu', '--workspace', '8MiB'], '--workspace', 'cpu')
    refused(['plan', 'resnet-20', '--gpus', '8GiB', '--fuse', 'bn,summs'], '--fuse', 'summs', 'gradient-sums')
    refused(['plan', 'resnet-20', '--gpus', '8GiB', '--fuse', 'bn,'], '--fuse')
    refused(['plan', 'resnet-20', '--gpus', '8GiB', '--fuse', 'all', '--strategy', 'shared-gradinput'], '--fuse')
    refused(['plan', 'resnet-20', '--gpus', '8GiB', '--workspace', 0], '--workspace')
    for stage in ('stage4', 'stage', 'fc', 'stage1x', ''):
        refused(['plan', 'resnet-20', '--gpus', 'cpu', '--freeze', stage], '--freeze', stage, 'stem, stage1 to stage3')
    for flag, value, kind in (('--shortcut-scale', 0.5, 'scaling'), ('--branch-scale', 1, 'scaling'), ('--gate-bias', -6, 'gate'),
                              ('--dropout', 0.5, 'dropout')):
        for model in ('resnet-20', 'plain-20', 'vgg-a'):
            refused(['plan', model, '--gpus', 'cpu', flag, value], flag, model, kind)
        refused(['train', 'resnet-20', '--data', folder, '--classes', 10, flag, 'some'], flag, 'some')
    refused(['plan', 'resnet-20', '--gpus', 'cpu', '--shortcut', 'scaling', '--branch-scale', 0], '--branch-scale', 'from 1e-06 to 10')
    refused(['plan', 'resnet-20', '--gpus', 'cpu', '--shortcut', 'dropout', '--dropout', 1], '--dropout', 'from 0 to 0.999')
    for flag in ('--freeze-bn', '--freeze-bn-all'):
        refused(['plan', 'vgg-a', '--gpus', 'cpu', flag], flag, 'no batch normalisation')
        refused(['plan', 'resnet-20', '--gpus', '2xcpu', flag, '--sync-bn'], flag, '--sync-bn')
        refused(['plan', 'resnet-20', '--gpus', '8GiB', flag, '--strategy', 'pytorch'], flag, 'pytorch')
    group = ['plan', 'resnet-20', '--batch', 128, '--gpus', 'cpu', '--bn-group']
    refused(['plan', 'vgg-a', '--gpus', 'cpu', '--bn-group', 8], '--bn-group', 'no batch normalisation')
    refused([*group, 48], '--bn-group', 'groups of 48 images do not divide the batch of 128')
    refused([*group, 32, '--micro-batches', 8], '--bn-group', 'micro-batches', 'whole groups')
    refused([*group, 0], '--bn-group', "'0'")
    for other in (['--sync-bn'], ['--freeze-bn'], ['--freeze-bn-all'], ['--strategy', 'pytorch']):
        refused([*group, 32, *other], '--bn-group', *other)
    refused(['train', 'resnet-20', '--data', folder, '--classes', 10, '--init', 'zero'], '--init', 'zero', 'he-fan-in')
    refused(['plan', 'resnet-20', '--gpus', 'cpu', '--stride-in', '3x3'], '--stride-in', 'bottlenecks')
    refused(['plan', 'resnet-50', '--gpus', 'cpu', '--stride-in', '5x5'], '--stride-in', '1x1 or 3x3')
    refused(['plan', 'vgg-a', '--gpus', 'cpu', '--freeze', 'stem'], '--freeze', 'stem', 'stage1 to stage5')
    refused(['plan', 'resnet-20', '--gpus', '8GiB', '--freeze', 'stem', '--strategy', 'pytorch'], '--freeze', 'pytorch')
    shapes = folder / 'few-shapes' # a model is planned for its images
    run('data', 'synth', shapes, '--train', 20, '--test', 10)
    refused(['train', 'resnet-8', '--data', shapes, '--dtype', 'bf16', '--loss-scale', '1024'], '--loss-scale', 'bf16', 'f16')
    refused(['train', 'resnet-8', '--data', folder, '--dtype', 'f16', '--loss-scale', '0'], '--loss-scale')
    small = ['train', 'resnet-8', '--data', shapes]
    refused([*small, '--tf32'], '--tf32', 'cpu', 'GPUs')
    refused([*small, '--keep', 3], '--keep', '--save')
    refused([*small, '--weights', folder / 'none.safetensors'], 'none.safetensors')
    refused([*small, '--weights', write(folder / 'no.safetensors', 'no')], 'no.safetensors', 'too short')
    refused([*small, '--weights', write(folder / 'other.safetensors', 8 * '\0' + '{}')], '--weights', 'other.safetensors')
    refused([*small, '--no-graph'], '--no-graph', 'cpu', 'GPUs')
    refused([*small, '--tune'], '--tune', 'cpu', 'GPUs')
    for seconds in ('0', '-1', 'soon'):
        refused([*small, '--timeout', seconds], '--timeout', seconds)
    refused(['top', 'a.trace', 'b.trace', '--replay'], 'several traces', '--once')
    refused([*small, '--restarts', 2], '--restarts', '--save')
    refused([*small, '--restarts', 2, '--resume', write(folder / 'step-1.safetensors', '')], '--restarts', '--save', 'a folder')
    refused([*small, '--threads', '--processes'], '--threads', '--processes')
    refused(small, 'mpirun', 'fathom-mpi.so', env={**os.environ, 'OMPI_COMM_WORLD_SIZE': '2', 'FATHOM_MPI': ''})
    refused(small, 'srun', 'fathom-mpi.so', env={**os.environ, 'SLURM_STEP_NUM_TASKS': '2', 'FATHOM_MPI': '/none'})
    refused([*small, '--backend', 'cda'], '--backend', 'cda', 'cpu-reference')
    refused([*small, '--backend', 'cuda'], '--backend')
    named = subprocess.run([FATHOM, *map(str, small), '--backend', 'cda'], capture_output=True, text=True, timeout=120).stderr
    has_cuda = 'cuda' in named.split('there are')[-1]
    refused([*small, '--gpus', 'titan-x'], 'titan-x', *(['7.5', '5.2'] if has_cuda else ['no CUDA']))
    refused([*small, '--gpus', 't4', '--dtype', 'bf16'], 't4', *(['bf16', '8.0'] if has_cuda else ['no CUDA']))
    refused([*small, '--backend', 'cpu-reference', '--gpus', '12GiB', '--tf32'], '--tf32', 'cpu-reference')


def accepted(words, *parts, **given):
    """The command succeeds and says all `parts`."""
    done = subprocess.run([FATHOM, *map(str, words)], capture_output=True, text=True, timeout=120, **given)
    said = done.stdout + done.stderr
    if done.returncode or any(part not in said for part in parts):
        failures.append(f'fathom {" ".join(map(str, words))}: exit code {done.returncode}, says {said[:300]!r}')
    return done


def check_spellings(folder):
    """What is plain is taken, whatever its case and hyphens; of the rest the one that is meant is named."""
    for typed, model in (('ResNet-50', 'resnet-50'), ('resnet1001', 'resnet-1001'), ('RESNET_20', 'resnet-20'), ('resnet 8', 'resnet-8'),
                         ('Plain20', 'plain-20'), ('vgg-16', 'vgg-d'), ('VGG16', 'vgg-d'), ('vgg11', 'vgg-a'), ('VGG-A', 'vgg-a')):
        accepted(['plan', typed, '--gpus', '80GiB'], f'{model} fits 80GiB')
    for typed, meant in (('resnext-50', 'did you mean resnet-50?'), ('resnet-v2-50', 'resnet-50?'), ('vgg19', 'vgg-d (16 layers)'),
                         ('50', 'resnet-50?'), ('resnet', 'resnet-50'), ('alexnet', 'resnet-<depth>'), ('resnet-50-', 'resnet-50?')):
        refused(['plan', typed], typed, meant)
    for typed, told in (('2x 12GiB', '2 x 12GiB'), ('2 x 12 GiB', '2 x 12 GiB'), ('2\u00d712GiB', '2 x 12GiB'), ('CPU', 'cpu'),
                        ('H100, 2 x titan x', 'h100 + 2 x titan-x'), ('A100 80G', 'a100-80gb'), ('a100-80gib', 'a100-80gb')):
        accepted(['plan', 'resnet-8', '--gpus', typed], f'resnet-8 fits {told}')
    for typed, told in (('a100', 'a100-80gb is the other'), ('8xA100', 'a100-80gb is the other'), ('v100', 'v100-32gb'), ('h100', 'h100-pcie'),
                        ('m40', 'm40-24gb'), ('a100-pcie', 'a100-80gb')):
        accepted(['plan', 'resnet-8', '--gpus', typed], 'note: ', told)
        codes = json.loads(accepted(['plan', 'resnet-8', '--gpus', typed, '--json']).stdout)['notes']
        if 'device-taken-for-one-of-several' not in codes:
            failures.append(f'{typed}: notes are {codes}')
    refused(['plan', 'resnet-8', '--gpus', '12'], "'12'", '12GiB')
    refused(['plan', 'resnet-8', '--gpus', '3x'], "'3x'", '2x12GiB')
    for typed, dtype in (('fp16', 'f16'), ('float16', 'f16'), ('half', 'f16'), ('FP16', 'f16'), ('bfloat16', 'bf16'), ('BF16', 'bf16'),
                         ('fp32', 'f32'), ('float32', 'f32')):
        told = json.loads(accepted(['plan', 'resnet-8', '--gpus', 'titan-x', '--dtype', typed, '--json']).stdout)
        if told['dtype'] != dtype:
            failures.append(f'--dtype {typed}: {told["dtype"]}')
    accepted(['plan', 'resnet-20', '--gpus', 'titan-x', '--dataset', 'CIFAR-100', '--unit', 'pre-activation', '--shortcut', 'B',
              '--recompute', 'None', '--batch-size', 64, '--micro-batches', 1], 'resnet-20 fits')
    refused(['plan', 'resnet-8', '--dtype', 'fp8'], '--dtype', 'fp8', 'bf16')
    refused(['plan', 'resnet-8', '--reduce-dtype', 'fp8'], '--reduce-dtype', 'fp8', 'bf16')
    refused(['plan', 'resnet-8', '--reduce-memory', 'near'], '--reduce-memory', 'near', 'apart')
    refused(['plan', 'resnet-8', '--recompute', 'elementwize'], 'did you mean elementwise?')
    refused(['plan', 'resnet-8', '--fp16'], '--dtype')
    refused(['plan', 'resnet-8', '-batch', 3], '--batch')
    refused(['plan', 'resnet-8', '--explain=3'], '--explain')


def check_streams(folder):
    """`-` is standard input where a file is read, and standard output where one is written: of the file alone then."""
    problem = 'id,lower,upper,size\na,0,2,8\nb,1,3,8\n'
    file = write(folder / 'stream.csv', problem)
    for flag in ('-o', '--output', '--out'):
        done = accepted(['place', '-', '--minimize', flag, '-'], input=problem)
        if done.stdout.splitlines() != ['id,lower,upper,size,offset', 'a,0,2,8,0', 'b,1,3,8,8'] or 'arena' not in done.stderr:
            failures.append(f'place - {flag} -: {done.stdout}{done.stderr}')
    with open(file) as stream:
        accepted(['place', '-', '--minimise'], 'optimal', stdin=stream)
    done = accepted(['plan', 'resnet8', '--gpus', 'cpu', '-o', '-'])
    if json.loads(done.stdout)['format'] != 'fathom plan' or 'fits' not in done.stderr:
        failures.append('plan -o -: no plan alone')
    json.loads(accepted(['devices', '--gpus', '2xh200', '-o', '-']).stdout)
    if not accepted(['plan', 'resnet8', '--gpus', 'h200', '--svg', '-']).stdout.startswith('<svg '):
        failures.append('plan --svg -: no picture')
    grown = folder / 'grown.txt'
    write(grown, 'kept\n')
    with open(grown, 'a') as stream:
        subprocess.run([FATHOM, 'place', file, '--minimise', '-o', '-'], stdout=stream, stderr=subprocess.DEVNULL, timeout=60)
    if not grown.read_text().startswith('kept\nid,lower'):
        failures.append(f'-o - after >>: {grown.read_text()!r}')
    refused(['place', file, '--minimise', '-o', '-', '--svg', '-'], '--svg', 'standard output')


def check_readers_that_leave(folder):
    """`fathom ... | head`: nothing is said, and the exit code is that of SIGPIPE."""
    file = write(folder / 'head.csv', 'id,lower,upper,size\n' + ''.join(f'{i},{i},{i + 2},8\n' for i in range(20000)))
    for words in (['devices'], ['help', 'plan'], ['plan', '--help'], ['plan', 'resnet-1001', '--gpus', '12GiB', '--batch', 8, '--json'],
                  ['plan', 'resnet-20', '--gpus', 'cpu', '--explain'], ['plan', 'resnet-20', '--gpus', 'cpu', '-o', '-'],
                  ['place', file, '--minimise', '--live'], ['place', file, '--minimise', '-o', '-'], ['devices', '--json']):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([FATHOM, *map(str, words)], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
        os.close(writer)
        told = [line for line in done.stderr.splitlines() if line.startswith('fathom')]
        if done.returncode != 141 or told:
            failures.append(f'fathom {" ".join(map(str, words))} to nobody: exit code {done.returncode}: {done.stderr}')


def check_costs(folder, plan, data):
    """Times of a run predict plans of another depth; what it cannot tell is refused."""
    trace = folder / 'costs.trace'
    done = run('train', plan, '--data', data, '--iterations', 3, '--no-evaluate', '--trace', trace, '--time-every', 1)
    assert done.returncode == 0, done.stderr
    done = run('plan', 'resnet-14', '--batch', 8, '--gpus', 'cpu', '--costs', trace, '--json')
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)['step_seconds'] > 0
    done = run('plan', 'resnet-14', '--batch', 8, '--gpus', 'cpu', '--costs', trace, '--explain')
    assert done.returncode == 0 and 'measured in' in done.stdout, done.stdout
    costs = ['--costs', trace]
    refused(['plan', 'resnet-8', '--batch', 8, '--gpus', 'titan-x', *costs], '--costs', 'cpu', 'titan-x')
    refused(['plan', 'resnet-8', '--batch', 8, '--gpus', '2xcpu', *costs], '--costs', '2')
    cut = folder / 'cut.trace'
    cut.write_bytes(trace.read_bytes()[:48])
    refused(['plan', 'resnet-8', '--gpus', 'cpu', '--costs', cut], '--costs', 'cut.trace')


def check_train(folder):
    plan = folder / 'plan.json'
    done = run('plan', 'resnet-8', '--batch', 8, '--gpus', 'cpu', '-o', plan)
    assert done.returncode == 0, done.stderr
    text = plan.read_text()
    data = folder / 'data'
    done = run('data', 'synth', data, '--train', 200, '--test', 40)
    assert done.returncode == 0, done.stderr
    refused(['train'], 'plan')
    refused(['train', folder / 'none.json', '--data', data], 'none.json')
    refused(['train', plan], '--data')
    refused(['train', plan, '--data', folder / 'nowhere'], 'nowhere')
    refused(['eval', '--data', data], 'a checkpoint and a dataset are wanted')
    refused(['eval', plan, data, '--data', data], '--data', 'beside a dataset as a word')
    refused(['train', write(folder / 'half.json', text[:len(text) // 2]), '--data', data], 'half.json')
    older = write(folder / 'older.json', text.replace('"version": 2', '"version": 1', 1))
    refused(['train', older, '--data', data], 'older.json', 'version 1', 'make the plan again')
    newer = text.replace('"version": 2', '"version": 3', 1)
    assert newer != text
    refused(['train', write(folder / 'newer.json', newer), '--data', data], 'newer.json', 'a newer fathom', 'version')
    other = text.replace('"resnet-8"', '"resnet-14"', 1)
    assert other != text
    refused(['train', write(folder / 'other.json', other), '--data', data], 'other.json')
    refused(['train', plan, '--data', data, '--iterations', 0], '--iterations')
    accepted(['train', plan, '--data', data, '--iterations', 1, '--lr', 0.1, '--no-evaluate'], '1 step of 8')
    for drops in ('5,3', '4,4', '1,9,8'):
        refused(['train', plan, '--data', data, '--iterations', 9, '--schedule', drops], '--schedule', drops, 'later')
    check_costs(folder, plan, data)
    check_trace_flow(folder, plan, data)
    refused(['train', plan, '--data', data, '--iterations', 1, '--trace', folder / 'no' / 'run.trace'], 'run.trace')
    refused(['train', plan, '--data', data, '--iterations', 1, '--resume', folder / 'nothing'], 'nothing')
    refused(['train', '--resume', folder / 'nothing'], '--resume', 'nothing is not there')
    kept = write(folder / 'kept.trace', 'FATHOMTR of an earlier run')
    refused(['train', plan, '--data', folder / 'nowhere', '--trace', kept], 'nowhere')
    refused(['train', plan, '--data', data, '--schedule', 'sideways', '--trace', kept], 'sideways')
    refused(['train', plan, '--data', data, '--save', '/proc/self', '--trace', kept], '--save', '/proc/self')
    refused(['train', plan, '--data', data, '--log', '/proc/self/log', '--trace', kept], '--log', '/proc/self/log')
    refused(['train', plan, '--data', data, '--top', '--trace', kept], '--top', 'terminal')
    refused(['train', plan, '--data', data, '--record-steps', '3:5'], '--record-steps', '--trace FILE')
    refused(['train', plan, '--data', data, '--flow-every', 3], '--flow-every', '--trace FILE')
    refused(['train', plan, '--data', data, '--trace', kept, '--flow-every', 0], '--flow-every', '0')
    for steps in ('5:3', '0:2', '3:', 'x', '1:2:3'):
        refused(['train', plan, '--data', data, '--trace', kept, '--record-steps', steps], '--record-steps', steps, 'FIRST:LAST')
    refused(['train', plan, '--data', data, '--iterations', 1, '--log', folder / 'no' / 'log.jsonl'], 'log.jsonl')
    batch = data / 'data_batch_1.bin'
    whole = batch.read_bytes()
    write(batch, whole[:-7])
    refused(['train', plan, '--data', data, '--iterations', 1, '--trace', kept], 'data_batch_1.bin')
    write(batch, b'\x0b' + whole[1:])
    refused(['train', plan, '--data', data, '--iterations', 1, '--trace', kept], 'data_batch_1.bin', 'label')
    write(batch, whole)
    refused(['train', 'resnet-8', '--classes', 7, '--batch', 8, '--data', data, '--trace', kept], '--data', '10 classes', '7')
    if kept.read_text() != 'FATHOMTR of an earlier run':
        failures.append('a mistyped command cost the trace of an earlier run')
    check_length(data, folder)
    check_recipes(data, folder)
    check_updates(folder, data)
    check_disk(folder, plan, data)


def check_length(data, folder):
    """Without --iterations as many passes as in the papers, over the images that there are; a run that nobody reads any
    more is stopped and keeps its steps."""
    save = folder / 'unread'
    command = [FATHOM, 'train', 'resnet-8', '--batch', '8', '--data', str(data), '--no-evaluate', '--save', str(save)]
    train = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    told = train.stdout.readline() + train.stdout.readline() + train.stdout.readline()
    expect('4096 steps' in told, f'200 images, batch 8: {told}')
    expect('1,024,000 steps' in ' '.join(told.split()), f'what the papers make of it: {told}')
    train.stdout.close()
    try:
        code = train.wait(timeout=60)
    finally:
        train.kill()
    complaint = train.stderr.read()
    expect(code == 141 and not complaint and list(save.glob('*.safetensors')), f'nobody reads: exit code {code}: {complaint}')


def check_recipes(data, folder):
    """By name or by path; what an option says wins; of what there is not the nearest is named."""
    small = ['train', 'resnet-8', '--data', data, '--iterations', 1, '--no-evaluate']
    refused([*small, '--recipe', 'cifar-relase'], '--recipe', 'cifar-relase', 'did you mean cifar-release')
    refused([*small, '--recipe', folder / 'none.json'], 'none.json')
    refused(['train', 'resnet-8', '--data', 'd', '--workers', '0'], '--loader-threads', "'0'")
    refused(['train', 'resnet-8', '--data', 'd', '--pretrained', 'w'], 'did you mean --weights?')
    refused(['train', 'resnet-8', '--data', 'd', '--output-dir', 'w'], 'did you mean --run?')
    refused(['recipes', 'cifer'], 'cifer', 'did you mean cifar')
    refused(['recipes', 'cifar', 'imagenet'], 'imagenet', 'too many')
    refused(['plan', 'resnet-8', '--gpus', '8GiB', '--recipe', 'imagnet'], '--recipe', 'did you mean imagenet')
    recipe = json.loads(accepted(['recipes', 'cifar-release']).stdout)
    listed = re.sub(r'\s+', ' ', accepted(['recipes'], 'cifar-release', 'imagenet-torch').stdout)
    expect('cifar-110 batch 128, 64,000 iterations; rate 0.1, times 0.1 after 32,000 and 48,000; at first 0.01 for 400 iterations, or until '
           'the training error is below 80 %; momentum 0.9; weight decay 0.0001 (arXiv:1512.03385, 4.2, for ResNet-110) cifar-deep ' in listed
           and 'epochs; rate 0.1, times 0.1 after 80 and 121; Nesterov momentum 0.9' in listed
           and 'rate 0.01, times 0.1 where the test error falls no more' in listed, f'recipes: {listed}')
    for text in re.split(r' (?=cifar|imagenet)', listed.strip()):
        expect(text.count('batch') == 1 and text.count('iterations') + text.count('epochs') < 3, f'recipes repeats itself: {text}')
    mine = write(folder / 'mine.json', json.dumps({**recipe, 'name': 'mine', 'batch': 16, 'learning_rate': 0.7, 'schedule': 'constant',
                                                   'drops': None}))
    refused([*small, '--recipe', mine], 'mine.json', 'drops')
    recipe = {**recipe, 'name': 'mine', 'batch': 16, 'learning_rate': 0.7, 'schedule': 'constant'}
    del recipe['drops']
    refused([*small, '--label-smoothing', 1], '--label-smoothing')
    refused([*small, '--crop', 'area'], '--crop: found for images of 32 x 32')
    for option in ('--crop area', '--color-jitter 0.4', '--lighting 0.1'):
        refused([*small, '--no-augment', *option.split()], option.split()[0], '--no-augment')
    losses = []
    for smoothing, words in ((0, []), (0.9, []), (0.9, ['--label-smoothing', 0])):
        write(mine, json.dumps({**recipe, 'label_smoothing': smoothing}))
        losses.append(re.search(r'loss (\S+)', accepted([*small, '--recipe', mine, *words]).stdout).group(1))
    expect(losses[0] == losses[2] != losses[1], f'losses with smoothing 0, 0.9 and an option for 0: {losses}')
    write(mine, json.dumps(recipe))
    accepted([*small, '--recipe', mine], 'batch 16 ', f'recipe mine of {mine}', 'rate 0.7 ')
    accepted([*small, '--recipe', mine, '--batch', 8, '--learning-rate', 0.2], 'batch 8 ', 'recipe mine', 'rate 0.2 ')
    write(mine, json.dumps({**recipe, 'momentun': 0.9}))
    refused([*small, '--recipe', mine], 'mine.json', 'momentun', "'momentum'")


def check_updates(folder, data):
    """Optimizers: their names and numbers, and plans without room for what they keep."""
    small = ['train', 'resnet-8', '--gpus', 'cpu', '--batch', 16, '--data', data, '--iterations', 1, '--no-evaluate']
    plan = folder / 'momentum.json'
    accepted(['plan', 'resnet-8', '--gpus', 'cpu', '--batch', 16, '-o', plan], 'momentum ')
    accepted(['plan', 'resnet-8', '--gpus', 'cpu', '--batch', 16, '--optimizer', 'adam', '--average-weights', 0.99, '-o', folder / 'adam.json'],
             'adam, average ')
    own = ['train', plan, *small[6:]]
    refused([*small, '--optimizer', 'adan'], '--optimizer', 'did you mean adam')
    refused([*small, '--beta1', 0.8], '--beta1', 'sgd, which has none')
    refused([*small, '--optimizer', 'adam', '--momentum', 0.9], '--momentum', 'adam, which has none')
    for nesterov in (['--nesterov'], ['--optimizer', 'nesterov']):
        refused([*small, *nesterov, '--momentum', 0], 'nesterov', '--momentum above 0')
    refused([*small, '--decay-all', '--no-decay-bn'], 'opposites')
    refused([*small, '--average-weights', 1], '--average-weights')
    refused([*own, '--optimizer', 'adam'], 'adam keeps 2 numbers of each parameter', 'made for momentum', 'room for 1')
    refused([*own, '--clip-norm', 1], '--clip-norm', 'plan again')
    refused([*own, '--average-weights', 0.9], '--average-weights', 'plan again')
    accepted([*own, '--optimizer', 'adagrad'])
    refused(['plan', 'resnet-50', '--gpus', 'h100', '--strategy', 'pytorch', '--optimizer', 'adam'], '--strategy pytorch', 'found adam')
    accepted(['train', folder / 'adam.json', *small[6:], '--optimizer', 'nesterov', '--momentum', 0.5], 'loss ')
    recipe = {**json.loads(accepted(['recipes', 'cifar']).stdout), 'optimizer': 'adamw', 'decay_all': False, 'clip_norm': 1,
              'average_weights': 0.9}
    mine = write(folder / 'adamw.json', json.dumps(recipe))
    expect(json.loads(accepted(['recipes', mine]).stdout) == recipe, 'a recipe with an optimizer is not printed as it is')
    accepted(['plan', 'resnet-8', '--gpus', 'cpu', '--recipe', mine], 'adamw, average ')
    write(mine, json.dumps({**recipe, 'optimizer': 'adan'}))
    refused([*small, '--recipe', mine], "field 'optimizer'", 'did you mean adam')


def check_disk(folder, plan, data):
    """A checkpoint that cannot be written fails the run and leaves the previous one as it was."""
    save = folder / 'save'
    done = run('train', plan, '--data', data, '--iterations', 2, '--save', save)
    assert done.returncode == 0, done.stderr
    before = {p.name: p.read_bytes() for p in save.iterdir()}
    limited = ['sh', '-c', 'ulimit -f 8; trap "" XFSZ; exec "$@"', 'sh', FATHOM, 'train', str(plan), '--data', str(data),
               '--iterations', '4', '--resume', str(save), '--save', str(save)]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=120)
    after = {p.name: p.read_bytes() for p in save.iterdir()}
    checked[0] += 1
    if done.returncode != 1 or not done.stderr.strip():
        failures.append(f'a full disk: exit code {done.returncode}: {done.stderr}')
    if any(after.get(name) != content for name, content in before.items()):
        failures.append('a full disk: the previous checkpoint is not intact')
    if any('partial' in name for name in after):
        failures.append(f'a full disk: left behind {sorted(after)}')


def check_trace_flow(folder, plan, data):
    """Norms of units: a table, JSON, and a picture of two runs in one; steps are those that the option names."""
    trace, svg = folder / 'flow.trace', folder / 'flow.svg'
    refused(['trace', 'flow', folder / 'costs.trace'], 'costs.trace', 'no norms', '--flow-every')
    done = run('train', plan, '--data', data, '--iterations', 3, '--no-evaluate', '--trace', trace, '--flow-every', 2)
    expect(done.returncode == 0, f'train --flow-every: {done.stderr}')
    cut = folder / 'cut.trace'
    cut.write_bytes(trace.read_bytes()[:48])
    refused(['trace', 'flow', cut], 'cut.trace', 'holds no steps')
    refused(['trace', 'stats', trace, '--svg', svg], '--svg', 'flow')
    refused(['trace', 'flow', trace, trace, trace], 'flow', '3 files')
    refused(['trace', 'flow', trace, '--svg', trace], '--svg', 'flow.trace')
    done = run('trace', 'flow', trace, '--json')
    expect(done.returncode == 0, f'trace flow --json: {done.stderr}')
    found = json.loads(done.stdout)['runs'][0]
    expect([step['step'] for step in found['steps']] == [1, 2], f'steps with norms: {found["steps"]}')
    expect([unit['unit'] for unit in found['units']] == ['stem', 'stage1/unit1', 'stage2/unit1', 'stage3/unit1', 'head'],
           f'units: {found["units"]}')
    for step in found['steps']:
        expect(all(value > 0 for value in step['gradient'][:-1]) and step['gradient'][-1] is None, f'gradients: {step}')
        expect(all(value > 0 for value in step['weight_gradient']), f'gradients of weights: {step}')
    done = run('trace', 'flow', trace, trace, '--svg', svg, '--limit', 3)
    expect(done.returncode == 0 and 'stage1/unit1' not in done.stdout.split('of stage1')[0] and 'head' in done.stdout,
           f'trace flow --limit: {done.stdout} {done.stderr}')
    expect(max(len(line) for line in done.stdout.splitlines() if '/' not in line or line[0] == ' ') <= 80, 'trace flow: too wide')
    expect(re.search('>flow: resnet-[^<]*, batch [0-9]+, step 1 .light. to 2 .dark.<', svg.read_text()), 'trace flow --svg: its legend')
    picture = ElementTree.parse(svg).getroot()
    curves = [title.text for title in picture.iter('{http://www.w3.org/2000/svg}title') if title.text.startswith('step ')]
    expect(curves == ['step 1', 'step 2'] * 6, f'curves of the picture: {curves}')


def check_trace_tables(folder):
    """Of the trace that check_costs leaves: three steps, all of them timed."""
    trace = folder / 'costs.trace'
    refused(['trace', 'stats', f'{trace}@4-2'], '4-2', '100-200')
    refused(['trace', 'stats', f'{trace}@900-'], '900-', 'no such steps')
    refused(['trace', 'stats', trace, '--by', 'colour'], '--by', 'colour', 'kernel')
    refused(['trace', 'stats', trace, '--by', 'kernel'], 'costs.trace', 'no kernels', '--by op')
    refused(['top', trace, '--once', '--by', 'layers'], '--by', 'layers', 'did you mean layer?')
    refused(['trace', 'stats', trace, '--gate', 5], '--gate', 'diff')
    refused(['trace', 'diff', trace, trace, '--gate', 'some'], '--gate', 'some')
    refused(['trace', 'diff', trace, f'{trace}@1-2', '--gate', 5], '@1-2', 'timed steps', 'at least 3')
    done = run('trace', 'stats', trace, '--by', 'unit', '--json')
    expect(done.returncode == 0, f'trace stats --by unit: {done.stderr}')
    stats = json.loads(done.stdout)
    expect(0 < stats['step_seconds'] <= stats['step_p99_seconds'], f'few steps: {stats}')
    two = json.loads(run('trace', 'stats', f'{trace}@2-3', '--json').stdout)
    expect(0 < two['step_seconds'] <= two['step_p99_seconds'], f'two steps: {two}')
    parts, row = stats['timed_step_parts_ns'], stats['rows'][0]
    counters = {counter['name']: counter for counter in stats['counters']}
    memory = counters['memory of the process']
    expect(memory['device'] is None and memory['unit'] == 'bytes' and 1e6 < memory['min'] <= memory['max'], f'{counters}')
    expect(stats['host_ns'][0]['load'] > 0 and stats['host_ns'][0]['wait'] > 0, f"host: {stats['host_ns']}")
    expect(stats['timed_steps'] == 3 and parts['kernels'] > 0 and row['timed_step_ns'] > 0, f'trace stats: {stats}')
    kinds = {row['name']: row for row in json.loads(run('trace', 'stats', trace, '--by', 'kind', '--json').stdout)['rows']}
    conv, peak = kinds['conv'], stats['peaks'][0]
    expect(peak['flops_per_second'] > 1e9 and peak['bytes_per_second'] > 1e8, f'peaks of this host: {peak}')
    expect(conv['flops_per_second'] > 1e6 and conv['bytes_per_second'] > 1e5 and conv['bound'] in ('flops', 'bytes')
           and conv['bound_percent'] > 0, f'the roofline of convolutions: {conv}')
    done = run('trace', 'diff', trace, trace, '--gate', 0, '--json')
    expect(done.returncode == 0 and not json.loads(done.stdout)['slower'], f'a trace is slower than itself: {done.stdout}')


def check_traces(folder):
    refused(['top', folder / 'none.trace', '--once'], 'none.trace')
    refused(['top', write(folder / 'text.trace', 'not a trace at all'), '--once'], 'text.trace')
    refused(['top', write(folder / 'empty.trace', ''), '--once'], 'empty.trace')
    refused(['top'], 'RUN.trace', cwd=folder / 'nowhere-with-traces')
    refused(['top', folder / 'text.trace'], 'text.trace')
    refused(['top', folder / 'text.trace', '--view', 'sideways', '--once'], 'text.trace')
    refused(['trace', 'stats', folder / 'none.trace'], 'none.trace')
    refused(['trace', 'stats', folder / 'text.trace'], 'text.trace')
    refused(['trace', 'dance', folder / 'text.trace'], 'dance')
    refused(['trace', 'stat', folder / 'text.trace'], 'stat', 'did you mean stats?')
    refused(['trace', 'stats', folder / 'text.trace', '--by', 'kernal'], '--by', 'kernal', 'did you mean kernel?')
    refused(['trace', 'stats', folder / 'text.trace', '--sort', 'totl'], '--sort', 'totl', 'did you mean total?')
    refused(['trace'], 'stats')


def check_place(folder):
    header = 'id,lower,upper,size\n'
    refused(['place'], 'file')
    refused(['place', folder / 'none.csv', '--minimise'], 'none.csv')
    for name, rows in (('reversed', 'a,5,3,8\n'), ('negative', 'a,-1,3,8\n'), ('twice', 'a,0,1,8\na,0,1,8\n'), ('huge', 'a,0,1,99999999999999999999\n'),
                       ('short', 'a,0,1\n'), ('words', 'a,b,c,d\n')):
        refused(['place', write(folder / f'{name}.csv', header + rows), '--minimise'], f'{name}.csv')
    refused(['place', write(folder / 'nohead.csv', 'x\n1\n'), '--minimise'], 'nohead.csv')
    good = write(folder / 'good.csv', header + 'a,0,2,8\nb,1,3,8\n')
    refused(['place', good, '--capacity', 'some'], '--capacity')
    refused(['place', good, '--minimise', '-o', folder / 'no' / 'out.csv'], 'out.csv')
    refused(['place', good, '--chunks', '2x'], '--chunks')
    refused(['place', good, '--chunks', 3], '--chunk-size')
    refused(['place', good, '--chunks', '2x8', '--chunk-size', 8], '--chunk-size')
    refused(['place', good, '--chunk-size', 8], '--chunks')
    refused(['place', good, '--chunks', '2x8', '--minimise'], '--minimise')
    refused(['place', good, good, '--minimise'], 'good.csv')
    clocks = write(folder / 'clocks.csv', header + 'a,0:0,2:0,8\nb,0:1,0:3,8\n')
    refused(['place', clocks, '--chunks', '2x8'], '--chunks')
    refused(['place', clocks, '--minimise', '--svg', folder / 'a.svg'], '--svg')
    refused(['place', write(folder / 'mixed.csv', header + 'a,0:0,2:0,8\nb,0,3,8\n'), '--minimise'], 'mixed.csv')
    accepted(['place', clocks, '--minimise', '--json'], '"peak_instant": null')
    wrapped = write(folder / 'wrapped.csv', 'id,lower,upper,size,offset\na,0:0,2:1,10,0\nb,1:0,3:3,20,18446744073709551606\n')
    refused(['place', '--check', wrapped, '--capacity', 30], 'buffer 1', 'beyond 64 bits', code=1)
    refused(['place', '--check'], 'PLACED.csv')
    refused(['place', '--check', good, '--minimise'], '--minimise')
    refused(['place', '--check', folder / 'none.csv'], 'none.csv')
    refused(['place', '--check', good, folder / 'none.csv'], 'none.csv')
    refused(['place', folder, '--minimise'], str(folder))
    refused(['place', write(folder / 'twoplaces.csv', 'id,lower,upper,size,offset,alias\na,0,1,8,0,1\nb,0,1,8,8,1\n'), '--minimise'], 'alias group 1')
    refused(['place', write(folder / 'sum.csv', header + f'a,0,1,{2**62}\nb,0,1,{2**62}\n'), '--minimise'], 'sum.csv')
    refused(['place', write(folder / 'zero.csv', header + 'a,0,1,8\0\n'), '--minimise'], 'zero.csv')
    refused(['place', write(folder / 'long.csv', header + 'a,0,1,' + '8' * 100000 + '\n'), '--minimise'], 'long.csv')
    for name, before in (('bom', '\ufeff'), ('crlf', '')):
        text = before + (header + 'a,0,2,8\nb,1,3,8\n').replace('\n', '\r\n' if name == 'crlf' else '\n')
        done = run('place', write(folder / f'{name}.csv', text), '--minimise')
        if done.returncode != 0:
            failures.append(f'place {name}.csv: exit code {done.returncode}: {done.stderr}')
    many = write(folder / 'many.csv', header + ''.join(f'a buffer of a long name {i},0,1,{10000 + i}\n' for i in range(300)))
    for arguments in (['--minimise', '--time', 0], ['--minimise', '--time', 0, '--live'], ['--chunks', 1000, '--chunk-size', 1000000],
                      ['--chunks', ','.join(f'{10**6 + i}' for i in range(40))]):
        told = run('place', many, *arguments).stdout
        expect('300 buffers' in told and max(map(len, told.splitlines())) <= 80, f'place {arguments}: {told[:600]}')
    for arguments in ((), (good,)):
        run('place', good, '--minimise', '-o', folder / 'placed.csv')
        done = run('place', '--check', folder / 'placed.csv', *arguments)
        if done.returncode != 0 or 'optimal' not in done.stdout:
            failures.append(f'place --check: exit code {done.returncode}: {done.stdout}{done.stderr}')
    for arguments in ((), (good,), (good, '--json')):
        write(folder / 'placed.csv', 'id,lower,upper,size,offset\na,0,2,8,0\nb,1,3,8,4\n')
        done = run('place', '--check', folder / 'placed.csv', *arguments)
        told = json.loads(done.stdout or '{}') if '--json' in arguments else done.stdout
        wrong = 'overlap' not in told.get('reason', '') or told['sound'] if '--json' in arguments else told
        if done.returncode != 1 or wrong or 'overlap' not in done.stderr:
            failures.append(f'place --check of an overlap: exit code {done.returncode}: {done.stdout}{done.stderr}')
    for flag in ('-o', '--svg'):
        done = run('place', good, '--minimise', flag, '/dev/full')
        if done.returncode != 1 or '/dev/full' not in done.stderr:
            failures.append(f'place {flag} /dev/full: exit code {done.returncode}: {done.stderr}')
    done = run('place', good, '--capacity', 8)
    if done.returncode != 1:
        failures.append(f'place in too little: exit code {done.returncode}, not 1')


def check_data(folder):
    refused(['data'], 'synth')
    refused(['data', 'dance'], 'dance')
    refused(['data', 'inf', folder], 'inf', 'did you mean info?')
    refused(['data', 'info', folder / 'nowhere'], 'nowhere')
    refused(['data', 'convert', folder / 'nowhere', folder / 'out'], 'nowhere')
    refused(['data', 'synth', '/proc/fathom'], '/proc/fathom')


def main():
    with tempfile.TemporaryDirectory(prefix='fathom-cli-') as name:
        folder = pathlib.Path(name)
        (folder / 'nowhere-with-traces').mkdir()
        refused(['dance'], 'dance', 'plan')
        refused(['help', 'dance'], 'dance')
        check_plan(folder)
        check_spellings(folder)
        check_streams(folder)
        check_readers_that_leave(folder)
        check_place(folder)
        check_traces(folder)
        check_data(folder)
        check_train(folder)
        check_trace_tables(folder)
        left = [str(p.relative_to(folder)) for p in folder.rglob('*partial*')]
        if left:
            failures.append(f'left behind: {left}')
    for typed, meant in (('trian', 'train'), ('plans', 'plan'), ('tp', 'top'), ('device', 'devices'), ('DATA', 'data')):
        refused([typed], f'did you mean {meant}?')
    for command in ('plan', 'train', 'top', 'trace', 'place', 'devices', 'data', 'recipes', 'runs', 'sweep'):
        page = run('help', command)
        for part in ('SYNOPSIS', 'DESCRIPTION', 'EXIT STATUS', 'EXAMPLES'):
            if page.returncode or part not in page.stdout:
                failures.append(f'fathom help {command}: no {part}')
    return finish('wrong commands, each refused in one sentence')


sys.exit(main())
