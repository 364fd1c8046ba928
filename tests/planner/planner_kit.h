/* Plans for the planner's tests. */
#ifndef FATHOM_PLANNER_KIT_H
#define FATHOM_PLANNER_KIT_H

#include <criterion/criterion.h>

#include "make.h"

struct kit_options {
    const char *model;
    int unit, shortcut, dataset; /* 0 = default, else the value + 1 */
    const struct model_options *form; /* what the fields above do not say */
    uint32_t image_size;
    uint32_t batch;
    const char *gpus;
    enum recompute_policy recompute;
    uint64_t budget;
    bool reconstruct;
    uint64_t workspace_cap;
    uint32_t micro_batches;
    bool sync_bn;
    uint32_t lowering;
    bool lower_less;
    enum sharing_policy sharing;
    uint64_t bucket_bytes;
    enum dtype dtype;
    enum dtype reduce_dtype;
    bool reduce_apart, reduce_anywhere;
};

static inline struct plan *kit_try(const struct kit_options *options, struct error *err)
{
    struct machine machine = {0};
    struct model_options overrides = options->form ? *options->form : MODEL_OPTIONS_DEFAULT;
    if (options->dataset) overrides.dataset = options->dataset - 1;
    if (options->unit) overrides.unit = options->unit - 1;
    if (options->shortcut) overrides.shortcut = options->shortcut - 1;
    if (options->image_size) overrides.image_size = options->image_size;
    struct plan_request request = {.batch = options->batch,
                                   .machine = &machine,
                                   .recompute = options->recompute,
                                   .recompute_budget_bytes = options->budget,
                                   .reconstruct = options->reconstruct,
                                   .workspace_cap_bytes = options->workspace_cap,
                                   .micro_batches = options->micro_batches,
                                   .sync_bn = options->sync_bn,
                                   .lowering = options->lowering,
                                   .lower_less = options->lower_less,
                                   .sharing = options->sharing,
                                   .bucket_bytes = options->bucket_bytes,
                                   .dtype = options->dtype,
                                   .reduce_dtype = options->reduce_dtype,
                                   .reduce_apart = options->reduce_apart,
                                   .reduce_anywhere = options->reduce_anywhere};
    struct error unused = {0};
    cr_assert(model_parse(options->model, &overrides, &request.spec, &unused), "%s", unused.text);
    cr_assert(machine_parse(options->gpus, &machine, &unused), "%s", unused.text);
    struct plan *plan = plan_make(&request, err);
    machine_finish(&machine);
    return plan;
}

/* For tests that ask more of a request than kit_options says; its machine is the caller's to finish. */
static inline struct plan_request kit_request(const char *model, const char *gpus, uint32_t batch, struct machine *machine)
{
    const struct model_options defaults = MODEL_OPTIONS_DEFAULT;
    struct plan_request request = {.batch = batch, .machine = machine};
    struct error err = {0};
    cr_assert(model_parse(model, &defaults, &request.spec, &err), "%s", err.text);
    cr_assert(machine_parse(gpus, machine, &err), "%s", err.text);
    return request;
}

static inline struct plan *kit_plan(const struct plan_request *request)
{
    struct error err = {0};
    struct plan *plan = plan_make(request, &err);
    cr_assert(plan, "%s", err.text);
    return plan;
}

#define kit_make(...) kit_make_from(&(struct kit_options){__VA_ARGS__})

static inline struct plan *kit_make_from(const struct kit_options *options)
{
    struct error err = {0};
    struct plan *plan = kit_try(options, &err);
    cr_assert(plan, "%s on %s: %s", options->model, options->gpus, err.text);
    return plan;
}

#endif
