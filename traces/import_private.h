/* Inside the trace room: what is gathered of a Kineto trace (import.c) and how it is written (import_write.c). */
#ifndef FATHOM_IMPORT_PRIVATE_H
#define FATHOM_IMPORT_PRIVATE_H

#include "import.h"
#include "kineto_read.h"
#include "tables.h"

#define NONE UINT32_MAX

/* What a kernel is, beside its op. */
struct import_shape {
    uint32_t name; /* number of a name */
    enum trace_work work;
    uint32_t grid[3], block[3], registers;
    uint64_t bytes;
};

struct import_run { /* of a kernel, copy or fill; without GPUs of an op of PyTorch */
    uint64_t begin_ns, end_ns;
    uint32_t key;    /* correlation; 0 = none */
    uint32_t external; /* 0 = none */
    uint32_t shape;  /* of an op: its name */
    uint32_t stream; /* of an op: its thread */
    uint32_t launch; /* NONE = not found. Of an op: what it ran again in the backward pass, its sequence number + 1 */
    uint32_t op;     /* of the op table; NONE = none */
    uint32_t device;
};

struct import_launch {
    uint64_t begin_ns, end_ns;
    uint64_t op_begin_ns; /* of the innermost op around it; 0 = none */
    uint32_t key, thread;
    uint32_t op;       /* a name; NONE = none */
    uint32_t sequence; /* of the forward op whose backward this is, + 1; 0 = none */
};

/* A module's call, or the optimizer's. */
struct import_module {
    uint64_t begin_ns, end_ns;
    uint32_t thread, name;
    uint32_t parent; /* NONE */
    uint32_t path;   /* a name; NONE = not made yet */
};

struct import_span { /* a step: what = its number; else enum trace_host */
    uint64_t begin_ns, end_ns;
    uint64_t what;
    uint32_t device; /* of steps that a GPU tells; NONE = of the host */
};

struct import_sequence { /* of a forward op */
    uint64_t begin_ns;
    uint32_t number; /* + 1; 0 = free */
    uint32_t module;
};

struct import_op {
    uint32_t layer, kind, pass; /* names */
};

/* An array that grows. */
#define IMPORT_LIST(type) \
    struct { \
        type *items; \
        size_t count, capacity; \
    }

struct import {
    const char *path;
    const volatile sig_atomic_t *stop;
    struct kineto_head head;
    struct tables names; /* of everything */
    IMPORT_LIST(struct import_run) runs;
    IMPORT_LIST(struct import_launch) launches;
    IMPORT_LIST(struct import_module) modules;
    IMPORT_LIST(struct import_span) steps;
    IMPORT_LIST(struct import_span) hosts;
    IMPORT_LIST(struct import_shape) shapes;
    IMPORT_LIST(struct import_op) ops;
    IMPORT_LIST(uint64_t) threads; /* hashes of process and thread */
    IMPORT_LIST(uint32_t) externals; /* runs without a launch, by External id */
    struct import_sequence *sequences; /* hash table */
    size_t sequence_count, sequence_capacity;
    struct tables shape_keys, op_keys; /* texts made of what tells shapes and ops apart; their numbers + 1 are positions */
    uint32_t last_thread;
    bool gpu;          /* there are events of GPUs */
    uint64_t seen;     /* events of this pass, to look at *stop now and then */
};

bool import_write(struct import *import, const char *out, struct trace_import_stats *stats, struct error *err);

#endif
