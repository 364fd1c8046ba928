"""The trace of a run on the stand-in's GPU: every kernel has an owner, an op or the run itself, and the dashboard tells the same
of them as `fathom trace stats`. No GPU has confirmed it."""
import csv
import io
import json
import pathlib
import sys
import tempfile

from standin_run import train

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
    expect(all(abs(parts[part] - whole[part]) < 1 for part in whole), f'{parts} instead of {whole}')
    for size in ('24x80', '40x120', '50x200'):
        screen = run('top', trace, '--once', '--view', 'kernels', '--filter', 'set_step', '--size', size).stdout
        expect('timed step' in screen and "the run's own" in screen and 'whole' in screen, screen)
    memory = run('top', trace, '--once', '--view', 'memory', '--size', '24x80').stdout
    expect('taken by the process' in memory and 'process ' not in memory.split('host')[0], memory)


with tempfile.TemporaryDirectory() as made:
    made = pathlib.Path(made)
    run('data', 'synth', made / 'data', '--train', 80, '--test', 20)
    made_trace = made / 'run.trace'
    done = train(made, 'resnet-8', 'seed=3,memory=8GiB', '--batch', 8, '--micro-batches', MICRO, '--gpus', 'auto', '--iterations', STEPS,
                 '--trace', made_trace, '--time-every', 1)
    expect(done.returncode == 0, done.stderr[-300:])
    state = json.loads(run('top', made_trace, '--batch', 'json').stdout)
    check_owners(made_trace, state['kernels'])
    check_dashboard(made_trace, state)
sys.exit(finish('things that a trace says of kernels were so'))
