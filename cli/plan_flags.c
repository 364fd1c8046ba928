#include "plan_flags.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "choice.h"
#include "engine_lowering.h"
#include "lower.h"
#include "plan_file.h"
#include "plan_request.h"
#include "printable.h"
#include "units.h"

#define MOST_BATCH (1u << 20)

void plan_flags_specs(struct plan_flags *o, struct option_spec specs[PLAN_FLAGS])
{
    const struct option_spec all[PLAN_FLAGS] = {
        {"batch", 'b', OPTION_COUNT, &o->batch, 1, MOST_BATCH},
        {"gpus", 'g', OPTION_TEXT, &o->gpus, 0, 0},
        {"recompute", 0, OPTION_TEXT, &o->recompute, 0, 0},
        {"budget", 0, OPTION_BYTES, &o->budget, 1, 1e15},
        {"offload", 0, OPTION_TEXT, &o->offload, 0, 0},
        {"micro-batches", 0, OPTION_TEXT, &o->micro_batches, 0, 0},
        {"dtype", 0, OPTION_TEXT, &o->dtype, 0, 0},
        {"dataset", 0, OPTION_TEXT, &o->dataset, 0, 0},
        {"unit", 0, OPTION_TEXT, &o->unit, 0, 0},
        {"shortcut", 0, OPTION_TEXT, &o->shortcut, 0, 0},
        {"stride-in", 0, OPTION_TEXT, &o->stride_in, 0, 0},
        {"shortcut-scale", 0, OPTION_TEXT, &o->number[NUMBER_SHORTCUT_SCALE], 0, 0},
        {"branch-scale", 0, OPTION_TEXT, &o->number[NUMBER_BRANCH_SCALE], 0, 0},
        {"gate-bias", 0, OPTION_TEXT, &o->number[NUMBER_GATE_BIAS], 0, 0},
        {"dropout", 0, OPTION_TEXT, &o->number[NUMBER_DROPOUT], 0, 0},
        {"sync-bn", 0, OPTION_FLAG, &o->sync_bn, 0, 0},
        {"bn-group", 0, OPTION_COUNT, &o->bn_group, 1, MOST_BATCH},
        {"freeze-bn", 0, OPTION_FLAG, &o->freeze_bn, 0, 0},
        {"freeze-bn-all", 0, OPTION_FLAG, &o->freeze_bn_all, 0, 0},
        {"tf32", 0, OPTION_FLAG, &o->tf32, 0, 0},
        {"freeze", 0, OPTION_TEXT, &o->freeze, 0, 0},
        {"reduce-dtype", 0, OPTION_TEXT, &o->reduce_dtype, 0, 0},
        {"reduce-memory", 0, OPTION_TEXT, &o->reduce_memory, 0, 0},
        {"classes", 0, OPTION_COUNT, &o->classes, 2, 1e6},
        {"image-size", 0, OPTION_COUNT, &o->image_size, 1, 1 << 14},
        {"strategy", 0, OPTION_TEXT, &o->strategy, 0, 0},
        {"reconstruct", 0, OPTION_FLAG, &o->reconstruct, 0, 0},
        {"workspace", 0, OPTION_BYTES, &o->workspace, 1, 1e12},
        {"fuse", 0, OPTION_TEXT, &o->fuse, 0, 0},
        {"decode-memory", 0, OPTION_BYTES, &o->decode_memory, 1 << 20, 1e12},
        {"search-seconds", 0, OPTION_REAL, &o->search_seconds, 0, 86400},
    };
    memcpy(specs, all, sizeof all);
}

bool plan_flags_given(const struct plan_flags *o)
{
    for (size_t i = 0; i < MODEL_NUMBERS; i++)
        if (o->number[i]) return true;
    return o->stride_in || o->bn_group || o->freeze_bn || o->freeze_bn_all || o->batch || o->gpus || o->recompute ||
           o->budget || o->micro_batches || o->dtype || o->dataset || o->unit || o->shortcut || o->sync_bn ||
           o->freeze || o->classes || o->image_size || o->search_seconds > 0 || o->strategy || o->reconstruct ||
           o->workspace || o->offload || o->fuse || o->decode_memory || o->reduce_dtype || o->reduce_memory;
}

