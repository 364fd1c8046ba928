/* Convolutions by cuDNN: what an op is given, and what a launch does. */
#include "conv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cuda_backend.h"
#include "cuda_ops.h"
#include "mem.h"

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
    conv_book_check_carried(all);
    return true;
}

bool conv_begin(struct device *device, struct error *err)
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
    cudnn_check(call->all->cudnn, status, "cuDNN", &why);
    return error_set(err, ERROR_FAILED, "%s of %s (%s): engine %" PRId64 " of cuDNN failed when it ran: %.300s",
                     call->kind, call->path, engine_question_words(&call->plan->question, words), call->plan->engine.id,
                     why.text);
}

#define MOST_FAILURES 4 /* of one op's engines; a device that is lost fails them all */

/* In place of one that failed. Not while a step is recorded, which its failure has spoilt: the next run takes another.
 */
static bool run_another(const struct conv_call *call, struct stream *stream, cudnnStatus_t status, struct error *err)
{
    struct error first = {0};
    failed(call, status, &first);
    for (int i = 0; i < MOST_FAILURES && !call->all->device->recording; i++) {
        if (!conv_plan_replace(call->all, call->plan)) break;
        TRY(conv_execute(call->all, call->plan, call->arguments, stream->handle, &status, err));
        if (status != CUDNN_STATUS_SUCCESS) continue;
        device_tell(call->all->device, false, "%s; engine %" PRId64 " runs in its place", first.text,
                    call->plan->engine.id);
        return true;
    }
    if (call->all->device->recording) conv_cache_avoid(call->all, call->plan);
    return error_set(err, ERROR_FAILED, "%s; the next run takes another", first.text);
}

static bool run(void *context, struct stream *stream, struct error *err)
{
    const struct conv_call *call = context;
    cudnnStatus_t status;
    TRY(conv_execute(call->all, call->plan, call->arguments, stream->handle, &status, err));
    return status == CUDNN_STATUS_SUCCESS || run_another(call, stream, status, err);
}

static void release(void *context)
{
    struct conv_call *call = context;
    if (call->arguments) call->all->cudnn->destroy(call->arguments);
    mem_free(call);
}

/* ---- Preparing ---- */

/* The first question of the op that has an engine. */
static bool find_way(struct cuda_convolutions *all, const struct prepared *p, struct conv_way *way, struct error *err)
{
    const struct op_call *call = &p->call;
    way->plan = NULL;
    if (!all->cudnn || !engine_question_of(call->graph, call->op, call->pass, &way->question)) return true;
    do {
        way->copy_bytes = conv_copy_bytes(call, &way->question);
        if (way->copy_bytes > call->workspace_bytes) continue;
        TRY(conv_plan_find(all, &way->question, call->workspace_bytes - way->copy_bytes, &way->plan, err));
    } while (!way->plan && engine_question_next(&way->question));
    return true;
}

/* Owns the arguments. */
static bool add_call(struct prepared *p, const struct conv_way *way, cudnnBackendDescriptor_t arguments,
                     struct error *err)
{
    struct cuda_convolutions *all = p->device->convolutions;
    struct conv_call *call = mem_zalloc(MEM_KERNEL, 1, sizeof *call);
    if (!call) {
        all->cudnn->destroy(arguments);
        return error_memory(err, sizeof *call, "a convolution");
    }
    *call = (struct conv_call){.all = all,
                               .plan = way->plan,
                               .arguments = arguments,
                               .kind = op_kind_name(p->call.op->kind),
                               .path = p->call.graph->layers[p->call.op->layer].path};
    return prepared_call(p, run, release, call, err);
}

static bool add_bias_gradient(struct prepared *p, struct error *err)
{
    return !op_out(p, 1) || cuda_add_bias_gradient(p, p->call.in_tensor[1], op_in(p, 1), op_out(p, 1), err);
}

/* Weights that lie in f32 are rounded before, their gradients widened afterwards. */
static bool add_actions(struct prepared *p, const struct conv_way *way, cudnnBackendDescriptor_t arguments,
                        struct error *err)
{
    const enum dtype dtype = (enum dtype)way->question.weights;
    const uint64_t elements = tensor_elements(conv_weights(&p->call));
    const bool of_weights = way->question.pass == ENGINE_BACKWARD_WEIGHTS;
    if (!of_weights && way->copy_bytes && !cuda_add_rounding(p, op_in(p, 1), op_workspace(p), elements, dtype, err)) {
        p->device->convolutions->cudnn->destroy(arguments);
        return false;
    }
    TRY(add_call(p, way, arguments, err));
    if (!of_weights) return true;
    return (!way->copy_bytes || cuda_add_widening(p, op_workspace(p), op_out(p, 0), elements, dtype, err)) &&
           add_bias_gradient(p, err);
}

static bool prepare_naive(struct prepared *p, const char *why, struct error *err)
{
    struct cuda_convolutions *all = p->device->convolutions;
    char fused[ENGINE_FUSED_TEXT];
    const struct op *op = p->call.op;
    if (all->naive++ == 0 && all->cudnn)
        snprintf(all->why_naive, sizeof all->why_naive, "%s of %s (%s%s%s): %s%s", op_kind_name(op->kind),
                 p->call.graph->layers[op->layer].path, dtype_name(p->call.graph->options.dtype),
                 op->attr.conv.fused ? ", " : "", engine_fused_words(op->attr.conv.fused, fused), why,
                 op->attr.conv.fused ? "; a plan with --fuse none wants plain ones alone" : "");
    return cuda_prepare_naive_convolution(p, err);
}

/* What cuDNN lacks is looked for once: the first alone is told of. */
static bool prepare_without_engine(struct prepared *p, struct error *err)
{
    static const char none[] = "cuDNN has no engine for it within its workspace";
    const struct cuda_convolutions *all = p->device->convolutions;
    struct error lacks = {0};
    char why[sizeof all->why_naive];
    if (all->naive > 0 || !all->cudnn || cudnn_can_compile(all->cudnn, &lacks)) return prepare_naive(p, none, err);
    snprintf(why, sizeof why, "%s; %.160s", none, lacks.text);
    return prepare_naive(p, why, err);
}

bool cuda_prepare_convolution(struct prepared *p, struct error *err)
{
    struct conv_way way;
    cudnnBackendDescriptor_t arguments;
    bool aligned;
    TRY(conv_begin(p->device, err) && find_way(p->device->convolutions, p, &way, err));
    if (!way.plan) return prepare_without_engine(p, err);
    bool ok = conv_arguments(p, &way, &arguments, &aligned, err);
    if (ok && aligned) return add_actions(p, &way, arguments, err);
    if (arguments) p->device->convolutions->cudnn->destroy(arguments);
    return ok && prepare_naive(p, "its operands are not where cuDNN can read them", err);
}
