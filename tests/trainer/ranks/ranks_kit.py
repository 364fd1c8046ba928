"""Runs of several processes: by fathom itself (--processes) and by mpirun, where it is installed and the module was built."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'cli'))
from commands import FATHOM, FEW, expect, failures, finish, run  # noqa: E402

MODULE = sys.argv[2] if len(sys.argv) > 2 else ''
# MPI's own leaks would be told of a program that looks for leaks.
MPIRUN = shutil.which('mpirun') if MODULE and 'ASAN_OPTIONS' not in os.environ else None
# mpirun itself may crash where freed memory is overwritten; of ranks that were killed it leaves files where they share memory.
ENV = {name: value for name, value in os.environ.items() if name != 'MALLOC_PERTURB_'}
ENV |= {'OMP_NUM_THREADS': '1', 'OMPI_MCA_btl_base_warn_component_unused': '0'}


def mpirun(ranks):
    return [MPIRUN, '--allow-run-as-root', '--oversubscribe', '-n', str(ranks)]


def command(launcher, *words):
    return [*map(str, launcher), FATHOM, 'train', *map(str, words)]


def train(launcher, *words, env=ENV, timeout=100):
    return subprocess.run(command(launcher, *words), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout, env=env)


def checkpoint(step):
    """The files of a step's checkpoint."""
    return [f'step-{step:012}{part}.safetensors' for part in ('', '.state')]


def rates_apart(log):
    """A log's lines without what differs from run to run."""
    lines = [json.loads(line) for line in pathlib.Path(log).read_text().splitlines()]
    for line in lines:
        del line['images_per_second']
    return lines


def make_data(folder):
    done = run('data', 'synth', folder / 'data', '--train', 256, '--test', 50)
    expect(done.returncode == 0, done.stderr)


def make_plan(folder, name, *words):
    done = run('plan', *words, '-o', folder / name)
    expect(done.returncode == 0, done.stderr)
    return folder / name


class Folder:
    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix='fathom-ranks-'))
        (self.path / 'shared').mkdir()
        ENV['OMPI_MCA_btl_vader_backing_directory'] = str(self.path / 'shared')
        make_data(self.path)
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)
