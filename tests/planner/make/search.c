/* Shares of unequal devices, and how many micro-batches: what is found against every possibility. */
#include <math.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "frontier.h"
#include "make.h"
#include "mem.h"
#include "random.h"
#include "split_search.h"
#include "workspace.h"

#define MOST_KINDS 3
#define MOST_UNITS 40

/* Kinds whose seconds and bytes rise with units in random steps. */
struct world {
    struct split_kind kinds[MOST_KINDS];
    struct split_cost costs[MOST_KINDS][MOST_UNITS + 1];
    size_t count;
    uint32_t asked;
};

static bool cost_of(void *context, size_t kind, uint32_t units, struct split_cost *cost, struct error *err)
{
    (void)err;
    struct world *world = context;
    cr_assert(units >= 1 && units <= MOST_UNITS, "%u units", units);
    *cost = world->costs[kind][units];
    world->asked++;
    return true;
}

static void make_world(struct world *world, struct random *random)
{
    *world = (struct world){.count = 2 + random_below(random, 2)};
    for (size_t k = 0; k < world->count; k++) {
        world->kinds[k] = (struct split_kind){1 + random_below(random, 3), 1000 + random_below(random, 2500), 500};
        double seconds = 1 + random_below(random, 10), step = 1 + random_below(random, 8);
        uint64_t bytes = 500, growth = 20 + random_below(random, 200);
        for (uint32_t n = 1; n <= MOST_UNITS; n++) {
            bytes += growth + random_below(random, 20);
            seconds += step + 0.01 * random_below(random, 50);
            if (n > MOST_UNITS / 2 && random_below(random, 3) == 0) seconds += 5;
            world->costs[k][n] = (struct split_cost){bytes <= world->kinds[k].memory_bytes, seconds, bytes, 1};
        }
    }
}

/* The fastest over all portions; INFINITY when none fits. */
static double best_of_all(const struct world *world, size_t kind, uint64_t left)
{
    double best = INFINITY;
    if (kind == world->count) return left == 0 ? 0 : INFINITY;
    for (uint32_t units = 1; units <= MOST_UNITS && world->costs[kind][units].fits; units++)
        for (uint32_t fewer = 0; fewer < world->kinds[kind].devices && (fewer == 0 || units > 1); fewer++) {
            uint64_t taken = (uint64_t)units * world->kinds[kind].devices - fewer;
            if (taken > left) continue;
            double seconds = fmax(world->costs[kind][units].seconds, best_of_all(world, kind + 1, left - taken));
            if (seconds < best) best = seconds;
        }
    return best;
}

Test(split_search, property_finds_the_best_split)
{
    struct random random = random_begin(3, RANDOM_SEARCH, 0, 0);
    uint32_t asked = 0, impossible = 0; /* of the first search of each round */
    for (int round = 0; round < 400; round++) {
        struct world world;
        struct split_portion portions[MOST_KINDS], again[MOST_KINDS];
        make_world(&world, &random);
        uint64_t total = 0;
        for (size_t k = 0; k < world.count; k++) {
            uint32_t units = 1 + random_below(&random, 12);
            again[k] = portions[k] =
                (struct split_portion){units, units > 1 ? random_below(&random, world.kinds[k].devices) : 0};
            total += (uint64_t)units * world.kinds[k].devices - portions[k].fewer;
        }
        bool fits = false;
        double seconds = 0, same = 0;
        if (total > MOST_UNITS) continue;
        cr_assert(split_search(world.kinds, world.count, 1000, cost_of, &world, portions, &fits, &seconds, NULL));
        asked += world.asked;
        double best = best_of_all(&world, 0, total);
        cr_expect_eq(fits, best < INFINITY, "round %d", round);
        cr_expect(best == INFINITY || seconds <= best * 1.000001, "round %d: %g, best %g", round, seconds, best);
        impossible += best == INFINITY;
        for (size_t k = 0; k < world.count; k++)
            total -= (uint64_t)portions[k].units * world.kinds[k].devices - portions[k].fewer;
        cr_expect_eq(total, 0, "round %d: all units are given out", round);
        cr_assert(split_search(world.kinds, world.count, 1000, cost_of, &world, again, &fits, &same, NULL));
        cr_expect(same == seconds);
    }
    cr_expect_gt(impossible, 10);
    cr_expect_lt(asked, 400 * 12, "%u shares planned for 800 splits", asked);
}

