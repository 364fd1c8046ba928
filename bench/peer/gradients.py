#!/usr/bin/env python3
"""The first step's gradients against PyTorch's in float64, and PyTorch's own in float32 against the same.

  PYTHON bench/peer/gradients.py [--models resnet-20,resnet-29,resnet-164] [--batch 64] [-- FATHOM'S OPTIONS]

PYTHON has PyTorch. The weights are those that fathom begins with, the images one whole training set, so that the order in
which it is seen does not matter; with --freeze STAGE among the options PyTorch freezes the same layers. Printed: over all
parameter tensors, the median and the largest of |gradient - exact| / |exact| (norms). ReLUs that flip make the most of it; the
deeper the net, the more."""
import argparse
import json
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile

import numpy
import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import peer_resnet

FATHOM = pathlib.Path(__file__).resolve().parents[2] / 'build' / 'fathom'


def read_checkpoint(path):
    """name -> array, of a file of safetensors."""
    data = path.read_bytes()
    begin = 8 + struct.unpack_from('<Q', data)[0]
    arrays = {}
    for name, tensor in json.loads(data[8:begin]).items():
        if name != '__metadata__':
            shape, at = tensor['shape'], begin + tensor['data_offsets'][0]
            arrays[name] = numpy.frombuffer(data, '<f4', int(numpy.prod(shape)), at).reshape(shape)
    return arrays


def name_of(parameter, stage_units, preact):
    """fathom's name of a parameter of peer_resnet's CIFAR nets."""
    parts = parameter.split('.')
    if parts[0] == 'units':
        stage, unit = divmod(int(parts[1]), stage_units)
        part = {'short': 'downsample.0'}.get(parts[2], parts[2])
        return f'layer{stage + 1}.{unit}.{part}.{parts[-1]}'
    own = {'stem': 'conv1', 'bn': 'norm' if preact else 'bn1'}.get(parts[0], parts[0])
    return f'{own}.{parts[-1]}'


def freeze(model, frozen, units, preact):
    """Frozen layers run as in evaluation, and learn nothing: fathom's --freeze stem, stage1, ... or all-but-classifier."""
    stages = {'stem': 0, 'stage1': 1, 'stage2': 2, 'all-but-classifier': 3}.get(frozen)
    if stages is None:
        return
    parts = [model.stem, *model.units[:stages * units]]
    parts += [] if preact and frozen != 'all-but-classifier' else [model.bn]
    for part in parts:
        part.eval().requires_grad_(False)


def torch_gradients(model, depth, weights, images, labels, dtype, frozen):
    bottleneck = isinstance(model, peer_resnet.CifarPreact)
    units = (depth - 2) // (9 if bottleneck else 6)
    model = model.to(dtype).train()
    freeze(model, frozen, units, bottleneck)
    gradients, named = {}, {}
    for name, parameter in model.named_parameters():
        own = name_of(name, units, bottleneck)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(weights[own].copy()).to(dtype))
        if parameter.requires_grad:
            named[own] = parameter
    F.cross_entropy(model(images.to(dtype)), labels).backward()
    for own, parameter in named.items():
        gradients[own] = parameter.grad.double().numpy().ravel()
    return gradients


def fathom_gradients(scratch, model, batch, options):
    folder = scratch / f'{model}-{"-".join(options)}'
    # Momentum after one step without decay is the gradient; at this rate the weights stay what they were.
    words = [FATHOM, 'train', model, '--batch', batch, '--data', scratch / 'data', '--iterations', 1, '--no-augment',
             '--no-evaluate', '--schedule', 'constant', '--learning-rate', '1e-12', '--warm-up', 0, '--weight-decay', 0,
             '--save', folder, *options]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    state, = folder.glob('*.state.safetensors')
    suffix = '.momentum_buffer'
    gradients = {name[:-len(suffix)]: array.astype('f8').ravel() for name, array in read_checkpoint(state).items()}
    return read_checkpoint(folder / state.name.replace('.state', '')), gradients


def read_images(folder, files='data_batch_*.bin'):
    found = json.loads(subprocess.run([str(FATHOM), 'data', 'info', str(folder), '--json'], capture_output=True,
                                      text=True).stdout)
    raw = numpy.concatenate([numpy.fromfile(path, 'u1') for path in sorted(folder.glob(files))]).reshape(-1, 3073)
    pixels = raw[:, 1:].reshape(-1, 3, 32, 32).astype('f4') / 255
    mean, deviation = (numpy.array(found[k], 'f4').reshape(1, 3, 1, 1) for k in ('mean', 'deviation'))
    return torch.from_numpy((pixels - mean) / deviation), torch.from_numpy(raw[:, 0].astype('i8'))


def report(what, gradients, exact):
    errors = [float(numpy.linalg.norm(gradients[name] - exact[name]) / numpy.linalg.norm(exact[name])) for name in exact]
    print(f'  {what:24} median {statistics.median(errors):.2e}  largest {max(errors):.2e}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', default='resnet-20,resnet-29,resnet-164')
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('options', nargs='*')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        subprocess.run([str(FATHOM), 'data', 'synth', str(scratch / 'data'), '--train', str(arguments.batch), '--test', '10'],
                       check=True, stdout=subprocess.DEVNULL)
        images, labels = read_images(scratch / 'data')
        for model in arguments.models.split(','):
            weights, own = fathom_gradients(scratch, model, arguments.batch, arguments.options)
            depth = int(model.split('-')[1])
            build = lambda: peer_resnet.build(model)[0]
            options = arguments.options
            frozen = options[options.index('--freeze') + 1] if '--freeze' in options else None
            exact = torch_gradients(build(), depth, weights, images, labels, torch.float64, frozen)
            print(f'{model}, batch {arguments.batch}, {len(exact)} tensors')
            report(' '.join(['fathom', *arguments.options]), own, exact)
            report('PyTorch, float32', torch_gradients(build(), depth, weights, images, labels, torch.float32, frozen), exact)


if __name__ == '__main__':
    main()
