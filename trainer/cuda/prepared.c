#include <string.h>

#include "cuda_backend.h"
#include "cuda_device.h"
#include "mem.h"

static struct action *add(struct prepared *p, enum action_kind kind, struct error *err)
{
    if (!mem_grow(MEM_KERNEL, (void **)&p->actions, &p->capacity, p->count + 1, sizeof *p->actions)) {
        error_memory(err, (p->count + 1) * sizeof *p->actions, "a prepared op");
        return NULL;
    }
    p->actions[p->count] = (struct action){.kind = kind};
    return &p->actions[p->count++];
}

bool prepared_kernel(struct prepared *p, enum kernel_id id, struct launch_shape shape, const void *arguments,
                     size_t bytes, struct error *err)
{
    void *copy = mem_alloc(MEM_KERNEL, bytes, 1);
    if (!copy) return error_memory(err, bytes, "a kernel's arguments");
    memcpy(copy, arguments, bytes);
    struct action *action = add(p, ACTION_KERNEL, err);
    if (!action) {
        mem_free(copy);
        return false;
    }
    action->kernel.id = id;
    action->kernel.shape = shape;
    action->kernel.arguments = copy;
    return true;
}

bool prepared_copy(struct prepared *p, void *to, const void *from, uint64_t bytes, struct error *err)
{
    struct action *action = add(p, ACTION_COPY, err);
    if (!action) return false;
    action->copy.to = to;
    action->copy.from = from;
    action->copy.bytes = bytes;
    return true;
}

bool prepared_fill(struct prepared *p, void *at, int byte, uint64_t bytes, struct error *err)
{
    struct action *action = add(p, ACTION_FILL, err);
    if (!action) return false;
    action->fill.at = at;
    action->fill.byte = byte;
    action->fill.bytes = bytes;
    return true;
}

bool prepared_call(struct prepared *p, bool (*run)(void *context, struct stream *stream, struct error *err),
                   void (*release)(void *context), void *context, struct error *err)
{
    struct action *action = add(p, ACTION_CALL, err);
    if (!action) {
        release(context);
        return false;
    }
    action->call.run = run;
    action->call.release = release;
    action->call.context = context;
    return true;
}

bool cuda_launch(struct device *device, enum kernel_id id, struct launch_shape shape, const void *arguments,
                 cudaStream_t stream, struct error *err)
{
    const struct vendor *vendor = device->vendor;
    void *parameters[1];
    memcpy(parameters, &(const void *){arguments}, sizeof parameters);
    const dim3 grid = {shape.blocks, shape.blocks_y ? shape.blocks_y : 1, 1}, block = {shape.threads, 1, 1};
    const void *kernel = (const void *)device->kernels[id];
    return cuda_check(
        vendor,
        shape.together
            ? vendor->cuda.LaunchCooperativeKernel(kernel, grid, block, parameters, shape.shared_bytes, stream)
            : vendor->cuda.LaunchKernel(kernel, grid, block, parameters, shape.shared_bytes, stream),
        err, "kernel %s", kernel_name(id));
}

static bool launch_action(struct prepared *p, const struct action *a, struct stream *stream, struct error *err)
{
    const struct vendor *vendor = p->device->vendor;
    switch (a->kind) {
    case ACTION_KERNEL:
        return cuda_launch(p->device, a->kernel.id, a->kernel.shape, a->kernel.arguments, stream->handle, err);
    case ACTION_COPY:
        return cuda_check(
            vendor,
            vendor->cuda.MemcpyAsync(a->copy.to, a->copy.from, a->copy.bytes, cudaMemcpyDefault, stream->handle), err,
            "a copy of %llu bytes", (unsigned long long)a->copy.bytes);
    case ACTION_FILL:
        return cuda_check(vendor, vendor->cuda.MemsetAsync(a->fill.at, a->fill.byte, a->fill.bytes, stream->handle),
                          err, "a fill of %llu bytes", (unsigned long long)a->fill.bytes);
    case ACTION_CALL: return a->call.run(a->call.context, stream, err);
    }
    return true;
}

bool prepared_launch(struct prepared *p, struct stream *stream, struct error *err)
{
    for (size_t i = 0; i < p->count; i++) TRY(launch_action(p, &p->actions[i], stream, err));
    return true;
}

void prepared_cut(struct prepared *p, size_t count)
{
    for (size_t i = count; i < p->count; i++) {
        struct action *a = &p->actions[i];
        if (a->kind == ACTION_KERNEL) mem_free(a->kernel.arguments);
        if (a->kind == ACTION_CALL) a->call.release(a->call.context);
    }
    if (count < p->count) p->count = count;
}

void prepared_release(struct prepared *p)
{
    prepared_cut(p, 0);
    mem_free(p->actions);
    p->actions = NULL;
    p->capacity = 0;
}

uint64_t cuda_launches(const struct prepared *prepared) { return prepared->count; }
