"""Traces of PyTorch's profiler, imported: sums are those of the JSON to the nanosecond, told by a reader of its own; kernels
are under their ops and modules. The traces are made here, in the shape that Kineto documents and writes."""
import csv
import gzip
import io
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from decimal import Decimal

from commands import FATHOM, catches, expect, finish, refused, run, wait_for, write

BASE = 1700000000000000000  # baseTimeNanoseconds
HOST, BACKWARD = 4711, 4712  # threads


def microseconds(ns):
    return Decimal(ns) / 1000


class Writer:
    """A step: modules and ops on the host's thread, their launches, kernels some time later, the backward pass on another
    thread, which knows the forward ops by their sequence numbers."""

    def __init__(self, seed, modern):
        self.random, self.modern = random.Random(seed), modern
        self.events, self.correlation, self.external, self.sequence = [], 1000, 1, 10
        self.ns, self.gpu = 5000000, {7: 0, 20: 0}

    def add(self, category, name, begin, end, pid, tid, **args):
        self.events.append({'ph': 'X', 'cat': category, 'name': name, 'pid': pid, 'tid': tid, 'ts': microseconds(begin),
                            'dur': microseconds(end - begin), 'args': args})

    def tick(self, most=3000):
        self.ns += self.random.randint(1, most)
        return self.ns

    def launch(self, thread, name, stream, category='kernel'):
        self.correlation += 1
        begin = self.tick()
        call = {'kernel': 'cudaLaunchKernel', 'gpu_memcpy': 'cudaMemcpyAsync', 'gpu_memset': 'cudaMemsetAsync'}[category]
        self.add('cuda_runtime', call, begin, self.tick(), HOST, thread, **{'External id': self.external, 'cbid': 211,
                                                                           'correlation': self.correlation})
        start = max(self.ns + self.random.randint(100, 4000), self.gpu[stream] + self.random.randint(0, 300))
        end = self.gpu[stream] = start + self.random.randint(1500, 9000)
        args = {'device': 0, 'context': 1, 'stream': stream, 'correlation': self.correlation}
        if self.modern:
            args['External id'] = self.external
        if category == 'kernel':
            args.update({'grid': [self.random.randint(1, 99), 2, 1], 'block': [128, 1, 1], 'registers per thread': 32,
                         'shared memory': 4096, 'est. achieved occupancy %': 50})
        else:
            args['bytes'] = 65536
        self.add(category, name, start, end, 0, stream, **args)

    def op(self, name, thread, kernels, sequence=None, forward_thread=0):
        begin = self.tick()
        self.external += 1
        external = self.external
        for kernel in kernels:
            self.launch(thread, kernel, 20 if 'copy' in kernel.lower() else 7,
                        'gpu_memcpy' if kernel.startswith('Memcpy') else 'gpu_memset' if kernel == 'Memset' else 'kernel')
        args = {'External id': external, 'Input Dims': [[8, 3, 16, 16], []], 'Ev Idx': external, 'note': 'a "quoted" \\ {['}
        if sequence is not None:
            args.update({'Sequence number': sequence, 'Fwd thread id': forward_thread})
        self.add('cpu_op', name, begin, self.tick(), HOST, thread, **args)

    def layer(self, module, op, kernels):
        begin = self.tick()
        self.sequence += 1
        outer = self.tick()
        self.op(op, HOST, kernels, self.sequence)
        self.add('cpu_op', 'aten::outer', outer, self.tick(), HOST, HOST, **{'External id': 0, 'Sequence number': self.sequence,
                                                                             'Fwd thread id': 0})
        self.add('python_function', f'nn.Module: {module}', begin, self.tick(), HOST, HOST, **{'Python id': self.external})
        return self.sequence

    def step(self, number):
        begin = self.tick()
        self.add('user_annotation', 'enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__', begin, self.tick(), HOST, HOST)
        net = self.tick()
        self.op('aten::copy_', HOST, ['Memcpy HtoD (Pinned -> Device)'])
        conv = self.layer('Conv2d_0', 'aten::cudnn_convolution', ['void gemm<float, 128>(Params)', 'Memset'])
        block = self.tick()
        bn = self.layer('BatchNorm2d_0', 'aten::cudnn_batch_norm', ['bn_fw_tr_1C11'])
        inner = self.layer('Conv2d_1', 'aten::cudnn_convolution', ['void gemm<float, 128>(Params)'])
        self.add('python_function', 'nn.Module: Block_0', block, self.tick(), HOST, HOST)
        self.add('python_function', 'nn.Module: ResNet_0', net, self.tick(), HOST, HOST)
        self.add('python_function', 'model.py(12): forward', net, self.tick(), HOST, HOST)
        for sequence, name in ((inner, 'Convolution'), (bn, 'CudnnBatchNorm'), (conv, 'Convolution')):
            self.op(f'autograd::engine::evaluate_function: {name}Backward0', BACKWARD, [f'{name}_backward_kernel'], sequence, 1)
        update = self.tick()
        self.op('aten::_foreach_add_', HOST, ['multi_tensor_apply'])
        self.add('user_annotation', 'Optimizer.step#SGD.step', update, self.tick(), HOST, HOST)
        replay = self.tick()
        self.launch(HOST, 'a kernel of a module alone', 7)
        self.add('python_function', 'nn.Module: Graphed_0', replay, self.tick(), HOST, HOST)
        self.launch(HOST, 'a kernel of no op', 7)
        self.add('cuda_runtime', 'cudaDeviceSynchronize', self.ns, max(self.gpu.values()) + 50, HOST, HOST, **{'cbid': 165})
        self.ns = max(self.gpu.values()) + 100
        self.add('user_annotation', f'ProfilerStep#{number}', begin, self.tick(), HOST, HOST)

    def text(self):
        self.random.shuffle(self.events)  # nothing promises an order
        class Plain(json.JSONEncoder):
            def default(self, value):
                return float(value)
        body = json.dumps(self.events, cls=Plain, indent=2 if self.modern else None)
        head = {'schemaVersion': 1, 'deviceProperties': [{'id': 0, 'name': 'NVIDIA X', 'totalGlobalMem': 85899345920}],
                'displayTimeUnit': 'ms', 'with_modules': 1, 'baseTimeNanoseconds': BASE}
        return json.dumps(head)[:-1] + ', "traceEvents": ' + body + ', "traceName": "x.json"}'


