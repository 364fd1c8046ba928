#include "bind.h"

#include <inttypes.h>

#include "mem.h"

static uint32_t find_origin(const struct plan_program *program, uint32_t tensor)
{
    for (uint32_t i = 0; i < program->tensor_count; i++)
        if (program->tensors[i].origin == tensor) return i;
    return NO_TENSOR;
}

static bool find_offset(const struct plan_program *program, uint32_t tensor, const char *what, uint64_t *offset,
                        struct error *err)
{
    uint32_t found = find_origin(program, tensor);
    if (found == NO_TENSOR) return error_set(err, ERROR_INPUT, "the plan has no place for the %s", what);
    *offset = program->tensors[found].offset;
    return true;
}

/* The graph tensor of an operand: an addition turned round (plan.h) has its own order of them. */
static uint32_t operand_tensor(const struct bind_options *o, const struct plan_op *place, uint32_t plan_tensor,
                               uint32_t graph_tensor)
{
    return place->pass == PASS_RECONSTRUCT ? o->program->tensors[plan_tensor].origin : graph_tensor;
}

/* An operand's place: the plan may speak of a view or of the tensor it is a view of. */
static uint64_t operand_offset(const struct bind_options *o, uint32_t plan_tensor, uint32_t graph_tensor)
{
    const struct plan_tensor *place = &o->program->tensors[plan_tensor];
    const struct tensor *t = &o->graph->tensors[graph_tensor];
    bool is_base = place->origin != graph_tensor && t->view_of != NO_TENSOR && place->origin == t->view_of;
    return place->offset + (is_base ? t->view_offset : 0);
}

static void fill_copy(const struct bind_options *o, const struct plan_op *place, struct op_call *call)
{
    const struct plan_tensor *in = &o->program->tensors[place->in[0]], *out = &o->program->tensors[place->out[0]];
    call->pass = place->pass;
    call->in[0] = in->offset;
    call->out[0] = out->offset;
    call->in_tensor[0] = call->out_tensor[0] = &o->graph->tensors[in->origin];
}

static void fill_call(const struct bind_options *o, const struct plan_op *place, struct op_call *call)
{
    const struct op *op = &o->graph->ops[place->op];
    *call = (struct op_call){.graph = o->graph, .op = op, .op_index = graph_logical_op(o->graph, place->op)};
    if (plan_op_copies(place)) {
        fill_copy(o, place, call);
        return;
    }
    call->pass = o->evaluate ? PASS_EVALUATE : place->pass;
    for (int i = 0; i < op->inputs; i++) {
        uint32_t tensor = operand_tensor(o, place, place->in[i], op->in[i]);
        call->in[i] = operand_offset(o, place->in[i], tensor);
        call->in_tensor[i] = &o->graph->tensors[tensor];
    }
    uint32_t outputs = plan_op_outputs(o->graph, place);
    for (uint32_t i = 0; i < outputs; i++) {
        uint32_t tensor = operand_tensor(o, place, place->out[i], op->out[i]);
        call->out[i] = operand_offset(o, place->out[i], tensor);
        call->out_tensor[i] = &o->graph->tensors[tensor];
    }
    if (place->workspace == NO_TENSOR) return;
    call->workspace = o->program->tensors[place->workspace].offset;
    call->workspace_bytes = o->program->tensors[place->workspace].bytes;
}

static bool check_workspace(const struct bind_options *o, const struct op_call *call, struct error *err)
{
    uint64_t needed = 0;
    TRY(o->backend->op_workspace(o->graph, call->op, call->pass, &needed, err));
    if (needed <= call->workspace_bytes) return true;
    return error_set(err, ERROR_INPUT,
                     "the plan was made for other devices: %s %s needs %" PRIu64
                     " bytes of workspace on the %s backend, "
                     "the plan has %" PRIu64 "; plan again with --gpus %s",
                     o->graph->layers[call->op->layer].path, op_kind_name(call->op->kind), needed, o->backend->name,
                     call->workspace_bytes, o->backend->name);
}

