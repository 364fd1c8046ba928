#!/usr/bin/env python3
"""Inception-v3 and BN-Inception beside PyTorch: the same weights, images and dropped elements.

  PYTHON bench/peer/inception.py [--models inception-v3,bn-inception] [--size 140] [--batch 6] [--images 6]
                                 [--classes 3] [--steps 20] [--rate 0.02]

PYTHON has PyTorch, torchvision, NumPy and safetensors; there is a C compiler and xxHash, for fathom's own source is asked what
dropout drops. The reference of inception-v3 is torchvision's, without its auxiliary classifier, initialised as it is there;
that of bn-inception is below, written after the paper's figure 5 and the releases. Images come in fathom's order, as they are.
Printed, each beside how far PyTorch's float32 is from its own float64:
  answers    largest difference of log-probabilities in evaluation, of what fathom saves after a step that changes nothing but
             statistics; the limit is 1e-4, or three times PyTorch's own
  gradients  of the first step, tensor by tensor: median and largest of |gradient - exact| / |exact| (norms)
  losses     of SGD with momentum and decay, step by step"""
import argparse
import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import gradients
import learning

SOURCE = pathlib.Path(__file__).resolve().parents[2]
RANDOM_DROPOUT = 4  # base/random.h
LIMIT = 1e-4
DECAY, MOMENTUM = 1e-4, 0.9


# ---- Nets ----

class BnInception(torch.nn.Module):
    """Ioffe and Szegedy (arXiv:1502.03167), figure 5, by the names of Caffe's release and fathom's. Its pools that halve are
    Caffe's: rounded up."""
    ROWS = {'3a': (64, 64, 64, 64, 96, 'average', 32), '3b': (64, 64, 96, 64, 96, 'average', 64),
            '3c': (0, 128, 160, 64, 96, 'halves', 0), '4a': (224, 64, 96, 96, 128, 'average', 128),
            '4b': (192, 96, 128, 96, 128, 'average', 128), '4c': (160, 128, 160, 128, 160, 'average', 128),
            '4d': (96, 128, 192, 160, 192, 'average', 128), '4e': (0, 128, 192, 192, 256, 'halves', 0),
            '5a': (352, 192, 320, 160, 224, 'average', 128), '5b': (352, 192, 320, 192, 224, 'max', 128)}

    def __init__(self, classes):
        super().__init__()
        self.layers = torch.nn.ModuleDict()
        self.add('conv1', '7x7_s2', 3, 64, 7, 2)
        self.add('conv2', '3x3_reduce', 64, 64, 1)
        self.add('conv2', '3x3', 64, 192, 3)
        x = 192
        for row, (one, three_reduce, three, double_reduce, double, pool, projection) in self.ROWS.items():
            name, stride = f'inception_{row}', 2 if pool == 'halves' else 1
            if one:
                self.add(name, '1x1', x, one, 1)
            self.add(name, '3x3_reduce', x, three_reduce, 1)
            self.add(name, '3x3', three_reduce, three, 3, stride)
            self.add(name, 'double_3x3_reduce', x, double_reduce, 1)
            self.add(name, 'double_3x3_1', double_reduce, double, 3)
            self.add(name, 'double_3x3_2', double, double, 3, stride)
            if projection:
                self.add(name, 'pool_proj', x, projection, 1)
            x = one + three + double + (projection or x)
        self.fc = torch.nn.Linear(x, classes)

    def add(self, module, name, cin, cout, kernel, stride=1):
        self.layers[f'{module}/{name}'] = torch.nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
        self.layers[f'{module}/{name}_bn'] = torch.nn.BatchNorm2d(cout)

    def conv(self, x, *names):
        for name in names:
            x = F.relu(self.layers[f'{name}_bn'](self.layers[name](x)))
        return x

    def forward(self, x):
        halve = lambda x: F.max_pool2d(x, 3, 2, 0, ceil_mode=True) if x.shape[2] % 2 == 0 else F.max_pool2d(x, 3, 2, 1)
        x = halve(self.conv(x, 'conv1/7x7_s2'))
        x = halve(self.conv(x, 'conv2/3x3_reduce', 'conv2/3x3'))
        for row, (one, *_, pool, projection) in self.ROWS.items():
            at = f'inception_{row}/'
            pooled = {'average': lambda x: F.avg_pool2d(x, 3, 1, 1), 'max': lambda x: F.max_pool2d(x, 3, 1, 1),
                      'halves': halve}[pool](x)
            x = torch.cat([*([self.conv(x, at + '1x1')] if one else []), self.conv(x, at + '3x3_reduce', at + '3x3'),
                           self.conv(x, at + 'double_3x3_reduce', at + 'double_3x3_1', at + 'double_3x3_2'),
                           self.conv(pooled, at + 'pool_proj') if projection else pooled], 1)
        return self.fc(x.mean((2, 3)))

    def named(self):
        return {name.replace('layers.', '').replace('/', '.'): value for name, value in self.state_dict(keep_vars=True).items()}


