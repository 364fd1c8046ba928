/* The GPUs of this host, as CUDA sees them, for commands that plan for them, train on them or list them. */
#ifndef FATHOM_HOST_GPUS_H
#define FATHOM_HOST_GPUS_H

#include "machine.h"
#include "plan.h"

struct host_gpus {
    size_t count;       /* 0: none that can be used; `fault` says why when there may be some */
    struct error fault;
    struct {
        char name[256], bus_id[32], uuid[64];
        uint64_t memory_bytes, free_bytes; /* free before this process has a context there */
        bool has_free;                     /* false: free_bytes is unknown, as the GPU is another process's alone */
        uint32_t holders, holder;          /* processes there, and the id of the one that holds most; 0 = none known */
        uint64_t holder_bytes;             /* UINT64_MAX = not known */
        uint32_t capability, processors;
    } gpus[HOST_MOST_GPUS];
};

/* Takes nothing of their memory; a quarter of a second for each GPU. */
void host_gpus_find(struct host_gpus *found);
/* Whether looking may find one: a driver is there. */
bool host_gpus_possible(void);

/* machine_parse, in which `auto` are the first `most` GPUs that CUDA sees (found; NULL = looked for here), else what
 * machine_parse finds. now: for a run at once, on as much as is free of them. */
bool host_gpus_parse(const char *gpus, const struct host_gpus *found, size_t most, bool now, struct machine *machine,
                     struct error *err);
/* The catalogue's name of one, or its own; borrowed. */
const char *host_gpus_name(const struct host_gpus *found, size_t i);

/* "process 1234 holds 12.0 GiB, 2 others the rest", into out; empty where none is known. Returns out. */
#define HOST_GPUS_HOLDERS 120
char *host_gpus_holders(const struct host_gpus *found, size_t i, char out[HOST_GPUS_HOLDERS]);

/* Whether so many devices of a plan for GPUs, from `first` on, can run on those that are here, from GPU `ordinal` on.
 * ERROR_INPUT in one sentence: what is missing, and which plan would do. */
bool host_gpus_run(const struct host_gpus *found, const struct plan *plan, size_t first, size_t count, size_t ordinal,
                   struct error *err);

#endif
