#include "plan.h"

#include "mem.h"

const char *memory_class_name(enum memory_class class)
{
    static const char *const names[MEMORY_CLASSES] = {"weights",   "gradients", "optimizer",     "kept",   "transient",
                                                      "workspace", "input",     "communication", "context"};
    return names[class];
}

const char *recompute_policy_name(enum recompute_policy policy)
{
    static const char *const names[] = {"auto", "none", "elementwise", "budget"};
    return names[policy];
}

uint64_t plan_offloaded_bytes(const struct plan_program *program)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < program->op_count; i++)
        if (program->ops[i].pass == PASS_OFFLOAD) sum += program->tensors[program->ops[i].in[0]].bytes;
    return sum;
}

uint64_t plan_apart_bytes(const struct graph *graph)
{
    uint64_t sum = 0;
    for (size_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].apart) sum += (graph->tensors[t].bytes + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
    return sum;
}

void plan_program_finish(struct plan_program *program)
{
    mem_free(program->ops);
    mem_free(program->tensors);
    *program = (struct plan_program){0};
}

void plan_variant_finish(struct plan_variant *variant)
{
    plan_program_finish(&variant->train);
    plan_program_finish(&variant->evaluate);
    graph_destroy(variant->graph);
    *variant = (struct plan_variant){0};
}

void plan_destroy(struct plan *plan)
{
    if (!plan) return;
    for (size_t v = 0; v < plan->variant_count; v++) plan_variant_finish(&plan->variants[v]);
    mem_free(plan->variants);
    mem_free(plan->devices);
    mem_free(plan);
}
