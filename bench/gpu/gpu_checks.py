"""Parts of gpu.py: what the machine is, and whether what is computed there is right."""
import contextlib
import glob
import hashlib
import json
import os
import shutil
import sys

from gpu_bench import HERE, Failed, Unfinished, log_tail


# ---- Comparing losses -------------------------------------------------------------------------------------------------


def difference(ours, theirs):
    """The largest relative difference of the first step, and of all."""
    if not ours or len(ours) != len(theirs):
        raise Failed(f'{len(ours)} losses against {len(theirs)}')
    each = [abs(a - b) / max(abs(b), 1e-6) if a == a else float('inf') for a, b in zip(ours, theirs)]
    return each[0], max(each)


# How far a first loss and the next ones may be from another implementation's: rounding, which steps amplify.
ALLOWED = {'f32': (1e-4, 2e-2), 'tf32': (5e-3, 0.1), 'f16': (1e-2, 0.15), 'bf16': (3e-2, 0.3)}


def judge(dtype, first, most):
    allowed = ALLOWED[dtype]
    return 'as it should' if first <= allowed[0] and most <= allowed[1] else f'**too far** (allowed {allowed[0]:g}, {allowed[1]:g})'


def flags(dtype):
    return ['--dtype', 'f32', '--tf32'] if dtype == 'tf32' else ['--dtype', dtype]


def reference_name(model, batch, steps, dtype):
    return f'{model}-{batch}-{steps}-{dtype}'


def record(bench):
    """The CPU's losses, where there is oneDNN: into losses.json."""
    sizes = bench.sizes
    wanted = [(*case, dtype) for case in sizes.compared for dtype in sizes.dtypes] + [(*sizes.deep, 'f32')]
    losses = {}
    for model, batch, steps, dtype in wanted:
        bench.clock.begin(600)
        losses[reference_name(model, batch, steps, dtype)] = bench.train(
            model, '--gpus', 'cpu', '--dtype', dtype, batch=batch, steps=steps, most=600)['losses']
    (HERE / 'losses.json').write_text(json.dumps(losses, indent=1) + '\n')
    for folder in ('plans', 'engines'):
        (HERE / folder).mkdir(exist_ok=True)
    for model, batch in sizes.carried:
        for dtype in sizes.dtypes:
            words = [bench.fathom, 'plan', model, '--batch', batch, '--gpus', 'h200', '--dtype', dtype, '-o',
                     HERE / 'plans' / f'{model}-{dtype}.json', *sizes.net]
            try: # with plans of cuDNN, where that is here to build them
                bench.run([*words, '--engines', HERE / 'engines' / f'{model}-{dtype}.json'], most=300)
            except Failed as failure:
                print(f'gpu-pack: {model} in {dtype} goes without plans of cuDNN: {failure}', file=sys.stderr)
                bench.run(words)


def references():
    return json.loads((HERE / 'losses.json').read_text())


# ---- The parts --------------------------------------------------------------------------------------------------------


def keep(bench, *words):
    """What a command says, for the logs alone; whether it could be had does not matter."""
    if shutil.which(words[0]):
        with contextlib.suppress(Failed):
            bench.run(words, most=10)


def part_machine(bench):
    """What the machine is."""
    keep(bench, 'nvidia-smi', '-q')
    keep(bench, 'nvidia-smi', 'topo', '-m')
    keep(bench, 'uname', '-a')
    said = bench.run([bench.fathom, 'devices'])
    here = said[:said.index('\ncatalogue')]
    smi = ''
    if shutil.which('nvidia-smi'):
        query = 'name,driver_version,memory.total,memory.used,clocks.max.sm,clocks.max.memory,power.limit'
        smi = bench.run(['nvidia-smi', f'--query-gpu={query}', '--format=csv'])
    version = (HERE / 'VERSION').read_text().strip() if (HERE / 'VERSION').exists() else 'unknown'
    libraries = sorted({os.path.basename(os.path.realpath(path)) for name in ('libcudart.so.13', 'libcudnn.so.9', 'libnvrtc.so.13', 'libcupti.so.13', 'libnccl.so.2')
                        for path in glob.glob(f'{bench.environment.get("CUDA_HOME", "")}/lib*/{name}')})
    bench.write(f'fathom {version}; {", ".join(libraries) or "libraries unknown"}\n\n```\n{here.strip()}\n{smi.strip()}\n```')


def part_carried(bench):
    """Plans that were made without this GPU."""
    plans = sorted((HERE / 'plans').glob('*.json'))
    if not plans:
        raise Failed('there are no plans in the folder')
    bad = []
    bench.table(['plan', 'losses', 'plans of cuDNN', 'memory'], [])
    for plan in plans:
        engines = HERE / 'engines' / plan.name
        carried = ['--engines', engines] if engines.exists() else []
        try:
            got = bench.train(plan, *carried, steps=3)
            bench.row(plan.stem, ' '.join(f'{loss:.4f}' for loss in got['losses']), got['carried'], got['memory'])
        except Failed as failure:
            bad.append(plan.stem)
            bench.row(plan.stem, failure, '', '')
    if bad:
        raise Failed(f'of {len(plans)} plans {len(bad)} did not run: {", ".join(bad)}')


