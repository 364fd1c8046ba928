/* `fathom speed`: the Torch post's table of nets, for the device at hand or a named one. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backends.h"
#include "choice.h"
#include "command.h"
#include "json.h"
#include "json_print.h"
#include "make.h"
#include "page.h"
#include "passes.h"
#include "plan_costs.h"
#include "plan_flags.h"
#include "printable.h"
#include "speed.h"
#include "stop.h"
#include "units.h"

#define MOST_MODELS  32
#define MOST_REPEATS 1000

static const char *const manual[] = {
    "NAME\n"
    "    fathom speed - how long nets take to run forward and backward\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom speed [MODEL...] [--gpus NAME] [--batch N] [--measure] [OPTIONS]\n"
    "\n",

    "DESCRIPTION\n"
    "    Prints the table of the Torch release's post on ResNets\n"
    "    (torch.ch/blog/2016/02/04/resnets.html), or these columns for other models:\n"
    "    parameters, the FLOPs of an image's forward pass, the memory that a training\n"
    "    step is planned with, and how long a forward and a backward pass of a batch\n"
    "    take: as predicted for the device, as measured on it, and as the post has it\n"
    "    for 32 images on one Titan X (Maxwell) with Torch and cuDNN R4; last the\n"
    "    post's top-1 error of one crop on ImageNet. Unknown is -.\n"
    "\n"
    "    A prediction counts the work of each op at the catalogue's speeds of the\n"
    "    device, or as --costs tell; without these the cpu's are not known. A\n"
    "    measurement runs each net under its plan on pixels of noise, with weights as\n"
    "    a training begins: the images' way to the device is part of it, the update is\n"
    "    not. A net that does not fit says so; what is cut into micro-batches or\n"
    "    computed again to fit is told below the table.\n"
    "\n",

    "OPTIONS\n"
    "    -g, --gpus NAME     one device: titan-x, h100 ... (`fathom devices`), cpu, a\n"
    "                        machine file; the GPU at hand, or the cpu, if not given\n"
    "    -b, --batch N       images of a pass; 32, the post's, if not given\n"
    "    --measure           run it, on a device that is here\n"
    "    --repeats N         so many times, of which the median is told, after two\n"
    "                        that do not count; 5 if not given\n"
    "    --costs TRACE,...   predicted from what ops took in traced runs there, as in\n"
    "                        `fathom help plan`\n"
    "    --dtype TYPE        of activations: f32, f16 or bf16; f32 if not given\n"
    "    --fuse LIST         as in `fathom help plan`\n"
    "    --tf32              GPUs: f32 may be multiplied as TF32\n"
    "    --json              one JSON object: device, batch, dtype, models: a list of\n"
    "                        model, parameters, forward_flops, fits, planned_bytes,\n"
    "                        micro_batches, recomputed_convolutions, predicted_ms,\n"
    "                        measured_ms, published_ms and published_top1_error, null\n"
    "                        where it is not known\n"
    "\n"
    "EXIT STATUS\n"
    "    0 done; 1 a measurement failed; 2 the command is wrong\n"
    "\n"
    "EXAMPLES\n"
    "    fathom speed --gpus titan-x\n"
    "    fathom speed resnet-50 inception-v3 --batch 8 --measure\n",
    NULL,
};

struct speed_command {
    struct plan_flags flags;
    struct train_options options;
    const char *words[MOST_MODELS];
    size_t count;
    uint64_t repeats;
    const char *costs_words;
    struct cost_table *costs; /* NULL = the catalogue's */
    bool measure, json;
    struct host_gpus found; /* with measure */
    json_t *rows;           /* with json */
    struct text notes;      /* below the table */
    bool published;         /* of a net in the table */
    double least, most;     /* predicted over published, of the post's own device; 0 = none yet */
};

/* ---- A row ---- */

struct result {
    struct speed_row row;
    double measured_seconds;  /* 0 = not measured */
    double published_seconds; /* for so many images; 0 = not published */
};

/* "427", "63.1", "-" */
static const char *format_ms(double seconds, char out[UNITS_TEXT])
{
    double ms = 1e3 * seconds;
    if (seconds <= 0) return "-";
    snprintf(out, UNITS_TEXT, ms >= 99.95 ? "%.0f" : "%.3g", ms);
    return out;
}

static void print_head(const struct plan *plan)
{
    printf("%s: %u image%s forward and backward in %s\n\n", PRINTABLE_CUT(plan->devices[0].spec.name, 40), plan->batch,
           plan->batch == 1 ? "" : "s", dtype_name(plan->dtype));
    printf("                         GFLOP   planned  predicted  measured  published  top-1\n");
    printf("  model         params an image   memory         ms        ms         ms  error\n");
}

