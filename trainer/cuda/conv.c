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
    conv_apart_finish(all);
    conv_cache_finish(all);
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

uint64_t cuda_apart_convolutions(const struct device *device, const char **why)
{
    const struct cuda_convolutions *all = device->convolutions;
    *why = all ? all->why_apart : "";
    return all ? all->apart : 0;
}

uint64_t cuda_copied_convolutions(const struct device *device)
{
    return device->convolutions ? device->convolutions->copied : 0;
}

/* ---- Launching ---- */

struct conv_call {
    struct cuda_convolutions *all;
    const struct conv_plan *plan;
    cudnnBackendDescriptor_t arguments;
    struct op_call op;
    struct prepared *whole; /* whose action it is; */
    size_t until;           /* the first of its actions that come after this one */
    struct prepared
        *in_place; /* owned: runs instead of it, where no engine of its question does; NULL = nothing has to */
};

static bool failed(const struct conv_call *call, cudnnStatus_t status, struct error *err)
{
    char words[ENGINE_QUESTION_TEXT];
    struct error why = {0};
    cudnn_check(call->all->cudnn, status, "cuDNN", &why);
    return error_set(err, ERROR_FAILED, "%s of %s (%s): engine %" PRId64 " of cuDNN failed when it ran: %.300s",
                     op_kind_name(call->op.op->kind), call->op.graph->layers[call->op.op->layer].path,
                     engine_question_words(&call->plan->question, words), call->plan->engine.id, why.text);
}

/* Of what was given to the GPU before, too, since that tells it late: no engine is to be blamed for that. */
static bool is_well(const struct device *device, const struct stream *stream, const struct error *first,
                    struct error *err)
{
    const struct vendor *vendor = device->vendor;
    cudaError_t status = vendor->cuda.StreamQuery(stream->handle);
    if (status == cudaSuccess || status == cudaErrorNotReady) {
        vendor->cuda.GetLastError();
        return true;
    }
    return error_set(err, ERROR_FAILED, "%.400s; the GPU had failed by then: %s: %s", first->text,
                     vendor->cuda.GetErrorName(status), vendor->cuda.GetErrorString(status));
}

#define MOST_FAILURES 4 /* of one op's engines */

/* Of engines for the same question. */
static bool run_another(const struct conv_call *call, struct stream *stream, const struct error *first, bool *ran,
                        struct error *err)
{
    cudnnStatus_t status;
    for (int i = 0; i < MOST_FAILURES && conv_plan_replace(call->all, call->plan); i++) {
        TRY(conv_execute(call->all, call->plan, call->arguments, stream->handle, &status, err));
        if (status != CUDNN_STATUS_SUCCESS) continue;
        device_tell(call->all->device, false, "%s; engine %" PRId64 " runs in its place", first->text,
                    call->plan->engine.id);
        return *ran = true;
    }
    if (call->plan->there) conv_plan_give_up(call->all, call->plan);
    return true;
}

/* The op as it is prepared now: taken apart, or by plain loops. That is all of it, with what came after the
 * convolution, which must not be done twice: sums, what is added, the gradient that is widened. What came before does
 * no harm. */
static bool run_in_place(struct conv_call *call, struct stream *stream, struct error *err)
{
    struct prepared *p = mem_zalloc(MEM_KERNEL, 1, sizeof *p);
    if (!p) return error_memory(err, sizeof *p, "a convolution");
    p->device = call->all->device;
    p->call = call->op;
    call->in_place = p;
    TRY(cuda_prepare_convolution(p, err) && prepared_launch(p, stream, err));
    prepared_cut(call->whole, call->until);
    return true;
}

/* Another engine, or another way to do the op. */
static bool replace(struct conv_call *call, struct stream *stream, const struct error *first, struct error *err)
{
    bool ran = false;
    TRY(run_another(call, stream, first, &ran, err));
    if (ran) return true;
    TRY(run_in_place(call, stream, err));
    device_tell(call->all->device, false, "%s; others run in its place, and kernels for what it does besides",
                first->text);
    return true;
}

