/* Copies and fills of the arena, pinned memory, and memory where activations wait. */
#include <inttypes.h>
#include <string.h>

#include "cuda_slots.h"
#include "mem.h"

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* ---- Ranges ---- */

static bool check_range(const char *what, const char *where, uint64_t offset, uint64_t bytes, uint64_t all,
                        struct error *err)
{
    if (offset <= all && bytes <= all - offset) return true;
    return error_set(err, ERROR_FAILED,
                     "%s at bytes [%" PRIu64 ", %" PRIu64 ") lies outside the %s of %" PRIu64 " bytes", what, offset,
                     offset + bytes, where, all);
}

bool check_arena_range(const struct device *device, const char *what, uint64_t offset, uint64_t bytes,
                       struct error *err)
{
    const uint64_t before = device->arena_bytes - device->options.apart_bytes;
    TRY(check_range(what, "arena", offset, bytes, device->arena_bytes, err));
    return offset >= before || check_range(what, "arena's first part", offset, bytes, before, err);
}

bool check_host_range(const struct device *device, const char *what, uint64_t offset, uint64_t bytes, struct error *err)
{
    return check_range(what, "host memory", offset, bytes, device->host_bytes, err);
}

/* ---- Pinned memory ---- */

/* Kernels may read it at the same address (unified addressing). */
static bool take_pinned(struct device *device, uint64_t bytes, void *memory, const char *purpose, struct error *err)
{
    const struct cuda_calls *cuda = &device->vendor->cuda;
    TRY(cuda_check(device->vendor, cuda->SetDevice((int)device->options.ordinal), err, "GPU %" PRIu32,
                   device->options.ordinal));
    cudaError_t status = cuda->HostAlloc(memory, bytes, cudaHostAllocMapped | cudaHostAllocPortable);
    if (status == cudaErrorMemoryAllocation)
        return error_set(err, ERROR_FAILED, "this host does not give %" PRIu64 " bytes of pinned memory for %s (%s)",
                         bytes, purpose, cuda->GetErrorName(status));
    return cuda_check(device->vendor, status, err, "%" PRIu64 " bytes of pinned memory for %s", bytes, purpose);
}

static bool pinned_create(struct device *device, uint64_t bytes, void **memory, struct error *err)
{
    if (!mem_grow(MEM_GENERAL, (void **)&device->pinned, &device->pinned_capacity, device->pinned_count + 1,
                  sizeof *device->pinned))
        return error_memory(err, (device->pinned_count + 1) * sizeof *device->pinned, "a table of pinned memory");
    TRY(take_pinned(device, bytes, memory, "steps in flight", err));
    device->pinned[device->pinned_count++] = (struct pinned_block){*memory, bytes};
    return true;
}

bool cuda_pinned_create(struct device *device, uint64_t bytes, void **memory, struct error *err)
{
    TRY(device_usable(device, err));
    return device_settle(device, pinned_create(device, bytes, memory, &device->first), err);
}

void cuda_pinned_destroy(struct device *device, void *memory)
{
    for (size_t i = 0; i < device->pinned_count; i++) {
        if (device->pinned[i].memory != memory) continue;
        device->pinned[i] = device->pinned[--device->pinned_count];
        if (!device->busy) device->vendor->cuda.FreeHost(memory);
        return;
    }
}

static bool is_pinned(const struct device *device, const void *host, uint64_t bytes)
{
    uintptr_t at = (uintptr_t)host;
    for (size_t i = 0; i < device->pinned_count; i++) {
        uintptr_t begin = (uintptr_t)device->pinned[i].memory, end = begin + device->pinned[i].bytes;
        if (at >= begin && at <= end && bytes <= end - at) return true;
    }
    return false;
}

/* ---- Pageable memory: through a pinned buffer, a half at a time ---- */

bool bounce_create(struct device *device, struct error *err)
{
    struct cuda_bounce *bounce = &device->bounce;
    for (int i = 0; i < 2; i++)
        TRY(cuda_check(device->vendor,
                       device->vendor->cuda.EventCreateWithFlags(&bounce->free[i], cudaEventDisableTiming), err,
                       "an event"));
    return take_pinned(device, 2 * CUDA_BOUNCE_BYTES, &bounce->memory, "copies", err);
}

