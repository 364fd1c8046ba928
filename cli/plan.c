#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "advise.h"
#include "changes.h"
#include "backends.h"
#include "command.h"
#include "draw.h"
#include "frontier_draw.h"
#include "make.h"
#include "outputs.h"
#include "page.h"
#include "plan_compare.h"
#include "plan_costs.h"
#include "plan_deepest.h"
#include "plan_engines.h"
#include "plan_file.h"
#include "plan_flags.h"
#include "plan_manual.h"
#include "plan_progress.h"
#include "plan_pytorch.h"
#include "plan_report.h"
#include "plan_words.h"
#include "printable.h"
#include "recipe.h"
#include "units.h"
#include "update_flags.h"

struct plan_options {
    struct plan_flags flags;
    struct update_flags update;
    const char *output, *svg, *costs, *network, *engines, *recipe_word;
    struct recipe recipe; /* of recipe_word */
    uint64_t per_node, epochs, images;
    double price, input, spread; /* spread: NAN = not given */
    bool explain, json, max_batch, max_depth, compare, search, scaling;
};

/* Prints the verdict on what was asked about: the plan, or what PyTorch would take. */
static void print_verdict(const struct plan_options *o, const struct plan_report *report, bool fits)
{
    char verdict[WORDS_VERDICT];
    if (plan_flags_pytorch(&o->flags))
        plan_pytorch_verdict(report->plan, report->pytorch, verdict, sizeof verdict);
    else
        words_verdict(report->plan, verdict, sizeof verdict);
    page_verdict(stdout, PRINTABLE(verdict), fits, page_has_colours());
}

/* Words of a command: MODEL, or two plan files. */
#define MOST_WORDS 2

static bool check_comparison(const struct plan_options *o, size_t words, struct error *err)
{
    if (words != 2)
        return error_set(err, ERROR_INPUT,
                         "--compare: found %zu plan file%s, expected two, like --compare a.json b.json", words,
                         words == 1 ? "" : "s");
    if (plan_flags_given(&o->flags) || o->output || o->svg || o->explain || o->max_batch || o->max_depth || o->search ||
        o->costs || o->engines || o->network || o->per_node || o->scaling || o->input > 0 || !isnan(o->spread) ||
        o->price > 0 || o->epochs || o->images || o->recipe_word)
        return error_set(err, ERROR_INPUT, "--compare: found beside options that plan; only --json goes with it");
    return true;
}

static bool parse_options(int argc, char **argv, struct plan_options *o, const char *words[MOST_WORDS],
                          struct error *err)
{
    struct option_spec specs[PLAN_FLAGS + UPDATE_FLAGS + 19] = {
        {"output", 'o', OPTION_OUTPUT, &o->output, 0, 0},
        {"svg", 0, OPTION_OUTPUT, &o->svg, 0, 0},
        {"explain", 0, OPTION_FLAG, &o->explain, 0, 0},
        {"json", 0, OPTION_FLAG, &o->json, 0, 0},
        {"max-batch", 0, OPTION_FLAG, &o->max_batch, 0, 0},
        {"max-depth", 0, OPTION_FLAG, &o->max_depth, 0, 0},
        {"search", 0, OPTION_FLAG, &o->search, 0, 0},
        {"compare", 0, OPTION_FLAG, &o->compare, 0, 0},
        {"costs", 0, OPTION_TEXT, &o->costs, 0, 0},
        {"network", 0, OPTION_TEXT, &o->network, 0, 0},
        {"scaling", 0, OPTION_FLAG, &o->scaling, 0, 0},
        {"input", 0, OPTION_REAL, &o->input, 1, 1e12},
        {"spread", 0, OPTION_REAL, &o->spread, 0, 100},
        {"price", 0, OPTION_REAL, &o->price, 1e-6, 1e9},
        {"epochs", 0, OPTION_COUNT, &o->epochs, 1, 1e9},
        {"images", 0, OPTION_COUNT, &o->images, 1, 1e15},
        {"per-node", 0, OPTION_COUNT, &o->per_node, 1, MACHINE_MOST_DEVICES},
        {"engines", 0, OPTION_TEXT, &o->engines, 0, 0},
        {"recipe", 0, OPTION_TEXT, &o->recipe_word, 0, 0},
    };
    plan_flags_specs(&o->flags, specs + 19);
    update_flags_specs(&o->update, specs + 19 + PLAN_FLAGS);
    size_t count = 0;
    TRY(options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], words, MOST_WORDS, &count, err));
    if (o->compare) return check_comparison(o, count, err);
    if (o->epochs && o->images)
        return error_set(err, ERROR_INPUT, "--images: found beside --epochs; one of them says how long a run is");
    if (!o->scaling && (o->input > 0 || !isnan(o->spread)))
        return error_set(err, ERROR_INPUT, "--%s: found without --scaling, whose figures it goes into",
                         o->input > 0 ? "input" : "spread");
    if (count > 1) return error_set(err, ERROR_INPUT, "'%s' is one word too many; --help shows the usage", words[1]);
    if (count == 0)
        return error_set(err, ERROR_INPUT,
                         "MODEL is missing; write one like resnet-1001 (`fathom help plan` shows more)");
    if (!o->recipe_word) return true;
    TRY(recipe_read(o->recipe_word, "--recipe", &o->recipe, err));
    if (o->flags.batch == 0) o->flags.batch = o->recipe.batch;
    return true;
}