def part_compared(bench):
    """Every op in every dtype: cuDNN and the kernels, the naive kernels, and the CPU."""
    known, bad = references(), []
    bench.table(['model', 'batch', 'dtype', 'against', 'first loss', 'all', ''], [])
    for model, batch, steps in bench.sizes.compared:
        for dtype in (*bench.sizes.dtypes, 'tf32'):
            try:
                cpu = known[reference_name(model, batch, steps, 'f32' if dtype == 'tf32' else dtype)]
                fast = bench.train(model, *flags(dtype), batch=batch, steps=steps)['losses']
                naive = bench.train(model, *flags(dtype), '--backend', 'cuda-reference', batch=batch, steps=steps)['losses']
                for name, losses in (('naive kernels', naive), ('CPU', cpu)):
                    first, most = difference(fast, losses)
                    verdict = judge(dtype, first, most)
                    bench.row(model, batch, dtype, name, f'{first:.2e}', f'{most:.2e}', verdict)
                    bad += [f'{model} {dtype}'] if 'too far' in verdict else []
            except Failed as failure:
                bench.row(model, batch, dtype, failure, '', '', '**failed**')
                bad.append(f'{model} {dtype}')
    if bad:
        raise Failed(', '.join(dict.fromkeys(bad)))


def part_same(bench):
    """CUDA graphs and launches one by one, twice: the same bits."""
    model, batch, steps = bench.sizes.same
    digests = {}
    bench.table(['run', 'last loss', 'checkpoint'], [])
    for name, more in (('recorded', []), ('one by one', ['--no-graph']), ('recorded, again', [])):
        folder = bench.out / 'checkpoints' / name.replace(', ', '-').replace(' ', '-')
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        got = bench.train(model, '--deterministic', '--save', folder, *more, batch=batch, steps=steps)
        digest = hashlib.sha256(b''.join(path.read_bytes() for path in sorted(folder.glob('*.safetensors')))).hexdigest()[:16]
        digests[name] = (digest, got['losses'])
        bench.row(name, f'{got["losses"][-1]:.9g}', digest)
    if len({str(value) for value in digests.values()}) != 1:
        raise Failed('they differ')
    bench.write(f'\n{model}, batch {batch}, {steps} steps with --deterministic: bitwise equal')


# What the names of our kernels begin with whose threads wait for each other; bn_whole's and bn_backward_whole's wait for other
# blocks too. They are `extern "C"`, so that none is mangled; one of cuDNN's that begins so would cost time alone.
WAITING = ('bn_', 'gradient_', 'product', 'softmax_loss', 'squares', 'update')

# compute-sanitizer's tools, and the kernels each looks at: racecheck and synccheck cost most, and cuDNN's are left to their
# makers. --kernel-name is of compute-sanitizer 2023.3, older than any CUDA 13 (its manual: Specifying Filters).
OURS = [word for start in WAITING for word in ('--kernel-name', f'regex=^{start}')]
SANITIZERS = (('memcheck', 'all', []), ('racecheck', 'ours that wait', OURS), ('synccheck', 'ours that wait', OURS))


def part_sanitizer(bench):
    """Kernels under compute-sanitizer."""
    tool = shutil.which('compute-sanitizer') or shutil.which('compute-sanitizer', path=f'{bench.environment.get("CUDA_HOME", "")}/bin:/usr/local/cuda/bin')
    if not tool or bench.sizes.dry:
        bench.write(f'not run: {"a dry run" if tool else "there is no compute-sanitizer"}')
        return
    ended, bad = [], []
    bench.table(['tool', 'kernels', ''], [])
    for name, kernels, filters in SANITIZERS:
        words = [tool, '--tool', name, *filters, '--error-exitcode', 86, bench.fathom, 'train', 'resnet-8', '--dataset',
                 'cifar10', '--classes', 2, '--image-size', 8, '--data', HERE / 'photos', '--batch', 4, '--iterations', 2,
                 '--no-evaluate', '--no-graph', '--backend', 'cuda']
        try:
            bench.run(words, most=40)
            ended.append(name)
            bench.row(name, kernels, 'nothing found')
        except Unfinished as failure:
            bench.row(name, kernels, f'not finished: {failure}')
        except Failed as failure:
            bad.append(name)
            bench.row(name, kernels, f'**{failure}**: {log_tail(bench, 12)}')
    if bad:
        raise Failed(', '.join(bad))
    if not ended:
        raise Failed('no tool ended, so nothing was checked')


def part_deep(bench):
    """The deep net in f32 against the CPU."""
    model, batch, steps = bench.sizes.deep
    cpu = references()[reference_name(model, batch, steps, 'f32')]
    got = bench.train(model, batch=batch, steps=steps)
    first, most = difference(got['losses'], cpu)
    bench.table(['step', 'CPU', 'GPU'], [(i + 1, f'{a:.6f}', f'{b:.6f}') for i, (a, b) in enumerate(zip(cpu, got['losses']))])
    bench.write(f'\n{model}, batch {batch}: the first loss differs by {first:.2e}, all by at most {most:.2e}; memory: {got["memory"]}')
    if 'too far' in judge('f32', first, most):
        raise Failed(judge('f32', first, most))
