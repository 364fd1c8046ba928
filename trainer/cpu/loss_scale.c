/* The loss scale of f16, shared by both tables: it is one pass over the parameters' gradients. */
#include "cpu_device.h"
#include "half.h"
#include "parallel.h"

struct search {
    const struct prepared *op;
    int *found; /* written by any thread */
};

static bool has_overflow(const float *gradients, uint64_t count)
{
    uint32_t most = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t size = float_bits(gradients[i]) & 0x7fffffffu;
        most = size > most ? size : most;
    }
    return most >= 0x7f800000u;
}

/* Elements [first, last) of the bucket that belong to a parameter: the bytes between them mean nothing. */
static void search_range(const void *context, uint64_t first, uint64_t last)
{
    const struct search *s = context;
    const struct graph *graph = s->op->call.graph;
    const float *gradients = op_in(s->op, 0);
    for (size_t i = 0; i < graph->parameter_count; i++) {
        const struct tensor *parameter = &graph->tensors[graph->parameters[i]];
        if (parameter->view_of != s->op->call.in_tensor[0]->of) continue;
        uint64_t begin = parameter->view_offset / sizeof *gradients, end = begin + tensor_elements(parameter);
        if (begin < first) begin = first;
        if (end > last) end = last;
        if (begin < end && has_overflow(gradients + begin, end - begin))
            __atomic_store_n(s->found, 1, __ATOMIC_RELAXED);
    }
}

bool cpu_run_gradient_check(const struct prepared *p, struct error *err)
{
    (void)err;
    struct loss_scale *scale = op_out(p, 0);
    uint64_t count = tensor_elements(p->call.in_tensor[0]);
    int found = 0;
    parallel_run(count, count, search_range, &(struct search){p, &found});
    bool before = !p->call.op->attr.check.first && scale->found != 0;
    scale->found = found || before ? 1 : 0;
    return true;
}

bool cpu_run_loss_scale_update(const struct prepared *p, struct error *err)
{
    (void)err;
    loss_scale_move(op_out(p, 0), p->device->step.scale_streak);
    return true;
}