static bool parse_choice(const char *text, const char *flag, const char *const *names, size_t count, int *value,
                         struct error *err)
{
    size_t choice;
    TRY(choice_parse(text, flag, names, count, NULL, 0, &choice, err));
    *value = (int)choice;
    return true;
}

static bool parse_dtype(const char *text, const char *flag, enum dtype *dtype, struct error *err)
{
    static const char *const names[] = {"f32", "f16", "bf16"};
    static const struct choice_synonym synonyms[] = {
        {"fp32", "f32"}, {"float32", "f32"}, {"float", "f32"}, {"single", "f32"},    {"32", "f32"},
        {"fp16", "f16"}, {"float16", "f16"}, {"half", "f16"},  {"bfloat16", "bf16"}, {"bfloat", "bf16"}};
    size_t choice = DTYPE_F32;
    TRY(!text || choice_parse(text, flag, names, 3, synonyms, sizeof synonyms / sizeof synonyms[0], &choice, err));
    *dtype = (enum dtype)choice;
    return true;
}

/* A plan's file where a model's name is wanted: what reads it. */
static bool name_model(const char *name, const struct model_options *options, struct model_spec *spec,
                       struct error *err)
{
    struct error fault = {0};
    if (model_parse(name, options, spec, &fault)) return true;
    struct stat info;
    struct plan *plan = stat(name, &info) == 0 && S_ISREG(info.st_mode) ? plan_read(name, NULL) : NULL;
    plan_destroy(plan);
    if (plan)
        return error_set(err, ERROR_INPUT,
                         "model: found \"%s\", a plan; expected a model's name, such as resnet-50 (`fathom train %s` "
                         "trains by the plan, `fathom plan --compare` tells two plans apart)",
                         PRINTABLE(name), PRINTABLE(name));
    if (err) *err = fault;
    return false;
}

static bool parse_model(const char *name, const struct plan_flags *o, struct model_spec *spec, struct error *err)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    enum dataset_kind dataset;
    enum unit_kind unit;
    enum shortcut_kind shortcut;
    enum stride_place place;
    if (o->dataset) {
        TRY(dataset_kind_parse(o->dataset, &dataset, err));
        options.dataset = (int)dataset;
    }
    if (o->unit) {
        TRY(unit_kind_parse(o->unit, &unit, err));
        options.unit = (int)unit;
    }
    if (o->shortcut) {
        TRY(shortcut_kind_parse(o->shortcut, &shortcut, err));
        options.shortcut = (int)shortcut;
    }
    if (o->stride_in) {
        TRY(stride_place_parse(o->stride_in, &place, err));
        options.stride_in = (int)place;
    }
    for (size_t i = 0; i < MODEL_NUMBERS; i++) {
        const struct model_number_info *info = model_number_info((enum model_number)i);
        if (o->number[i])
            TRY(units_parse_real(o->number[i], info->flag, info->least, info->most, &options.number[i], err));
    }
    options.classes = (uint32_t)o->classes;
    options.image_size = (uint32_t)o->image_size;
    options.image_width = (uint32_t)o->image_width;
    return name_model(name, &options, spec, err);
}

/* The last frozen stage by its name here or in PyTorch. */
static bool parse_freeze(const struct plan_flags *o, struct plan_request *request, struct error *err)
{
    const struct model_spec *spec = &request->spec;
    bool vgg = spec->family == FAMILY_VGG;
    unsigned stage = 0, stages = vgg ? 5 : spec->units[3] ? 4 : 3;
    int end = 0;
    request->frozen = 0;
    if (!o->freeze) return true;
    if (choice_same(o->freeze, "all-but-classifier")) {
        request->frozen = FROZEN_ALL_BUT_CLASSIFIER;
        return true;
    }
    bool numbered =
        sscanf(o->freeze, "stage%u%n", &stage, &end) == 1 || sscanf(o->freeze, "layer%u%n", &stage, &end) == 1;
    if (numbered && o->freeze[end] == '\0' && stage >= 1 && stage <= stages) request->frozen = stage + 1;
    if (!vgg && choice_same(o->freeze, "stem")) request->frozen = 1;
    if (request->frozen > 0) return true;
    return error_set(err, ERROR_INPUT, "--freeze: '%.40s' is none of %sstage1 to stage%u, and all-but-classifier",
                     o->freeze, vgg ? "" : "stem, ", stages);
}

