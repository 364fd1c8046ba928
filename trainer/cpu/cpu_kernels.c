/* The kernel that an op has in its device's table: one of oneDNN's or a loop of our own, and what it needs. */
#include "cpu_backend.h"
#include "cpu_device.h"

bool cpu_kernel_workspace(const struct cpu_table *table, const struct op_call *call, uint64_t *bytes, struct error *err)
{
    const struct cpu_kernel *kernel = &table->kernels[call->op->kind];
    *bytes = 0;
    if (kernel->workspace) return kernel->workspace(call, bytes, err);
    struct onednn_shape shape = {0};
    if (kernel->onednn && kernel->onednn(call, &shape)) TRY(onednn_workspace(&shape, bytes, err));
    *bytes += kernel->before ? kernel->before(call) : 0;
    return true;
}

bool cpu_find_kernel(struct prepared *p, uint64_t *needed, struct error *err)
{
    const struct cpu_kernel *kernel = &p->device->table->kernels[p->call.op->kind];
    struct onednn_shape shape = {0};
    if (!kernel->onednn || !kernel->onednn(&p->call, &shape))
        return cpu_kernel_workspace(p->device->table, &p->call, needed, err);
    p->onednn = onednn_kernel(p->device->onednn, &shape, err);
    if (!p->onednn) return false;
    *needed = onednn_kernel_workspace(p->onednn) + (kernel->before ? kernel->before(&p->call) : 0);
    return true;
}

unsigned cpu_outputs(const struct op_call *call)
{
    unsigned outputs = call->pass == PASS_EVALUATE && call->op->kind != OP_SOFTMAX_LOSS ? 1 : call->op->outputs;
    while (outputs > 0 && !call->out_tensor[outputs - 1]) outputs--;
    return outputs;
}

const char *cpu_implementation(const struct prepared *prepared)
{
    if (prepared->onednn) return onednn_kernel_name(prepared->onednn);
    const struct cpu_kernel *kernel = &prepared->device->table->kernels[prepared->call.op->kind];
    return kernel->own_name ? kernel->own_name(&prepared->call) : "own";
}