def expected(text):
    """(name: total, count, least, most) of kernels and streams, by a reader that shares nothing with ours."""
    kernels, streams = defaultdict(list), defaultdict(list)
    for event in json.loads(text, parse_float=Decimal)['traceEvents']:
        if event['ph'] == 'X' and event['cat'] in ('kernel', 'gpu_memcpy', 'gpu_memset'):
            ns = int(event['dur'] * 1000)
            kernels[event['name']].append(ns)
            streams[f"device 0 stream {event['args']['stream']}"].append(ns)
    return ({name: (sum(times), len(times), min(times), max(times)) for name, times in group.items()} for group in (kernels, streams))


def stats(trace, by):
    done = run('trace', 'stats', trace, '--by', by, '--json')
    expect(done.returncode == 0, f'trace stats --by {by}: {done.stderr}')
    return json.loads(done.stdout)


def rows(table):
    return {row['name']: (row['total_ns'], row['instances'], row['min_ns'], row['max_ns']) for row in table['rows']}


def check_sums(folder, modern):
    writer = Writer(modern, modern)
    for number in range(3, 11):
        writer.step(number)
    text = writer.text()
    plain, trace = write(folder / f'k{modern}.json', text), folder / f'k{modern}.trace'
    done = run('trace', 'import', plain, '-o', trace)
    expect(done.returncode == 0 and '8 steps' in done.stdout, f'import: {done.stdout} {done.stderr}')
    expect(run('trace', 'check', trace).returncode == 0, 'the imported trace is not whole')
    kernels, streams = expected(text)
    by_kernel, by_stream = stats(trace, 'kernel'), stats(trace, 'stream')
    expect(rows(by_kernel) == kernels, f'kernels: {rows(by_kernel)} instead of {kernels}')
    expect(rows(by_stream) == streams, f'streams: {rows(by_stream)} instead of {streams}')
    expect(by_kernel['model'] == 'ResNet' and by_kernel['steps'] == 8, f'{by_kernel["model"]}, {by_kernel["steps"]} steps')
    expect(by_kernel['unattributed'] == 8, f"{by_kernel['unattributed']} kernels of no op, not one a step")
    parts = by_kernel['timed_step_parts_ns']
    expect(min(parts[part] for part in ('kernels', 'copy', 'data', 'launch')) > 0, f'parts: {parts}')
    check_layers(trace, kernels)
    zipped = folder / f'z{modern}.json.gz'
    zipped.write_bytes(gzip.compress(text.encode()))
    again = folder / f'z{modern}.trace'
    expect(run('trace', 'import', zipped, '-o', again).returncode == 0, 'gzip')
    expect(rows(stats(again, 'kernel')) == kernels, 'gzip: other sums')
    piped = folder / f'p{modern}.trace'
    with open(zipped, 'rb') as file, subprocess.Popen(['cat'], stdin=file, stdout=subprocess.PIPE) as source:
        done = subprocess.run([FATHOM, 'trace', 'import', '/dev/stdin', '-o', piped], stdin=source.stdout, capture_output=True, text=True)
    expect(done.returncode == 0, f'from a pipe: {done.stderr}')
    expect(rows(stats(piped, 'kernel')) == kernels, 'from a pipe: other sums')
    done = run('trace', 'diff', trace, again, '--gate', 0, '--by', 'kernel')
    expect(done.returncode == 0 and 'nothing is slower' in done.stdout, f'diff: {done.stdout} {done.stderr}')
    done = run('trace', 'diff', f'{trace}@3-4', f'{again}@5-6', '--json')
    few = json.loads(done.stdout)
    expect(few['step_noise_ns'] is None and all(row['noise_ns'] is None for row in few['rows']), f'of two steps the noise is known: {few}')
    expect(few['gpus_before'] == {'clock_hz': None, 'held_back_part': None, 'held_back_by': None}, f'clocks that nobody read: {few}')
    slow = json.loads(text)
    for event in slow['traceEvents']:
        if event['name'].startswith('bn_fw_tr'):
            event['dur'] += 100  # more than steps differ by
    slower = folder / f's{modern}.trace'
    expect(run('trace', 'import', write(folder / f's{modern}.json', json.dumps(slow)), '-o', slower).returncode == 0, 'a slower one')
    done = run('trace', 'diff', trace, slower, '--gate', 20, '--by', 'kernel')
    expect(done.returncode == 1 and 'bn_fw_tr_1C11' in done.stdout and 'slower' in done.stdout, f'the gate let a slower kernel pass: {done.stdout}')
    expect(run('trace', 'diff', slower, trace, '--gate', 20, '--by', 'kernel').returncode == 0, 'faster is not slower')
    done = run('trace', 'stats', trace, '--by', 'kernel', '--csv')
    table = list(csv.reader(io.StringIO(done.stdout)))
    expect({row[8]: int(row[1]) for row in table[1:]} == {name: sums[0] for name, sums in kernels.items()}, 'stats --csv')
    for view in ('overview', 'ops', 'layers', 'kernels'):
        expect(run('top', trace, '--once', '--view', view).returncode == 0, f'top --view {view}')


