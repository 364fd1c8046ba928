/* The images of a run's devices: how they are loaded, and which share of a batch is whose. */
#include <string.h>

#include "lower.h"
#include "train_private.h"

uint32_t run_images_before(const struct training *run, uint32_t device)
{
    uint32_t images = 0;
    for (uint32_t i = 0; i < device; i++) images += run->plan->devices[i].images;
    return images;
}

bool run_loads_bytes(const struct training *run)
{
    return run->plan->variants[run->plan->devices[run->first_device].variant].graph->pixels != NO_TENSOR;
}

struct step_input run_share(const struct training *run, const struct batch *batch, size_t first)
{
    size_t numbers = first * run->plan->spec.image_size * run->plan->spec.image_size * 3;
    bool bytes = batch->pixels != NULL;
    return (struct step_input){.images = bytes ? (const void *)(batch->pixels + numbers) : batch->images + numbers,
                               .placements = bytes ? batch->placements + first * INPUT_PLACEMENT : NULL,
                               .labels = batch->labels + first};
}

void run_set_normalisation(struct training *run)
{
    const struct dataset_info *info = dataset_info(run->dataset);
    memcpy(run->step.mean, info->mean, sizeof run->step.mean);
    memcpy(run->step.deviation, info->deviation, sizeof run->step.deviation);
}

uint64_t run_decode_bytes(const struct plan *plan)
{
    return plan->devices[0].spec.kind == DEVICE_CPU ? plan->decode_bytes : DATA_DECODE_UNPLANNED;
}

bool run_open_loader(struct training *run, struct error *err)
{
    bool repeat = run->options->repeat_batch;
    uint32_t before = run_images_before(run, run->first_device);
    uint32_t after = run_images_before(run, run->first_device + run->device_count);
    struct loader_options options = {.batch = after - before,
                                     .every = run->plan->batch,
                                     .image_size = run->plan->spec.image_size,
                                     .seed = run->seed,
                                     .train = true,
                                     .augment = run->options->augment,
                                     .area_crops = run->options->area_crops,
                                     .colour = run->options->colour,
                                     .as_bytes = run_loads_bytes(run),
                                     .threads = run->options->loader_threads,
                                     .broken = run->options->broken,
                                     .decode_bytes = run_decode_bytes(run->plan),
                                     .first = (repeat ? 0 : run->position) + before};
    TRY(loader_create(run->dataset, &options, &run->loader, err));
    return !repeat || loader_next(run->loader, &run->batch, err);
}
