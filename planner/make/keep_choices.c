#include "keep_choices.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"
#include "mem.h"

#define MOST_OPS     32u
#define MOST_DROPPED 10u
#define MOST_SETS    (1u << MOST_DROPPED)

/* A block's forward ops by their places in it; sets of them are bits. */
struct block_ops {
    uint32_t count;
    uint32_t wanted;          /* outputs that backward ops read; the block's own output does not count, it stays */
    uint32_t results;         /* of those, first outputs, no masks */
    uint32_t elementwise;     /* of these, what KEEP_CONVOLUTIONS drops */
    uint32_t idle;            /* outputs that none reads: dropped with any other */
    uint32_t last;            /* the op that makes the block's output */
    uint32_t reads[MOST_OPS]; /* whose outputs each reads */
    uint64_t bytes[MOST_OPS]; /* wanted of each */
    double seconds[MOST_OPS];
};

/* What a set of dropped outputs leaves, and what it costs. */
struct subset {
    uint64_t bytes;
    double seconds;
    uint32_t dropped;
};

/* ---- A block's ops ---- */

struct finder {
    const struct graph *graph;
    const struct cost_speed *speed;
    uint32_t *producer; /* per tensor: the forward op that makes it, or NO_OP */
    uint64_t *wanted;   /* per forward op: bytes of its outputs that backward ops read */
    bool *first_wanted; /* per forward op: its first output is */
    struct subset *subsets;
};

static void note_wanted(struct finder *f, bool *counted)
{
    const struct graph *graph = f->graph;
    for (uint32_t i = graph->forward_end; i < graph->backward_end; i++)
        for (uint32_t k = 0; k < graph->ops[i].inputs; k++) {
            uint32_t tensor = graph->ops[i].in[k], maker = f->producer[tensor];
            if (maker == NO_OP || counted[tensor] || graph->tensors[tensor].class != CLASS_ACTIVATION) continue;
            counted[tensor] = true;
            f->wanted[maker] += layout_round(graph->tensors[tensor].bytes);
            f->first_wanted[maker] |= graph->ops[maker].out[0] == tensor;
        }
}

static uint32_t find_reads(const struct finder *f, const struct graph_block *block, const struct op *op)
{
    uint32_t reads = 0;
    for (uint32_t k = 0; k < op->inputs; k++) {
        uint32_t maker = f->producer[op->in[k]];
        bool inside = maker != NO_OP && maker >= block->first && maker < block->last;
        if (inside && f->graph->tensors[op->in[k]].class == CLASS_ACTIVATION) reads |= 1u << (maker - block->first);
    }
    return reads;
}

static struct block_ops describe(const struct finder *f, const struct graph_block *block)
{
    struct block_ops ops = {.count = block->last - block->first};
    for (uint32_t i = 0; i < ops.count && ops.count <= MOST_OPS; i++) {
        const struct op *op = &f->graph->ops[block->first + i];
        ops.reads[i] = find_reads(f, block, op);
        ops.seconds[i] = cost_op_seconds(f->speed, f->graph, op);
        if (op->out[0] == block->output) ops.last = i;
        if (op->out[0] == block->output || f->graph->tensors[op->out[0]].class != CLASS_ACTIVATION) continue;
        ops.bytes[i] = f->wanted[block->first + i];
        bool wanted = ops.bytes[i] > 0;
        *(wanted ? &ops.wanted : &ops.idle) |= 1u << i;
        if (!f->first_wanted[block->first + i]) continue;
        ops.results |= 1u << i;
        if (keep_is_elementwise(op->kind)) ops.elementwise |= 1u << i;
    }
    return ops;
}

