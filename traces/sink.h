/* Where a run reports what happens: implemented by the trace writer, by tests, or absent (NULL).
 *
 * Calls never block the run and never fail it: a sink that cannot go on counts what it drops. Any thread may call. Times
 * are clock_now_ns(). Steps count from 0; a step's metrics bear its number. */
#ifndef FATHOM_SINK_H
#define FATHOM_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trace_run {          /* once, first; strings are copied */
    const char *model;      /* "resnet-20" */
    const char *dataset;
    const char *backend;
    const char *host;
    const char *command;
    uint32_t batch;
    uint64_t iterations;
    uint64_t parameters;
    uint32_t devices;
    uint64_t pid;           /* of the run's process on that host; 0 = unknown */
    uint64_t pid_space;     /* where that number counts (process_space); 0 = unknown */
};

struct trace_device {       /* one per device */
    uint32_t device;
    const char *name;
    uint64_t memory_bytes;
    uint64_t planned_bytes; /* all that it will hold; what is to stay free is not in it */
    uint64_t arena_bytes;
    uint32_t images;
    const char *const *class_names; /* planned bytes by memory class */
    const uint64_t *class_bytes;
    uint32_t classes;
};

struct trace_op {           /* the op table: one per op of the plan's program; ids are positions in it */
    uint32_t id;
    uint32_t device;        /* programs may differ between devices; ids are per device */
    const char *layer;      /* "stage2/unit17/conv2" */
    const char *kind;       /* "conv", "bn_bwd" */
    const char *pass;       /* "forward", "recompute", "backward", "comm", "update", "offload", "fetch", "reconstruct" */
    uint64_t flops, bytes_moved;
    uint64_t live_bytes;    /* arena bytes live while it runs, as planned */
};

/* Which part of the run this trace is of: each process of a run writes its own. */
struct trace_origin {
    uint32_t rank, ranks;   /* 0 of 1: the only process */
    const char *host;
    uint32_t first_device, devices; /* that this process drives */
};

/* The tensor table: what lies in a device's arena, and when. Ids are positions in it. A device of the same plan as another one
 * has the same table. */
struct trace_tensor {
    const char *layer, *role; /* "stage2/unit17/conv2", "output.gradient" */
    const char *class_name;   /* of memory, as in trace_device; "kept" */
    bool host;                /* in the device's pinned host memory instead */
    uint64_t offset, bytes;
    uint32_t first, last;     /* ops of the op table between which it is there, inclusive */
};

/* The unit table: the net's units in the order of its forward pass. Ids are positions in it. */
struct trace_unit {
    const char *layer;            /* "stage2/unit17" */
    const char *output, *gradient; /* the tensors whose norms are taken: "stage2/unit17/add.output", "....output.gradient"; "" =
                                   * none is */
    uint64_t output_elements;     /* of a step on this device; 0 = unknown */
    uint64_t weight_elements;     /* of the weights of its convolutions and fully connected layers */
};
/* L2 norms: of the output, of the loss's gradient with respect to it, and of the gradient of its weights. */
enum trace_norm { NORM_OUTPUT, NORM_GRADIENT, NORM_WEIGHT_GRADIENT, TRACE_NORMS };

#define TRACE_NO_OWNER UINT32_MAX
#define TRACE_OF_RUN   (UINT32_MAX - 1) /* no op's, but the run's own: uploads, the step block, metrics and state */
#define TRACE_RUN_PASS "run"            /* the pass of such work */
#define TRACE_OF_HOST  UINT32_MAX

enum trace_work { WORK_KERNEL, WORK_COPY, WORK_FILL, TRACE_WORKS };
/* The kernel table: what ops start on their device. Ids are chosen by whoever reports, from 0 on each device and without
 * large gaps; a later entry of the same id replaces the earlier one. What runs at the same place of every step has one id and
 * what runs at two places has two (a node of a graph, or the n-th kernel of its name within an op; kernel_ids.h counts
 * them): a step is then the same sequence of ids every time, which is what makes a kernel take four bytes. */
