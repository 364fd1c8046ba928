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

/* The momentum of a parameter: a view of its own, or the same place in the momentum of its bucket. */
static uint64_t momentum_offset(const struct finder *f, uint32_t parameter)
{
    const struct tensor *p = &f->graph->tensors[parameter];
    for (uint32_t i = 0; i < f->graph->tensor_count; i++) {
        const struct tensor *t = &f->graph->tensors[i];
        if (t->class != CLASS_OPTIMIZER || t->of == NO_TENSOR) continue;
        if (t->of == parameter) return offset_of(f, i);
        uint64_t base = t->of == p->view_of ? offset_of(f, i) : UNPLACED;
        if (base != UNPLACED) return base + p->view_offset;
    }
    return UNPLACED;
}

static bool add_entry(struct finder *f, enum state_kind kind, uint32_t tensor, uint32_t parameter, struct error *err)
{
    uint64_t offset = kind == STATE_MOMENTUM ? momentum_offset(f, tensor) : offset_of(f, tensor);
    if (offset == UNPLACED) {
        char name[TENSOR_NAME];
        return error_set(err, ERROR_INPUT, "the plan has no place for %s%s", graph_tensor_name(f->graph, tensor, name),
                         kind == STATE_MOMENTUM ? ".momentum" : "");
    }
    f->entries[f->count++] = (struct state_entry){kind, tensor, parameter, offset};
    return true;
}

static bool is_running(const struct tensor *t)
{
    return t->role == ROLE_RUNNING_MEAN || t->role == ROLE_RUNNING_VARIANCE;
}

static bool add_entries(struct finder *f, struct error *err)
{
    const struct graph *graph = f->graph;
    for (uint32_t i = 0; i < graph->parameter_count; i++)
        TRY(add_entry(f, STATE_PARAMETER, graph->parameters[i], i, err));
    for (uint32_t i = 0; i < graph->parameter_count; i++)
        TRY(add_entry(f, STATE_MOMENTUM, graph->parameters[i], i, err));
    for (uint32_t i = 0; i < graph->tensor_count; i++)
        if (is_running(&graph->tensors[i])) TRY(add_entry(f, STATE_STATISTIC, i, NO_TENSOR, err));
    return true;
}

bool state_entries_find(const struct plan_variant *variant, struct state_entry **entries, size_t *count,
                        struct error *err)
{
    struct finder f = {.graph = variant->graph, .program = &variant->train};
    size_t tensors = f.graph->tensor_count;
    f.offset = mem_alloc(MEM_KERNEL, tensors, sizeof *f.offset);
    f.entries = mem_alloc(MEM_KERNEL, 2 * f.graph->parameter_count + tensors, sizeof *f.entries);
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