def check_layers(trace, kernels):
    layers = rows(stats(trace, 'layer'))
    names = {'(no op)', 'Conv2d_0', 'Block_0/BatchNorm2d_0', 'Block_0/Conv2d_1', 'Optimizer.step', 'ResNet_0', 'Graphed_0'}
    expect(set(layers) == names, f'layers: {sorted(layers)}')
    expect(layers['(no op)'][0] == kernels['a kernel of no op'][0], 'what no op owns')
    expect(layers['Graphed_0'][0] == kernels['a kernel of a module alone'][0], 'what a module starts without an op')
    expect(layers['Optimizer.step'][0] == kernels['multi_tensor_apply'][0], 'the optimizer')
    expect(layers['Block_0/BatchNorm2d_0'][0] == kernels['bn_fw_tr_1C11'][0] + kernels['CudnnBatchNorm_backward_kernel'][0],
           'forward and backward of a layer')
    expect(sum(layer[0] for layer in layers.values()) == sum(kernel[0] for kernel in kernels.values()), 'layers do not add up')
    passes = rows(stats(trace, 'pass'))
    backward = sum(kernels[f'{name}_backward_kernel'][0] for name in ('Convolution', 'CudnnBatchNorm'))
    expect(passes['backward'][0] == backward, f'backward: {passes}')
    expect(passes['update'][0] == kernels['multi_tensor_apply'][0], f'update: {passes}')
    kinds = rows(stats(trace, 'kind'))
    expect('aten::cudnn_convolution' in kinds and 'ConvolutionBackward0' in kinds and 'aten::outer' not in kinds,
           f'innermost ops: {sorted(kinds)}')


def check_lost_launches(folder):
    """Where launches are missing the External id tells the op."""
    writer = Writer(7, True)
    writer.step(1)
    writer.events = [event for event in writer.events if event['cat'] != 'cuda_runtime']
    trace = folder / 'lost.trace'
    expect(run('trace', 'import', write(folder / 'lost.json', writer.text()), '-o', trace).returncode == 0, 'without launches')
    table = rows(stats(trace, 'layer'))
    expect(table['Conv2d_0'][1] == 2 and 'Block_0/Conv2d_1' in table, f'by External id: {table}')


