#include "deepest.h"

#include "mem.h"
#include "make.h"

/* Over positions in the form's depths. */
struct search {
    struct plan_request request;
    const uint32_t *depths;
    size_t count;
    size_t low, high; /* below low all fit, from high on none: what lies between is open */
    size_t guess;     /* by the last plan's figures */
    uint32_t plans;
    struct plan *best;
};

/* The depth at which the fullest device would be full if what is in its arena grew with the depth. */
static double proportional_depth(const struct plan *plan)
{
    double least = MODEL_DEEPEST;
    for (size_t d = 0; d < plan->device_count; d++) {
        const struct plan_device *device = &plan->devices[d];
        double grows = 0;
        for (int c = MEMORY_WEIGHTS; c < MEMORY_COMMUNICATION; c++) grows += (double)device->classes[c];
        double room = (double)device->spec.memory_bytes - ((double)device->peak_bytes - grows);
        double depth = grows > 0 ? plan->spec.depth * room / grows : MODEL_DEEPEST;
        if (depth < least) least = depth;
    }
    return least;
}

/* Where recomputation adapts a plan that fits says nothing of what else would: then far up. One that does not fit was
 * made as small as it can be. */
static size_t guess_next(const struct search *search, const struct plan *plan)
{
    enum recompute_policy policy = search->request.recompute;
    bool adapts = policy == RECOMPUTE_AUTO || policy == RECOMPUTE_BUDGET;
    double depth = plan->fits && adapts ? 4.0 * plan->spec.depth : proportional_depth(plan);
    size_t position = 0;
    while (position + 1 < search->count && search->depths[position + 1] <= depth) position++;
    return position;
}

/* A budget below the least arena does not fit either. */
static bool try_position(struct search *search, size_t position, struct deepest_step *step, struct error *err)
{
    struct error fault = {0};
    struct plan_request request = search->request;
    request.spec = model_at_depth(&search->request.spec, search->depths[position]);
    struct plan *plan = plan_make(&request, &fault);
    if (!plan && fault.kind != ERROR_UNFIT) {
        if (err) *err = fault;
        return false;
    }
    search->plans++;
    *step = (struct deepest_step){.depth = search->depths[position], .fits = plan && plan->fits};
    if (step->fits)
        search->low = position + 1;
    else
        search->high = position;
    search->guess = plan ? guess_next(search, plan) : search->low + (search->high - search->low) / 2;
    if (step->fits || !search->best) {
        plan_destroy(search->best);
        search->best = plan;
    } else {
        plan_destroy(plan);
    }
    step->fitting = search->low > 0 ? search->depths[search->low - 1] : 0;
    step->unfit = search->high < search->count ? search->depths[search->high] : 0;
    return true;
}

/* The guess, or the nearest end of what is open; every third time the middle, so that misleading guesses cannot make
 * the search slow. */
static size_t next_position(const struct search *search)
{
    if (search->plans % 3 == 2 && search->high < search->count) return search->low + (search->high - search->low) / 2;
    if (search->guess < search->low) return search->low;
    return search->guess < search->high ? search->guess : search->high - 1;
}

static bool run_search(struct search *search, deepest_progress_fn progress, void *context, struct error *err)
{
    while (search->low < search->high) {
        struct deepest_step step;
        TRY(try_position(search, next_position(search), &step, err));
        if (progress) progress(context, &step);
    }
    return true;
}

/* The plan to tell of: of the deepest that fits, or, when nothing fits, of the shallowest, which shows by how much.
 * Made again under the request's own policy where the search looked under another. */
static bool keep_answer(struct search *search, enum recompute_policy policy, struct error *err)
{
    bool told = search->best && (search->low > 0 || search->best->spec.depth == search->depths[0]);
    if (told && policy == search->request.recompute) return true;
    struct plan_request request = search->request;
    request.recompute = policy;
    request.spec = model_at_depth(&search->request.spec, search->depths[search->low > 0 ? search->low - 1 : 0]);
    plan_destroy(search->best);
    search->best = plan_make(&request, err);
    return search->best != NULL;
}

static bool search_depths(const struct plan_request *request, const uint32_t *depths, size_t count,
                          deepest_progress_fn progress, void *context, struct deepest *found, struct error *err)
{
    struct search search = {.request = *request, .depths = depths, .count = count, .high = count};
    if (request->micro_batches == 0) search.request.micro_batches = 1;
    if (request->recompute == RECOMPUTE_AUTO) search.request.recompute = RECOMPUTE_ELEMENTWISE;
    if (request->recompute == RECOMPUTE_BUDGET)
        while (search.count > 1 && depths[search.count - 1] > DEEPEST_AGAIN) search.count--;
    count = search.high = search.count;
    while (search.guess + 1 < count && depths[search.guess] < request->spec.depth) search.guess++;
    if (!run_search(&search, progress, context, err) || !keep_answer(&search, request->recompute, err)) {
        plan_destroy(search.best);
        return false;
    }
    *found = (struct deepest){search.best, search.high < count ? depths[search.high] : 0, search.plans};
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
