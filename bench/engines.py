#!/usr/bin/env python3
"""Plans the whole family for GPUs that are described to cuDNN, asks it about every distinct convolution of each plan, and
has the engines that would be taken made into plans: bench/engines.py BUILD [--compile] [--only TEXT]

Where cuDNN has no engine that a plan may take it says so by name. --compile also makes those that are compiled at run time,
seconds each. Prints a line for each GPU and type, and sums. Answers are kept as `fathom plan --engines` keeps them."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

DEVICES = 'h200', 'h100', 'a100-80gb', 'rtx-4090', 't4'
DTYPES = 'f32', 'tf32', 'f16', 'bf16' # tf32: in f32, multiplied as TF32
# Batches of the papers and of the releases.
MODELS = [('resnet-18', 256), ('resnet-34', 256), ('resnet-50', 256), ('resnet-101', 256), ('resnet-152', 256),
          ('resnet-200', 256), ('resnet-20', 128), ('resnet-56', 128), ('resnet-110', 128), ('resnet-164', 128),
          ('resnet-1001', 128), ('resnet-1202', 128)]
FIELDS = 'pass', 'dtype', 'images', 'height', 'width', 'channels', 'filters', 'kernel', 'stride', 'padding'


class Helper:
    """fathom-engines; started anew when a question ends it."""

    def __init__(self, build, device):
        self.program, self.device = build / 'fathom-engines', device
        self.start()

    def start(self):
        self.process = subprocess.Popen([self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        self.process.stdout.readline()
        self.say({'device': self.device})

    def say(self, line):
        try:
            self.process.stdin.write(json.dumps(line) + '\n')
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ''
        if answer:
            return json.loads(answer)
        self.process.wait()
        self.start()
        return {'refused': 'it crashed'}

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def description(build, device):
    """As `fathom plan` describes it to the helper: a helper that keeps what it is told."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        listener = folder / 'listener'
        listener.write_text(f'#!/bin/sh\necho \'{{"cudnn": 91900}}\'\nhead -n 1 >{folder}/told\n')
        listener.chmod(0o755)
        subprocess.run([build / 'fathom', 'plan', 'resnet-8', '--gpus', device, '--engines', 'auto'], capture_output=True,
                       env={**os.environ, 'FATHOM_ENGINES': str(listener), 'XDG_CACHE_HOME': name})
        return json.loads((folder / 'told').read_text())['device']


def read_book(path):
    """[(question, engines)]"""
    book = json.loads(path.read_text())
    rows = iter(book['engines'])
    found = []
    for q in book['questions']:
        question = dict(zip(FIELDS, q))
        question['fused'], question['weights'] = q[11:] or ('', q[1])
        found.append((question, [next(rows) for _ in range(q[10])]))
    return found


def taken(engines, dtype, cap):
    """The first that a plan takes."""
    for engine in engines:
        if engine[1] <= cap and not (dtype == 'f32' and set(engine[2]) & set('TD')):
            return engine
    return None


def make(helper, question, engine, seen, options, counts):
    key = json.dumps([question, engine[0], engine[3]], sort_keys=True)
    if key in seen:
        return
    seen.add(key)
    if 'R' in engine[2] and not options.compile:
        counts['not compiled'] += 1
        return
    plan = helper.say({**question, 'engine': engine[0], 'knobs': engine[3]}).get('plan')
    good = plan and plan['workspace_bytes'] == plan['again_bytes'] <= engine[1]
    counts['made' if good else 'refused'] += 1
    if not good:
        print(f'  not made: {question} engine {engine[0]} {engine[3]}')


def flags(dtype):
    return ['--dtype', 'f32', '--tf32'] if dtype == 'tf32' else ['--dtype', dtype]


def check_plan(options, helper, folder, device, dtype, model, batch, seen, counts):
    book = folder / f'{model}-{device}-{dtype}.json'
    out = folder / 'plan.json'
    done = subprocess.run([options.build / 'fathom', 'plan', model, '--batch', str(batch), '--gpus', device,
                           *flags(dtype), '--engines', book, '-o', out], capture_output=True, text=True)
    if not book.exists():
        print(f'  {model} {device} {dtype}: no plan: {done.stderr.strip()[-200:]}')
        counts['no plan'] += 1
        return
    cap = json.loads(out.read_text())['devices'][0]['workspace_bytes'] if out.exists() else 1 << 30
    known, counts['plans'] = read_book(book), counts['plans'] + 1
    wide = {json.dumps({**q, 'weights': ''}, sort_keys=True) for q, engines in known
            if q['pass'] == 'backward-weights' and q['weights'] == 'f32' and taken(engines, dtype, cap)}
    for question, engines in known:
        shape = json.dumps({**question, 'weights': ''}, sort_keys=True)
        if question['weights'] != question['dtype'] and not taken(engines, dtype, cap):
            continue  # another of the op's questions is asked
        if question['pass'] == 'backward-weights' and question['weights'] == question['dtype'] != 'f32' and shape in wide:
            continue
        engine = taken(engines, dtype, cap)
        counts['convolutions'] += 1
        if engine:
            make(helper, question, engine, seen, options, counts)
        else:
            counts['without'] += 1
            print(f'  {model} {device} {dtype}: no engine: {question}')
    book.unlink()
    out.unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('build', type=pathlib.Path)
    parser.add_argument('--compile', action='store_true')
    parser.add_argument('--only', default='', help='models, devices or dtypes that have this in their name')
    options = parser.parse_args()
    sums = {}
    with tempfile.TemporaryDirectory() as name:
        for device in DEVICES:
            helper = Helper(options.build, description(options.build, device))
            for dtype in DTYPES:
                if device == 't4' and dtype in ('tf32', 'bf16'):
                    continue
                counts = dict.fromkeys(('plans', 'no plan', 'convolutions', 'without', 'made', 'not compiled', 'refused'), 0)
                seen, start = set(), time.time()
                for model, batch in MODELS:
                    if options.only in f'{model} {device} {dtype}':
                        check_plan(options, helper, pathlib.Path(name), device, dtype, model, batch, seen, counts)
                print(f'{device:10} {dtype:5} ' + ', '.join(f'{n} {what}' for what, n in counts.items()) +
                      f' in {time.time() - start:.0f} s', flush=True)
                for what, n in counts.items():
                    sums[what] = sums.get(what, 0) + n
            helper.end()
    print('all ' + ', '.join(f'{n} {what}' for what, n in sums.items()))
    return 1 if sums.get('refused') or not sums.get('plans') else 0


sys.exit(main())
