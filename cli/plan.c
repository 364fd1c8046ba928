#include <stdio.h>
#include <string.h>

#include "advise.h"
#include "command.h"
#include "cpu_backend.h"
#include "draw.h"
#include "plan_report.h"
#include "words.h"

#define MOST_BATCH (1u << 20)

struct plan_options {
    const char *gpus, *output, *svg, *recompute, *dtype, *dataset, *unit, *shortcut;
    uint64_t batch, budget, micro_batches, classes, image_size;
    double search_seconds;
    bool explain, json, sync_bn, max_batch;
};

static bool parse_options(int argc, char **argv, struct plan_options *o, const char **model, struct error *err)
{
    const struct option_spec specs[] = {
        {"batch", 'b', OPTION_COUNT, &o->batch, 1, MOST_BATCH},
        {"gpus", 'g', OPTION_TEXT, &o->gpus, 0, 0},
        {"output", 'o', OPTION_TEXT, &o->output, 0, 0},
        {"svg", 0, OPTION_TEXT, &o->svg, 0, 0},
        {"explain", 0, OPTION_FLAG, &o->explain, 0, 0},
        {"json", 0, OPTION_FLAG, &o->json, 0, 0},
        {"recompute", 0, OPTION_TEXT, &o->recompute, 0, 0},
        {"budget", 0, OPTION_BYTES, &o->budget, 1, 1e15},
        {"micro-batches", 0, OPTION_COUNT, &o->micro_batches, 1, MOST_BATCH},
        {"dtype", 0, OPTION_TEXT, &o->dtype, 0, 0},
        {"dataset", 0, OPTION_TEXT, &o->dataset, 0, 0},
        {"unit", 0, OPTION_TEXT, &o->unit, 0, 0},
        {"shortcut", 0, OPTION_TEXT, &o->shortcut, 0, 0},
        {"sync-bn", 0, OPTION_FLAG, &o->sync_bn, 0, 0},
        {"classes", 0, OPTION_COUNT, &o->classes, 2, 1e6},
        {"image-size", 0, OPTION_COUNT, &o->image_size, 1, 1 << 14},
        {"search-seconds", 0, OPTION_REAL, &o->search_seconds, 0, 86400},
        {"max-batch", 0, OPTION_FLAG, &o->max_batch, 0, 0},
    };
    size_t words = 0;
    TRY(options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], model, 1, &words, err));
    if (words == 0)
        return error_set(err, ERROR_INPUT,
                         "MODEL is missing; write one like resnet-1001 (`fathom help plan` shows more)");
    return true;
}

static bool parse_choice(const char *text, const char *flag, const char *const *names, size_t count, int *value,
                         struct error *err)
{
    char list[128] = "";
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, names[i]) == 0) {
            *value = (int)i;
            return true;
        }
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", names[i]);
    }
    return error_set(err, ERROR_INPUT, "%s: '%s' is none of %s", flag, text, list);
}

static bool parse_model(const char *name, const struct plan_options *o, struct model_spec *spec, struct error *err)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    enum dataset_kind dataset;
    enum unit_kind unit;
    enum shortcut_kind shortcut;
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
    options.classes = (uint32_t)o->classes;
    options.image_size = (uint32_t)o->image_size;
    return model_parse(name, &options, spec, err);
}

static bool parse_policy(const struct plan_options *o, struct plan_request *request, struct error *err)
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
    return true;
}

/* The papers' batches: 128 on CIFAR (arXiv:1512.03385, 4.2), 256 on ImageNet (3.4). */
static uint32_t paper_batch(const struct model_spec *spec) { return spec->dataset == DATASET_IMAGENET ? 256 : 128; }

static bool cpu_workspace(void *context, const struct graph *graph, const struct op *op, enum op_pass pass,
                          uint64_t *bytes, struct error *err)
{
    (void)context;
    return cpu_backend.op_workspace(graph, op, pass, bytes, err);
}

static bool parse_request(const struct plan_options *o, const char *model, struct machine *machine,
                          struct plan_request *request, struct error *err)
{
    static const char *const dtypes[] = {"f32", "f16", "bf16"};
    int dtype = DTYPE_F32;
    if (o->dtype) TRY(parse_choice(o->dtype, "--dtype", dtypes, 3, &dtype, err));
    TRY(parse_model(model, o, &request->spec, err));
    TRY(parse_policy(o, request, err));
    request->dtype = (enum dtype)dtype;
    request->batch = o->batch ? (uint32_t)o->batch : paper_batch(&request->spec);
    request->micro_batches = (uint32_t)o->micro_batches;
    request->sync_bn = o->sync_bn;
    request->search_seconds = o->search_seconds;
    request->machine = machine;
    TRY(machine_parse(o->gpus ? o->gpus : "auto", machine, err));
    if (machine->devices[0].kind == DEVICE_CPU) request->workspace_bytes = cpu_workspace;
    return true;
}

/* When nobody asked for the largest batch it is looked for among plans that are quick to make, mostly with four of
 * them: those that run no convolution again. */
#define QUICK_SECONDS 0.1
#define QUICK_PLANS   12

