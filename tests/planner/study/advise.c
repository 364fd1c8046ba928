/* What would change a plan, and what the changes buy: every answer is tried again. */
#include <string.h>

#include "advise.h"
#include "changes.h"
#include "invertible.h"
#include "mem.h"
#include "planner_kit.h"
#include "rounds.h"

static struct machine machine;

static void finish(void) { machine_finish(&machine); }

static const struct change *find(const struct change *changes, size_t count, enum change_kind kind)
{
    for (size_t i = 0; i < count; i++)
        if (changes[i].kind == kind) return &changes[i];
    return NULL;
}

/* What fits first, what saves memory before what saves time, and each by how much. */
static void check_order(const struct change *changes, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        const struct change *a = &changes[i - 1], *b = &changes[i];
        cr_expect_geq(a->fits, b->fits);
        if (a->fits != b->fits) continue;
        cr_expect_geq(change_saves_memory(a), change_saves_memory(b));
        if (change_saves_memory(a) && change_saves_memory(b)) cr_expect_geq(a->saved_bytes, b->saved_bytes);
        if (!change_saves_memory(a)) cr_expect_leq(a->time_ratio, b->time_ratio);
    }
}

Test(changes, are_what_plans_say, .fini = finish)
{
    struct plan_request request = kit_request("resnet-110", "2xtitan-x", 128, &machine);
    struct plan *plan = kit_plan(&request), *half, *mild;
    struct change changes[CHANGES_MOST];
    size_t count;
    struct error err = {0};
    cr_assert(changes_find(&request, plan, changes, &count, &err), "%s", err.text);
    cr_assert_geq(count, 5);
    check_order(changes, count);
    request.recompute = RECOMPUTE_ELEMENTWISE;
    mild = kit_plan(&request);
    const struct change *change = find(changes, count, CHANGE_RECOMPUTE);
    cr_assert(change);
    cr_expect_eq(change->peak_bytes, mild->devices[0].peak_bytes);
    cr_expect_eq(change->saved_bytes, (int64_t)(plan->devices[0].peak_bytes - mild->devices[0].peak_bytes));
    cr_expect_float_eq(change->time_ratio, mild->step_seconds / plan->step_seconds, 1e-12);
    request.recompute = RECOMPUTE_AUTO;
    request.batch = 64;
    half = kit_plan(&request);
    change = find(changes, count, CHANGE_BATCH);
    cr_assert(change);
    cr_expect_eq(change->value, 64);
    cr_expect_eq(change->peak_bytes, half->devices[0].peak_bytes);
    cr_expect_float_eq(change->time_ratio, 2 * half->step_seconds / plan->step_seconds, 1e-12, "of an image");
    change = find(changes, count, CHANGE_BUDGET);
    cr_assert(change);
    cr_expect_gt(change->time_ratio, 1);
    cr_expect_leq(change->value, plan->variants[0].arena_bytes / 2);
    change = find(changes, count, CHANGE_DEVICES);
    cr_assert(change && change->value == 3 && change->saved_bytes > 0 && change->time_ratio < 1);
    plan_destroy(plan);
    plan_destroy(mild);
    plan_destroy(half);
}

/* Where the plan fills the memory, changes buy time: the dearest does not come first because it saves a byte more. */
Test(changes, that_buy_time_are_ranked_by_it, .fini = finish)
{
    struct plan_request request = kit_request("resnet-110", "titan-x", 128, &machine);
    struct change changes[CHANGES_MOST];
    struct error err = {0};
    size_t count;
    machine.devices[0].memory_bytes = 900ull << 20;
    struct plan *plan = kit_plan(&request);
    cr_assert(plan->fits && plan->variants[0].extra_flops_fraction > 0);
    cr_assert(changes_find(&request, plan, changes, &count, &err), "%s", err.text);
    check_order(changes, count);
    const struct change *devices = find(changes, count, CHANGE_DEVICES);
    cr_assert(devices);
    cr_expect_lt(devices->time_ratio, 0.7, "half the images on each");
    for (const struct change *before = changes; before < devices; before++) cr_expect(change_saves_memory(before));
    plan_destroy(plan);
}