/* A failure spoils what is recorded, and nothing else: the ops are launched one by one then, and recorded anew. Not
 * where others have recorded the sums that they take together. */
static void spoil_recording(struct device *device) { device->spoilt = !device->has_peers; }

static bool recover(struct conv_call *call, struct stream *stream, cudnnStatus_t status, struct error *err)
{
    struct error first = {0};
    failed(call, status, &first);
    if (!call->all->device->recording)
        return is_well(call->all->device, stream, &first, err) && replace(call, stream, &first, err);
    conv_plan_spoil(call->all, call->plan);
    spoil_recording(call->all->device);
    return error_set(err, ERROR_FAILED, "%s", first.text);
}

/* Before the engine is blamed the GPU is asked, as it could not be while it recorded. */
static bool run_unrecorded(struct conv_call *call, struct stream *stream, struct error *err)
{
    struct error first = {0};
    error_set(&first, ERROR_FAILED, "%s of %s: engine %" PRId64 " of cuDNN failed while it was recorded",
              op_kind_name(call->op.op->kind), call->op.graph->layers[call->op.op->layer].path, call->plan->engine.id);
    return is_well(call->all->device, stream, &first, err) && replace(call, stream, &first, err);
}

/* Its plan has failed in another op that shares it. Kernels may have to be loaded and memory taken for another way,
 * which cannot be done while a step is recorded. */
static bool run_without_plan(struct conv_call *call, struct stream *stream, struct error *err)
{
    if (!call->all->device->recording) return run_in_place(call, stream, err);
    spoil_recording(call->all->device);
    return error_set(err, ERROR_FAILED,
                     "%s of %s has no engine of cuDNN any more while its step is recorded: it failed in another op",
                     op_kind_name(call->op.op->kind), call->op.graph->layers[call->op.op->layer].path);
}

static bool run(void *context, struct stream *stream, struct error *err)
{
    struct conv_call *call = context;
    cudnnStatus_t status;
    if (call->in_place) return prepared_launch(call->in_place, stream, err);
    if (!call->plan->there) return run_without_plan(call, stream, err);
    if (call->plan->unrecorded && !call->all->device->recording) return run_unrecorded(call, stream, err);
    TRY(conv_execute(call->all, call->plan, call->arguments, stream->handle, &status, err));
    return status == CUDNN_STATUS_SUCCESS || recover(call, stream, status, err);
}

static void release(void *context)
{
    struct conv_call *call = context;
    if (call->arguments) call->all->cudnn->destroy(call->arguments);
    if (call->in_place) prepared_release(call->in_place);
    mem_free(call->in_place);
    mem_free(call);
}

/* ---- Preparing ---- */

/* The first question of the op that has an engine; *why: none could be taken, for want of something else. */
static bool find_way(struct cuda_convolutions *all, const struct prepared *p, struct conv_way *way, struct error *why,
                     struct error *err)
{
    const struct op_call *call = &p->call;
    *way = (struct conv_way){0};
    if (!all->cudnn || !engine_question_of(call->graph, call->op, call->pass, &way->question)) return true;
    do {
        TRY(conv_plan_find(all, &way->question, conv_limit_bytes(call, &way->question), &way->plan, err));
        if (way->plan && !conv_apart_place(all, p, true, way, why)) way->plan = NULL;
    } while (!way->plan && conv_question_next(call, &way->question));
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
    *call = (struct conv_call){
        .all = all, .plan = way->plan, .arguments = arguments, .op = p->call, .whole = p, .until = p->count + 1};
    return prepared_call(p, run, release, call, err);
}

static bool add_bias_gradient(struct prepared *p, struct error *err)
{
    return !op_out(p, 1) || cuda_add_bias_gradient(p, p->call.in_tensor[1], op_in(p, 1), op_out(p, 1), err);
}

