#include "execute.h"
#include "mem.h"

struct finder {
    const struct graph *graph;
    const struct plan_program *program;
    uint64_t *offset; /* of each graph tensor in the training program, or UNPLACED */
    struct state_entry *entries;
    size_t count;
};

#define UNPLACED UINT64_MAX

static uint64_t offset_of(const struct finder *f, uint32_t tensor)
{
    const struct tensor *t = &f->graph->tensors[tensor];
    if (f->offset[tensor] != UNPLACED || t->view_of == NO_TENSOR) return f->offset[tensor];
    uint64_t base = f->offset[t->view_of];
    return base == UNPLACED ? UNPLACED : base + t->view_offset;
}

/* What is kept of a parameter lies as the parameter does in its bucket. Of a bucket's the optimizer's buffers come
 * first, in their order, then the average. */
static uint64_t kept_offset(const struct finder *f, uint32_t parameter, uint32_t which)
{
    const struct tensor *p = &f->graph->tensors[parameter];
    for (uint32_t i = 0; i < f->graph->tensor_count; i++) {
        const struct tensor *t = &f->graph->tensors[i];
        if (t->class != CLASS_OPTIMIZER || t->of != p->view_of || which-- > 0) continue;
        uint64_t base = offset_of(f, i);
        return base == UNPLACED ? UNPLACED : base + p->view_offset;
    }
    return UNPLACED;
}

/* Frozen parameters have none. */
static bool has_kept(const struct graph *graph, uint32_t parameter)
{
    uint32_t bucket = graph->tensors[parameter].view_of;
    for (size_t i = 0; i < graph->tensor_count; i++) {
        const struct tensor *t = &graph->tensors[i];
        if (t->class == CLASS_OPTIMIZER && t->of != NO_TENSOR && (t->of == parameter || t->of == bucket)) return true;
    }
    return false;
}

static bool add_entry(struct finder *f, struct state_entry entry, struct error *err)
{
    if (entry.offset == UNPLACED) {
        char name[TENSOR_NAME];
        return error_set(err, ERROR_INPUT, "the plan has no place for %s%s",
                         entry.kind == STATE_OPTIMIZER ? "what the optimizer keeps of "
                         : entry.kind == STATE_AVERAGE ? "the average of "
                                                       : "",
                         graph_tensor_name(f->graph, entry.tensor, name));
    }
    entry.index = f->count;
    f->entries[f->count++] = entry;
    return true;
}

static bool add_kept(struct finder *f, enum state_kind kind, uint32_t which, struct error *err)
{
    const struct graph *graph = f->graph;
    for (uint32_t i = 0; i < graph->parameter_count; i++) {
        struct state_entry entry = {.kind = kind, .tensor = graph->parameters[i], .parameter = i};
        if (!has_kept(graph, entry.tensor)) continue;
        entry.offset = kept_offset(f, entry.tensor, which);
        if (kind == STATE_OPTIMIZER) entry.buffer = which;
        TRY(add_entry(f, entry, err));
    }
    return true;
}

static bool is_running(const struct tensor *t)
{
    return t->role == ROLE_RUNNING_MEAN || t->role == ROLE_RUNNING_VARIANCE;
}

static bool add_entries(struct finder *f, struct error *err)
{
    const struct graph *graph = f->graph;
    const struct update_needs *update = &graph->options.update;
    uint32_t buffers = optimizer_buffers(update->optimizer);
    for (uint32_t i = 0; i < graph->parameter_count; i++) {
        uint32_t tensor = graph->parameters[i];
        struct state_entry entry = {
            .kind = STATE_PARAMETER, .tensor = tensor, .parameter = i, .offset = offset_of(f, tensor)};
        TRY(add_entry(f, entry, err));
    }
    for (uint32_t k = 0; k < buffers; k++) TRY(add_kept(f, STATE_OPTIMIZER, k, err));
    if (update->averages) TRY(add_kept(f, STATE_AVERAGE, buffers, err));
    for (uint32_t i = 0; i < graph->tensor_count; i++) {
        struct state_entry entry = {
            .kind = STATE_STATISTIC, .tensor = i, .parameter = NO_TENSOR, .offset = offset_of(f, i)};
        if (is_running(&graph->tensors[i])) TRY(add_entry(f, entry, err));
    }
    return true;
}

bool state_entries_find(const struct plan_variant *variant, struct state_entry **entries, size_t *count,
                        struct error *err)
{
    struct finder f = {.graph = variant->graph, .program = &variant->train};
    size_t tensors = f.graph->tensor_count;
    f.offset = mem_alloc(MEM_KERNEL, tensors, sizeof *f.offset);
    f.entries =
        mem_alloc(MEM_KERNEL, (2 + OPTIMIZER_MOST_BUFFERS) * f.graph->parameter_count + tensors, sizeof *f.entries);
    bool ok = f.offset && f.entries;
    if (!ok) error_memory(err, tensors * sizeof *f.entries, "the table of what a run keeps");
    for (size_t i = 0; ok && i < tensors; i++) f.offset[i] = UNPLACED;
    for (size_t i = 0; ok && i < f.program->tensor_count; i++) {
        const struct plan_tensor *t = &f.program->tensors[i];
        if (t->origin != NO_TENSOR && f.offset[t->origin] == UNPLACED) f.offset[t->origin] = t->offset;
    }
    ok = ok && add_entries(&f, err);
    mem_free(f.offset);
    if (!ok) {
        mem_free(f.entries);
        return false;
    }
    *entries = f.entries;
    *count = f.count;
    return true;
}
