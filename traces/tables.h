/* What a trace says once and repeats at each segment's start: the run, its devices, their op tables. The writer's copy.
 */
#ifndef FATHOM_TABLES_H
#define FATHOM_TABLES_H

#include "format.h"
#include "output.h"
#include "sink.h"

#define TABLES_MOST_CLASSES 16

/* A run that was resumed: its steps before, and when it began on the file's clock. */
struct trace_part {
    uint64_t done, begun_ns; /* begun_ns 0: the run's first part */
};

struct tables_op {
    uint32_t layer, kind, pass; /* names */
    uint64_t flops, bytes_moved, live_bytes;
};

struct tables_kernel {
    uint32_t op; /* + 1; 0 = none; TRACE_OF_RUN */
    uint32_t name, work;
    uint32_t grid[3], block[3], registers;
    uint64_t bytes;
};

struct tables_tensor {
    uint32_t layer, role, class_name; /* names */
    uint32_t first, last;
    bool host;
    uint64_t offset, bytes;
};

struct tables_unit {
    uint32_t layer, output, gradient; /* names */
    uint64_t output_elements, weight_elements;
};

struct tables_counter {
    uint32_t name, unit; /* both 0 = none of this number */
};

struct tables_device {
    bool known;
    uint32_t name;
    uint64_t memory_bytes, planned_bytes, arena_bytes;
    uint32_t images, classes;
    uint32_t class_names[TABLES_MOST_CLASSES];
    uint64_t class_bytes[TABLES_MOST_CLASSES];
    struct tables_op *ops;
    size_t op_count, op_capacity;
    struct tables_kernel *kernels;
    size_t kernel_count, kernel_capacity;
    size_t changed_begin, changed_end; /* kernels not yet written */
    struct tables_tensor *tensors;
    size_t tensor_count;
    uint32_t tensors_like; /* the device whose tensors these are, + 1; 0 = none are known */
    struct tables_unit *units;
    size_t unit_count;
    uint32_t slot;         /* a name, "" = unknown */
    uint64_t peak_flops, peak_bytes; /* a second; 0 = unknown */
};

struct tables {
    bool has_run;
    uint32_t model, dataset, backend, host, command;
    uint32_t batch, device_count;
    uint64_t iterations, parameters, pid, pid_space;
    struct trace_part part;
    bool has_origin;
    struct trace_origin origin; /* its host is a name: */
    uint32_t origin_host;
    bool tensors_wanted; /* the next time that all is written, the tensors too */
    struct tables_device devices[TRACE_MOST_DEVICES];
    struct tables_counter counters[TRACE_MOST_COUNTERS];
    size_t counter_count;
    char **names; /* numbered by position; each once */
    size_t name_count, name_capacity;
    size_t names_written;
    uint32_t *slots; /* hash table: a name's number + 1, 0 = free; slot_count is a power of two */
    size_t slot_count;
};

/* Gives a name the next number, or the one that it has. False when out of memory. */
bool tables_add_name(struct tables *tables, const char *name, uint32_t *number);
/* Copies everything. False when out of memory or over the format's limits: the tables then lack what did not fit. */
bool tables_set_run(struct tables *tables, const struct trace_run *run);
bool tables_set_device(struct tables *tables, const struct trace_device *device);
bool tables_set_ops(struct tables *tables, const struct trace_op *ops, size_t count);
bool tables_set_kernels(struct tables *tables, const struct trace_kernel *kernels, size_t count);
bool tables_set_counters(struct tables *tables, const struct trace_counter *counters, size_t count);
bool tables_set_origin(struct tables *tables, const struct trace_origin *origin);
bool tables_set_hardware(struct tables *tables, uint32_t device, const char *slot);
bool tables_set_peaks(struct tables *tables, uint32_t device, double flops, double bytes);
bool tables_set_tensors(struct tables *tables, uint32_t device, uint32_t like, const struct trace_tensor *tensors,
                        size_t count);
bool tables_set_units(struct tables *tables, uint32_t device, const struct trace_unit *units, size_t count);
void tables_finish(struct tables *tables);

/* What tables_write writes after names and devices: tables_late.c. */
void tables_write_origin(const struct tables *tables, struct trace_output *output, uint8_t *buffer);
void tables_write_writer(const struct tables *tables, struct trace_output *output, uint8_t *buffer);
void tables_write_peaks(const struct tables *tables, struct trace_output *output, uint8_t *buffer);
void tables_write_units(const struct tables *tables, struct trace_output *output, uint8_t *buffer);
void tables_write_tensors(const struct tables *tables, struct trace_output *output, uint8_t *buffer);
/* Writes all of it as blocks; names from the first. `buffer` holds TRACE_BLOCK_MOST bytes. */
void tables_write(struct tables *tables, struct trace_output *output, uint8_t *buffer);
/* Only the kernels, the names that are new, and the counters: a run finds its kernels one by one. */
void tables_write_kernels(struct tables *tables, struct trace_output *output, uint8_t *buffer);

#endif
