/* Inside the trace room: how a Kineto trace becomes one of ours, in memory that does not grow with the file.
 *
 *   import_read.c   the JSON, once: its events as records, which spills sort
 *   import_owner.c  runs meet their launches (by correlation), launches the op and the module around them (by thread and time),
 *                   ops of the backward pass the forward op whose module is theirs (by Sequence number)
 *   import_ops.c    the op and the kernel of each run, in tables
 *   import_write.c  the trace */
#ifndef FATHOM_IMPORT_PRIVATE_H
#define FATHOM_IMPORT_PRIVATE_H

#include "import.h"
#include "kernel_ids.h"
#include "key_map.h"
#include "kineto_read.h"
#include "spill.h"
#include "tables.h"

#define NONE UINT32_MAX

/* What a kernel is, beside its op. */
struct import_shape {
    uint32_t name; /* number of a name */
    enum trace_work work;
    uint32_t grid[3], block[3], registers;
    uint64_t bytes;
};

struct import_run { /* of a kernel, copy or fill */
    uint64_t begin_ns, end_ns;
    uint64_t key;      /* correlation; 0 = none */
    uint64_t external; /* 0 = none */
    uint32_t shape, stream, device;
    uint32_t unused; /* 0: what is written to a file is known, all of it */
};

struct import_launch {
    uint64_t begin_ns, end_ns;
    uint64_t key;
    uint32_t thread, name;
};

struct import_cpu_op {
    uint64_t begin_ns, end_ns, order; /* in the file */
    uint64_t external; /* 0 = none */
    uint64_t sequence; /* + 1; 0 = none */
    uint32_t thread, name;
    uint64_t backward; /* 0, 1; no byte is left unwritten */
};

struct import_module { /* its call, or the optimizer's */
    uint64_t begin_ns, end_ns;
    uint32_t thread, name;
};

struct import_span { /* a step: what = its number; else enum trace_host */
    uint64_t begin_ns, end_ns;
    uint64_t what;
    uint64_t device; /* of steps that a GPU tells; NONE = of the host */
};

/* Where among the modules something stood. */
enum import_part { PART_NOWHERE, PART_FORWARD, PART_OPTIMIZER };
struct import_place {
    uint32_t layer; /* a name */
    enum import_part part;
};

/* What owns runs: a launch, an op that runs tell by its External id; without GPUs the op itself, which is its own run. */
enum import_owner_kind { OWNER_LAUNCH, OWNER_EXTERNAL, OWNER_ITSELF };
struct import_owner {
    uint64_t begin_ns, end_ns; /* of a launch, its end, or 0 */
    uint64_t key;              /* correlation, External id, thread */
    uint64_t sequence;         /* of the forward op whose backward this is, + 1; 0 = none */
    uint32_t op;               /* a name; NONE = none */
    enum import_owner_kind kind;
    struct import_place place;
};

struct import_forward { /* an op that the backward pass may name */
    uint64_t begin_ns, sequence; /* + 1 */
    struct import_place place;
};

struct import_placed { /* a run with all that is written of it */
    uint64_t begin_ns, end_ns;
    uint64_t launched_ns; /* 0 = unknown */
    uint32_t id;          /* of the kernel; without GPUs of the op */
    uint32_t stream, device;
    uint32_t unused; /* 0 */
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

/* Adds a copy of `item`, or returns false. */
#define IMPORT_ADD(list, item, err) \
    do { \
        void *items_ = (list).items; \
        bool grown_ = mem_grow(MEM_TRACE, &items_, &(list).capacity, (list).count + 1, sizeof *(list).items); \
        (list).items = items_; \
        if (!grown_) return error_memory(err, ((list).count + 1) * sizeof *(list).items, "what is read of a trace"); \
        (list).items[(list).count++] = item; \
    } while (0)

struct import_device {
    bool used, tells_steps;
    uint64_t first_ns, last_ns; /* of its runs */
};

struct import {
    const char *path, *out;
    const volatile sig_atomic_t *stop;
    struct trace_import_stats *stats;
    struct kineto_head head;
    uint64_t seen; /* records, to look at *stop now and then */

    struct spill runs, launches, cpu_ops, modules; /* by correlation; by thread */
    struct spill steps, hosts;                     /* import_span, by time */
    struct spill used_launches;                    /* by thread */
    struct spill orphans;                          /* runs without a launch, by External id */
    struct spill by_key, by_external, by_sequence; /* owners; by_sequence: of the backward pass, before they are placed */
    struct spill forwards;                         /* by sequence */
    struct spill placed;                           /* by time */

    struct tables names; /* of everything */
    struct tables shape_keys, op_keys; /* texts made of what tells shapes and ops apart; their numbers + 1 are positions */
    IMPORT_LIST(struct import_shape) shapes;
    IMPORT_LIST(struct import_op) ops;
    struct key_map threads; /* by a hash of process and thread, numbered as they come */
    uint32_t model; /* a name: of the first module that is in no other; NONE */
    bool gpu;         /* there are events of GPUs */
    bool from_zero;   /* steps are counted from 0 */
    struct import_device devices[TRACE_MOST_DEVICES];
    struct tables tables; /* of the trace that is written */
    struct kernel_ids *kernels;
    bool broken; /* out of memory where nothing can be returned */
};

static inline int import_compare(uint64_t x, uint64_t y) { return (x > y) - (x < y); }

bool import_add_name(struct import *import, const char *text, uint32_t *number, struct error *err);
/* True, with the error, once somebody asked to stop. Looks now and then. */
bool import_is_stopped(struct import *import, struct error *err);

bool import_read(struct import *import, struct error *err);
bool import_find_owners(struct import *import, struct error *err);
/* Without GPUs: an op whose place is known, as its own run. */
bool import_place_itself(struct import *import, const struct import_owner *owner, struct error *err);
bool import_place_runs(struct import *import, struct error *err);
bool import_write(struct import *import, struct error *err);
/* What it holds; not itself. */
void import_finish(struct import *import);

#endif
