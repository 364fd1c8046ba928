/* Whether more memory is ever slower, by prediction: plans over a scan of budgets of the arena and of host memory.
 *
 * bench_budgets [STEPS [CASE...]]: so many budgets of each case between the least that fits and what keeping everything
 * takes (default 24), of all cases or those whose name has one of the words. Exits 1 when a plan is slower than one
 * with less of either memory, or does not fit where that does. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "make.h"

#define MIB        (UINT64_C(1) << 20)
#define MOST_HOST  4
#define MOST_STEPS 1024
#define SLACK      1e-9 /* of rounding in sums of seconds */

#define NO_FUSION 0
#define BN_ADD    (LOWER_BN | LOWER_BN_ADD)

struct scanned {
    const char *model, *gpus, *fusion;
    uint32_t batch, lowering;
    uint64_t host[MOST_HOST]; /* MiB beside none, UINT64_MAX for any; up to the first 0 */
};

static const struct scanned cases[] = {
    {"resnet-20", "titan-x", "none", 128, NO_FUSION, {8, 32, UINT64_MAX}},
    {"resnet-20", "v100", "all", 128, LOWER_EXACT, {8, 32, UINT64_MAX}},
    {"resnet-32", "titan-x", "none", 128, NO_FUSION, {16, 64, UINT64_MAX}},
    {"resnet-56", "titan-x", "none", 128, NO_FUSION, {32, 128, UINT64_MAX}},
    {"resnet-56", "4xh100", "all", 512, LOWER_EXACT, {32, UINT64_MAX}},
    {"resnet-110", "titan-x", "none", 128, NO_FUSION, {64, 256, UINT64_MAX}},
    {"resnet-110", "v100", "bn-add", 128, BN_ADD, {64, 256}},
    {"resnet-164", "titan-x", "none", 64, NO_FUSION, {128, UINT64_MAX}},
    {"resnet-164", "v100", "all", 64, LOWER_EXACT, {128, UINT64_MAX}},
    {"resnet-290", "titan-x", "none", 64, NO_FUSION, {512}},
    {"resnet-1001", "titan-x", "none", 64, NO_FUSION, {1024}},
    {"resnet-1001", "v100", "all", 64, LOWER_EXACT, {1024}},
    {"resnet-18", "p100", "none", 64, NO_FUSION, {64, 256}},
    {"resnet-50", "p100", "none", 64, NO_FUSION, {256, 1024}},
    {"resnet-50", "h100", "all", 64, LOWER_EXACT, {256, 1024}},
    {"resnet-50", "8xv100", "bn-add", 256, BN_ADD, {256}},
    {"resnet-101", "v100", "all", 32, LOWER_EXACT, {512}},
    {"resnet-152", "v100", "none", 32, NO_FUSION, {512}},
    {"resnet-200", "titan-x", "none", 32, NO_FUSION, {1024}},
    {"resnet-200", "v100", "all", 64, LOWER_EXACT, {2048, UINT64_MAX}},
    {"vgg-a", "p100", "none", 64, NO_FUSION, {512}},
    {"vgg-d", "v100", "all", 64, LOWER_EXACT, {512}},
    {"bn-inception", "p100", "none", 64, NO_FUSION, {256}},
    {"inception-v3", "v100", "all", 32, LOWER_EXACT, {256}},
};

/* What one plan came to; seconds are HUGE_VAL where it does not fit. */
struct outcome {
    double seconds;
    uint64_t arena_bytes;
};

static bool make(const struct plan_request *request, struct outcome *outcome, struct error *err)
{
    struct error found = {0};
    struct plan *plan = plan_make(request, &found);
    *outcome = (struct outcome){HUGE_VAL, 0};
    if (!plan) {
        if (found.kind == ERROR_UNFIT) return true;
        *err = found;
        return false;
    }
    if (plan->fits) *outcome = (struct outcome){plan->step_seconds, plan->variants[0].arena_bytes};
    plan_destroy(plan);
    return true;
}

static bool is_slower(const struct outcome *more, const struct outcome *less)
{
    return more->seconds > less->seconds * (1 + SLACK);
}

struct scan {
    const struct scanned *own;
    struct plan_request request;
    size_t plans, slower;
    double worst, fastest; /* worst: of more memory over less, as a fraction */
};

static void compare(struct scan *scan, const struct outcome *more, const struct outcome *less, uint64_t budget,
                    const char *memory)
{
    if (!is_slower(more, less)) return;
    double by = more->seconds / less->seconds - 1;
    scan->slower++;
    scan->worst = by > scan->worst ? by : scan->worst;
    printf("    %.1f MiB, host %.6g MiB: %.6f s, but %.6f s with less %s\n", (double)budget / MIB,
           (double)scan->request.offload_bytes / MIB, more->seconds, less->seconds, memory);
}

