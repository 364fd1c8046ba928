#!/usr/bin/env python3
"""torchvision's ResNets through fathom and back.

  PYTHON bench/peer/torchvision_weights.py [--models resnet18,resnet50] [--fathom build/fathom]

PYTHON has PyTorch, torchvision and safetensors (and timm, if its nets are to be filled too). The weights are torchvision's own
initialisation, with normalisations of random scale and shift, whose statistics are those of random images. For each net:
  answers   the largest difference of log-probabilities, of the same pictures, between torchvision and `fathom classify`
  saved     the same for what `fathom train --weights` has saved after a step at a rate of 1e-12, loaded there by
            load_state_dict: parameters must be the same within 1e-9, statistics are those that the step has seen"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import torchvision
from safetensors.torch import load_file, save_file

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LIMIT = 1e-4


def fathom(program, *words):
    done = subprocess.run([str(program), *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{" ".join(map(str, words))}: {done.stderr}')
    return done.stdout


def make_pictures(folder):
    """Three pictures of 256 x 256, of which the middle is looked at, and a dataset of a thousand classes of one of them."""
    pictures = []
    for i in range(3):
        path = folder / f'{i}.png'
        coarse = torch.rand(1, 3, 4 + 4 * i, 4 + 4 * i)
        smooth = torch.nn.functional.interpolate(coarse, size=(256, 256), mode='bicubic').clamp(0, 1)[0]
        torchvision.io.write_png((smooth * 255).round().to(torch.uint8), str(path))
        pictures.append(path)
    for label in range(1000):
        of = folder / 'data' / 'train' / f'{label:04}'
        of.mkdir(parents=True)
        (of / '0.png').hardlink_to(pictures[0])
    return pictures


def look(model, pictures):
    with torch.no_grad():
        images = torch.stack([torchvision.io.read_image(str(path))[:, 16:240, 16:240] for path in pictures]).float() / 255
        images = (images - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(DEVIATION).view(1, 3, 1, 1)
        return torch.log_softmax(model.eval()(images), 1)


def randomise(model, pictures):
    """Normalisations that scale and shift, and statistics under which a net's answers differ from each other."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            module.momentum = 0.5
    with torch.no_grad():
        for _ in range(6):
            model.train()(torch.randn(8, 3, 96, 96))
        spread = look(model, pictures)
        model.fc.weight *= 8 / (spread.max() - spread.min())  # else some probabilities are too small to be told


def answers(program, weights, pictures):
    """Log-probabilities, in the order of classes, as `fathom classify` says them."""
    said = {'format': 'fathom data', 'version': 1, 'mean': MEAN, 'deviation': DEVIATION,
            'classes': [f'{i:04}' for i in range(1000)]}
    (weights.parent / 'data.json').write_text(json.dumps(said))
    told = json.loads(fathom(program, 'classify', weights, *pictures, '--top', 1000, '--json', '--gpus', 'cpu'))
    rows = []
    for image in told['images']:
        row = torch.zeros(1000)
        for item in image['classes']:
            row[int(item['name'])] = item['probability']
        rows.append(row.log())
    return torch.stack(rows)


def check_back(program, name, model, weights, folder, pictures):
    saved = folder / f'{name}-saved'
    fathom(program, 'train', name.replace('resnet', 'resnet-'), '--weights', weights, '--data', folder / 'data', '--batch', 4,
           '--gpus', 'cpu', '--iterations', 1, '--learning-rate', 1e-12, '--weight-decay', 0, '--schedule', 'constant',
           '--warm-up', 0, '--no-evaluate', '--save', saved)
    path = next(path for path in saved.glob('step-*.safetensors') if '.state' not in path.name)
    state = load_file(path)
    back = getattr(torchvision.models, name)()
    back.load_state_dict(state)  # strict: no name is missing, none too many
    moved = max((p - q).abs().max().item() for p, q in zip(model.parameters(), back.parameters()))
    try:
        import timm
        timm.create_model(name).load_state_dict(state)
        with_timm = 'and timm'
    except ImportError:
        with_timm = '(timm is not here)'
    difference = (look(back, pictures) - answers(program, path, pictures)).abs().max().item()
    print(f'  saved    {difference:.2e}  parameters moved by {moved:.0e} at most; load_state_dict of torchvision {with_timm}')
    return moved < 1e-9 and difference <= LIMIT


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', default='resnet18,resnet50')
    parser.add_argument('--fathom', default=pathlib.Path(__file__).resolve().parents[2] / 'build' / 'fathom')
    arguments = parser.parse_args()
    torch.manual_seed(1)
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        pictures = make_pictures(folder)
        for model_name in arguments.models.split(','):
            model = getattr(torchvision.models, model_name)()
            randomise(model, pictures)
            weights = folder / f'{model_name}.safetensors'
            save_file(model.state_dict(), weights)
            exact = look(model, pictures)
            difference = (exact - answers(arguments.fathom, weights, pictures)).abs().max().item()
            spread = (exact.max(1).values - exact.min(1).values).min().item()
            print(f'{model_name}, log-probabilities over a range of {spread:.2f}\n  answers  {difference:.2e}', flush=True)
            good = check_back(arguments.fathom, model_name, model, weights, folder, pictures) and difference <= LIMIT and good
    sys.exit(0 if good else f'a difference is above {LIMIT}, or parameters moved')


main()
