"""Gradient flow of an original against a pre-activation net: the same model, images and seed, trained for a while, and the
norms of both over depth in one picture. Not a test: it takes minutes.

    bench/gradient_flow.py build/fathom cifar-10-batches-bin OUT [--model resnet-164] [--batch 8] [--iterations 300]
"""
import argparse
import pathlib
import subprocess


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('fathom')
    parser.add_argument('data')
    parser.add_argument('out', type=pathlib.Path)
    parser.add_argument('--model', default='resnet-164')
    parser.add_argument('--batch', default='8')
    parser.add_argument('--iterations', default='300')
    parser.add_argument('--every', default='50', help='steps between two whose norms are taken')
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    traces = [o.out / f'{o.model}-{unit}.trace' for unit in ('original', 'preact')]
    for unit, trace in zip(('original', 'preact'), traces):
        subprocess.run([o.fathom, 'train', o.model, '--unit', unit, '--batch', o.batch, '--data', o.data, '--iterations',
                        o.iterations, '--no-evaluate', '--trace', trace, '--flow-every', o.every], check=True)
    picture = o.out / f'{o.model}-flow.svg'
    subprocess.run([o.fathom, 'trace', 'flow', *traces, '--svg', picture, '--limit', '12'], check=True)
    print(picture)


if __name__ == '__main__':
    main()
