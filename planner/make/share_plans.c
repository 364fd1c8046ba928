#include "share_plans.h"

#include <string.h>

#include "cost.h"
#include "mem.h"
#include "plan_request.h"
#include "predict.h"
#include "variant.h"
#include "variant_request.h"
#include "workspace.h"

/* A thousand layers' programs and graph take a few MB. */
#define MOST_HELD 12

/* ---- Kinds of devices ---- */

static void find_kinds(struct share_plans *shares)
{
    const struct machine *machine = shares->request->machine;
    for (uint32_t d = 0; d < machine->device_count; d++) {
        uint32_t kind = 0;
        for (; kind < shares->kinds; kind++) {
            const struct device_spec *other = &machine->devices[shares->first_of[kind]];
            if (device_same_memory(other, &machine->devices[d]) && device_same_speed(other, &machine->devices[d]))
                break;
        }
        if (kind == shares->kinds) shares->first_of[shares->kinds++] = d;
        shares->kind_of[d] = kind;
        shares->devices_of[kind]++;
    }
}

static uint64_t room_bytes(const struct device_spec *device)
{
    uint64_t usable = device_usable_bytes(device), outside = device->context_bytes + device->comm_bytes;
    return usable > outside ? usable - outside : 1;
}

/* Where the speed of one is unknown all are taken to be as fast as their memory is large. */
static void weigh_kinds(struct share_plans *shares)
{
    const struct plan_request *request = shares->request;
    const struct device_spec *devices = request->machine->devices;
    shares->speeds_known = true;
    for (size_t k = 0; k < shares->kinds; k++)
        shares->speeds_known &= cost_speed_of(&devices[shares->first_of[k]], request->dtype, request->measured).known;
    for (size_t k = 0; k < shares->kinds; k++)
        shares->weight_of[k] =
            shares->speeds_known ? 1
                                 : (double)room_bytes(&devices[0]) / (double)room_bytes(&devices[shares->first_of[k]]);
}

bool share_plans_begin(const struct plan_request *request, const struct plan *plan, struct share_plans *shares,
                       struct error *err)
{
    size_t devices = request->machine->device_count;
    *shares = (struct share_plans){.request = request, .frame = *plan};
    shares->frame.variant_count = 1;
    shares->kind_of = mem_zalloc(MEM_PLAN, devices, sizeof *shares->kind_of);
    shares->first_of = mem_zalloc(MEM_PLAN, devices, sizeof *shares->first_of);
    shares->devices_of = mem_zalloc(MEM_PLAN, devices, sizeof *shares->devices_of);
    shares->weight_of = mem_zalloc(MEM_PLAN, devices, sizeof *shares->weight_of);
    if (!shares->kind_of || !shares->first_of || !shares->devices_of || !shares->weight_of)
        return error_memory(err, devices * sizeof *shares->kind_of, "the devices' kinds");
    find_kinds(shares);
    weigh_kinds(shares);
    return true;
}

static void drop_variant(struct share *share)
{
    if (share->held) plan_variant_finish(&share->variant);
    share->held = false;
}

void share_plans_finish(struct share_plans *shares)
{
    for (size_t i = 0; i < shares->count; i++) {
        drop_variant(shares->shares[i]);
        mem_free(shares->shares[i]);
    }
    mem_free(shares->shares);
    mem_free(shares->kind_of);
    mem_free(shares->first_of);
    mem_free(shares->devices_of);
    mem_free(shares->weight_of);
    *shares = (struct share_plans){0};
}

/* ---- Shares ---- */

static struct share *find_share(const struct share_plans *shares, uint32_t kind, uint32_t images,
                                uint32_t micro_batches)
{
    for (size_t i = 0; i < shares->count; i++) {
        struct share *share = shares->shares[i];
        if (share->kind == kind && share->images == images && share->micro_batches == micro_batches) return share;
    }
    return NULL;
}

