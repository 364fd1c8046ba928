/* Frozen layers: what is not trained does not change by a bit, takes nothing of the backward pass, and what is trained
 * learns as it should. */
#include <criterion/criterion.h>

#include "plan_file.h"
#include "safetensors.h"
#include "save_kit.h"
#include "train_help.h"
#include "verify.h"

TestSuite(freeze, .init = run_make_data, .fini = run_remove_data);

/* ---- Plans ---- */

static struct plan *plan_frozen(const char *model, uint32_t frozen, uint32_t lowering, enum dtype dtype,
                                uint32_t micro_batches, uint64_t budget)
{
    struct small_run run = {.model = model,
                            .batch = 8,
                            .frozen = frozen,
                            .lowering = lowering,
                            .logical = lowering == 0,
                            .gpus = dtype == DTYPE_F32 ? "2xcpu" : "a100",
                            .dtype = dtype,
                            .micro_batches = micro_batches,
                            .recompute = budget ? RECOMPUTE_BUDGET : RECOMPUTE_NONE,
                            .budget = budget};
    run_fill_defaults(&run);
    struct plan *plan = run_plan(&run);
    cr_assert(plan, "%s, %u: %s", model, frozen, run.err.text);
    return plan;
}

/* Nothing of the backward pass is in the frozen stages, and their activations are gone when it begins. */
static void check_nothing_learned(const struct plan *plan)
{
    const struct plan_variant *variant = &plan->variants[0];
    const struct graph *graph = variant->graph;
    uint32_t first = graph->blocks[0].first, turn = 0;
    cr_assert_gt(first, 0);
    while (variant->train.ops[turn].pass != PASS_BACKWARD) turn++;
    for (size_t i = graph->forward_end; i < graph->backward_end; i++)
        cr_assert(graph->ops[i].forward == NO_OP || graph->ops[i].forward >= first);
    size_t across = 0;
    for (size_t t = 0; t < variant->train.tensor_count; t++) {
        const struct plan_tensor *tensor = &variant->train.tensors[t];
        if (tensor->origin == NO_TENSOR || graph->tensors[tensor->origin].class != CLASS_ACTIVATION) continue;
        bool frozen = false;
        for (uint32_t i = 0; i < first; i++)
            for (uint32_t k = 0; k < graph->ops[i].outputs; k++) frozen |= graph->ops[i].out[k] == tensor->origin;
        across += frozen && tensor->last >= turn;
    }
    cr_assert_leq(across, 1, "only what enters the trained part is kept, not %zu activations", across);
}

Test(freeze, plans_prove_themselves_and_take_less)
{
    static const struct {
        const char *model;
        uint32_t frozen[3];
    } nets[] = {{"resnet-20", {1, 3, FROZEN_ALL_BUT_CLASSIFIER}},
                {"resnet-29", {1, 2, FROZEN_ALL_BUT_CLASSIFIER}},
                {"resnet-18", {1, 4, FROZEN_ALL_BUT_CLASSIFIER}},
                {"vgg-a", {2, 4, FROZEN_ALL_BUT_CLASSIFIER}}};
    static const uint32_t lowerings[] = {0, LOWER_EXACT, LOWER_ALL};
    for (size_t m = 0; m < sizeof nets / sizeof nets[0]; m++)
        for (size_t l = 0; l < 3; l++) {
            enum dtype dtype = lowerings[l] == LOWER_ALL ? DTYPE_F16 : DTYPE_F32;
            struct plan *whole = plan_frozen(nets[m].model, 0, lowerings[l], dtype, 2, 0);
            uint64_t before = whole->devices[0].peak_bytes;
            for (size_t f = 0; f < 3; f++) {
                struct plan *plan = plan_frozen(nets[m].model, nets[m].frozen[f], lowerings[l], dtype, 2, 0), *read;
                struct error err = {0};
                cr_assert(plan_verify(plan, NULL, &err), "%s", err.text);
                check_nothing_learned(plan);
                cr_assert_lt(plan->devices[0].peak_bytes, before);
                before = plan->devices[0].peak_bytes;
                cr_assert(plan_write(plan, run_path("plan.json"), &err), "%s", err.text);
                cr_assert((read = plan_read(run_path("plan.json"), &err)), "%s", err.text);
                cr_assert_eq(read->frozen, nets[m].frozen[f]);
                plan_destroy(read);
                plan_destroy(plan);
            }
            plan_destroy(whole);
        }
}

/* ---- Runs ---- */

