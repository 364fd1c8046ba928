/* Ops of which each element of the result is made of one element of each operand. */
#include "cuda_ops.h"

struct elementwise {
    enum kernel_id f32; /* of the family */
    bool two;           /* operands */
};

static struct elementwise kernel_of(const struct prepared *p)
{
    if (p->call.pass == PASS_RECONSTRUCT) return (struct elementwise){KERNEL_subtract_f32, true};
    switch (p->call.op->kind) {
    case OP_RELU: return (struct elementwise){KERNEL_relu_f32, false};
    case OP_RELU_BWD: return (struct elementwise){KERNEL_relu_backward_f32, true};
    case OP_MUL:
    case OP_MUL_BWD: return (struct elementwise){KERNEL_mul_f32, true};
    case OP_SCALE:
    case OP_SCALE_BWD: return (struct elementwise){KERNEL_scale_f32, false};
    case OP_SIGMOID: return (struct elementwise){KERNEL_sigmoid_f32, false};
    case OP_SIGMOID_BWD: return (struct elementwise){KERNEL_sigmoid_backward_f32, true};
    default: return (struct elementwise){KERNEL_add_f32, true};
    }
}

bool cuda_prepare_elementwise(struct prepared *p, struct error *err)
{
    const struct elementwise kernel = kernel_of(p);
    const union op_attr *attr = &p->call.op->attr;
    enum dtype dtype;
    TRY(cuda_op_dtype(p, 3, 1, &dtype, err));
    struct elementwise_arguments a = {
        .a = op_in(p, 0), .b = kernel.two ? op_in(p, 1) : NULL, .out = op_out(p, 0), .count = op_elements(p)};
    if (p->call.op->kind == OP_SCALE || p->call.op->kind == OP_SCALE_BWD) a.alpha = attr->scale.alpha;
    if (p->call.op->kind == OP_SCALE) a.beta = attr->scale.beta;
    a.vectors = cuda_vectors(a.count, dtype_bytes(dtype, 1), a.a, a.b, a.out);
    const uint64_t items = a.vectors ? a.vectors : a.count;
    return ADD_KERNEL(p, (enum kernel_id)((uint32_t)kernel.f32 + (uint32_t)dtype), cuda_grid(p, items), &a, err);
}

/* The forward op whose mask the op uses: it is drawn again. */
static uint32_t dropout_op(const struct prepared *p)
{
    const struct op_call *call = &p->call;
    return call->op->kind == OP_DROPOUT_BWD ? graph_logical_op(call->graph, call->op->forward) : call->op_index;
}

bool cuda_prepare_dropout(struct prepared *p, struct error *err)
{
    const float drop = p->call.op->attr.dropout.drop;
    enum dtype dtype;
    TRY(cuda_op_dtype(p, 1, 1, &dtype, err));
    struct dropout_arguments a = {.x = op_in(p, 0),
                                  .y = op_out(p, 0),
                                  .count = op_elements(p),
                                  .source = (uint64_t)p->device->options.number << 32 | dropout_op(p),
                                  .step = p->device->step,
                                  .threshold = op_trains(p) ? (uint32_t)((double)drop * 0x1p32) : 0,
                                  .keep = op_trains(p) ? 1 / (1 - drop) : 1};
    a.vectors = cuda_vectors(4, 4, a.x, a.y, NULL) ? a.count / 4 : 0;
    return ADD_KERNEL(p, KERNEL_FOR(dropout, dtype), cuda_grid(p, (a.count + 3) / 4), &a, err);
}
