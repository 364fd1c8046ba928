/* The backend's two tables: the same but for who prepares an op. */
#include <inttypes.h>
#include <stdio.h>

#include "cuda_backend.h"
#include "cuda_group.h"
#include "cuda_slots.h"
#include "mem.h"

/* ---- Ops ---- */

/* Engines are chosen under what the plan gave (conv.c): none is too little. */
static bool op_workspace_bytes(const struct graph *graph, const struct op *op, enum op_pass pass, uint64_t *bytes,
                               struct error *err)
{
    (void)graph;
    (void)op;
    (void)pass;
    (void)err;
    *bytes = 0;
    return true;
}

static bool check_tensor(const struct device *device, const struct tensor *tensor, uint64_t offset, struct error *err)
{
    char name[CUDA_DEVICE_NAME];
    if (tensor->dtype == DTYPE_BF16 && device->properties.major < 8)
        return error_set(err, ERROR_INPUT,
                         "the plan keeps activations in bf16, and %s, has compute capability %d.%d: bf16 needs 8.0; "
                         "plan again with --dtype f16 or f32",
                         device_name(device, name), device->properties.major, device->properties.minor);
    return check_arena_range(device, "a tensor", offset, tensor->bytes, err);
}

static bool check_operands(const struct device *device, const struct op_call *call, struct error *err)
{
    for (unsigned i = 0; i < call->op->inputs; i++)
        if (call->in_tensor[i]) TRY(check_tensor(device, call->in_tensor[i], call->in[i], err));
    for (unsigned i = 0; i < call->op->outputs; i++)
        if (call->out_tensor[i]) TRY(check_tensor(device, call->out_tensor[i], call->out[i], err));
    return call->workspace_bytes == 0 ||
           check_arena_range(device, "a workspace", call->workspace, call->workspace_bytes, err);
}

/* Between the arena and host memory. */
static bool prepare_transfer(struct prepared *p, struct error *err)
{
    struct device *device = p->device;
    const struct op_call *call = &p->call;
    bool leaves = call->pass == PASS_OFFLOAD;
    uint64_t bytes = call->in_tensor[0]->bytes, here = leaves ? call->in[0] : call->out[0],
             host = leaves ? call->out[0] : call->in[0];
    TRY(check_arena_range(device, "a copy", here, bytes, err));
    TRY(check_host_range(device, "a copy", host, bytes, err));
    return leaves ? prepared_copy(p, device->host + host, device_at(device, here), bytes, err)
                  : prepared_copy(p, device_at(device, here), device->host + host, bytes, err);
}

/* Whole, a BN has no place where sums of devices meet. */
static bool check_statistics(const struct prepared *p, struct error *err)
{
    enum op_kind kind = p->call.op->kind;
    if ((kind != OP_BN && kind != OP_BN_BWD) || !p->call.op->attr.bn.sync || !p->device->has_peers) return true;
    return error_set(
        err, ERROR_INPUT,
        "the plan takes statistics over all devices (--sync-bn), which the cuda backend does where BN is taken "
        "apart alone (--fuse bn); plan again with that, or without --sync-bn");
}

static bool prepare_compute(struct prepared *p, struct error *err)
{
    enum op_kind kind = p->call.op->kind;
    const struct cuda_table *table = p->device->table;
    TRY(check_operands(p->device, &p->call, err));
    TRY(check_statistics(p, err));
    if (!table->prepare[kind])
        return error_set(err, ERROR_FAILED, "the %s backend has no kernel for %s", table->name, op_kind_name(kind));
    return table->prepare[kind](p, err);
}

