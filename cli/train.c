#define _GNU_SOURCE
#include "command.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends.h"
#include "disk.h"
#include "files.h"
#include "mem.h"
#include "outputs.h"
#include "printable.h"
#include "stop.h"
#include "together.h"
#include "train_command.h"
#include "train_learning.h"
#include "train_profile.h"
#include "train_ranks.h"
#include "train_run.h"
#include "train_trace.h"
#include "train_words.h"

static bool choose_folders(struct train_command *c, struct error *err)
{
    struct train_options *o = &c->options;
    o->save_folder = train_ranks_folder(c);
    if ((o->save_every > 0 || o->keep > 0) && !o->save_folder)
        return error_set(err, ERROR_INPUT, "--%s: --save DIR says where to", o->keep > 0 ? "keep" : "save-every");
    if (o->resume_folder) o->weights = NULL; /* it has weights of its own */
    return true;
}

/* ---- Inputs and outputs ---- */

/* What is new there would be taken for an image, a label or a checkpoint the next time. */
static bool check_place(const struct train_command *c, const char *flag, const char *path, struct error *err)
{
    char resolved[FILES_PATH];
    if (!path) return true;
    if (dataset_reads(c->options.data_path, path))
        return error_set(err, ERROR_INPUT, "%s: %s would be a part of the dataset in %s; name another place", flag,
                         path, c->options.data_path);
    const char *name = files_resolve(path, resolved) ? strrchr(resolved, '/') : NULL;
    if (name && checkpoint_names_one(name + 1))
        return error_set(err, ERROR_INPUT, "%s: %s is the name of a checkpoint; name another file", flag, path);
    return true;
}

static bool check_outputs(const struct train_command *c, struct error *err)
{
    const struct train_options *o = &c->options;
    struct outputs outputs = {0};
    TRY(outputs_reads(&outputs, "fathom train", train_command_names_file(c->word) ? c->word : NULL, err));
    TRY(outputs_reads(&outputs, "--gpus", c->flags.gpus, err));
    if (c->recipe_word && recipe_names_file(c->recipe_word))
        TRY(outputs_reads(&outputs, "--recipe", c->recipe_word, err));
    TRY(outputs_reads(&outputs, "--resume", o->resume_folder ? c->checkpoint : NULL, err));
    TRY(outputs_reads(&outputs, "--weights", o->weights ? c->checkpoint : NULL, err));
    if (c->engines && strcmp(c->engines, "auto") != 0)
        TRY(train_command_names_file(c->word) ? outputs_reads(&outputs, "--engines", c->engines, err)
                                              : outputs_writes(&outputs, "--engines", c->engines, err));
    TRY(outputs_writes(&outputs, o->save_flag ? o->save_flag : "--save", o->save_folder, err));
    TRY(outputs_writes(&outputs, "--log", o->log_path, err));
    TRY(outputs_writes(&outputs, "--trace", c->trace, err));
    TRY(check_place(c, o->save_flag ? o->save_flag : "--save", o->save_folder,
                    err)); /* a folder of checkpoints would be a class */
    TRY(check_place(c, "--log", o->log_path, err));
    return check_place(c, "--trace", c->trace, err);
}

/* ---- Running ---- */

static bool claim_folder(struct train_command *c, const struct plan *plan, struct error *err)
{
    const struct train_options *o = &c->options;
    if (!o->save_folder || c->quiet) return true;
    if (!checkpoint_claim(&c->claim, o->save_folder, err))
        return error_prefix(err, "%s", c->run_folder ? "--run" : "--save");
    return train_run_claimed(c, plan, err);
}

/* Writes nothing. */
static bool check(struct train_command *c, const struct plan *plan, struct error *err)
{
    if (c->options.loss_scale > 0 && plan->dtype != DTYPE_F16)
        return error_set(err, ERROR_INPUT, "--loss-scale: found for activations in %s; only f16 has a loss scale",
                         dtype_name(plan->dtype));
    if (c->options.flow_every > 0 && plan->variants[0].graph->block_count == 0)
        return error_set(err, ERROR_INPUT, "--flow-every: %s has no residual units whose norms could be taken",
                         plan->spec.name);
    c->part = train_part(plan, c->ranks);
    TRY(train_command_backend(c, plan, err));
    if (c->options.near) TRY(nics_choose(c->ranks, (uint32_t)plan->device_count, c->options.near, c->nics, err));
    TRY(train_command_carried(c, err));
    TRY(train_check_memory(plan, c->runs_on, &c->part, err));
    TRY(train_learning_take(c, &plan->spec, err) && train_command_data(c, plan->spec.image_size, err));
    TRY(train_learning_choose(c, plan, err) && train_check_options(&c->options, err));
    TRY(train_check_dataset(plan, &c->options, c->options.dataset, err));
    TRY(train_check_decoding(plan, &c->options, &c->decoding, c->options.dataset, err));
    return true;
}