static void print_row(const struct result *r)
{
    char parameters[UNITS_TEXT], memory[UNITS_TEXT], predicted[UNITS_TEXT], measured[UNITS_TEXT], published[UNITS_TEXT];
    char error[UNITS_TEXT] = "-";
    const struct speed_row *row = &r->row;
    if (row->published) snprintf(error, sizeof error, "%.1f %%", 100 * row->published->error);
    printf("  %-13s%7s%9.2f%9s", row->model, units_format_si((double)row->parameters, parameters),
           1e-9 * (double)row->forward_flops, units_format_bytes(row->peak_bytes, memory));
    if (row->fits)
        printf("%11s%10s", format_ms(row->predicted_seconds, predicted), format_ms(r->measured_seconds, measured));
    else
        printf("%21s", "does not fit");
    printf("%11s%7s\n", format_ms(r->published_seconds, published), error);
    fflush(stdout);
}

static json_t *number_or_null(double value) { return value > 0 ? json_real(value) : json_null(); }

static bool add_json(struct speed_command *c, const struct result *r, struct error *err)
{
    const struct speed_row *row = &r->row;
    json_t *object =
        json_pack("{s:s, s:I, s:I, s:b, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "model", row->model, "parameters",
                  (json_int_t)row->parameters, "forward_flops", (json_int_t)row->forward_flops, "fits", (int)row->fits,
                  "planned_bytes", (json_int_t)row->peak_bytes, "micro_batches", (json_int_t)row->micro_batches,
                  "recomputed_convolutions", (json_int_t)row->recomputed, "predicted_ms",
                  number_or_null(row->fits ? 1e3 * row->predicted_seconds : 0), "measured_ms",
                  number_or_null(1e3 * r->measured_seconds), "published_ms", number_or_null(1e3 * r->published_seconds),
                  "published_top1_error", number_or_null(row->published ? row->published->error : 0));
    if (json_array_append_new(c->rows, object) == 0) return true;
    return error_memory(err, 1024, "a row");
}

/* What the row does not show. */
static void note(struct speed_command *c, const struct plan *plan, const struct result *r)
{
    const struct speed_row *row = &r->row;
    if (row->fits && (row->micro_batches > 1 || row->recomputed > 0)) {
        text_add(&c->notes, "%s:", row->model);
        if (row->micro_batches > 1) text_add(&c->notes, " in %u micro-batches", row->micro_batches);
        if (row->recomputed > 0)
            text_add(&c->notes, "%s %u convolution%s twice", row->micro_batches > 1 ? "," : "", row->recomputed,
                     row->recomputed == 1 ? " runs" : "s run");
        text_add(&c->notes, " to fit. ");
    }
    double ratio = r->published_seconds > 0 ? row->predicted_seconds / r->published_seconds : 0;
    if (strcmp(plan->devices[0].spec.name, "titan-x") != 0 || ratio <= 0 || !row->fits) return;
    if (c->least <= 0 || ratio < c->least) c->least = ratio;
    if (ratio > c->most) c->most = ratio;
}

static void print_foot(struct speed_command *c)
{
    struct text text = {0};
    if (c->most > c->least)
        text_add(&text, "Predicted times are %.2f to %.2f of the published ones. ", c->least, c->most);
    else if (c->least > 0)
        text_add(&text, "The predicted time is %.2f of the published one. ", c->least);
    if (c->notes.length > 0) text_add(&text, "%s", c->notes.bytes);
    if (c->published) text_add(&text, "Published: 32 images on one Titan X, Torch with cuDNN R4, 2016.");
    if (text.length > 0) putchar('\n');
    page_text(stdout, 0, 0, &text);
}

/* ---- From a model to a row ---- */

static bool find_backend(struct speed_command *c, const struct plan *plan, const struct backend **backend,
                         struct error *err)
{
    *backend = backends_for(plan->devices[0].spec.kind);
    if (!*backend)
        return error_set(err, ERROR_INPUT, "--measure: the device is a GPU (%s), and this build has no CUDA",
                         plan->devices[0].spec.name);
    backend_check(*backend);
    if (backends_on_host((*backend)->name)) return true;
    return host_gpus_run(&c->found, plan, 0, 1, 0, err) || error_prefix(err, "--measure");
}

static bool measure(struct speed_command *c, const struct plan *plan, struct result *result, struct error *err)
{
    const struct backend *backend;
    struct passes_time time;
    TRY(find_backend(c, plan, &backend, err));
    if (!passes_measure(plan, backend, &c->options, (uint32_t)c->repeats, &time, err))
        return error_prefix(err, "%s", plan->spec.name);
    result->measured_seconds = time.seconds;
    return true;
}

