#!/usr/bin/env python3
"""Where CUDA is: $CUDA_HOME, /usr/local/cuda*, then the wheels of `./dev cuda` in the project's .cuda folder.

Prints lines of key, tab, value for meson.build (root, version, cudnn, include ...); nothing where there is none. --say prints
one sentence for people instead."""
import glob
import os
import pathlib
import re
import sys

PROJECT = pathlib.Path(__file__).resolve().parents[3]


def toolkits():
    """Folders with include/ and lib/ of everything, newest first."""
    home = os.environ.get('CUDA_HOME')
    if home:
        yield pathlib.Path(home)
    number = lambda path: [int(part) for part in re.findall(r'\d+', path)]
    for path in ['/usr/local/cuda'] + sorted(glob.glob('/usr/local/cuda-*'), key=number, reverse=True):
        yield pathlib.Path(path)


def wheels():
    """nvidia/{cudnn,nccl,cu13}/{include,lib}."""
    root = PROJECT / '.cuda' / 'nvidia'
    return [folder for folder in [*sorted(root.glob('cu[0-9]*'), reverse=True), root / 'cudnn', root / 'nccl']
            if folder.is_dir()]


def first(folders, *names):
    for folder in folders:
        for name in names:
            found = sorted(folder.glob(name))
            if found:
                return found[0].resolve() if found[0].suffix != '.9' else found[0].parent.resolve() / found[0].name
    return None


def look(folders):
    """What these folders hold together; None when it is not enough to ask cuDNN."""
    headers = [folder / 'include' for folder in folders]
    driver = first(headers, 'cuda.h')
    version = first(headers, 'cudnn_version_v9.h', 'cudnn_version.h')
    cudnn = first(folders, 'lib64/libcudnn.so.9', 'lib/libcudnn.so.9', 'lib/x86_64-linux-gnu/libcudnn.so.9')
    if not (driver and version and cudnn and first(headers, 'cuda_runtime_api.h')):
        return None
    nvcc = first(folders, 'bin/nvcc')
    cudart = first(folders, 'lib64/libcudart.so.1[0-9]', 'lib/libcudart.so.1[0-9]')
    cupti = first(folders, 'lib64/libcupti.so.1[0-9]', 'lib/libcupti.so.1[0-9]', 'extras/CUPTI/lib64/libcupti.so.1[0-9]')
    nccl = first(folders, 'lib64/libnccl.so.2', 'lib/libnccl.so.2', 'lib/x86_64-linux-gnu/libnccl.so.2')
    headers_nccl = first(headers, 'nccl.h')
    headers += [folder / 'extras/CUPTI/include' for folder in folders]
    numbers = dict(re.findall(r'#define CUDNN_(MAJOR|MINOR|PATCHLEVEL)\s+(\d+)', version.read_text()))
    return {'root': folders[0].resolve(), 'version': '.'.join(numbers[k] for k in ('MAJOR', 'MINOR', 'PATCHLEVEL')),
            'cudnn': cudnn, 'driver': driver, 'include': [path.resolve() for path in headers if path.is_dir()],
            **({'nvcc': nvcc, 'cudart': cudart} if nvcc and cudart else {}),
            **({'nccl': nccl} if nccl and headers_nccl else {}),
            **({'cupti': cupti} if cupti and first(headers, 'cupti.h') else {})}


def main():
    found = None
    for folders in [*([folder] for folder in toolkits()), wheels()]:
        found = found or (look(folders) if folders else None)
    if sys.argv[1:] == ['--say']:
        print(f'CUDA: cuDNN {found["version"]} in {found["root"]}' if found else
              'CUDA: none here, and none is needed; ./dev cuda fetches what asks cuDNN for a GPU\'s workspaces')
        return
    for key, value in (found or {}).items():
        for one in value if isinstance(value, list) else [value]:
            print(key, one, sep='\t')


main()
