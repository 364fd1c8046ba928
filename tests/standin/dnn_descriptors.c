/* Descriptors as stores of attributes, and cuDNN's calls. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dnn.h"

static _Thread_local char last_words[256];

cudnnStatus_t dnn_fail(cudnnStatus_t status, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(last_words, sizeof last_words, format, list);
    va_end(list);
    return status;
}

/* ---- Attributes ---- */

size_t dnn_value_bytes(cudnnBackendAttributeType_t type)
{
    switch (type) {
    case CUDNN_TYPE_BOOLEAN:
    case CUDNN_TYPE_CHAR: return 1;
    case CUDNN_TYPE_FLOAT:
    case CUDNN_TYPE_INT32: return 4;
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR: return 8;
    default: return sizeof(int); /* enumerations */
    }
}

struct dnn_descriptor *dnn_new(cudnnBackendDescriptorType_t type)
{
    struct dnn_descriptor *d = NEW(struct dnn_descriptor);
    d->type = type;
    d->users = 1;
    return d;
}

static void clear_attribute(struct dnn_attribute *a)
{
    struct dnn_descriptor **parts = a->values;
    for (int64_t i = 0; a->type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < a->count; i++) dnn_give(parts[i]);
    free(a->values);
}

static void clear(struct dnn_descriptor *d)
{
    for (unsigned i = 0; i < d->attribute_count; i++) clear_attribute(&d->attributes[i]);
    free(d->attributes);
    free(d->graph);
    dnn_plan_give(d->plan);
    *d = (struct dnn_descriptor){.type = d->type, .users = d->users};
}

void dnn_give(struct dnn_descriptor *d)
{
    if (!d || --d->users > 0) return;
    clear(d);
    free(d);
}

const struct dnn_attribute *dnn_find(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name)
{
    for (unsigned i = 0; i < d->attribute_count; i++)
        if (d->attributes[i].name == name) return &d->attributes[i];
    return NULL;
}

static struct dnn_attribute *slot(struct dnn_descriptor *d, cudnnBackendAttributeName_t name)
{
    for (unsigned i = 0; i < d->attribute_count; i++)
        if (d->attributes[i].name == name) {
            clear_attribute(&d->attributes[i]);
            return &d->attributes[i];
        }
    d->attributes = need(realloc(d->attributes, (d->attribute_count + 1) * sizeof *d->attributes));
    return &d->attributes[d->attribute_count++];
}

void dnn_put(struct dnn_descriptor *d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
             int64_t count, const void *values)
{
    size_t bytes = (size_t)count * dnn_value_bytes(type);
    void *copy = need(malloc(bytes + 1));
    memcpy(copy, values, bytes);
    struct dnn_descriptor **parts = copy;
    for (int64_t i = 0; type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < count; i++) parts[i]->users++;
    struct dnn_attribute *a = slot(d, name);
    *a = (struct dnn_attribute){.name = name, .type = type, .count = count, .values = copy};
}

int64_t dnn_i64(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name, unsigned n, int64_t otherwise)
{
    const struct dnn_attribute *a = dnn_find(d, name);
    return a && n < a->count ? ((const int64_t *)a->values)[n] : otherwise;
}

int dnn_enum(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name, int otherwise)
{
    const struct dnn_attribute *a = dnn_find(d, name);
    return a ? *(const int *)a->values : otherwise;
}

bool dnn_bool(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name)
{
    const struct dnn_attribute *a = dnn_find(d, name);
    return a && *(const bool *)a->values;
}

double dnn_real(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name, double otherwise)
{
    const struct dnn_attribute *a = dnn_find(d, name);
    if (!a) return otherwise;
    return a->type == CUDNN_TYPE_DOUBLE ? *(const double *)a->values : (double)*(const float *)a->values;
}

struct dnn_descriptor *dnn_part(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name)
{
    const struct dnn_attribute *a = dnn_find(d, name);
    return a ? *(struct dnn_descriptor **)a->values : NULL;
}

/* ---- Calls: descriptors ---- */

static void touch(const struct dnn_descriptor *d)
{
    if (d->busy) violate("a descriptor of cuDNN is used by two threads at once");
}