static bool find_largest(const struct plan_options *o, const struct plan_request *request, struct plan_report *report,
                         struct error *err)
{
    struct plan_request changed = *request;
    const struct plan *plan = report->plan;
    bool quick = !o->json && plan->fits && plan->plan_seconds < QUICK_SECONDS && plan->recompute != RECOMPUTE_BUDGET;
    if (!o->max_batch && !quick) return true;
    report->largest_searched = true;
    report->largest_quick = !o->max_batch && request->recompute == RECOMPUTE_AUTO;
    if (report->largest_quick) changed.recompute = RECOMPUTE_ELEMENTWISE;
    return advise_largest_batch(&changed, plan, o->max_batch ? 0 : QUICK_PLANS, &report->largest_batch,
                                &report->largest_exact, err);
}

static bool write_files(const struct plan_options *o, const struct plan *plan, struct error *err)
{
    char verdict[WORDS_VERDICT];
    if (o->svg)
        TRY(draw_plan(plan, draw_fullest_device(plan), words_verdict(plan, verdict, sizeof verdict), o->svg, err));
    if (!o->output) return true;
    if (plan->fits) return plan_write(plan, o->output, err);
    fprintf(stderr, "fathom plan: %s is not written, as the plan does not fit\n", o->output);
    return true;
}

static bool tell(const struct plan_options *o, const struct plan_request *request, const struct plan *plan,
                 struct error *err)
{
    struct advice advice[ADVICE_KINDS];
    struct plan_report report = {.plan = plan, .advice = advice};
    TRY(find_largest(o, request, &report, err));
    if (o->json) return plan_report_json(&report, stdout, err);
    if (!plan->fits) TRY(advise_unfit(request, plan, advice, &report.advice_count, err));
    plan_report_print(&report, stdout);
    return !o->explain || plan_report_explain(plan, stdout, err);
}

static int run(int argc, char **argv, struct error *err)
{
    struct plan_options options = {0};
    struct plan_request request = {0};
    struct machine machine = {0};
    struct plan *plan = NULL;
    const char *model = NULL;
    int code = 1;
    if (parse_options(argc, argv, &options, &model, err) && parse_request(&options, model, &machine, &request, err))
        plan = plan_make(&request, err);
    if (plan && write_files(&options, plan, err) && tell(&options, &request, plan, err)) code = plan->fits ? 0 : 1;
    plan_destroy(plan);
    machine_finish(&machine);
    return code;
}

static const char manual[] =
    "NAME\n"
    "  fathom plan - plan the memory of a training step, and say whether it fits\n"
    "\n"
    "SYNOPSIS\n"
    "  fathom plan MODEL [--batch N] [--gpus SPEC] [-o plan.json] [--svg map.svg] [--explain] [--json] [...]\n"
    "\n"
    "DESCRIPTION\n"
    "  Works out what one training step of MODEL does (forward, backward, all-reduce, update), what must be in memory\n"
    "  when, what may be computed again instead of kept, and at which address each tensor lies. The plan is proved "
    "before\n"
    "  it is told or written: `fathom train plan.json` runs exactly that plan from one block of memory.\n"
    "  MODEL is resnet-DEPTH, plain-DEPTH, vgg-a or vgg-d. The depth implies the dataset: 18, 34, 50, 101, 152 and "
    "200\n"
    "  ImageNet; 6n+2 and 9n+2 CIFAR.\n"
    "\n"
    "OPTIONS\n"
    "  -b, --batch N          images of a step, over all devices (128 on CIFAR, 256 on ImageNet)\n"
    "  -g, --gpus SPEC        2x12GiB, titan-x, 8xh200, h100,2x24GiB, cpu, 2xcpu, auto (the default: what is in this\n"
    "                         host) or a machine file; `fathom devices` lists the names\n"
    "  -o, --output FILE      write the plan, if it fits\n"
    "      --svg FILE         draw the fullest device's memory over the step\n"
    "      --explain          stages, kinds of ops, and what dominates the peak\n"
    "      --json             one JSON object instead of the tables\n"
    "      --recompute HOW    auto: the least time that fits (the default); none: keep everything; elementwise: redo\n"
    "                         normalisations and ReLUs; budget: as --budget says\n"
    "      --budget BYTES     the arena of a device is to be at most this, like 4GiB\n"
    "      --micro-batches N  cut each device's share into N equal parts, gradients added up (as few as fit)\n"
    "      --dtype TYPE       of activations: f32 (the default), f16 or bf16\n"
    "      --dataset NAME     cifar10, cifar100 or imagenet\n"
    "      --unit KIND        original, preact, bn-after-add, relu-before-add, relu-only-preact, no-final-relu or "
    "plain\n"
    "      --shortcut KIND    identity-a, projection-b, projection-c, scaling, exclusive-gate, shortcut-gate, conv1x1\n"
    "                         or dropout\n"
    "      --sync-bn          batch normalisation over the images of all devices\n"
    "      --classes N        --image-size N        instead of the dataset's\n"
    "      --search-seconds S look so long for a smaller arena when the fast placers leave a gap to the lower bound\n"
    "      --max-batch        find the largest batch that fits, whatever must run again, however long it takes\n"
    "\n"
    "EXIT STATUS\n"
    "  0 it fits; 1 it does not fit, or planning failed; 2 the command or a file is wrong.\n"
    "\n"
    "EXAMPLES\n"
    "  fathom plan resnet-1001 --batch 128 --gpus 2x12GiB --svg map.svg\n"
    "  fathom plan resnet-152 --gpus 8xh200 --dtype bf16 --explain\n"
    "  fathom plan resnet-110 --gpus cpu -o plan.json && fathom train plan.json --data cifar-10-batches-bin\n";

const struct command command_plan = {"plan", "plan a model's memory and say whether it fits these GPUs", manual, run};
