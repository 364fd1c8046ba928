"""Runs of fathom on the GPU that the stand-in for CUDA is (tests/standin/standin_vendor.h)."""
import json
import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'cli'))
from commands import run

HOME = sys.argv[2]


def environment(folder, options, report=None):
    """Plans of cuDNN that another run has kept are none of this one's."""
    env = {**os.environ, 'CUDA_HOME': HOME, 'FATHOM_STANDIN': options, 'FATHOM_ENGINES': '',
           'XDG_CACHE_HOME': tempfile.mkdtemp(dir=folder)}
    return {**env, 'FATHOM_STANDIN_REPORT': str(report)} if report else env


def train(folder, plan, options, *words, report=None):
    return run('train', plan, '--data', folder / 'data', '--no-evaluate', *words, env=environment(folder, options, report))


def losses(log):
    """By step; none where the run did not come to write any."""
    return {entry['step']: entry['loss'] for entry in map(json.loads, log.read_text().splitlines())} if log.exists() else {}


def told(report):
    """The stand-in's report: the rules that were broken, and what it counted, by kind."""
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    return ([line['text'] for line in lines if line['kind'] == 'violation'],
            {line['kind']: line for line in lines if line['kind'] != 'violation'})


def left(counts):
    """What is still alive, of which there should be nothing."""
    return {key: value for key, value in counts['live'].items() if key != 'kind' and value}
