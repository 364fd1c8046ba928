#!/usr/bin/env python3
"""Writes torch_optimizers.h: weights as torch.optim moves them, step by step. Run by hand, with a PyTorch: PYTHON torch_optimizers.py > torch_optimizers.h"""
import torch

WEIGHTS, STEPS = 10, 6
CASES = [  # name, fathom's optimizer, rate, torch's optimizer, clip
    ('sgd', 'SGD', 0.1, lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01), 0),
    ('momentum', 'MOMENTUM', 0.1, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01), 0),
    ('nesterov', 'MOMENTUM', 0.1, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True), 0),
    ('clipped', 'MOMENTUM', 0.1, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 0.5),
    ('rmsprop', 'RMSPROP', 0.01, lambda p: torch.optim.RMSprop(p, weight_decay=0.01), 0),
    ('rmsprop, momentum', 'RMSPROP_MOMENTUM', 0.01, lambda p: torch.optim.RMSprop(p, momentum=0.9, weight_decay=0.01), 0),
    ('adagrad', 'ADAGRAD', 0.01, lambda p: torch.optim.Adagrad(p, weight_decay=0.01), 0),
    ('adadelta', 'ADADELTA', 1, lambda p: torch.optim.Adadelta(p, weight_decay=0.01), 0),
    ('adam', 'ADAM', 0.001, lambda p: torch.optim.Adam(p, weight_decay=0.01), 0),
    ('adam, clipped', 'ADAM', 0.001, lambda p: torch.optim.Adam(p, weight_decay=0.01), 0.5),
    ('adamw', 'ADAMW', 0.001, lambda p: torch.optim.AdamW(p), 0),
]


def numbers(tensor):
    return '{' + ', '.join(f'{float(x):.9g}f' if '.' in f'{float(x):.9g}' or 'e' in f'{float(x):.9g}' else f'{float(x):.9g}.0f' for x in tensor) + '}'


def main():
    torch.manual_seed(7)
    first = torch.randn(WEIGHTS)
    gradients = torch.randn(STEPS, WEIGHTS) * torch.logspace(-4, 1, WEIGHTS)
    print(f'/* By torch_optimizers.py and PyTorch {torch.__version__}. */')
    print(f'#define TORCH_WEIGHTS {WEIGHTS}\n#define TORCH_STEPS {STEPS}')
    print(f'static const float torch_first[TORCH_WEIGHTS] = {numbers(first)};')
    print('static const float torch_gradients[TORCH_STEPS][TORCH_WEIGHTS] = {' + ',\n    '.join(numbers(g) for g in gradients) + '};')
    print('static const struct {\n    const char *name;\n    enum optimizer optimizer;\n    float rate, clip;\n'
          '    float weights[TORCH_STEPS][TORCH_WEIGHTS]; /* after each step */\n} torch_cases[] = {')
    for name, optimizer, rate, make, clip in CASES:
        weights = first.clone().requires_grad_()
        moved, rows = make([weights]), []
        for gradient in gradients:
            weights.grad = gradient.clone()
            if clip:
                torch.nn.utils.clip_grad_norm_([weights], clip)
            moved.step()
            rows.append(numbers(weights.detach()))
        print(f'    {{"{name}", OPTIMIZER_{optimizer}, {float(rate)}f, {float(clip)}f,\n     {{' + ',\n      '.join(rows) + '}},')
    print('};')


main()
