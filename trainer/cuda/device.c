/* A GPU with its arena: one allocation, and one of NCCL's for what lies apart, taken and filled when it is made, given
 * back with it. */
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>

#include "cuda_group.h"
#include "cuda_slots.h"
#include "mem.h"
#include "step_values.h"
#include "units.h"

/* ---- The GPU ---- */

#define LEAST_MAJOR 7
#define LEAST_MINOR 5

static bool check_ordinal(const struct device *device, struct error *err)
{
    int count;
    TRY(cuda_count_devices(device->vendor, &count, err));
    if (device->options.ordinal < (unsigned)count) return true;
    return error_set(err, ERROR_FAILED,
                     "device %" PRIu32 " of the plan wants GPU %" PRIu32 " of this host, and %s%d %s here%s",
                     device->options.number, device->options.ordinal, count ? "only " : "", count,
                     count == 1 ? "is" : "are", count ? " (CUDA_VISIBLE_DEVICES may hide others)" : "");
}

static bool check_capability(const struct device *device, struct error *err)
{
    const struct cudaDeviceProp *p = &device->properties;
    char name[CUDA_DEVICE_NAME];
    if (p->major > LEAST_MAJOR || (p->major == LEAST_MAJOR && p->minor >= LEAST_MINOR)) return true;
    return error_set(err, ERROR_FAILED, "%s, has compute capability %d.%d; the cuda backend needs %d.%d or later",
                     device_name(device, name), p->major, p->minor, LEAST_MAJOR, LEAST_MINOR);
}

static bool open_gpu(struct device *device, struct error *err)
{
    const struct vendor *vendor = device->vendor;
    int ordinal = (int)device->options.ordinal;
    TRY(check_ordinal(device, err));
    TRY(cuda_check(vendor, vendor->cuda.GetDeviceProperties(&device->properties, ordinal), err, "GPU %d", ordinal));
    TRY(check_capability(device, err));
    usage_before_context(device);
    return cuda_check(vendor, vendor->cuda.SetDevice(ordinal), err, "GPU %d", ordinal) &&
           usage_after_context(device, err);
}

/* ---- Its memory ---- */

