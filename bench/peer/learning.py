#!/usr/bin/env python3
"""The first steps of training against PyTorch's: the same weights, images, order and augmentation, so the losses are equal but
for rounding, and what rounding grows to.

  PYTHON bench/peer/learning.py --data cifar-10-batches-bin [--model resnet-20] [--batch 128] [--iterations 50]
                                [--optimizers paper,nesterov,adam,...]
  PYTHON bench/peer/learning.py --data cifar-10-batches-bin --errors --iterations 300 [--seeds 3]

PYTHON has PyTorch; there is a C compiler and xxHash, for fathom's order of images is asked of its own source. PyTorch runs in
float32 and in float64. Printed: at some steps each one's loss, and the largest difference from float64 so far; fathom is to be
no further from it than PyTorch's own float32 is, or one ReLU that flips, times --most, and the exit code says whether it is.
"paper" is the model's recipe. PyTorch's float32 runs with one thread too, and how far that is from itself is printed.

With --errors whole runs by the recipe, shortened to --iterations, from each of --seeds seeds: errors on the whole test set,
beside each other. The rate of each step is what fathom's log says."""
import argparse
import ctypes
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import gradients
import peer_resnet

SOURCE = pathlib.Path(__file__).resolve().parents[2]
FLIP = 1e-4  # what one ReLU does to a loss that opens by rounding
OPTIMIZERS = {  # fathom's options (rates that no option says follow the batch), torch's optimizer, clip
    'paper': (['--learning-rate', 0.1], lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-4), 0),
    'sgd': (['--learning-rate', 0.1, '--momentum', 0], lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=1e-4), 0),
    'nesterov': (['--learning-rate', 0.1, '--optimizer', 'nesterov'],
                 lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4), 0),
    'clipped': (['--learning-rate', 0.1, '--clip-norm', 0.5],
                lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-4), 0.5),
    'spared': (['--learning-rate', 0.1, '--no-decay-bn', '--weight-decay', 0.1],
               lambda p: torch.optim.SGD(split(p, 0.1), lr=0.1, momentum=0.9), 0),
    'rmsprop': (['--optimizer', 'rmsprop', '--learning-rate', 0.001], lambda p: torch.optim.RMSprop(p, lr=0.001), 0),
    'adagrad': (['--optimizer', 'adagrad', '--learning-rate', 0.01], lambda p: torch.optim.Adagrad(p), 0),
    'adadelta': (['--optimizer', 'adadelta', '--learning-rate', 1], lambda p: torch.optim.Adadelta(p), 0),
    'adam': (['--optimizer', 'adam', '--learning-rate', 0.001, '--weight-decay', 1e-4],
             lambda p: torch.optim.Adam(p, weight_decay=1e-4), 0),
    'adamw': (['--optimizer', 'adamw', '--learning-rate', 0.001], lambda p: torch.optim.AdamW(p), 0),
}


def split(parameters, decay):
    """Convolutions' and the fully connected layer's weights decay, vectors do not."""
    parameters = list(parameters)
    return [{'params': [p for p in parameters if p.dim() > 1], 'weight_decay': decay},
            {'params': [p for p in parameters if p.dim() <= 1], 'weight_decay': 0}]


class Shift(ctypes.Structure):
    _fields_ = [('dx', ctypes.c_int32), ('dy', ctypes.c_int32), ('flip', ctypes.c_bool)]


def build_order(scratch):
    library = scratch / 'order.so'
    subprocess.run(['cc', '-shared', '-fPIC', '-O2', f'-I{SOURCE}/base', f'-I{SOURCE}/trainer/data',
                    *[str(SOURCE / name) for name in (
        'base/random.c', 'base/hash.c', 'trainer/data/augment.c')], '-lxxhash', '-lm', '-o', str(library)], check=True)
    order = ctypes.CDLL(str(library))
    order.augment_order.restype = ctypes.c_uint64
    order.augment_order.argtypes = [ctypes.c_uint64] * 4
    order.augment_choose_shift.restype = Shift
    order.augment_choose_shift.argtypes = [ctypes.c_uint64] * 3 + [ctypes.c_uint32]
    return order


def batches(order, folder, seed, batch, count):
    """As trainer/data/loader.c gives them: position -> epoch and image; zeros beyond the edges, after normalisation."""
    images, labels = gradients.read_images(folder)
    total = len(labels)
    for step in range(count):
        chosen, pixels = [], torch.zeros(batch, 3, 32, 32)
        for i in range(batch):
            epoch, index = divmod(step * batch + i, total)
            image = order.augment_order(seed, epoch, total, index)
            shift = order.augment_choose_shift(seed, epoch, image, 4)
            picture = F.pad(images[image], (4, 4, 4, 4))[:, 4 + shift.dy:36 + shift.dy]
            columns = [c + shift.dx for c in (reversed(range(32)) if shift.flip else range(32))]
            pixels[i] = picture[:, :, [4 + c for c in columns]]
            chosen.append(image)
        yield pixels, labels[chosen]


