/* Convolutions by cuDNN: what an op is given, and what a launch does. */
#include "conv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bn_layout.h"
#include "cuda_backend.h"
#include "cuda_ops.h"
#include "mem.h"

#define ALIGNMENT 16u /* of cuDNN's operands, as cudnn_graph.c promises */

/* ---- The device's ---- */

/* Without cuDNN there are no engines. */
static bool begin_cudnn(struct cuda_convolutions *all, struct error *err)
{
    const struct vendor *vendor = all->device->vendor;
    if (!vendor->has_cudnn) {
        snprintf(all->why_naive, sizeof all->why_naive, "%.*s", (int)sizeof all->why_naive - 1,
                 vendor->cudnn_fault.text);
        return true;
    }
    TRY(cudnn_check(&vendor->cudnn, vendor->cudnn.handle_create(&all->handle), "cuDNN's handle", err));
    all->cudnn = &vendor->cudnn;
    conv_cache_begin(all);
    return true;
}

static bool begin(struct device *device, struct error *err)
{
    if (device->convolutions) return true;
    struct cuda_convolutions *all = mem_zalloc(MEM_KERNEL, 1, sizeof *all);
    if (!all) return error_memory(err, sizeof *all, "convolutions");
    all->device = device;
    if (!begin_cudnn(all, err)) {
        cuda_convolutions_destroy(all);
        return false;
    }
    device->convolutions = all;
    return true;
}

void cuda_convolutions_destroy(struct cuda_convolutions *all)
{
    if (!all) return;
    for (size_t i = 0; i < all->count; i++) {
        if (all->plans[i]->there) cudnn_plan_finish(&all->plans[i]->plan);
        mem_free(all->plans[i]);
    }
    mem_free(all->plans);
    engine_book_finish(&all->book);
    if (all->handle) all->cudnn->handle_destroy(all->handle);
    mem_free(all);
}

uint64_t cuda_naive_convolutions(const struct device *device, const char **why)
{
    const struct cuda_convolutions *all = device->convolutions;
    *why = all ? all->why_naive : "";
    return all ? all->naive : 0;
}

/* ---- Launching ---- */

struct conv_call {
    struct cuda_convolutions *all;
    const struct conv_plan *plan;
    cudnnBackendDescriptor_t arguments;
    const char *kind, *path; /* of the op, the graph's */
};

static bool failed(const struct conv_call *call, cudnnStatus_t status, struct error *err)
{
    char words[ENGINE_QUESTION_TEXT];
    struct error why = {0};
    conv_cache_avoid(call->all, call->plan);
    cudnn_check(call->all->cudnn, status, "cuDNN", &why);
    return error_set(
        err, ERROR_FAILED,
        "%s of %s (%s): engine %" PRId64 " of cuDNN failed when it ran: %.300s; the next run takes another", call->kind,
        call->path, engine_question_words(&call->plan->question, words), call->plan->engine.id, why.text);
}

static bool run(void *context, struct stream *stream, struct error *err)
{
    const struct conv_call *call = context;
    struct cuda_convolutions *all = call->all;
    if (all->stream != stream->handle)
        TRY(cudnn_check(all->cudnn, all->cudnn->handle_stream(all->handle, stream->handle), "cuDNN's stream", err));
    all->stream = stream->handle;
    cudnnStatus_t status = all->cudnn->execute(all->handle, call->plan->plan.plan, call->arguments);
    return status == CUDNN_STATUS_SUCCESS || failed(call, status, err);
}

static void release(void *context)
{
    struct conv_call *call = context;
    if (call->arguments) call->all->cudnn->destroy(call->arguments);
    mem_free(call);
}

/* ---- Operands ---- */

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