static bool parse_freeze_bn(const struct plan_flags *o, struct plan_request *request, struct error *err)
{
    const char *flag = o->freeze_bn_all ? "--freeze-bn-all" : "--freeze-bn";
    request->freeze_bn = o->freeze_bn_all ? BN_FROZEN : o->freeze_bn ? BN_STATISTICS_FROZEN : BN_TRAINED;
    if (request->freeze_bn == BN_TRAINED) return true;
    if (request->spec.family == FAMILY_VGG)
        return error_set(err, ERROR_INPUT, "%s: found for %s, which has no batch normalisation", flag,
                         request->spec.name);
    if (o->sync_bn)
        return error_set(err, ERROR_INPUT,
                         "--sync-bn: found beside %s, with which no statistics are taken over the images of a step",
                         flag);
    if (o->strategy && !choice_same(o->strategy, "full"))
        return error_set(err, ERROR_INPUT, "%s: found beside --strategy %s, which trains the whole net", flag,
                         o->strategy);
    return true;
}

/* Whether they divide the batch and the devices' shares is the planner's to say. */
static bool parse_bn_group(const struct plan_flags *o, struct plan_request *request, struct error *err)
{
    request->bn_group = (uint32_t)o->bn_group;
    if (o->bn_group == 0) return true;
    if (request->spec.family == FAMILY_VGG)
        return error_set(err, ERROR_INPUT, "--bn-group: found for %s, which has no batch normalisation",
                         request->spec.name);
    if (request->freeze_bn)
        return error_set(err, ERROR_INPUT, "--bn-group: found beside %s, with which no statistics are taken",
                         request->freeze_bn == BN_FROZEN ? "--freeze-bn-all" : "--freeze-bn");
    if (o->sync_bn)
        return error_set(err, ERROR_INPUT,
                         "--bn-group: found beside --sync-bn, which takes statistics over the images of all devices");
    if (o->strategy && !choice_same(o->strategy, "full"))
        return error_set(err, ERROR_INPUT,
                         "--bn-group: found beside --strategy %s, whose statistics are over all images of a device",
                         o->strategy);
    return true;
}

static bool parse_policy(const struct plan_flags *o, struct plan_request *request, struct error *err)
{
    static const char *const policies[] = {"auto", "none", "elementwise", "budget"};
    int policy = o->budget ? RECOMPUTE_BUDGET : RECOMPUTE_AUTO;
    if (o->recompute) TRY(parse_choice(o->recompute, "--recompute", policies, 4, &policy, err));
    if (policy == RECOMPUTE_BUDGET && !o->budget)
        return error_set(err, ERROR_INPUT, "--recompute budget: its --budget BYTES is missing, like --budget 4GiB");
    if (policy != RECOMPUTE_BUDGET && o->budget)
        return error_set(err, ERROR_INPUT, "--budget: found beside --recompute %s; it goes with --recompute budget",
                         o->recompute);
    request->recompute = (enum recompute_policy)policy;
    request->recompute_budget_bytes = o->budget;
    if (o->reconstruct && policy == RECOMPUTE_NONE)
        return error_set(err, ERROR_INPUT,
                         "--reconstruct: found beside --recompute none, which keeps everything; it goes with auto, "
                         "elementwise or budget");
    request->reconstruct = o->reconstruct;
    return true;
}

static bool parse_offload(const struct plan_flags *o, struct plan_request *request, struct error *err)
{
    struct error unused = {0};
    request->offload_bytes = 0;
    if (!o->offload || choice_same(o->offload, "none")) return true;
    request->offload_bytes = UINT64_MAX;
    if (choice_same(o->offload, "auto")) return true;
    if (units_parse_bytes(o->offload, "--offload", &request->offload_bytes, &unused) && request->offload_bytes > 0)
        return true;
    return error_set(err, ERROR_INPUT, "--offload: '%s' is none of none, auto and a size of host memory like 8GiB",
                     o->offload);
}

static bool parse_micro_batches(const struct plan_flags *o, struct plan_request *request, struct error *err)
{
    uint64_t count = 0;
    request->any_micro_batches = o->micro_batches && choice_same(o->micro_batches, "any");
    if (!o->micro_batches || request->any_micro_batches) return true;
    if (!units_parse_count(o->micro_batches, "--micro-batches", 1, MOST_BATCH, &count, err)) return false;
    request->micro_batches = (uint32_t)count;
    return true;
}

