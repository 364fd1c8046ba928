#include "advise.h"

#include "bisect.h"
#include "make.h"
#include "mem.h"

#define MOST_BATCH ADVICE_MOST_BATCH
#define GIB        (1ull << 30)

/* The batch at which the fullest device would be full if what depends on images grew with them. */
static uint32_t proportional_batch(const struct plan *plan)
{
    double least = MOST_BATCH;
    for (size_t d = 0; d < plan->device_count; d++) {
        const struct plan_device *device = &plan->devices[d];
        double images = 0;
        for (int c = MEMORY_KEPT; c <= MEMORY_INPUT; c++) images += (double)device->classes[c];
        double room = (double)device_usable_bytes(&device->spec) - ((double)device->peak_bytes - images);
        double batch = images > 0 ? plan->batch * room / images : MOST_BATCH;
        if (batch < least) least = batch;
    }
    return least < 1 ? 1 : (uint32_t)least;
}

/* Where recomputation may free memory a plan that fits says nothing of the largest batch, but one that does not has
 * been made as small as can be: so the guess first goes far up. */
static uint32_t guess_largest(const struct plan_request *request, const struct plan *plan)
{
    bool adapts = request->recompute == RECOMPUTE_AUTO || request->recompute == RECOMPUTE_BUDGET;
    if (!plan->fits || !adapts) return proportional_batch(plan);
    return plan->batch < MOST_BATCH / 16 ? 16 * plan->batch : MOST_BATCH;
}

/* Makes the plan of a request; *fits is the answer. A request that cannot be made at all (ERROR_INPUT: too many images
 * for sizes to hold, fewer images than devices, no equal micro-batches) does not fit. *advice (may be NULL) is filled
 * when it fits; *guess (may be NULL) is where the plan's figures put the largest batch. */
static bool try_request(const struct plan_request *request, bool *fits, struct advice *advice, uint32_t *guess,
                        struct error *err)
{
    struct error fault = {0};
    struct plan_request wanted = *request;
    /* Nothing is asked of one that does not: beyond a budget there is none anyway. */
    bool budget = request->recompute == RECOMPUTE_BUDGET && request->recompute_budget_bytes > 0;
    wanted.only_if_fits = (!guess || budget) && request->micro_batches > 0;
    struct plan *plan = plan_make(&wanted, &fault);
    *fits = plan && plan->fits;
    if (!plan && fault.kind != ERROR_INPUT && fault.kind != ERROR_UNFIT) {
        if (err) *err = fault;
        return false;
    }
    if (*fits && advice) {
        advice->changes_bn = plan->changes_bn;
        advice->bn_group = plan->bn_group;
        advice->micro_batches = plan->devices[0].micro_batches;
        advice->extra_flops_fraction = 0;
        for (size_t v = 0; v < plan->variant_count; v++)
            if (plan->variants[v].extra_flops_fraction > advice->extra_flops_fraction)
                advice->extra_flops_fraction = plan->variants[v].extra_flops_fraction;
    }
    if (plan && guess) *guess = guess_largest(request, plan);
    plan_destroy(plan);
    return true;
}

/* With micro-batches as few as fit almost everything fits: searches are for what fits without them. */
static void in_one_piece(struct plan_request *request)
{
    if (request->micro_batches == 0) request->micro_batches = 1;
}

static bool devices_alike(const struct machine *machine)
{
    const struct device_spec *devices = machine->devices;
    for (size_t d = 1; d < machine->device_count; d++)
        if (!device_same_memory(&devices[0], &devices[d]) || !device_same_speed(&devices[0], &devices[d])) return false;
    return true;
}

/* Batches that can be cut as the request says are multiples of so many images: of whole groups in each micro-batch, and
 * equal shares where like devices cut theirs. Others are refused, which says nothing of whether larger ones fit. */
static uint64_t batch_step(const struct plan_request *request)
{
    uint64_t pieces = request->micro_batches > 1 ? request->micro_batches : 1;
    if (pieces > 1 && devices_alike(request->machine)) pieces *= request->machine->device_count;
    return pieces * plan_request_unit(request);
}