/* Until the last copy from or to this half has been done. */
static bool wait_half(struct device *device, unsigned half, struct error *err)
{
    uint64_t limit = device->options.wait_limit_ns ? device->options.wait_limit_ns : UINT64_MAX;
    bool done = false;
    TRY(cuda_wait(device, device->bounce.free[half], limit, &done, err));
    if (done) return true;
    return error_set(err, ERROR_FAILED, "device %" PRIu32 " has not finished a copy within %g s",
                     device->options.number, (double)limit * 1e-9);
}

/* A half that is free; outside recordings, which would have the host's bytes of now. */
static bool take_half(struct device *device, unsigned *half, struct error *err)
{
    struct cuda_bounce *bounce = &device->bounce;
    *half = bounce->next;
    if (device->recording)
        return error_set(err, ERROR_FAILED, "memory that is not pinned cannot be copied inside a recording");
    TRY(wait_half(device, *half, err));
    bounce->next = 1 - bounce->next;
    return true;
}

static uint8_t *half_memory(const struct device *device, unsigned half)
{
    return device->bounce.memory + half * (uint64_t)CUDA_BOUNCE_BYTES;
}

static bool end_half(struct device *device, unsigned half, cudaStream_t stream, struct error *err)
{
    return cuda_check(device->vendor, device->vendor->cuda.EventRecord(device->bounce.free[half], stream), err,
                      "the end of a copy");
}

static bool copy_async(struct device *device, void *to, const void *from, uint64_t bytes, enum cudaMemcpyKind kind,
                       cudaStream_t stream, struct error *err)
{
    return cuda_check(device->vendor, device->vendor->cuda.MemcpyAsync(to, from, bytes, kind, stream), err,
                      "a copy of %" PRIu64 " bytes", bytes);
}

static bool bounce_in(struct device *device, cudaStream_t stream, uint8_t *to, const uint8_t *host, uint64_t bytes,
                      struct error *err)
{
    unsigned half;
    for (uint64_t done = 0, piece; done < bytes; done += piece) {
        piece = least(bytes - done, CUDA_BOUNCE_BYTES);
        TRY(take_half(device, &half, err));
        memcpy(half_memory(device, half), host + done, piece);
        TRY(copy_async(device, to + done, half_memory(device, half), piece, cudaMemcpyHostToDevice, stream, err));
        TRY(end_half(device, half, stream, err));
    }
    return true;
}

static bool bounce_out(struct device *device, cudaStream_t stream, uint8_t *host, const uint8_t *from, uint64_t bytes,
                       struct error *err)
{
    unsigned half;
    for (uint64_t done = 0, piece; done < bytes; done += piece) {
        piece = least(bytes - done, CUDA_BOUNCE_BYTES);
        TRY(take_half(device, &half, err));
        TRY(copy_async(device, half_memory(device, half), from + done, piece, cudaMemcpyDeviceToHost, stream, err));
        TRY(end_half(device, half, stream, err));
        TRY(wait_half(device, half, err));
        memcpy(host + done, half_memory(device, half), piece);
    }
    return true;
}

/* ---- Copies and fills ---- */

static bool copy_in(struct device *device, cudaStream_t stream, uint64_t offset, const void *host, uint64_t bytes,
                    struct error *err)
{
    TRY(check_arena_range(device, "a copy", offset, bytes, err));
    if (!is_pinned(device, host, bytes)) return bounce_in(device, stream, device_at(device, offset), host, bytes, err);
    return copy_async(device, device_at(device, offset), host, bytes, cudaMemcpyHostToDevice, stream, err);
}

bool cuda_copy_in(struct device *device, struct stream *stream, uint64_t offset, const void *host, uint64_t bytes,
                  struct error *err)
{
    TRY(device_usable(device, err));
    return device_settle(device, copy_in(device, stream->handle, offset, host, bytes, &device->first), err);
}