Test(changes, are_said_as_flags)
{
    const struct {
        enum change_kind kind;
        uint64_t value;
        const char *words;
    } rows[] = {{CHANGE_RECOMPUTE, RECOMPUTE_NONE, "--recompute none"},
                {CHANGE_BUDGET, 3ull << 20, "--budget 3MiB"},
                {CHANGE_BUDGET, 1234567, "--budget 1234567"},
                {CHANGE_OFFLOAD, 0, "--offload auto"},
                {CHANGE_OFFLOAD, 1ull << 30, "--offload auto --budget 1024MiB"},
                {CHANGE_RECONSTRUCT, 0, "--reconstruct"},
                {CHANGE_WORKSPACE, 8ull << 20, "--workspace 8MiB"},
                {CHANGE_DTYPE, DTYPE_BF16, "--dtype bf16"},
                {CHANGE_MICRO_BATCHES, 2, "--micro-batches 2"},
                {CHANGE_BATCH, 64, "--batch 64"},
                {CHANGE_DEVICES, 3, "3 devices"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char words[64];
        struct change change = {.kind = rows[i].kind, .value = rows[i].value};
        cr_expect_str_eq(change_words(&change, words, sizeof words), rows[i].words);
    }
}

/* A host has no further devices; a batch of one has no half. */
Test(changes, that_cannot_be_are_left_out, .fini = finish)
{
    struct plan_request request = kit_request("resnet-8", "cpu", 1, &machine);
    struct plan *plan = kit_plan(&request);
    struct change changes[CHANGES_MOST];
    size_t count;
    struct error err = {0};
    cr_assert(changes_find(&request, plan, changes, &count, &err), "%s", err.text);
    cr_expect(find(changes, count, CHANGE_DTYPE));
    cr_expect_null(find(changes, count, CHANGE_DEVICES));
    cr_expect_null(find(changes, count, CHANGE_BATCH));
    cr_expect_null(find(changes, count, CHANGE_MICRO_BATCHES));
    plan_destroy(plan);
}

Test(changes, survive_failing_allocations, .fini = finish)
{
    struct plan_request request = kit_request("resnet-8", "2x12GiB", 4, &machine);
    struct plan *plan = kit_plan(&request);
    uint64_t plan_bytes = mem_current_bytes(MEM_PLAN), graph = mem_current_bytes(MEM_GRAPH);
    uint64_t n = 1;
    for (bool fired = true; fired; n += n < 100 ? 7 : few_rounds() ? 1997 : 499) {
        struct change changes[CHANGES_MOST];
        size_t count = 77;
        struct error err = {0};
        mem_fail_at(n);
        bool ok = changes_find(&request, plan, changes, &count, &err);
        fired = mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_PLAN), plan_bytes);
        cr_assert_eq(mem_current_bytes(MEM_GRAPH), graph);
        cr_assert_eq(err.kind, ok ? ERROR_NONE : ERROR_MEMORY, "%s", err.text);
        if (!ok) cr_assert_eq(count, 77);
    }
    plan_destroy(plan);
}

/* Further means are advised only where a plan with them fits. */
Test(advise, offers_what_other_means_would_do, .fini = finish)
{
    struct plan_request request = kit_request("resnet-110", "2GiB", 1024, &machine);
    struct advice advice[ADVICE_KINDS];
    size_t count;
    struct error err = {0};
    bool offload = false;
    request.micro_batches = 1;
    request.recompute = RECOMPUTE_ELEMENTWISE;
    struct plan *plan = kit_plan(&request);
    cr_assert_not(plan->fits);
    cr_assert(advise_unfit(&request, plan, advice, &count, &err), "%s", err.text);
    for (size_t i = 0; i < count; i++) {
        struct plan_request changed = request;
        char sentence[256];
        advise_sentence(&advice[i], sentence, sizeof sentence);
        if (advice[i].kind < ADVICE_OFFLOAD) continue;
        if (advice[i].kind == ADVICE_OFFLOAD) changed.offload_bytes = UINT64_MAX;
        if (advice[i].kind == ADVICE_RECONSTRUCT) changed.reconstruct = true;
        if (advice[i].kind == ADVICE_WORKSPACE) changed.workspace_cap_bytes = (uint64_t)advice[i].value << 20;
        struct plan *other = kit_plan(&changed);
        cr_expect(other->fits, "%s", sentence);
        cr_expect_float_eq(other->variants[0].extra_flops_fraction, advice[i].extra_flops_fraction, 1e-12);
        plan_destroy(other);
        offload |= advice[i].kind == ADVICE_OFFLOAD && strncmp(sentence, "--offload auto", 14) == 0;
    }
    cr_expect(offload);
    plan_destroy(plan);
}

