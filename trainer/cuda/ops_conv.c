/* Convolutions by loops that read as their definitions, with what lowered ones do besides (lower.h). */
#include "bn_layout.h"
#include "cuda_ops.h"

static struct kernel_operand operand_of(const struct prepared *p, unsigned i)
{
    const struct tensor *tensor = i < p->call.op->inputs ? p->call.in_tensor[i] : NULL;
    return tensor ? (struct kernel_operand){op_in(p, i), tensor->dtype} : (struct kernel_operand){NULL, KERNEL_F32};
}

static struct kernel_image image_of(const struct tensor *tensor)
{
    const uint32_t *d = tensor->dims;
    return (struct kernel_image){d[0], d[1], d[2], d[3]};
}

/* ---- Operands that are read through a batch normalisation ---- */

static struct kernel_source plain_source(const struct prepared *p, unsigned i)
{
    return (struct kernel_source){.values = operand_of(p, i), .channels = p->call.in_tensor[i]->dims[3]};
}

/* Operand i as `norm` normalises it. */
static struct kernel_source normalized_source(const struct prepared *p, unsigned i, unsigned norm, bool relu)
{
    struct kernel_source s = plain_source(p, i);
    s.normal = cuda_normal(op_in(p, norm), s.channels);
    s.relu = relu;
    return s;
}

static struct kernel_source input_source(const struct prepared *p, struct conv_operands o)
{
    const uint32_t fused = p->call.op->attr.conv.fused;
    return fused & CONV_NORMALIZED ? normalized_source(p, 0, o.norm, fused & CONV_RECTIFIED) : plain_source(p, 0);
}

/* dy, operand i. */
static struct kernel_source gradient_source(const struct prepared *p, unsigned i, struct conv_operands o)
{
    struct kernel_source s = plain_source(p, i);
    if (o.y == NO_OPERAND) return s;
    s.y = operand_of(p, o.y);
    s.coefficients = op_in(p, o.coefficients);
    s.relu = (p->call.op->attr.conv.fused & CONV_GRADIENT_SHUT) != 0;
    return s;
}

/* ---- The three passes ---- */

static struct conv_arguments arguments_of(const struct prepared *p)
{
    const union op_attr *attr = &p->call.op->attr;
    return (struct conv_arguments){.out = op_out(p, 0),
                                   .out_type = p->call.out_tensor[0]->dtype,
                                   .window_rows = attr->conv.kernel[0],
                                   .window_columns = attr->conv.kernel[1],
                                   .stride = attr->conv.stride,
                                   .row_padding = attr->conv.padding[0],
                                   .column_padding = attr->conv.padding[1]};
}

static bool add_conv(struct prepared *p, enum kernel_id kernel, const struct conv_arguments *a, struct error *err)
{
    struct kernel_image dims;
    struct launch_shape shape;
    TRY(cuda_pixels(p, p->call.out_tensor[0], 1, &dims, &shape, err));
    return ADD_KERNEL(p, kernel, shape, a, err);
}

/* In training, and not when it runs again. */
static bool writes_sums(const struct prepared *p)
{
    return p->call.op->attr.conv.fused & CONV_SUMS && p->call.pass == PASS_FORWARD;
}

static bool prepare_forward(struct prepared *p, struct error *err)
{
    const struct conv_operands o = conv_operands(p->call.op);
    struct conv_arguments a = arguments_of(p);
    a.x = input_source(p, o);
    a.w = operand_of(p, 1);
    a.bias = o.bias == NO_OPERAND ? NULL : op_in(p, o.bias);
    if (o.residual != NO_OPERAND) a.residual = operand_of(p, o.residual);
    a.x_dims = image_of(p->call.in_tensor[0]);
    a.y_dims = image_of(p->call.out_tensor[0]);
    TRY(add_conv(p, KERNEL_conv, &a, err));
    return !writes_sums(p) || cuda_add_sums(p, p->call.out_tensor[0], a.out, op_out(p, 1), true, err);
}

/* dy as it is read becomes what is read: both outputs may lie over inputs. */
static bool add_kept_gradient(struct prepared *p, struct conv_arguments *a, unsigned kept, struct error *err)
{
    const struct tensor *tensor = p->call.out_tensor[kept];
    struct conv_arguments keep = *a;
    struct kernel_image dims;
    struct launch_shape shape;
    keep.out = op_out(p, kept);
    keep.out_type = tensor->dtype;
    TRY(cuda_pixels(p, tensor, 1, &dims, &shape, err));
    a->dy = (struct kernel_source){.values = {keep.out, tensor->dtype}, .channels = tensor->dims[3]};
    return ADD_KERNEL(p, KERNEL_conv_kept_gradient, shape, &keep, err);
}

static bool prepare_data_gradient(struct prepared *p, struct error *err)
{
    const struct conv_operands o = conv_operands(p->call.op);
    const bool shuts = p->call.op->attr.conv.fused & CONV_SHUTS;
    struct conv_arguments a = arguments_of(p);
    a.dy = gradient_source(p, 0, o);
    a.w = operand_of(p, 1);
    a.x_dims = image_of(p->call.out_tensor[0]);
    a.y_dims = image_of(p->call.in_tensor[0]);
    if (o.residual != NO_OPERAND) a.residual = operand_of(p, o.residual);
    if (o.rectified != NO_OPERAND) a.rectified = operand_of(p, o.rectified);
    if (o.kept != NO_OPERAND) TRY(add_kept_gradient(p, &a, o.kept, err));
    if (o.x != NO_OPERAND && shuts) a.shut = normalized_source(p, o.x, o.norm, false);
    TRY(add_conv(p, KERNEL_conv_data_gradient, &a, err));
    if (o.x == NO_OPERAND) return true;
    return cuda_add_gradient_sums(p, p->call.out_tensor[0], op_in(p, o.x), a.out, op_in(p, o.norm), KERNEL_OPEN,
                                  op_out(p, 1), true, err);
}

static bool prepare_weight_gradient(struct prepared *p, struct error *err)
{
    const struct conv_operands o = conv_operands(p->call.op);
    struct conv_arguments a = arguments_of(p);
    a.x = input_source(p, o);
    a.dy = gradient_source(p, 1, o);
    a.x_dims = image_of(p->call.in_tensor[0]);
    a.y_dims = image_of(p->call.in_tensor[1]);
    TRY(add_conv(p, KERNEL_conv_weight_gradient, &a, err));
    if (!op_out(p, 1)) return true;
    if (o.y == NO_OPERAND) return cuda_add_bias_gradient(p, p->call.in_tensor[1], op_in(p, 1), op_out(p, 1), err);
    a.out = op_out(p, 1);
    a.out_type = p->call.out_tensor[1]->dtype;
    const uint32_t blocks = (a.y_dims.channels + KERNEL_THREADS - 1) / KERNEL_THREADS;
    return ADD_KERNEL(p, KERNEL_conv_bias_gradient,
                      ((struct launch_shape){.blocks = blocks, .threads = KERNEL_THREADS}), &a, err);
}

/* Any type; several at a time. */
bool cuda_prepare_naive_convolution(struct prepared *p, struct error *err)
{
    switch (p->call.op->kind) {
    case OP_CONV: return prepare_forward(p, err);
    case OP_CONV_BWD_DATA: return prepare_data_gradient(p, err);
    default: return prepare_weight_gradient(p, err);
    }
}
