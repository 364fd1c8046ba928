/* What is asked of the planner. */
#ifndef FATHOM_PLAN_REQUEST_H
#define FATHOM_PLAN_REQUEST_H

#include "plan.h"
#include "sharing.h"
#include "workspace.h"

struct cost_table;

/* Told of every share of a batch, before it is planned; false ends planning with ERROR_FAILED. */
typedef bool (*plan_watch_fn)(void *context);

/* Schedules of so many blocks are made in a second, exact; with their number the time grows faster than its square. */
#define PLAN_ROUGH_BLOCKS 96

struct plan_request {
    struct model_spec spec;
    enum dtype dtype;
    uint32_t batch;
    const struct machine *machine;    /* borrowed */
    uint32_t micro_batches;           /* 0 = as few as fit; otherwise the same on every device */
    bool any_micro_batches;           /* with micro_batches 0: as many as make the least predicted step */
    bool sync_bn;
    enum bn_freeze freeze_bn;
    uint32_t bn_group;                /* images that a BN takes its statistics over; 0 = all of a micro-batch */
    enum dtype reduce_dtype;          /* of gradients on their way between devices */
    bool reduce_apart;                /* in memory apart, which GPUs' NCCL gives and knows */
    bool reduce_anywhere;             /* in the arena where the plan would not fit with it apart */
    struct update_needs update;
    uint32_t lowering;                /* what the devices fuse: bits of enum graph_lowering */
    bool lower_less;                  /* without LOWER_GRADIENT_KEEP, or without LOWER_GRADIENT_ADD too, which hold gradients
                                       * longer, where the plan would not fit with them */
    uint32_t frozen;                  /* leading stages that are not trained (graph.h) */
    enum recompute_policy recompute;
    uint64_t recompute_budget_bytes;  /* of one device's arena; 0 = what its memory leaves */
    uint64_t offload_bytes;           /* pinned host memory that a device may offload into; 0 = none, UINT64_MAX = any */
    uint64_t workspace_cap_bytes;     /* of one op, where no backend is asked; 0 = the device's own */
    bool reconstruct;                 /* blocks may re-create their input from their output, to rounding */
    const struct cost_table *measured; /* ops' times from a run (cost.h), borrowed; NULL = the roofline's */
    enum sharing_policy sharing;
    uint64_t decode_bytes;            /* of a host's memory for decoding pictures; 0 = by the size of the images */
    uint64_t bucket_bytes;            /* of gradients; 0 = 25 MiB with several devices, else one bucket */
    double search_seconds;            /* for the exact placement search after the fast placers; 0 = none */
    bool bound;                       /* how much faster the plan could be at most is worked out though it takes a while */
    bool rough;                       /* schedules of more than PLAN_ROUGH_BLOCKS blocks are made over runs of several: in a
                                       * tenth of the time, and slower than the fastest */
    bool only_if_fits;                /* a plan that does not is ERROR_UNFIT, and soon */
    plan_workspace_fn workspace_bytes; /* may be NULL */
    void *workspace_context;
    plan_watch_fn watch;              /* may be NULL */
    void *watch_context;
};

/* Whether what the request was answered with may be slower than without `rough`: where a schedule was looked for. */
static inline bool plan_request_roughly(const struct plan_request *request, const struct plan *plan)
{
    bool searched = request->recompute == RECOMPUTE_AUTO || request->recompute == RECOMPUTE_BUDGET;
    for (size_t v = 0; request->rough && searched && v < plan->variant_count; v++) {
        const struct plan_variant *variant = &plan->variants[v];
        bool some = plan->recompute != RECOMPUTE_NONE || variant->host_bytes > 0;
        if (some && variant->graph->block_count > PLAN_ROUGH_BLOCKS) return true;
    }
    return false;
}

/* Images that no cut of the batch parts: those of one group of statistics. */
static inline uint32_t plan_request_unit(const struct plan_request *request)
{
    return request->bn_group > 0 ? request->bn_group : 1;
}

/* Whether a device's micro-batch, of so many, may have several groups of images with statistics of their own: not where
 * one is all of it. */
static inline bool plan_request_groups(const struct plan_request *request, uint32_t micro_batches)
{
    uint64_t pieces = (uint64_t)micro_batches * request->machine->device_count;
    return request->bn_group > 0 && request->bn_group * pieces < request->batch;
}

/* What of the lowering can be done: the 2016 release's strategy fused nothing, only an addition that is an op of its own
 * can be turned round, and sums over all images are none over groups. The same on all devices. */
static inline uint32_t plan_request_lowering(const struct plan_request *request, uint32_t micro_batches)
{
    uint32_t lowering = request->lowering;
    if (request->sharing == SHARING_GRADINPUT) return 0;
    if (request->reconstruct) lowering &= ~(uint32_t)(LOWER_ADD | LOWER_BN_ADD);
    if (plan_request_groups(request, micro_batches)) lowering &= ~(uint32_t)LOWER_GROUPS_LACK;
    return lowering;
}

/* What the request says of the graph on every device; how many images and which sums it has is the device's own. */
static inline struct graph_options plan_request_graph(const struct plan_request *request)
{
    return (struct graph_options){.step_images = request->batch,
                                  .dtype = request->dtype,
                                  .freeze_bn = request->freeze_bn,
                                  .update = request->update,
                                  .frozen = request->frozen,
                                  .bucket_bytes = request->bucket_bytes};
}

/* On a cpu. */
static inline uint64_t plan_request_decode_bytes(const struct plan_request *request)
{
    if (request->decode_bytes > 0) return request->decode_bytes;
    return request->spec.image_size == PLAN_PICTURE_SIDE ? 0 : PLAN_PICTURE_BYTES;
}

#endif