static bool meets(const struct plan_request *request, const struct advice *advice)
{
    struct plan_request changed = *request;
    if (changed.micro_batches == 0) changed.micro_batches = 1;
    if (advice->kind == ADVICE_BATCH) changed.batch = advice->value;
    if (advice->kind == ADVICE_MICRO_BATCHES) changed.micro_batches = advice->value;
    if (advice->kind == ADVICE_OFFLOAD) changed.offload_bytes = UINT64_MAX;
    if (advice->kind == ADVICE_RECONSTRUCT) changed.reconstruct = true;
    struct plan *plan = plan_make(&changed, NULL);
    bool fits = plan && plan->fits;
    plan_destroy(plan);
    return fits;
}

/* A budget below the least arena: each answer meets it, and the next one does not. */
Test(advise, says_what_meets_a_budget, .fini = finish)
{
    struct plan_request request = kit_request("resnet-29", "titan-x", 48, &machine);
    struct advice advice[ADVICE_KINDS];
    struct error err = {0};
    size_t count, kinds[ADVICE_KINDS] = {0};
    request.recompute = RECOMPUTE_BUDGET;
    for (uint64_t mib = 64; mib > 3; mib -= 1 + mib / 4) {
        request.recompute_budget_bytes = mib << 20;
        struct plan *plan = plan_make(&request, &err);
        bool met = plan != NULL;
        plan_destroy(plan);
        if (met) continue;
        cr_expect_eq(err.kind, ERROR_UNFIT);
        cr_assert(advise_budget(&request, advice, &count, &err), "%s", err.text);
        for (size_t i = 0; i < count; i++) {
            struct advice beyond = advice[i];
            char sentence[256];
            advise_sentence(&advice[i], sentence, sizeof sentence);
            cr_expect(meets(&request, &advice[i]), "%lu MiB: %s", (unsigned long)mib, sentence);
            beyond.value++;
            if (beyond.kind == ADVICE_BATCH) cr_expect(beyond.rough || !meets(&request, &beyond), "%s", sentence);
            kinds[beyond.kind]++;
        }
    }
    cr_expect_gt(kinds[ADVICE_BATCH], 0);
    cr_expect_gt(kinds[ADVICE_MICRO_BATCHES], 0);
}

static bool note(void *asked)
{
    *(bool *)asked = true;
    return true;
}

/* Weights alone are more: nothing is planned to find out. */
Test(advise, of_a_budget_below_the_weights_is_none_and_at_once, .fini = finish)
{
    struct plan_request request = kit_request("resnet-1001", "titan-x", 128, &machine);
    struct advice advice[ADVICE_KINDS];
    struct error err = {0};
    bool hopeless = false, asked = false;
    size_t count = 77;
    request.recompute = RECOMPUTE_BUDGET;
    request.recompute_budget_bytes = 1;
    request.watch = note;
    request.watch_context = &asked;
    cr_assert(advise_budget(&request, advice, &count, &err), "%s", err.text);
    cr_expect_eq(count, 0);
    cr_expect_not(asked);
    struct plan_lasting lasting;
    cr_assert(plan_lasting_find(&request, &lasting, &err), "%s", err.text);
    cr_expect_eq(lasting.optimizer_bytes, lasting.gradient_bytes, "momentum of each trained weight");
    request.recompute_budget_bytes = lasting.weight_bytes + lasting.optimizer_bytes;
    cr_assert(plan_budget_hopeless(&request, &hopeless, &err));
    cr_expect_not(hopeless);
    request.recompute_budget_bytes--;
    cr_assert(plan_budget_hopeless(&request, &hopeless, &err));
    cr_expect(hopeless);
    request.recompute_budget_bytes = (uint64_t)1 << 40;
    cr_assert(plan_budget_hopeless(&request, &hopeless, &err));
    cr_expect_not(hopeless);
}

/* Of the request, by halves: above the answer plans are made, some bytes below it none is. */
static uint64_t least_budget(struct plan_request *request)
{
    uint64_t unmet = 0, met = (uint64_t)2 << 30;
    while (met - unmet > met / 64) {
        request->recompute_budget_bytes = unmet + (met - unmet) / 2;
        struct plan *plan = plan_make(request, NULL);
        *(plan ? &met : &unmet) = request->recompute_budget_bytes;
        plan_destroy(plan);
    }
    return met;
}

