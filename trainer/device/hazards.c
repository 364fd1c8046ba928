#include "hazards.h"

#include <string.h>

#include "mem.h"

static bool ranges_meet(struct byte_range a, struct byte_range b)
{
    return a.host == b.host && a.bytes > 0 && b.bytes > 0 && a.offset < b.offset + b.bytes &&
           b.offset < a.offset + a.bytes;
}

static struct byte_range range_of(const struct plan_tensor *tensor)
{
    return (struct byte_range){tensor->offset, tensor->bytes, tensor->host};
}

static bool never_dies(const struct graph *graph, const struct plan_tensor *tensor)
{
    if (tensor->origin == NO_TENSOR) return false;
    uint32_t base = graph->tensors[tensor->origin].view_of;
    return graph->tensors[tensor->origin].persistent || tensor->origin == graph->metrics ||
           (base != NO_TENSOR && graph->tensors[base].persistent);
}

/* ---- Dead bytes ---- */

struct search {
    const struct graph *graph;
    const struct plan_program *program;
    struct dead_bytes *dead;
    size_t count, capacity;
};

static bool lives_after(const struct search *s, const struct plan_tensor *tensor, uint32_t op)
{
    return (tensor->first <= op && tensor->last > op) || never_dies(s->graph, tensor);
}

/* Adds what is left of a range once all tensors from number `from` on that live after the op are cut out. */
static bool add_remains(struct search *s, struct byte_range range, uint32_t op, size_t from)
{
    for (size_t i = from; i < s->program->tensor_count; i++) {
        const struct plan_tensor *tensor = &s->program->tensors[i];
        if (!ranges_meet(range, range_of(tensor)) || !lives_after(s, tensor, op)) continue;
        uint64_t end = range.offset + range.bytes, tensor_end = tensor->offset + tensor->bytes;
        if (tensor->offset > range.offset &&
            !add_remains(s, (struct byte_range){range.offset, tensor->offset - range.offset, range.host}, op, i + 1))
            return false;
        if (tensor_end >= end) return true;
        range = (struct byte_range){tensor_end, end - tensor_end, range.host};
    }
    void *array = s->dead->ranges;
    if (!mem_grow(MEM_KERNEL, &array, &s->capacity, s->count + 1, sizeof *s->dead->ranges)) return false;
    s->dead->ranges = array;
    s->dead->ranges[s->count++] = range;
    return true;
}

bool dead_bytes_find(const struct graph *graph, const struct plan_program *program, struct dead_bytes *dead,
                     struct error *err)
{
    struct search s = {.graph = graph, .program = program, .dead = dead};
    *dead = (struct dead_bytes){.first = mem_zalloc(MEM_KERNEL, program->op_count + 1, sizeof *dead->first)};
    if (!dead->first) return error_memory(err, program->op_count * sizeof *dead->first, "the table of dead bytes");
    for (uint32_t op = 0; op < program->op_count; op++) {
        dead->first[op] = (uint32_t)s.count;
        for (size_t i = 0; i < program->tensor_count; i++) {
            const struct plan_tensor *tensor = &program->tensors[i];
            if (tensor->last != op || never_dies(graph, tensor)) continue;
            if (!add_remains(&s, range_of(tensor), op, 0))
                return error_memory(err, s.count * sizeof *dead->ranges, "the table of dead bytes");
        }
    }
    dead->first[program->op_count] = (uint32_t)s.count;
    return true;
}

void dead_bytes_finish(struct dead_bytes *dead)
{
    mem_free(dead->ranges);
    mem_free(dead->first);
    *dead = (struct dead_bytes){0};
}

/* ---- Waits ---- */

struct hazards {
    const struct graph *graph;
    const struct plan_program *program;
    const struct dead_bytes *dead; /* may be NULL */
};

#define MOST_TOUCHED (OP_MOST_OUTPUTS + 1 + OP_MOST_INPUTS)

