#include "clock.h"
#include "execute.h"
#include "mem.h"
#include "occupancy.h"

/* What is to stay free is not counted: used bytes are compared with these. The arena was taken whole. */
static void describe_device(const struct plan *plan, uint32_t number, struct trace_sink *sink)
{
    const struct plan_device *device = &plan->devices[number];
    const char *names[MEMORY_CLASSES];
    uint64_t bytes[MEMORY_CLASSES];
    for (int i = 0; i < MEMORY_CLASSES; i++) {
        names[i] = memory_class_name((enum memory_class)i);
        bytes[i] = device->classes[i];
    }
    uint64_t arena = plan->variants[device->variant].arena_bytes;
    struct trace_device report = {.device = number,
                                  .name = device->spec.name,
                                  .memory_bytes = device->spec.memory_bytes,
                                  .planned_bytes = device->peak_bytes,
                                  .arena_bytes = arena,
                                  .images = device->images,
                                  .class_names = names,
                                  .class_bytes = bytes,
                                  .classes = MEMORY_CLASSES};
    if (sink->device) sink->device(sink->context, &report);
    if (sink->memory) sink->memory(sink->context, number, SAMPLE_ARENA, arena, clock_now_ns());
}

bool executor_describe(const struct plan *plan, uint32_t device, struct trace_sink *sink, struct error *err)
{
    if (!sink) return true;
    describe_device(plan, device, sink);
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
                                   .device = device,
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