def build(given):
    """A net, and its tensors by fathom's names."""
    if given.name == 'bn-inception':
        net = BnInception(given.classes)
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight, mode='fan_out')
        return net, net.named()
    net = torchvision.models.inception_v3(num_classes=given.classes, aux_logits=False, transform_input=False, init_weights=True)
    return net, net.state_dict(keep_vars=True)


def begin(given):
    """Weights to begin with, and statistics of the images seen, else answers are of no size that float32 knows."""
    net, named = build(given)
    with torch.no_grad():
        for step in range(20):
            net.train()(batch_of(given, step)[0])
    given.weights = given.scratch / 'weights.safetensors'
    save_file({name: value.detach().contiguous() for name, value in named.items()}, given.weights)


# ---- What both see ----

def make_data(given):
    """Smooth random pictures of each class, of which fathom cuts out the middle or takes the whole."""
    side = given.size if given.size <= 95 else given.size * 8 // 7
    edge, pixels, labels = (side - given.size) // 2, [], []
    for label in range(given.classes):
        for part in ('train', 'test'):
            (given.data / part / f'{label:03}').mkdir(parents=True)
        for i in range(given.images // given.classes):
            coarse = torch.rand(1, 3, 3 + 5 * label + i, 3 + 5 * label + i)
            smooth = F.interpolate(coarse, size=(side, side), mode='bicubic').clamp(0, 1)[0]
            picture = (smooth * 255).round().to(torch.uint8)
            for part in ('train', 'test'):
                torchvision.io.write_png(picture, str(given.data / part / f'{label:03}' / f'{i:03}.png'))
            pixels.append(picture[:, edge:edge + given.size, edge:edge + given.size].float() / 255)
            labels.append(label)
    found = json.loads(subprocess.run([gradients.FATHOM, 'data', 'info', given.data, '--json'], capture_output=True, text=True,
                                      check=True).stdout)
    mean, deviation = (torch.tensor(found[key]).view(3, 1, 1) for key in ('mean', 'deviation'))
    given.images, given.labels = (torch.stack(pixels) - mean) / deviation, torch.tensor(labels)


def build_draw(scratch):
    """random_begin and random_next of base/random.c, and in which order an epoch's images come."""
    class Random(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint64) for name in ('seed', 'stream', 'counter')]

    draw = learning.build_order(scratch)
    draw.random_begin.restype, draw.random_begin.argtypes = Random, [ctypes.c_uint64, ctypes.c_int, ctypes.c_uint64,
                                                                     ctypes.c_uint64]
    draw.random_next.restype, draw.random_next.argtypes = ctypes.c_uint32, [ctypes.POINTER(Random)]
    return draw


class Dropout(torch.nn.Module):
    """Drops the half that trainer/cpu/fast.c drops in each step. Its op stands behind two for each convolution, 13 pools and 11
    concatenations."""

    def __init__(self, draw, net):
        super().__init__()
        convolutions = sum(isinstance(module, torch.nn.Conv2d) for module in net.modules())
        self.draw, self.op, self.step = draw, 2 * convolutions + 13 + 11 + 1, 0

    def forward(self, x):
        if not self.training:
            return x
        random = self.draw.random_begin(0, RANDOM_DROPOUT, self.step << 24, self.op)
        kept = torch.tensor([self.draw.random_next(ctypes.byref(random)) >= 2**31 for _ in range(x.numel())]).view(x.shape)
        self.step += 1
        return x * (2 * kept).to(x.dtype)


# ---- Both ----

