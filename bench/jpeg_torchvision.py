"""How fast training pictures are made of JPEGs here and by torchvision with PIL, on one thread: jpeg_torchvision.py BENCH
FOLDER [SIZE [SECONDS]]. BENCH is build/bench/bench_jpeg_decode; both take turns over the same pictures, three times each.
Needs torchvision, PIL and NumPy. Prints images for each second of processor time, and their ratio."""
import io
import pathlib
import random
import re
import subprocess
import sys
import time

import torch
from PIL import Image
from torchvision import transforms

TURNS = 3


def read_pictures(folder):
    return [path.read_bytes() for path in sorted(pathlib.Path(folder).rglob('*.jpg'))]


def torchvision_rate(pictures, size, seconds):
    """The transforms of torchvision's own training script on ImageNet."""
    change = transforms.Compose([transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
                                 transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    begin, count = time.process_time(), 0
    while time.process_time() - begin < seconds:
        for picture in pictures:
            with Image.open(io.BytesIO(picture)) as image:
                change(image.convert('RGB'))
        count += len(pictures)
    return count / (time.process_time() - begin)


def own_rates(bench, folder, size, seconds):
    said = subprocess.run([bench, folder, str(size), str(4 * seconds)], capture_output=True, text=True, check=True).stdout
    return {way: float(rate) for way, rate in re.findall(r'^ +(\w+) +([\d.]+) images/s', said, re.MULTILINE)}


def main():
    bench, folder = sys.argv[1:3]
    size = int(sys.argv[3]) if len(sys.argv) > 3 else 224
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else 5
    torch.set_num_threads(1)
    random.seed(1)
    torch.manual_seed(1)
    pictures, ratios = read_pictures(folder), []
    torchvision_rate(pictures, size, 0)
    for _ in range(TURNS):
        theirs, own = torchvision_rate(pictures, size, seconds), own_rates(bench, folder, size, seconds)
        ratios.append(own['region'] / theirs)
        print(f'torchvision {theirs:.1f} images/s of processor time, fathom {own["region"]:.1f}: {ratios[-1]:.2f} times; '
              f'{own["region"] / own["whole"]:.2f} of libjpeg alone')
    print(f'median {sorted(ratios)[TURNS // 2]:.2f} times torchvision')


main()
