"""The figures in tests/trainer/run/weights.c: what PyTorch and torchvision's blocks answer for weights and images that a
formula makes.

  PYTHON bench/peer/weights_fixture.py        PYTHON has PyTorch and torchvision"""
import math

import torch
import torchvision
from torchvision.models.resnet import BasicBlock


def numbers(name, count):
    """As in weights.c: from -0.5 to 0.5, by the name's hash and the place."""
    seed = 0
    for byte in name.encode():
        seed = (seed * 31 + byte) % 65521
    return [((seed + i * 40503) % 65536) / 65536 - 0.5 for i in range(count)]


def fill(name, tensor):
    shift, scale = 0.0, 1.0
    kind = name.rsplit('.', 1)[1]
    if tensor.dim() == 4:
        scale = math.sqrt(24 / (tensor.shape[1] * tensor.shape[2] * tensor.shape[3]))
    elif kind == 'running_var' or (kind == 'weight' and tensor.dim() == 1):
        shift = 1.0
    values = [shift + scale * v for v in numbers(name, tensor.numel())]
    tensor.copy_(torch.tensor(values, dtype=torch.float32).view(tensor.shape))


class Net(torch.nn.Module):
    """resnet-8 for CIFAR with projections, by torchvision's names."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(16)
        for stage, (cin, cout) in enumerate(((16, 16), (16, 32), (32, 64)), 1):
            stride = 1 if cin == cout else 2
            down = None
            if cin != cout:
                down = torch.nn.Sequential(torch.nn.Conv2d(cin, cout, 1, stride, bias=False), torch.nn.BatchNorm2d(cout))
            setattr(self, f'layer{stage}', torch.nn.Sequential(BasicBlock(cin, cout, stride, down)))
        self.fc = torch.nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def fill_net(net):
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if not name.endswith('num_batches_tracked'):
                fill(name, tensor)
    return net.double().eval()


def images(count, side):
    """Channels in planes, as CIFAR has them."""
    state, values = 1, []
    for _ in range(count * 3 * side * side):
        state = (state * 1103515245 + 12345) % 2**31
        values.append(state >> 16 & 255)
    return (torch.tensor(values, dtype=torch.float64).view(count, 3, side, side) / 255 - 0.5) / 0.25


def tell(name, logits, labels):
    print(f'{name}: loss {torch.nn.functional.cross_entropy(logits, torch.tensor(labels)):.9g}, top-1',
          *logits.argmax(1).tolist(), f'of logits from {logits.min():.3g} to {logits.max():.3g}')


with torch.no_grad():
    tell('resnet-8', fill_net(Net())(images(4, 32)), [8, 1, 2, 8])
    # AuxLogits, which evaluation does not ask, is not in the test's file.
    inception = torchvision.models.inception_v3(num_classes=3, aux_logits=False, transform_input=False, init_weights=False)
    tell('inception-v3', fill_net(inception)(images(3, 75)), [0, 1, 2])
