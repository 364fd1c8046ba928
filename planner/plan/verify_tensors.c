/* The tensors of a program by themselves: sizes, places, which of them are unique, and views in their buckets. */
#include <inttypes.h>

#include "verify_private.h"

static bool check_tensor(const struct proof *proof, uint32_t index)
{
    const struct plan_tensor *t = &proof->program->tensors[index];
    char name[VERIFY_NAME];
    if (t->origin != NO_TENSOR && t->origin >= proof->graph->tensor_count)
        return verify_fail(proof, VERIFY_RANGE, "tensor %" PRIu32 " is of graph tensor %" PRIu32 " of %zu", index,
                           t->origin, proof->graph->tensor_count);
    const struct tensor *origin = t->origin == NO_TENSOR ? NULL : &proof->graph->tensors[t->origin];
    if (t->bytes == 0 || (origin && t->bytes != origin->bytes))
        return verify_fail(proof, VERIFY_SIZE, "%s has %" PRIu64 " bytes; the graph's has %" PRIu64,
                           verify_tensor_name(proof, index, name), t->bytes, origin ? origin->bytes : 0);
    uint64_t room = t->host ? proof->variant->host_bytes : proof->variant->arena_bytes;
    if (t->offset > room || t->bytes > room - t->offset)
        return verify_fail(proof, VERIFY_RANGE, "%s ends outside the %s of %" PRIu64 " bytes",
                           verify_tensor_name(proof, index, name), t->host ? "host memory" : "arena", room);
    bool offloads = origin && origin->class == CLASS_ACTIVATION && !origin->persistent && origin->view_of == NO_TENSOR;
    if (t->host && !offloads)
        return verify_fail(proof, VERIFY_RANGE, "%s is in host memory, and is no activation",
                           verify_tensor_name(proof, index, name));
    if (t->offset % PLAN_ALIGN != 0 && !(origin && origin->view_of != NO_TENSOR))
        return verify_fail(proof, VERIFY_RANGE, "%s does not start at a multiple of %u",
                           verify_tensor_name(proof, index, name), PLAN_ALIGN);
    if (t->first > t->last || t->last >= proof->program->op_count || t->class >= MEMORY_CLASSES)
        return verify_fail(proof, VERIFY_RANGE, "%s lives from op %" PRIu32 " to %" PRIu32 " of %zu",
                           verify_tensor_name(proof, index, name), t->first, t->last, proof->program->op_count);
    if (origin && (origin->persistent || origin->class == CLASS_INPUT) && t->first != 0)
        return verify_fail(proof, VERIFY_RANGE, "%s is there from the start, and is declared only from op %" PRIu32,
                           verify_tensor_name(proof, index, name), t->first);
    if (origin && origin->persistent && (size_t)t->last + 1 != proof->program->op_count)
        return verify_fail(proof, VERIFY_RANGE, "%s stays from step to step, and is declared only to op %" PRIu32,
                           verify_tensor_name(proof, index, name), t->last);
    return true;
}

static uint64_t whole_units(uint64_t bytes) { return (bytes / PLAN_ALIGN + (bytes % PLAN_ALIGN != 0)) * PLAN_ALIGN; }

static bool belongs_apart(const struct graph *graph, const struct plan_tensor *t)
{
    if (t->origin == NO_TENSOR) return false;
    uint32_t base = graph->tensors[t->origin].view_of;
    return graph->tensors[base == NO_TENSOR ? t->origin : base].apart;
}

/* What lies apart is the arena's end: nothing else is there, each has the same place there on every device, and it is
 * its own throughout. */
