"""Parts of gpu.py: what NVIDIA's libraries tell by themselves, CUPTI's records and NCCL's sums."""
import contextlib
import fcntl
import os
import re
import shutil
import statistics
import struct
import sys
import threading

from gpu_bench import HERE, Failed, answer


# Kernels of our own whose names say which op they are of.
OWN_KERNELS = {'update': 'update', 'gradient_norm': 'update', 'weights_average': 'update', 'softmax_loss': 'loss', 'avgpool': 'avgpool', 'maxpool': 'maxpool', 'add_': 'add', 'dropout': 'dropout'}


def misattributed(kernels):
    """Kernels under an op of another sort than their name says."""
    wrong = []
    for kernel in kernels:
        wanted = [kind for name, kind in OWN_KERNELS.items() if kernel['kernel'].startswith(name)]
        if wanted and kernel['pass'] != 'run' and wanted[0] not in f"{kernel['kind']} {kernel['pass']}":
            wrong.append(f"{kernel['kernel']} under {kernel['kind']}")
    return wrong


@contextlib.contextmanager
def looking(trace):
    """Is seen by the run as one who looks at its trace (traces/viewer.h): then GPUs' own counters are read."""
    stop = threading.Event()

    def hold():
        while not stop.wait(0.02):
            try:
                with open(trace, 'rb') as file:
                    lock = struct.pack('hhqqi4x', fcntl.F_RDLCK, os.SEEK_SET, 1 << 60, 1, 0)
                    fcntl.fcntl(file, 37, lock)  # F_OFD_SETLK
                    stop.wait()
            except OSError:
                pass

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def dump_records(bench):
    """What CUPTI tells of a short run, into a file that tests read where there is no GPU (tests/profiler/dumps.c)."""
    folder = bench.results / 'dumps'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    dump = folder / (re.sub(r'[^a-z0-9]+', '-', bench.gpu['name'].lower()).strip('-') + '.dump')
    kept, bench.environment = bench.environment, {**bench.environment, 'FATHOM_CUPTI_DUMP': str(dump)}
    try:
        got = bench.train('resnet-8', '--repeat-batch', '--schedule', 'constant', '--trace', bench.out / 'logs' / 'dump.trace', '--time-every', 2,
                    batch=8, steps=6)
    finally:
        bench.environment = kept
    if got['unrecorded'] or not dump.exists():
        raise Failed(got['unrecorded'] or 'no dump was written')
    bench.write(f'CUPTI\'s records of six steps of resnet-8: dumps/{dump.name}, {dump.stat().st_size / 1024:.0f} KiB\n')


def run_recorded(bench, name, more, environment):
    """Images a second of a run with records as the words `more` say (None: without), and what its trace tells."""
    model, batch, steps = bench.sizes.records
    trace = bench.out / 'logs' / f'records-{name.replace(" ", "-").replace(",", "")}.trace'
    trace.unlink(missing_ok=True)
    words = [] if more is None else ['--trace', trace, *more]
    kept, bench.environment = bench.environment, {**bench.environment, **environment}
    try:
        with looking(trace):
            got = bench.train(model, '--repeat-batch', '--schedule', 'constant', *words, batch=batch, steps=steps)
    finally:
        bench.environment = kept
    if more is None:
        return got['images_per_second'], None
    if got['unrecorded']:
        raise Failed(got['unrecorded'])
    state = answer(bench.run([bench.fathom, 'top', trace, '--batch', 'json']))
    state['stats'] = answer(bench.run([bench.fathom, 'trace', 'stats', trace, '--by', 'kernel', '--json']))
    return got['images_per_second'], state