/* Now that the folder is there. */
static bool check_disk(const struct train_command *c, const struct plan *plan, struct error *err)
{
    char warning[DISK_WORDS];
    TRY(train_check_disk(plan, &c->options, c->trace, c->resumed, warning, err));
    if (*warning) fprintf(stderr, "fathom train: %s\n", PRINTABLE(warning));
    return true;
}

/* What a mistyped command gets wrong is found before the trace of an earlier run is replaced. */
static bool prepare(struct train_command *c, const struct plan *plan, struct error *err)
{
    if (c->top) TRY(progress_try_dashboard(c->trace, err));
    TRY(train_ranks_check_alone(c, err) && together_begin(c->ranks, plan, c->options.command, err));
    TRY(check(c, plan, err));
    if (!c->strict) TRY((c->options.broken = broken_images_create(err)) != NULL);
    TRY(ranks_agree(c->ranks, "the dataset", dataset_hash(c->options.dataset), err));
    TRY(choose_folders(c, err));
    if (c->options.resume_folder)
        TRY(train_find_resume(c->options.resume_folder, c->checkpoint, &c->resumed, err) &&
            train_check_resume(plan, &c->options, c->options.dataset, c->checkpoint, err));
    if (c->options.weights)
        TRY(train_find_weights(c->options.weights, c->checkpoint, &c->weights_classes, err) &&
            train_check_weights(plan, &c->options, c->checkpoint, err));
    TRY(check_outputs(c, err));
    TRY(train_trace_choose(c, err));
    TRY(claim_folder(c, plan, err));
    if (c->run_folder) TRY(ranks_barrier(c->ranks, err)); /* it is there before others put their traces there */
    return train_try_outputs(&c->options, err) && check_disk(c, plan, err);
}

struct reporting {
    struct train_command *command;
    const struct plan *plan;
};

static void see_step(void *context, const struct train_status *status)
{
    const struct reporting *r = context;
    run_record_see(r->command->record, status);
    progress_show(&r->command->progress, status);
}

static bool tell_summary(const struct train_command *c, const struct plan *plan, bool as_planned,
                         const struct train_result *own, struct error *err)
{
    uint32_t ranks = ranks_place(c->ranks).size;
    struct train_result *results = mem_zalloc(MEM_GENERAL, ranks, sizeof *results);
    if (!results) return error_memory(err, ranks * sizeof *results, "what ranks tell at the end");
    bool ok = together_gather_results(c->ranks, own, results, err);
    if (ok && !c->quiet) progress_summary(plan, as_planned, results, ranks);
    mem_free(results);
    return ok;
}

/* A step may take minutes, and nothing is to be seen meanwhile. */
static void answer_stops(const struct train_command *c)
{
    if (c->quiet || c->top || !isatty(STDERR_FILENO)) return;
    stop_answer(c->options.save_folder
                    ? "\nthe step comes to its end, then a checkpoint is written; another Ctrl-C ends the run at once\n"
                    : "\nthe step comes to its end; another Ctrl-C ends the run at once\n");
}

static bool train_reporting(void *context, struct trace_sink *sink, struct error *err)
{
    struct reporting *r = context;
    struct train_command *c = r->command;
    const struct plan *plan = r->plan;
    struct train_result result;
    c->progress = progress_begin();
    c->teller = (struct teller){progress_tell, &c->progress};
    if (!c->quiet) c->options.teller = &c->teller;
    answer_stops(c);
    stop_catch();
    train_words_begin(plan, c, c->runs_on);
    if (c->top) TRY(progress_dashboard(&c->progress, c->trace, err)); /* gives the screen back as it was */
    bool ok = train_run(plan, c->runs_on, &c->options, sink, see_step, r, &result, err);
    ok = train_run_end(c, &result, ok, err);
    progress_end(&c->progress);
    stop_answer(NULL);
    ok = ok && together_gather_broken(c->ranks, c->options.broken, err);
    bool on_host = backends_on_host(c->runs_on->name),
         as_planned = on_host == (plan->devices[0].spec.kind == DEVICE_CPU);
    bool idle = result.stopped && result.steps == result.first;
    if (ok && !idle) ok = tell_summary(c, plan, as_planned, &result, err);
    if (!c->quiet) progress_broken(c->options.broken);
    if (result.stopped || (!ok && result.steps > result.first)) train_words_stopped(c, &result);
    return ok;
}