static uint64_t round_up(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

/* The arena without what lies apart. */
static uint64_t first_bytes(const struct device *device)
{
    return round_up(device->arena_bytes - device->options.apart_bytes);
}

/* That, then the kernels' scratch, then the step block. */
static uint64_t block_bytes(const struct device *device)
{
    return first_bytes(device) + CUDA_SCRATCH_BYTES + sizeof(struct step_block);
}

static bool check_room(const struct device *device, uint64_t wanted, struct error *err)
{
    size_t free_bytes, total_bytes;
    char name[CUDA_DEVICE_NAME], missing[UNITS_TEXT], want[UNITS_TEXT], have[UNITS_TEXT], all[UNITS_TEXT];
    TRY(cuda_check(device->vendor, device->vendor->cuda.MemGetInfo(&free_bytes, &total_bytes), err,
                   "the memory of GPU %" PRIu32, device->options.ordinal));
    if (free_bytes >= wanted) return true;
    return error_set(
        err, ERROR_FAILED, "%s, has %s too little memory: the plan wants %s, and %s of %s are free beside the context",
        device_name(device, name), units_format_bytes(wanted - free_bytes, missing), units_format_bytes(wanted, want),
        units_format_bytes(free_bytes, have), units_format_bytes(total_bytes, all));
}

bool device_fill(const struct device *device, struct error *err)
{
    const struct cuda_calls *cuda = &device->vendor->cuda;
    TRY(cuda_check(
        device->vendor,
        cuda->MemsetAsync(device->arena, device->options.fill, first_bytes(device) + CUDA_SCRATCH_BYTES, device->own),
        err, "the arena's fill"));
    return !device->apart ||
           cuda_check(device->vendor,
                      cuda->MemsetAsync(device->apart, device->options.fill, device->options.apart_bytes, device->own),
                      err, "the fill of what lies apart");
}

static bool take_memory(struct device *device, struct error *err)
{
    const struct cuda_calls *cuda = &device->vendor->cuda;
    uint64_t bytes = block_bytes(device), apart = device->options.apart_bytes;
    void *block = NULL;
    TRY(check_room(device, bytes + apart, err));
    TRY(cuda_check(device->vendor, cuda->Malloc(&block, bytes), err, "the arena of %" PRIu64 " bytes on GPU %" PRIu32,
                   bytes, device->options.ordinal));
    device->arena = block;
    device->scratch = device->arena + first_bytes(device);
    device->step = (struct step_block *)(void *)(device->scratch + CUDA_SCRATCH_BYTES);
    TRY(apart == 0 || group_take_memory(device, apart, err));
    TRY(device_fill(device, err));
    return cuda_check(device->vendor, cuda->MemsetAsync(device->step, 0, sizeof *device->step, device->own), err,
                      "the step block");
}

/* ---- Its kernels ---- */

static bool load_kernels(struct device *device, struct error *err)
{
    const struct cuda_calls *cuda = &device->vendor->cuda;
    TRY(cuda_check(device->vendor,
                   cuda->LibraryLoadData(&device->library, kernel_image(), NULL, NULL, 0, NULL, NULL, 0), err,
                   "the kernels of this build"));
    for (unsigned i = 0; i < KERNELS; i++)
        TRY(cuda_check(device->vendor,
                       cuda->LibraryGetKernel(&device->kernels[i], device->library, kernel_name((enum kernel_id)i)),
                       err, "kernel %s", kernel_name((enum kernel_id)i)));
    return true;
}

/* How many blocks of the kernels whose blocks wait for each other run at a time, whichever of them it is. */
static bool count_together(struct device *device, struct error *err)
{
    const struct cuda_calls *cuda = &device->vendor->cuda;
    int least = INT_MAX;
    if (device->table->naive || !device->properties.cooperativeLaunch) return true;
    for (unsigned i = 0; i < 6; i++) {
        const unsigned id = i < 3 ? KERNEL_bn_whole_f32 + i : KERNEL_bn_backward_whole_f32 + i - 3;
        int blocks = 0;
        TRY(cuda_check(device->vendor,
                       cuda->OccupancyMaxActiveBlocksPerMultiprocessor(&blocks, (const void *)device->kernels[id],
                                                                       KERNEL_THREADS,
                                                                       CUDA_COLUMNS_SHARED(CUDA_COLUMNS_WIDEST)),
                       err, "how many blocks of kernel %s run at a time", kernel_name((enum kernel_id)id)));
        if (blocks < least) least = blocks;
    }
    device->together = (uint32_t)least * (uint32_t)device->properties.multiProcessorCount;
    return true;
}

/* ---- Making, ending ---- */

static bool create(struct device *device, struct error *err)
{
    const struct vendor *vendor = device->vendor;
    TRY(open_gpu(device, err));
    TRY(cuda_check(vendor, vendor->cuda.StreamCreateWithFlags(&device->own, cudaStreamNonBlocking), err, "a stream"));
    TRY(take_memory(device, err));
    TRY(bounce_create(device, err));
    TRY(load_kernels(device, err) && count_together(device, err));
    return cuda_check(vendor, vendor->cuda.StreamSynchronize(device->own), err, "the arena's first fill");
}

bool cuda_device_create(const struct cuda_table *table, const struct device_options *options, uint64_t arena_bytes,
                        struct device **device, struct error *err)
{
    const struct vendor *vendor = vendor_load(err);
    if (!vendor) return false;
    struct device *made = mem_zalloc(MEM_GENERAL, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a device");
    made->vendor = vendor;
    made->table = table;
    made->options = *options;
    made->arena_bytes = arena_bytes;
    cuda_probe_hold(options->ordinal, 1);
    if (!create(made, err)) {
        cuda_device_destroy(made);
        return false;
    }
    *device = made;
    return true;
}

/* Waits for what the device still does. */
static void give_back(struct device *device)
{
    const struct cuda_calls *cuda = &device->vendor->cuda;
    cuda->SetDevice((int)device->options.ordinal);
    cuda_convolutions_destroy(device->convolutions);
    memory_destroy(device);
    if (device->library) cuda->LibraryUnload(device->library);
    if (device->apart) group_give_memory(device);
    if (device->arena) cuda->Free(device->arena);
    if (device->own) cuda->StreamDestroy(device->own);
}

static atomic_bool left_behind;
bool cuda_left_behind(void) { return atomic_load(&left_behind); }

void cuda_device_destroy(struct device *device)
{
    if (!device) return;
    if (!group_leave(device->group, device->lost)) device->busy = true;
    if (device->busy) {
        atomic_store(&left_behind, true);
    } else {
        give_back(device);
        cuda_probe_hold(device->options.ordinal, -1);
    }
    mem_free(device->pinned);
    mem_free(device);
}

/* ---- What changes from step to step ---- */

static bool set_step(struct device *device, struct stream *stream, const struct step *step, struct error *err)
{
    const struct set_step_arguments arguments = {
        .block = device->step,
        .values = step_values(step),
    };
    const struct launch_shape one = {.blocks = 1, .threads = 1};
    if (device->recording) return error_set(err, ERROR_FAILED, "a step cannot be set inside a recording");
    return cuda_launch(device, KERNEL_set_step, one, &arguments, stream->handle, err);
}

bool cuda_set_step(struct device *device, struct stream *stream, const struct step *step, struct error *err)
{
    TRY(device_usable(device, err));
    return device_settle(device, set_step(device, stream, step, &device->first), err);
}
