#include "batch_split.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "mem.h"
#include "plan_request.h"
#include "predict.h"
#include "share_plans.h"
#include "split_search.h"
#include "variant.h"

/* Finding a better split may take so many plans of a hundred layers, or a dozen of a thousand that run blocks again. */
#define MOST_EFFORT 96u
#define EFFORT_OPS  1000u /* where blocks run again */

/* One way to cut the batch. */
struct cut {
    uint32_t *images; /* of each device */
    uint32_t micro_batches;
    bool made, fits; /* made: within the request's budget */
    double seconds;  /* of the slowest device, to compare cuts by */
    uint32_t pieces; /* how many micro-batches would fit, by this cut's figures; UINT32_MAX = no number */
};

struct choice {
    const struct plan_request *request;
    struct plan *plan;
    struct share_plans shares;
    uint32_t micro_batches; /* of the split that is being searched */
    struct split_kind *kinds;
    struct split_portion *portions;
    uint32_t *start; /* images of each device before anything is searched */
};

/* What a device has more of than another: so many images. */
static uint32_t unit_of(const struct choice *choice)
{
    return choice->micro_batches * plan_request_unit(choice->request);
}

static void share_equally(const struct plan_request *request, uint32_t *images)
{
    uint32_t count = (uint32_t)request->machine->device_count, groups = request->batch / plan_request_unit(request);
    for (uint32_t d = 0; d < count; d++)
        images[d] = (groups / count + (d < groups % count)) * plan_request_unit(request);
}

/* ---- Unequal devices ---- */

/* A plan of equal shares that keeps everything: what an image takes is read off it. */
static bool sketch_shares(const struct choice *choice, uint32_t unit, uint32_t *images, struct error *err)
{
    struct plan_request request = *choice->request;
    struct plan plan = *choice->plan;
    struct share_plans shares = {0};
    if (request.recompute != RECOMPUTE_ELEMENTWISE) request.recompute = RECOMPUTE_NONE;
    request.offload_bytes = 0;
    request.search_seconds = 0;
    request.only_if_fits = false;
    share_equally(&request, images);
    plan.variants = mem_zalloc(MEM_PLAN, plan.device_count, sizeof *plan.variants);
    bool ok = plan.variants || error_memory(err, plan.device_count * sizeof *plan.variants, "the shares of a batch");
    ok = ok && share_plans_begin(&request, &plan, &shares, err) && share_plans_take(&shares, images, 1, &plan, err);
    ok = ok && predict_times(&plan, request.machine, request.measured, err) && predict_shares(&plan, unit, images, err);
    for (size_t v = 0; plan.variants && v < plan.variant_count; v++) plan_variant_finish(&plan.variants[v]);
    mem_free(plan.variants);
    share_plans_finish(&shares);
    return ok;
}

static bool ask_share(void *context, size_t kind, uint32_t units, struct split_cost *cost, struct error *err)
{
    struct choice *choice = context;
    struct share *share;
    TRY(share_plans_get(&choice->shares, (uint32_t)kind, units * unit_of(choice), choice->micro_batches, &share, err));
    bool again = !share->made || share->policy == RECOMPUTE_BUDGET;
    uint32_t effort = 1 + (again ? share->ops / EFFORT_OPS : 0);
    *cost = (struct split_cost){share->made && share->fits, share->seconds, share->peak_bytes, effort};
    return true;
}

/* The first devices of a kind have the unit more where not all have as many. */
static void count_portions(struct choice *choice, const uint32_t *images)
{
    const struct share_plans *shares = &choice->shares;
    for (size_t k = 0; k < shares->kinds; k++) choice->portions[k] = (struct split_portion){0, 0};
    for (size_t d = 0; d < choice->plan->device_count; d++) {
        struct split_portion *portion = &choice->portions[shares->kind_of[d]];
        uint32_t units = images[d] / unit_of(choice);
        if (units > portion->units) portion->units = units;
    }
    for (size_t d = 0; d < choice->plan->device_count; d++) {
        struct split_portion *portion = &choice->portions[shares->kind_of[d]];
        portion->fewer += images[d] / unit_of(choice) < portion->units;
    }
}

static void hand_out(const struct choice *choice, uint32_t *images)
{
    const struct share_plans *shares = &choice->shares;
    for (size_t k = 0; k < shares->kinds; k++) {
        const struct split_portion *portion = &choice->portions[k];
        uint32_t full = shares->devices_of[k] - portion->fewer;
        for (size_t d = 0; d < choice->plan->device_count; d++) {
            if (shares->kind_of[d] != k) continue;
            images[d] = (portion->units - (full == 0)) * unit_of(choice);
            full -= full > 0;
        }
    }
}