static bool grow(struct share_plans *shares, struct error *err)
{
    size_t capacity = shares->capacity ? 2 * shares->capacity : 16;
    if (shares->count < shares->capacity) return true;
    struct share **grown = mem_alloc(MEM_PLAN, capacity, sizeof(struct share *));
    if (!grown) return error_memory(err, capacity * sizeof(struct share *), "the shares of a batch");
    if (shares->count > 0) memcpy(grown, shares->shares, shares->count * sizeof(struct share *));
    mem_free(shares->shares);
    shares->shares = grown;
    shares->capacity = capacity;
    return true;
}

static struct share *add_share(struct share_plans *shares, uint32_t kind, uint32_t images, uint32_t micro_batches,
                               struct error *err)
{
    struct share *share = grow(shares, err) ? mem_zalloc(MEM_PLAN, 1, sizeof *share) : NULL;
    if (!share) {
        if (shares->count < shares->capacity) error_memory(err, sizeof *share, "the shares of a batch");
        return NULL;
    }
    share->kind = kind;
    share->images = images;
    share->micro_batches = micro_batches;
    share->index = UINT32_MAX;
    shares->shares[shares->count++] = share;
    return share;
}

/* Programs that nobody asked for of late are made again if somebody does. */
static void drop_oldest(struct share_plans *shares, const struct share *spare)
{
    struct share *oldest = NULL;
    size_t held = 0;
    for (size_t i = 0; i < shares->count; i++) {
        struct share *share = shares->shares[i];
        if (!share->held || share == spare) continue;
        held++;
        if (!oldest || share->asked < oldest->asked) oldest = share;
    }
    if (held >= MOST_HELD + shares->kinds) drop_variant(oldest);
}

static void account(const struct variant_request *request, const struct plan_variant *variant,
                    struct plan_device *device)
{
    device->peak_bytes = 0;
    for (size_t c = 0; c < MEMORY_CLASSES; c++) device->classes[c] = variant->classes[c];
    variant_outside(request, variant->graph, variant->train.op_count + variant->evaluate.op_count, variant->host_bytes,
                    device->classes);
    for (size_t c = 0; c < MEMORY_CLASSES; c++) device->peak_bytes += device->classes[c];
}

static struct variant_request request_of(const struct share_plans *shares, uint32_t d, uint32_t images,
                                         uint32_t micro_batches)
{
    const struct machine *machine = shares->request->machine;
    return (struct variant_request){
        shares->request, &machine->devices[d], images, micro_batches, (uint32_t)machine->device_count, d == 0};
}

/* A known speed beside a stand-in's would say nothing of which device is the faster: all get the stand-in's. */
static void forget_speed(struct device_spec *device)
{
    device->flops_f32 = device->flops_f16 = device->bandwidth = 0;
    device->processors = 0;
}

static bool measure(struct share_plans *shares, const struct variant_request *request, struct share *share,
                    struct error *err)
{
    const struct plan_request *wanted = shares->request;
    struct plan_device device = {
        .spec = *request->device, .images = share->images, .micro_batches = share->micro_batches};
    account(request, &share->variant, &device);
    shares->frame.variants = &share->variant;
    share->peak_bytes = device.peak_bytes;
    share->growing_bytes = 0;
    for (int c = MEMORY_KEPT; c <= MEMORY_INPUT; c++) share->growing_bytes += device.classes[c];
    share->fits = device.peak_bytes <= device_usable_bytes(&device.spec);
    if (!shares->speeds_known) forget_speed(&device.spec);
    TRY(predict_device_seconds(&shares->frame, &device, wanted->machine, shares->speeds_known ? wanted->measured : NULL,
                               &share->seconds, err));
    share->seconds *= shares->weight_of[share->kind];
    return true;
}

static bool watched(const struct share_plans *shares, struct error *err)
{
    const struct plan_request *request = shares->request;
    if (!request->watch || request->watch(request->watch_context)) return true;
    return error_set(err, ERROR_FAILED, "planning was stopped");
}

