#include <string.h>

#include "clock.h"
#include "execute.h"
#include "mem.h"
#include "occupancy.h"

/* What is to stay free is not counted: used bytes are compared with these. The arena was taken whole. */
static void describe_device(const struct plan *plan, uint32_t number, uint32_t member, struct trace_sink *sink)
{
    const struct plan_device *device = &plan->devices[number];
    const char *names[MEMORY_CLASSES];
    uint64_t bytes[MEMORY_CLASSES];
    for (int i = 0; i < MEMORY_CLASSES; i++) {
        names[i] = memory_class_name((enum memory_class)i);
        bytes[i] = device->classes[i];
    }
    uint64_t arena = plan->variants[device->variant].arena_bytes;
    struct trace_device report = {.device = member,
                                  .name = device->spec.name,
                                  .memory_bytes = device->spec.memory_bytes,
                                  .planned_bytes = device->peak_bytes,
                                  .arena_bytes = arena,
                                  .images = device->images,
                                  .class_names = names,
                                  .class_bytes = bytes,
                                  .classes = MEMORY_CLASSES};
    if (sink->device) sink->device(sink->context, &report);
    if (sink->memory) sink->memory(sink->context, member, SAMPLE_ARENA, arena, clock_now_ns());
}

/* What a tensor is called in its layer: what follows the layer's path in its name. */
static const char *find_role(const char *path, const char *name)
{
    size_t length = strlen(path);
    return strncmp(name, path, length) == 0 && name[length] == '.' ? name + length + 1 : name;
}

/* Workspaces are of the op that wants them. */
static struct trace_tensor describe_tensor(const struct graph *graph, const struct plan_program *program, size_t i,
                                           const uint32_t *users, char name[TENSOR_NAME])
{
    const struct plan_tensor *t = &program->tensors[i];
    uint32_t layer = t->origin != NO_TENSOR ? graph->tensors[t->origin].layer : graph->ops[users[i]].layer;
    const char *path = graph->layers[layer].path, *role = "workspace";
    if (t->origin != NO_TENSOR) role = find_role(path, graph_tensor_name(graph, t->origin, name));
    return (struct trace_tensor){.layer = path,
                                 .role = role,
                                 .class_name = memory_class_name(t->class),
                                 .host = t->host,
                                 .offset = t->offset,
                                 .bytes = t->bytes,
                                 .first = t->first,
                                 .last = t->last};
}

/* Of each workspace the graph op that it is for. */
static uint32_t *find_users(const struct plan_program *program)
{
    uint32_t *users = mem_zalloc(MEM_TRACE, program->tensor_count, sizeof *users);
    for (size_t i = 0; users && i < program->op_count; i++)
        if (program->ops[i].workspace != NO_TENSOR) users[program->ops[i].workspace] = program->ops[i].op;
    return users;
}

static uint32_t find_like(const struct plan *plan, uint32_t device, uint32_t first)
{
    uint32_t like = first;
    while (plan->devices[like].variant != plan->devices[device].variant) like++;
    return like;
}

/* Devices of a variant have the same tensors: the first one that this process drives tells them. */
static bool describe_tensors(const struct plan *plan, uint32_t device, uint32_t first, struct trace_sink *sink,
                             struct error *err)
{
    uint32_t like = find_like(plan, device, first);
    const struct plan_variant *variant = &plan->variants[plan->devices[device].variant];
    const struct plan_program *program = &variant->train;
    if (like != device) {
        sink->tensor_table(sink->context, device - first, like - first, NULL, 0);
        return true;
    }
    struct trace_tensor *tensors = mem_alloc(MEM_TRACE, program->tensor_count, sizeof *tensors);
    char(*names)[TENSOR_NAME] = mem_alloc(MEM_TRACE, program->tensor_count, sizeof *names);
    uint32_t *users = find_users(program);
    bool ok = tensors && names && users;
    for (size_t i = 0; ok && i < program->tensor_count; i++)
        tensors[i] = describe_tensor(variant->graph, program, i, users, names[i]);
    if (ok) sink->tensor_table(sink->context, device - first, like - first, tensors, program->tensor_count);
    mem_free(tensors);
    mem_free(names);
    mem_free(users);
    return ok || error_memory(err, program->tensor_count * sizeof *tensors, "the trace's table of tensors");
}

bool executor_describe(const struct plan *plan, uint32_t device, uint32_t first, struct trace_sink *sink,
                       struct error *err)
{
    if (!sink) return true;
    uint32_t member = device - first;
    describe_device(plan, device, member, sink);
    if (sink->tensor_table) TRY(describe_tensors(plan, device, first, sink, err));
    if (!sink->op_table) return true;
    const struct plan_variant *variant = &plan->variants[plan->devices[device].variant];
    const struct graph *graph = variant->graph;
    const struct plan_program *program = &variant->train;
    struct trace_op *ops = mem_alloc(MEM_TRACE, program->op_count, sizeof *ops);
    uint64_t *live = ops ? occupancy_curve(graph, program, err) : NULL;
    bool ok = live != NULL;
    if (!ops) error_memory(err, program->op_count * sizeof *ops, "the trace's table of ops");
    for (uint32_t i = 0; ok && i < program->op_count; i++) {
        const struct plan_op *op = &program->ops[i];
        const struct op *graph_op = &graph->ops[op->op];
        bool copies = plan_op_copies(op);
        ops[i] = (struct trace_op){.id = i,
                                   .device = member,
                                   .layer = graph->layers[graph_op->layer].path,
                                   .kind = copies ? "copy" : op_kind_name(graph_op->kind),
                                   .pass = op_pass_name(op->pass),
                                   .flops = copies ? 0 : graph_op->flops,
                                   .bytes_moved = copies ? program->tensors[op->in[0]].bytes : graph_op->bytes_moved,
                                   .live_bytes = live[i]};
    }
    if (ok) sink->op_table(sink->context, ops, program->op_count);
    mem_free(ops);
    mem_free(live);
    return ok;
}
