/* Fully connected layers: x is images of features, in whatever shape; weights are {classes, 1, 1, features}. */
#include "cuda_ops.h"

static struct kernel_operand operand_of(const struct prepared *p, unsigned i)
{
    return (struct kernel_operand){op_in(p, i), p->call.in_tensor[i]->dtype};
}

static bool add_product(struct prepared *p, struct product_arguments *a, struct error *err)
{
    a->out = op_out(p, 0);
    a->out_type = p->call.out_tensor[0]->dtype;
    const struct launch_shape shape = {.blocks = (a->columns + PRODUCT_TILE - 1) / PRODUCT_TILE,
                                       .blocks_y = (a->rows + PRODUCT_TILE - 1) / PRODUCT_TILE,
                                       .threads = KERNEL_THREADS,
                                       .shared_bytes = PRODUCT_SHARED};
    if (shape.blocks_y > UINT16_MAX)
        return error_set(err, ERROR_FAILED, "op %s: %u rows are more than the cuda backend multiplies at a time",
                         op_kind_name(p->call.op->kind), (unsigned)a->rows);
    return ADD_KERNEL(p, KERNEL_product, shape, a, err);
}

bool cuda_prepare_fc(struct prepared *p, struct error *err)
{
    const uint32_t *w = p->call.in_tensor[1]->dims;
    struct product_arguments a = {.a = operand_of(p, 0),
                                  .b = operand_of(p, 1),
                                  .rows = p->call.in_tensor[0]->dims[0],
                                  .columns = w[0],
                                  .depth = w[3],
                                  .a_i = w[3],
                                  .a_k = 1,
                                  .b_k = 1,
                                  .b_j = w[3],
                                  .bias = op_in(p, 2)};
    return add_product(p, &a, err);
}

bool cuda_prepare_fc_backward_data(struct prepared *p, struct error *err)
{
    const uint32_t *w = p->call.in_tensor[1]->dims;
    struct product_arguments a = {.a = operand_of(p, 0),
                                  .b = operand_of(p, 1),
                                  .rows = p->call.in_tensor[0]->dims[0],
                                  .columns = w[3],
                                  .depth = w[0],
                                  .a_i = w[0],
                                  .a_k = 1,
                                  .b_k = w[3],
                                  .b_j = 1};
    return add_product(p, &a, err);
}

bool cuda_prepare_fc_backward_weights(struct prepared *p, struct error *err)
{
    const uint32_t *dw = p->call.out_tensor[0]->dims;
    struct product_arguments a = {.a = operand_of(p, 1),
                                  .b = operand_of(p, 0),
                                  .rows = dw[0],
                                  .columns = dw[3],
                                  .depth = p->call.in_tensor[0]->dims[0],
                                  .a_i = 1,
                                  .a_k = dw[0],
                                  .b_k = dw[3],
                                  .b_j = 1};
    TRY(add_product(p, &a, err));
    return !op_out(p, 1) || cuda_add_bias_gradient(p, p->call.in_tensor[1], op_in(p, 1), op_out(p, 1), err);
}