/* The block's output, from outputs that backward ops read and so find again. */
static void measure_output(const struct block_ops *ops, struct keep_choices *choices)
{
    uint32_t again = 1u << ops->last, parts = 0;
    choices->parts_bytes = 0;
    choices->remake_seconds = ops->count > MOST_OPS ? HUGE_VAL : 0;
    for (uint32_t i = ops->count; i-- > 0 && ops->count <= MOST_OPS;) {
        if (parts >> i & 1) {
            choices->parts_bytes += ops->bytes[i];
            parts |= ops->reads[i] & ops->elementwise; /* what it is made of, should it be dropped */
        }
        if (!(again >> i & 1)) continue;
        choices->remake_seconds += ops->seconds[i];
        again |= ops->reads[i] & ~ops->results;
        parts |= ops->reads[i] & ops->results;
    }
}

/* With those outputs dropped. */
static uint64_t measure_parts(const struct block_ops *ops, uint32_t dropped)
{
    uint32_t again = 1u << ops->last;
    uint64_t bytes = 0;
    for (uint32_t i = ops->count; i-- > 0;) {
        if (!(again >> i & 1)) continue;
        if ((ops->results & dropped) >> i & 1) bytes += ops->bytes[i];
        again |= ops->reads[i] & ~(ops->results & ~dropped);
    }
    return bytes;
}

uint64_t keep_choices_parts(const struct keep_choices *choices, uint32_t keep)
{
    uint32_t some = keep & ~(uint32_t)(KEEP_FIRST_DROP - 1) & ~(uint32_t)KEEP_MODE_MASK;
    if ((keep & KEEP_MODE_MASK) == KEEP_ALL) return choices->all_parts;
    if ((keep & KEEP_MODE_MASK) == KEEP_CONVOLUTIONS) return choices->convolution_parts;
    uint32_t i = 0;
    while (i < choices->count && choices->keep[i] != (some | KEEP_SOME)) i++;
    return i < choices->count ? choices->parts[i] : choices->parts_bytes;
}

/* ---- Subsets ---- */

/* The largest of the wanted outputs, at most MOST_DROPPED. */
static uint32_t choose_candidates(const struct block_ops *ops)
{
    uint32_t chosen = 0;
    for (uint32_t n = 0; n < MOST_DROPPED; n++) {
        uint32_t best = MOST_OPS;
        for (uint32_t i = 0; i < ops->count && i < KEEP_MOST_DROPS; i++)
            if ((ops->wanted & ~chosen) >> i & 1 && (best == MOST_OPS || ops->bytes[i] > ops->bytes[best])) best = i;
        if (best < MOST_OPS) chosen |= 1u << best;
    }
    return chosen;
}

/* All that is dropped runs again once, and before it what it reads and is not there. */
static struct subset measure(const struct block_ops *ops, uint32_t dropped)
{
    struct subset subset = {.dropped = dropped};
    uint32_t again = dropped;
    for (uint32_t i = ops->count; i-- > 0;) {
        if ((ops->wanted & ~dropped) >> i & 1) subset.bytes += ops->bytes[i];
        if (!(again >> i & 1)) continue;
        again |= ops->reads[i] & (dropped | ops->idle);
        subset.seconds += ops->seconds[i];
    }
    return subset;
}

static int compare_subsets(const void *left, const void *right)
{
    const struct subset *a = left, *b = right;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? -1 : 1;
    if (a->seconds != b->seconds) return a->seconds < b->seconds ? -1 : 1;
    return (a->dropped > b->dropped) - (a->dropped < b->dropped);
}

/* All subsets of the candidates; only those stay that are faster than any that keeps no more. */
static uint32_t find_front(const struct block_ops *ops, struct subset *subsets)
{
    uint32_t candidates = choose_candidates(ops), count = 0, kept = 0;
    for (uint32_t set = candidates;; set = (set - 1) & candidates) {
        subsets[count++] = measure(ops, set);
        if (set == 0) break;
    }
    qsort(subsets, count, sizeof *subsets, compare_subsets);
    for (uint32_t i = 0; i < count; i++)
        if (kept == 0 || subsets[i].seconds < subsets[kept - 1].seconds) subsets[kept++] = subsets[i];
    return kept;
}