struct trace_kernel {
    uint32_t id, device;
    uint32_t op;            /* of the op table; TRACE_OF_RUN; TRACE_NO_OWNER: nobody owns it, which is counted and shown */
    enum trace_work work;
    const char *name;       /* as people read it, demangled; "copy HtoD" */
    uint32_t grid[3], block[3]; /* all 0 = unknown, or none */
    uint32_t registers;     /* of a thread; 0 = unknown */
    uint64_t bytes;         /* WORK_KERNEL: shared memory of a block; else what is moved */
};
struct trace_kernel_time {
    uint32_t id, stream;    /* stream: any number */
    uint64_t begin_ns, end_ns; /* begin 0: the device lost it, which is counted */
};

/* Of GPUs, as profiler/nvml reports them. */
enum trace_gpu_counter {
    COUNTER_GPU_BUSY = 16, COUNTER_GPU_MEMORY_BUSY, COUNTER_GPU_MEMORY_USED, COUNTER_GPU_POWER, COUNTER_GPU_POWER_LIMIT,
    COUNTER_GPU_TEMPERATURE, COUNTER_GPU_CLOCK, COUNTER_GPU_MEMORY_CLOCK, COUNTER_GPU_THROTTLED, COUNTER_GPU_SENT,
    COUNTER_GPU_RECEIVED, COUNTER_GPU_SM_ACTIVE, COUNTER_GPU_OCCUPANCY, COUNTER_GPU_TENSOR_ACTIVE, COUNTER_GPU_DRAM_ACTIVE,
    COUNTER_GPU_LINKS_SENT, COUNTER_GPU_LINKS_RECEIVED, /* over all NVLinks */
    COUNTER_GPU_END
};
/* Ids that profiler/session.h reports; COUNTER_RECORDED_UNTIL: the last step, from 1, of those that somebody asked to record,
 * told when the first of them begins; COUNTER_COST_MOST: what timing costs at most, 97.5 times of 100, told with
 * METRIC_PROFILER_COST. */
enum trace_host_counter { COUNTER_PROCESS_MEMORY, COUNTER_PROCESS_CPU, COUNTER_RECORDED_UNTIL, COUNTER_COST_MOST };
#define TRACE_FIRST_COUNTER 16                                              /* of the others */

struct trace_counter {      /* the counter table; ids below 256 */
    uint32_t id;
    const char *name;       /* "SM activity" */
    const char *unit;       /* "%", "bytes", "W", "Hz" */
};

enum trace_host { HOST_LOAD, HOST_LAUNCH, HOST_WAIT, HOST_CHECKPOINT, HOST_EVALUATE, TRACE_HOSTS };
enum trace_loss { LOSS_RECORDS, /* that never came */ LOSS_TIMESTAMPS, /* that came without times */ TRACE_LOSSES };

enum trace_metric {
    METRIC_LOSS, METRIC_LEARNING_RATE, METRIC_IMAGES_PER_SECOND, METRIC_TRAIN_ERROR, METRIC_TEST_LOSS, METRIC_TOP1_ERROR,
    METRIC_TOP5_ERROR, METRIC_PROFILER_COST, /* fraction of the step */
    TRACE_METRICS
};
enum trace_sample { /* bytes in use */
    SAMPLE_PROCESS,
    SAMPLE_DEVICE,
    SAMPLE_ARENA,
    SAMPLE_BUT_CONTEXT, /* of the device, where what its context takes is not known: it is not in it */
    TRACE_SAMPLES
};
enum trace_gap { GAP_DATA, GAP_SYNC, GAP_CHECKPOINT, GAP_EVALUATE, TRACE_GAPS };