static cudnnStatus_t enter(struct call *call)
{
    lock_take();
    int code = call_count(call);
    return code ? dnn_fail((cudnnStatus_t)code, "as it was asked to") : CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t leave(cudnnStatus_t status)
{
    lock_give();
    return status;
}
#define DNN_BEGIN(text)                                                                                                \
    static struct call call = {.name = text};                                                                          \
    const cudnnStatus_t entered = enter(&call);                                                                        \
    if (entered != CUDNN_STATUS_SUCCESS) return leave(entered)

cudnnStatus_t EXPORTED cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                                    cudnnBackendDescriptor_t *descriptor)
{
    DNN_BEGIN("BackendCreateDescriptor");
    *descriptor = NULL;
    if (!dnn_type_known(type))
        return leave(dnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "the stand-in has no descriptors of type %d", (int)type));
    *descriptor = dnn_new(type);
    counts.descriptors++;
    return leave(CUDNN_STATUS_SUCCESS);
}

cudnnStatus_t EXPORTED cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor)
{
    DNN_BEGIN("BackendDestroyDescriptor");
    if (!descriptor) return leave(CUDNN_STATUS_SUCCESS);
    touch(descriptor);
    dnn_give(descriptor);
    counts.descriptors--;
    return leave(CUDNN_STATUS_SUCCESS);
}

cudnnStatus_t EXPORTED cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                                cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
    DNN_BEGIN("BackendSetAttribute");
    struct dnn_descriptor *d = descriptor;
    if (!d || (!values && count > 0))
        return leave(dnn_fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor, or no values"));
    touch(d);
    if (d->finalized) return leave(dnn_fail(CUDNN_STATUS_BAD_PARAM, "attribute %d after finalize", (int)name));
    cudnnStatus_t status = dnn_rule_set(d, name, type, count);
    struct dnn_descriptor *const *parts = values;
    for (int64_t i = 0; !status && type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < count; i++)
        if (!parts[i] || !parts[i]->finalized)
            status = dnn_fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "attribute %d is not finalized", (int)name);
    if (!status) dnn_put(d, name, type, count, values);
    return leave(status);
}

static cudnnStatus_t finalize(struct dnn_descriptor *d)
{
    DNN_TRY(dnn_rule_finalize(d));
    switch (d->type) {
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR: return dnn_finalize_graph(d);
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR: return dnn_finalize_heuristics(d);
    case CUDNN_BACKEND_ENGINE_DESCRIPTOR: return dnn_finalize_engine(d);
    case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR: return dnn_finalize_configuration(d);
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR: return dnn_finalize_plan(d);
    default: return CUDNN_STATUS_SUCCESS;
    }
}

