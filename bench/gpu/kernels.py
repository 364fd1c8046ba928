#!/usr/bin/env python3
"""What the machine code of the GPU's kernels says of their speed, where there is no GPU: a table for docs/measurements.md.

  bench/gpu/kernels.py [build/trainer/cuda/kernels.fatbin] [--nvdisasm FOLDER]

Registers and local memory are the compiler's. Of each kernel's loops over vectors (of the one where they are fewest) the bytes
are counted that a thread asks for before it waits for any of them; times the threads that a multiprocessor of an H200 has of
it, they are what is under way there. Its memory wants 4.8 TB/s x about 1 us / 132 = 36 KB (Little's law). It needs NVIDIA's
cuobjdump and nvdisasm: of a toolkit, or the wheels nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm (FOLDER is where they are).
Exit code 1 where a kernel has local memory."""
import argparse
import os
import re
import shutil
import subprocess
import sys

ARCHS = (80, 90, 100)
MULTIPROCESSORS, REGISTERS, THREADS, BLOCK = 132, 65536, 2048, 256  # an H200's; kernels.h
SHARED = {80: 164 << 10, 90: 228 << 10, 100: 228 << 10}
SUMMING, PIECES = 256, 480  # blocks at most: ops.c, kernels.h
COLUMNS_SHARED = 16 << 10   # CUDA_COLUMNS_SHARED of 8 channels

# A family's blocks at most (None: 8 a multiprocessor), shared memory that the launch gives it, and what it moves of the least
# that its op could: each operand read once, each result written once.
COLUMNS = (1024, 0, '1')
FAMILIES = {
    'bn_sums': (SUMMING, COLUMNS_SHARED, '1; 1.5 with bn_apply behind it'),
    'bn_apply': COLUMNS,
    'bn_whole': (SUMMING, COLUMNS_SHARED, '1.5, the second reading from L2'),
    'bn_backward_sums': (SUMMING, COLUMNS_SHARED, '1; 1.67 with bn_backward_apply behind it'),
    'bn_backward_apply': COLUMNS,
    'bn_backward_whole': (SUMMING, COLUMNS_SHARED, '1.67, the second reading from L2'),
    'gradient_check': (PIECES, 0, '1'), 'gradient_norm': (PIECES, 0, '1'), 'update': (PIECES, 0, '1'),
    'widen_pieces': (PIECES, 0, '1'),
    'maxpool': (None, 0, '1, neighbours from L1 and L2'), 'maxpool_backward': (None, 0, '1, neighbours from L1 and L2'),
}
LOOPS_OF_DEFINITIONS = ('conv', 'conv_bias_gradient', 'conv_data_gradient', 'conv_kept_gradient', 'conv_weight_gradient')
NOT_OF_TENSORS = ('set_step', 'loss_scale_update', 'bn_finalize', 'bn_backward_finalize', 'softmax_loss',
                  'softmax_loss_backward', 'product')


class Tools:
    def __init__(self, folder):
        places = [folder] if folder else [*os.environ['PATH'].split(':'),
                                          f"{os.environ.get('CUDA_HOME', '/usr/local/cuda')}/bin"]
        self.path = ':'.join(places)
        self.cuobjdump = shutil.which('cuobjdump', path=self.path)
        if not self.cuobjdump or not shutil.which('nvdisasm', path=self.path):
            sys.exit('kernels.py: cuobjdump and nvdisasm are not here: `pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm`, --nvdisasm FOLDER')

    def ask(self, what, arch, image):
        environment = {**os.environ, 'PATH': f"{self.path}:{os.environ['PATH']}"}
        return subprocess.run([self.cuobjdump, what, '-arch', f'sm_{arch}', image], check=True, capture_output=True, text=True,
                              env=environment).stdout


def resources(text):
    """Of each kernel registers, bytes of shared memory, bytes of local memory."""
    found = re.findall(r'Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)', text)
    return {name: (int(registers), int(shared), int(stack) + int(local)) for name, registers, stack, shared, local in found}


def functions(text):
    """Of each kernel its instructions, as (address, words)."""
    code, name = {}, None
    for line in text.splitlines():
        if begins := re.match(r'\s*Function : (\w+)', line):
            name = begins.group(1)
            code[name] = []
        elif name and (one := re.match(r'\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?(.*?)\s*;', line)):
            code[name].append((int(one.group(1), 16), one.group(2)))
    return code


