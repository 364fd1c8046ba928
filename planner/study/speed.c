#include "speed.h"

#include <string.h>

#include "predict.h"

static const struct speed_published published[] = {
    {"vgg-a", 0.296, 0.372},        {"vgg-d", 0.268, 0.687},     {"resnet-34", 0.267, 0.231},
    {"bn-inception", 0.252, 0.192}, {"resnet-50", 0.240, 0.403}, {"resnet-101", 0.224, 0.649},
    {"inception-v3", 0.212, 0.494},
};
#define PUBLISHED (sizeof published / sizeof published[0])

const struct speed_published *speed_published_at(size_t i) { return i < PUBLISHED ? &published[i] : NULL; }

const struct speed_published *speed_published_of(const struct model_spec *spec)
{
    struct model_spec usual;
    struct error unused = {0};
    for (size_t i = 0; i < PUBLISHED; i++) {
        if (strcmp(published[i].model, spec->name) != 0) continue;
        bool same = model_parse(spec->name, &MODEL_OPTIONS_DEFAULT, &usual, &unused) &&
                    usual.dataset == spec->dataset && usual.unit == spec->unit && usual.shortcut == spec->shortcut &&
                    usual.image_size == spec->image_size && spec->image_width == 0 && usual.classes == spec->classes;
        return same ? &published[i] : NULL;
    }
    return NULL;
}

bool speed_row_of(const struct plan *plan, const struct cost_table *measured, struct speed_row *row, struct error *err)
{
    if (plan->device_count != 1)
        return error_set(err, ERROR_INPUT,
                         "times of forward and backward passes are of one device, and the plan has %zu",
                         plan->device_count);
    const struct plan_device *device = &plan->devices[0];
    const struct plan_variant *variant = &plan->variants[device->variant];
    *row = (struct speed_row){.model = plan->spec.name,
                              .parameters = variant->graph->parameter_elements,
                              .forward_flops = 2 * variant->graph->forward_macs,
                              .fits = plan->fits,
                              .peak_bytes = device->peak_bytes,
                              .micro_batches = device->micro_batches,
                              .recomputed = variant->recomputed_convolutions,
                              .published = speed_published_of(&plan->spec)};
    return predict_passes_seconds(plan, measured, &row->predicted_seconds, err);
}