static uint64_t hopeless_below(struct plan_request *request)
{
    uint64_t low = 0, high = (uint64_t)2 << 30; /* hopeless, not */
    struct error err = {0};
    while (high - low > 1) {
        bool hopeless;
        request->recompute_budget_bytes = low + (high - low) / 2;
        cr_assert(plan_budget_hopeless(request, &hopeless, &err), "%s", err.text);
        *(hopeless ? &low : &high) = request->recompute_budget_bytes;
    }
    return high;
}

/* Weights and what is kept of them count once: a budget that a plan meets is not hopeless. */
Test(advise, of_no_budget_that_is_met_is_hopeless, .fini = finish)
{
    static const struct {
        const char *model, *gpus;
        uint32_t batch, frozen;
        enum optimizer optimizer;
        enum bn_freeze freeze_bn;
        uint64_t bucket;
    } rows[] = {{.model = "resnet-8", .gpus = "titan-x", .batch = 1},
                {.model = "resnet-8", .gpus = "titan-x", .batch = 1, .optimizer = OPTIMIZER_SGD},
                {.model = "resnet-8", .gpus = "titan-x", .batch = 1, .optimizer = OPTIMIZER_ADAMW, .bucket = 1 << 16},
                {.model = "resnet-8", .gpus = "2xtitan-x", .batch = 2, .bucket = 1 << 16},
                {.model = "resnet-8", .gpus = "titan-x", .batch = 1, .frozen = 3},
                {.model = "resnet-8", .gpus = "titan-x", .batch = 1, .freeze_bn = BN_FROZEN},
                {.model = "vgg-d", .gpus = "titan-x", .batch = 16, .frozen = FROZEN_ALL_BUT_CLASSIFIER}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct plan_request request = kit_request(rows[i].model, rows[i].gpus, rows[i].batch, &machine);
        request.recompute = RECOMPUTE_BUDGET;
        request.frozen = rows[i].frozen;
        request.update.optimizer = rows[i].optimizer;
        request.freeze_bn = rows[i].freeze_bn;
        request.bucket_bytes = rows[i].bucket;
        uint64_t least = least_budget(&request), bound = hopeless_below(&request);
        cr_expect_leq(bound, least, "row %zu: %lu bytes are hopeless, %lu are met", i, (unsigned long)bound,
                      (unsigned long)least);
        cr_expect_gt(bound, 300000, "row %zu: the weights alone are more than %lu bytes", i, (unsigned long)bound);
        finish();
    }
}

/* Inputs that are made again from what the block before saved are not made from the output, though that could be. */
Test(changes, without_reconstruction_are_exact, .fini = finish)
{
    struct plan_request request = kit_request("resnet-218", "titan-x", 128, &machine);
    struct error err = {0};
    request.spec.unit = UNIT_PREACT;
    request.lowering = 0;
    request.recompute = RECOMPUTE_BUDGET;
    request.recompute_budget_bytes = (uint64_t)500 << 20;
    struct plan *plan = plan_make(&request, &err);
    cr_assert(plan, "%s", err.text);
    cr_assert_gt(invertible_count(plan->variants[0].graph), 0);
    cr_expect_gt(plan->variants[0].extra_flops_fraction, 0);
    cr_expect_eq(invertible_reconstructed(&plan->variants[0].train), 0);
    plan_destroy(plan);
}

/* Of a deep network a quick plan is a plan: it fits in the same memory, and is no faster than the exact one. */
Test(changes, of_deep_networks_are_planned_quickly, .fini = finish)
{
    struct plan_request request = kit_request("resnet-326", "titan-x", 128, &machine);
    struct error err = {0};
    request.recompute = RECOMPUTE_BUDGET;
    request.recompute_budget_bytes = (uint64_t)900 << 20;
    struct plan *exact = plan_make(&request, &err);
    cr_assert(exact, "%s", err.text);
    cr_expect_not(plan_request_roughly(&request, exact));
    request.rough = true;
    struct plan *rough = plan_make(&request, &err);
    cr_assert(rough, "%s", err.text);
    cr_expect(plan_request_roughly(&request, rough));
    cr_expect_gt(rough->variants[0].graph->block_count, PLAN_ROUGH_BLOCKS);
    cr_expect_leq(rough->variants[0].arena_bytes, request.recompute_budget_bytes);
    cr_expect_gt(rough->variants[0].extra_flops_fraction, 0);
    cr_expect_geq(rough->step_seconds, exact->step_seconds * (1 - 1e-9));
    plan_destroy(exact);
    plan_destroy(rough);
}

