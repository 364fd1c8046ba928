#!/usr/bin/env python3
"""What `fathom features`, `classify` (in bf16) and `eval` take beside PyTorch at its best: whole processes, from pictures on disk
to answers.

  bench/peer/answers.py --python PYTHON --data cifar-10-batches-bin [--photographs FOLDER] [--threads 1,2] [--rounds 3]
                        [--cases resnet-50,resnet-18,resnet-20,resnet-110] [--images 64] [--ways eager,compiled,...]

PYTHON has PyTorch, torchvision and safetensors. Nets for ImageNet read JPEGs (--photographs: a folder of them, which may be made
of CIFAR's images if none is named), the others CIFAR-10's binary test set. PyTorch has channels-last tensors, inference_mode,
the allocator's fastest known settings, a DataLoader with and without workers for JPEGs and whole records in one array for
CIFAR; eagerly, compiled with weights frozen, and both again under bfloat16 autocast. All take turns, on as many processors as
there are threads. An image's cost is that of a long run less a short one, so that no start is counted: processor time, which
other programs on the machine disturb least, of the process and of its workers. Also printed: what a start takes (a run of one
batch), the peak of a process, and how far features are apart from fathom's: of photographs whose
shorter side is not 256 that is mostly PIL's rounding to bytes between scaling across and down."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TUNED = {'MALLOC_MMAP_MAX_': '0', 'MALLOC_TRIM_THRESHOLD_': '100000000000'}
WAYS = ('eager', 'compiled', 'eager-bf16', 'compiled-bf16', 'eager-workers')
PHOTOGRAPHS = ('resnet18', 'resnet34', 'resnet50', 'resnet101', 'resnet152')
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# ---- PyTorch's side, a process of its own ----

def photograph_batches(torch, folder, batch, workers):
    from PIL import Image
    from torchvision import transforms
    change = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
                                 transforms.Normalize(MEAN, DEVIATION)])

    class Pictures(torch.utils.data.Dataset):
        paths = sorted(pathlib.Path(folder).glob('*.jpg'))

        def __len__(self):
            return len(self.paths)

        def __getitem__(self, i):
            with Image.open(self.paths[i]) as image:
                return change(image.convert('RGB'))

    yield from torch.utils.data.DataLoader(Pictures(), batch_size=batch, num_workers=workers)


def record_batches(torch, folder, batch):
    import numpy
    rows = numpy.fromfile(f'{folder}/test_batch.bin', dtype=numpy.uint8).reshape(-1, 3073)
    images = torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32))
    for i in range(0, len(images), batch):
        yield (images[i:i + batch].float() / 255 - 0.5) / 0.25


def torch_main(name, folder, way, threads, batch, weights, output):
    import torch
    torch.set_num_threads(threads)
    if name in PHOTOGRAPHS:
        import torchvision
        from safetensors.torch import load_file
        model = getattr(torchvision.models, name)()
        model.load_state_dict(load_file(weights))
        model.fc = torch.nn.Identity()
        batches = photograph_batches(torch, folder, batch, threads if way.endswith('workers') else 0)
    else:
        import peer_resnet
        model, batches = peer_resnet.build(name)[0], record_batches(torch, folder, batch)
    model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    if way.startswith('compiled'):
        import torch._inductor.config
        torch._inductor.config.freezing = True
        torch._dynamo.config.cache_size_limit = 256
        model.compile(dynamic=False)
    rows = []
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16, enabled=way.endswith('bf16')):
        for images in batches:
            rows.append(model(images.contiguous(memory_format=torch.channels_last)).float())
    if output:
        import numpy
        numpy.save(output, torch.cat(rows).numpy())


# ---- Measuring ----

def run(words, threads):
    """Processor seconds and peak bytes of a process and those that it waited for, on so many processors."""
    allowed = sorted(os.sched_getaffinity(0))[:threads]
    child = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                             env={**os.environ, **(TUNED if 'torch' in words else {})},
                             preexec_fn=lambda: os.sched_setaffinity(0, allowed))
    complaint = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f'{" ".join(map(str, words))}: {complaint.strip().splitlines()[-1:]}')
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def torch_words(arguments, case, way, threads, few):
    return [arguments.python, __file__, 'torch', case.name, case.folders[few], way, threads, case.batch, case.weights or '-',
            case.answers(way)]


def fathom_words(arguments, case, threads, few):
    if case.weights:
        return [arguments.fathom, 'features', case.weights, case.folders[few], '-o', case.answers('fathom'), '-b', case.batch]
    return [arguments.fathom, 'eval', case.checkpoint, case.folders[few], '-b', case.batch]


def fathom_half_words(arguments, case, threads, few):
    command = ['classify', case.weights] if case.weights else ['eval', case.checkpoint]
    return [arguments.fathom, *command, case.folders[few], '-b', case.batch, '--dtype', 'bf16', '--json']


class Case:
    """A net, its weights, and the same pictures in a folder of many and one of few."""

    def __init__(self, arguments, scratch, net):
        self.scratch, self.name, self.weights, self.checkpoint = scratch, net.replace('-', '', 1), None, None
        if self.name in PHOTOGRAPHS:
            self.batch, self.few, self.many = 16, 16, 16 + arguments.images
            self.weights = scratch / f'{self.name}.safetensors'
            subprocess.run([arguments.python, __file__, 'weights', self.name, self.weights], check=True)
        else:
            self.name, self.batch, self.few, self.many = net, 128, 128, 128 + arguments.records
            self.checkpoint = scratch / net
            subprocess.run([arguments.fathom, 'train', net, '-b', '128', '--gpus', 'cpu', '--data', arguments.data, '--iterations',
                            '1', '--no-evaluate', '--save', self.checkpoint], check=True, stdout=subprocess.DEVNULL)
        self.folders = {few: self.make_folder(arguments, few) for few in (True, False)}

    def make_folder(self, arguments, few):
        count = self.few if few else self.many
        folder = self.scratch / f'{self.name}-{count}'
        folder.mkdir()
        if self.weights:
            pictures = sorted(pathlib.Path(arguments.photographs).glob('*.jpg'))[:count]
            if len(pictures) < count:
                sys.exit(f'--photographs: found {len(pictures)} *.jpg in {arguments.photographs}; {count} are wanted')
            for path in pictures:
                (folder / path.name).symlink_to(path.resolve())
            return folder
        for source in pathlib.Path(arguments.data).iterdir():
            if source.name != 'test_batch.bin':
                (folder / source.name).symlink_to(source.resolve())
        with open(pathlib.Path(arguments.data) / 'test_batch.bin', 'rb') as records:
            (folder / 'test_batch.bin').write_bytes(records.read(3073 * count))
        return folder

    def answers(self, way):
        return self.scratch / f'{self.name}-{way}.npy'


def distance(arguments, case, way):
    """Of all features, relative to fathom's; of CIFAR's nets weights are not the same."""
    code = ('import sys, numpy\na, b = (numpy.load(p).astype(float) for p in sys.argv[1:])\n'
            'print(numpy.linalg.norm(a - b) / numpy.linalg.norm(a))')
    return float(subprocess.run([arguments.python, '-c', code, case.answers('fathom'), case.answers(way)], check=True,
                                capture_output=True, text=True).stdout)


def measure(arguments, case, threads):
    words = {'fathom': fathom_words, 'fathom-bf16': fathom_half_words}
    for way in arguments.ways.split(','):
        if case.weights or not way.endswith('workers'):
            words[way] = lambda a, c, t, few, way=way: torch_words(a, c, way, t, few)
    found = {name: [] for name in words}
    for _ in range(arguments.rounds):
        for name, make in words.items():
            few, _ = run(make(arguments, case, threads, True), threads)
            many, peak = run(make(arguments, case, threads, False), threads)
            found[name].append(((many - few) / (case.many - case.few), few, peak))
    print(f'{case.name}, batch {case.batch}, {threads} thread{"s" if threads > 1 else ""}, {case.many - case.few} images, '
          f'{arguments.rounds} rounds: processor time')
    own = statistics.median(each[0] for each in found['fathom'])
    for name, rounds in found.items():
        image, start, peak = (statistics.median(each[k] for each in rounds) for k in range(3))
        apart = f'  {distance(arguments, case, name):.1e} apart' if case.weights and not name.startswith('fathom') else ''
        print(f'  {name:14} {1e3 * image:8.3f} ms an image  {image / own:5.2f} x  start {start:6.2f} s  {peak / 2**20:6.0f} MiB{apart}',
              flush=True)


def make_photographs(python, data, folder, count):
    """CIFAR's images at 500 x 375 with noise, as large in bytes as photographs are."""
    code = ('import sys, pathlib, numpy\nfrom PIL import Image\nrandom = numpy.random.default_rng(1)\n'
            'rows = numpy.fromfile(sys.argv[1] + "/test_batch.bin", dtype=numpy.uint8).reshape(-1, 3073)\n'
            'for i in range(int(sys.argv[3])):\n'
            '    image = Image.fromarray(rows[i, 1:].reshape(3, 32, 32).transpose(1, 2, 0)).resize((500, 375), Image.BICUBIC)\n'
            '    noisy = numpy.asarray(image) + random.normal(0, 12, (375, 500, 1))\n'
            '    Image.fromarray(noisy.clip(0, 255).astype("uint8")).save(f"{sys.argv[2]}/{i:05}.jpg", quality=85)\n')
    folder.mkdir()
    subprocess.run([python, '-c', code, data, folder, str(count)], check=True)
    return folder


