#!/usr/bin/env python3
"""What a GPU says of fathom: runs from a folder that `./dev gpu-pack` made, on a machine with a GPU and nothing else of ours.

  gpu.py [--out FOLDER] [--work FOLDER] [--seconds 570] [--dry] [PART ...]

Each part is bounded in time, so that some is left for speeds whatever the others take, and its result is appended at once to
report.md in --out, made for docs/measurements.md; logs.tar.gz there has what each command said, after each part anew, and
peers.jsonl what PyTorch reached: a later run that finds it there, or beside this script, measures that no more. Caches, logs
and checkpoints lie in --work (--out, if nothing is said). A part that fails is written down and the next begins. What this
script has started ends with it, however it ends. Exit code: 0 when every part passed; 1 when one did not, or where no GPU is.
--dry runs small sizes: to try this script, not a GPU. --record writes the CPU's losses into the folder (gpu-pack does)."""
import argparse
import datetime
import glob
import os
import pathlib
import shutil
import subprocess
import sys
import time

import peer_figures
from gpu_bench import HERE, Bench, Failed, answer, log_tail
from gpu_checks import part_carried, part_compared, part_deep, part_machine, part_same, part_sanitizer, record
from gpu_records import part_cupti, part_nccl, part_records
from gpu_speeds import part_compiled, part_kernels, part_speed

# ---- Where CUDA is ----------------------------------------------------------------------------------------------------


LIBRARIES = {'cudart': 'libcudart.so.13', 'cudnn': 'libcudnn.so.9', 'nccl': 'libnccl.so.2', 'cupti': 'libcupti.so.13',
             'nvrtc': 'libnvrtc.so.13', 'nvJitLink': 'libnvJitLink.so.13', 'cublas': 'libcublasLt.so.13'}


def library_folders(roots):
    """Where these toolkits, wheels beside PyTorch and packages have their libraries."""
    ask = 'import site, sys; print("\\n".join([*site.getsitepackages(), site.getusersitepackages(), *sys.path]))'
    done = subprocess.run(['python3', '-c', ask], capture_output=True, text=True)
    for root in roots:
        yield from (f'{root}/{folder}' for folder in ('lib64', 'lib', 'extras/CUPTI/lib64'))
    for folder in filter(None, dict.fromkeys(done.stdout.splitlines())):
        yield from sorted(glob.glob(f'{glob.escape(folder)}/nvidia/*/lib'))
    yield from ('/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64', str(HERE / 'cuda'))


def find_cuda(bench):
    """A folder with lib64/ of all that is used of CUDA: $CUDA_HOME, the toolkit's, or links to what there is in several."""
    roots = list(filter(None, [os.environ.get('CUDA_HOME'), '/usr/local/cuda', *sorted(glob.glob('/usr/local/cuda-13*'))]))
    for root in roots[:1] if os.environ.get('CUDA_HOME') else roots:
        if all(any((pathlib.Path(root) / folder / LIBRARIES[name]).exists() for folder in ('lib64', 'lib'))
               for name in ('cudart', 'cudnn', 'nccl', 'cupti')):
            bench.environment['CUDA_HOME'] = root
            return root
    links = bench.out / 'cuda' / 'lib64'
    shutil.rmtree(links, ignore_errors=True)
    links.mkdir(parents=True)
    folders = list(library_folders(roots))
    for name, whole in LIBRARIES.items():  # each with its parts from one folder: those of two versions do not go together
        if name == 'nvrtc':  # what cuDNN loads lies beside its wheel, of versions that it was made for
            site = (links / LIBRARIES['cudnn']).resolve().parents[2]
            folders.sort(key=lambda folder: pathlib.Path(folder).resolve().parents[1] != site)
        folder = next((folder for folder in folders if os.path.exists(f'{folder}/{whole}')), None)
        for library in glob.glob(f'{glob.escape(folder)}/lib{name}*.so*') if folder else []:
            link = links / os.path.basename(library)
            if not link.exists():
                link.symlink_to(library)
    if not (links / LIBRARIES['cudart']).exists():
        return None
    bench.environment['CUDA_HOME'] = str(links.parent)
    return str(links.parent)


