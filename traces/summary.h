/* A roll-up's ops or kernels put together by name: the tables of `fathom trace`. */
#ifndef FATHOM_SUMMARY_H
#define FATHOM_SUMMARY_H

#include "rollup.h"

enum summary_by {
    SUMMARY_OP,
    SUMMARY_LAYER,
    SUMMARY_KIND,
    SUMMARY_PASS,
    SUMMARY_UNIT,   /* "stage2/unit17" of "stage2/unit17/conv2": a layer's name without its last part */
    SUMMARY_STAGE,  /* "stage2": its first part */
    SUMMARY_KERNEL, /* kernels by name */
    SUMMARY_STREAM  /* kernels by device and stream */
};
/* Whether it is kernels that are put together, not ops. */
static inline bool summary_is_of_kernels(enum summary_by by) { return by == SUMMARY_KERNEL || by == SUMMARY_STREAM; }

/* What an op or a kernel is put under. */
struct summary_key {
    const char *layer, *kind, *pass; /* "" where no op is known: then the group is SUMMARY_NO_OP */
    const char *kernel;
    uint32_t device, stream;
};
#define SUMMARY_NO_OP "(no op)"
#define SUMMARY_OF_RUN "(the run's own: uploads, step block, metrics)" /* of pass TRACE_RUN_PASS */
/* By op: "layer kind", with the pass where the layer runs twice. Cut to `size`. */
void summary_format_name(enum summary_by by, const struct summary_key *key, char *out, size_t size);
#define SUMMARY_NAME_MOST 4096

enum summary_sort {
    SUMMARY_TOTAL,
    SUMMARY_INSTANCES,
    SUMMARY_MEAN,
    SUMMARY_MEDIAN,
    SUMMARY_LEAST,
    SUMMARY_MOST,
    SUMMARY_DEVIATION,
    SUMMARY_NAME
};
/* Words of --by and --sort; ERROR_INPUT names those that there are, and the nearest. */
bool summary_parse_by(const char *word, enum summary_by *by, struct error *err);
bool summary_parse_sort(const char *word, enum summary_sort *sort, struct error *err);

struct summary_row {
    char *name;   /* owned by the summary */
    double share; /* of all time, 0..1 */
    uint64_t total_ns, instances, least_ns, most_ns;
    double mean_ns, median_ns, deviation_ns;
    double step_ns;              /* one step on one device: the sum of the ops' medians */
    uint64_t flops, bytes_moved; /* of one step on one device, as planned; 0 = none, or unknown: of kernels they are known
                                  * where each is the only one of its op */
};

struct summary {
    struct summary_row *rows; /* largest first, names from A to Z; rows of ops never timed are left out */
    size_t count;
    uint64_t total_ns, instances;
};

/* Devices are put together. Kernels that no op owns are a row of their own, those of the run another. Take a zeroed object; on failure (ERROR_MEMORY) it stays so. */
bool summary_make(const struct rollup *rollup, enum summary_by by, enum summary_sort sort, struct summary *summary,
                  struct error *err);
void summary_finish(struct summary *summary);
/* NULL when there is none of that name. */
const struct summary_row *summary_find(const struct summary *summary, const char *name);

/* Steps of device 0 that ended: their number, and percentiles of their times (0 when none did). */
struct summary_steps {
    uint64_t count;
    double median_ns, p99_ns;
};
bool summary_time_steps(const struct rollup *rollup, struct summary_steps *steps, struct error *err);

#endif