/* A search for the largest batch, counted in steps of so many images. */
struct batch_search {
    uint32_t images, least; /* of a step; steps */
    struct bisect bisect;
    struct advice advice; /* of the last plan that fits: of the largest batch that was tried and does */
};

/* False where no batch that can be cut so is small enough. */
static bool begin_batches(const struct plan_request *request, uint32_t guess, struct batch_search *search)
{
    const uint64_t step = batch_step(request);
    const uint32_t devices = (uint32_t)request->machine->device_count;
    if (step > MOST_BATCH) return false;
    *search = (struct batch_search){.images = (uint32_t)step};
    search->least = request->micro_batches > 1 && devices_alike(request->machine) ? 1 : devices;
    search->bisect = (struct bisect){.fits = search->least - 1,
                                     .unfit = UINT32_MAX,
                                     .most = MOST_BATCH / search->images,
                                     .guess = guess / search->images};
    return true;
}

/* A plan that was not made says nothing of where to look next. */
static void tell_unmade(struct bisect *bisect, uint32_t steps)
{
    bisect_tell(bisect, steps, false);
    bisect->guess = bisect_middle(bisect);
}

/* So many steps. */
static bool try_batch(const struct plan_request *request, struct batch_search *search, struct error *err)
{
    struct plan_request changed = *request;
    struct bisect *bisect = &search->bisect;
    uint32_t steps = bisect_next(bisect);
    bool fits;
    changed.batch = steps * search->images;
    in_one_piece(&changed);
    bisect->guess = 0;
    TRY(try_request(&changed, &fits, &search->advice, &bisect->guess, err));
    bisect->guess /= search->images;
    bisect_tell(bisect, steps, fits);
    bool blind = bisect->guess == 0; /* no plan, no figures */
    if (blind && bisect->unfit != UINT32_MAX) bisect->guess = bisect_middle(bisect);
    return true;
}

static bool search_batches(const struct plan_request *request, struct batch_search *search, uint32_t most_plans,
                           uint32_t *batch, bool *exact, struct error *err)
{
    struct bisect *bisect = &search->bisect;
    while (bisect_goes_on(bisect) && (most_plans == 0 || bisect->tried < most_plans))
        TRY(try_batch(request, search, err));
    *exact = bisect->fits + 1 >= bisect->unfit;
    *batch = bisect->fits < search->least ? 0 : bisect->fits * search->images;
    return true;
}

static bool find_largest(const struct plan_request *request, const struct plan *known, uint32_t most_plans,
                         struct batch_search *search, uint32_t *batch, bool *exact, struct error *err)
{
    if (!begin_batches(request, known ? guess_largest(request, known) : request->batch, search)) {
        *batch = 0;
        *exact = true;
        return true;
    }
    bool same = known && (request->micro_batches > 0 || known->devices[0].micro_batches == 1);
    if (same) *(known->fits ? &search->bisect.fits : &search->bisect.unfit) = known->batch / search->images;
    return search_batches(request, search, most_plans, batch, exact, err);
}

bool advise_largest_batch(const struct plan_request *request, const struct plan *known, uint32_t most_plans,
                          uint32_t *batch, bool *exact, struct error *err)
{
    struct batch_search search;
    return find_largest(request, known, most_plans, &search, batch, exact, err);
}

/* What the plan of the batch found costs. */
static void take_batch(const struct batch_search *search, uint32_t batch, struct advice *advice)
{
    struct advice found = search->advice;
    found.kind = advice->kind;
    found.mild = advice->mild;
    found.value = batch;
    *advice = found;
}

static bool advise_recompute(const struct plan_request *request, struct advice *advice, bool *works, struct error *err)
{
    struct plan_request changed = *request;
    *works = false;
    if (request->recompute == RECOMPUTE_AUTO) return true;
    changed.recompute = RECOMPUTE_AUTO;
    return try_request(&changed, works, advice, NULL, err);
}

static bool advise_batch(const struct plan_request *request, const struct plan *unfit, struct advice *advice,
                         bool *works, struct error *err)
{
    struct batch_search search;
    uint32_t batch;
    bool exact;
    TRY(find_largest(request, unfit, 0, &search, &batch, &exact, err));
    *works = batch > 0;
    if (*works) take_batch(&search, batch, advice);
    return true;
}