def run_fathom(arguments, *words):
    common = [gradients.FATHOM, 'train', arguments.model, '--batch', arguments.batch, '--data', arguments.data, '--gpus', 'cpu',
              '--seed', arguments.seed]
    done = subprocess.run([str(w) for w in (*common, *words)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)


def first_weights(scratch, arguments):
    """What fathom begins with."""
    first = scratch / f'first-{arguments.seed}'
    if not first.exists():
        run_fathom(arguments, '--no-evaluate', '--schedule', 'constant', '--iterations', 1, '--learning-rate', 1e-12,
                   '--warm-up', 0, '--weight-decay', 0, '--save', first)
    return gradients.read_checkpoint(next(path for path in first.glob('step-*.safetensors') if '.state' not in path.name))


def fathom_log(scratch, arguments, *words):
    """One object for each step."""
    log = scratch / 'log.jsonl'
    run_fathom(arguments, '--iterations', arguments.iterations, '--log', log, *words)
    return [json.loads(line) for line in log.read_text().splitlines()]


def torch_net(arguments, weights, dtype):
    model = peer_resnet.build(arguments.model)[0].to(dtype).train()
    preact = isinstance(model, peer_resnet.CifarPreact)
    units = (int(arguments.model.split('-')[1]) - 2) // (9 if preact else 6)
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(weights[gradients.name_of(name, units, preact)].copy()).to(dtype))
    return model


def torch_losses(model, optimizer, given, clip=0, rates=None):
    dtype, losses = next(model.parameters()).dtype, []
    for step, (images, labels) in enumerate(given):
        if rates:
            optimizer.param_groups[0]['lr'] = rates[step]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images.to(dtype)), labels)
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return losses


# ---- The first steps ----

def far(losses, exact):
    return max(abs(a - b) for a, b in zip(losses, exact))


def compare(name, own, single, exact, most):
    print(f'{name}\n  {"step":>5} {"float64":>10} {"PyTorch":>10} {"fathom":>10}   largest difference so far')
    theirs = ours = 0
    for step, values in enumerate(zip(exact, single, own), 1):
        theirs, ours = max(theirs, abs(values[1] - values[0])), max(ours, abs(values[2] - values[0]))
        if step in (1, 2, 5, 10, 20, 50) or step == len(exact):
            print(f'  {step:5} ' + ' '.join(f'{value:10.6f}' for value in values) + f'   PyTorch {theirs:.1e}, fathom {ours:.1e}', flush=True)
    return ours <= most * max(theirs, FLIP)


def compare_steps(scratch, arguments, order):
    distant = []
    given = list(batches(order, arguments.data, arguments.seed, arguments.batch, arguments.iterations))
    weights = first_weights(scratch, arguments)
    for name in arguments.optimizers.split(','):
        options, make, clip = OPTIMIZERS[name]
        own = [line['loss'] for line in fathom_log(scratch, arguments, '--no-evaluate', '--schedule', 'constant', '--warm-up',
                                                   0, *options)]

        def theirs(dtype):
            model = torch_net(arguments, weights, dtype)
            return torch_losses(model, make(model.parameters()), given, clip)

        single, exact = theirs(torch.float32), theirs(torch.float64)
        if not compare(name, own, single, exact, arguments.most):
            distant.append(name)
        threads = torch.get_num_threads()
        if threads > 1:
            torch.set_num_threads(1)
            print(f"  PyTorch's float32 with 1 thread is {far(theirs(torch.float32), single):.1e} from itself with {threads}")
            torch.set_num_threads(threads)
    if distant:
        sys.exit(f'further from float64 than {arguments.most:g} times what PyTorch is: {", ".join(distant)}')


# ---- Whole runs ----

def torch_error(model, arguments):
    """Percent of the test images."""
    images, labels = gradients.read_images(arguments.data, 'test_batch.bin')
    model.eval()
    with torch.no_grad():
        wrong = sum((model(images[i:i + 500]).argmax(1) != labels[i:i + 500]).sum().item() for i in range(0, len(labels), 500))
    return 100 * wrong / len(labels)


def compare_errors(scratch, arguments, order):
    errors = []
    print(f'{arguments.model}, batch {arguments.batch}, {arguments.iterations} iterations: error on the test set, %, and last loss\n'
          '   seed  PyTorch   fathom  PyTorch   fathom', flush=True)
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        arguments.seed = seed
        weights, log = first_weights(scratch, arguments), fathom_log(scratch, arguments)
        model = torch_net(arguments, weights, torch.float32)
        given = batches(order, arguments.data, arguments.seed, arguments.batch, arguments.iterations)
        losses = torch_losses(model, OPTIMIZERS['paper'][1](model.parameters()), given,
                              rates=[line['learning_rate'] for line in log])
        errors.append((torch_error(model, arguments), log[-1]['top1_error'] * 100))
        print(f'{seed:7}' + ''.join(f'{error:9.2f}' for error in errors[-1]) + f'{losses[-1]:9.4f}{log[-1]["loss"]:9.4f}',
              flush=True)
    if len(errors) > 1:
        print('   mean' + ''.join(f'{statistics.mean(column):9.2f}' for column in zip(*errors)))
        print('    +- ' + ''.join(f'{statistics.stdev(column):9.2f}' for column in zip(*errors)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=pathlib.Path, required=True)
    parser.add_argument('--model', default='resnet-20')
    parser.add_argument('--batch', type=int, default=128)
    parser.add_argument('--iterations', type=int, default=50)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--most', type=float, default=30)
    parser.add_argument('--optimizers', default='paper', help='some of ' + ','.join(OPTIMIZERS))
    parser.add_argument('--errors', action='store_true', help='whole runs, and their errors')
    parser.add_argument('--seeds', type=int, default=3, help='of whole runs, from --seed on')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        (compare_errors if arguments.errors else compare_steps)(scratch, arguments, build_order(scratch))


if __name__ == '__main__':
    main()