struct trace_sink {
    void *context;
    void (*run)(void *context, const struct trace_run *run);
    void (*device)(void *context, const struct trace_device *device);
    void (*op_table)(void *context, const struct trace_op *ops, size_t count);
    void (*origin)(void *context, const struct trace_origin *origin);
    void (*hardware)(void *context, uint32_t device, const char *slot); /* "0000:17:00.0": which GPU of the host it is */
    /* What the device does at most: floating-point operations in the activations' type, and bytes of its memory, a second; 0 =
     * unknown. */
    void (*peaks)(void *context, uint32_t device, double flops, double bytes);
    /* The whole table; where `like` is another device, that one's, which was told before: tensors NULL. */
    void (*tensor_table)(void *context, uint32_t device, uint32_t like, const struct trace_tensor *tensors, size_t count);
    /* The whole table. */
    void (*unit_table)(void *context, uint32_t device, const struct trace_unit *units, size_t count);
    /* What a step's units had: TRACE_NORMS for each of the table; NAN = unknown, infinite = not finite. Outputs and their gradients
     * are this device's share of the step, gradients of weights are the whole step's. They are copied. */
    void (*norms)(void *context, uint32_t device, uint64_t step, const float *norms, size_t units, uint64_t ns);
    void (*step_begin)(void *context, uint32_t device, uint64_t step, uint64_t ns);
    void (*step_end)(void *context, uint32_t device, uint64_t step, uint64_t ns);
    /* Whether the run should time this step's ops itself; NULL = yes. May be asked of any step, again, and by any thread. */
    bool (*wants_ops)(void *context, uint64_t step);
    /* Whether what devices do in this step is recorded beside the run; NULL = no. Asked as wants_ops is. Between a step that is
     * and one that is not, nothing should be in flight. */
    bool (*records_step)(void *context, uint64_t step);
    /* Before any of the step's work is given to a device. One thread, each step in order. */
    void (*step_submit)(void *context, uint64_t step);
    /* Around each launch of an op, timed or not, on the thread that drives the device: what a library starts in between
     * belongs to the op. Also while a step is recorded, and not when it is replayed. Ids are those of the op table, but for
     * pass "evaluate", whose program has ids of its own. Around what the run starts itself the id is TRACE_OF_RUN and the
     * pass TRACE_RUN_PASS, or "evaluate". */
    void (*launch_begin)(void *context, uint32_t device, uint32_t id, const char *pass);
    void (*launch_end)(void *context, uint32_t device);
    void (*op_time)(void *context, uint32_t device, uint32_t id, uint64_t begin_ns, uint64_t end_ns);
    void (*metric)(void *context, enum trace_metric metric, uint64_t step, double value);
    void (*memory)(void *context, uint32_t device, enum trace_sample kind, uint64_t bytes, uint64_t ns);
    void (*gap)(void *context, uint32_t device, enum trace_gap gap, uint64_t begin_ns, uint64_t end_ns);
    void (*mark)(void *context, uint64_t ns, const char *text); /* "checkpoint step 400", "stopped" */
    /* A kernel's entry comes before its times. Times come in the order in which the kernels of a stream ended, as many in
     * one call as there are; they are copied. Meant for a thread that reads a device's records, not for the run's. */
    void (*kernel_table)(void *context, const struct trace_kernel *kernels, size_t count);
    void (*kernels)(void *context, uint32_t device, const struct trace_kernel_time *times, size_t count);
    void (*counter_table)(void *context, const struct trace_counter *counters, size_t count);
    /* What was read; what cannot be read is not reported. Device TRACE_OF_HOST: of the whole host or process. */
    void (*counter)(void *context, uint32_t device, uint32_t counter, double value, uint64_t ns);
    /* A clock read at the same moment as clock_now_ns(): of the device that its times come from; TRACE_OF_HOST: the wall's. */
    void (*clock_pair)(void *context, uint32_t device, uint64_t ns, uint64_t other_ns);
    /* What the host did, of the thread that drives that device. */
    void (*span)(void *context, uint32_t device, enum trace_host what, uint64_t begin_ns, uint64_t end_ns);
    /* What a profiler knows it missed; LOSS_RECORDS is added to what the trace dropped, in each block's header. */
    void (*lost)(void *context, uint32_t device, enum trace_loss what, uint64_t count, uint64_t ns);
};

#endif