/* Weights that lie in f32 are rounded before, their gradients widened afterwards; around it what is taken apart. */
static bool add_actions(struct prepared *p, const struct conv_way *way, cudnnBackendDescriptor_t arguments,
                        struct error *err)
{
    const enum dtype dtype = (enum dtype)way->question.weights;
    const uint64_t elements = tensor_elements(conv_weights(&p->call));
    const bool of_weights = way->question.pass == ENGINE_BACKWARD_WEIGHTS, rounds = !of_weights && way->copy_bytes;
    if (!conv_apart_before(p, way, err) ||
        (rounds && !cuda_add_rounding(p, op_in(p, 1), way->copy, elements, dtype, err))) {
        p->device->convolutions->cudnn->destroy(arguments);
        return false;
    }
    TRY(add_call(p, way, arguments, err) && conv_apart_after(p, way, err));
    if (!of_weights) return true;
    return (!way->copy_bytes || cuda_add_widening(p, way->copy, op_out(p, 0), elements, dtype, err)) &&
           add_bias_gradient(p, err);
}

/* "conv of stage1/unit1/conv1 (f16, sums)", into out. */
#define CONV_NAME 200
static char *name_of(const struct prepared *p, char out[CONV_NAME])
{
    char fused[ENGINE_FUSED_TEXT];
    const struct op *op = p->call.op;
    snprintf(out, CONV_NAME, "%s of %s (%s%s%s)", op_kind_name(op->kind), p->call.graph->layers[op->layer].path,
             dtype_name(p->call.graph->options.dtype), op->attr.conv.fused ? ", " : "",
             engine_fused_words(op->attr.conv.fused, fused));
    return out;
}

/* The first alone is told of. */
static void note_apart(struct prepared *p, const struct conv_way *way)
{
    struct cuda_convolutions *all = p->device->convolutions;
    char name[CONV_NAME];
    all->copied += conv_copies_beside(&p->call, &way->question);
    if (way->apart && all->apart++ == 0) snprintf(all->why_apart, sizeof all->why_apart, "%s", name_of(p, name));
}

static bool prepare_naive(struct prepared *p, const char *why, struct error *err)
{
    struct cuda_convolutions *all = p->device->convolutions;
    char name[CONV_NAME];
    if (all->naive++ == 0 && all->cudnn)
        snprintf(all->why_naive, sizeof all->why_naive, "%s: %s%s", name_of(p, name), why,
                 p->call.op->attr.conv.fused ? "; a plan with --fuse none wants plain ones alone" : "");
    return cuda_prepare_naive_convolution(p, err);
}

/* What cuDNN lacks is looked for once: the first alone is told of. */
static bool prepare_without_engine(struct prepared *p, const struct error *apart, struct error *err)
{
    static const char none[] = "cuDNN has no engine for it within its workspace";
    const struct cuda_convolutions *all = p->device->convolutions;
    struct error lacks = {0};
    char why[sizeof all->why_naive];
    if (apart->text[0]) return prepare_naive(p, apart->text, err);
    if (all->naive > 0 || !all->cudnn || cudnn_can_compile(all->cudnn, &lacks)) return prepare_naive(p, none, err);
    snprintf(why, sizeof why, "%s; %.160s", none, lacks.text);
    return prepare_naive(p, why, err);
}

bool cuda_prepare_convolution(struct prepared *p, struct error *err)
{
    struct conv_way way;
    struct error apart = {0};
    cudnnBackendDescriptor_t arguments;
    bool aligned;
    TRY(conv_begin(p->device, err) && find_way(p->device->convolutions, p, &way, &apart, err));
    if (!way.plan) return prepare_without_engine(p, &apart, err);
    if (conv_arguments(p, &way, &arguments, &aligned, err) && aligned) {
        note_apart(p, &way);
        return add_actions(p, &way, arguments, err);
    }
    if (arguments) p->device->convolutions->cudnn->destroy(arguments);
    return false;
}
