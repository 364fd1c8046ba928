/* Ops on the pixels and channels of images. */
#include "cuda_ops.h"

/* ---- Images of bytes ---- */

bool cuda_prepare_input(struct prepared *p, struct error *err)
{
    struct place_images_arguments a = {
        .pixels = op_in(p, 0), .placements = op_in(p, 1), .images = op_out(p, 0), .step = p->device->step};
    struct launch_shape shape;
    enum dtype dtype;
    TRY(cuda_op_dtype(p, 0, 1, &dtype, err));
    TRY(cuda_pixels(p, p->call.out_tensor[0], 3, &a.dims, &shape, err));
    return ADD_KERNEL(p, KERNEL_FOR(place_images, dtype), shape, &a, err);
}

/* ---- Pools ---- */

bool cuda_prepare_pool(struct prepared *p, struct error *err)
{
    const enum op_kind kind = p->call.op->kind;
    const bool backward = kind == OP_MAXPOOL_BWD || kind == OP_AVGPOOL_BWD;
    const bool most = kind == OP_MAXPOOL || kind == OP_MAXPOOL_BWD;
    const struct tensor *x = backward ? p->call.out_tensor[0] : p->call.in_tensor[0];
    const struct tensor *y = backward ? p->call.in_tensor[0] : p->call.out_tensor[0];
    const union op_attr *attr = &p->call.op->attr;
    const bool whole = attr->pool.kernel == 0;
    struct pool_arguments a = {.x = backward ? op_out(p, 0) : op_in(p, 0),
                               .y = backward ? op_in(p, 0) : op_out(p, 0),
                               .window_rows = whole ? x->dims[1] : attr->pool.kernel,
                               .window_columns = whole ? x->dims[2] : attr->pool.kernel,
                               .stride = whole ? 1 : attr->pool.stride,
                               .padding = whole ? 0 : attr->pool.padding};
    struct launch_shape over_x, over_y;
    enum dtype dtype;
    TRY(cuda_op_dtype(p, 1, 1, &dtype, err));
    if (most) a.mask = backward ? op_in(p, 1) : op_trains(p) ? op_out(p, 1) : NULL;
    a.width = cuda_width(x->dims[3], x->dims[3], a.x, a.y, a.mask);
    TRY(cuda_pixels(p, x, a.width, &a.x_dims, &over_x, err));
    TRY(cuda_pixels(p, y, a.width, &a.y_dims, &over_y, err));
    switch (kind) {
    case OP_MAXPOOL: return ADD_KERNEL(p, KERNEL_FOR(maxpool, dtype), over_y, &a, err);
    case OP_AVGPOOL: return ADD_KERNEL(p, KERNEL_FOR(avgpool, dtype), over_y, &a, err);
    case OP_MAXPOOL_BWD: return ADD_KERNEL(p, KERNEL_FOR(maxpool_backward, dtype), over_x, &a, err);
    default: return ADD_KERNEL(p, KERNEL_FOR(avgpool_backward, dtype), over_x, &a, err);
    }
}

/* ---- Shortcuts without parameters ---- */

bool cuda_prepare_shortcut(struct prepared *p, struct error *err)
{
    const bool backward = p->call.op->kind == OP_SHORTCUT_PAD_BWD;
    const struct tensor *x = backward ? p->call.out_tensor[0] : p->call.in_tensor[0];
    const struct tensor *y = backward ? p->call.in_tensor[0] : p->call.out_tensor[0];
    struct shortcut_arguments a = {.x = backward ? op_out(p, 0) : op_in(p, 0),
                                   .y = backward ? op_in(p, 0) : op_out(p, 0),
                                   .stride = p->call.op->attr.shortcut.stride};
    struct launch_shape over_x, over_y;
    enum dtype dtype;
    TRY(cuda_op_dtype(p, 1, 1, &dtype, err));
    a.width = cuda_width(x->dims[3], y->dims[3], a.x, a.y, NULL);
    TRY(cuda_pixels(p, x, a.width, &a.x_dims, &over_x, err));
    TRY(cuda_pixels(p, y, a.width, &a.y_dims, &over_y, err));
    return backward ? ADD_KERNEL(p, KERNEL_FOR(shortcut_pad_backward, dtype), over_x, &a, err)
                    : ADD_KERNEL(p, KERNEL_FOR(shortcut_pad, dtype), over_y, &a, err);
}

/* ---- Channels side by side ---- */

/* The channels of `part` between it and `whole`, from channel `first` there on. */
static bool add_copy(struct prepared *p, const struct tensor *part, uint32_t first, struct copy_channels_arguments a,
                     enum dtype dtype, struct error *err)
{
    const bool gathers = a.to_channels == part->dims[3];
    const uint32_t whole = gathers ? a.from_channels : a.to_channels;
    struct kernel_image dims;
    struct launch_shape shape;
    a.channels = part->dims[3];
    a.rows = (uint32_t)(tensor_elements(part) / a.channels);
    a.width = first % 8 == 0 ? cuda_width(a.channels, whole, a.from, a.to, NULL) : 1;
    TRY(cuda_pixels(p, part, a.width, &dims, &shape, err));
    return ADD_KERNEL(p, KERNEL_FOR(copy_channels, dtype), shape, &a, err);
}

bool cuda_prepare_concat(struct prepared *p, struct error *err)
{
    uint32_t first = 0;
    enum dtype dtype;
    TRY(cuda_op_dtype(p, (1u << OP_MOST_INPUTS) - 1, 1, &dtype, err));
    for (unsigned i = 0; i < p->call.op->inputs; i++) {
        const struct tensor *part = p->call.in_tensor[i];
        const struct copy_channels_arguments a = {.from = op_in(p, i),
                                                  .to = op_out(p, 0),
                                                  .from_channels = part->dims[3],
                                                  .to_channels = p->call.out_tensor[0]->dims[3],
                                                  .to_first = first};
        TRY(add_copy(p, part, first, a, dtype, err));
        first += part->dims[3];
    }
    return true;
}

bool cuda_prepare_concat_backward(struct prepared *p, struct error *err)
{
    const struct tensor *part = p->call.out_tensor[0];
    const uint32_t first = p->call.op->attr.concat.first;
    enum dtype dtype;
    TRY(cuda_op_dtype(p, 1, 1, &dtype, err));
    const struct copy_channels_arguments a = {.from = op_in(p, 0),
                                              .to = op_out(p, 0),
                                              .from_channels = p->call.in_tensor[0]->dims[3],
                                              .from_first = first,
                                              .to_channels = part->dims[3]};
    return add_copy(p, part, first, a, dtype, err);
}