static bool copy_out(struct device *device, cudaStream_t stream, void *host, uint64_t offset, uint64_t bytes,
                     struct error *err)
{
    TRY(check_arena_range(device, "a copy", offset, bytes, err));
    if (!is_pinned(device, host, bytes)) return bounce_out(device, stream, host, device_at(device, offset), bytes, err);
    return copy_async(device, host, device_at(device, offset), bytes, cudaMemcpyDeviceToHost, stream, err);
}

bool cuda_copy_out(struct device *device, struct stream *stream, void *host, uint64_t offset, uint64_t bytes,
                   struct error *err)
{
    TRY(device_usable(device, err));
    return device_settle(device, copy_out(device, stream->handle, host, offset, bytes, &device->first), err);
}

static bool fill_async(struct device *device, cudaStream_t stream, uint8_t *at, uint64_t bytes, uint8_t byte,
                       struct error *err)
{
    return cuda_check(device->vendor, device->vendor->cuda.MemsetAsync(at, byte, bytes, stream), err,
                      "a fill of %" PRIu64 " bytes", bytes);
}

bool cuda_fill(struct device *device, struct stream *stream, uint64_t offset, uint64_t bytes, uint8_t byte,
               struct error *err)
{
    TRY(device_usable(device, err));
    bool ok = check_arena_range(device, "a fill", offset, bytes, &device->first) &&
              fill_async(device, stream->handle, device_at(device, offset), bytes, byte, &device->first);
    return device_settle(device, ok, err);
}

/* ---- Sums of squares ---- */

static bool add_squares(struct device *device, cudaStream_t stream, uint64_t offset, enum dtype dtype, uint64_t count,
                        double *sum, struct error *err)
{
    const uint64_t bytes = dtype_bytes(dtype, count);
    TRY(check_arena_range(device, "a sum of squares", offset, bytes, err));
    if (dtype > DTYPE_BF16 || !is_pinned(device, sum, sizeof *sum))
        return error_set(err, ERROR_FAILED, "a sum of squares of %s, or to memory that is not pinned",
                         dtype_name(dtype));
    const uint8_t *in = device_at(device, offset);
    const uint64_t blocks = count / SQUARES_OF_BLOCK + 1;
    const struct squares_arguments arguments = {.in = in,
                                                .count = count,
                                                .vectors = (uintptr_t)in % 16 == 0 ? bytes / 16 : 0,
                                                .sum = sum,
                                                .partial = (double *)(void *)device->scratch,
                                                .step = device->step};
    const struct launch_shape shape = {.blocks = (uint32_t)least(blocks, SQUARES_BLOCKS), .threads = KERNEL_THREADS};
    return cuda_launch(device, (enum kernel_id)(KERNEL_squares_f32 + dtype), shape, &arguments, stream, err);
}

bool cuda_add_squares(struct device *device, struct stream *stream, uint64_t offset, enum dtype dtype, uint64_t count,
                      double *sum, struct error *err)
{
    TRY(device_usable(device, err));
    bool ok = add_squares(device, stream->handle, offset, dtype, count, sum, &device->first);
    return device_settle(device, ok, err);
}

/* ---- Images ---- */

/* Enough bytes under way for the bus, and few processors taken from what computes. */
#define IMAGE_BLOCKS 16

/* From pinned memory, which the kernel reads itself. */
static bool round_images(struct device *device, cudaStream_t stream, enum dtype dtype, void *to, const float *from,
                         uint64_t count, struct error *err)
{
    enum kernel_id kernel = dtype == DTYPE_F16 ? KERNEL_round_elements_f16 : KERNEL_round_elements_bf16;
    bool aligned = ((uintptr_t)to | (uintptr_t)from) % 16 == 0;
    const struct round_arguments arguments = {from, to, count, aligned ? count / 8 : 0};
    const struct launch_shape shape = {.blocks = IMAGE_BLOCKS, .threads = KERNEL_THREADS};
    return cuda_launch(device, kernel, shape, &arguments, stream, err);
}

