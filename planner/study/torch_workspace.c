#include "torch_workspace.h"

#define TF32_CAPABILITY    800
#define HALF_CAPABILITY    700
#define LEAST_OF_NEW_F32   900 /* from here on with a copy of the result, too */
#define F32_CHANNELS       4
#define HALF_CHANNELS      8
#define TILE_BYTES         (128ull * 128 * 4)
#define DEFAULT_PROCESSORS 108

/* Unknown devices are taken for new ones. */
static bool has_tensor_cores(const struct device_spec *device, enum dtype dtype)
{
    uint32_t least = dtype == DTYPE_F32 ? TF32_CAPABILITY : HALF_CAPABILITY;
    return device->capability == 0 || device->capability >= least;
}

/* Of images alone, where a small window is not worth it in f32. */
static bool is_small_stem(const struct op *op, const struct tensor *x, enum dtype dtype)
{
    return dtype == DTYPE_F32 && op->kind == OP_CONV && x->dims[3] < F32_CHANNELS && op->attr.conv.kernel[0] <= 3;
}

/* Bytes of a tensor with its channels padded. */
static uint64_t padded_bytes(const struct tensor *t, uint64_t channels, enum dtype dtype)
{
    uint64_t wanted = t->dims[3] < channels ? channels : t->dims[3];
    return dtype_bytes(dtype, tensor_elements(t) / t->dims[3] * wanted);
}

/* How many partial sums of a gradient of weights there are, each as large as that in f32. */
static uint64_t count_parts(const struct device_spec *device, uint64_t weights)
{
    uint64_t processors = device->processors > 0 ? device->processors : DEFAULT_PROCESSORS,
             room = processors * TILE_BYTES;
    uint64_t parts = (room + weights / 2) / weights;
    return parts > 0 ? parts : 1;
}

bool torch_workspace_estimate(void *context, const struct graph *graph, const struct op *op, enum torch_pass pass,
                              enum dtype dtype, uint64_t *bytes, struct error *err)
{
    const struct device_spec *device = context;
    const struct tensor *x = &graph->tensors[op->in[0]], *w = &graph->tensors[op->in[1]],
                        *y = &graph->tensors[op->out[0]];
    const uint64_t channels = dtype == DTYPE_F32 ? F32_CHANNELS : HALF_CHANNELS;
    uint64_t input = dtype_bytes(dtype, tensor_elements(x)), weights = dtype_bytes(dtype, tensor_elements(w)),
             result = dtype_bytes(dtype, tensor_elements(y));
    bool in_place =
        dtype == DTYPE_F32 && x->dims[3] >= channels && device->capability > 0 && device->capability < LEAST_OF_NEW_F32;
    (void)err;
    *bytes = 0;
    if (!has_tensor_cores(device, dtype) || is_small_stem(op, x, dtype)) return true;
    if (pass == TORCH_BACKWARD_WEIGHTS) {
        uint64_t gradient = padded_bytes(w, channels, DTYPE_F32);
        *bytes = padded_bytes(x, channels, dtype) + result + count_parts(device, gradient) * gradient;
    } else {
        bool forward = pass == TORCH_FORWARD;
        *bytes = input + weights + (forward && in_place ? 0 : result);
    }
    return true;
}