/* ---- With real plans ---- */

static struct machine machine;

static void finish(void) { machine_finish(&machine); }

static struct plan_request request_for(const char *model, const char *gpus, uint32_t batch)
{
    const struct model_options defaults = MODEL_OPTIONS_DEFAULT;
    struct plan_request request = {.batch = batch, .machine = &machine};
    struct error err = {0};
    cr_assert(model_parse(model, &defaults, &request.spec, &err), "%s", err.text);
    cr_assert(machine_parse(gpus, &machine, &err), "%s", err.text);
    return request;
}

/* GPUs of known speed with so many MiB for the arena. */
static void tighten(size_t device, uint64_t mib)
{
    struct device_spec *spec = &machine.devices[device];
    spec->context_bytes = spec->comm_bytes = spec->reserve_bytes = 0;
    spec->memory_bytes = mib << 20;
}

/* What one device takes for its images, planned alone among its peers: the others get one image each, or what is left.
 */
static double seconds_alone(const struct plan_request *request, size_t device, uint32_t images)
{
    struct error err = {0};
    struct machine all_alike = machine;
    struct plan_request alone = *request;
    alone.batch = images * (uint32_t)machine.device_count;
    all_alike.devices = calloc(machine.device_count, sizeof *all_alike.devices);
    for (size_t d = 0; d < machine.device_count; d++) all_alike.devices[d] = machine.devices[device];
    alone.machine = &all_alike;
    struct plan *plan = plan_make(&alone, &err);
    double seconds = plan && plan->fits ? plan->step_seconds : INFINITY;
    plan_destroy(plan);
    free(all_alike.devices);
    return seconds;
}

#define MOST_BATCH 40

static double best_split(double seconds[3][MOST_BATCH + 1], size_t device, uint32_t left)
{
    double best = INFINITY;
    if (device + 1 == machine.device_count) return left ? seconds[device][left] : INFINITY;
    for (uint32_t images = 1; images < left; images++)
        best = fmin(best, fmax(seconds[device][images], best_split(seconds, device + 1, left - images)));
    return best;
}

Test(search, property_splits_of_unequal_devices_are_the_best, .fini = finish)
{
    static const struct {
        const char *model, *gpus;
        uint32_t batch;
        uint64_t mib[3];
    } rows[] = {{"resnet-20", "titan-x,h100", 40, {9, 16}},
                {"resnet-20", "titan-x,titan-x", 40, {5, 12}},
                {"resnet-38", "titan-x,h100,titan-x", 24, {14, 8, 6}},
                {"resnet-56", "titan-x,a100-40gb", 40, {60, 16}}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        double seconds[3][MOST_BATCH + 1];
        struct error err = {0};
        struct plan_request request = request_for(rows[r].model, rows[r].gpus, rows[r].batch);
        for (size_t d = 0; d < machine.device_count; d++) tighten(d, rows[r].mib[d]);
        request.micro_batches = 1;
        for (size_t d = 0; d < machine.device_count; d++)
            for (uint32_t images = 1; images <= rows[r].batch; images++)
                seconds[d][images] = seconds_alone(&request, d, images);
        struct plan *plan = plan_make(&request, &err);
        cr_assert(plan, "%s", err.text);
        double best = best_split(seconds, 0, rows[r].batch), found = plan->fits ? plan->step_seconds : INFINITY;
        cr_expect(found <= 1.005 * best || (found == INFINITY && best == INFINITY), "row %zu: %g, best %g", r, found,
                  best);
        plan_destroy(plan);
        finish();
    }
}

