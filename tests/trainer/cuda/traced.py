"""The trace of a run on the stand-in's GPU: every kernel has an owner, an op or the run itself, and the dashboard tells the same
of them as `fathom trace stats`. No GPU has confirmed it."""
import csv
import io
import json
import pathlib
import sys
import tempfile

from standin_run import environment, train

from commands import expect, finish, run

STEPS, MICRO = 4, 2
OWN = "(the run's own: uploads, step block, metrics)"


def stats(trace, by):
    return json.loads(run('trace', 'stats', trace, '--by', by, '--json', '--limit', 1000).stdout)


def check_owners(trace, kernels):
    layers = stats(trace, 'layer')
    own = [row for row in layers['rows'] if row['name'] == OWN]
    expect(layers['unattributed'] == 0 and len(own) == 1, f"{layers['unattributed']} kernels are nobody's; {own}")
    run_kernels = [kernel for kernel in kernels if kernel['pass'] == 'run']
    expect(all(kernel['layer'] or kernel['pass'] == 'run' for kernel in kernels), 'a kernel without an owner')
    expect(own and own[0]['total_ns'] == sum(kernel['total_ns'] for kernel in run_kernels), "the run's own time")
    ups = [kernel for kernel in run_kernels if kernel['kernel'] == 'copy HtoD']
    blocks = [kernel for kernel in run_kernels if kernel['kernel'] == 'set_step']
    expect(len(blocks) == MICRO and len(ups) >= 2 * MICRO, f'{len(blocks)} step blocks, {len(ups)} uploads')
    expect(all(kernel['count'] == STEPS and kernel['step_count'] == 1 for kernel in run_kernels), 'one place, once a step')
    forward = [kernel for kernel in kernels if kernel['pass'] == 'forward']
    expect(forward and all(kernel['step_count'] == MICRO for kernel in forward), 'an op runs in each micro-batch')


def check_dashboard(trace, top):
    by_name = {row['name']: row['total_ns'] for row in stats(trace, 'kernel')['rows']}
    together = json.loads(run('top', trace, '--batch', 'json', '--by', 'kind').stdout)['kernels']
    expect({kernel['kernel']: kernel['total_ns'] for kernel in together} == by_name, 'kernels by name are not those of stats')
    table = list(csv.DictReader(io.StringIO(run('top', trace, '--batch', 'csv', '--view', 'kernels').stdout)))
    expect(len(table) == len(top['kernels']) and sum(int(row['total_ns']) for row in table) == sum(by_name.values()), 'the CSV')
    parts, whole = top['timed_step_parts_ns'], stats(trace, 'op')['timed_step_parts_ns']
    # Numbers have 9 digits: of a busy machine's steps, seconds long, the last are not there.
    expect(all(abs(parts[part] - whole[part]) < max(1, 1e-8 * whole[part]) for part in whole), f'{parts} instead of {whole}')
    for size in ('24x80', '40x120', '50x200'):
        screen = run('top', trace, '--once', '--view', 'kernels', '--filter', 'set_step', '--size', size).stdout
        expect('timed step' in screen and "the run's own" in screen and 'whole' in screen, screen)
    memory = run('top', trace, '--once', '--view', 'memory', '--size', '24x80').stdout
    expect('taken by the process' in memory and 'process ' not in memory.split('host')[0], memory)


def check_info(trace):
    told = json.loads(run('trace', 'info', trace, '--json', '--limit', 1000).stdout)
    plan = json.loads((trace.parent / 'plan.json').read_text())
    (device,), tensors = told['devices'], plan['variants'][0]['train']['tensors']
    expect(told['origin'] == {'rank': 0, 'ranks': 1, 'host': told['origin']['host'], 'first_device': 0, 'devices': 1}, told['origin'])
    expect(told['step'] == STEPS and told['ended'] and told['wall']['readings'] >= 1, told)
    expect(device['clock'] and abs(device['clock']['ahead_ns']) < 1e6, device['clock'])
    expect(device['slot'], 'the GPU that it was')
    arena = device['arena']
    expect(arena and arena['tensors'] == len(tensors), f"{arena and arena['tensors']} tensors of {len(tensors)}")
    expect(0 < arena['peak_bytes'] <= device['arena_bytes'], arena['peak_bytes'])
    expect(all(t['offset'] + t['bytes'] <= device['arena_bytes'] and t['first'] <= arena['peak_op'] <= t['last'] for t in arena['at_peak']), 'at the peak')
    words = run('trace', 'info', trace).stdout
    expect('rank 0 of 1' in words and 'at most' in words and arena['at_peak'][0]['layer'] in words, words)


with tempfile.TemporaryDirectory() as made:
    made = pathlib.Path(made)
    run('data', 'synth', made / 'data', '--train', 80, '--test', 20)
    made_trace = made / 'run.trace'
    planned = run('plan', 'resnet-8', '--batch', 8, '--micro-batches', MICRO, '--gpus', 'auto', '-o', made / 'plan.json',
                  env=environment(made, 'seed=3,memory=8GiB'))
    expect(planned.returncode == 0, planned.stderr[-300:])
    done = train(made, made / 'plan.json', 'seed=3,memory=8GiB', '--iterations', STEPS,
                 '--trace', made_trace, '--time-every', 1)
    expect(done.returncode == 0, done.stderr[-300:])
    state = json.loads(run('top', made_trace, '--batch', 'json').stdout)
    check_owners(made_trace, state['kernels'])
    check_dashboard(made_trace, state)
    check_info(made_trace)
sys.exit(finish('things that a trace says of kernels were so'))
