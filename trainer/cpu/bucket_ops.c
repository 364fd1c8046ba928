/* Ops on buckets of parameters, which both tables share: the sum over devices, copies in 16 bits, and back. */
#include <string.h>

#include "cpu_device.h"

/* Through 16 bits. */
static bool reduce_halves(const struct prepared *p, enum dtype dtype, struct error *err)
{
    uint64_t count = tensor_elements(p->call.out_tensor[0]);
    uint16_t *message = op_out(p, 1);
    narrow_elements(dtype, op_in(p, 0), message, count);
    if (p->device->group) TRY(group_sum_half(p->device->group, dtype, message, message, count, err));
    widen_elements(dtype, message, op_out(p, 0), count);
    return true;
}

bool cpu_run_all_reduce(const struct prepared *p, struct error *err)
{
    uint64_t count = tensor_elements(p->call.out_tensor[0]);
    const float *in = op_in(p, 0);
    float *out = op_out(p, 0);
    if (p->call.out_tensor[1]) return reduce_halves(p, p->call.out_tensor[1]->dtype, err);
    if (p->device->group) return group_sum_f32(p->device->group, in, out, count, err);
    if (in != out) memcpy(out, in, count * sizeof *out);
    return true;
}

/* Stored weights are permuted alike in the bucket and in its copy. */
bool cpu_run_weights_copy(const struct prepared *p, struct error *err)
{
    (void)err;
    const struct tensor *copy = p->call.out_tensor[0];
    narrow_elements(copy->dtype, op_in(p, 0), op_out(p, 0), tensor_elements(copy));
    return true;
}

/* Gradients of stored weights are permuted alike in both buckets. */
bool cpu_run_gradients_widen(const struct prepared *p, struct error *err)
{
    (void)err;
    const struct graph *graph = p->call.graph;
    const uint8_t *half = op_in(p, 0);
    float *bucket = op_out(p, 0);
    for (size_t t = 0; t < graph->tensor_count; t++) {
        const struct tensor *gradient = &graph->tensors[t];
        if (gradient->view_of != p->call.op->in[0]) continue;
        float *to = bucket + gradient->view_offset / sizeof(uint16_t);
        widen_elements(gradient->dtype, half + gradient->view_offset, to, tensor_elements(gradient));
    }
    return true;
}