/* Budgets in equal ratios, each with every host limit. */
static bool scan_budgets(struct scan *scan, uint64_t least, uint64_t most, size_t steps, struct error *err)
{
    struct outcome best[MOST_HOST + 1];
    for (size_t h = 0; h <= MOST_HOST; h++) best[h] = (struct outcome){HUGE_VAL, 0};
    for (size_t i = 0; i < steps; i++) {
        double part = steps > 1 ? (double)i / (double)(steps - 1) : 1;
        uint64_t budget = (uint64_t)((double)least * pow((double)most / (double)least, part));
        struct outcome before = {HUGE_VAL, 0};
        scan->request.recompute_budget_bytes = budget;
        for (size_t h = 0; h <= MOST_HOST && (h == 0 || scan->own->host[h - 1]); h++) {
            uint64_t host = h == 0 ? 0 : scan->own->host[h - 1];
            struct outcome outcome;
            scan->request.offload_bytes = host == UINT64_MAX ? UINT64_MAX : host * MIB;
            TRY(make(&scan->request, &outcome, err));
            scan->plans++;
            compare(scan, &outcome, &best[h], budget, "of the device's");
            if (h > 0) compare(scan, &outcome, &before, budget, "of the host's");
            if (outcome.seconds < best[h].seconds) best[h] = outcome;
            if (outcome.seconds < before.seconds) before = outcome;
            if (outcome.seconds < scan->fastest) scan->fastest = outcome.seconds;
        }
    }
    return true;
}

/* Of parameters and what else no schedule changes; nothing less can be had. */
static uint64_t find_least(struct scan *scan, uint64_t most)
{
    uint64_t low = 1 * MIB, high = most;
    scan->request.offload_bytes = 0;
    while (high > low + low / 16) {
        struct error unused = {0};
        struct outcome outcome;
        scan->request.recompute_budget_bytes = low + (high - low) / 2;
        bool fits = make(&scan->request, &outcome, &unused) && outcome.seconds < HUGE_VAL;
        *(fits ? &high : &low) = scan->request.recompute_budget_bytes;
    }
    return high;
}

static bool run_scan(struct scan *scan, size_t steps, struct error *err)
{
    struct outcome all;
    scan->request.recompute = RECOMPUTE_NONE;
    TRY(make(&scan->request, &all, err));
    if (!(all.seconds < HUGE_VAL)) return error_set(err, ERROR_INPUT, "%s does not fit whole", scan->own->model);
    scan->request.recompute = RECOMPUTE_BUDGET;
    return scan_budgets(scan, find_least(scan, all.arena_bytes), all.arena_bytes, steps, err);
}

static bool run_case(const struct scanned *own, size_t steps, size_t *slower, struct error *err)
{
    const struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct machine machine;
    struct scan scan = {.own = own, .fastest = HUGE_VAL};
    scan.request =
        (struct plan_request){.batch = own->batch, .machine = &machine, .lowering = own->lowering, .micro_batches = 1};
    TRY(model_parse(own->model, &options, &scan.request.spec, err) && machine_parse(own->gpus, &machine, err));
    clock_t begin = clock();
    bool ok = run_scan(&scan, steps, err);
    double took = (double)(clock() - begin) / CLOCKS_PER_SEC;
    if (ok)
        printf("%-12s %-8s %-6s batch %-4u %4zu plans, %3zu slower with more, at worst %5.2f %%; %.3f s each\n",
               own->model, own->gpus, own->fusion, own->batch, scan.plans, scan.slower, 100 * scan.worst,
               took / (double)scan.plans);
    fflush(stdout);
    *slower += scan.slower;
    machine_finish(&machine);
    return ok;
}

static bool is_asked(const struct scanned *own, int words, char **word)
{
    char name[96];
    snprintf(name, sizeof name, "%s %s %s ", own->model, own->gpus, own->fusion);
    for (int i = 0; i < words; i++)
        if (strstr(name, word[i])) return true;
    return words <= 0;
}

int main(int argc, char **argv)
{
    size_t steps = argc > 1 ? strtoul(argv[1], NULL, 10) : 24, slower = 0;
    struct error err = {0};
    if (steps == 0 || steps > MOST_STEPS) {
        fprintf(stderr, "steps: found %s, expected 1 to %d\n", argv[1], MOST_STEPS);
        return 2;
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (!is_asked(&cases[i], argc - 2, argv + 2)) continue;
        if (run_case(&cases[i], steps, &slower, &err)) continue;
        fprintf(stderr, "%s\n", err.text);
        return error_exit_code(&err);
    }
    return slower > 0;
}
