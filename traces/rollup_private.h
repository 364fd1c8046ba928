/* Inside the trace room: the follower, and what the files that take its events in share. */
#ifndef FATHOM_ROLLUP_PRIVATE_H
#define FATHOM_ROLLUP_PRIVATE_H

#include <string.h>

#include "key_map.h"
#include "output.h"
#include "rollup.h"
#include "stream.h"

/* Where entries of a table are, by their ids. */
struct rollup_index {
    uint32_t *position; /* + 1; 0 = not in the table */
    size_t count, capacity;
};

/* Ops as they run one after the other, on a device or a stream of it. */
struct rollup_order {
    uint32_t before; /* the last one of this step, + 1; 0 = none */
    uint32_t again;  /* how often the step has gone back to an op before that */
    uint32_t body;   /* the least op + 1 that it went back from */
};

/* An op whose kernels pass by on a stream. */
struct open_op {
    uint32_t op;           /* TRACE_OF_RUN, TRACE_NO_OWNER: none */
    uint32_t first_kernel; /* seen again, it begins the op's next run */
    uint64_t ns;
    struct rollup_order order;
};

struct open_ops {
    struct open_op *streams;
    size_t count, capacity;
    struct key_map by_stream; /* positions of streams, by their numbers */
};

/* Times that wait to be counted: a line of memory for each entry of a table, with what is asked of a kernel each time. */
#define ROLLUP_WAITING 12
struct rollup_waiting {
    uint32_t ns[ROLLUP_WAITING];
    uint8_t count;
    bool listed, copy, known; /* known: what follows is the kernel's, which has been counted before */
    uint32_t op, stream;
};
_Static_assert(sizeof(struct rollup_waiting) <= 64, "more than a line");

struct rollup_lines {
    struct rollup_waiting *lines;
    size_t count, capacity;
    uint32_t *listed; /* those in which something waits */
    size_t listed_count, listed_capacity;
};

/* Buckets of histograms, a few at a time. */
#define ROLLUP_FEWEST_BUCKETS 8
#define ROLLUP_BUCKET_CLASSES 5 /* 8 to 128 */
struct rollup_slab;
struct rollup_pool {
    struct rollup_slab *slabs;
    size_t left; /* buckets of the first slab that are in no histogram yet */
    uint32_t *free[ROLLUP_BUCKET_CLASSES]; /* each begins with where the next one is */
};

struct rollup_last; /* rollup_last.c: the last steps, as they come */

struct trace_follower {
    struct trace_stream *stream;
    struct rollup_last *last; /* NULL where nothing is followed */
    struct rollup rollup;
    struct rollup_index ops[TRACE_MOST_DEVICES];
    struct rollup_index kernels[TRACE_MOST_DEVICES]; /* of the first entry of each id */
    uint32_t *kernel_next;                           /* position + 1 of the same kernel on another stream; 0 = none */
    struct key_map kernel_streams;                   /* positions of these others, by the first entry's and the stream */
    struct open_ops open[TRACE_MOST_DEVICES];
    struct rollup_order order[TRACE_MOST_DEVICES]; /* of ops that are reported as such */
    struct rollup_pool pool;
    struct rollup_lines kernel_lines, op_lines;
    size_t op_capacity, step_capacity, mark_capacity, kernel_capacity, next_capacity, counter_capacity;
    uint64_t step_stride; /* steps kept: the multiples of it, the last one and the evaluated ones */
    size_t most_steps;
    uint64_t from_ns, to_ns; /* what is taken in of steps, ops and kernels; to 0 = all */
    uint64_t last_gap_ns[TRACE_MOST_DEVICES][TRACE_GAPS];
};

#define ROLLUP_MOST_STEPS 100000

/* ---- rollup_last.c ---- */

bool rollup_last_begin(struct trace_follower *follower, struct error *err);
void rollup_last_finish(struct trace_follower *follower);
bool rollup_last_take(struct trace_follower *follower, const struct trace_event *event, struct error *err);
/* The same of many kernels, or ops, of a device. */
bool rollup_last_take_times(struct trace_follower *follower, uint32_t device, bool kernels, const struct trace_time *times,
                            size_t count, struct error *err);
/* Divides what has settled since, and tells in rollup.parts: a few times a second, or where there is no more to read. */
bool rollup_last_divide(struct trace_follower *follower, bool at_end, struct error *err);

/* A roll-up that is fed item by item, without a file: takes a zeroed object. */
void rollup_begin(struct trace_follower *follower, size_t most_steps);
void rollup_finish(struct trace_follower *follower);
bool rollup_take_item(struct trace_follower *follower, const struct trace_item *item, struct error *err);

bool rollup_take_step(struct trace_follower *follower, const struct trace_event *event, struct error *err);
bool rollup_take_metric(struct trace_follower *follower, const struct trace_event *event, struct error *err);
/* The step's entry, made when it is new; NULL in *found for a step that was thinned out. */
bool rollup_find_step(struct trace_follower *follower, uint64_t step, struct rollup_step **found, struct error *err);
/* Halves a table of at least `most` steps. */
void rollup_thin_steps(struct trace_follower *follower, size_t most);

/* ---- rollup_tables.c ---- */

struct rollup_mark rollup_make_mark(uint64_t ns, const char *text, size_t length);
bool rollup_has_mark(const struct rollup *rollup, const struct rollup_mark *mark);
bool rollup_add_mark(struct trace_follower *follower, const struct rollup_mark *mark, struct error *err);