/* How much a choice between its neighbours saves against a mixture of the two. */
static double worth(const struct subset *before, const struct subset *own, const struct subset *after)
{
    double part = (double)(own->bytes - before->bytes) / (double)(after->bytes - before->bytes);
    return before->seconds + part * (after->seconds - before->seconds) - own->seconds;
}

/* The least worth goes until few enough are left; the first and the last stay. */
static uint32_t thin_out(struct subset *front, uint32_t count)
{
    while (count > KEEP_MOST_CHOICES) {
        uint32_t least = 1;
        for (uint32_t i = 2; i + 1 < count; i++)
            if (worth(&front[i - 1], &front[i], &front[i + 1]) <
                worth(&front[least - 1], &front[least], &front[least + 1]))
                least = i;
        memmove(front + least, front + least + 1, (count - least - 1) * sizeof *front);
        count--;
    }
    return count;
}

static void choose(const struct block_ops *ops, struct subset *subsets, struct keep_choices *choices)
{
    *choices = (struct keep_choices){0};
    measure_output(ops, choices);
    if (ops->count > MOST_OPS) return;
    choices->all_parts = measure_parts(ops, 0);
    choices->convolution_parts = measure_parts(ops, ops->elementwise);
    if (ops->wanted == 0) return;
    uint32_t count = find_front(ops, subsets), kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (subsets[i].dropped != 0 && subsets[i].dropped != ops->elementwise) subsets[kept++] = subsets[i];
    choices->count = thin_out(subsets, kept);
    for (uint32_t i = 0; i < choices->count; i++) {
        choices->keep[i] = KEEP_SOME | KEEP_DROP(0) * subsets[i].dropped;
        choices->parts[i] = measure_parts(ops, subsets[i].dropped);
    }
}

static bool same_ops(const struct block_ops *a, const struct block_ops *b) { return memcmp(a, b, sizeof *a) == 0; }

static void choose_all(struct finder *f, struct keep_choices *choices)
{
    struct block_ops before, own;
    for (size_t b = 0; b < f->graph->block_count; b++) {
        own = describe(f, &f->graph->blocks[b]);
        if (b > 0 && same_ops(&own, &before))
            choices[b] = choices[b - 1];
        else
            choose(&own, f->subsets, &choices[b]);
        before = own;
    }
}

static void note_producers(struct finder *f)
{
    for (size_t t = 0; t < f->graph->tensor_count; t++) f->producer[t] = NO_OP;
    for (uint32_t i = 0; i < f->graph->forward_end; i++)
        for (uint32_t k = 0; k < f->graph->ops[i].outputs; k++) f->producer[f->graph->ops[i].out[k]] = i;
}

bool keep_choices_find(const struct graph *graph, const struct cost_speed *speed, struct keep_choices *choices,
                       struct error *err)
{
    struct finder f = {.graph = graph,
                       .speed = speed,
                       .producer = mem_alloc(MEM_PLAN, graph->tensor_count, sizeof *f.producer),
                       .wanted = mem_zalloc(MEM_PLAN, graph->forward_end, sizeof *f.wanted),
                       .first_wanted = mem_zalloc(MEM_PLAN, graph->forward_end, sizeof *f.first_wanted),
                       .subsets = mem_alloc(MEM_PLAN, MOST_SETS, sizeof *f.subsets)};
    bool *counted = mem_zalloc(MEM_PLAN, graph->tensor_count, sizeof *counted);
    bool ok = f.producer && f.wanted && f.first_wanted && f.subsets && counted;
    if (!ok) error_memory(err, graph->tensor_count * sizeof *f.producer, "ways to keep blocks");
    if (ok) {
        note_producers(&f);
        note_wanted(&f, counted);
        choose_all(&f, choices);
    }
    mem_free(f.producer);
    mem_free(f.wanted);
    mem_free(f.first_wanted);
    mem_free(f.subsets);
    mem_free(counted);
    return ok;
}