/* For looking for mistakes: how many steps beyond the one looked at are in flight. */
static bool read_lag(struct train_options *o, struct error *err)
{
    const char *text = getenv("FATHOM_LAG");
    if (!text) return true;
    if (text[0] < '0' || text[0] >= (char)('0' + TRAIN_MOST_IN_FLIGHT) || text[1] != '\0')
        return error_set(err, ERROR_INPUT, "FATHOM_LAG: is '%s'; 0 to %u is possible", text, TRAIN_MOST_IN_FLIGHT - 1);
    o->in_flight = (uint32_t)(text[0] - '0') + 1;
    return true;
}

#define MOST_FLAGS     128
#define OPTIONS(specs) (sizeof(specs) / sizeof((specs)[0]))

/* Returns how many there are. */
static size_t list_options(struct train_command *c, struct option_spec specs[MOST_FLAGS])
{
    struct train_options *o = &c->options;
    const struct option_spec own[] = {
        {"data", 0, OPTION_TEXT, &o->data_path, 0, 0},
        {"seed", 0, OPTION_COUNT, &o->seed, 0, 0},
        {"save", 0, OPTION_TEXT, &o->save_folder, 0, 0},
        {"save-every", 0, OPTION_COUNT, &o->save_every, 1, 1e15},
        {"keep", 0, OPTION_COUNT, &o->keep, 1, 1e9},
        {"weights", 0, OPTION_TEXT, &o->weights, 0, 0},
        {"run", 0, OPTION_TEXT, &c->run_folder, 0, 0},
        {"resume", 0, OPTION_TEXT, &o->resume_folder, 0, 0},
        {"log", 0, OPTION_TEXT, &o->log_path, 0, 0},
        {"trace", 0, OPTION_TEXT, &c->trace, 0, 0},
        {"trace-queue", 0, OPTION_BYTES, &c->trace_queue, 24 << 10, 1 << 30},
        {"top", 0, OPTION_FLAG, &c->top, 0, 0},
        {"time-every", 0, OPTION_COUNT, &c->time_every, 1, 1e9},
        {"flow-every", 0, OPTION_COUNT, &o->flow_every, 1, 1e15},
        {"record-steps", 0, OPTION_TEXT, &c->record_steps, 0, 0},
        {"backend", 0, OPTION_TEXT, &c->backend, 0, 0},
        {"loader-threads", 0, OPTION_COUNT, &c->loader_threads, 1, 256},
        {"strict", 0, OPTION_FLAG, &c->strict, 0, 0},
        {"repeat-batch", 0, OPTION_FLAG, &o->repeat_batch, 0, 0},
        {"fill-dead", 0, OPTION_FLAG, &o->fill_dead, 0, 0},
        {"deterministic", 0, OPTION_FLAG, &o->deterministic, 0, 0},
        {"tune", 0, OPTION_FLAG, &o->tune, 0, 0},
        {"engines", 0, OPTION_TEXT, &c->engines, 0, 0},
        {"no-graph", 0, OPTION_FLAG, &o->no_recordings, 0, 0},
        {"processes", 0, OPTION_FLAG, &c->processes, 0, 0},
        {"threads", 0, OPTION_FLAG, &c->threads, 0, 0},
        {"restarts", 0, OPTION_COUNT, &c->restarts, 0, 1000},
        {"timeout", 0, OPTION_REAL, &o->wait_seconds, 0.1, 1e6},
    };
    _Static_assert(OPTIONS(own) + TRAIN_LEARNING_FLAGS + PLAN_FLAGS <= MOST_FLAGS, "room for all");
    memcpy(specs, own, sizeof own);
    train_learning_specs(c, specs + OPTIONS(own));
    plan_flags_specs(&c->flags, specs + OPTIONS(own) + TRAIN_LEARNING_FLAGS);
    return OPTIONS(own) + TRAIN_LEARNING_FLAGS + PLAN_FLAGS;
}

bool train_option_takes_value(const char *name)
{
    struct train_command c = {0};
    struct option_spec specs[MOST_FLAGS];
    size_t count = list_options(&c, specs);
    for (size_t i = 0; i < count; i++)
        if (strcmp(specs[i].name, name) == 0) return specs[i].type != OPTION_FLAG;
    return false;
}

/* A run's folder has the plan that it goes on with. */
static bool refuse_no_word(const char *folder, struct error *err)
{
    char plan[4096];
    if (folder && snprintf(plan, sizeof plan, "%s/plan.json", folder) < (int)sizeof plan && access(plan, R_OK) == 0)
        return error_set(err, ERROR_INPUT,
                         "a plan file or a model is wanted; that of the run is there: fathom train %s --resume %s "
                         "--data DIR",
                         plan, folder);
    if (folder && access(folder, F_OK) != 0)
        return error_set(err, ERROR_INPUT,
                         "--resume: %s is not there (%s); the folder of a run or a checkpoint is wanted, and before it "
                         "a plan file or a model",
                         folder, strerror(errno));
    return error_set(err, ERROR_INPUT, "a plan file or a model is wanted; --help shows the usage");
}