static void bind_forward(struct binding *b, const struct prepared *p, const struct engine_question *q)
{
    const struct conv_operands o = conv_operands(p->call.op);
    const float *sums = op_out(p, 1);
    bind(b, OPERAND_X, op_in(p, 0));
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

static void bind_weights(struct binding *b, const struct prepared *p, const struct engine_question *q)
{
    bind(b, OPERAND_X, op_in(p, 0));
    bind(b, OPERAND_Y, op_in(p, 1));
    bind_prologue(b, p, q, conv_operands(p->call.op).norm);
}

/* ---- Preparing ---- */

/* A way to run the op. */
struct way {
    struct engine_question question;
    const struct conv_plan *plan; /* NULL: none */
    uint64_t copy_bytes; /* of 16-bit weights, or their gradient, at the head of the workspace; 0 = as they lie */
};

static const struct tensor *weights_of(const struct prepared *p)
{
    return p->call.op->kind == OP_CONV_BWD_WEIGHTS ? p->call.out_tensor[0] : p->call.in_tensor[1];
}

static uint64_t copy_bytes(const struct prepared *p, const struct engine_question *q)
{
    const struct tensor *weights = weights_of(p);
    if ((uint32_t)weights->dtype == q->weights) return 0;
    return (dtype_bytes((enum dtype)q->weights, tensor_elements(weights)) + 255) / 256 * 256;
}

/* The first question of the op that has an engine. */
static bool find_way(struct cuda_convolutions *all, const struct prepared *p, struct way *way, struct error *err)
{
    const struct op_call *call = &p->call;
    way->plan = NULL;
    if (!all->cudnn || !engine_question_of(call->graph, call->op, call->pass, &way->question)) return true;
    do {
        way->copy_bytes = copy_bytes(p, &way->question);
        if (way->copy_bytes > call->workspace_bytes) continue;
        TRY(conv_plan_find(all, &way->question, call->workspace_bytes - way->copy_bytes, &way->plan, err));
    } while (!way->plan && engine_question_next(&way->question));
    return true;
}

static bool make_arguments(struct conv_call *call, const struct binding *b, void *workspace, struct error *err)
{
    const struct cudnn_library *cudnn = call->all->cudnn;
    return cudnn_check(cudnn, cudnn->create(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &call->arguments), "arguments",
                       err) &&
           cudnn_check(
               cudnn,
               cudnn->set(call->arguments, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, b->count, b->ids),
               "arguments", err) &&
           cudnn_check(
               cudnn,
               cudnn->set(call->arguments, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, b->count, b->at),
               "arguments", err) &&
           cudnn_check(
               cudnn,
               cudnn->set(call->arguments, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace),
               "arguments", err) &&
           cudnn_check(cudnn, cudnn->finalize(call->arguments), "arguments", err);
}

static bool add_call(struct prepared *p, const struct way *way, const struct binding *b, struct error *err)
{
    uint8_t *workspace = op_workspace(p);
    struct conv_call *call = mem_zalloc(MEM_KERNEL, 1, sizeof *call);
    if (!call) return error_memory(err, sizeof *call, "a convolution");
    *call = (struct conv_call){.all = p->device->convolutions,
                               .plan = way->plan,
                               .kind = op_kind_name(p->call.op->kind),
                               .path = p->call.graph->layers[p->call.op->layer].path};
    if (make_arguments(call, b, workspace ? workspace + way->copy_bytes : NULL, err))
        return prepared_call(p, run, release, call, err);
    release(call);
    return false;
}

static void bind_all(struct binding *b, const struct prepared *p, const struct way *way)
{
    const bool of_weights = way->question.pass == ENGINE_BACKWARD_WEIGHTS;
    void *weights = of_weights ? op_out(p, 0) : op_in(p, 1);
    bind(b, OPERAND_W, way->copy_bytes ? op_workspace(p) : weights);
    switch (way->question.pass) {
    case ENGINE_FORWARD: bind_forward(b, p, &way->question); break;
    case ENGINE_BACKWARD_DATA: bind_data(b, p, &way->question); break;
    default: bind_weights(b, p, &way->question); break;
    }
}

static bool add_bias_gradient(struct prepared *p, struct error *err)
{
    return !op_out(p, 1) || cuda_add_bias_gradient(p, p->call.in_tensor[1], op_in(p, 1), op_out(p, 1), err);
}

static bool add_actions(struct prepared *p, const struct way *way, const struct binding *b, struct error *err)
{
    const enum dtype dtype = (enum dtype)way->question.weights;
    const uint64_t elements = tensor_elements(weights_of(p));
    if (way->question.pass != ENGINE_BACKWARD_WEIGHTS)
        return (!way->copy_bytes || cuda_add_rounding(p, op_in(p, 1), op_workspace(p), elements, dtype, err)) &&
               add_call(p, way, b, err);
    return add_call(p, way, b, err) &&
           (!way->copy_bytes || cuda_add_widening(p, op_workspace(p), op_out(p, 0), elements, dtype, err)) &&
           add_bias_gradient(p, err);
}

static bool prepare_naive(struct prepared *p, const char *why, struct error *err)
{
    struct cuda_convolutions *all = p->device->convolutions;
    char fused[ENGINE_FUSED_TEXT];
    const struct op *op = p->call.op;
    if (all->naive++ == 0 && all->cudnn)
        snprintf(all->why_naive, sizeof all->why_naive, "%s of %s (%s%s%s): %s", op_kind_name(op->kind),
                 p->call.graph->layers[op->layer].path, dtype_name(p->call.graph->options.dtype),
                 op->attr.conv.fused ? ", " : "", engine_fused_words(op->attr.conv.fused, fused), why);
    return cuda_prepare_naive_convolution(p, err);
}

bool cuda_prepare_convolution(struct prepared *p, struct error *err)
{
    struct way way;
    struct binding b = {0};
    TRY(begin(p->device, err) && find_way(p->device->convolutions, p, &way, err));
    if (!way.plan) return prepare_naive(p, "cuDNN has no engine for it within its workspace", err);
    bind_all(&b, p, &way);
    if (b.low_bits % ALIGNMENT) return prepare_naive(p, "its operands are not where cuDNN can read them", err);
    return add_actions(p, &way, &b, err);
}
