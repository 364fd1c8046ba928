/* How sure a plan's figures are: the arena is exact, what lies outside it is modelled. */
#ifndef FATHOM_CERTAINTY_H
#define FATHOM_CERTAINTY_H

#include "plan.h"

enum certainty_verdict {
    CERTAINTY_FITS,  /* with the models' error, too */
    CERTAINTY_CLOSE, /* nearer to the limit than their error, on either side: plan->fits says on which */
    CERTAINTY_UNFIT  /* less their error, too */
};
/* "fits", "close", "does-not-fit". */
const char *certainty_name(enum certainty_verdict verdict);

/* The error of what was measured so far (docs/measurements.md). Of a process on a CPU with oneDNN: runs were within 0.5 % of
 * their plans, and a test holds them to 3 %. Of GPUs nothing was measured: figures of CUDA's context are published from 300 MB
 * (pytorch issue 107667) to 400 (109888), and one communicator of NCCL was seen with several times what its channels' buffers
 * come to (nccl issue 864). */
#define CERTAINTY_CPU_ERROR     0.03
#define CERTAINTY_CONTEXT_ERROR (1.0 / 3)
#define CERTAINTY_COMM_ERROR    1.0

/* Of one device. */
struct certainty {
    uint64_t exact_bytes;    /* the arena: bytes that are proved and executed as they stand */
    uint64_t modelled_bytes; /* of the peak: context, libraries, prepared ops, buffers of communication */
    uint64_t error_bytes;    /* by which the peak may be wrong */
    bool measured;           /* against runs on such devices */
    enum certainty_verdict verdict;
};

struct certainty certainty_of_device(const struct plan *plan, size_t device);
/* The worst of all devices, and of those that of the one with the least left. */
struct certainty certainty_of(const struct plan *plan);

#endif