/* How long a plan takes to make goes with its ops. They are counted, and not the time, so that the same question has
 * the same answer on a busy machine. */
static size_t count_ops(const struct plan *plan)
{
    size_t sum = 0;
    for (size_t v = 0; v < plan->variant_count; v++) sum += plan->variants[v].train.op_count;
    return sum;
}

/* When nobody asked for the largest batch it is looked for among plans that are quick to make (a tenth of a second),
 * mostly with four of them: those that run no convolution again. */
#define QUICK_OPS   50000
#define QUICK_PLANS 12

static bool find_largest(const struct plan_options *o, const struct plan_request *request, struct plan_report *report,
                         struct error *err)
{
    struct plan_request changed = *request;
    const struct plan *plan = report->plan;
    /* Other batches are other questions to cuDNN, seconds each. */
    bool quick =
        !o->json && !o->engines && plan->fits && count_ops(plan) <= QUICK_OPS && plan->recompute != RECOMPUTE_BUDGET;
    if (!o->max_batch && !quick) return true;
    report->largest_searched = true;
    report->largest_quick = !o->max_batch && request->recompute == RECOMPUTE_AUTO;
    report->largest_whole = request->micro_batches == 0 && plan->devices[0].micro_batches > 1;
    if (report->largest_quick) changed.recompute = RECOMPUTE_ELEMENTWISE;
    return advise_largest_batch(&changed, plan, o->max_batch ? 0 : QUICK_PLANS, &report->largest_batch,
                                &report->largest_exact, err);
}

static bool write_files(const struct plan_options *o, const struct plan_request *request, const struct plan *plan,
                        struct error *err)
{
    char verdict[WORDS_VERDICT];
    if (!plan_progress_end(request->watch_context)) return error_set(err, ERROR_FAILED, "planning was stopped");
    if (o->svg && !o->search)
        TRY(draw_plan(plan, draw_fullest_device(plan), words_verdict(plan, verdict, sizeof verdict), o->svg, err));
    if (!o->output) return true;
    if (plan->fits) return plan_write(plan, o->output, err);
    fprintf(stderr, "fathom plan: %s is not written, as the plan does not fit\n", PRINTABLE(o->output));
    return true;
}

static bool find_frontier(const struct plan_options *o, const struct plan_request *request, const struct plan *plan,
                          struct frontier *frontier, struct error *err)
{
    char title[300], devices[160];
    TRY(frontier_find(request, plan, plan_progress_part, request->watch_context, frontier, err));
    plan_progress_end(request->watch_context);
    snprintf(title, sizeof title, "%s at batch %u on %s: memory against %s", plan->spec.name, plan->batch,
             words_devices(plan, devices, sizeof devices), frontier->timed ? "predicted time" : "computation");
    return !o->svg || frontier_draw(frontier, title, o->svg, err);
}

/* What stays in sight of a terminal of 24 lines above the next prompt. */
#define SIGHT_LINES 21

/* Of the training that was asked about: the plan's, or PyTorch's. */
static bool fits_asked(const struct plan_options *o, const struct plan_report *report)
{
    return plan_flags_pytorch(&o->flags) ? report->pytorch->fits : report->plan->fits;
}

