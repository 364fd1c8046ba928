/* How far plans in tight budgets are from the least time that any schedule of their form could take: predicted, and the
 * bound that is worked out for the plan that is taken (plan_request.bound).
 *
 * bench_bounds [CASE...]: all cases, or those whose name has one of the words. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "make.h"

#define MIB          (UINT64_C(1) << 20)
#define MOST_BUDGETS 4

#define MOST_STAGES 4

struct tight {
    const char *model, *gpus, *fusion;
    uint32_t batch, lowering;
    uint64_t mib[MOST_BUDGETS];  /* of arena; up to the first 0 */
    uint32_t units[MOST_STAGES]; /* in place of the model's */
};

/* 1,001 layers for ImageNet, in the form of ResNet-200. */
#define DEEP_UNITS                                                                                                     \
    {                                                                                                                  \
        3, 131, 196, 3                                                                                                 \
    }

static const struct tight cases[] = {
    {"resnet-50", "p100", "none", 184, 0, {3000, 3500, 4759, 6000}},
    {"resnet-50", "p100", "all", 184, LOWER_EXACT, {2800, 3500, 4759, 6000}},
    {"resnet-101", "p100", "none", 100, 0, {2048, 2500, 3000, 4000}},
    {"resnet-101", "p100", "all", 100, LOWER_EXACT, {1800, 2048, 3000, 4000}},
    {"resnet-200", "titan-x", "none", 64, 0, {2048, 3000, 4000, 6000}},
    {"resnet-200", "titan-x", "all", 64, LOWER_EXACT, {1800, 3000, 4000, 6000}},
    {"resnet-1001", "titan-x", "none", 128, 0, {400, 600, 1145, 3072}},
    {"resnet-1001", "titan-x", "all", 128, LOWER_EXACT, {350, 600, 1145, 3072}},
    {"resnet-200", "h100", "none", 32, 0, {2500, 4000, 6675, 12000}, DEEP_UNITS},
    {"resnet-200", "h100", "all", 32, LOWER_EXACT, {2500, 4000, 6675, 12000}, DEEP_UNITS},
};

static const char *name_of(const struct tight *own) { return own->units[0] > 0 ? "1,001 layers" : own->model; }

static bool run_budget(const struct tight *own, struct plan_request *request, uint64_t mib, double all,
                       struct error *err)
{
    struct error found = {0};
    request->recompute_budget_bytes = mib * MIB;
    clock_t begin = clock();
    struct plan *plan = plan_make(request, &found);
    double took = (double)(clock() - begin) / CLOCKS_PER_SEC;
    if (!plan && found.kind != ERROR_UNFIT) *err = found;
    if (!plan) return found.kind == ERROR_UNFIT;
    const struct plan_variant *variant = &plan->variants[0];
    double seconds = variant->compute_seconds, bound = variant->bound_seconds;
    printf(
        "%-12s %-8s %-5s %4u images, %5lu MiB: %8.4f s (+%5.1f %%), bound %8.4f s, at most %5.2f %% above; in %.1f s\n",
        name_of(own), own->gpus, own->fusion, own->batch, (unsigned long)mib, seconds, 100 * (seconds / all - 1), bound,
        bound > 0 ? 100 * (seconds / bound - 1) : 100, took);
    fflush(stdout);
    plan_destroy(plan);
    return true;
}

static bool run_budgets(const struct tight *own, struct plan_request *request, struct error *err)
{
    request->recompute = RECOMPUTE_NONE;
    struct plan *plan = plan_make(request, err);
    if (!plan) return false;
    double all = plan->variants[0].compute_seconds;
    plan_destroy(plan);
    request->recompute = RECOMPUTE_BUDGET;
    for (size_t i = 0; i < MOST_BUDGETS && own->mib[i]; i++) TRY(run_budget(own, request, own->mib[i], all, err));
    return true;
}

static bool run_case(const struct tight *own, struct error *err)
{
    const struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct machine machine;
    struct plan_request request = {
        .batch = own->batch, .machine = &machine, .lowering = own->lowering, .micro_batches = 1, .bound = true};
    TRY(model_parse(own->model, &options, &request.spec, err) && machine_parse(own->gpus, &machine, err));
    if (own->units[0] > 0) memcpy(request.spec.units, own->units, sizeof own->units);
    bool ok = run_budgets(own, &request, err);
    machine_finish(&machine);
    return ok;
}

static bool is_asked(const struct tight *own, int words, char **word)
{
    char name[96];
    snprintf(name, sizeof name, "%s %s %s ", name_of(own), own->gpus, own->fusion);
    for (int i = 0; i < words; i++)
        if (strstr(name, word[i])) return true;
    return words == 0;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (!is_asked(&cases[i], argc - 1, argv + 1)) continue;
        if (run_case(&cases[i], &err)) continue;
        fprintf(stderr, "%s\n", err.text);
        return error_exit_code(&err);
    }
    return 0;
}