static bool describe_kinds(struct choice *choice, const uint32_t *images, struct error *err)
{
    const struct share_plans *shares = &choice->shares;
    for (size_t d = 0; d < choice->plan->device_count; d++) {
        struct share *share;
        uint32_t kind = shares->kind_of[d];
        if (shares->first_of[kind] != d) continue;
        TRY(share_plans_get(&choice->shares, kind, images[d], choice->micro_batches, &share, err));
        choice->kinds[kind] =
            (struct split_kind){shares->devices_of[kind], device_usable_bytes(&choice->plan->devices[d].spec),
                                share->peak_bytes - share->growing_bytes};
    }
    return true;
}

static bool search_split(struct choice *choice, struct cut *cut, struct error *err)
{
    choice->micro_batches = cut->micro_batches;
    TRY(sketch_shares(choice, unit_of(choice), cut->images, err));
    TRY(describe_kinds(choice, cut->images, err));
    count_portions(choice, cut->images);
    TRY(split_search(choice->kinds, choice->shares.kinds, MOST_EFFORT, ask_share, choice, choice->portions, &cut->fits,
                     &cut->seconds, err));
    hand_out(choice, cut->images);
    return true;
}

/* ---- Micro-batches ---- */

/* Micro-batches are of equal size on a device, or their gradients would not sum to the step's. */
static bool divides(const struct choice *choice, uint32_t micro_batches)
{
    uint32_t groups = choice->request->batch / plan_request_unit(choice->request),
             devices = (uint32_t)choice->plan->device_count;
    uint32_t most = choice->start[0] / plan_request_unit(choice->request),
             least = choice->start[devices - 1] / plan_request_unit(choice->request);
    if (choice->shares.kinds > 1) return groups % micro_batches == 0 && groups / micro_batches >= devices;
    return most % micro_batches == 0 && least % micro_batches == 0;
}

/* The next smaller number of micro-batches that divides; 1 does. */
static uint32_t divisor_below(const struct choice *choice, uint32_t micro_batches)
{
    uint64_t most = choice->start[0];
    if (micro_batches > most) micro_batches = (uint32_t)most + 1;
    for (uint32_t n = micro_batches - 1; n > 1; n--)
        if (divides(choice, n)) return n;
    return 1;
}

/* How many pieces would make the share fit if what images take fell in proportion. */
static uint32_t pieces_wanted(const struct share *share, const struct device_spec *device)
{
    uint64_t fixed = share->peak_bytes - share->growing_bytes, usable = device_usable_bytes(device);
    if (fixed >= usable) return UINT32_MAX;
    double times = (double)share->growing_bytes / (double)(usable - fixed);
    return times >= share->images ? UINT32_MAX : (uint32_t)ceil(times * share->micro_batches);
}

/* Tries the batch in so many micro-batches. */
static bool try_cut(struct choice *choice, uint32_t micro_batches, struct cut *cut, struct error *err)
{
    cut->micro_batches = micro_batches;
    cut->pieces = 1;
    cut->made = cut->fits = true;
    cut->seconds = 0;
    if (choice->shares.kinds > 1)
        TRY(search_split(choice, cut, err));
    else
        memcpy(cut->images, choice->start, choice->plan->device_count * sizeof *cut->images);
    for (size_t d = 0; d < choice->plan->device_count; d++) {
        struct share *share;
        if (d > 0 && cut->images[d] == cut->images[d - 1] && choice->shares.kinds == 1) continue;
        TRY(share_plans_get(&choice->shares, choice->shares.kind_of[d], cut->images[d], micro_batches, &share, err));
        uint32_t pieces = share->made ? pieces_wanted(share, &choice->plan->devices[d].spec) : UINT32_MAX;
        if (pieces > cut->pieces) cut->pieces = pieces;
        if (share->seconds > cut->seconds) cut->seconds = share->seconds;
        cut->made = cut->made && share->made;
        cut->fits = cut->fits && share->made && share->fits;
    }
    return true;
}

/* The numbers of micro-batches that there may be, ascending. *count comes in as how many numbers[] holds. */
static void list_pieces(const struct choice *choice, uint32_t *numbers, size_t *count)
{
    size_t found = 0;
    for (uint32_t m = 1; m <= choice->request->batch && found < *count; m++)
        if (divides(choice, m)) numbers[found++] = m;
    *count = found;
}

/* No number up to 2^20, the largest batch, has more divisors. */
#define MOST_DIVISORS 240

/* The place in numbers[] of the next to try between one that does not fit and one that does (count: none known): where
 * the last cut's figures point, then the far end, which says whether anything fits at all, then the middle. */
static size_t next_number(const struct cut *cut, const uint32_t *numbers, size_t low, size_t high, size_t count,
                          int tried)
{
    if (high < count) return low + (high - low) / 2;
    size_t next = low + 1;
    while (next + 1 < count && numbers[next] < cut->pieces) next++;
    return tried > 1 ? count - 1 : next;
}

/* A device needs the less the more pieces its share is cut in, when all runs again that may: so a bisection finds the
 * fewest that fit. *at is its place, 0 when none fits. A budget of one's own is not met by other statistics. */