static void go(struct small_run *run, const char *save)
{
    run->options.skip_evaluation = true;
    run_go_and_save(run, save);
}

static float *read_tensor(const struct small_run *run, const char *part, const char *name, uint64_t *count)
{
    char path[256];
    struct safetensors *file;
    struct safetensors_tensor tensor;
    struct error err = {0};
    snprintf(path, sizeof path, "%s/step-%012llu%s.safetensors", run->options.save_folder,
             (unsigned long long)run->result.steps, part);
    cr_assert(safetensors_open(path, &file, &err), "%s", err.text);
    if (!safetensors_find(file, name, &tensor)) {
        safetensors_close(file);
        return NULL;
    }
    *count = (tensor.end - tensor.begin) / sizeof(float);
    float *values = mem_alloc(MEM_GENERAL, *count, sizeof *values);
    cr_assert(values && safetensors_read(file, name, &tensor, values, &err), "%s", err.text);
    safetensors_close(file);
    return values;
}

static bool same_tensor(const struct small_run *a, const struct small_run *b, const char *part, const char *name)
{
    uint64_t counts[2];
    float *first = read_tensor(a, part, name, &counts[0]), *second = read_tensor(b, part, name, &counts[1]);
    cr_assert(first && second, "there is no %s", name);
    bool same = counts[0] == counts[1] && memcmp(first, second, counts[0] * sizeof *first) == 0;
    mem_free(first);
    mem_free(second);
    return same;
}

/* Statistics count among what does not change. */
static void check_frozen(const struct small_run *before, const struct small_run *after)
{
    static const char *const kept[] = {"conv1.weight", "bn1.bias", "bn1.running_mean", "layer1.0.conv2.weight",
                                       "layer1.0.bn1.running_var"};
    static const char *const learned[] = {"layer2.0.conv1.weight", "layer2.0.bn2.running_mean", "fc.bias"};
    uint64_t count;
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        cr_assert(same_tensor(before, after, "", kept[i]), "%s changed", kept[i]);
    for (size_t i = 0; i < sizeof learned / sizeof learned[0]; i++)
        cr_assert_not(same_tensor(before, after, "", learned[i]), "%s is as it was", learned[i]);
    cr_assert_null(read_tensor(after, ".state", "layer1.0.conv2.weight.momentum_buffer", &count));
    cr_assert_null(read_tensor(after, ".state", "bn1.bias.momentum_buffer", &count));
}

/* However the trained part is kept, on one device or resumed: the same bits; and what is fused changes roundings alone.
 */
Test(freeze, frozen_layers_stay_and_the_rest_learns)
{
    struct small_run first = {.model = "resnet-14", .options.iterations = 2};
    go(&first, "first");
    struct small_run fine = {.model = "resnet-14",
                             .frozen = 2,
                             .options = {.iterations = 4, .weights = first.options.save_folder, .seed = 3}};
    struct small_run filled = fine, again = fine, logical = fine, half = fine, rest = fine, two = fine;
    go(&fine, "fine");
    check_frozen(&first, &fine);
    cr_assert_lt(fine.result.planned_bytes, first.result.planned_bytes);
    filled.options.fill_dead = true;
    go(&filled, "filled");
    again.recompute = RECOMPUTE_ELEMENTWISE;
    again.micro_batches = 1;
    go(&again, "again");
    half.options.iterations = 2;
    go(&half, "half");
    rest.options.weights = NULL;
    rest.options.resume_folder = half.options.save_folder;
    go(&rest, "half");
    cr_assert(run_same_checkpoints(fine.options.save_folder, filled.options.save_folder, 4));
    cr_assert(run_same_checkpoints(fine.options.save_folder, again.options.save_folder, 4));
    cr_assert(run_same_checkpoints(fine.options.save_folder, rest.options.save_folder, 4));
    logical.logical = true;
    go(&logical, "logical");
    two.gpus = "2xcpu";
    two.sync_bn = true;
    go(&two, "two");
    check_frozen(&first, &logical);
    check_frozen(&first, &two);
    for (int i = 0; i < 4; i++) {
        cr_assert_float_eq(fine.losses[i], logical.losses[i], 1e-4);
        cr_assert_float_eq(fine.losses[i], two.losses[i], 1e-4);
    }
}