static bool make_row(struct speed_command *c, const struct plan *plan, bool first, struct error *err)
{
    struct result r = {0};
    TRY(speed_row_of(plan, c->costs, &r.row, err));
    if (r.row.published && plan->batch == SPEED_PUBLISHED_BATCH) r.published_seconds = r.row.published->seconds;
    if (c->measure && r.row.fits) TRY(measure(c, plan, &r, err));
    if (c->json) return add_json(c, &r, err);
    if (first) print_head(plan);
    print_row(&r);
    c->published = c->published || r.row.published;
    note(c, plan, &r);
    return true;
}

static bool print_json(struct speed_command *c, const struct plan *plan, struct error *err)
{
    json_t *object = json_pack("{s:o, s:I, s:s, s:O}", "device", json_text(plan->devices[0].spec.name), "batch",
                               (json_int_t)plan->batch, "dtype", dtype_name(plan->dtype), "models", c->rows);
    return json_print(object, 6, stdout, err);
}

static bool take_model(struct speed_command *c, size_t i, struct error *err)
{
    const struct plan_flags_use use = {.gpus = "auto",
                                       .found = c->measure ? &c->found : NULL,
                                       .host = backends_for(DEVICE_CPU),
                                       .now = !c->flags.gpus}; /* one of several GPUs */
    const char *name = c->count > 0 ? c->words[i] : speed_published_at(i)->model;
    struct plan_request request = {0};
    struct machine machine = {0};
    struct plan *plan = NULL;
    bool ok = plan_flags_request(&c->flags, name, &use, &machine, &request, err);
    if (ok && machine.device_count > 1)
        ok = error_set(err, ERROR_INPUT, "--gpus: found %zu devices, expected one", machine.device_count);
    if (ok && c->costs_words && !c->costs) ok = plan_costs_read(c->costs_words, &request, &c->costs, err);
    request.measured = c->costs;
    if (ok) plan = plan_make(&request, err);
    ok = plan && make_row(c, plan, i == 0, err);
    bool last = c->count > 0 ? i + 1 == c->count : !speed_published_at(i + 1);
    if (ok && last && c->json) ok = print_json(c, plan, err);
    plan_destroy(plan);
    machine_finish(&machine);
    return ok;
}

/* ---- The command ---- */

static bool parse_options(int argc, char **argv, struct speed_command *c, struct error *err)
{
    const struct option_spec specs[] = {
        {"gpus", 'g', OPTION_TEXT, &c->flags.gpus, 0, 0},
        {"batch", 'b', OPTION_COUNT, &c->flags.batch, 1, UINT32_MAX},
        {"costs", 0, OPTION_TEXT, &c->costs_words, 0, 0},
        {"measure", 0, OPTION_FLAG, &c->measure, 0, 0},
        {"repeats", 0, OPTION_COUNT, &c->repeats, 1, MOST_REPEATS},
        {"dtype", 0, OPTION_TEXT, &c->flags.dtype, 0, 0},
        {"fuse", 0, OPTION_TEXT, &c->flags.fuse, 0, 0},
        {"tf32", 0, OPTION_FLAG, &c->flags.tf32, 0, 0},
        {"json", 0, OPTION_FLAG, &c->json, 0, 0},
    };
    TRY(options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], c->words, MOST_MODELS, &c->count, err));
    if (c->repeats > 0 && !c->measure)
        return error_set(err, ERROR_INPUT, "--repeats: found without --measure, with which it goes");
    if (c->repeats == 0) c->repeats = 5;
    if (c->flags.batch == 0) c->flags.batch = SPEED_PUBLISHED_BATCH;
    if (c->flags.gpus && choice_same(c->flags.gpus, "auto")) c->flags.gpus = NULL;
    return true;
}

/* All names are looked at before the first net is planned. */
static bool check_models(const struct speed_command *c, struct error *err)
{
    struct model_spec unused;
    for (size_t i = 0; i < c->count; i++) TRY(model_parse(c->words[i], &MODEL_OPTIONS_DEFAULT, &unused, err));
    return true;
}

static int run(int argc, char **argv, struct error *err)
{
    struct speed_command c = {0};
    if (!parse_options(argc, argv, &c, err) || !check_models(&c, err)) return 2;
    if (c.measure && host_gpus_possible()) host_gpus_find(&c.found);
    c.options.tf32 = c.flags.tf32;
    c.options.stop = stop_flag();
    if (c.measure) stop_catch();
    c.rows = json_array();
    bool ok = c.rows || error_memory(err, 64, "the table");
    for (size_t i = 0; ok && (c.count > 0 ? i < c.count : speed_published_at(i) != NULL); i++)
        ok = take_model(&c, i, err);
    if (ok && !c.json) print_foot(&c);
    cost_table_destroy(c.costs);
    json_decref(c.rows);
    text_finish(&c.notes);
    return ok ? 0 : 1;
}

const struct command command_speed = {"speed", "how long nets take forward and backward, beside what was published",
                                      manual, run};