/* The verdict comes first, and once more where what follows moves it out of sight. */
static bool print_page(const struct plan_options *o, const struct plan_report *report, struct error *err)
{
    char *page = NULL;
    size_t length = 0, lines = 2;
    bool fits = fits_asked(o, report);
    FILE *to = open_memstream(&page, &length);
    if (!to) return error_memory(err, 0, "the report");
    bool told = plan_flags_pytorch(&o->flags);
    if (told) plan_pytorch_print(report->plan, report->pytorch, report->pytorch_cudnn, to);
    if (!told || o->explain) plan_report_print(report, to);
    bool ok = !o->explain || plan_report_explain(report, to, err);
    if (ok && report->pytorch && !told) plan_pytorch_explain(report->plan, report->pytorch, to);
    ok = fclose(to) == 0 && ok;
    if (!report->verdict_told) print_verdict(o, report, fits);
    fwrite(page, 1, length, stdout);
    for (size_t i = 0; i < length; i++) lines += page[i] == '\n';
    if (lines > SIGHT_LINES) {
        putchar('\n');
        print_verdict(o, report, fits);
    }
    (free)(page); /* the stream's, not ours */
    return ok;
}

/* Of programs of up to so many single changes are tried: ten plans are made, each laid out and proved op by op however
 * quickly its schedule was found. */
#define CHANGES_OPS 200000

static bool say(const struct plan_options *o, const struct plan_request *request, struct plan_report *report,
                struct error *err)
{
    struct plan *others[2] = {NULL, NULL};
    struct change changes[CHANGES_MOST];
    bool ok = !(o->json || o->explain) || changes_less_again(request, report->plan, others, err);
    if (ok && o->explain && count_ops(report->plan) <= CHANGES_OPS) {
        report->changes = changes;
        ok = changes_find(request, report->plan, changes, &report->change_count, err);
    }
    report->keep_all = others[0];
    report->redo = others[1];
    report->pieces_chosen = request->micro_batches == 0;
    plan_progress_end(request->watch_context);
    if (ok && o->json) ok = plan_report_json(report, stdout, err);
    if (ok && !o->json) ok = print_page(o, report, err);
    plan_destroy(others[0]);
    plan_destroy(others[1]);
    return ok;
}

/* Of a whole run, shown; where nothing is asked as many as the model's own recipe does. */
static uint64_t asked_images(const struct plan_options *o, const struct plan *plan, uint64_t epoch)
{
    if (o->images) return o->images;
    if (o->epochs) return o->epochs * epoch;
    return o->recipe_word ? recipe_images_over(&o->recipe, epoch) : recipe_images(recipe_for(&plan->spec));
}

/* What would fit takes seconds to find: the verdict does not wait for it. */
static bool advise(const struct plan_options *o, const struct plan_request *request, struct plan_report *report,
                   struct advice advice[ADVICE_KINDS], struct error *err)
{
    if (report->plan->fits) return true;
    if (!o->json && !plan_flags_pytorch(&o->flags)) {
        plan_progress_end(request->watch_context);
        print_verdict(o, report, false);
        fflush(stdout);
        report->verdict_told = true;
    }
    report->advice = advice;
    return advise_unfit(request, report->plan, advice, &report->advice_count, err);
}

static bool tell(const struct plan_options *o, const struct plan_request *request, const struct deepest *made,
                 struct plan_engines *engines, bool *fits, struct error *err)
{
    const struct plan *plan = made->plan;
    struct advice advice[ADVICE_KINDS];
    struct plan_report report = {.plan = plan,
                                 .machine = request->machine,
                                 .measured = request->measured,
                                 .engines = engines,
                                 .deepest = o->max_depth ? made : NULL};
    TRY(find_largest(o, request, &report, err));
    struct frontier frontier;
    if (o->search) {
        TRY(find_frontier(o, request, plan, &frontier, err));
        report.frontier = &frontier;
    }
    uint64_t epoch = recipe_epoch_images(plan->spec.dataset);
    struct scaling scaling;
    if (o->scaling) {
        struct scaling_load load = scaling_load_of(request, recipe_test_images(plan->spec.dataset), epoch);
        if (o->input > 0) load.node_images_per_second = o->input;
        if (!isnan(o->spread)) load.spread = o->spread / 100;
        TRY(scaling_find(request, &load, &scaling, err));
        report.scaling = &scaling;
    }
    struct whole_run run;
    if (whole_run_estimate(plan, asked_images(o, plan, epoch), epoch, o->price, &run)) report.run = &run;
    TRY(advise(o, request, &report, advice, err));
    struct torch_forecast pytorch;
    if (plan_flags_pytorch(&o->flags) || (o->explain && plan_pytorch_serves(request->machine))) {
        TRY(plan_pytorch_make(request, engines, &pytorch, &report.pytorch_cudnn, err));
        report.pytorch = &pytorch;
    }
    *fits = fits_asked(o, &report);
    return say(o, request, &report, err);
}

