/* A trace read into what people ask of it: per op, per layer, per step. Fed by the reader, shown by the dashboard and by
 * `fathom trace stats`; live and replay are the same path. */
#ifndef FATHOM_ROLLUP_H
#define FATHOM_ROLLUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "rollup_step.h"

#define ROLLUP_MOST_DEVICES 64
#define ROLLUP_BUCKETS 128 /* of the histogram of op times, for percentiles */
#define ROLLUP_OCTAVE 32   /* steps that a doubling of the time is cut into, evenly */

/* How many times fell where: bucket i counts steps [from + i, from + i + 1) << shift. There are buckets for what has been seen
 * alone, ROLLUP_BUCKETS at most: with more the shift grows. */
struct rollup_histogram {
    uint32_t *buckets; /* owned by the rollup; NULL = none, or memory was short and their times are in none */
    uint16_t from;
    uint8_t shift, size;
};

/* What each time touches lies in one line of memory, and in its buckets. */
struct rollup_op {
    uint64_t count, total_ns, least_ns, most_ns, last_ns;
    double sum_of_squares;           /* of seconds */
    struct rollup_histogram histogram;
    uint32_t id, device;
    const char *layer, *kind, *pass; /* owned by the rollup */
    uint64_t flops, bytes_moved, live_bytes;
    bool copy;                       /* moves between the device and its host */
};

/* Kernels of one entry of the kernel table on one stream. */
struct rollup_kernel {
    uint32_t op, stream;    /* op: or TRACE_OF_RUN, or TRACE_NO_OWNER: nobody owns it */
    struct rollup_op times; /* id and device are the kernel's; layer, kind and pass those of the op that owns it, or "" */
    const char *name;       /* owned by the rollup */
    enum trace_work work;
    uint32_t grid[3], block[3], registers; /* 0 = unknown */
    uint64_t bytes;         /* shared memory of a block; of copies and fills what they move */
};

/* What lies in a device's arena, or in its host memory, and between which ops. */
struct rollup_tensor {
    const char *layer, *role, *class_name; /* owned by the rollup */
    bool host;
    uint64_t offset, bytes;
    uint32_t first, last; /* ops, by their ids */
};

/* Another clock beside the run's: the first and the last time that both were read. */
struct rollup_clock {
    uint64_t count; /* 0 = never */
    uint64_t first_ns, first_other_ns, last_ns, last_other_ns;
};

struct rollup_counter {
    const char *name, *unit; /* owned by the rollup; NULL = no counter of this number */
    struct rollup_value host, devices[ROLLUP_MOST_DEVICES];
};

struct rollup_device {
    char name[48];
    uint64_t memory_bytes, planned_bytes, arena_bytes;
    uint64_t used_bytes[TRACE_SAMPLES];   /* last sample */
    bool used_known[TRACE_SAMPLES];
    uint64_t peak_bytes[TRACE_SAMPLES];
    uint32_t images, classes;
    char class_names[16][24];
    uint64_t class_bytes[16];
    uint64_t gap_ns[TRACE_GAPS];
    uint64_t host_ns[TRACE_HOSTS];        /* what the thread that drives it did */
    char slot[32];                        /* which GPU of its host; "" = unknown */
    double peak_flops, peak_bandwidth;    /* what it does at most, operations and bytes of memory a second; 0 = unknown */
    struct rollup_clock clock;            /* that its times come from */
    struct rollup_tensor *tensors;        /* see rollup_tensors */
    size_t tensor_count, tensor_total, tensor_capacity;
    uint32_t tensors_like;                /* the device whose they are, + 1; 0 = unknown */
    bool ops_timed;                       /* ops were reported as such; else their times are sums of their kernels' */
    /* A step is its program's first ops, once for each micro-batch, and then the others. */
    uint32_t program_ops, body_ops;
    uint32_t micro_batches;               /* of the last step that was seen whole; 0 = unknown: none was */
};

/* Where the time of device 0's last timed steps went: means over at most ROLLUP_LAST of them. */
#define ROLLUP_LAST 64
struct rollup_parts {
    uint32_t steps;             /* 0 = unknown */
    double ns;                  /* of a step; from where its images were loaded */
    double part_ns[STEP_PARTS]; /* add up to ns */
};

struct rollup_mark { uint64_t ns; char text[80]; };