/* The least arena is for blocks one by one: a quick plan does not fit in it, and is no answer. */
Test(changes, of_deep_networks_are_exact_where_a_quick_plan_does_not_fit, .fini = finish)
{
    struct plan_request request = kit_request("resnet-206", "titan-x", 128, &machine);
    struct change changes[CHANGES_MOST];
    struct error err = {0};
    size_t count;
    request.recompute = RECOMPUTE_BUDGET;
    request.recompute_budget_bytes = (uint64_t)88 << 20;
    struct plan *plan = kit_plan(&request);
    cr_assert_gt(plan->variants[0].graph->block_count, PLAN_ROUGH_BLOCKS);
    cr_assert(changes_find(&request, plan, changes, &count, &err), "%s", err.text);
    plan_destroy(plan);
    const struct change *batch = find(changes, count, CHANGE_BATCH);
    const struct change *workspace = find(changes, count, CHANGE_WORKSPACE);
    cr_assert(batch && workspace);
    cr_expect(batch->quick && batch->fits);
    cr_expect(!workspace->quick && workspace->fits);
}

Test(advise, of_a_budget_survives_failing_allocations, .fini = finish)
{
    struct plan_request request = kit_request("resnet-8", "titan-x", 8, &machine);
    uint64_t plan_bytes = mem_current_bytes(MEM_PLAN), graph = mem_current_bytes(MEM_GRAPH), n = 1;
    request.recompute = RECOMPUTE_BUDGET;
    request.recompute_budget_bytes = 2 << 20;
    for (bool fired = true; fired; n += n < 100 ? 7 : few_rounds() ? 1997 : 499) {
        struct advice advice[ADVICE_KINDS];
        size_t count = 77;
        struct error err = {0};
        mem_fail_at(n);
        bool ok = advise_budget(&request, advice, &count, &err);
        fired = mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_PLAN), plan_bytes);
        cr_assert_eq(mem_current_bytes(MEM_GRAPH), graph);
        cr_assert_eq(err.kind, ok ? ERROR_NONE : ERROR_MEMORY, "%s", err.text);
        if (!ok) cr_assert_eq(count, 77);
    }
}

/* Batches that cannot be cut as the request says are refused, and say nothing of what fits: the largest one fits, and
 * the next that can be cut does not. */
Test(advise, finds_the_largest_batch_that_can_be_cut)
{
    static const struct {
        const char *gpus;
        uint32_t batch, group, micro_batches;
    } rows[] = {{"titan-x", 128, 0, 1},    {"titan-x", 128, 32, 0},    {"titan-x", 128, 32, 4},
                {"titan-x", 96, 0, 3},     {"2xtitan-x", 96, 0, 3},    {"2xtitan-x", 96, 8, 3},
                {"3xtitan-x", 100, 20, 1}, {"titan-x,p100", 96, 8, 3}, {"titan-x,p100", 96, 0, 3}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct plan_request request = kit_request("resnet-20", rows[i].gpus, rows[i].batch, &machine);
        struct error err = {0};
        uint32_t largest;
        bool exact;
        for (size_t d = 0; d < machine.device_count; d++)
            machine.devices[d].memory_bytes = (1100 + 200 * (i % 2)) << 20;
        request.bn_group = rows[i].group;
        request.micro_batches = rows[i].micro_batches;
        request.recompute = RECOMPUTE_NONE;
        struct plan *plan = kit_plan(&request);
        cr_assert(plan->fits, "row %zu", i);
        cr_assert(advise_largest_batch(&request, plan, 0, &largest, &exact, &err), "%s", err.text);
        cr_expect(exact && largest > rows[i].batch, "row %zu: %u", i, largest);
        plan_destroy(plan);
        if (request.micro_batches == 0) request.micro_batches = 1;
        request.batch = largest;
        plan = kit_plan(&request);
        cr_expect(plan->fits, "row %zu: %u", i, largest);
        plan_destroy(plan);
        do {
            request.batch++;
            err = (struct error){0};
            plan = plan_make(&request, &err);
        } while (!plan && err.kind == ERROR_INPUT && request.batch < 2 * largest);
        cr_assert(plan, "%s", err.text);
        cr_expect_not(plan->fits, "row %zu: %u, found %u", i, request.batch, largest);
        plan_destroy(plan);
        finish();
    }
}