/* A budget below the least arena is no failure: the share is not made, and this is why. */
static bool make_variant(struct share_plans *shares, const struct variant_request *wanted, struct share *share,
                         struct error *err)
{
    struct error fault = {0};
    TRY(watched(shares, err));
    share->held = true;
    share->made = variant_make(wanted, &share->variant, &share->policy, &fault);
    share->arena_bytes = share->variant.arena_bytes;
    const struct graph *graph = share->variant.graph;
    if (graph) share->ops = (uint32_t)graph->op_count;
    if (graph) share->unfolded_bytes = workspace_most_unfolded(wanted->device, graph);
    bool made = share->made;
    share->fits = false;
    share->peak_bytes = share->growing_bytes = 0;
    if (!made) drop_variant(share);
    if (made) return measure(shares, wanted, share, err);
    if (fault.kind == ERROR_UNFIT) {
        shares->unfit = fault;
        return true;
    }
    if (err) *err = fault;
    return false;
}

/* Of a step's FLOPs. A third is every convolution's forward pass once more: beyond a half many run several times. Less
 * workspace was seen to win from 0.6 on. */
#define MUCH_AGAIN 0.5

/* Blocks that are kept choose their workspace themselves (blocks.c); what runs again takes all that it wants. Where
 * little else is left that counts. */
static bool is_tight(const struct share_plans *shares, const struct variant_request *wanted, const struct share *share)
{
    const struct plan_request *request = shares->request;
    bool adapts = request->recompute == RECOMPUTE_AUTO || request->recompute == RECOMPUTE_BUDGET;
    if (!adapts || request->workspace_bytes || request->workspace_cap_bytes > 0) return false;
    if (wanted->device->kind != DEVICE_GPU) return false;
    if (share->made && share->fits) return share->variant.extra_flops_fraction > MUCH_AGAIN;
    /* One op's workspace is there at a time: doing without it saves so much at most. */
    uint64_t usable = device_usable_bytes(wanted->device), budget = request->recompute_budget_bytes;
    bool within = request->recompute == RECOMPUTE_BUDGET && budget > 0;
    uint64_t room = wanted->device->workspace_bytes + (within && !share->made ? budget : usable);
    return (share->made ? share->peak_bytes : share->arena_bytes) <= room;
}

/* The faster of two, of which only those that fit count. */
static void keep_faster(struct share *share, struct share *other)
{
    bool better = other->fits && (!share->fits || other->seconds < share->seconds);
    if (better) {
        struct share slower = *share;
        *share = *other;
        *other = slower;
    }
    drop_variant(other);
}

/* The share with so little workspace, if it fits and is faster. */
static bool try_cap(struct share_plans *shares, const struct variant_request *wanted, uint64_t cap_bytes,
                    struct share *share, struct error *err)
{
    struct plan_request capped = *shares->request;
    struct variant_request small = *wanted;
    struct share other = *share;
    struct error unfit = shares->unfit;
    capped.workspace_cap_bytes = other.cap_bytes = cap_bytes;
    capped.only_if_fits = true; /* others are not taken */
    small.plan = &capped;
    other.variant = (struct plan_variant){0};
    bool ok = make_variant(shares, &small, &other, err);
    shares->unfit = unfit;
    if (!ok) drop_variant(&other);
    TRY(ok);
    keep_faster(share, &other);
    return true;
}

/* Whether all convolutions' doing with less workspace is faster, or the only way to fit. A cap above what any of them
 * gets would give the same plan once more. None is left out when a larger one made it slower: ResNet-200 in 2 GiB takes
 * five times the computation with one cap, and 1.4 times with a smaller one. */