/* The number that fits with the next smaller one not fitting is found without trying all. */
Test(search, micro_batches_are_as_few_as_fit, .fini = finish)
{
    static const uint64_t mib[] = {6, 8, 12, 16, 24, 64};
    struct plan_request request = request_for("resnet-20", "titan-x", 96);
    uint32_t last = UINT32_MAX;
    for (size_t i = 0; i < sizeof mib / sizeof mib[0]; i++) {
        struct error err = {0};
        tighten(0, mib[i]);
        request.micro_batches = 0;
        struct plan *plan = plan_make(&request, &err);
        cr_assert(plan, "%s", err.text);
        uint32_t fewest = 0, found = plan->devices[0].micro_batches;
        for (uint32_t m = 1; m <= 96 && !fewest; m++) {
            request.micro_batches = m;
            struct plan *other = 96 % m == 0 ? plan_make(&request, &err) : NULL;
            if (other && other->fits) fewest = m;
            plan_destroy(other);
        }
        cr_expect_eq(plan->fits, fewest > 0, "%u MiB", (unsigned)mib[i]);
        cr_expect_eq(found, fewest ? fewest : 1, "%u MiB: %u, the fewest are %u", (unsigned)mib[i], found, fewest);
        cr_expect_leq(found, fewest ? last : UINT32_MAX);
        cr_expect_eq(plan->changes_bn, found > 1);
        if (fewest) last = found;
        plan_destroy(plan);
    }
    cr_expect_eq(last, 1);
}

/* Any number that is asked for is no slower than the fewest, and at times faster. */
Test(search, any_micro_batches_are_as_fast_as_can_be, .fini = finish)
{
    static const uint64_t mib[] = {20, 32, 48};
    struct plan_request request = request_for("resnet-56", "titan-x", 256);
    int faster = 0;
    for (size_t i = 0; i < sizeof mib / sizeof mib[0]; i++) {
        struct error err = {0};
        tighten(0, mib[i]);
        request.any_micro_batches = false;
        struct plan *fewest = plan_make(&request, &err);
        request.any_micro_batches = true;
        struct plan *any = plan_make(&request, &err);
        cr_assert(fewest && any, "%s", err.text);
        cr_expect(fewest->fits && any->fits);
        cr_expect_leq(any->step_seconds, fewest->step_seconds);
        cr_expect_geq(any->devices[0].micro_batches, fewest->devices[0].micro_batches);
        cr_expect(any->changes_bn);
        faster += any->step_seconds < fewest->step_seconds;
        plan_destroy(fewest);
        plan_destroy(any);
    }
    cr_expect_gt(faster, 0);
}

/* Whatever cap on workspaces is asked for, the plan that is free to choose is as fast. */
Test(search, no_cap_on_workspaces_is_faster, .fini = finish)
{
    static const uint64_t mib[] = {55, 60, 65, 72, 90};
    static const uint64_t caps[] = {32, 8, 1};
    struct plan_request request = request_for("resnet-56", "titan-x", 128);
    uint32_t small = 0;
    request.micro_batches = 1;
    request.recompute = RECOMPUTE_BUDGET;
    for (size_t i = 0; i < sizeof mib / sizeof mib[0]; i++) {
        struct error err = {0};
        request.recompute_budget_bytes = mib[i] << 20;
        request.workspace_cap_bytes = 0;
        struct plan *plan = plan_make(&request, &err);
        cr_assert(plan && plan->fits, "%s", err.text);
        uint32_t lean = workspace_count_lean(&machine.devices[0], &plan->variants[0]);
        for (size_t c = 0; c < sizeof caps / sizeof caps[0]; c++) {
            request.workspace_cap_bytes = caps[c] << 20;
            struct plan *capped = plan_make(&request, &err);
            cr_expect(!capped || capped->step_seconds >= plan->step_seconds, "%u MiB: %g, with %u MiB %g",
                      (unsigned)mib[i], plan->step_seconds, (unsigned)caps[c], capped->step_seconds);
            small += capped && capped->step_seconds == plan->step_seconds && lean > 0;
            plan_destroy(capped);
        }
        plan_destroy(plan);
    }
    cr_expect_gt(small, 0, "less workspace is the fastest somewhere");
}

Test(search, what_never_fits_is_told_as_one_piece, .fini = finish)
{
    struct error err = {0};
    struct plan_request request = request_for("resnet-110", "titan-x,h100", 720);
    tighten(0, 8);
    tighten(1, 8);
    struct plan *plan = plan_make(&request, &err);
    cr_assert(plan, "%s", err.text);
    cr_expect_not(plan->fits);
    cr_expect_eq(plan->devices[0].micro_batches, 1);
    cr_expect_eq(plan->devices[0].images + plan->devices[1].images, 720);
    plan_destroy(plan);
}