def make_weights(name, path):
    """torchvision's initialisation, with the statistics of random images."""
    import torch
    import torchvision
    from safetensors.torch import save_file
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)().train()
    with torch.no_grad():
        for _ in range(4):
            model(torch.randn(4, 3, 128, 128))
    save_file(model.state_dict(), path)


def main():
    if sys.argv[1:2] == ['torch']:
        name, folder, way, threads, batch, weights, output = sys.argv[2:]
        return torch_main(name, folder, way, int(threads), int(batch), weights, output)
    if sys.argv[1:2] == ['weights']:
        return make_weights(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--python', required=True)
    parser.add_argument('--data', required=True, help='CIFAR-10 binary files')
    parser.add_argument('--photographs', help='a folder of *.jpg')
    parser.add_argument('--fathom', default=ROOT / 'build' / 'fathom')
    parser.add_argument('--cases', default='resnet-50,resnet-18,resnet-20,resnet-110')
    parser.add_argument('--ways', default=','.join(WAYS))
    parser.add_argument('--threads', default='1,2')
    parser.add_argument('--images', type=int, default=64, help='photographs of a run, a multiple of 16')
    parser.add_argument('--records', type=int, default=8064, help='records of a run, a multiple of 128, up to 9,856')
    parser.add_argument('--rounds', type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        if not arguments.photographs:
            arguments.photographs = make_photographs(arguments.python, arguments.data, scratch / 'photographs', 16 + arguments.images)
        for net in arguments.cases.split(','):
            case = Case(arguments, scratch, net)
            for threads in map(int, arguments.threads.split(',')):
                measure(arguments, case, threads)


main()