bool plan_flags_pytorch(const struct plan_flags *o) { return o->strategy && choice_same(o->strategy, "pytorch"); }

/* The 2016 release kept all activations and never cut a share in pieces. Beside PyTorch's memory the ordinary plan is
 * told.
 */
static bool parse_strategy(const struct plan_flags *o, bool now, struct plan_request *request, struct error *err)
{
    static const char *const strategies[] = {"full", "shared-gradinput", "pytorch"};
    int strategy = 0;
    if (o->strategy) TRY(parse_choice(o->strategy, "--strategy", strategies, 3, &strategy, err));
    if (strategy == 2 && now)
        return error_set(
            err, ERROR_INPUT,
            "--strategy pytorch: tells what PyTorch would take, and cannot be run; it goes with fathom plan");
    if (strategy == 2 && o->freeze)
        return error_set(
            err, ERROR_INPUT,
            "--strategy pytorch: found beside --freeze; it tells what PyTorch takes to train the whole net");
    if (strategy != 1) return true;
    if (o->recompute || o->budget || o->reconstruct || o->fuse || o->freeze || request->offload_bytes ||
        request->dtype != DTYPE_F32)
        return error_set(err, ERROR_INPUT,
                         "--strategy shared-gradinput: found beside %s, expected alone: it keeps everything, in f32",
                         o->recompute             ? "--recompute"
                         : o->budget              ? "--budget"
                         : o->reconstruct         ? "--reconstruct"
                         : o->fuse                ? "--fuse"
                         : o->freeze              ? "--freeze"
                         : request->offload_bytes ? "--offload"
                                                  : "--dtype");
    request->sharing = SHARING_GRADINPUT;
    request->recompute = RECOMPUTE_NONE;
    if (request->micro_batches == 0) request->micro_batches = 1;
    return true;
}

static bool parse_fusion(const char *word, size_t length, uint32_t *lowering, struct error *err)
{
    for (unsigned bit = 0; bit < LOWERINGS; bit++) {
        const char *name = graph_lowering_name(bit);
        if (strlen(name) != length || memcmp(name, word, length) != 0) continue;
        *lowering |= 1u << bit;
        return true;
    }
    return error_set(
        err, ERROR_INPUT,
        "--fuse: '%.*s' is none of auto, none, all, or some of bn, sums, normalize, normalize-weights, gradient, "
        "gradient-sums, add, weights, input, bn-add, half-gradients, gradient-add and gradient-keep, with commas "
        "between "
        "them",
        length > 40 ? 40 : (int)length, word);
}

/* Whether the devices say what is fused. */
static bool fuse_auto(const struct plan_flags *o) { return !o->fuse || choice_same(o->fuse, "auto"); }

static bool parse_fuse(const struct plan_flags *o, struct plan_request *request, struct error *err)
{
    request->lowering = 0;
    if (fuse_auto(o) || choice_same(o->fuse, "none")) return true;
    if (choice_same(o->fuse, "all")) {
        request->lowering = LOWER_EXACT;
        return true;
    }
    for (const char *word = o->fuse;; word++) {
        size_t length = strcspn(word, ",");
        TRY(parse_fusion(word, length, &request->lowering, err));
        word += length;
        if (!*word) return true;
    }
}

/* NVLink's switches add up and copy themselves, but only to and from memory that NCCL has given and knows; elsewhere
 * the arena's bytes serve as well, and are anyone's before the backward pass. */
static bool reduces_apart(const struct machine *machine)
{
    for (size_t i = 0; i < machine->device_count; i++)
        if (machine->devices[i].kind == DEVICE_CPU || !machine->devices[i].nvlink) return false;
    return machine->device_count > 1;
}

static bool parse_reduce_memory(const struct plan_flags *o, struct plan_request *request, struct error *err)
{
    static const char *const places[] = {"auto", "apart", "arena"};
    int place = 0;
    if (o->reduce_memory) TRY(parse_choice(o->reduce_memory, "--reduce-memory", places, 3, &place, err));
    request->reduce_apart = place == 0 ? reduces_apart(request->machine) : place == 1;
    request->reduce_anywhere = place == 0;
    return true;
}