/* Why nothing meets a budget: what is there at any batch. */
static size_t say_lasting(const struct plan_request *request, char *out, size_t size)
{
    struct plan_lasting lasting;
    char weights[UNITS_TEXT], kept[UNITS_TEXT], gradients[UNITS_TEXT], context[UNITS_TEXT], state[80] = "";
    if (!plan_lasting_find(request, &lasting, NULL))
        return (size_t)snprintf(out, size, "Nothing that fathom can change meets it.\n");
    units_format_bytes(lasting.weight_bytes, weights);
    units_format_bytes(lasting.gradient_bytes, gradients);
    units_format_bytes(request->machine->devices[0].context_bytes, context);
    if (lasting.optimizer_bytes > 0)
        snprintf(state, sizeof state, "%s %s, ", words_memory_class(&request->update, MEMORY_OPTIMIZER),
                 units_format_bytes(lasting.optimizer_bytes, kept));
    return (size_t)snprintf(out, size,
                            "Nothing that fathom can change meets it: at any batch weights take %s of the arena,\n"
                            "  %sgradients %s, and activations come on top; context and libraries (%s) lie outside it.\n",
                            weights, state, gradients, context);
}

/* Below the error's sentence. A search that ends early leaves that alone. */
static void add_budget_advice(const struct plan_request *request, struct error *err)
{
    struct advice advice[ADVICE_KINDS];
    struct error unsaid = {0};
    size_t count, used;
    if (!advise_budget(request, advice, &count, &unsaid)) return;
    used = count ? (size_t)snprintf(err->below, sizeof err->below, "what would meet it:\n")
                 : say_lasting(request, err->below, sizeof err->below);
    for (size_t i = 0; i < count && used < sizeof err->below; i++) {
        char sentence[256];
        advise_sentence(&advice[i], sentence, sizeof sentence);
        used += (size_t)snprintf(err->below + used, sizeof err->below - used, "  %s\n", sentence);
    }
}

/* The plan of the request; with --max-depth the request becomes that of the deepest model. */
static bool make_plan(const struct plan_options *o, struct plan_request *request, struct deepest *made,
                      struct error *err)
{
    if (!o->max_depth) {
        request->bound = o->explain;
        made->plan = plan_make(request, err);
        request->bound = false; /* of no plan beside it */
        if (!made->plan && err->kind == ERROR_UNFIT) add_budget_advice(request, err);
        return made->plan != NULL;
    }
    TRY(plan_deepest_find(request, made, err));
    request->spec = made->plan->spec;
    request->micro_batches = made->plan->devices[0].micro_batches;
    return true;
}

/* With engines where they are wanted; without, when asking failed on the way. */
static bool make_plan_of_engines(const struct plan_options *o, struct plan_request *request,
                                 struct plan_engines *engines, struct deepest *made, struct error *err)
{
    const struct model_spec spec = request->spec;
    const uint32_t micro_batches = request->micro_batches;
    struct error fault = {0};
    bool ok = make_plan(o, request, made, err);
    if (plan_engines_held(engines, request, &fault)) return ok;
    plan_destroy(made->plan);
    *made = (struct deepest){0};
    *err = fault;
    if (fault.kind != ERROR_NONE) return false;
    request->spec = spec;
    request->micro_batches = micro_batches;
    return make_plan(o, request, made, err);
}