# name: (part, seconds at most, seconds kept for it), in this order: what is right, what is asked of the libraries, how fast it is.
PARTS = {'machine': (part_machine, 30, 0), 'compared': (part_compared, 130, 0), 'same': (part_same, 50, 0),
         'deep': (part_deep, 50, 0), 'carried': (part_carried, 50, 0), 'nccl': (part_nccl, 40, 0), 'cupti': (part_cupti, 50, 0),
         'records': (part_records, 60, 0), 'kernels': (part_kernels, 50, 30), 'speed': (part_speed, 200, 160),
         'compiled': (part_compiled, 150, 0), 'sanitizer': (part_sanitizer, 120, 0)}


def check_gpu(bench):
    """None where there is a GPU that fathom can use, else why not."""
    if not find_cuda(bench):
        return 'libcudart.so.13 is not there: $CUDA_HOME, /usr/local/cuda*, or the wheels beside PyTorch'
    bench.clock.begin(60)
    try:
        host = answer(bench.run([bench.fathom, 'devices', '--json']))['host']
        if host['cuda_fault']:
            return host['cuda_fault']
        if not host['gpus']:
            return 'CUDA has no fault here, and shows no GPU (CUDA_VISIBLE_DEVICES may hide them)'
        bench.gpu = host['gpus'][0]
        bench.peers = peer_figures.Peers(bench.gpu['name'], HERE / 'peers' / 'peer_resnet.py', bench.results, HERE)
    except (Failed, ValueError, LookupError, TypeError) as failure:
        return str(failure)
    return None


def run_parts(bench, names):
    failed = []
    bench.write(f'## GPU: {datetime.date.today()}, {bench.gpu["name"]}{" (dry run: small sizes)" if bench.sizes.dry else ""}')
    for name in names:
        part, seconds, _ = PARTS[name]
        bench.clock.begin(seconds, sum(PARTS[later][2] for later in names[names.index(name) + 1:]))
        began = time.monotonic()
        bench.write(f'\n### {part.__doc__.rstrip(".")}\n')
        try:
            part(bench)
            outcome = 'passed'
        except Failed as failure:
            outcome = f'**failed**: {failure}'
        except Exception as failure:  # a fault of this script must not end the others
            outcome = f'**failed**: {type(failure).__name__}: {failure}'
        failed += [name] if outcome != 'passed' else []
        bench.write(f'\n{name}: {outcome} ({time.monotonic() - began:.0f} s)')
        if outcome != 'passed' and bench.commands > 0:  # so that the report alone may do
            bench.write(f'the last command, logs/{bench.commands:03}.txt, ended: {log_tail(bench, 8)[-1500:]}')
        bench.keep_logs()
    bench.write(f'\n{len(names)} parts, ' + (f'failed: {", ".join(failed)}' if failed else 'all passed'))
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default=str(HERE / 'out'))
    parser.add_argument('--work')
    parser.add_argument('--seconds', type=float, default=570)
    parser.add_argument('--dry', action='store_true')
    parser.add_argument('--record', action='store_true')
    parser.add_argument('--fathom')
    parser.add_argument('parts', nargs='*', metavar='PART', help=', '.join(PARTS))
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f'{unknown[0]!r} is none of {", ".join(PARTS)}')
    bench = Bench(options)
    if options.record:
        record(bench)
        return 0
    bench.report_path.unlink(missing_ok=True)
    why = check_gpu(bench)
    if why:
        bench.write(f'no GPU can be used here: {why}')
        return 1
    return run_parts(bench, options.parts or list(PARTS))


if __name__ == '__main__':
    sys.exit(main())
