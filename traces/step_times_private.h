/* Inside the trace room: what step_times.c gathers and step_parts.c divides. */
#ifndef FATHOM_STEP_TIMES_PRIVATE_H
#define FATHOM_STEP_TIMES_PRIVATE_H

#include <string.h>

#include "step_times.h"
#include "stream.h"
#include "tables.h"

#define NO_SLOT  UINT32_MAX
#define NO_GROUP UINT32_MAX

struct step_time {
    uint64_t number, begin_ns, end_ns; /* end 0: not seen */
    uint32_t slot;                     /* of those that are looked at */
    bool timed;
};

struct step_list {
    struct step_time *steps;
    size_t count, capacity, hint;
};

/* When a device or its host does something. */
struct stretch {
    uint64_t begin_ns, end_ns;
    enum step_part part;
};

struct stretch_list {
    struct stretch *stretches;
    size_t count, capacity;
    size_t sorted; /* so many are known to be in the order of begins */
};

/* Of the op or kernel table. */
struct entry {
    const char *layer, *kind, *pass; /* of ops */
    uint32_t group;
    bool copy;
};

struct entry_list {
    struct entry *entries;
    size_t count, capacity;
};

struct maker_device {
    struct step_list steps;
    struct entry_list ops, kernels;
    bool has_ops, has_kernels;
    bool has_stream; /* the last one, and its group */
    uint32_t stream, stream_group;
    struct stretch_list *slots; /* of the device, by slot */
    struct stretch_list host;
};

/* Readings in the range. */
struct gpu_readings {
    uint64_t clocks, states, held, held_bits;
    double clock_sum;
};

struct maker {
    enum summary_by by;
    struct step_range range;
    size_t slots;
    struct maker_device devices[TRACE_MOST_DEVICES];
    struct tables names; /* of groups */
    double *group_ns;    /* [group][slot] */
    size_t group_count, group_capacity;
    uint64_t from_ns, to_ns; /* of the range */
    struct gpu_readings gpus;
};

/* What the device and its host (in the order of begins, what is over before `from` left out) did in a step; the step before
 * ended at before_ns. *ns is the step's time, the parts add up to it. False when out of memory. */
bool step_times_divide(const struct stretch_list *device, const struct stretch_list *host, const struct step_time *step,
                       uint64_t before_ns, size_t *from, uint64_t *ns, uint64_t parts[STEP_PARTS]);
void step_times_sort(struct stretch_list *list);
/* What a span or a gap of the host is a part of; STEP_PARTS for one that is none. */
enum step_part step_times_host_part(const struct trace_event *event);

bool step_times_add_stretch(struct stretch_list *list, struct stretch stretch, struct error *err);
/* Sets each step's time and parts; `devices` ran it. */
bool step_times_divide_steps(struct maker *maker, struct step_times *times, const double *devices, struct error *err);

#endif
