"""Engines of cuDNN are timed before the first step, the fastest are taken, and what was chosen is kept; plans that are missing are
built side by side, once for all devices and processes of a machine. On the stand-in, whose engines take times that are made
up; no GPU has confirmed it."""
import collections
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time

from standin_run import HOME, environment, left, losses, told

from commands import FATHOM, expect, finish, run

STEPS = 2


def start(folder, cache, name, options, *words, plan='plan.json', **more):
    """A run; nothing of it has been looked at."""
    log, report = folder / f'{name}.log', folder / f'{name}.report'
    env = {**environment(folder, options, report), 'XDG_CACHE_HOME': str(cache)}
    return subprocess.Popen([FATHOM, 'train', folder / plan, '--data', folder / 'data', '--no-evaluate', '--iterations',
                             str(STEPS), '--log', log, *words], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **more), log, report


class Ran:
    def __init__(self, name, process, log, report):
        self.said, errors = process.communicate(timeout=100)
        self.said = ' '.join(self.said.split())
        expect(process.returncode == 0 and not errors, f'{name}: {errors[-300:]}')
        lines = [json.loads(line) for line in report.read_text().splitlines()]
        broken, self.counts = told(report)
        expect(not broken and not left(self.counts), f'{name}: {broken[:1]}, leaves {left(self.counts)}')
        self.losses = losses(log)
        self.graphs = collections.defaultdict(list)
        for line in lines:
            if line['kind'] == 'engine':
                self.graphs[line['graph']].append(line)

    def engines(self):
        return [engine for graph in self.graphs.values() for engine in graph]

    def total(self, what):
        return sum(engine[what] for engine in self.engines())

    def timed(self):
        return self.counts['calls'].get('EventElapsedTime', 0)


def train(folder, cache, name, options, *words, **more):
    return Ran(name, *start(folder, cache, name, options, *words, **more))


def ran_most(graph):
    """Of a graph's engines that which the steps ran: beside being timed."""
    return max(graph, key=lambda engine: engine['executes'])


def check_choice(name, first, second, allowed=lambda engine: True):
    """What was timed in the first run says what has to run in the second."""
    expect(first.timed() > 0 and second.timed() == 0, f'{name}: {second.timed()} times were measured again')
    expect(second.total('builds') == 0, f'{name}: {second.total("builds")} plans were built again')
    expect(second.losses == first.losses and len(first.losses) == STEPS, f'{name}: other losses in the second run')
    expect(len(second.graphs) > 10, f'{name}: only {len(second.graphs)} graphs ran')
    for graph, engines in second.graphs.items():
        fastest = min((engine for engine in first.graphs[graph] if allowed(engine)), key=lambda engine: engine['ms'])
        expect([engine['engine'] for engine in engines] == [fastest['engine']],
               f'{name}: engine {[e["engine"] for e in engines]} runs, the fastest is {fastest}')


def check_gain(first):
    """What the run says it gained is what the times say."""
    said = re.search(r'tuned (\d+) convolutions \((\d+) now\): ([\d.]+) ms a micro-batch, ([\d.]+) ms less', first.said)
    expect(said and said[1] == said[2] == str(len(first.graphs)), first.said[:600])
    expect(said and float(said[4]) > 0, first.said[:600])


def check_tuning(folder):
    cache = folder / 'cache'
    first = train(folder, cache, 'first', 'times=5', '--tune')
    second = train(folder, cache, 'second', 'times=5', '--tune')
    check_choice('tuned', first, second)
    check_gain(first)
    expect('(0 now)' in second.said, second.said[:600])
    sizes = [len(engines) for engines in first.graphs.values()] # what does not fit the planned workspace is not built
    expect(set(sizes) <= {2, 3} and sizes.count(3) > 10, f'of three engines {sizes} were built')
    expect(any(ran_most(engines)['engine'] != 0 for engines in first.graphs.values()), 'the first engine is always the fastest')
    plain = train(folder, cache, 'plain', 'times=5')
    for graph, engines in plain.graphs.items():
        expect([e['engine'] for e in engines] == [min(e['engine'] for e in first.graphs[graph])],
               f'without --tune engine {engines} is chosen by its time')
    expect(plain.timed() == 0, 'without --tune engines are timed')
    for options in ('cudnn=91901', 'driver=13010', 'processors=114'):
        other = train(folder, cache, options, f'times=5,{options}', '--tune')
        expect(other.timed() == first.timed(), f'{options}: {other.timed()} of {first.timed()} times were measured')


def check_rules(folder):
    cache, kind = folder / 'deterministic', 'times=5,engines=nondeterministic'
    words = ('--tune', '--deterministic')
    check_choice('deterministic', *(train(folder, cache, f'deterministic-{i}', kind, *words) for i in (1, 2)),
                 allowed=lambda engine: not engine['nondeterministic'])
    every = train(folder, cache, 'any', kind, '--tune')
    expect(every.timed() > 0 and any(ran_most(e)['nondeterministic'] for e in every.graphs.values()),
           'without --deterministic the same engines run')
    failing = train(folder, folder / 'failing', 'failing', 'times=5,engines=run_fails', '--tune')
    expect('did not run' in failing.said and not any(ran_most(e)['engine'] == 0 for e in failing.graphs.values()),
           f'engines that fail: {failing.said[:700]}')