/* A pre-activation unit's first normalisation reads what the frozen layers made, of which they have taken no sums. */
Test(freeze, pre_activation_units_take_their_own_sums)
{
    for (uint32_t frozen = 1; frozen <= 3; frozen++) {
        struct small_run lowered = {.model = "resnet-11", .frozen = frozen, .options.iterations = 3}, all = lowered,
                         logical = lowered;
        char names[3][32];
        for (int i = 0; i < 3; i++) snprintf(names[i], sizeof names[i], "%u-%d", frozen, i);
        go(&lowered, names[0]);
        all.lowering = LOWER_EXACT;
        go(&all, names[1]);
        logical.logical = true;
        go(&logical, names[2]);
        for (int i = 0; i < 3; i++) {
            cr_assert_float_eq(lowered.losses[i], logical.losses[i], 1e-4);
            cr_assert_float_eq(all.losses[i], logical.losses[i], 1e-4);
        }
    }
}

/* VGG-A has no normalisation: its forward pass is the same with and without frozen layers, and so are, bit by bit, the
 * gradients of the first step, which momentum after it is. */
Test(freeze, gradients_of_what_is_trained_are_those_of_the_whole_net)
{
    struct small_run whole = {.model = "vgg-a", .cifar = true, .batch = 2, .options.iterations = 1}, fine = whole,
                     last = whole;
    uint64_t count;
    whole.options.schedule = (struct schedule){.kind = SCHEDULE_CONSTANT, .base = 1e-3};
    go(&whole, "whole");
    fine.frozen = 4;
    go(&fine, "fine");
    last.frozen = FROZEN_ALL_BUT_CLASSIFIER;
    go(&last, "last");
    cr_assert(memcmp(&whole.losses[0], &fine.losses[0], sizeof(double)) == 0);
    static const char *const trained[] = {"features.11.weight.momentum_buffer", "features.18.bias.momentum_buffer",
                                          "classifier.0.weight.momentum_buffer"};
    for (size_t i = 0; i < 3; i++) cr_assert(same_tensor(&whole, &fine, ".state", trained[i]), "%s", trained[i]);
    cr_assert(same_tensor(&whole, &last, ".state", trained[2]));
    cr_assert_null(read_tensor(&fine, ".state", "features.8.weight.momentum_buffer", &count));
    cr_assert_null(read_tensor(&last, ".state", trained[0], &count));
}

/* ---- Batch normalisation by running statistics ---- */

static struct small_run frozen_bn(const char *model, enum bn_freeze freeze, uint32_t lowering, enum dtype dtype)
{
    struct small_run run = {.model = model,
                            .batch = 8,
                            .freeze_bn = freeze,
                            .lowering = lowering,
                            .logical = lowering == 0,
                            .dtype = dtype,
                            .gpus = dtype == DTYPE_F32 ? "2xcpu" : "a100",
                            .micro_batches = 2,
                            .recompute = RECOMPUTE_NONE};
    run_fill_defaults(&run);
    return run;
}

/* Of an op's operands those of the forward pass that are as large as images of features. */
static size_t count_kept(const struct graph *graph)
{
    size_t kept = 0;
    for (size_t t = 0; t < graph->tensor_count; t++) {
        bool made = false, wanted = false;
        for (uint32_t i = 0; i < graph->backward_end; i++) {
            const struct op *op = &graph->ops[i];
            for (uint32_t k = 0; k < op->outputs && i < graph->forward_end; k++) made |= op->out[k] == t;
            for (uint32_t k = 0; k < op->inputs && i >= graph->forward_end; k++) wanted |= op->in[k] == t;
        }
        kept += made && wanted && graph->tensors[t].class == CLASS_ACTIVATION && graph->tensors[t].role == ROLE_OUTPUT;
    }
    return kept;
}

