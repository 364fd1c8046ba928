"""Prints the values of torch_frozen_bn.h: a batch normalisation by its running statistics (model.eval(), whose parameters are
trained), with and without ReLU, forward and backward, in PyTorch. Usage: torch_frozen_bn.py > torch_frozen_bn.h"""
import torch

IMAGES, HEIGHT, WIDTH, CHANNELS = 3, 2, 3, 4


def show(name, tensor):
    tensor = tensor.detach()
    values = (tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor).reshape(-1).tolist()
    numbers = [f'{value:.9g}' for value in values]
    numbers = [text if '.' in text or 'e' in text else text + '.0' for text in numbers]
    print(f'static const float torch_{name}[] = {{{", ".join(text + "f" for text in numbers)}}};')


def main():
    torch.manual_seed(7)
    x = torch.randn(IMAGES, CHANNELS, HEIGHT, WIDTH)
    dy = torch.randn(IMAGES, CHANNELS, HEIGHT, WIDTH)
    bn = torch.nn.BatchNorm2d(CHANNELS)
    with torch.no_grad():
        bn.weight.copy_(torch.tensor([1.5, -0.5, 0.25, 2.0]))
        bn.bias.copy_(torch.tensor([0.1, -0.2, 0.3, 0.0]))
        bn.running_mean.copy_(torch.tensor([0.3, -0.1, 0.0, 1.0]))
        bn.running_var.copy_(torch.tensor([0.5, 2.0, 1.25, 0.1]))
    bn.eval()
    for name, tensor in (('x', x), ('dy', dy), ('gamma', bn.weight), ('beta', bn.bias), ('mean', bn.running_mean),
                         ('variance', bn.running_var)):
        show(name, tensor)
    for suffix, after in (('', torch.nn.Identity()), ('_relu', torch.nn.ReLU())):
        given = x.clone().requires_grad_(True)
        bn.zero_grad()
        y = after(bn(given))
        y.backward(dy)
        for name, tensor in (('y', y), ('dx', given.grad), ('dgamma', bn.weight.grad), ('dbeta', bn.bias.grad)):
            show(name + suffix, tensor)


main()
