/* An op's operands as cuDNN's arguments, and a run of a plan over them. */
#include <string.h>

#include "bn_layout.h"
#include "conv.h"

#define ALIGNMENT 16u /* of cuDNN's operands, as cudnn_graph.c promises */

struct binding {
    int64_t ids[CONVOLUTION_OPERANDS];
    void *at[CONVOLUTION_OPERANDS];
    int64_t count;
    uintptr_t low_bits; /* of all addresses */
};

static void bind(struct binding *b, enum convolution_operand operand, const void *at)
{
    b->ids[b->count] = operand;
    memcpy(&b->at[b->count++], &at, sizeof at);
    b->low_bits |= (uintptr_t)at;
}

static const float *row_at(const void *norm, enum bn_norm_row row, uint32_t channels)
{
    return (const float *)norm + (size_t)row * channels;
}

static void bind_prologue(struct binding *b, const struct prepared *p, const struct engine_question *q, unsigned norm)
{
    const uint8_t *scale = (const uint8_t *)row_at(op_in(p, norm), BN_ROW_PROLOGUE, q->channels);
    if (!(q->fused & CONV_NORMALIZED)) return;
    bind(b, OPERAND_SCALE, scale);
    bind(b, OPERAND_SHIFT, scale + (q->dtype == DTYPE_F16 ? 2 : sizeof(float)) * q->channels);
}

/* As the convolution reads it. */
static const void *input_of(const struct prepared *p, const struct conv_way *way)
{
    return way->apart & CONV_NORMALIZED ? way->normalized : op_in(p, 0);
}

static void bind_forward(struct binding *b, const struct prepared *p, const struct conv_way *way)
{
    const struct engine_question *q = &way->question;
    const struct conv_operands o = conv_operands(p->call.op);
    const float *sums = op_out(p, 1);
    bind(b, OPERAND_X, input_of(p, way));
    bind(b, OPERAND_Y, op_out(p, 0));
    bind_prologue(b, p, q, o.norm);
    if (q->fused & ENGINE_BIAS) bind(b, OPERAND_BIAS, op_in(p, o.bias));
    if (q->fused & CONV_ADDS) bind(b, OPERAND_RESIDUAL, op_in(p, o.residual));
    if (!(q->fused & CONV_SUMS)) return;
    bind(b, OPERAND_SUMS, sums);
    bind(b, OPERAND_SQUARES, sums + q->filters);
}

static void bind_data(struct binding *b, const struct prepared *p, const struct engine_question *q)
{
    const struct conv_operands o = conv_operands(p->call.op);
    const float *sums = op_out(p, 1), *unread = (const float *)(const void *)p->device->scratch;
    bind(b, OPERAND_Y, op_in(p, 0));
    bind(b, OPERAND_X, op_out(p, 0));
    if (!(q->fused & CONV_GRADIENT_SUMS)) return;
    const void *norm = op_in(p, o.norm);
    bind(b, OPERAND_NORM_X, op_in(p, o.x));
    bind(b, OPERAND_MEAN, row_at(norm, BN_ROW_MEAN, q->channels));
    bind(b, OPERAND_DEVIATION, row_at(norm, BN_ROW_INVERSE_DEVIATION, q->channels));
    bind(b, OPERAND_GAMMA, row_at(norm, BN_ROW_GAMMA, q->channels));
    if (q->fused & CONV_SHUTS) bind(b, OPERAND_BETA, row_at(norm, BN_ROW_BETA, q->channels));
    bind(b, OPERAND_BETA_GRADIENT, sums);
    bind(b, OPERAND_GAMMA_GRADIENT, sums + q->channels);
    bind(b, OPERAND_UNREAD_DY, unread);
    bind(b, OPERAND_UNREAD_X, unread + q->channels);
    bind(b, OPERAND_UNREAD_BIAS, unread + 2 * (size_t)q->channels);
}

static void bind_weights(struct binding *b, const struct prepared *p, const struct conv_way *way)
{
    bind(b, OPERAND_X, input_of(p, way));
    bind(b, OPERAND_Y, op_in(p, 1));
    bind_prologue(b, p, &way->question, conv_operands(p->call.op).norm);
}

static void bind_all(struct binding *b, const struct prepared *p, const struct conv_way *way)
{
    const bool of_weights = way->question.pass == ENGINE_BACKWARD_WEIGHTS;
    void *weights = of_weights ? op_out(p, 0) : op_in(p, 1);
    bind(b, OPERAND_W, way->copy_bytes ? way->copy : weights);
    switch (way->question.pass) {
    case ENGINE_FORWARD: bind_forward(b, p, way); break;
    case ENGINE_BACKWARD_DATA: bind_data(b, p, &way->question); break;
    default: bind_weights(b, p, way); break;
    }
}

static bool set(const struct cudnn_library *cudnn, cudnnBackendDescriptor_t arguments, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t count, const void *values, struct error *err)
{
    return cudnn_check(cudnn, cudnn->set(arguments, name, type, count, values), "arguments", err);
}

bool conv_is_aligned(const struct prepared *p, const struct conv_way *way)
{
    struct binding b = {0};
    bind_all(&b, p, way);
    return b.low_bits % ALIGNMENT == 0;
}

bool conv_arguments(const struct prepared *p, const struct conv_way *way, cudnnBackendDescriptor_t *arguments,
                    bool *aligned, struct error *err)
{
    const struct cudnn_library *cudnn = p->device->convolutions->cudnn;
    struct binding b = {0};
    uint8_t *workspace = op_workspace(p);
    const void *rest = workspace && way->copy == workspace ? workspace + way->copy_bytes : workspace;
    bind_all(&b, p, way);
    *arguments = NULL;
    *aligned = b.low_bits % ALIGNMENT == 0;
    if (!*aligned) return true;
    TRY(cudnn_check(cudnn, cudnn->create(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, arguments), "arguments", err));
    return set(cudnn, *arguments, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, b.count, b.ids, err) &&
           set(cudnn, *arguments, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, b.count, b.at, err) &&
           set(cudnn, *arguments, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &rest, err) &&
           cudnn_check(cudnn, cudnn->finalize(*arguments), "arguments", err);
}

const struct tensor *conv_weights(const struct op_call *call)
{
    return call->op->kind == OP_CONV_BWD_WEIGHTS ? call->out_tensor[0] : call->in_tensor[1];
}

uint64_t conv_copy_bytes(const struct op_call *call, const struct engine_question *question)
{
    const struct tensor *weights = conv_weights(call);
    if ((uint32_t)weights->dtype == question->weights) return 0;
    return (dtype_bytes((enum dtype)question->weights, tensor_elements(weights)) + 255) / 256 * 256;
}

bool conv_execute(struct cuda_convolutions *all, const struct conv_plan *plan, cudnnBackendDescriptor_t arguments,
                  cudaStream_t stream, cudnnStatus_t *status, struct error *err)
{
    if (all->stream != stream)
        TRY(cudnn_check(all->cudnn, all->cudnn->handle_stream(all->handle, stream), "cuDNN's stream", err));
    all->stream = stream;
    *status = all->cudnn->execute(all->handle, plan->plan.plan, arguments);
    return true;
}