static bool check_apart(const struct proof *proof)
{
    const struct plan_program *program = proof->program;
    const struct graph *graph = proof->graph;
    uint64_t apart = 0, arena = proof->variant->arena_bytes;
    char name[VERIFY_NAME];
    for (size_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].apart) apart += whole_units(graph->tensors[t].bytes);
    if (apart > arena)
        return verify_fail(proof, VERIFY_RANGE, "%" PRIu64 " bytes lie apart in an arena of %" PRIu64, apart, arena);
    uint64_t place = arena - apart;
    for (uint32_t t = 0; t < program->tensor_count; t++) {
        const struct plan_tensor *tensor = &program->tensors[t];
        if (!tensor->host && !belongs_apart(graph, tensor) && tensor->offset + tensor->bytes > place)
            return verify_fail(proof, VERIFY_RANGE, "%s reaches into what lies apart, from byte %" PRIu64,
                               verify_tensor_name(proof, t, name), place);
    }
    for (size_t t = 0; t < graph->tensor_count; t++) {
        uint32_t index = proof->only[t];
        if (!graph->tensors[t].apart) continue;
        const struct plan_tensor *tensor = index == NO_TENSOR ? NULL : &program->tensors[index];
        if (tensor && (tensor->offset != place || tensor->first != 0 || (size_t)tensor->last + 1 != program->op_count))
            return verify_fail(proof, VERIFY_RANGE, "%s lies apart, at byte %" PRIu64 " throughout",
                               verify_tensor_name(proof, index, name), place);
        place += whole_units(graph->tensors[t].bytes);
    }
    return true;
}

/* Persistent tensors, bases of views and the input are unique: otherwise it would not be clear which one a view is part
 * of, or which one the loader fills. */
static bool note_unique(struct proof *proof, uint32_t index)
{
    uint32_t origin = proof->program->tensors[index].origin;
    if (origin == NO_TENSOR) return true;
    const struct tensor *t = &proof->graph->tensors[origin];
    bool only = t->persistent || t->role == ROLE_BUCKET || t->role == ROLE_WEIGHT_COPY || t->view_of != NO_TENSOR ||
                t->class == CLASS_INPUT;
    if (!only) return true;
    char name[VERIFY_NAME];
    if (proof->only[origin] != NO_TENSOR)
        return verify_fail(proof, VERIFY_RANGE, "%s is there twice", verify_tensor_name(proof, index, name));
    proof->only[origin] = index;
    return true;
}

static bool check_view(struct proof *proof, uint32_t index)
{
    const struct plan_tensor *view = &proof->program->tensors[index];
    proof->base[index] = NO_TENSOR;
    if (view->origin == NO_TENSOR || proof->graph->tensors[view->origin].view_of == NO_TENSOR) return true;
    const struct tensor *origin = &proof->graph->tensors[view->origin];
    uint32_t base = proof->only[origin->view_of];
    char name[VERIFY_NAME];
    if (base == NO_TENSOR)
        return verify_fail(proof, VERIFY_RANGE, "%s is part of a bucket that is not in the program",
                           verify_tensor_name(proof, index, name));
    const struct plan_tensor *bucket = &proof->program->tensors[base];
    if (view->offset != bucket->offset + origin->view_offset || view->first < bucket->first ||
        view->last > bucket->last)
        return verify_fail(proof, VERIFY_RANGE, "%s is not at its place in its bucket",
                           verify_tensor_name(proof, index, name));
    proof->base[index] = base;
    return true;
}

bool verify_tensors(struct proof *proof)
{
    const struct plan_program *program = proof->program;
    for (size_t t = 0; t < proof->graph->tensor_count; t++) proof->only[t] = NO_TENSOR;
    for (uint32_t t = 0; t < program->tensor_count; t++) TRY(check_tensor(proof, t) && note_unique(proof, t));
    for (uint32_t t = 0; t < program->tensor_count; t++) TRY(check_view(proof, t));
    for (uint32_t t = 0; t < proof->graph->tensor_count; t++) {
        const struct tensor *tensor = &proof->graph->tensors[t];
        if (tensor->persistent && tensor->view_of == NO_TENSOR && proof->only[t] == NO_TENSOR)
            return verify_fail(proof, VERIFY_MISSING,
                               "graph tensor %" PRIu32 " stays from step to step and has no place", t);
    }
    return check_apart(proof);
}