/* As much of a text as there is room for, whole characters alone. */
static inline void rollup_set_text(char *out, size_t size, const char *text)
{
    size_t length = trace_text_length(text, size - 1);
    memcpy(out, text, length);
    out[length] = '\0';
}
bool rollup_grow_index(struct rollup_index *index, uint32_t id, struct error *err);
static inline uint32_t rollup_position(const struct rollup_index *index, uint32_t id)
{
    return id < index->count ? index->position[id] : 0;
}
/* An op runs: the last one of its program ends a step, whose micro-batches are then known. */
static inline void rollup_order_op(struct rollup_device *device, struct rollup_order *order, uint32_t op)
{
    if (op >= device->program_ops) return;
    if (op < order->before) {
        if (order->again++ == 0 || order->before < order->body) order->body = order->before;
    }
    order->before = op + 1;
    if (op + 1 < device->program_ops) return;
    device->micro_batches = order->again + 1;
    device->body_ops = order->again ? order->body : 0;
    *order = (struct rollup_order){0};
}
/* Another process goes on, with a program of its own, from a step's begin. */
void rollup_forget_order(struct trace_follower *follower);

/* rollup_times.c */
void rollup_count_time(struct rollup_pool *pool, struct rollup_op *op, uint64_t ns);
void rollup_finish_pool(struct rollup_pool *pool);

bool rollup_take_kernel_entry(struct trace_follower *follower, const struct trace_kernel *kernel, struct error *err);
bool rollup_take_kernel(struct trace_follower *follower, const struct trace_event *event, uint32_t stream,
                        struct error *err);
bool rollup_find_stream(struct open_ops *open, uint32_t stream, struct open_op **found, struct error *err);
/* A kernel passes by on its stream: whose op it is of, and whether that one begins again. */
void rollup_pass_kernel(struct trace_follower *follower, uint32_t device, struct open_op *open, uint32_t op, uint32_t id,
                        uint64_t ns);

/* ---- rollup_lines.c ---- */

void rollup_settle_line(struct rollup_pool *pool, struct rollup_waiting *line, struct rollup_op *times);
/* A time of the entry at a position waits to be counted. False where there is no line: then it is to be counted at once. */
static inline bool rollup_wait(struct rollup_pool *pool, struct rollup_lines *lines, size_t position, struct rollup_op *times,
                               uint64_t ns)
{
    struct rollup_waiting *line = position < lines->count ? &lines->lines[position] : NULL;
    if (!line || ns > UINT32_MAX) return false;
    if (line->count == ROLLUP_WAITING) rollup_settle_line(pool, line, times);
    if (!line->listed) lines->listed[lines->listed_count++] = (uint32_t)position;
    line->listed = true;
    line->ns[line->count++] = (uint32_t)ns;
    return true;
}
/* Lines for `count` entries; where memory is short there are fewer, and times are counted at once. */
void rollup_grow_lines(struct rollup_lines *lines, size_t count);

/* Counts in the kernel or op at a position of its table, after what waits there. */
void rollup_count_kernel(struct trace_follower *follower, size_t position, uint64_t ns);
void rollup_count_op(struct trace_follower *follower, size_t position, uint64_t ns);
/* Whether the kernel at a position copies. */
static inline bool rollup_copies(const struct trace_follower *follower, size_t position)
{
    const struct rollup_lines *lines = &follower->kernel_lines;
    if (position < lines->count && lines->lines[position].known) return lines->lines[position].copy;
    return follower->rollup.kernels[position].work == WORK_COPY;
}
/* Counts all that waits. */
void rollup_settle(struct trace_follower *follower);
/* The kernel is told anew. */
void rollup_forget_kernel(struct trace_follower *follower, size_t position);
void rollup_finish_lines(struct trace_follower *follower);

/* ---- rollup_bulk.c ---- */

/* As rollup_take_kernel, of many on one stream. */
bool rollup_take_kernels(struct trace_follower *follower, uint32_t device, uint32_t stream, const struct trace_time *times,
                         size_t count, struct error *err);
/* Many ops of a device. */
void rollup_take_ops(struct trace_follower *follower, uint32_t device, const struct trace_time *times, size_t count);

/* The ops whose kernels were the last on their streams end. */
void rollup_end_kernels(struct trace_follower *follower);
bool rollup_take_counter_entry(struct trace_follower *follower, const struct trace_counter *counter, struct error *err);
bool rollup_take_counter(struct trace_follower *follower, const struct trace_event *event, struct error *err);
/* NULL when out of memory. */
struct rollup_value *rollup_counter_value(struct trace_follower *follower, uint32_t id, bool host, uint32_t device,
                                          struct error *err);
void rollup_finish_kernels(struct trace_follower *follower);


/* ---- rollup_arena.c ---- */

void rollup_take_origin(struct rollup *rollup, const struct trace_origin *origin);
void rollup_take_hardware(struct rollup *rollup, uint32_t device, const char *slot);
bool rollup_take_tensor(struct rollup *rollup, const struct trace_tensor_entry *entry, struct error *err);
void rollup_take_clock_pair(struct rollup *rollup, const struct trace_event *event);

/* ---- rollup_past.c ---- */

bool rollup_take_past(struct trace_follower *follower, const struct trace_past *past, struct error *err);
/* Writes the roll-up as blocks PAST, thinned until it takes at most `most_bytes`; `buffer` holds TRACE_BLOCK_MOST bytes. */
void rollup_write_past(struct trace_follower *follower, struct trace_output *output, uint64_t most_bytes, uint8_t *buffer);

#endif