/* With micro_batches 0 the planner has tried them all already. */
static bool advise_micro_batches(const struct plan_request *request, struct advice *advice, bool *works,
                                 struct error *err)
{
    struct plan_request changed = *request;
    *works = false;
    if (request->micro_batches == 0) return true;
    changed.micro_batches = 0;
    TRY(try_request(&changed, works, advice, NULL, err));
    advice->value = advice->micro_batches;
    return true;
}

/* A request whose machine grows. */
struct growing {
    const struct plan_request *request;
    struct plan_request changed;
    struct machine machine;
    const uint32_t *counts; /* of devices, that are tried */
};

typedef void (*grow_fn)(struct growing *growing, uint32_t number);

/* The caller frees machine.devices, which are the first `count` of the request's and then more like the last. */
static bool begin_growing(const struct plan_request *request, uint32_t count, struct growing *growing,
                          struct error *err)
{
    uint32_t had = (uint32_t)request->machine->device_count;
    *growing = (struct growing){request, *request, *request->machine, NULL};
    growing->machine.devices = mem_alloc(MEM_PLAN, count, sizeof *growing->machine.devices);
    if (!growing->machine.devices) return error_memory(err, count * sizeof *growing->machine.devices, "more devices");
    for (uint32_t i = 0; i < count; i++) growing->machine.devices[i] = request->machine->devices[i < had ? i : had - 1];
    growing->changed.machine = &growing->machine;
    in_one_piece(&growing->changed);
    return true;
}

/* The least number up to `most` that makes the request fit, above one that does not: first doubled, then by halves. */
static bool find_least(struct growing *growing, grow_fn grow, uint32_t unfit, uint32_t most, struct advice *advice,
                       bool *works, struct error *err)
{
    uint32_t fits = most + 1, next = unfit == 0 ? 1 : unfit <= most / 2 ? 2 * unfit : most;
    while (unfit + 1 < fits) {
        struct advice found = *advice;
        bool enough;
        found.value = next;
        grow(growing, next);
        TRY(try_request(&growing->changed, &enough, &found, NULL, err));
        if (enough) *advice = found;
        *(enough ? &fits : &unfit) = next;
        next = fits > most && unfit <= most / 2 ? 2 * unfit : unfit + (fits - unfit) / 2;
    }
    *works = fits <= most;
    return true;
}

#define MOST_GIB 4096u

/* Every device of so many GiB, speeds kept. What the driver holds back grows with the size. */
static void grow_memory(struct growing *growing, uint32_t gib)
{
    const struct machine *given = growing->request->machine;
    for (size_t i = 0; i < given->device_count; i++) {
        const struct device_spec *old = &given->devices[i];
        struct device_spec *device = &growing->machine.devices[i];
        *device = *old;
        if (old->memory_bytes >= gib * GIB) continue;
        device->memory_bytes = gib * GIB;
        double share = (double)old->reserve_bytes / (double)old->memory_bytes;
        device->reserve_bytes = (uint64_t)(share * (double)device->memory_bytes);
    }
}

static bool advise_memory(const struct plan_request *request, struct advice *advice, bool *works, struct error *err)
{
    const struct machine *machine = request->machine;
    struct growing growing;
    uint64_t smallest = UINT64_MAX;
    for (size_t i = 0; i < machine->device_count; i++)
        if (machine->devices[i].memory_bytes < smallest) smallest = machine->devices[i].memory_bytes;
    *works = false;
    if (smallest / GIB >= MOST_GIB) return true;
    bool ok = begin_growing(request, (uint32_t)machine->device_count, &growing, err) &&
              find_least(&growing, grow_memory, (uint32_t)(smallest / GIB), MOST_GIB, advice, works, err);
    mem_free(growing.machine.devices);
    return ok;
}

/* The n-th of the counts. */
static void grow_count(struct growing *growing, uint32_t n) { growing->machine.device_count = growing->counts[n - 1]; }

