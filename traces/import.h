/* Traces of PyTorch's profiler (Kineto), as traces of ours. */
#ifndef FATHOM_IMPORT_H
#define FATHOM_IMPORT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "errors.h"

struct trace_import_stats {
    uint64_t json_bytes, events;    /* read, once */
    uint64_t kernels, copies;       /* of the GPUs; copies and fills */
    uint64_t owned;                 /* of these, the ones whose op is known */
    uint64_t untimed;               /* left out: complete events whose ts or dur is missing, negative or beyond 63 bits */
    uint64_t nowhere;               /* left out: GPU events that tell no device or no stream */
    uint64_t ops, steps, devices;
    uint64_t bytes;                 /* of the trace */
};

/* Reads a Chrome trace of PyTorch's profiler, plain or gzip, once, and writes it to `out` as a trace: kernels by device and
 * stream under the innermost op of PyTorch that launched them (correlation, the launch's thread; else External id), ops under
 * their modules (those of the backward pass by the Sequence number of the forward op), ProfilerStep# as steps, what the GPU
 * waited for. Device and stream are those of the args, else pid and tid where they are numbers; what tells none is left out.
 * Without GPU events the outermost ops of each thread are the ops of device 0. Memory does not grow with the file: its events
 * wait, 40 bytes each or less, in files without names beside `out`. A pipe will do (/dev/stdin). ERROR_INPUT when the file is
 * none or holds neither. What `stop` (may be NULL) ends is ERROR_FAILED. */
bool trace_import(const char *path, const char *out, const volatile sig_atomic_t *stop, struct trace_import_stats *stats,
                  struct error *err);

#endif