/* The bytes an op writes, then those it only reads; returns how many ranges, *written of them written. */
static size_t touched_ranges(const struct hazards *h, uint32_t op, struct byte_range *ranges, size_t *written)
{
    const struct plan_op *p = &h->program->ops[op];
    uint32_t inputs = plan_op_inputs(h->graph, p), outputs = plan_op_outputs(h->graph, p);
    size_t n = 0;
    for (uint32_t i = 0; i < outputs; i++) ranges[n++] = range_of(&h->program->tensors[p->out[i]]);
    if (p->workspace != NO_TENSOR) ranges[n++] = range_of(&h->program->tensors[p->workspace]);
    *written = n;
    for (uint32_t i = 0; i < inputs; i++) ranges[n++] = range_of(&h->program->tensors[p->in[i]]);
    return n;
}

static bool any_meets(const struct byte_range *ranges, size_t count, struct byte_range range)
{
    for (size_t i = 0; i < count; i++)
        if (ranges_meet(ranges[i], range)) return true;
    return false;
}

/* Whether something that `writer` writes, or that dies with it, is read or written by `other`. */
static bool writes_into(const struct hazards *h, uint32_t writer, uint32_t other)
{
    struct byte_range by[MOST_TOUCHED], of[MOST_TOUCHED];
    size_t written, unused;
    touched_ranges(h, writer, by, &written);
    size_t touched = touched_ranges(h, other, of, &unused);
    for (size_t i = 0; i < written; i++)
        if (any_meets(of, touched, by[i])) return true;
    if (!h->dead) return false;
    for (uint32_t i = h->dead->first[writer]; i < h->dead->first[writer + 1]; i++)
        if (any_meets(of, touched, h->dead->ranges[i])) return true;
    return false;
}

static bool conflict(const struct hazards *h, uint32_t a, uint32_t b)
{
    return writes_into(h, a, b) || writes_into(h, b, a);
}

/* Ops by stream, in order. */
struct queues {
    uint32_t *ops[PLAN_STREAMS];
    size_t count[PLAN_STREAMS];
    size_t waited[PLAN_STREAMS][PLAN_STREAMS]; /* by a stream, of another: so many of its ops are waited for already */
};

static void find_waits(const struct hazards *h, struct queues *q, uint32_t op, struct stream_waits *waits)
{
    uint8_t stream = h->program->ops[op].stream;
    for (size_t other = 0; other < PLAN_STREAMS; other++) {
        size_t *waited = &q->waited[stream][other];
        waits->op[other] = NO_OP;
        if (other == stream) continue;
        for (size_t i = q->count[other]; i-- > *waited;) {
            if (!conflict(h, op, q->ops[other][i])) continue;
            waits->op[other] = q->ops[other][i];
            *waited = i + 1;
            break;
        }
    }
    q->ops[stream][q->count[stream]++] = op;
}

bool stream_waits_find(const struct graph *graph, const struct plan_program *program, const struct dead_bytes *dead,
                       struct stream_waits *waits, struct error *err)
{
    struct hazards h = {graph, program, dead};
    struct queues q = {0};
    uint32_t *room = mem_alloc(MEM_KERNEL, PLAN_STREAMS * program->op_count, sizeof *room);
    if (!room) return error_memory(err, PLAN_STREAMS * program->op_count * sizeof *room, "the order of the streams");
    for (size_t s = 0; s < PLAN_STREAMS; s++) q.ops[s] = room + s * program->op_count;
    for (uint32_t op = 0; op < program->op_count; op++) find_waits(&h, &q, op, &waits[op]);
    mem_free(room);
    return true;
}

bool op_touches(const struct graph *graph, const struct plan_program *program, const struct dead_bytes *dead,
                uint32_t op, const struct byte_range *ranges, size_t count)
{
    struct hazards h = {graph, program, dead};
    struct byte_range touched[MOST_TOUCHED];
    size_t written, n = touched_ranges(&h, op, touched, &written);
    for (size_t i = 0; i < n; i++)
        if (any_meets(ranges, count, touched[i])) return true;
    for (uint32_t i = dead ? dead->first[op] : 0; dead && i < dead->first[op + 1]; i++)
        if (any_meets(ranges, count, dead->ranges[i])) return true;
    return false;
}
