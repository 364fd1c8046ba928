#include "deepest.h"

#include "bisect.h"
#include "make.h"
#include "mem.h"

struct search {
    struct plan_request request;
    const uint32_t *depths;
    struct bisect places; /* in depths, counted from 1 */
    struct plan *best;
};

static uint32_t depth_at(const struct search *search, uint32_t place)
{
    return place > 0 && place <= search->places.most ? search->depths[place - 1] : 0;
}

/* The depth at which the fullest device would be full if what is in its arena grew with the depth. */
static double proportional_depth(const struct plan *plan)
{
    double least = MODEL_DEEPEST;
    for (size_t d = 0; d < plan->device_count; d++) {
        const struct plan_device *device = &plan->devices[d];
        double grows = 0;
        for (int c = MEMORY_WEIGHTS; c < MEMORY_COMMUNICATION; c++) grows += (double)device->classes[c];
        double room = (double)device_usable_bytes(&device->spec) - ((double)device->peak_bytes - grows);
        double depth = grows > 0 ? plan->spec.depth * room / grows : MODEL_DEEPEST;
        if (depth < least) least = depth;
    }
    return least;
}

/* Where recomputation adapts a plan that fits says nothing of what else would: then far up. One that does not fit was
 * made as small as it can be. */
static uint32_t guess_next(const struct search *search, const struct plan *plan)
{
    enum recompute_policy policy = search->request.recompute;
    bool adapts = policy == RECOMPUTE_AUTO || policy == RECOMPUTE_BUDGET;
    double depth = plan->fits && adapts ? 4.0 * plan->spec.depth : proportional_depth(plan);
    uint32_t place = 1;
    while (place < search->places.most && depth_at(search, place + 1) <= depth) place++;
    return place;
}

/* A budget below the least arena does not fit either. */
static bool try_place(struct search *search, uint32_t place, struct deepest_step *step, struct error *err)
{
    struct error fault = {0};
    struct plan_request request = search->request;
    request.spec = model_at_depth(&search->request.spec, depth_at(search, place));
    struct plan *plan = plan_make(&request, &fault);
    if (!plan && fault.kind != ERROR_UNFIT) {
        if (err) *err = fault;
        return false;
    }
    bool fits = plan && plan->fits;
    bisect_tell(&search->places, place, fits);
    search->places.guess = plan ? guess_next(search, plan) : bisect_middle(&search->places);
    if (fits || !search->best) {
        plan_destroy(search->best);
        search->best = plan;
    } else {
        plan_destroy(plan);
    }
    *step = (struct deepest_step){.depth = depth_at(search, place),
                                  .fits = fits,
                                  .fitting = depth_at(search, search->places.fits),
                                  .unfit = depth_at(search, search->places.unfit)};
    return true;
}

static bool run_search(struct search *search, deepest_progress_fn progress, void *context, struct error *err)
{
    while (bisect_goes_on(&search->places)) {
        struct deepest_step step;
        TRY(try_place(search, bisect_next(&search->places), &step, err));
        if (progress) progress(context, &step);
    }
    return true;
}

/* The plan to tell of: of the deepest that fits, or, when nothing fits, of the shallowest, which shows by how much.
 * Made again under the request's own policy where the search looked under another. */
static bool keep_answer(struct search *search, enum recompute_policy policy, struct error *err)
{
    uint32_t place = search->places.fits > 0 ? search->places.fits : 1;
    bool told = search->best && (search->places.fits > 0 || search->best->spec.depth == depth_at(search, 1));
    if (told && policy == search->request.recompute) return true;
    struct plan_request request = search->request;
    request.recompute = policy;
    request.spec = model_at_depth(&search->request.spec, depth_at(search, place));
    plan_destroy(search->best);
    search->best = plan_make(&request, err);
    return search->best != NULL;
}

static bool search_depths(const struct plan_request *request, const uint32_t *depths, size_t count,
                          deepest_progress_fn progress, void *context, struct deepest *found, struct error *err)
{
    struct search search = {.request = *request, .depths = depths, .places = {.unfit = UINT32_MAX}};
    if (request->micro_batches == 0) search.request.micro_batches = 1;
    if (request->recompute == RECOMPUTE_AUTO) search.request.recompute = RECOMPUTE_ELEMENTWISE;
    if (request->recompute == RECOMPUTE_BUDGET)
        while (count > 1 && depths[count - 1] > DEEPEST_AGAIN) count--;
    search.places.most = (uint32_t)count;
    search.places.guess = 1;
    while (search.places.guess < count && depth_at(&search, search.places.guess) < request->spec.depth)
        search.places.guess++;
    if (!run_search(&search, progress, context, err) || !keep_answer(&search, request->recompute, err)) {
        plan_destroy(search.best);
        return false;
    }
    *found = (struct deepest){search.best, depth_at(&search, search.places.unfit), search.places.tried};
    return true;
}

bool deepest_find(const struct plan_request *request, deepest_progress_fn progress, void *context,
                  struct deepest *found, struct error *err)
{
    size_t count = model_form_depths(&request->spec, NULL);
    if (count == 0)
        return error_set(err, ERROR_INPUT,
                         "--max-depth: %s is of a family of fixed depths; a resnet or plain net is wanted",
                         request->spec.name);
    uint32_t *depths = mem_alloc(MEM_PLAN, count, sizeof *depths);
    if (!depths) return error_memory(err, count * sizeof *depths, "the depths of a form");
    model_form_depths(&request->spec, depths);
    bool ok = search_depths(request, depths, count, progress, context, found, err);
    mem_free(depths);
    return ok;
}
