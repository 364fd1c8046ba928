/* Blocks that wait in host memory, and none that runs twice. */
#include "cost.h"
#include "keep.h"
#include "schedule.h"
#include "timeline.h"
#include "variant_private.h"
#include "variant_request.h"

static bool time_draft(const struct making *making, const struct draft *draft, double *seconds, struct error *err)
{
    const struct variant_request *request = making->request;
    struct cost_speed speed = cost_speed_of(request->device, request->plan->dtype, request->plan->measured);
    struct timeline_request timed = {.graph = making->variant->graph,
                                     .program = &draft->program,
                                     .speed = &speed,
                                     .host_bandwidth = request->device->host_bandwidth};
    struct timeline timeline;
    TRY(timeline_make(&timed, &timeline, err));
    *seconds = timeline.body * request->micro_batches + timeline.rest;
    return true;
}

bool variant_time(const struct making *making, struct candidate *candidate, struct error *err)
{
    return candidate->seconds > 0 || time_draft(making, &candidate->draft, &candidate->seconds, err);
}

bool variant_take_faster(const struct making *making, struct candidate *best, bool *fits, struct candidate *other,
                         struct error *err)
{
    TRY(variant_time(making, other, err));
    if (*fits) TRY(variant_time(making, best, err));
    if (*fits && other->seconds >= best->seconds) return true;
    struct candidate slower = *best;
    *best = *other;
    *other = slower;
    *fits = true;
    return true;
}

static bool time_schedule(const struct making *making, const struct chain_schedule *schedule, double *seconds,
                          struct error *err)
{
    struct draft draft = {0};
    bool ok = draft_train(making->request, making->variant->graph, schedule, &draft, err) &&
              time_draft(making, &draft, seconds, err);
    draft_finish(&draft);
    return ok;
}

bool variant_try_faster(const struct making *making, const struct chain_schedule *schedule, double least,
                        struct candidate *best, bool *fits, struct error *err)
{
    struct candidate candidate = {0};
    double seconds = 0;
    bool arena_fits = false;
    if (*fits) TRY(variant_time(making, best, err));
    TRY(time_schedule(making, schedule, &seconds, err));
    if (seconds < least || (*fits && seconds >= best->seconds)) return true;
    bool ok = making_try(making, schedule, false, &candidate, &arena_fits, err);
    if (ok && arena_fits && making_host_fits(making, &candidate))
        ok = variant_take_faster(making, best, fits, &candidate, err);
    candidate_finish(&candidate);
    return ok;
}

/* The search for how many blocks have to wait. */
struct spread {
    const struct making *making;
    enum keep_mode mode;
    struct candidate *best;
    bool *fits;
};

/* How one number of blocks turned out. */
struct outcome {
    uint64_t arena_bytes, limit_bytes;
    bool fits; /* the arena */
};

static bool try_spread(const struct spread *spread, size_t count, struct outcome *outcome, struct error *err)
{
    struct chain_schedule schedule;
    struct candidate candidate = {0};
    TRY(schedule_spread(spread->making->variant->graph, count, spread->mode | KEEP_ON_HOST, spread->mode, &schedule,
                        err));
    bool ok = making_try(spread->making, &schedule, false, &candidate, &outcome->fits, err);
    if (ok && outcome->fits) ok = making_place_finally(spread->making, &candidate, err);
    outcome->arena_bytes = candidate.arena_bytes;
    outcome->limit_bytes = candidate.limit_bytes;
    if (ok && outcome->fits && making_host_fits(spread->making, &candidate))
        ok = variant_take_faster(spread->making, spread->best, spread->fits, &candidate, err);
    candidate_finish(&candidate);
    chain_schedule_finish(&schedule);
    return ok;
}

#define MOST_SPREADS 8

/* The fewest blocks whose waiting makes the arena fit: between `high`, which fits, and `low`, which does not, the arena
 * is taken to shrink evenly. Host memory is looked at only when one is taken, so that the same ones are tried whatever
 * there is of it. */
bool variant_spread(const struct making *making, enum keep_mode mode, struct candidate *best, bool *fits,
                    struct error *err)
{
    struct spread spread = {making, mode, best, fits};
    size_t low = 0, high = making->variant->graph->block_count;
    struct outcome least, most;
    TRY(try_spread(&spread, high, &most, err));
    if (!most.fits) return true;
    TRY(try_spread(&spread, low, &least, err));
    for (int i = 0; i < MOST_SPREADS && high - low > 1 && !least.fits; i++) {
        struct outcome outcome;
        double slope = ((double)least.arena_bytes - (double)most.arena_bytes) / (double)(high - low);
        double fewer = ((double)most.limit_bytes - (double)most.arena_bytes) / slope;
        size_t count = slope > 0 && fewer < (double)(high - low) ? high - (size_t)fewer : low;
        if (count == high) count--;
        if (count <= low) count = low + (high - low) / 2;
        TRY(try_spread(&spread, count, &outcome, err));
        *(outcome.fits ? &high : &low) = count;
        *(outcome.fits ? &most : &least) = outcome;
    }
    return true;
}