cudnnStatus_t EXPORTED cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor)
{
    DNN_BEGIN("BackendFinalize");
    struct dnn_descriptor *d = descriptor;
    if (!d) return leave(dnn_fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor"));
    touch(d);
    if (d->finalized) return leave(dnn_fail(CUDNN_STATUS_BAD_PARAM, "a descriptor is finalized twice"));
    cudnnStatus_t status = finalize(d);
    d->finalized = status == CUDNN_STATUS_SUCCESS;
    return leave(status);
}

/* Into the descriptor of the caller. */
static cudnnStatus_t give_part(struct dnn_descriptor *to, const struct dnn_descriptor *from)
{
    if (!to || to->type != from->type)
        return dnn_fail(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "a descriptor of another type was given to be filled");
    clear(to);
    for (unsigned i = 0; i < from->attribute_count; i++) {
        const struct dnn_attribute *a = &from->attributes[i];
        dnn_put(to, a->name, a->type, a->count, a->values);
    }
    to->finalized = true;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t get(const struct dnn_descriptor *d, cudnnBackendAttributeName_t name,
                         cudnnBackendAttributeType_t type, int64_t room, int64_t *count, void *values)
{
    const struct dnn_attribute *a = dnn_find(d, name);
    if (!d->finalized) return dnn_fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "the descriptor is not finalized");
    if (!a) return dnn_fail(CUDNN_STATUS_BAD_PARAM, "attribute %d is not there", (int)name);
    if (a->type != type)
        return dnn_fail(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "attribute %d has another type", (int)name);
    if (count) *count = a->count;
    if (!values) return CUDNN_STATUS_SUCCESS;
    int64_t given = a->count < room ? a->count : room;
    if (type != CUDNN_TYPE_BACKEND_DESCRIPTOR) {
        memcpy(values, a->values, (size_t)given * dnn_value_bytes(type));
        return CUDNN_STATUS_SUCCESS;
    }
    for (int64_t i = 0; i < given; i++)
        DNN_TRY(give_part(((struct dnn_descriptor **)values)[i], ((struct dnn_descriptor **)a->values)[i]));
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t EXPORTED cudnnBackendGetAttribute(const cudnnBackendDescriptor_t descriptor,
                                                cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                                int64_t room, int64_t *count, void *values)
{
    DNN_BEGIN("BackendGetAttribute");
    if (!descriptor) return leave(dnn_fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor"));
    return leave(get(descriptor, name, type, room, count, values));
}

/* ---- Calls: handles ---- */

void dnn_handle_touch(const struct cudnnContext *handle)
{
    if (handle->busy) violate("a handle of cuDNN is used by two threads at once");
    if (!handle->alive) violate("a handle of cuDNN is used after its end");
}

void dnn_handle_give(struct cudnnContext *handle)
{
    if (handle && --handle->users == 0) free(handle);
}

cudnnStatus_t EXPORTED cudnnCreate(cudnnHandle_t *handle)
{
    DNN_BEGIN("Create");
    *handle = NULL;
    if (options.driver < 13000 || options.gpus == 0)
        return leave(dnn_fail(CUDNN_STATUS_NOT_INITIALIZED, "no driver, or no device"));
    if (device_now()->sticky) return leave(dnn_fail(CUDNN_STATUS_NOT_INITIALIZED, "the device has failed"));
    *handle = NEW(struct cudnnContext);
    **handle = (struct cudnnContext){.users = 1, .alive = true, .device = device_now()};
    counts.handles++;
    return leave(CUDNN_STATUS_SUCCESS);
}

cudnnStatus_t EXPORTED cudnnDestroy(cudnnHandle_t handle)
{
    DNN_BEGIN("Destroy");
    if (!handle) return leave(CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
    dnn_handle_touch(handle);
    handle->alive = false;
    dnn_handle_give(handle);
    counts.handles--;
    return leave(CUDNN_STATUS_SUCCESS);
}

cudnnStatus_t EXPORTED cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    DNN_BEGIN("SetStream");
    if (!handle) return leave(CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
    dnn_handle_touch(handle);
    const struct CUstream_st *s = stream_find(stream);
    if (!s || s->device != handle->device)
        return leave(dnn_fail(CUDNN_STATUS_BAD_PARAM_STREAM_MISMATCH, "the stream is not of the handle's device"));
    handle->stream = stream;
    return leave(CUDNN_STATUS_SUCCESS);
}

size_t EXPORTED cudnnGetVersion(void) { return options.cudnn ? options.cudnn : CUDNN_VERSION; }

size_t EXPORTED cudnnGetCudartVersion(void) { return CUDART_VERSION; }

EXPORTED const char *cudnnGetErrorString(cudnnStatus_t status)
{
    switch (status) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_BAD_PARAM_STREAM_MISMATCH: return "CUDNN_STATUS_BAD_PARAM_STREAM_MISMATCH";
    case CUDNN_STATUS_BAD_PARAM_NULL_POINTER: return "CUDNN_STATUS_BAD_PARAM_NULL_POINTER";
    case CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER: return "CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER";
    case CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED: return "CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED";
    case CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH: return "CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH";
    case CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE: return "CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE";
    case CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE: return "CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE";
    case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN: return "CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN";
    case CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE: return "CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE";
    case CUDNN_STATUS_INTERNAL_ERROR: return "CUDNN_STATUS_INTERNAL_ERROR";
    case CUDNN_STATUS_EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
    default: return "CUDNN_STATUS_UNKNOWN";
    }
}

void EXPORTED cudnnGetLastErrorString(char *text, size_t size) { snprintf(text, size, "%s", last_words); }

/* ---- Calls: execution ---- */

/* A plan with its arguments, as a command or a node of a graph. */
struct execution {
    struct dnn_plan *plan;
    void *data[MOST_TENSORS], *workspace;
    struct device *device;
};

static void run_execution(void *context)
{
    const struct execution *e = context;
    e->device->ms += e->plan->record->ms;
    dnn_run(e->plan, e->data, e->workspace);
}

static void release_execution(void *context)
{
    struct execution *e = context;
    dnn_plan_give(e->plan);
    free(e);
}

static void *find_pointer(const struct dnn_descriptor *pack, int64_t id)
{
    const struct dnn_attribute *ids = dnn_find(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS),
                               *data = dnn_find(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    for (int64_t i = 0; i < ids->count && i < data->count; i++)
        if (((const int64_t *)ids->values)[i] == id) return ((void *const *)data->values)[i];
    return NULL;
}

#define WORKSPACE_ALIGNMENT 256u

static cudnnStatus_t bind(struct execution *e, const struct dnn_descriptor *pack)
{
    const struct dnn_graph *g = &e->plan->graph;
    const struct dnn_attribute *workspace = dnn_find(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
    for (uint32_t i = 0; i < g->tensor_count; i++) {
        const struct dnn_tensor *t = &g->tensors[i];
        if (t->inner) continue;
        e->data[i] = find_pointer(pack, t->id);
        if (!e->data[i])
            return dnn_fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no pointer for tensor %lld", (long long)t->id);
        if ((uintptr_t)e->data[i] % (uintptr_t)t->alignment)
            return dnn_fail(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "tensor %lld is not aligned", (long long)t->id);
    }
    e->workspace = workspace ? *(void *const *)workspace->values : NULL;
    /* Everybody's allocators give cuDNN at least this: with less no engine was ever tried. */
    if ((uintptr_t)e->workspace % WORKSPACE_ALIGNMENT)
        return dnn_fail(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "the workspace is not aligned");
    if (e->plan->workspace_bytes > 0 && !e->workspace)
        return dnn_fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "the plan wants a workspace of %lld bytes",
                        (long long)e->plan->workspace_bytes);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t execute(struct CUstream_st *s, struct execution *e, const struct dnn_descriptor *pack)
{
    DNN_TRY(bind(e, pack));
    if (options.run_fails && e->plan->engine == (options.plain_engines ? 2 : 0))
        return dnn_fail(CUDNN_STATUS_EXECUTION_FAILED, "the first engine fails, as it was asked to");
    if (options.fusions_stop && e->plan->graph.op_count > 1)
        return dnn_fail(CUDNN_STATUS_EXECUTION_FAILED, "what fuses fails, as it was asked to");
    if (options.capture_fails && s->capture && e->plan->engine == 0)
        return dnn_fail(CUDNN_STATUS_EXECUTION_FAILED, "%s",
                        cudaGetErrorString(capture_refuses(s, cudaErrorStreamCaptureUnsupported)));
    if (s->device->sticky) return dnn_fail(CUDNN_STATUS_EXECUTION_FAILED, "%s", cudaGetErrorString(s->device->sticky));
    if (s->capture && !e->plan->executed)
        violate("a plan of cuDNN is captured before it was ever executed: its code may be loaded only then");
    e->plan->executed = true;
    e->plan->record->executes++;
    struct work *work = work_new(WORK_CALL, "a plan of cuDNN");
    work->call.run = run_execution;
    work->call.release = release_execution;
    work->call.context = need(malloc(sizeof *e));
    memcpy(work->call.context, e, sizeof *e);
    pace_note_plan(work, &e->plan->graph);
    e->plan->users++;
    cudaError_t status = stream_work(s, work);
    return status ? dnn_fail(CUDNN_STATUS_EXECUTION_FAILED, "%s", cudaGetErrorString(status)) : CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t EXPORTED cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                           cudnnBackendDescriptor_t arguments)
{
    DNN_BEGIN("BackendExecute");
    struct dnn_descriptor *p = plan, *pack = arguments;
    if (!handle || !p || !pack) return leave(dnn_fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "something is missing"));
    if (!p->finalized || !p->plan || !pack->finalized || pack->type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)
        return leave(dnn_fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "the plan or its arguments are not finalized"));
    struct CUstream_st *s = stream_find(handle->stream);
    if (!s) return leave(dnn_fail(CUDNN_STATUS_BAD_PARAM, "the handle's stream is none"));
    dnn_handle_touch(handle);
    if (handle->device != device_now()) violate("a handle of cuDNN is used while another device is the thread's");
    if (p->plan->handle && !p->plan->handle->alive) violate("a plan of cuDNN is run whose handle has ended");
    if (p->plan->handle && p->plan->handle->device != handle->device)
        return leave(dnn_fail(CUDNN_STATUS_BAD_PARAM, "the plan is of another device than the handle"));
    struct execution e = {.plan = p->plan, .device = handle->device};
    return leave(execute(s, &e, pack));
}
