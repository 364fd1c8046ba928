#!/usr/bin/env python3
"""Plays fathom-engines where no cuDNN is, and what can go wrong with it. $STANDIN says how, $STANDIN_LOG gets a line per
question, $STANDIN_CUDNN is its version."""
import json
import os
import sys
import time

how = os.environ.get('STANDIN', 'answers')


def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def engines(q):
    """Workspaces that tell which question they are of."""
    size = q['channels'] * 1000 + q['filters'] + q['stride']
    return {'engines': [[48, size * 100000, 'T', '2=15,6=2'], [70, size, 'n', ''], [28, size // 2, '', '0=1'], [1, 0, '', '']]}


if how == 'ends':
    sys.exit(3)
if how == 'greets-wrong':
    say('{"cudnn": "nine"}\n')
say('{"cudnn": %s}\n' % os.environ.get('STANDIN_CUDNN', '91900'))
for line in sys.stdin:
    if 'device' in json.loads(line):
        say('{"refused": "it is not liked"}\n' if how == 'refuses-device' else '{"device": true}\n')
        continue
    if 'engine' in json.loads(line):
        q = json.loads(line)
        said = {'plan': {'workspace_bytes': 0, 'text': f'{q["engine"]} {q["knobs"]} of {q["pass"]} "{q["channels"]}"'}}
        say(json.dumps(said if how != 'no-plans' else {'refused': 'it cannot be built'}) + '\n')
        continue
    if 'STANDIN_LOG' in os.environ:
        with open(os.environ['STANDIN_LOG'], 'a') as log:
            log.write(line)
    if how == 'killed':
        os.kill(os.getpid(), 9)
    elif how == 'crashes' or (how == 'crashes-on-fused' and 'fused' in json.loads(line)):
        os.kill(os.getpid(), 11)
    elif how == 'hangs':
        time.sleep(60)
    elif how == 'half':
        say('{"engines": [[1, 0')
        time.sleep(60)
    elif how == 'rubbish':
        say('Segmentation \x1b[31m fault\n')
    elif how == 'negative':
        say('{"engines": [[1, -5, "", ""]]}\n')
    elif how == 'unknown-note':
        say('{"engines": [[1, 5, "Z", ""]]}\n')
    elif how == 'two':
        say('{"engines": []}\n{"engines": []}\n')
    elif how == 'endless':
        try:
            while True:
                say('[' * 65536)
        except OSError:
            sys.exit(1)
    elif how == 'none':
        say('{"refused": "no engine"}\n')
    else:
        say(json.dumps(engines(json.loads(line))) + '\n')