static bool find_fewest(struct choice *choice, const uint32_t *numbers, size_t count, struct cut *cut, size_t *at,
                        struct error *err)
{
    size_t low = 0, high = count;
    *at = 0;
    TRY(try_cut(choice, 1, cut, err));
    if (cut->fits || !cut->made) return true;
    for (int tried = 1; high - low > 1; tried++) {
        size_t next = next_number(cut, numbers, low, high, count, tried);
        TRY(try_cut(choice, numbers[next], cut, err));
        *(cut->fits ? &high : &low) = next;
    }
    *at = high < count ? high : 0;
    return cut->micro_batches == numbers[*at] || try_cut(choice, numbers[*at], cut, err);
}

static bool runs_again(const struct choice *choice, const struct cut *cut)
{
    for (size_t i = 0; i < choice->shares.count; i++) {
        const struct share *share = choice->shares.shares[i];
        if (share->micro_batches == cut->micro_batches && share->policy != RECOMPUTE_NONE) return true;
    }
    return false;
}

/* Beyond the fewest that fit more pieces are faster as long as they save running something again. */
static bool find_fastest(struct choice *choice, const uint32_t *numbers, size_t count, size_t fewest, struct cut *cut,
                         struct error *err)
{
    uint32_t best = cut->micro_batches;
    double least = cut->seconds;
    for (size_t i = fewest + 1; i < count && cut->fits && runs_again(choice, cut); i++) {
        TRY(try_cut(choice, numbers[i], cut, err));
        if (!cut->fits || cut->seconds >= least) continue;
        best = numbers[i];
        least = cut->seconds;
    }
    return cut->micro_batches == best || try_cut(choice, best, cut, err);
}

/* The share that cannot be cut so is named; where devices are unequal their shares are not known yet, and the batch is.
 */
static bool refuse_cut(const struct choice *choice, uint32_t wanted, struct error *err)
{
    const struct plan_request *request = choice->request;
    uint32_t most = choice->start[0], least = choice->start[choice->plan->device_count - 1];
    uint32_t most_groups = most / plan_request_unit(request), groups = request->batch / plan_request_unit(request);
    const char *whole = request->bn_group > 0 ? " of whole groups (--bn-group)" : "";
    if (choice->shares.kinds > 1)
        return error_set(err, ERROR_INPUT,
                         "--micro-batches: the %" PRIu32 " images of the batch cannot be cut into %" PRIu32
                         " equal parts%s%s; into %" PRIu32 " they can",
                         request->batch, wanted, whole,
                         groups % wanted == 0 ? " that have images for every device" : "",
                         divisor_below(choice, wanted));
    return error_set(err, ERROR_INPUT,
                     "--micro-batches: the %" PRIu32 " images of a device cannot be cut into %" PRIu32
                     " equal parts%s; into %" PRIu32 " %s can",
                     most_groups % wanted != 0 ? most : least, wanted, whole, divisor_below(choice, wanted),
                     most == least ? "they" : "those of every device");
}

static bool choose_cut(struct choice *choice, struct cut *cut, struct error *err)
{
    uint32_t numbers[MOST_DIVISORS], wanted = choice->request->micro_batches;
    size_t count = MOST_DIVISORS, fewest;
    if (wanted > 0 && !divides(choice, wanted)) return refuse_cut(choice, wanted, err);
    if (wanted > 0) return try_cut(choice, wanted, cut, err);
    list_pieces(choice, numbers, &count);
    TRY(find_fewest(choice, numbers, count, cut, &fewest, err));
    return !choice->request->any_micro_batches || find_fastest(choice, numbers, count, fewest, cut, err);
}

/* ---- The choice ---- */

static bool begin(struct choice *choice, struct cut *cut, struct error *err)
{
    size_t devices = choice->plan->device_count;
    choice->start = mem_zalloc(MEM_PLAN, devices, sizeof *choice->start);
    choice->kinds = mem_zalloc(MEM_PLAN, devices, sizeof *choice->kinds);
    choice->portions = mem_zalloc(MEM_PLAN, devices, sizeof *choice->portions);
    cut->images = mem_zalloc(MEM_PLAN, devices, sizeof *cut->images);
    if (!choice->start || !choice->kinds || !choice->portions || !cut->images)
        return error_memory(err, devices * sizeof *choice->kinds, "the shares of a batch");
    share_equally(choice->request, choice->start);
    return true;
}

bool batch_split_choose(const struct plan_request *request, struct plan *plan, struct error *err)
{
    struct choice choice = {.request = request, .plan = plan};
    struct cut cut = {0};
    bool ok = share_plans_begin(request, plan, &choice.shares, err) && begin(&choice, &cut, err) &&
              choose_cut(&choice, &cut, err) &&
              share_plans_take(&choice.shares, cut.images, cut.micro_batches, plan, err);
    share_plans_finish(&choice.shares);
    mem_free(choice.start);
    mem_free(choice.kinds);
    mem_free(choice.portions);
    mem_free(cut.images);
    return ok;
}