/* The papers' batches: 128 on CIFAR (arXiv:1512.03385, 4.2), 256 on ImageNet (3.4). */
static uint32_t paper_batch(const struct model_spec *spec) { return spec->dataset == DATASET_IMAGENET ? 256 : 128; }

static bool ask_workspace(void *context, const struct graph *graph, const struct op *op, enum op_pass pass,
                          uint64_t *bytes, struct error *err)
{
    const struct backend *host = context;
    return host->op_workspace(graph, op, pass, bytes, err);
}

/* A plan that its own backend would refuse is refused before. */
static bool check_dtype(const struct backend *host, enum dtype dtype, struct error *err)
{
    uint32_t known = host->activation_dtypes ? host->activation_dtypes() : 1u << DTYPE_F32;
    if (known >> dtype & 1) return true;
    return error_set(err, ERROR_INPUT,
                     "--dtype: found %s, which the %s backend cannot run; f32 does, or name GPUs to plan for",
                     dtype_name(dtype), host->name);
}

bool plan_flags_check_tf32(enum dtype dtype, const char *backend, struct error *err)
{
    if (backend)
        return error_set(err, ERROR_INPUT,
                         "--tf32: found for the %s backend, which has no such arithmetic; it goes with GPUs", backend);
    if (dtype == DTYPE_F32) return true;
    return error_set(err, ERROR_INPUT, "--tf32: found for activations in %s; it is a way to multiply f32",
                     dtype_name(dtype));
}

bool plan_flags_request(const struct plan_flags *o, const char *model, const struct plan_flags_use *use,
                        struct machine *machine, struct plan_request *request, struct error *err)
{
    const struct backend *host = use->host;
    TRY(parse_dtype(o->dtype, "--dtype", &request->dtype, err));
    TRY(parse_dtype(o->reduce_dtype, "--reduce-dtype", &request->reduce_dtype, err));
    TRY(parse_model(model, o, &request->spec, err));
    TRY(parse_policy(o, request, err));
    TRY(parse_freeze(o, request, err) && parse_freeze_bn(o, request, err) && parse_bn_group(o, request, err));
    request->batch = o->batch ? (uint32_t)o->batch : paper_batch(&request->spec);
    TRY(parse_micro_batches(o, request, err));
    TRY(parse_offload(o, request, err));
    TRY(parse_strategy(o, use->now, request, err));
    TRY(parse_fuse(o, request, err));
    request->lower_less = fuse_auto(o);
    request->sync_bn = o->sync_bn;
    request->search_seconds = o->search_seconds;
    request->workspace_cap_bytes = o->workspace;
    request->decode_bytes = o->decode_memory ? o->decode_memory : o->decode_otherwise;
    request->machine = machine;
    /* A run takes one GPU unless it is told to take more. */
    TRY(host_gpus_parse(o->gpus ? options_input(o->gpus) : use->gpus, use->found,
                        use->now && !o->gpus ? 1 : HOST_MOST_GPUS, use->now, machine, err));
    TRY(parse_reduce_memory(o, request, err));
    if (machine->devices[0].kind != DEVICE_CPU && o->decode_memory)
        return error_set(
            err, ERROR_INPUT,
            "--decode-memory: found for GPUs; pictures are decoded in the host's memory, which is in plans "
            "for the cpu");
    const bool on_gpus = machine->devices[0].kind != DEVICE_CPU && !use->everywhere;
    TRY(!o->tf32 || plan_flags_check_tf32(request->dtype, on_gpus ? NULL : host->name, err));
    if (on_gpus) {
        if (fuse_auto(o)) request->lowering = engine_lowering_shared(machine, request->dtype, o->tf32);
        return true;
    }
    TRY(check_dtype(host, request->dtype, err));
    if (o->workspace)
        return error_set(err, ERROR_INPUT,
                         "--workspace: found for the %s backend, which says what its ops need; it goes with GPUs",
                         host->name);
    if (fuse_auto(o) && host->lowering) request->lowering = host->lowering(request->dtype);
    plan_flags_ask(host, request);
    return true;
}

void plan_flags_ask(const struct backend *host, struct plan_request *request)
{
    request->workspace_bytes = ask_workspace;
    request->workspace_context = (void *)(uintptr_t)host;
}