static bool bounce_images(struct device *device, cudaStream_t stream, enum dtype dtype, uint8_t *to, const float *host,
                          uint64_t count, struct error *err)
{
    unsigned half;
    for (uint64_t done = 0, piece; done < count; done += piece) {
        piece = least(count - done, CUDA_BOUNCE_BYTES / sizeof *host);
        TRY(take_half(device, &half, err));
        float *memory = (float *)(void *)half_memory(device, half);
        memcpy(memory, host + done, piece * sizeof *host);
        TRY(round_images(device, stream, dtype, to + dtype_bytes(dtype, done), memory, piece, err));
        TRY(end_half(device, half, stream, err));
    }
    return true;
}

static bool image_in(struct device *device, cudaStream_t stream, const struct tensor *tensor, uint64_t offset,
                     const float *host, struct error *err)
{
    TRY(check_arena_range(device, "images", offset, tensor->bytes, err));
    if (tensor->dtype == DTYPE_F32) return copy_in(device, stream, offset, host, tensor->bytes, err);
    uint64_t count = tensor_elements(tensor);
    uint8_t *to = device_at(device, offset);
    if (!is_pinned(device, host, count * sizeof *host))
        return bounce_images(device, stream, tensor->dtype, to, host, count, err);
    return round_images(device, stream, tensor->dtype, to, host, count, err);
}

bool cuda_image_in(struct device *device, struct stream *stream, const struct tensor *tensor, uint64_t offset,
                   const float *host, struct error *err)
{
    TRY(device_usable(device, err));
    return device_settle(device, image_in(device, stream->handle, tensor, offset, host, &device->first), err);
}

/* ---- Parameters: as graph.h lays them out, which is cuDNN's order too ---- */

static bool parameter_in(struct device *device, const struct tensor *tensor, uint64_t offset, const float *host,
                         struct error *err)
{
    TRY(check_arena_range(device, "a parameter", offset, tensor->bytes, err));
    TRY(copy_in(device, device->own, offset, host, tensor->bytes, err));
    return wait_half(device, 0, err) && wait_half(device, 1, err);
}

bool cuda_parameter_in(struct device *device, const struct tensor *tensor, uint64_t offset, const float *host,
                       struct error *err)
{
    TRY(device_usable(device, err));
    return device_settle(device, parameter_in(device, tensor, offset, host, &device->first), err);
}

bool cuda_parameter_out(struct device *device, const struct tensor *tensor, uint64_t offset, float *host,
                        struct error *err)
{
    TRY(device_usable(device, err));
    bool ok =
        check_arena_range(device, "a parameter", offset, tensor->bytes, &device->first) &&
        bounce_out(device, device->own, (uint8_t *)host, device_at(device, offset), tensor->bytes, &device->first);
    return device_settle(device, ok, err);
}

/* ---- Where activations wait ---- */

static bool host_create(struct device *device, uint64_t bytes, struct error *err)
{
    TRY(take_pinned(device, bytes, &device->host, "activations that wait in host memory", err));
    device->host_bytes = bytes;
    memset(device->host, device->options.fill, bytes);
    return true;
}

bool cuda_host_create(struct device *device, uint64_t bytes, struct error *err)
{
    TRY(device_usable(device, err));
    return device_settle(device, host_create(device, bytes, &device->first), err);
}

bool cuda_host_fill(struct device *device, struct stream *stream, uint64_t offset, uint64_t bytes, uint8_t byte,
                    struct error *err)
{
    TRY(device_usable(device, err));
    bool ok = check_host_range(device, "a fill", offset, bytes, &device->first) &&
              fill_async(device, stream->handle, device->host + offset, bytes, byte, &device->first);
    return device_settle(device, ok, err);
}

void memory_destroy(struct device *device)
{
    const struct cuda_calls *cuda = &device->vendor->cuda;
    for (int i = 0; i < 2; i++)
        if (device->bounce.free[i]) cuda->EventDestroy(device->bounce.free[i]);
    if (device->bounce.memory) cuda->FreeHost(device->bounce.memory);
    if (device->host) cuda->FreeHost(device->host);
}