def innermost(code):
    """Loops that have none inside, as (first, last) address."""
    loops = set()
    for at, words in code:
        if (jump := re.match(r'BRA\b.*\b0x([0-9a-f]+)', words)) and int(jump.group(1), 16) < at:
            loops.add((int(jump.group(1), 16), at))
    return [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]


def width(words):
    """Bytes that an instruction moves for a thread."""
    return {'128': 16, '64': 8, 'U16': 2, 'S16': 2, 'U8': 1,
            'S8': 1}.get((re.findall(r'\.(128|64|[US]16|[US]8)\b', words) or [''])[0], 4)


def registers_read(words):
    operands = words.split(',')
    read = operands if words.startswith(('ST', 'RED', 'ATOM')) else operands[1:]
    found = {int(register) for operand in read for register in re.findall(r'\bR(\d+)', operand)}
    if words.startswith('STG') and (stored := re.search(r'R(\d+)\s*$', words)):
        found |= set(range(int(stored.group(1)), int(stored.group(1)) + max(1, width(words) // 4)))
    return found


def bytes_under_way(code, first, last):
    """Most bytes that a thread has asked global memory for before it waits, and the widest load. What other blocks have written
    (STRONG) does not count."""
    waiting, most, widest = {}, 0, 0  # register: (when it was asked for, bytes)

    def count():
        return sum(dict(waiting.values()).values())

    for at, words in code:
        if not first <= at <= last:
            continue
        wanted = [waiting[register][0] for register in registers_read(words) if register in waiting]
        if wanted:  # loads come back in order
            most = max(most, count())
            waiting = {register: load for register, load in waiting.items() if load[0] > max(wanted)}
        if words.startswith('LDG') and 'STRONG' not in words and (to := re.match(r'LDG\S*\s+R(\d+)', words)):
            widest = max(widest, width(words))
            for register in range(int(to.group(1)), int(to.group(1)) + max(1, width(words) // 4)):
                waiting[register] = (at, width(words))
    return max(most, count()), widest


def blocks_at_a_time(arch, registers, shared, given):
    """How many blocks a multiprocessor runs."""
    of_a_warp = -(-registers * 32 // 256) * 256
    by_shared = SHARED[arch] // max(1, shared + given + (1024 if arch == 80 else 0))
    return min(REGISTERS // (of_a_warp * BLOCK // 32), by_shared, THREADS // BLOCK)


def row_of(name, uses, code):
    family = re.sub(r'_(f32|f16|bf16)$', '', name)
    most, given, moved = FAMILIES.get(family, (None, 0, '1'))
    registers, shared, _ = uses[90][name]
    running = blocks_at_a_time(90, registers, shared, given)
    here = min(running, most / MULTIPROCESSORS) if most else running
    loops = [bytes_under_way(code, *loop) for loop in innermost(code)]
    widest = max((load for _, load in loops), default=0)
    thread = min((most for most, load in loops if load == widest), default=0)
    local = max(uses[arch][name][2] for arch in ARCHS)
    return [name, ' / '.join(str(uses[arch][name][0]) for arch in ARCHS), f'{100 * running * BLOCK // THREADS} %', widest or '',
            thread or '', f'{thread * here * BLOCK / 1024:.0f}' if thread else '', moved, local]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('image', nargs='?', default='build/trainer/cuda/kernels.fatbin')
    parser.add_argument('--nvdisasm', metavar='FOLDER')
    parser.add_argument('--all', action='store_true', help='also f32, the loops of definitions and what is of single numbers')
    options = parser.parse_args()
    tools = Tools(options.nvdisasm)
    uses = {arch: resources(tools.ask('-res-usage', arch, options.image)) for arch in ARCHS}
    code = functions(tools.ask('-sass', 90, options.image))
    rows = [row_of(name, uses, code[name]) for name in sorted(code)]
    print('| kernel | registers, sm_80 / 90 / 100 | occupancy | widest load, bytes | under way: a thread, bytes | a multiprocessor, KiB | moved / least |')
    print('|---|---|---|---|---|---|---|')
    for row in rows:
        left_out = row[0].endswith('_bf16') or row[0] in LOOPS_OF_DEFINITIONS or row[0].rsplit('_f', 1)[0] in NOT_OF_TENSORS
        if options.all or not (left_out or row[0].endswith('_f32')):
            print('| ' + ' | '.join(str(cell) for cell in row[:-1]) + ' |')
    local = [f'{row[0]} ({row[-1]} bytes)' for row in rows if row[-1]]
    print(f'\n{len(rows)} kernels; in local memory: {", ".join(local) or "none"}')
    return 1 if local else 0


if __name__ == '__main__':
    sys.exit(main())