def run_fathom(given, *words):
    done = subprocess.run([str(word) for word in (gradients.FATHOM, 'train', given.name, '--weights', given.weights, '--data',
                                                  given.data, '--batch',
                           given.batch, '--image-size', given.size, '--gpus', 'cpu', '--no-augment', '--no-evaluate',
                                                  '--schedule', 'constant',
                           '--warm-up', 0, '--label-smoothing', 0, *given.options, *words)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)


def saved(folder):
    """Weights and momenta after the last step."""
    weights = max(path for path in folder.glob('step-*.safetensors') if '.state' not in path.name)
    state = gradients.read_checkpoint(weights.with_name(weights.name.replace('.safetensors', '.state.safetensors')))
    suffix = '.momentum_buffer'
    return weights, {name[:-len(suffix)]: array.astype('f8').ravel() for name, array in state.items() if name.endswith(suffix)}


def fathom_losses(given):
    log = given.scratch / 'log.jsonl'
    run_fathom(given, '--iterations', given.steps, '--learning-rate', given.rate, '--weight-decay', DECAY, '--momentum',
               MOMENTUM, '--log', log)
    return [json.loads(line)['loss'] for line in log.read_text().splitlines()]


def copy_of(given, dtype, weights=None):
    net, named = build(given)
    with torch.no_grad():
        for name, array in gradients.read_checkpoint(weights or given.weights).items():
            named[name].copy_(torch.from_numpy(array.copy()))
    head = Dropout(given.draw, net)
    if given.name == 'inception-v3':
        net.dropout = head
    return net.to(dtype), named


def batch_of(given, step):
    """As trainer/data/loader.c gives it: position -> epoch and image."""
    places = (divmod(step * given.batch + i, len(given.images)) for i in range(given.batch))
    chosen = [given.draw.augment_order(0, epoch, len(given.images), index) for epoch, index in places]
    return given.images[chosen], given.labels[chosen]


def loss_of(net, given, step, dtype):
    images, labels = batch_of(given, step)
    return F.cross_entropy(net(images.to(dtype)), labels)


def torch_gradients(given, dtype):
    net, named = copy_of(given, dtype)
    loss_of(net.train(), given, 0, dtype).backward()
    return {name: value.grad.double().numpy().ravel() for name, value in named.items() if value.grad is not None}


def torch_losses(given, dtype):
    net = copy_of(given, dtype)[0].train()
    optimizer, losses = torch.optim.SGD(net.parameters(), lr=given.rate, momentum=MOMENTUM, weight_decay=DECAY), []
    for step in range(given.steps):
        optimizer.zero_grad()
        loss = loss_of(net, given, step, dtype)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# ---- Comparisons ----

def compare_answers(given):
    """Of what fathom saves after a step at a rate of next to nothing, which loads there by its names: in evaluation."""
    folder = given.scratch / 'saved'
    run_fathom(given, '--iterations', 1, '--learning-rate', 1e-12, '--weight-decay', 0, '--save', folder)
    weights, momenta = saved(folder)
    pictures = sorted((given.data / 'train').rglob('*.png'))
    done = subprocess.run([str(word) for word in (gradients.FATHOM, 'classify', weights, *pictures, '--top', given.classes,
                                                  '--json', '--gpus', 'cpu')],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    rows = [{int(item['name']): item['probability'] for item in image['classes']} for image in json.loads(done.stdout)['images']]
    own = torch.tensor([[row[label] for label in range(given.classes)] for row in rows]).log()
    with torch.no_grad():
        exact, single = (torch.log_softmax(copy_of(given, dtype, weights)[0].eval()(given.images.to(dtype)), 1)
                         for dtype in (torch.float64, torch.float32))
    told = exact > -60  # what is less likely is too small to be told
    far, theirs = ((answers - exact).abs()[told].max().item() for answers in (own, single))
    print(f'  answers   fathom {far:.1e}, PyTorch {theirs:.1e}, over a range of {exact.max() - exact.min():.2f}')
    return momenta, far <= max(LIMIT, 3 * theirs)


def compare_gradients(given, momenta):
    exact, single = (torch_gradients(given, dtype) for dtype in (torch.float64, torch.float32))
    if set(exact) != set(momenta):
        sys.exit(f'tensors of one only: {sorted(set(exact) ^ set(momenta))[:5]}')
    print('  gradients')
    gradients.report('fathom', momenta, exact)
    gradients.report('PyTorch, float32', single, exact)


def compare_losses(given):
    own, (exact, single) = fathom_losses(given), (torch_losses(given, dtype) for dtype in (torch.float64, torch.float32))
    print(f'  losses    {"step":>5} {"float64":>10} {"PyTorch":>10} {"fathom":>10}   largest difference so far')
    theirs = ours = 0
    for step, values in enumerate(zip(exact, single, own), 1):
        theirs, ours = max(theirs, abs(values[1] - values[0])), max(ours, abs(values[2] - values[0]))
        if step in (1, 2, 3, 5, 10, 15, 20) or step == len(exact):
            print(f'            {step:5} ' + ' '.join(f'{value:10.6f}' for value in values) + f'   PyTorch {theirs:.1e}, fathom {ours:.1e}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', default='inception-v3,bn-inception')
    parser.add_argument('--size', type=int, default=140,
                        help='at most 95, or a multiple of 7: pictures of 8/7 of it are cut, not scaled')
    parser.add_argument('--batch', type=int, default=6)
    parser.add_argument('--images', type=int, default=6)
    parser.add_argument('--classes', type=int, default=3)
    parser.add_argument('--steps', type=int, default=20)
    parser.add_argument('--rate', type=float, default=0.02)
    parser.add_argument('options', nargs='*', help="fathom's")
    given, good = parser.parse_args(), True
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as name:
        given.draw, given.data = build_draw(pathlib.Path(name)), pathlib.Path(name) / 'data'
        make_data(given)
        for given.name in given.models.split(','):
            given.scratch = pathlib.Path(name) / given.name
            given.scratch.mkdir()
            begin(given)
            print(f'{given.name}, {given.batch} images of {given.size} x {given.size}', flush=True)
            momenta, close = compare_answers(given)
            compare_gradients(given, momenta)
            compare_losses(given)
            good = good and close
    sys.exit(0 if good else f'answers are off by more than {LIMIT}, and three times what PyTorch is')


if __name__ == '__main__':
    main()