/* Every device of a mixture is cut in as many pieces, all equal. */
Test(search, pieces_of_unequal_shares_are_whole, .fini = finish)
{
    struct error err = {0};
    struct plan_request request = request_for("resnet-20", "titan-x,h100,titan-x", 96);
    tighten(0, 6);
    tighten(1, 9);
    tighten(2, 6);
    struct plan *plan = plan_make(&request, &err);
    cr_assert(plan, "%s", err.text);
    uint32_t pieces = plan->devices[0].micro_batches, images = 0;
    cr_expect(plan->fits);
    cr_expect_gt(pieces, 1);
    for (size_t d = 0; d < 3; d++) {
        cr_expect_eq(plan->devices[d].micro_batches, pieces);
        cr_expect_eq(plan->devices[d].images % pieces, 0);
        images += plan->devices[d].images;
    }
    cr_expect_eq(images, 96);
    plan_destroy(plan);
}

Test(search, survives_failing_allocations, .fini = finish)
{
    struct plan_request request = request_for("resnet-8", "titan-x,h100", 12);
    tighten(0, 2);
    tighten(1, 3);
    uint64_t plan_bytes = mem_current_bytes(MEM_PLAN), graph = mem_current_bytes(MEM_GRAPH);
    uint64_t n = 1;
    for (bool fired = true; fired; n += n < 200 ? 3 : 397) {
        struct error err = {0};
        mem_fail_at(n);
        struct plan *plan = plan_make(&request, &err);
        fired = mem_fail_at(0);
        cr_assert(plan || err.kind == ERROR_MEMORY, "%s", err.text);
        plan_destroy(plan);
        cr_assert_eq(mem_current_bytes(MEM_PLAN), plan_bytes, "n = %lu", (unsigned long)n);
        cr_assert_eq(mem_current_bytes(MEM_GRAPH), graph);
    }
}

/* ---- Memory against time ---- */

static bool stop_at_third(void *context, uint32_t done, uint32_t most)
{
    cr_assert_lt(done, most);
    ++*(int *)context;
    return done < 2;
}

Test(frontier, of_several_devices_only_falls, .fini = finish)
{
    static const char *const rows[] = {"2xtitan-x", "titan-x,h100", "titan-x,12GiB"};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        struct plan_request request = request_for("resnet-56", rows[r], 96);
        struct frontier frontier;
        struct error err = {0};
        for (size_t d = 0; d < 2; d++) tighten(d, d == 1 && r == 1 ? 300 : 120);
        cr_assert(frontier_find(&request, NULL, NULL, NULL, &frontier, &err), "%s", err.text);
        cr_expect_geq(frontier.count, 4, "%s: %zu points", rows[r], frontier.count);
        cr_expect_eq(frontier.by_share, r == 1);
        for (size_t i = 1; i < frontier.count; i++) {
            const struct frontier_point *before = &frontier.points[i - 1], *point = &frontier.points[i];
            cr_expect_gt(frontier_size(&frontier, point), frontier_size(&frontier, before));
            cr_expect_lt(frontier_cost(&frontier, point), frontier_cost(&frontier, before));
        }
        cr_expect_eq(frontier.points[frontier.count - 1].extra_flops_fraction, 0);
        int calls = 0;
        cr_expect_not(frontier_find(&request, NULL, stop_at_third, &calls, &frontier, &err));
        cr_expect_eq(err.kind, ERROR_FAILED);
        cr_expect_eq(calls, 3);
        finish();
    }
}

static bool count_down(void *context) { return --*(int *)context > 0; }

/* Whenever a watch says so planning ends, and nothing is left. */
Test(search, stops_when_told, .fini = finish)
{
    struct plan_request request = request_for("resnet-20", "titan-x,h100", 40);
    struct plan *plan = NULL;
    tighten(0, 9);
    tighten(1, 16);
    uint64_t plan_bytes = mem_current_bytes(MEM_PLAN), graph = mem_current_bytes(MEM_GRAPH);
    int after = 1;
    request.watch = count_down;
    for (; !plan; after++) {
        struct error err = {0};
        int left = after;
        request.watch_context = &left;
        plan = plan_make(&request, &err);
        if (plan) break;
        cr_assert_eq(err.kind, ERROR_FAILED, "%s", err.text);
        cr_assert_eq(mem_current_bytes(MEM_PLAN), plan_bytes);
        cr_assert_eq(mem_current_bytes(MEM_GRAPH), graph);
    }
    cr_expect_gt(after, 4);
    plan_destroy(plan);
}
