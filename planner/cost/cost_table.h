/* What the ops of a run really took: the times of traces, by what an op is and by the shapes it works on, for plans of
 * any model, depth and batch on the same sort of device.
 *
 * A time here is from the start of an op to the start of the next: the op's own, and its share of what the steps took
 * beside their ops (launching, waiting, data). Where a run tells kernels, an op takes what its kernels took and the gaps
 * after them; what a step takes once, however deep the net is, stands apart (cost_table_step_seconds). */
#ifndef FATHOM_COST_TABLE_H
#define FATHOM_COST_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "machine.h"
#include "roofline.h"

/* One op of a run, as in the trace's op table. */
struct cost_sample {
    const char *layer, *kind, *pass;
    uint64_t flops, bytes_moved;
    double seconds;     /* of one run, the median; 0 = never timed */
    double runs;        /* in a step; with kernels alone, as is what follows */
    double kernels;     /* that one run starts; 0: another op's kernels do its work */
    const char *engine; /* of those the one that takes longest; NULL = unknown */
};

struct cost_run {
    const char *name; /* of the file, for messages and reports */
    const char *model, *dataset;
    const char *device; /* the name that its plan gave it */
    bool on_cpu;        /* the times are the host's, whatever device the plan was for */
    uint32_t devices;
    uint32_t images;                   /* of a step on the device that the samples are of */
    const struct cost_sample *samples; /* of one device */
    size_t count;
    double step_seconds; /* the median; 0 = unknown, then times beside the ops are taken as none */
    bool has_kernels;    /* samples are sums of kernels */
    double gap_seconds;  /* with them: of a step, between kernels and in those that nobody owns */
};

/* An empty table, which the caller ends with cost_table_destroy (takes NULL); NULL when memory is short. */
struct cost_table *cost_table_create(struct error *err);
void cost_table_destroy(struct cost_table *table);

/* Learns from a run of any model, further batches from further runs. A trace does not hold the model's form (unit,
 * shortcut, stride): it is the one in whose graph most of the run's time is found, `like` first, of a run of the same
 * name and dataset. Of the run nothing is kept. ERROR_INPUT when the ops are not those of the model
 * named, nothing was timed, or a run before was on another device; ERROR_MEMORY. A failure leaves the table as it was.
 */
bool cost_table_learn(struct cost_table *table, const struct cost_run *run, const struct model_spec *like,
                      struct error *err);

/* Whether the times say something of a device: the host's of virtual devices, else those of a device of its name. */
bool cost_table_applies(const struct cost_table *table, const struct device_spec *device);
/* The runs' files, ", "-separated, and their device. */
const char *cost_table_name(const struct cost_table *table);
const char *cost_table_device(const struct cost_table *table, uint32_t *devices);

/* What the run reached, where the device's speed is unknown: FLOPs per second of convolutions and matrix products,
 * bytes per second of all other ops. 0 when there were none. */
void cost_table_rates(const struct cost_table *table, double *flops_per_second, double *bytes_per_second);

/* The bus bandwidth (all_reduce.h) at which the runs' devices added up gradients, waiting for each other included; 0 when
 * they did not. */
double cost_table_link(const struct cost_table *table);

/* What a step takes beside its ops and the gaps between them, whatever the net: loading, the first launch, what the run
 * itself starts, the last wait. Of runs that tell kernels; else 0, and the ops have their share. */
double cost_table_step_seconds(const struct cost_table *table);

/* Where a time comes from. */
enum cost_source {
    COST_ROOFLINE, /* no op of its kind was timed: the roofline, times what all ops took over theirs */
    COST_SCALED,   /* the roofline, times what ops of its kind took over theirs; the more alike, the more they count */
    COST_MEASURED, /* the same op on the same shapes, at this batch or another */
    COST_SOURCES
};

/* Of an op at the batch of its graph. Between and beyond the batches seen: a line when there are several, else
 * proportional to the images. Where one shape was run by several engines: as the one of the nearest batch. */
double cost_table_seconds(const struct cost_table *table, const struct cost_speed *speed, const struct graph *graph,
                          const struct op *op, enum cost_source *source);

#endif