struct rollup {
    bool has_run;
    char model[48], dataset[24], backend[24], host[64], command[256];
    uint32_t batch, device_count;
    uint64_t iterations, parameters;
    uint64_t pid;                    /* of the run's process on that host; 0 = unknown */
    uint64_t pid_space;              /* where that number counts (process.h); 0 = unknown */
    bool has_origin;                 /* what follows is known: which process of the run wrote the trace */
    uint32_t rank, ranks, first_device, own_devices;
    char origin_host[64];
    struct rollup_clock wall;
    struct rollup_device devices[ROLLUP_MOST_DEVICES];
    struct rollup_op *ops;
    size_t op_count;
    struct rollup_kernel *kernels;
    size_t kernel_count;
    struct rollup_counter *counters;
    size_t counter_count;
    struct rollup_step *steps;       /* in order, thinned evenly above 100,000 */
    size_t step_count;
    uint32_t unreported;             /* metrics that no step has, a bit each */
    struct rollup_mark *marks;
    size_t mark_count;
    struct rollup_parts parts;       /* of a trace that is followed */
    uint64_t events, dropped, lost_timestamps, unattributed, damaged_blocks;
    uint64_t lost_records;           /* of `dropped`, what a profiler missed */
    uint64_t first_ns, last_ns;
    uint64_t wall_offset_ns;         /* wall time = clock + this */
    bool ended;                      /* the run closed its trace */
    void *own;
};

struct trace_follower; /* a trace file being read, perhaps while it grows */

/* ERROR_INPUT when missing or not a trace. */
bool trace_follow(const char *path, struct trace_follower **follower, struct error *err);
/* Only steps, ops and kernels from that time on, up to that; before anything is taken in. */
void trace_follow_window(struct trace_follower *follower, uint64_t from_ns, uint64_t to_ns);
/* Takes in what has been written since (at most most_events, 0 = all) and returns how many events in *read. Damaged blocks
 * are counted and skipped. */
bool trace_follow_more(struct trace_follower *follower, uint64_t most_events, uint64_t *read, struct error *err);
/* How much of the file has been taken in, 0 to 1. */
double trace_follow_part(const struct trace_follower *follower);
const struct rollup *trace_follow_rollup(const struct trace_follower *follower);
/* Whether both read the trace of one run, from the same begin. */
bool trace_follow_same(const struct trace_follower *a, const struct trace_follower *b);
void trace_unfollow(struct trace_follower *follower); /* takes NULL */

/* Steps that have ended: the number of the last one. */
uint64_t rollup_steps_done(const struct rollup *rollup);
/* What was read last of it (enum trace_host_counter); NAN = it never was. */
double rollup_host_counter(const struct rollup *rollup, uint32_t counter);
/* Steps of each device whose kernels or ops were recorded, the last one perhaps not to its end; 0 = unknown. */
void rollup_timed_steps(const struct rollup *rollup, uint64_t steps[ROLLUP_MOST_DEVICES]);
/* How often an op runs in a step of its device, which has so many timed ones. 0 = unknown: until a step has been seen whole, or
 * where only counts tell, until there are so many steps that one that is still running makes no difference. */
uint64_t rollup_runs_a_step(const struct rollup *rollup, const struct rollup_op *op, uint64_t steps);
/* A step that has ended, by its number; NULL = it is not there, or thinned out. Borrowed. */
const struct rollup_step *rollup_ended_step(const struct rollup *rollup, uint64_t step);
/* The tensors of a device, once all of its table has come; NULL and 0 before. */
const struct rollup_tensor *rollup_tensors(const struct rollup *rollup, uint32_t device, size_t *count);
/* Most bytes of the arena that are taken at one op, as planned, and that op; 0 where it is unknown. Tensors may share bytes, so
 * that their sum may be more. */
uint64_t rollup_arena_peak(const struct rollup *rollup, uint32_t device, uint32_t *op);
/* The largest tensors of the arena that are there at an op, largest first, at most so many; returns how many. */
size_t rollup_tensors_at(const struct rollup *rollup, uint32_t device, uint32_t op, const struct rollup_tensor *largest[],
                         size_t most);
/* How much faster the other clock runs, as a fraction; NAN = unknown: within a second of readings. */
double rollup_clock_drift(const struct rollup_clock *clock);
/* Percentile (0..1) of an op's times from its histogram, in ns; 0 for an op never timed. Off by at most 2 % when all times
 * lie within a factor of 15, 5 % within 200, 10 % within 40,000. */
uint64_t rollup_percentile_ns(const struct rollup_op *op, double fraction);

/* Times of several ops together: where their histograms meet, each bucket is spread evenly over its steps. Begins
 * zeroed; the ops must stay as they are while it is in use. */
#define ROLLUP_STEPS (64 * ROLLUP_OCTAVE)
struct rollup_times {
    const struct rollup_op *first; /* while it is the only one, its own histogram is asked */
    size_t ops;
    uint64_t held, least_ns, most_ns; /* held: times in buckets */
    double steps[ROLLUP_STEPS];
};
void rollup_times_add(struct rollup_times *times, const struct rollup_op *op);
/* As rollup_percentile_ns, over the times of all ops. */
uint64_t rollup_times_percentile_ns(const struct rollup_times *times, double fraction);

#endif
