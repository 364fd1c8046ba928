"""Parts of gpu.py: how fast it is, beside PyTorch, and where the time goes."""
from gpu_bench import Failed, answer
from gpu_checks import flags


def peer(bench, model, batch, dtype, steps, mode='graph', most=75):
    """PyTorch's figures, of a captured graph if nothing else is said; a word where there are none."""
    if bench.sizes.dry or not bench.peers.script.exists():
        return 'not run', ''
    name = {'f32': 'fp32', 'f16': 'fp16'}.get(dtype, dtype)
    what = {'model': model, 'batch': batch, 'dtype': name, 'mode': mode}
    try:
        got = bench.peers.measure(bench.run, what, min(steps, 15), most)
        return f'{got["images_per_second"]:.0f}', f'{got["peak_reserved_bytes"] / 2**30:.2f} GiB'
    except (Failed, ValueError, IndexError, KeyError) as failure:
        return str(failure)[:120], ''


def part_speed(bench):
    """Images a second beside PyTorch's, in turn, PyTorch's first, and memory used against planned."""
    bad = []
    bench.table(['model', 'batch', 'dtype', 'fathom, images/s', 'memory', 'PyTorch, images/s', 'its memory'], [])
    jobs = [(model, batch, steps, dtype) for model, batch, steps, dtypes in bench.sizes.timed for dtype in dtypes]
    jobs.sort(key=lambda job: ('f16', 'tf32', 'bf16', 'f32').index(job[3]))
    for model, batch, steps, dtype in jobs:
        theirs = peer(bench, model, batch, dtype, steps)
        try:
            got = bench.train(model, *flags(dtype), '--repeat-batch', '--schedule', 'constant', batch=batch, steps=steps, most=150)
            ours = f'{got["images_per_second"]:.0f}', got['memory']
        except Failed as failure:
            ours = f'**{failure}**', ''
            bad.append(f'{model} {dtype}')
        bench.row(model, batch, dtype, *ours, *theirs)
    if bad:
        raise Failed(', '.join(bad))


def part_compiled(bench):
    """PyTorch compiled with max-autotune, which takes it minutes."""
    bench.table(['model', 'batch', 'dtype', 'PyTorch, images/s', 'its memory'], [])
    for model, batch, steps, dtypes in reversed(bench.sizes.timed):
        for dtype in ('bf16', 'f16'):
            if dtype in dtypes:
                bench.row(model, batch, dtype, *peer(bench, model, batch, dtype, steps, 'max-autotune', 140))


def predict(bench, model, batch, dtype, *more):
    """The step that a plan predicts, in milliseconds."""
    said = bench.run([bench.fathom, 'plan', model, '--batch', batch, '--gpus', 'auto', *flags(dtype), '--json', *bench.sizes.net, *more])
    seconds = answer(said)['step_seconds']
    return 'unknown' if seconds is None else f'{1000 * seconds:.2f} ms'


def part_kernels(bench):
    """Where the time goes, and what a plan predicts that knows it."""
    model, batch, steps = bench.sizes.kernels
    trace = bench.out / 'logs' / 'kernels.trace'
    trace.unlink(missing_ok=True)
    dtype = 'f16'
    bench.train(model, *flags(dtype), '--repeat-batch', '--schedule', 'constant', '--trace', trace, '--time-every', 2, batch=batch,
                steps=steps)
    for by in ('kind', 'kernel'):
        try:
            said = bench.run([bench.fathom, 'trace', 'stats', trace, '--by', by, '--limit', 20])
            bench.write(f'{model}, batch {batch}, {dtype}, by {by}:\n\n```\n{said.strip()}\n```')
        except Failed as failure:
            if by == 'kind':
                raise
            bench.write(f'\nby kernel: {failure}')
    before, after = (predict(bench, model, batch, dtype, *more) for more in ([], ['--costs', trace]))
    bench.write(f'\na step, predicted from the catalogue: {before}; from the times of these ops (`--costs`): {after}')