def check_builds(name, *runs):
    """Each plan was built once by all of them together."""
    built = collections.Counter(engine['graph'] for ran in runs for engine in ran.engines() for _ in range(engine['builds']))
    expect(len(built) > 10 and set(built.values()) == {1}, f'{name}: built {dict(built)}')


def check_building(folder):
    processors = len(os.sched_getaffinity(0))
    slow = train(folder, folder / 'slow', 'slow', 'times=1,build=20', plan='fused.json')
    check_builds('one device', slow)
    expect(slow.counts['counts']['most_building'] == min(processors, 64) or processors > 2,
           f'{slow.counts["counts"]["most_building"]} plans were built at once by {processors} processors')
    apart = [start(folder, folder / 'shared', f'shared-{i}', 'times=1,build=20', plan='fused.json') for i in (1, 2)]
    both = [Ran(f'shared-{i}', *ran) for i, ran in enumerate(apart)]
    check_builds('two processes', *both)
    expect(both[0].losses == both[1].losses == slow.losses, 'other losses where plans were built by others')
    two = train(folder, folder / 'two', 'two', 'times=1,build=5,gpus=2,seed=2', '--threads', plan='two.json')
    check_builds('two devices', two)


def check_progress(folder):
    """On a terminal a line says how far it is."""
    ours, theirs = pty.openpty()
    env = {**environment(folder, 'build=60'), 'XDG_CACHE_HOME': str(folder / 'shown'), 'TERM': 'xterm', 'COLUMNS': '80'}
    child = subprocess.Popen([FATHOM, 'train', folder / 'fused.json', '--data', folder / 'data', '--no-evaluate',
                              '--iterations', '1'], env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b''
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:
            break
    child.wait(timeout=100)
    steps = [int(n) for n in re.findall(rb'\x1b\[Kbuilding (\d+) of \d\d convolution plans', shown)]
    expect(child.returncode == 0 and len(steps) > 1 and steps == sorted(steps), f'building is shown as {shown[:400]}')


def stop(folder, name, number, *words):
    """A run that is asked to end when its first plan is on the disk. On one processor all would take twenty seconds. Returns how
    many are kept."""
    one = {min(os.sched_getaffinity(0))}
    cache, save = folder / name, folder / f'{name}.save'
    child, _, report = start(folder, cache, name, 'build=700', '--save', save, *words, plan='fused.json',
                              preexec_fn=lambda: os.sched_setaffinity(0, one))
    while child.poll() is None and not list(cache.rglob('*.json')):
        time.sleep(0.02)
    began = time.monotonic()
    child.send_signal(number)
    said, errors = child.communicate(timeout=100)
    took, said = time.monotonic() - began, ' '.join(said.split())
    expect(child.returncode == 0 and not errors, f'{name}: exit code {child.returncode}: {errors[-300:]}')
    expect(f'stopped by {"Ctrl-C" if number == signal.SIGINT else number.name} after step 0 of {STEPS}; no checkpoint was written'
           in said, f'{name}: {said[-300:]}')
    busy = max(1, os.getloadavg()[0] / os.cpu_count())  # then all takes so many times as long
    expect(took < 6 * busy, f'{name}: it took {took:.1f} s to end')
    broken, counts = told(report)
    expect(not broken and not left(counts), f'{name}: {broken[:1]}, leaves {left(counts)}')
    expect(not list(save.glob('*.safetensors')), f'{name}: there is a checkpoint')
    kept = [path for path in cache.rglob('*') if path.is_file()]
    whole = [path for path in kept if path.suffix == '.json' and json.loads(path.read_text())['format'] == 'fathom-cudnn-plan']
    expect(whole == kept, f'{name}: {set(kept) - set(whole)} are left')
    return len(whole)


def check_stopped(folder):
    """Asked to end while plans are built it ends at once, as at any other time; the next run goes on with what was kept."""
    kept = stop(folder, 'stopped', signal.SIGINT)
    again = train(folder, folder / 'stopped', 'again', 'times=1', plan='fused.json')
    built = again.total('builds')
    expect(0 < kept < len(again.graphs) and built == len(again.graphs) - kept, f'{kept} plans were kept, {built} built after it')
    stop(folder, 'stopped-tuning', signal.SIGTERM, '--tune')


def main(folder):
    for name, options, words in (('plan', '', ['--fuse', 'none']), ('fused', '', []), ('two', 'gpus=2', [])):
        done = run('plan', 'resnet-8', '--batch', 2, '--dtype', 'f16', '--gpus', 'auto', *words, '-o', folder / f'{name}.json',
                   env=environment(folder, options))
        expect(done.returncode == 0, done.stderr)
    run('data', 'synth', folder / 'data', '--train', 40, '--test', 8)
    check_tuning(folder)
    check_rules(folder)
    check_building(folder)
    check_progress(folder)
    check_stopped(folder)


with tempfile.TemporaryDirectory() as made:
    main(pathlib.Path(made))
sys.exit(finish('of the things that tuning is to be were so'))
