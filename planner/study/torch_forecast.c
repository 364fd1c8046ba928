#include "torch_forecast.h"

#define HOPPER_CAPABILITY 900

static uint64_t room_beside(const struct device_spec *device, uint64_t context)
{
    uint64_t usable = device_usable_bytes(device);
    return usable > context ? usable - context : 1;
}

/* A step in so much memory: whether it would end. */
static bool walk_within(const struct graph *graph, const struct torch_options *options, uint64_t most_bytes, bool *ends,
                        struct error *err)
{
    struct torch_options limited = *options;
    struct torch_memory memory;
    limited.most_bytes = most_bytes;
    TRY(torch_step_memory(graph, &limited, &memory, err));
    *ends = !memory.out_of_memory;
    return true;
}

static bool judge(const struct graph *graph, const struct torch_options *options, const struct device_spec *device,
                  struct torch_forecast *f, struct error *err)
{
    bool ends = true;
    f->usable_bytes = device_usable_bytes(device);
    f->fits = f->shown_bytes <= f->usable_bytes;
    f->verdict = (double)f->shown_bytes * (1 + TORCH_ERROR) <= (double)f->usable_bytes ? TORCH_FITS : TORCH_CLOSE;
    if (f->fits) return true;
    TRY(walk_within(graph, options, room_beside(device, TORCH_LAZY_CONTEXT_BYTES), &ends, err));
    if (!ends) f->verdict = TORCH_UNFIT;
    return true;
}

bool torch_forecast_make(const struct model_spec *spec, uint32_t batch, enum dtype dtype,
                         const struct device_spec *device, torch_workspace_fn workspace, void *workspace_context,
                         struct torch_forecast *forecast, struct error *err)
{
    const struct graph_options logical = {.batch = batch, .micro_batches = 1};
    bool hopper = device->capability == 0 || device->capability >= HOPPER_CAPABILITY;
    const struct torch_options options = {.dtype = dtype,
                                          .cublas_bytes = hopper ? TORCH_CUBLAS_BYTES_HOPPER : TORCH_CUBLAS_BYTES,
                                          .workspace = workspace,
                                          .workspace_context = workspace_context};
    if (device->kind != DEVICE_GPU)
        return error_set(err, ERROR_INPUT, "PyTorch's memory is told of GPUs alone, found %s", device->name);
    *forecast = (struct torch_forecast){0};
    struct graph *graph = graph_build(spec, &logical, err);
    if (!graph) return false;
    bool ok = torch_step_memory(graph, &options, &forecast->memory, err);
    forecast->shown_bytes = forecast->memory.peak_reserved_bytes + TORCH_CONTEXT_BYTES;
    forecast->lazy_shown_bytes = forecast->memory.peak_reserved_bytes + TORCH_LAZY_CONTEXT_BYTES;
    ok = ok && judge(graph, &options, device, forecast, err);
    graph_destroy(graph);
    return ok;
}
