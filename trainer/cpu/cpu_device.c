#define _GNU_SOURCE
#include "cpu_device.h"

#include <string.h>
#include <sys/mman.h>

#include "cpu_backend.h"
#include "cpu_peak.h"
#include "cpu_threads.h"
#include "mem.h"
#include "squares.h"
#include "weights.h"

/* Launches have finished when they return, so streams and events have nothing to hold. */
struct stream {
    struct device *device;
};
struct event {
    struct device *device;
};

/* ---- Device ---- */

static bool create_device(const struct cpu_table *table, const struct device_options *options, uint64_t arena_bytes,
                          struct device **device, struct error *err)
{
    struct device *made = mem_zalloc(MEM_GENERAL, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a virtual device");
    made->table = table;
    made->options = *options;
    made->arena_bytes = arena_bytes;
    made->threads = cpu_threads_allowed(options->threads);
    TRY_GOTO(cpu_threads_use(made->threads, err), failed);
    made->arena = mem_map(MEM_ARENA, arena_bytes);
    if (!made->arena) {
        error_memory(err, arena_bytes, "the arena of a virtual device");
        goto failed;
    }
    /* Taken now and not page by page in the first step; in large pages, which spare the kernels address misses. */
    madvise(made->arena, arena_bytes, MADV_HUGEPAGE);
    memset(made->arena, options->fill, arena_bytes);
    TRY_GOTO(onednn_create(&made->onednn, err), failed);
    *device = made;
    return true;
failed:
    mem_unmap(MEM_ARENA, made->arena, arena_bytes);
    mem_free(made);
    return false;
}

static bool create_fast(const struct device_options *options, uint64_t arena_bytes, struct device **device,
                        struct error *err)
{
    return create_device(&cpu_fast_table, options, arena_bytes, device, err);
}

static bool create_reference(const struct device_options *options, uint64_t arena_bytes, struct device **device,
                             struct error *err)
{
    return create_device(&cpu_reference_table, options, arena_bytes, device, err);
}

static void device_destroy(struct device *device)
{
    if (!device) return;
    onednn_destroy(device->onednn);
    if (device->host) mem_unmap(MEM_ARENA, device->host, device->host_bytes);
    mem_unmap(MEM_ARENA, device->arena, device->arena_bytes);
    mem_free(device);
}

static bool set_step(struct device *device, struct stream *stream, const struct step *step, struct error *err)
{
    (void)stream;
    (void)err;
    device->step = *step;
    return true;
}

/* ---- Buffer ---- */

static bool check_range(const struct device *device, const char *what, uint64_t offset, uint64_t bytes,
                        struct error *err)
{
    if (offset <= device->arena_bytes && bytes <= device->arena_bytes - offset) return true;
    return error_set(err, ERROR_FAILED, "%s at bytes [%llu, %llu) lies outside the arena of %llu bytes", what,
                     (unsigned long long)offset, (unsigned long long)(offset + bytes),
                     (unsigned long long)device->arena_bytes);
}

static bool copy_in(struct device *device, struct stream *stream, uint64_t offset, const void *host, uint64_t bytes,
                    struct error *err)
{
    (void)stream;
    TRY(check_range(device, "a copy", offset, bytes, err));
    memcpy(device->arena + offset, host, bytes);
    return true;
}

static bool copy_out(struct device *device, struct stream *stream, void *host, uint64_t offset, uint64_t bytes,
                     struct error *err)
{
    (void)stream;
    TRY(check_range(device, "a copy", offset, bytes, err));
    memcpy(host, device->arena + offset, bytes);
    return true;
}

static bool image_in(struct device *device, struct stream *stream, const struct tensor *tensor, uint64_t offset,
                     const float *host, struct error *err)
{
    TRY(check_range(device, "images", offset, tensor->bytes, err));
    if (tensor->dtype == DTYPE_F32) return copy_in(device, stream, offset, host, tensor->bytes, err);
    TRY(cpu_threads_use(device->threads, err));
    narrow_elements(tensor->dtype, host, device->arena + offset, tensor_elements(tensor));
    return true;
}

static uint32_t activation_dtypes(void) { return 1u << DTYPE_F32 | 1u << DTYPE_F16 | 1u << DTYPE_BF16; }

static bool fill(struct device *device, struct stream *stream, uint64_t offset, uint64_t bytes, uint8_t byte,
                 struct error *err)
{
    (void)stream;
    TRY(check_range(device, "a fill", offset, bytes, err));
    memset(device->arena + offset, byte, bytes);
    return true;
}

static bool add_squares(struct device *device, struct stream *stream, uint64_t offset, enum dtype dtype, uint64_t count,
                        double *sum, struct error *err)
{
    (void)stream;
    TRY(check_range(device, "a sum of squares", offset, dtype_bytes(dtype, count), err));
    TRY(cpu_threads_use(device->threads, err));
    *sum += cpu_sum_squares(device->arena + offset, dtype, count);
    return true;
}

/* ---- Host memory: a second block beside the arena ---- */

static bool check_host_range(const struct device *device, const char *what, uint64_t offset, uint64_t bytes,
                             struct error *err)
{
    if (offset <= device->host_bytes && bytes <= device->host_bytes - offset) return true;
    return error_set(err, ERROR_FAILED, "%s at bytes [%llu, %llu) lies outside the host memory of %llu bytes", what,
                     (unsigned long long)offset, (unsigned long long)(offset + bytes),
                     (unsigned long long)device->host_bytes);
}

static bool host_create(struct device *device, uint64_t bytes, struct error *err)
{
    device->host = mem_map(MEM_ARENA, bytes);
    if (!device->host) return error_memory(err, bytes, "the host memory of a virtual device");
    device->host_bytes = bytes;
    memset(device->host, device->options.fill, bytes);
    return true;
}

static bool host_fill(struct device *device, struct stream *stream, uint64_t offset, uint64_t bytes, uint8_t byte,
                      struct error *err)
{
    (void)stream;
    TRY(check_host_range(device, "a fill", offset, bytes, err));
    memset(device->host + offset, byte, bytes);
    return true;
}

static bool run_copy(const struct prepared *p, struct error *err)
{
    (void)err;
    const struct device *device = p->device;
    bool leaves = p->call.pass == PASS_OFFLOAD;
    uint8_t *host = device->host + (leaves ? p->call.out[0] : p->call.in[0]);
    uint8_t *here = device->arena + (leaves ? p->call.in[0] : p->call.out[0]);
    memcpy(leaves ? host : here, leaves ? here : host, p->call.in_tensor[0]->bytes);
    return true;
}

static bool check_copy(const struct device *device, const struct op_call *call, struct error *err)
{
    bool leaves = call->pass == PASS_OFFLOAD;
    uint64_t bytes = call->in_tensor[0]->bytes;
    return check_host_range(device, "a copy", leaves ? call->out[0] : call->in[0], bytes, err) &&
           check_range(device, "a copy", leaves ? call->in[0] : call->out[0], bytes, err);
}

static bool parameter_in(struct device *device, const struct tensor *tensor, uint64_t offset, const float *host,
                         struct error *err)
{
    TRY(check_range(device, "a parameter", offset, tensor->bytes, err));
    float *stored = (float *)(device->arena + offset);
    if (device->table->blocked_weights)
        weights_permute_in(tensor->dims, host, stored);
    else
        memcpy(stored, host, tensor->bytes);
    return true;
}

static bool parameter_out(struct device *device, const struct tensor *tensor, uint64_t offset, float *host,
                          struct error *err)
{
    TRY(check_range(device, "a parameter", offset, tensor->bytes, err));
    const float *stored = (const float *)(device->arena + offset);
    if (device->table->blocked_weights)
        weights_permute_out(tensor->dims, stored, host);
    else
        memcpy(host, stored, tensor->bytes);
    return true;
}

/* ---- Streams and events ---- */

static bool stream_create(struct device *device, struct stream **stream, struct error *err)
{
    struct stream *made = mem_zalloc(MEM_GENERAL, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a stream");
    made->device = device;
    *stream = made;
    return true;
}

static void stream_destroy(struct stream *stream) { mem_free(stream); }

static bool event_create(struct device *device, struct event **event, struct error *err)
{
    struct event *made = mem_zalloc(MEM_GENERAL, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "an event");
    made->device = device;
    *event = made;
    return true;
}

static void event_destroy(struct event *event) { mem_free(event); }

static bool event_pass(struct event *event, struct stream *stream, struct error *err)
{
    (void)event;
    (void)stream;
    (void)err;
    return true;
}

static bool event_synchronize(struct event *event, uint64_t limit_ns, bool *done, struct error *err)
{
    (void)event;
    (void)limit_ns;
    (void)err;
    *done = true;
    return true;
}

/* ---- Ops ---- */

static bool op_workspace(const struct cpu_table *table, const struct graph *graph, const struct op *op,
                         enum op_pass pass, uint64_t *bytes, struct error *err)
{
    struct op_call call = {.graph = graph, .op = op, .pass = pass};
    for (unsigned i = 0; i < op->inputs; i++) call.in_tensor[i] = &graph->tensors[op->in[i]];
    for (unsigned i = 0; i < op->outputs; i++) call.out_tensor[i] = &graph->tensors[op->out[i]];
    uint64_t own = 0, widened = 0;
    const bool widens = widen_is_needed(table, &call);
    if (!widens) TRY(cpu_kernel_workspace(table, &call, &own, err));
    if (widens || widen_may_be_needed(table, &call)) TRY(widen_workspace(table, &call, &widened, err));
    *bytes = own > widened ? own : widened;
    return true;
}

static bool workspace_fast(const struct graph *graph, const struct op *op, enum op_pass pass, uint64_t *bytes,
                           struct error *err)
{
    return op_workspace(&cpu_fast_table, graph, op, pass, bytes, err);
}

static bool workspace_reference(const struct graph *graph, const struct op *op, enum op_pass pass, uint64_t *bytes,
                                struct error *err)
{
    return op_workspace(&cpu_reference_table, graph, op, pass, bytes, err);
}

/* Activations, copies of weights, what is widened to their gradients and what goes between devices alone have 16 bits.
 */
static bool check_tensor(const struct device *device, const struct tensor *tensor, uint64_t offset, struct error *err)
{
    bool half = tensor->dtype == DTYPE_F16 || tensor->dtype == DTYPE_BF16;
    bool activation = tensor->role == ROLE_OUTPUT || tensor->role == ROLE_IMAGE;
    if (half && !activation && tensor->role != ROLE_WEIGHT_COPY && tensor->class != CLASS_GRADIENT &&
        tensor->class != CLASS_COMM)
        return error_set(err, ERROR_FAILED,
                         "a tensor of %s that is neither an activation, a copy of weights nor a gradient of them: the "
                         "cpu backend wants it in f32",
                         dtype_name(tensor->dtype));
    return check_range(device, "a tensor", offset, tensor->bytes, err);
}

static bool check_call(const struct device *device, const struct op_call *call, uint64_t needed, struct error *err)
{
    const struct op *op = call->op;
    unsigned outputs = cpu_outputs(call);
    for (unsigned i = 0; i < op->inputs; i++) TRY(check_tensor(device, call->in_tensor[i], call->in[i], err));
    for (unsigned i = 0; i < outputs; i++) TRY(check_tensor(device, call->out_tensor[i], call->out[i], err));
    if (call->workspace_bytes < needed)
        return error_set(
            err, ERROR_FAILED,
            "op %s needs a workspace of %llu bytes with %u threads on this CPU, the plan gives it %llu: plan "
            "again on this machine",
            op_kind_name(op->kind), (unsigned long long)needed, (unsigned)device->threads,
            (unsigned long long)call->workspace_bytes);
    return needed == 0 || check_range(device, "a workspace", call->workspace, call->workspace_bytes, err);
}

static void op_release(struct prepared *prepared)
{
    widen_release(prepared->widened);
    mem_free(prepared);
}

static bool op_prepare(struct device *device, const struct op_call *call, struct prepared **prepared, struct error *err)
{
    TRY(cpu_threads_use(device->threads, err));
    struct prepared *made = mem_zalloc(MEM_KERNEL, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a prepared op");
    made->call = *call;
    made->device = device;
    bool copies = call->pass == PASS_OFFLOAD || call->pass == PASS_FETCH;
    made->run = copies                           ? run_copy
                : call->pass == PASS_RECONSTRUCT ? device->table->reconstruct
                                                 : device->table->kernels[call->op->kind].run;
    uint64_t needed = 0;
    bool (*find)(struct prepared *, uint64_t *, struct error *) =
        widen_is_needed(device->table, call) ? widen_prepare : cpu_find_kernel;
    bool ok =
        copies ? check_copy(device, call, err) : find(made, &needed, err) && check_call(device, call, needed, err);
    if (!ok) {
        op_release(made);
        return false;
    }
    *prepared = made;
    return true;
}

static bool op_launch(struct prepared *prepared, struct stream *stream, struct error *err)
{
    (void)stream;
    if (prepared->device->halted && prepared->call.pass == PASS_UPDATE) return true;
    TRY(cpu_threads_use(prepared->device->threads, err)); /* the driving thread need not be the one that prepared */
    return prepared->run(prepared, err);
}

/* ---- Groups, and what a plan is told ---- */

static bool group_join(struct group *group, struct device *device, struct error *err)
{
    TRY(cpu_group_join(group, device->options.wait_limit_ns, err));
    device->group = group;
    return true;
}

/* Gradients are not read through a BN by both gradients of a convolution, which would compute them twice: that takes
 * longer than the one pass over memory that it saves (docs/measurements.md). The gradient of data does, and writes
 * them. In 16 bits the lowered ops work on whole tensors in f32, and nothing fused is as fast. */
static uint32_t lowering(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? LOWER_EXACT & ~(uint32_t)(LOWER_GRADIENT | LOWER_WEIGHTS) : 0;
}

static bool measure_peaks(uint32_t threads, uint64_t most_bytes, struct device_peaks *peaks)
{
    struct cpu_peak peak;
    uint64_t bytes = most_bytes < CPU_PEAK_QUICK ? most_bytes & ~(CPU_PEAK_LEAST - 1) : CPU_PEAK_QUICK;
    if (!cpu_peak_measure(threads, bytes > CPU_PEAK_LEAST ? bytes : CPU_PEAK_LEAST, &peak, NULL)) return false;
    *peaks = (struct device_peaks){.flops = 2 * peak.macs, .bytes = peak.bytes};
    return true;
}

#define CPU_BACKEND(own_name, measure, create)                                                                         \
    {                                                                                                                  \
        .name = (own_name), .in_host_memory = true, .op_workspace = (measure), .device_create = (create),              \
        .device_destroy = device_destroy, .set_step = set_step, .copy_in = copy_in, .image_in = image_in,              \
        .copy_out = copy_out, .add_squares = add_squares, .fill = fill, .parameter_in = parameter_in,                  \
        .parameter_out = parameter_out, .stream_create = stream_create, .stream_destroy = stream_destroy,              \
        .event_create = event_create, .event_destroy = event_destroy, .event_record = event_pass,                      \
        .event_wait = event_pass, .event_synchronize = event_synchronize, .op_prepare = op_prepare,                    \
        .op_launch = op_launch, .op_release = op_release, .group_name = cpu_group_name,                                \
        .group_create = cpu_group_create, .group_bytes = cpu_group_bytes, .group_join = group_join,                    \
        .group_abort = cpu_group_abort, .group_destroy = cpu_group_destroy, .host_create = host_create,                \
        .host_fill = host_fill, .activation_dtypes = activation_dtypes, .lowering = lowering,                          \
        .measure_peaks = measure_peaks,                                                                                \
    }

const struct backend cpu_backend = CPU_BACKEND("cpu", workspace_fast, create_fast);
const struct backend cpu_reference_backend = CPU_BACKEND("cpu-reference", workspace_reference, create_reference);