static bool try_caps(struct share_plans *shares, const struct variant_request *wanted, struct share *share,
                     struct error *err)
{
    static const uint64_t mib[] = {32, 16, 8, 1};
    for (size_t i = 0; i < sizeof mib / sizeof mib[0] && is_tight(shares, wanted, share); i++)
        if (mib[i] << 20 < share->unfolded_bytes) TRY(try_cap(shares, wanted, mib[i] << 20, share, err));
    return true;
}

static bool make_share(struct share_plans *shares, struct share *share, struct error *err)
{
    struct variant_request wanted =
        request_of(shares, shares->first_of[share->kind], share->images, share->micro_batches);
    share->cap_bytes = shares->request->workspace_cap_bytes;
    TRY(make_variant(shares, &wanted, share, err) && try_caps(shares, &wanted, share, err));
    drop_oldest(shares, share);
    return true;
}

bool share_plans_get(struct share_plans *shares, uint32_t kind, uint32_t images, uint32_t micro_batches,
                     struct share **share, struct error *err)
{
    struct share *found = find_share(shares, kind, images, micro_batches);
    bool known = found != NULL;
    if (!known) found = add_share(shares, kind, images, micro_batches, err);
    if (!found || (!known && !make_share(shares, found, err))) return false;
    found->asked = ++shares->asked;
    *share = found;
    return true;
}

/* ---- Into a plan ---- */

/* The share's variant moves into the plan, unless a device before had it. */
static bool take_variant(struct share_plans *shares, struct share *share, struct plan *plan, struct error *err)
{
    if (share->made && share->index < plan->variant_count) return true;
    if (share->made && !share->held) TRY(make_share(shares, share, err));
    if (!share->made) {
        if (err) *err = shares->unfit;
        return false;
    }
    share->index = (uint32_t)plan->variant_count++;
    plan->variants[share->index] = share->variant;
    share->variant = (struct plan_variant){0};
    share->held = false;
    if (share->policy > plan->recompute) plan->recompute = share->policy;
    return true;
}

/* By the request that the share was made for. */
static bool bound_share(struct share_plans *shares, const struct share *share, struct plan_variant *variant,
                        struct error *err)
{
    struct plan_request capped = *shares->request;
    struct variant_request wanted =
        request_of(shares, shares->first_of[share->kind], share->images, share->micro_batches);
    capped.workspace_cap_bytes = share->cap_bytes;
    wanted.plan = &capped;
    TRY(watched(shares, err));
    return variant_bound(&wanted, variant, err);
}

/* It takes as long as a search: not of shares that are only tried. */
static bool bound_variants(struct share_plans *shares, struct plan *plan, struct error *err)
{
    for (size_t i = 0; i < shares->count; i++) {
        const struct share *share = shares->shares[i];
        if (!share->made || share->index >= plan->variant_count) continue;
        struct plan_variant *variant = &plan->variants[share->index];
        if (variant_lacks_bound(variant)) TRY(bound_share(shares, share, variant, err));
    }
    return true;
}

bool share_plans_take(struct share_plans *shares, const uint32_t *images, uint32_t micro_batches, struct plan *plan,
                      struct error *err)
{
    plan->fits = true;
    plan->recompute = RECOMPUTE_NONE;
    for (size_t i = 0; i < shares->count; i++) shares->shares[i]->index = UINT32_MAX;
    for (uint32_t d = 0; d < plan->device_count; d++) {
        struct plan_device *device = &plan->devices[d];
        struct variant_request wanted = request_of(shares, d, images[d], micro_batches);
        struct share *share;
        TRY(share_plans_get(shares, shares->kind_of[d], images[d], micro_batches, &share, err));
        TRY(take_variant(shares, share, plan, err));
        device->images = images[d];
        device->micro_batches = micro_batches;
        device->variant = share->index;
        account(&wanted, &plan->variants[share->index], device);
        plan->fits &= device->peak_bytes <= device_usable_bytes(&device->spec);
    }
    return !shares->request->bound || !plan->fits || bound_variants(shares, plan, err);
}