def check_long_names(folder):
    """Names of templates have thousands of letters, and differ in the last ones."""
    names = ['void gemm<' + 'Policy, ' * 200 + last + '>()' for last in 'ab'] + ['x' * 1000, 'y' * 1001]
    events = [{'ph': 'X', 'cat': 'kernel', 'name': name, 'pid': 0, 'tid': 7, 'ts': 10 * (i + 1), 'dur': i + 1, 'args': {}}
              for i, name in enumerate(names)]
    trace = folder / 'names.trace'
    expect(run('trace', 'import', write(folder / 'names.json', json.dumps(events)), '-o', trace).returncode == 0, 'long names')
    table = rows(stats(trace, 'kernel'))
    expect(sorted(row[0] for row in table.values()) == [1000, 2000, 3000, 4000], f'long names: {table}')
    expect('x' * 1000 in table and all(name[:980] in [other[:980] for other in table] for name in names), f'cut names: {list(table)}')


def check_cpu(folder):
    writer = Writer(5, True)
    for number in range(2):
        writer.step(number)
    writer.events = [event for event in writer.events if event['cat'] in ('cpu_op', 'python_function', 'user_annotation')]
    text, trace = writer.text(), folder / 'cpu.trace'
    done = run('trace', 'import', write(folder / 'cpu.json', text), '-o', trace)
    expect(done.returncode == 0 and 'no kernels' in done.stdout and '2 steps' in done.stdout, f'CPU: {done.stdout}{done.stderr}')
    outer = [int(event['dur'] * 1000) for event in json.loads(text, parse_float=Decimal)['traceEvents']
             if event['cat'] == 'cpu_op' and 'cudnn' not in event['name']]
    total = sum(row[0] for row in rows(stats(trace, 'op')).values())
    expect(total == sum(outer), f'ops on the CPU: {total} ns, not {sum(outer)}')


def check_numbers(folder):
    """Exponents, negative and huge times; devices and streams that args tell, and pid and tid do not."""
    def kernel(name, ts, dur, pid='0', tid='7', args='{}'):
        return f'{{"ph":"X","cat":"kernel","name":"{name}","pid":{pid},"tid":{tid},"ts":{ts},"dur":{dur},"args":{args}}}'
    told = '{"device": 3, "stream": 9}'
    events = [kernel('exponent', '1e1', '1.5e3'), kernel('below', 2000, '5e-05'), kernel('capital', '0.25E+4', '12345.678E-1'),
              kernel('plain', 5000, '12.3459'), kernel('shifted', 6000, '0.0000012e9'), kernel('zero', 7000, '0e999999999'),
              kernel('minus', 8000, '-0.5'), kernel('early', -1, 5), kernel('word', 8000, 'NaN'), kernel('huge', 8000, '1e300'),
              kernel('wrapped', '9223372036854775', '9223372036854775'), kernel('half', 8000, '1e'),
              '{"ph":"X","cat":"kernel","name":"endless","pid":0,"tid":7,"ts":1}',
              kernel('named', 9000, 1, '"GPU 3"', '"stream 9"', told), kernel('negative', 9100, 2, -1, -1, told),
              kernel('other', 9200, 4, 1, 2, told), kernel('nowhere', 9300, 8, '"GPU 3"'), kernel('streamless', 9400, 16, 3, '"s"')]
    trace = folder / 'numbers.trace'
    done = run('trace', 'import', write(folder / 'numbers.json', '[' + ',\n'.join(events) + ']'), '-o', trace)
    expect(done.returncode == 0 and 'left out: 7 events whose ts' in done.stdout and 'left out: 2 events of GPUs' in done.stdout,
           f'what is left out: {done.stdout}{done.stderr}')
    totals = {name: row[0] for name, row in rows(stats(trace, 'kernel')).items()}
    expect(totals == {'exponent': 1500000, 'below': 0, 'capital': 1234567, 'plain': 12345, 'shifted': 1200000, 'zero': 0,
                      'named': 1000, 'negative': 2000, 'other': 4000}, f'numbers: {totals}')
    streams = {name: row[0] for name, row in rows(stats(trace, 'stream')).items()}
    expect(streams == {'device 0 stream 7': 1500000 + 1234567 + 12345 + 1200000, 'device 3 stream 9': 7000}, f'streams: {streams}')
    refused(['trace', 'import', write(folder / 'left.json', '[' + events[6] + ',' + events[-2] + ']'), '-o', folder / 'left.trace'],
            'left.json', 'nothing to import', '1 event', 'no device')