/* Where groups were asked for BN sees no fewer images by another cut. */
Test(advise, says_nothing_of_statistics_that_are_of_groups, .fini = finish)
{
    struct plan_request request = kit_request("resnet-110", "titan-x", 512, &machine);
    struct advice advice[ADVICE_KINDS];
    struct error err = {0};
    size_t count, said[2] = {0};
    machine.devices[0].memory_bytes = 1100ull << 20;
    request.recompute = RECOMPUTE_NONE;
    request.micro_batches = 1;
    for (uint32_t groups = 0; groups < 2; groups++) {
        size_t cuts = 0;
        request.bn_group = groups ? 16 : 0;
        struct plan *plan = kit_plan(&request);
        cr_assert_not(plan->fits);
        cr_assert(advise_unfit(&request, plan, advice, &count, &err), "%s", err.text);
        for (size_t i = 0; i < count; i++) {
            char sentence[256];
            advise_sentence(&advice[i], sentence, sizeof sentence);
            cuts += advice[i].kind == ADVICE_MICRO_BATCHES || advice[i].kind == ADVICE_DEVICES;
            said[groups] += strstr(sentence, "normalis") != NULL;
        }
        cr_expect_eq(cuts, 2);
        plan_destroy(plan);
    }
    cr_expect_eq(said[0], 2);
    cr_expect_eq(said[1], 0);
}

/* Counts of devices by which the batch cannot be cut are passed over. */
Test(advise, finds_the_fewest_devices_that_can_be_cut)
{
    size_t far = 0;
    for (uint64_t mib = 640; mib <= 1000; mib += few_rounds() ? 180 : 60) {
        struct plan_request request = kit_request("resnet-110", "titan-x", 960, &machine);
        struct device_spec devices[240];
        struct machine more = machine;
        struct advice advice[ADVICE_KINDS];
        struct error err = {0};
        size_t count;
        uint32_t told = 0, least = 0;
        machine.devices[0].memory_bytes = mib << 20;
        request.recompute = RECOMPUTE_NONE;
        request.micro_batches = 4;
        struct plan *plan = kit_plan(&request);
        cr_assert_not(plan->fits);
        cr_assert(advise_unfit(&request, plan, advice, &count, &err), "%s", err.text);
        plan_destroy(plan);
        for (size_t i = 0; i < count; i++)
            if (advice[i].kind == ADVICE_DEVICES) told = (uint32_t)advice[i].value;
        for (size_t d = 0; d < 240; d++) {
            devices[d] = machine.devices[0];
            devices[d].comm_bytes = machine_comm_bytes(&devices[d]);
        }
        more.devices = devices;
        request.machine = &more;
        for (uint32_t devices_tried = 2; least == 0 && devices_tried <= 240; devices_tried++) {
            more.device_count = devices_tried;
            plan = 960 % (4 * devices_tried) == 0 ? kit_plan(&request) : NULL;
            if (plan && plan->fits) least = devices_tried;
            plan_destroy(plan);
        }
        cr_expect_eq(told, least, "%lu MiB: %u, not %u", (unsigned long)mib, told, least);
        far += least > 8;
        finish();
    }
    cr_expect_gt(far, 0);
}

Test(advise, says_what_is_of_no_use)
{
    static const struct {
        double extra;
        const char *batch, *offload;
    } rows[] = {{0, "--batch 86, the largest that fits", "--offload auto, into host memory"},
                {0.5, "--batch 86, the largest that fits (50.0 % more computation)",
                 "--offload auto, into host memory, with 50.0 % more computation"},
                {18.38, "--batch 86, the largest that fits (1838.0 % more computation: impractical)",
                 "--offload auto, into host memory, with 1838.0 % more computation: impractical"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct advice advice = {.kind = ADVICE_BATCH, .value = 86, .extra_flops_fraction = rows[i].extra};
        char sentence[256];
        cr_expect_str_eq(advise_sentence(&advice, sentence, sizeof sentence), rows[i].batch);
        advice.kind = ADVICE_OFFLOAD;
        cr_expect_str_eq(advise_sentence(&advice, sentence, sizeof sentence), rows[i].offload);
    }
}
