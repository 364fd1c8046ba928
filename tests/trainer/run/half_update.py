"""A first step of RMSprop by 16-bit gradients is float64's by the same gradients: what 16 bits change is the gradients, and what is
made of them is not rounded to 16 bits. That step is 10 rates long whatever the gradient's size, so each sign that turns is two of it."""
import array
import json
import math
import pathlib
import subprocess
import sys
import tempfile

FATHOM = sys.argv[1]
RATE = 1e-3


def tensors(path):
    """name -> numbers, of a file of safetensors."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], 'little')
    return {name: array.array('f', data[begin + t['data_offsets'][0]:begin + t['data_offsets'][1]])
            for name, t in json.loads(data[8:begin]).items() if name != '__metadata__' and t['dtype'] == 'F32'}


def step(folder, data, *options):
    """The weights after one step, and what the optimizer keeps."""
    words = [FATHOM, 'train', 'resnet-8', '--batch', 16, '--data', data, '--gpus', 'cpu', '--iterations', 1, '--no-augment', '--no-evaluate',
             '--schedule', 'constant', '--warm-up', 0, '--weight-decay', 0, '--save', folder, *options]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return tensors(folder / 'step-000000000001.safetensors'), tensors(folder / 'step-000000000001.state.safetensors')


def main():
    with tempfile.TemporaryDirectory() as name:
        folder, signs = pathlib.Path(name), {}
        subprocess.run([FATHOM, 'data', 'synth', folder / 'data', '--train', '16', '--test', '10'], check=True, stdout=subprocess.DEVNULL)
        for dtype in ('f32', 'bf16', 'f16'):
            # At that rate the weights stay, and momentum after one step is the gradient.
            first, kept = step(folder / f'{dtype}-gradient', folder / 'data', '--dtype', dtype, '--learning-rate', '1e-12')
            moved, squares = step(folder / dtype, folder / 'data', '--dtype', dtype, '--learning-rate', RATE, '--optimizer', 'rmsprop')
            furthest, signs[dtype] = 0, []
            for key, gradients in kept.items():
                own = key.removesuffix('.momentum_buffer')
                if own == key:
                    continue
                for g, before, after, square in zip(gradients, first[own], moved[own], squares[own + '.square_avg'], strict=True):
                    assert math.isclose(square, 0.01 * g * g, rel_tol=1e-6, abs_tol=1e-38), f'{dtype}: {own}: {square}, of a gradient of {g}'
                    exact = RATE * g / (math.sqrt(0.01 * g * g) + 1e-8)
                    furthest = max(furthest, abs(before - after - exact) / (10 * RATE))
                    signs[dtype].append(g > 0)
            assert len(signs[dtype]) > 70000 and furthest < 2e-5, f'{dtype}: {furthest} of an update from float64'
            turned = sum(a != b for a, b in zip(signs[dtype], signs['f32'])) / len(signs[dtype])
            print(f'{dtype}: {furthest:.1e} of an update from float64; {100 * turned:.2f} % of the signs are not those of f32')


main()
