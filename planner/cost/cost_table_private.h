/* What a table of measured times is made of: shared by who fills it (cost_learn.c) and who asks (cost_table.c). */
#ifndef FATHOM_COST_TABLE_PRIVATE_H
#define FATHOM_COST_TABLE_PRIVATE_H

#include "cost_table.h"

/* Ops of one kind on the same shapes, the batch aside, at one batch, run by one engine. */
struct entry {
    enum op_kind kind;
    uint64_t shape;  /* hash */
    uint64_t engine; /* hash; 0 = unknown */
    uint32_t batch;
    bool grows; /* with the batch: an operand has images */
    struct cost_work work;
    double seconds; /* sum over `count` ops */
    size_t count;
};

struct cost_table {
    struct entry *entries;
    size_t count, capacity;
    size_t runs;
    double beside_seconds; /* of an op: the mean over the runs */
    double step_seconds;   /* of a step, beside its ops: the mean over the runs with kernels */
    size_t kernel_runs;
    double link_bytes, link_seconds;
    char name[256], device[DEVICE_NAME];
    bool on_cpu;
    uint32_t devices;
};

/* Names are compared as the catalogue does. */
bool cost_same_name(const char *a, const char *b);
/* An op of the graph as an entry without times. */
struct entry cost_describe(const struct graph *graph, const struct op *op);

#endif