static bool prepare_op(const struct bind_options *o, struct bound_program *bound, size_t i, struct error *err)
{
    const struct plan_op *place = &o->program->ops[i];
    const struct op_call *call = &bound->calls[i];
    if (!plan_op_copies(place)) TRY(check_workspace(o, call, err));
    if (!o->backend->op_prepare(o->device, call, &bound->ops[i].prepared, err))
        return error_prefix(err, "%s %s", o->graph->layers[call->op->layer].path, op_kind_name(call->op->kind));
    if (!o->timed) return true;
    TRY(o->backend->event_create_timed(o->device, &bound->ops[i].begin, err));
    return o->backend->event_create_timed(o->device, &bound->ops[i].end, err);
}

static bool need_event(const struct bind_options *o, struct bound_op *op, struct error *err)
{
    return op->done || o->backend->event_create(o->device, &op->done, err);
}

static bool bind_waits(const struct bind_options *o, struct bound_program *bound, struct error *err)
{
    size_t count = o->program->op_count;
    struct stream_waits *waits = mem_alloc(MEM_KERNEL, count, sizeof *waits);
    if (!waits) return error_memory(err, count * sizeof *waits, "the order of the streams");
    bool ok = stream_waits_find(o->graph, o->program, o->fill_dead ? &bound->dead : NULL, waits, err);
    for (size_t i = 0; ok && i < count; i++) {
        bound->ops[i].waits = waits[i];
        for (size_t s = 0; ok && s < PLAN_STREAMS; s++)
            ok = waits[i].op[s] == NO_OP || need_event(o, &bound->ops[waits[i].op[s]], err);
    }
    mem_free(waits);
    return ok;
}

bool bind_calls(struct bound_program *bound, const struct bind_options *o, struct error *err)
{
    size_t count = o->program->op_count;
    *bound = (struct bound_program){.plan = o->program, .graph = o->graph};
    bool made = o->graph->pixels != NO_TENSOR;
    TRY(find_offset(o->program, made ? o->graph->pixels : o->graph->images, "images", &bound->images, err));
    if (made) TRY(find_offset(o->program, o->graph->placements, "placements", &bound->placements, err));
    TRY(find_offset(o->program, o->graph->labels, "labels", &bound->labels, err));
    TRY(find_offset(o->program, o->graph->metrics, "metrics", &bound->metrics, err));
    if (o->graph->loss_scale != NO_TENSOR)
        TRY(find_offset(o->program, o->graph->loss_scale, "loss scale", &bound->loss_scale, err));
    bound->ops = mem_zalloc(MEM_KERNEL, count, sizeof *bound->ops);
    bound->calls = mem_zalloc(MEM_KERNEL, count, sizeof *bound->calls);
    if (!bound->ops || !bound->calls) return error_memory(err, count * sizeof *bound->calls, "the prepared ops");
    for (size_t i = 0; i < count; i++) {
        fill_call(o, &o->program->ops[i], &bound->calls[i]);
        bound->ops[i].stream = o->program->ops[i].stream;
    }
    return true;
}

bool bind_program(struct bound_program *bound, const struct bind_options *o, struct error *err)
{
    for (size_t i = 0; i < o->program->op_count; i++) TRY(prepare_op(o, bound, i, err));
    if (o->fill_dead) TRY(dead_bytes_find(o->graph, o->program, &bound->dead, err));
    return bind_waits(o, bound, err);
}

void unbind_program(struct bound_program *bound, const struct backend *backend)
{
    for (size_t i = 0; bound->ops && i < bound->plan->op_count; i++) {
        struct bound_op *op = &bound->ops[i];
        if (op->prepared) backend->op_release(op->prepared);
        if (op->done) backend->event_destroy(op->done);
        if (op->begin) backend->event_destroy(op->begin);
        if (op->end) backend->event_destroy(op->end);
    }
    dead_bytes_finish(&bound->dead);
    mem_free(bound->ops);
    mem_free(bound->calls);
    *bound = (struct bound_program){0};
}