static bool prepare(struct device *device, const struct op_call *call, struct prepared **prepared, struct error *err)
{
    const struct vendor *vendor = device->vendor;
    TRY(cuda_check(vendor, vendor->cuda.SetDevice((int)device->options.ordinal), err, "GPU %u",
                   device->options.ordinal));
    struct prepared *made = mem_zalloc(MEM_KERNEL, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a prepared op");
    made->device = device;
    made->call = *call;
    bool copies = call->pass == PASS_OFFLOAD || call->pass == PASS_FETCH;
    if (!(copies ? prepare_transfer : prepare_compute)(made, err)) {
        prepared_release(made);
        mem_free(made);
        return false;
    }
    *prepared = made;
    return true;
}

static bool op_prepare(struct device *device, const struct op_call *call, struct prepared **prepared, struct error *err)
{
    TRY(device_usable(device, err));
    return device_settle(device, prepare(device, call, prepared, &device->first), err);
}

static bool op_launch(struct prepared *prepared, struct stream *stream, struct error *err)
{
    struct device *device = prepared->device;
    TRY(device_usable(device, err));
    return device_settle(device, prepared_launch(prepared, stream, &device->first), err);
}

static void op_release(struct prepared *prepared)
{
    if (!prepared) return;
    prepared_release(prepared);
    mem_free(prepared);
}

/* ---- The tables ---- */

static void device_remark(const struct device *device, char out[DEVICE_REMARK])
{
    const char *why, *first;
    uint64_t naive = cuda_naive_convolutions(device, &why), apart = cuda_apart_convolutions(device, &first);
    size_t length = 0;
    out[0] = '\0';
    if (naive > 0)
        length = (size_t)snprintf(out, DEVICE_REMARK,
                                  "%" PRIu64 " convolution%s run by plain loops, which are slow, as there is no engine "
                                  "of cuDNN; the first: %s",
                                  naive, naive == 1 ? " is" : "s are", why);
    if (apart > 0 && length < DEVICE_REMARK)
        snprintf(out + length, DEVICE_REMARK - length,
                 "%s%" PRIu64 " convolution%s taken apart, as cuDNN refuses what the plan fuses with %s; the first: %s",
                 length ? "; " : "", apart, apart == 1 ? " is" : "s are", apart == 1 ? "it" : "them", first);
}

/* bf16 from capability 8.0 on, which op_prepare checks. */
static uint32_t activation_dtypes(void) { return 1u << DTYPE_F32 | 1u << DTYPE_F16 | 1u << DTYPE_BF16; }

static bool create_fast(const struct device_options *options, uint64_t arena_bytes, struct device **device,
                        struct error *err)
{
    return cuda_device_create(&cuda_fast_table, options, arena_bytes, device, err);
}

static bool create_reference(const struct device_options *options, uint64_t arena_bytes, struct device **device,
                             struct error *err)
{
    return cuda_device_create(&cuda_reference_table, options, arena_bytes, device, err);
}

#define CUDA_BACKEND(own_name, create)                                                                                 \
    {                                                                                                                  \
        .name = (own_name), .op_workspace = op_workspace_bytes, .device_create = (create),                             \
        .device_destroy = cuda_device_destroy, .set_step = cuda_set_step, .copy_in = cuda_copy_in,                     \
        .image_in = cuda_image_in, .copy_out = cuda_copy_out, .add_squares = cuda_add_squares, .fill = cuda_fill,      \
        .parameter_in = cuda_parameter_in, .parameter_out = cuda_parameter_out, .stream_create = cuda_stream_create,   \
        .stream_destroy = cuda_stream_destroy, .event_create = cuda_event_create, .event_destroy = cuda_event_destroy, \
        .event_record = cuda_event_record, .event_wait = cuda_event_wait, .event_synchronize = cuda_event_synchronize, \
        .foresee = cuda_foresee, .op_prepare = op_prepare, .op_launch = op_launch, .op_release = op_release,           \
        .group_name = cuda_group_name, .group_create = cuda_group_create, .group_join = cuda_group_join,               \
        .group_abort = cuda_group_abort, .group_destroy = cuda_group_destroy, .record_begin = cuda_record_begin,       \
        .record_end = cuda_record_end, .replay = cuda_replay, .recording_destroy = cuda_recording_destroy,             \
        .recording_is_spoilt = cuda_recording_is_spoilt, .pinned_create = cuda_pinned_create,                          \
        .pinned_destroy = cuda_pinned_destroy, .host_create = cuda_host_create, .host_fill = cuda_host_fill,           \
        .event_create_timed = cuda_event_create_timed, .event_elapsed_ns = cuda_event_elapsed_ns,                      \
        .memory_used = cuda_memory_used, .device_remark = device_remark, .left_behind = cuda_left_behind,              \
        .activation_dtypes = activation_dtypes,                                                                        \
    }

const struct backend cuda_backend = CUDA_BACKEND("cuda", create_fast);
const struct backend cuda_reference_backend = CUDA_BACKEND("cuda-reference", create_reference);