/* No sums, no statistics of a batch; and where gamma and beta stay too, less is kept, and no gradient of them there. */
Test(freeze, plans_with_frozen_statistics_prove_themselves)
{
    static const char *const models[] = {"resnet-20", "resnet-29", "resnet-18", "resnet-50"};
    static const uint32_t lowerings[] = {0, LOWER_EXACT, LOWER_ALL};
    for (size_t m = 0; m < 4; m++)
        for (size_t l = 0; l < 3; l++) {
            enum dtype dtype = lowerings[l] == LOWER_ALL ? DTYPE_F16 : DTYPE_F32;
            uint64_t peaks[3];
            size_t ops[3], kept[3];
            for (int freeze = BN_TRAINED; freeze <= BN_FROZEN; freeze++) {
                struct small_run run = frozen_bn(models[m], (enum bn_freeze)freeze, lowerings[l], dtype);
                struct plan *plan = run_plan(&run), *read;
                struct error err = {0};
                cr_assert(plan, "%s: %s", models[m], run.err.text);
                cr_assert(plan_verify(plan, NULL, &err), "%s", err.text);
                const struct graph *graph = plan->variants[0].graph;
                cr_expect_eq(plan->changes_bn, freeze == BN_TRAINED);
                for (size_t i = 0; i < graph->op_count && freeze; i++) cr_assert_neq(graph->ops[i].kind, OP_BN_SUMS);
                for (size_t t = 0; t < graph->tensor_count && freeze; t++) {
                    const struct tensor *tensor = &graph->tensors[t];
                    cr_assert(tensor->role != ROLE_SUMS &&
                              (tensor->role != ROLE_MEAN && tensor->role != ROLE_VARIANCE));
                    bool parameter = tensor->gradient && tensor->class == CLASS_GRADIENT && tensor->of != NO_TENSOR &&
                                     (tensor->role == ROLE_GAMMA || tensor->role == ROLE_BETA);
                    cr_assert(freeze != BN_FROZEN || !parameter);
                }
                peaks[freeze] = plan->devices[0].peak_bytes;
                ops[freeze] = graph->op_count;
                kept[freeze] = count_kept(graph);
                cr_assert(plan_write(plan, run_path("plan.json"), &err), "%s", err.text);
                cr_assert((read = plan_read(run_path("plan.json"), &err)), "%s", err.text);
                cr_assert_eq((int)read->freeze_bn, freeze);
                plan_destroy(read);
                plan_destroy(plan);
            }
            cr_expect_leq(peaks[1], peaks[0], "%s, %u", models[m], lowerings[l]);
            cr_expect_leq(peaks[2], peaks[1], "%s, %u", models[m], lowerings[l]);
            cr_expect(ops[1] <= ops[0] && ops[2] <= ops[1], "%s, %u: %zu, %zu, %zu ops", models[m], lowerings[l],
                      ops[0], ops[1], ops[2]);
            /* Pre-activation units that are lowered keep what their convolutions make, which other convolutions read.
             */
            bool less = m != 1 || lowerings[l] == 0;
            cr_expect(less ? kept[2] < kept[1] : kept[2] == kept[1], "%s, %u: %zu, %zu kept", models[m], lowerings[l],
                      kept[1], kept[2]);
        }
}

/* What stays does not change by a bit, what is trained does; however it is run the same bits, and what is fused changes
 * roundings alone. */
static void check_frozen_bn(const char *model, enum bn_freeze freeze)
{
    struct small_run first = {.model = model, .options.iterations = 3};
    go(&first, "first");
    struct small_run fine = {.model = model,
                             .freeze_bn = freeze,
                             .options = {.iterations = 4, .weights = first.options.save_folder, .repeat_batch = true}};
    struct small_run filled = fine, again = fine, logical = fine, two = fine;
    go(&fine, "fine");
    cr_expect_lt(fine.losses[3], fine.losses[0]);
    static const char *const stay[] = {"layer1.0.bn1.running_mean", "layer3.0.bn2.running_var"};
    for (size_t i = 0; i < 2; i++) cr_expect(same_tensor(&first, &fine, "", stay[i]), "%s changed", stay[i]);
    cr_expect_not(same_tensor(&first, &fine, "", "layer2.0.conv1.weight"));
    cr_expect_eq(same_tensor(&first, &fine, "", "layer2.0.bn1.weight"), freeze == BN_FROZEN);
    cr_expect_eq(same_tensor(&first, &fine, "", "layer2.0.bn2.bias"), freeze == BN_FROZEN);
    filled.options.fill_dead = true;
    go(&filled, "filled");
    again.recompute = RECOMPUTE_ELEMENTWISE;
    go(&again, "again");
    cr_expect(run_same_checkpoints(fine.options.save_folder, filled.options.save_folder, 4));
    cr_expect(run_same_checkpoints(fine.options.save_folder, again.options.save_folder, 4));
    logical.logical = true;
    go(&logical, "logical");
    two.gpus = "2xcpu";
    go(&two, "two");
    for (int i = 0; i < 4; i++) {
        cr_expect_float_eq(fine.losses[i], logical.losses[i], 2e-4);
        cr_expect_float_eq(fine.losses[i], two.losses[i], 2e-4);
    }
}

Test(freeze, frozen_statistics_stay_and_the_rest_learns) { check_frozen_bn("resnet-8", BN_STATISTICS_FROZEN); }

Test(freeze, frozen_normalisations_stay_and_the_rest_learns) { check_frozen_bn("resnet-11", BN_FROZEN); }