static bool parse_command(int argc, char **argv, struct train_command *c, const char **word, struct error *err)
{
    struct train_options *o = &c->options;
    struct option_spec specs[MOST_FLAGS];
    size_t words, count = list_options(c, specs);
    TRY(options_parse(argc, argv, specs, count, word, 1, &words, err));
    *word = options_input(*word);
    o->tf32 = c->flags.tf32;
    c->saves = o->save_folder != NULL;
    if (words == 0) return refuse_no_word(o->resume_folder, err);
    if (!o->data_path)
        return error_set(err, ERROR_INPUT, "--data: a dataset is wanted; `fathom data synth DIR` makes one");
    TRY(train_run_choose(c, err));
    TRY(train_profile_steps(c->record_steps, &c->recorded_first, &c->recorded_count, err));
    if (c->record_steps && !c->trace)
        return error_set(err, ERROR_INPUT,
                         "--record-steps: what is recorded goes to a trace; --trace FILE is wanted with it");
    if (o->flow_every && !c->trace)
        return error_set(err, ERROR_INPUT, "--flow-every: norms go to a trace; --trace FILE is wanted with it");
    if (c->top && !c->trace) return error_set(err, ERROR_INPUT, "--top: shows a trace; --trace FILE is wanted with it");
    return train_ranks_check(c, err) && train_learning_recipe(c, train_command_names_file(*word), err);
}

static struct train_command nothing_given(void)
{
    return (struct train_command){.change = {NULL, NAN, UINT64_MAX},
                                  .label_smoothing = NAN,
                                  .bn_momentum = NAN,
                                  .color_jitter = NAN,
                                  .lighting = NAN,
                                  .bn_recompute = UINT64_MAX,
                                  .update = update_flags_none()};
}

static void fill_preview(const struct train_command *c, const struct plan *plan, struct train_preview *p)
{
    p->iterations = c->options.iterations;
    p->batch = plan->batch;
    p->planned_bytes = run_record_planned_bytes(plan, c->runs_on, &c->part);
    bool as_planned = backends_on_host(c->runs_on->name) == (plan->devices[0].spec.kind == DEVICE_CPU);
    p->step_seconds = as_planned ? plan->step_seconds : 0;
    snprintf(p->recipe, sizeof p->recipe, "%s", c->recipe.name);
}

bool train_preview(int argc, char **argv, struct train_preview *preview, struct error *err)
{
    struct train_command c = nothing_given();
    TRY(parse_command(argc, argv, &c, &c.word, err));
    c.options.loader_threads = (uint32_t)c.loader_threads;
    bool same = preview->dataset && strcmp(preview->data, c.options.data_path) == 0;
    if (same) {
        c.options.dataset = preview->dataset;
        c.decoding = preview->decoding;
    }
    struct plan *plan = train_command_plan(&c, err);
    bool ok = plan && check(&c, plan, err);
    if (ok) fill_preview(&c, plan, preview);
    if (!same) {
        dataset_close(preview->dataset);
        preview->dataset = c.options.dataset;
        preview->decoding = c.decoding;
        snprintf(preview->data, sizeof preview->data, "%s", c.options.dataset ? c.options.data_path : "");
    }
    engine_book_finish(&c.carried);
    plan_destroy(plan);
    return ok;
}

static int run(int argc, char **argv, struct error *err)
{
    struct train_command c = nothing_given();
    struct text command = {0};
    if (!read_lag(&c.options, err) || !parse_command(argc, argv, &c, &c.word, err)) return 2;
    c.options.loader_threads = (uint32_t)c.loader_threads;
    bool joined = train_ranks_open(&c, err);
    train_run_settle(&c);
    struct plan *plan = joined ? train_ranks_plan(&c, err) : NULL;
    int code = plan && train_ranks_starts(&c, plan) ? train_ranks_start(&c, plan, argc, argv, err) : -1;
    train_words_command(argc, argv, &command);
    c.options.command = command.failed ? NULL : command.bytes;
    c.options.stop = stop_flag();
    bool ok = code < 0 && plan && prepare(&c, plan, err) &&
              train_trace_run(&c, plan, train_run_begin, train_reporting,
                              &(struct reporting){.command = &c, .plan = plan}, err);
    if (c.record) train_run_end(&c, &(struct train_result){0}, ok, err);
    checkpoint_release(&c.claim);
    if (code < 0) code = train_ranks_finish(&c, ok, err);
    engine_book_finish(&c.carried);
    dataset_close(c.options.dataset);
    broken_images_destroy(c.options.broken);
    text_finish(&command);
    plan_destroy(plan);
    return code;
}

const struct command command_train = {"train", "train a network under its plan", train_manual, run};