/* Counts of devices above `had` by which the batch can be cut as the request says, into counts[]. Others are refused,
 * which says nothing of whether more devices fit. */
static uint32_t list_counts(struct growing *growing, uint32_t had, uint32_t most, uint32_t *counts)
{
    uint32_t listed = 0;
    for (uint32_t count = had + 1; count <= most; count++) {
        growing->machine.device_count = count;
        if (growing->changed.batch % batch_step(&growing->changed) == 0) counts[listed++] = count;
    }
    return listed;
}

static bool find_count(struct growing *growing, uint32_t had, uint32_t most, struct advice *advice, bool *works,
                       struct error *err)
{
    uint32_t *counts = mem_alloc(MEM_PLAN, most, sizeof *counts);
    if (!counts) return error_memory(err, most * sizeof *counts, "more devices");
    uint32_t listed = list_counts(growing, had, most, counts);
    growing->counts = counts;
    bool ok = listed == 0 || find_least(growing, grow_count, 0, listed, advice, works, err);
    if (ok && *works) advice->value = counts[advice->value - 1];
    mem_free(counts);
    return ok;
}

static bool advise_devices(const struct plan_request *request, struct advice *advice, bool *works, struct error *err)
{
    uint32_t units = request->batch / plan_request_unit(request);
    uint32_t most = units < MACHINE_MOST_DEVICES ? units : MACHINE_MOST_DEVICES;
    uint32_t had = (uint32_t)request->machine->device_count;
    struct growing growing;
    *works = false;
    if (had >= most || request->machine->devices[0].kind == DEVICE_CPU) return true;
    bool ok = begin_growing(request, most, &growing, err);
    for (uint32_t i = 0; ok && i < most; i++) {
        struct device_spec *device = &growing.machine.devices[i];
        device->comm_bytes = machine_comm_bytes(device);
    }
    ok = ok && find_count(&growing, had, most, advice, works, err);
    mem_free(growing.machine.devices);
    return ok;
}

/* One more means, in one piece. */
static bool advise_offload(const struct plan_request *request, struct advice *advice, bool *works, struct error *err)
{
    struct plan_request changed = *request;
    *works = false;
    if (request->offload_bytes > 0 || request->machine->devices[0].kind == DEVICE_CPU) return true;
    in_one_piece(&changed);
    changed.offload_bytes = UINT64_MAX;
    return try_request(&changed, works, advice, NULL, err);
}

static bool advise_reconstruct(const struct plan_request *request, struct advice *advice, bool *works,
                               struct error *err)
{
    struct plan_request changed = *request;
    *works = false;
    if (request->reconstruct || request->recompute == RECOMPUTE_NONE) return true;
    in_one_piece(&changed);
    changed.reconstruct = true;
    return try_request(&changed, works, advice, NULL, err);
}

/* Where the planner is free to choose it has tried this. */
static bool advise_workspace(const struct plan_request *request, struct advice *advice, bool *works, struct error *err)
{
    static const uint32_t mib[] = {32, 8};
    struct plan_request changed = *request;
    *works = false;
    if (request->recompute == RECOMPUTE_AUTO || request->recompute == RECOMPUTE_BUDGET) return true;
    if (request->workspace_bytes || request->workspace_cap_bytes > 0) return true;
    in_one_piece(&changed);
    for (size_t i = 0; i < sizeof mib / sizeof mib[0] && !*works; i++) {
        advice->value = mib[i];
        changed.workspace_cap_bytes = (uint64_t)mib[i] << 20;
        TRY(try_request(&changed, works, advice, NULL, err));
    }
    return true;
}

/* Of a budget that is too small: plans for one answer, and the most micro-batches. */
#define BUDGET_PLANS 12
#define MOST_PIECES  64

