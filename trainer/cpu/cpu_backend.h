/* Virtual devices on this host: the headless backends, always built.
 *
 * cpu_backend runs convolutions, fully connected layers and pools on oneDNN and everything else on vectorised loops of
 * its own; cpu_reference_backend runs every op as a naive loop. Both are deterministic: the same plan gives the same
 * bits on every run with the same number of threads. Launches have finished when they return.
 *
 * A device uses at most `threads` threads, of the one that drives it (crew.h). Average pools count the padding, as
 * Caffe and PyTorch do. A label outside [0, classes) marks an image that only fills up a batch: it has no loss, no
 * gradient and is not counted. Dropout draws from (seed, step, micro-batch, op, device).
 *
 * Activations may have 16 bits in memory; every op computes in f32 and rounds its results to nearest even. */
#ifndef FATHOM_CPU_BACKEND_H
#define FATHOM_CPU_BACKEND_H

#include "backend.h"

extern const struct backend cpu_backend;
extern const struct backend cpu_reference_backend;

/* For benchmarks: the library's name of the implementation behind a prepared op; "own" where it is a loop of ours. */
const char *cpu_implementation(const struct prepared *prepared);

#endif
