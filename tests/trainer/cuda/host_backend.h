/* The GPU backend's ops without a GPU and without its runtime: prepared as the backend prepares them, their kernels run by
 * the host (shim.h), each action when it is launched. A backend for the kits of tests/trainer/cpu. */
#ifndef FATHOM_HOST_BACKEND_H
#define FATHOM_HOST_BACKEND_H

#include <stdlib.h>
#include <string.h>

#include "cuda_device.h"
#include "host_kernels.h"
#include "mem.h"
#include "step_values.h"

/* Of the order in which threads run; a test sets it. */
static uint64_t host_backend_seed = 1;

static bool host_workspace(const struct graph *graph, const struct op *op, enum op_pass pass, uint64_t *bytes,
                           struct error *err)
{
    (void)graph;
    (void)op;
    (void)pass;
    (void)err;
    *bytes = 0;
    return true;
}

static bool host_device_create(const struct cuda_table *table, const struct device_options *options,
                               uint64_t arena_bytes, struct device **device, struct error *err)
{
    (void)err;
    static const struct vendor without_cudnn; /* convolutions are loops then */
    struct device *made = calloc(1, sizeof *made);
    made->table = table;
    made->vendor = &without_cudnn;
    made->options = *options;
    made->properties.multiProcessorCount = 4;
    made->together = table->naive ? 0 : 8;
    made->arena_bytes = arena_bytes;
    made->arena = aligned_alloc(256, (arena_bytes + 255) / 256 * 256);
    made->scratch = aligned_alloc(256, CUDA_SCRATCH_BYTES);
    memset(made->scratch, 0xff, CUDA_SCRATCH_BYTES);
    made->step = calloc(1, sizeof *made->step);
    *device = made;
    return true;
}

static bool host_create_fast(const struct device_options *options, uint64_t arena_bytes, struct device **device,
                             struct error *err)
{
    return host_device_create(&cuda_fast_table, options, arena_bytes, device, err);
}

static bool host_create_reference(const struct device_options *options, uint64_t arena_bytes, struct device **device,
                                  struct error *err)
{
    return host_device_create(&cuda_reference_table, options, arena_bytes, device, err);
}

static void host_device_destroy(struct device *device)
{
    cuda_convolutions_destroy(device->convolutions);
    free(device->arena);
    free(device->scratch);
    free(device->step);
    free(device);
}

static void host_run(const char *name, struct launch_shape shape, const void *arguments)
{
    for (size_t i = 0; i < host_kernel_count; i++)
        if (strcmp(host_kernels[i].name, name) == 0)
            host_kernels[i].run(arguments, shape.blocks, shape.blocks_y ? shape.blocks_y : 1, shape.threads,
                                shape.shared_bytes, shape.together, host_backend_seed);
}

static bool host_set_step(struct device *device, struct stream *stream, const struct step *step, struct error *err)
{
    (void)stream;
    (void)err;
    struct set_step_arguments a = {.block = device->step, .values = step_values(step)};
    host_run("set_step", (struct launch_shape){.blocks = 1, .threads = 1}, &a);
    return true;
}

static bool host_copy_in(struct device *device, struct stream *stream, uint64_t offset, const void *host,
                         uint64_t bytes, struct error *err)
{
    (void)stream;
    (void)err;
    memcpy(device->arena + offset, host, bytes);
    return true;
}

static bool host_image_in(struct device *device, struct stream *stream, const struct tensor *tensor, uint64_t offset,
                          const float *host, struct error *err)
{
    void *to = device->arena + offset;
    const uint64_t count = tensor_elements(tensor);
    if (tensor->dtype == DTYPE_F32) return host_copy_in(device, stream, offset, host, tensor->bytes, err);
    host_run(tensor->dtype == DTYPE_F16 ? "round_elements_f16" : "round_elements_bf16",
             (struct launch_shape){.blocks = 2, .threads = KERNEL_THREADS},
             &(struct round_arguments){host, to, count, 0});
    return true;
}

static bool host_copy_out(struct device *device, struct stream *stream, void *host, uint64_t offset, uint64_t bytes,
                          struct error *err)
{
    (void)stream;
    (void)err;
    memcpy(host, device->arena + offset, bytes);
    return true;
}

static bool host_fill(struct device *device, struct stream *stream, uint64_t offset, uint64_t bytes, uint8_t byte,
                      struct error *err)
{
    (void)stream;
    (void)err;
    memset(device->arena + offset, byte, bytes);
    return true;
}

static bool host_parameter_in(struct device *device, const struct tensor *tensor, uint64_t offset, const float *host,
                              struct error *err)
{
    return host_copy_in(device, NULL, offset, host, tensor->bytes, err);
}

static bool host_parameter_out(struct device *device, const struct tensor *tensor, uint64_t offset, float *host,
                               struct error *err)
{
    return host_copy_out(device, NULL, host, offset, tensor->bytes, err);
}

static bool host_op_prepare(struct device *device, const struct op_call *call, struct prepared **prepared,
                            struct error *err)
{
    struct prepared *p = calloc(1, sizeof *p);
    p->device = device;
    p->call = *call;
    cuda_prepare_fn prepare = device->table->prepare[call->op->kind];
    if (!prepare) return error_set(err, ERROR_FAILED, "no kernel for %s", op_kind_name(call->op->kind));
    if (!prepare(p, err)) {
        prepared_release(p);
        free(p);
        return false;
    }
    *prepared = p;
    return true;
}

static bool host_op_launch(struct prepared *p, struct stream *stream, struct error *err)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct action *a = &p->actions[i];
        switch (a->kind) {
        case ACTION_KERNEL: host_run(kernel_name(a->kernel.id), a->kernel.shape, a->kernel.arguments); break;
        case ACTION_COPY: memmove(a->copy.to, a->copy.from, a->copy.bytes); break;
        case ACTION_FILL: memset(a->fill.at, a->fill.byte, a->fill.bytes); break;
        case ACTION_CALL: TRY(a->call.run(a->call.context, stream, err)); break;
        }
    }
    return true;
}

static void host_op_release(struct prepared *p)
{
    prepared_release(p);
    free(p);
}

#define HOST_BACKEND(own_name, create)                                                                                 \
    {                                                                                                                  \
        .name = (own_name), .op_workspace = host_workspace, .device_create = (create),                                 \
        .device_destroy = host_device_destroy, .set_step = host_set_step, .copy_in = host_copy_in,                     \
        .image_in = host_image_in,                                                                                     \
        .copy_out = host_copy_out, .fill = host_fill, .parameter_in = host_parameter_in,                               \
        .parameter_out = host_parameter_out, .op_prepare = host_op_prepare, .op_launch = host_op_launch,               \
        .op_release = host_op_release,                                                                                 \
    }
static const struct backend host_backend = HOST_BACKEND("cuda, by the host", host_create_fast);
static const struct backend host_reference_backend = HOST_BACKEND("cuda-reference, by the host", host_create_reference);

#endif