def check_wrong(folder):
    out = folder / 'none.trace'
    refused(['trace', 'import', folder / 'none.json', '-o', out], 'none.json')
    refused(['trace', 'import', write(folder / 'a.json', 'not JSON'), '-o', out], 'a.json', 'byte 0', 'not JSON')
    refused(['trace', 'import', write(folder / 'b.json', '{"a": [1, 2]}'), '-o', out], 'b.json', 'traceEvents')
    refused(['trace', 'import', write(folder / 'c.json', '{"traceEvents": [{"ph": "X", "na'), '-o', out], 'c.json', 'middle')
    refused(['trace', 'import', write(folder / 'd.json', '{"traceEvents": [{"ph": "X"} 5]}'), '-o', out], 'd.json', 'comma')
    refused(['trace', 'import', write(folder / 'e.json', '{"traceEvents": []}'), '-o', out], 'e.json', 'nothing to import')
    refused(['trace', 'import', write(folder / 'f.json', '{"traceEvents": [{"ph":"X","cat":"kernel","name":"k","pid":64,"ts":1,"dur":1}]}'),
             '-o', out], 'f.json', 'GPU 64')
    refused(['trace', 'import', write(folder / 'g.json', '{"traceEvents": [{"name": "' + 'x' * 6000000 + '"}]}'), '-o', out],
            'g.json', '1 MiB')
    (folder / 'h.json.gz').write_bytes(gzip.compress(b'{"traceEvents": [' * 50000)[:60])
    refused(['trace', 'import', folder / 'h.json.gz', '-o', out], 'h.json.gz')
    refused(['trace', 'import', folder / 'e.json'], '-o')
    refused(['trace', 'import', folder / 'k0.json', '-o', folder / 'k0.json'], 'k0.json', '--output')
    expect(not out.exists() and not list(folder.glob('*.partial*')), 'a failed import left something behind')


def being_written(process, folder):
    return process.poll() is not None or any(folder.glob('*.partial*'))


def stop(words, begun):
    """What a command that is ended once it has begun says, and whether it was done before."""
    process = subprocess.Popen([FATHOM, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: begun(process))
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=60)[1]
    expect(process.returncode in (0, 1), f'{words[1]} stopped: {process.returncode} {told}')
    return told, process.returncode == 0


def check_stop(folder):
    """What is stopped leaves nothing."""
    event = '{"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,"ts":1.5,"dur":1,"args":{"stream":7,"correlation":1}},\n' * 20000
    pieces = folder / 'long.json'
    with open(pieces, 'w') as file:
        file.write('{"traceEvents": [')
        for _ in range(20):
            file.write(event)
        file.write('{"ph":"M","name":"end"}]}')
    out = folder / 'long.trace'
    for begun in (lambda process: catches(process, signal.SIGTERM), lambda process: being_written(process, folder)):
        out.unlink(missing_ok=True)
        told, whole = stop(['trace', 'import', pieces, '-o', out], begun)
        expect(out.exists() == whole and (whole or 'stopped' in told), f'stopped: {told}')
        expect(not list(folder.glob('*.partial*')), 'a stopped import left a part')


def check_stopped_export(folder):
    """The same of exports, of a trace of 400,000 kernels."""
    trace = folder / 'long.trace'
    if not trace.exists():
        expect(run('trace', 'import', folder / 'long.json', '-o', trace).returncode == 0, 'the long trace')
    for kind in ('--chrome', '--perfetto'):
        out = folder / f'long{kind}'
        told, whole = stop(['trace', 'export', kind, trace, '-o', out], lambda process: being_written(process, folder))
        expect(out.exists() == whole and (whole or 'stopped' in told), f'{kind} stopped: {told}')
        expect(not list(folder.glob('*.partial*')), f'{kind}: a part is left')


def main():
    with tempfile.TemporaryDirectory(prefix='fathom-kineto-') as name:
        folder = pathlib.Path(name)
        check_sums(folder, 0)
        check_sums(folder, 1)
        check_lost_launches(folder)
        check_long_names(folder)
        check_cpu(folder)
        check_numbers(folder)
        check_wrong(folder)
        check_stop(folder)
        check_stopped_export(folder)
    return finish('checks of imported traces')


sys.exit(main())
