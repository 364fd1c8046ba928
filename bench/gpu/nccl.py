#!/usr/bin/env python3
"""NCCL's memory and its sums in a CUDA graph, by a communicator of one rank: what trainer/cuda does with several. Says in JSON
which version it is, what memory of so many bytes takes of the GPU, and that what was summed is there. Exit code 1 with a
sentence where a call fails. Two GPUs would show more: one rank adds nothing up."""
import ctypes
import glob
import json
import os
import struct
import sys
import time

SIZES = (1 << 20, 41 << 20)  # a little; ResNet-1001's gradients
TYPES = {'f32': (7, 4), 'f16': (6, 2), 'bf16': (9, 2)}  # ncclFloat32, ncclFloat16, ncclBfloat16, and their bytes
PATTERN = {4: struct.pack('f', 1.5), 2: b'\x00\x3c'}
UNDEFINED = -(1 << 31)


class Config(ctypes.Structure):
    """ncclConfig_t as of 2.18, which later ones take."""
    _fields_ = [('size', ctypes.c_size_t), ('magic', ctypes.c_uint), ('version', ctypes.c_uint), ('blocking', ctypes.c_int),
                ('cga', ctypes.c_int), ('least', ctypes.c_int), ('most', ctypes.c_int), ('net', ctypes.c_void_p),
                ('share', ctypes.c_int)]


class Id(ctypes.Structure):
    _fields_ = [('bytes', ctypes.c_char * 128)]


def load(name):
    home = os.environ.get('CUDA_HOME', '/usr/local/cuda')
    for path in [*glob.glob(f'{home}/lib*/{name}'), *glob.glob(f'{home}/../nccl/lib/{name}'), name]:
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise SystemExit(f'{name} cannot be loaded')


def check(status, what):
    if status != 0:
        raise SystemExit(f'{what}: {status}')


class Rank:
    def __init__(self):
        self.cuda, self.nccl = load('libcudart.so.13'), load('libnccl.so.2')
        self.comm, self.stream = ctypes.c_void_p(), ctypes.c_void_p()
        version, unique = ctypes.c_int(), Id()
        check(self.nccl.ncclGetVersion(ctypes.byref(version)), 'ncclGetVersion')
        self.version = version.value
        check(self.cuda.cudaSetDevice(0), 'cudaSetDevice')
        check(self.cuda.cudaStreamCreateWithFlags(ctypes.byref(self.stream), 1), 'a stream')
        check(self.nccl.ncclGetUniqueId(ctypes.byref(unique)), 'ncclGetUniqueId')
        config = Config(ctypes.sizeof(Config), 0xcafebeef, 21800, 0, UNDEFINED, UNDEFINED, UNDEFINED, None, UNDEFINED)
        self.finish(self.nccl.ncclCommInitRankConfig(ctypes.byref(self.comm), 1, unique, 0, ctypes.byref(config)),
                    'a communicator')

    def finish(self, status, what):
        """A call that does not block has ended."""
        state, end = ctypes.c_int(status), time.monotonic() + 30
        while state.value == 7 and time.monotonic() < end:
            check(self.nccl.ncclCommGetAsyncError(self.comm, ctypes.byref(state)), what)
            time.sleep(0.001)
        check(state.value, what)

    def free_bytes(self):
        left, whole = ctypes.c_size_t(), ctypes.c_size_t()
        check(self.cuda.cudaMemGetInfo(ctypes.byref(left), ctypes.byref(whole)), 'cudaMemGetInfo')
        return left.value

    def take(self, size):
        """Memory that the communicator knows, and what it took."""
        memory, handle, before = ctypes.c_void_p(), ctypes.c_void_p(), self.free_bytes()
        check(self.nccl.ncclMemAlloc(ctypes.byref(memory), ctypes.c_size_t(size)), f'ncclMemAlloc of {size} bytes')
        taken = before - self.free_bytes()
        self.finish(self.nccl.ncclCommRegister(self.comm, memory, ctypes.c_size_t(size), ctypes.byref(handle)),
                    'ncclCommRegister')
        return memory, handle, taken

    def record(self, memory, count, dtype):
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        check(self.cuda.cudaStreamBeginCapture(self.stream, 1), 'a capture')  # of this thread
        self.finish(self.nccl.ncclAllReduce(memory, memory, ctypes.c_size_t(count), dtype, 0, self.comm, self.stream),
                    'a sum in a capture')
        check(self.cuda.cudaStreamEndCapture(self.stream, ctypes.byref(graph)), 'the end of a capture')
        check(self.cuda.cudaGraphInstantiate(ctypes.byref(executable), graph, ctypes.c_ulonglong(0)), 'a graph')
        return graph, executable

    def sum(self, memory, size, dtype, width):
        """Filled, replayed twice, read."""
        host, number = ctypes.create_string_buffer(size), PATTERN[width]
        ctypes.memmove(host, number * (size // width), size)
        graph, executable = self.record(memory, size // width, dtype)
        check(self.cuda.cudaMemcpyAsync(memory, host, ctypes.c_size_t(size), 4, self.stream), 'a copy')
        for _ in range(2):
            check(self.cuda.cudaGraphLaunch(executable, self.stream), 'a replay')
        ctypes.memset(host, 0, size)
        check(self.cuda.cudaMemcpyAsync(host, memory, ctypes.c_size_t(size), 4, self.stream), 'a copy')
        check(self.cuda.cudaStreamSynchronize(self.stream), 'the sums')
        check(self.cuda.cudaGraphExecDestroy(executable), 'a graph')
        check(self.cuda.cudaGraphDestroy(graph), 'a graph')
        if host.raw[:size] != number * (size // width):
            raise SystemExit('what was summed over one rank is not what was there')

    def give(self, memory, handle):
        check(self.nccl.ncclCommDeregister(self.comm, handle), 'ncclCommDeregister')
        check(self.nccl.ncclMemFree(memory), 'ncclMemFree')

    def end(self):
        self.finish(self.nccl.ncclCommFinalize(self.comm), 'ncclCommFinalize')
        check(self.nccl.ncclCommDestroy(self.comm), 'ncclCommDestroy')
        check(self.cuda.cudaStreamDestroy(self.stream), 'a stream')


def main():
    rank, taken = Rank(), {}
    for size in SIZES:
        memory, handle, taken[size] = rank.take(size)
        for dtype, width in TYPES.values():
            rank.sum(memory, size, dtype, width)
        rank.give(memory, handle)
    rank.end()
    print(json.dumps({'version': rank.version, 'types': list(TYPES), 'taken_bytes': taken}))


sys.exit(main())