static bool advise_kind(const struct plan_request *request, const struct plan *known, struct advice *advice,
                        bool *works, struct error *err)
{
    switch (advice->kind) {
    case ADVICE_RECOMPUTE: return advise_recompute(request, advice, works, err);
    case ADVICE_BATCH: return advise_batch(request, known, advice, works, err);
    case ADVICE_MICRO_BATCHES: return advise_micro_batches(request, advice, works, err);
    case ADVICE_MEMORY: return advise_memory(request, advice, works, err);
    case ADVICE_DEVICES: return advise_devices(request, advice, works, err);
    case ADVICE_OFFLOAD: return advise_offload(request, advice, works, err);
    case ADVICE_RECONSTRUCT: return advise_reconstruct(request, advice, works, err);
    case ADVICE_WORKSPACE: return advise_workspace(request, advice, works, err);
    case ADVICE_KINDS: break;
    }
    return false;
}

/* What just fits when every block may run many times over is of no use to anybody, and slow to find: with --recompute
 * auto what fits without running convolutions again is looked for, and the rest only when no batch fits so. */
bool advise_unfit(const struct plan_request *request, const struct plan *unfit, struct advice advice[ADVICE_KINDS],
                  size_t *count, struct error *err)
{
    size_t found = 0;
    struct plan_request mild = *request;
    bool adapts = request->recompute == RECOMPUTE_AUTO;
    if (adapts) mild.recompute = RECOMPUTE_ELEMENTWISE;
    for (int kind = 0; kind < ADVICE_KINDS; kind++) {
        struct advice *next = &advice[found];
        bool works = false;
        if (adapts && kind == ADVICE_RECOMPUTE) continue;
        bool whole = kind >= ADVICE_OFFLOAD; /* a further means beside all that the request allows */
        *next = (struct advice){.kind = (enum advice_kind)kind, .mild = adapts && !whole};
        TRY(advise_kind(whole ? request : &mild, adapts ? NULL : unfit, next, &works, err));
        if (!works && adapts && kind == ADVICE_BATCH) {
            *next = (struct advice){.kind = ADVICE_BATCH};
            TRY(advise_kind(request, unfit, next, &works, err));
        }
        found += works;
    }
    *count = found;
    return true;
}

/* With a budget of one's own the planner tries no micro-batches by itself. */
static bool advise_pieces(const struct plan_request *request, struct advice *advice, bool *works, struct error *err)
{
    struct plan_request changed = *request;
    uint32_t most = request->batch / (uint32_t)request->machine->device_count;
    *works = false;
    for (uint32_t pieces = 2; pieces <= most && pieces <= MOST_PIECES && !*works; pieces++) {
        if (most % pieces != 0 || pieces <= request->micro_batches) continue;
        changed.micro_batches = advice->value = pieces;
        TRY(try_request(&changed, works, advice, NULL, err));
    }
    return true;
}

/* That the batch itself does not is known. */
static bool advise_smaller_batch(const struct plan_request *request, struct advice *advice, bool *works,
                                 struct error *err)
{
    struct plan_request whole = *request;
    struct batch_search search;
    uint32_t batch;
    bool exact;
    in_one_piece(&whole);
    *works = false;
    if (!begin_batches(&whole, request->batch, &search)) return true;
    tell_unmade(&search.bisect, request->batch / search.images);
    TRY(search_batches(&whole, &search, BUDGET_PLANS, &batch, &exact, err));
    *works = batch > 0;
    if (*works) take_batch(&search, batch, advice);
    advice->rough = !exact;
    return true;
}

bool advise_budget(const struct plan_request *request, struct advice advice[ADVICE_KINDS], size_t *count,
                   struct error *err)
{
    static const enum advice_kind kinds[] = {ADVICE_BATCH, ADVICE_MICRO_BATCHES, ADVICE_OFFLOAD, ADVICE_RECONSTRUCT};
    size_t found = 0;
    bool hopeless;
    TRY(plan_budget_hopeless(request, &hopeless, err));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && !hopeless; i++) {
        struct advice *next = &advice[found];
        bool works = false;
        *next = (struct advice){.kind = kinds[i]};
        if (next->kind == ADVICE_BATCH)
            TRY(advise_smaller_batch(request, next, &works, err));
        else if (next->kind == ADVICE_MICRO_BATCHES)
            TRY(advise_pieces(request, next, &works, err));
        else
            TRY(advise_kind(request, NULL, next, &works, err));
        found += works;
    }
    *count = found;
    return true;
}