def part_records(bench):
    """CUPTI's records: whose kernels they are, what they cost, GPM without root."""
    model, batch, _ = bench.sizes.records
    ways = [('off', None, {}), ('windowed', [], {}), ('every second step', ['--time-every', 2], {}), ('every step', ['--time-every', 1], {}),
            ('every step, 256 KiB', ['--time-every', 1], {'FATHOM_CUPTI_BUFFER_KIB': '256'}),
            ('every step, 8 MiB', ['--time-every', 1], {'FATHOM_CUPTI_BUFFER_KIB': '8192'})]
    rates, states, failed, rounds = {}, {}, {}, 1 if bench.sizes.dry else 2
    for _ in range(rounds):  # in turn, so that a drift of clocks falls out
        for name, more, environment in ways:
            try:
                rate, state = run_recorded(bench, name, more, environment)
                rates.setdefault(name, []).append(rate)
                states[name] = state
            except Failed as failure:
                failed[name] = failure
    off = statistics.median(rates['off']) if 'off' in rates else None
    bench.table(['records', 'images/s', 'cost', 'kernels', 'dropped', 'without times', 'of nobody'], [])
    for name, _, _ in ways:
        if name not in rates:
            bench.row(name, f'**{failed[name]}**', *[''] * 5)
            continue
        rate, stats = statistics.median(rates[name]), (states[name] or {}).get('stats')
        told = [sum(row['instances'] for row in stats['rows']), stats['dropped'], stats['lost_timestamps'], stats['unattributed']] if stats else ['', '', '', '']
        bench.row(name, f'{rate:.0f}', f'{100 * (off / rate - 1):+.2f} %' if off else 'unknown', *told)
    bench.write('')
    try:
        dump_records(bench)
    except Failed as failure:
        failed['a dump'] = failure
    if failed:
        raise Failed('; '.join(f'{name}: {failure}' for name, failure in failed.items()))
    every = states['every step']
    wrong = misattributed(every['kernels'])
    active = [gpu.get('sm_active_percent') for gpu in every['gpus']]
    bench.write(f'\n{model}, batch {batch}: {len(every["kernels"])} places of a step, {len(wrong)} under an op that their name denies'
                f'{": " + ", ".join(wrong[:5]) if wrong else ""}; SMs active (GPM, user {os.geteuid()}): {active[0] if active and active[0] is not None else "unknown"}')
    if not every['kernels']:
        raise Failed('no kernel was recorded')
    if wrong or every['stats']['unattributed']:
        raise Failed(f'{len(wrong)} kernels under another op, {every["stats"]["unattributed"]} of nobody')


def part_cupti(bench):
    """CUPTI by itself: what switching records and fetching them takes, and whether their times are lost."""
    probe, dry = HERE / 'fathom-records', bench.sizes.dry
    if not probe.exists():
        raise Failed('fathom-records is not in the folder: the build had no CUPTI')
    sizes = ['--nodes', 20 if dry else 1000, '--seconds', 1 if dry else 6]

    def ask(*words):
        said = bench.run([probe, *words, *sizes], most=15)
        return answer(said)

    def times(row, name):
        return f'{row[name + "_us"][0]:.1f} ({row[name + "_us"][1]:.1f})'

    got = ask('switch')
    off, on = got['replay_off_us'][0], got['replay_on_us'][0]
    bench.write(f'{got["replays"]} replays of {got["nodes"]} kernels, median (most) in us: without records {times(got, "replay_off")}, with them '
                f'{times(got, "replay_on")} ({100 * (on / off - 1):+.2f} %), the first with them {times(got, "replay_first_on")}; '
                f'switching the three kinds on {times(got, "enable")}, off {times(got, "disable")}\n')
    bench.table(['buffers', 'ActivityFlushAll(0), us', 'a replay, us', 'buffers that came', 'KiB in each'], [])
    for kib in (256, 1024, 8192):
        row = ask('flush', kib)
        bench.row(f'{kib} KiB', times(row, 'flush'), times(row, 'replay_on'), row['buffers'],
                  f'{row["bytes"] / row["buffers"] / 1024:.0f}' if row['buffers'] else '')
    bench.write('')
    bench.table(['a pool of 8 buffers, records of', 'kernels replayed', 'records', 'without times', 'the first of them', 'memory of the GPU grew by'], [])
    bad = []
    for kinds in ('kernels', 'all'):
        row = ask('pool', kinds, '--records', 400 if dry else 1200000)
        bench.row(kinds, row['replayed'], row['records'], row['timeless'], row['first_timeless'] or 'none', f'{row["grown_bytes"] / 2**20:.0f} MiB')
        bad += [kinds] if kinds == 'all' and (row['timeless'] or row['records'] != row['replayed']) else []
    if got['records'] != 2 * got['replays'] * got['nodes'] or bad:
        raise Failed('records are missing or without times where copies and fills are recorded too')


def part_nccl(bench):
    """NCCL's memory, and a sum in a recorded graph, by a communicator of one rank."""
    try:
        got = answer(bench.run([sys.executable, HERE / 'nccl.py'], most=40))
    except Failed as failure:
        if 'libnccl.so.2 cannot be loaded' not in str(failure):
            raise
        bench.write('not run: there is no libnccl.so.2')
        return
    taken = ', '.join(f'{int(size) >> 20} MiB takes {bytes / 2**20:.0f}' for size, bytes in got['taken_bytes'].items())
    bench.write(f'NCCL {got["version"] // 10000}.{got["version"] // 100 % 100}.{got["version"] % 100}: in memory of its own, known to the '
                f'communicator, sums of {", ".join(got["types"])} are replayed; of that memory {taken} MiB of the GPU')