static bool set_nodes(const struct plan_options *o, struct machine *machine, struct error *err)
{
    double rate = 0;
    if (o->network) TRY(machine_parse_rate(o->network, "--network", &rate, err));
    machine_set_nodes(machine, (uint32_t)o->per_node, rate);
    return true;
}

/* Links whose speed is unknown are as fast as in the runs. */
static bool read_costs(const struct plan_options *o, struct plan_request *request, struct machine *machine,
                       struct cost_table **costs, struct error *err)
{
    if (!o->costs) return true;
    TRY(plan_costs_read(o->costs, request, costs, err));
    request->measured = *costs;
    if (machine->link_bandwidth <= 0) machine->link_bandwidth = cost_table_link(*costs);
    return true;
}

static bool watch(struct plan_request *request, struct plan_progress *progress, bool silent)
{
    progress->silent = silent;
    request->watch = plan_progress_watch;
    request->watch_context = progress;
    return true;
}

static bool check_outputs(const struct plan_options *o, struct error *err)
{
    struct outputs outputs = {0};
    TRY(outputs_reads(&outputs, "--gpus", o->flags.gpus, err));
    TRY(outputs_reads_list(&outputs, "--costs", o->costs, err));
    if (o->engines && strcmp(o->engines, "auto") != 0) TRY(outputs_writes(&outputs, "--engines", o->engines, err));
    TRY(outputs_writes(&outputs, "--output", o->output, err));
    return outputs_writes(&outputs, "--svg", o->svg, err);
}

/* What a run by the recipe, the model's own where none is named, and the options will need. */
static bool take_update(const struct plan_options *o, struct plan_request *request, struct error *err)
{
    struct recipe recipe = o->recipe_word ? o->recipe : *recipe_for(&request->spec);
    TRY(update_flags_apply(&o->update, &recipe, err));
    request->update = recipe_update_needs(&recipe);
    if (!plan_flags_pytorch(&o->flags) || update_needs_same(&request->update, &(struct update_needs){0})) return true;
    return error_set(
        err, ERROR_INPUT,
        "--strategy pytorch: tells what SGD with momentum takes there, without clipping and averages; found "
        "%s%s%s",
        optimizer_name(request->update.optimizer), request->update.clips ? ", clipping" : "",
        request->update.averages ? ", averages" : "");
}

static int run_plan(const struct plan_options *o, const char *model, struct error *err)
{
    struct plan_request request = {0};
    struct machine machine = {0};
    struct deepest made = {0};
    struct cost_table *costs = NULL;
    struct plan_engines engines = {.command = "plan", .rules.tf32 = o->flags.tf32};
    struct plan_progress progress = plan_progress_begin();
    const struct plan_flags_use use = {.gpus = "auto", .host = backends_for(DEVICE_CPU)};
    int code = 1;
    bool fits;
    if (plan_flags_request(&o->flags, model, &use, &machine, &request, err) && take_update(o, &request, err) &&
        (!plan_flags_pytorch(&o->flags) || plan_pytorch_check(&machine, err)) &&
        watch(&request, &progress, o->max_depth) && set_nodes(o, &machine, err) &&
        read_costs(o, &request, &machine, &costs, err) &&
        plan_engines_begin(o->engines, &machine, &request, &engines, err) &&
        make_plan_of_engines(o, &request, &engines, &made, err) && write_files(o, &request, made.plan, err) &&
        tell(o, &request, &made, &engines, &fits, err) &&
        (!fits || !o->output || plan_engines_build(&engines, made.plan, plan_progress_built, &progress, err)) &&
        plan_engines_save(&engines, err))
        code = fits ? 0 : 1;
    plan_progress_end(&progress);
    plan_destroy(made.plan);
    plan_engines_end(&engines);
    cost_table_destroy(costs);
    machine_finish(&machine);
    return code;
}

static int run(int argc, char **argv, struct error *err)
{
    struct plan_options options = {.spread = NAN, .update = update_flags_none()};
    const char *words[MOST_WORDS] = {0};
    if (!parse_options(argc, argv, &options, words, err) || !check_outputs(&options, err)) return 2;
    if (options.compare) return plan_compare(words[0], words[1], options.json, stdout, err) ? 0 : 1;
    return run_plan(&options, words[0], err);
}

const struct command command_plan = {"plan", "plan a model's memory and say whether it fits these GPUs", plan_manual,
                                     run};
