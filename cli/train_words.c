/* `fathom train`: what it says before a run and after one that did not come to its end. */
#define _GNU_SOURCE
#include "train_words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cpu_threads.h"
#include "engine_lowering.h"
#include "page.h"
#include "plan_words.h"
#include "printable.h"
#include "stop.h"
#include "train_learning.h"
#include "units.h"

/* ---- The command line ---- */

/* As bash, ksh and zsh take words whose control characters a terminal should not see. */
static void add_escaped(struct text *text, const char *word)
{
    text_add(text, " $'");
    for (; *word; word++) {
        unsigned char byte = (unsigned char)*word;
        bool plain = byte > 0x20 && byte < 0x7F && byte != '\'' && byte != '\\';
        text_add(text, plain ? "%c" : "\\x%02x", byte);
    }
    text_add(text, "'");
}

/* A blank and a word as a shell takes it. */
static void add_word(struct text *text, const char *word)
{
    if (*word &&
        word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")] == '\0') {
        text_add(text, " %s", word);
        return;
    }
    if (!is_printable(word)) {
        add_escaped(text, word);
        return;
    }
    text_add(text, " '");
    for (; *word; word++) {
        if (*word == '\'') text_add(text, "'\\'");
        text_add_bytes(text, word, 1);
    }
    text_add(text, "'");
}

void train_words_command(int argc, char **argv, struct text *text)
{
    text_add(text, "fathom");
    for (int i = 0; i < argc; i++) add_word(text, argv[i]);
}

/* ---- After a run that did not come to its end ---- */

/* Where the folder has later steps, which are another run's, the step that was saved is named. */
static const char *find_from(const struct train_options *o, uint64_t saved, char file[CHECKPOINT_PATH])
{
    char newest[CHECKPOINT_PATH];
    bool last = checkpoint_of_step(o->save_folder, saved, file) && checkpoint_find(o->save_folder, newest, NULL) &&
                strcmp(newest, file) == 0;
    return last ? o->save_folder : file;
}

/* How to go on. Every option counts for the steps that are left, so the whole command is told again; of options that
 * are given twice the later one counts. */
static void say_again(const struct train_command *c, bool wrote, uint64_t saved)
{
    const struct train_options *o = &c->options;
    char file[CHECKPOINT_PATH];
    struct text again = {0};
    const char *from = wrote ? find_from(o, saved, file) : o->resume_folder;
    text_add(&again, "%s", o->command);
    if (!o->resume_folder || strcmp(o->resume_folder, from) != 0) {
        text_add(&again, " --resume");
        add_word(&again, from);
    }
    if (from == file && !c->saves) {
        text_add(&again, " --save");
        add_word(&again, o->save_folder);
    }
    if (!again.failed) printf("  %s\n", again.bytes);
    text_finish(&again);
}

void train_words_stopped(const struct train_command *c, const struct train_result *result)
{
    const struct train_options *o = &c->options;
    struct text line = {0};
    int number = result->stop;
    /* It may not have come to reading the checkpoint. */
    uint64_t steps = result->steps > c->resumed ? result->steps : c->resumed;
    bool known = result->saved != UINT64_MAX,
         wrote = o->save_folder && known && !(o->resume_folder && result->saved == c->resumed);
    text_add(&line, "stopped%s%s after step %" PRIu64 " of %" PRIu64, number ? " by " : "",
             number ? stop_name(number) : "", steps, o->iterations);
    if (wrote)
        text_add(&line, "; the checkpoint of step %" PRIu64 " is in %s", result->saved, o->save_folder);
    else
        text_add(&line, !o->save_folder ? "; nothing was saved: --save DIR keeps checkpoints"
                        : known         ? "; no further checkpoint was written"
                                        : "; no checkpoint was written");
    bool saved = o->save_folder && known;
    if (saved && o->command) text_add(&line, ". To go on:");
    page_text(stdout, 0, 2, &line);
    if (saved && o->command) say_again(c, wrote, result->saved);
}

/* ---- Before a run ---- */

/* A run that takes several times as long as it might says why. */
static void say_threads(const struct train_part *part)
{
    uint32_t wanted = train_device_threads(part), granted = cpu_threads_allowed(wanted);
    if (granted >= wanted) return;
    fprintf(stderr,
            "note: the environment leaves %" PRIu32 " thread%s of the %" PRIu32
            " that there are processors for (OMP_THREAD_LIMIT, OMP_MAX_ACTIVE_LEVELS)\n",
            granted, granted == 1 ? "" : "s", wanted);
}

/* A plan for runs with --tf32, run without: its fused convolutions have no engines. */
static void say_tf32(const struct train_command *c, const struct plan *plan)
{
    if (plan->dtype != DTYPE_F32 || c->options.tf32 || !engine_lowering_rounds(plan->lowering)) return;
    if (strcmp(c->runs_on->name, "cuda") != 0) return; /* the other is plain loops */
    fprintf(stderr, "note: the plan fuses what cuDNN does in TF32 alone; without --tf32 it is taken apart\n");
}

static void add_span(struct text *text, const char *what, uint32_t first, uint32_t last)
{
    if (first == last)
        text_add(text, "%s %" PRIu32, what, first);
    else
        text_add(text, "%ss %" PRIu32 " to %" PRIu32, what, first, last);
}

#define TOLD_HOSTS 8u

/* Which rank runs what: a line for each run of ranks on one host. */
static void say_ranks(const struct ranks *ranks)
{
    uint32_t size = ranks_place(ranks).size, hosts = 0, first, last, of_last, unused;
    printf("%" PRIu32 " ranks, started by %s\n", size, ranks_launcher(ranks));
    for (uint32_t from = 0, to; from < size; from = to, hosts++) {
        const struct ranks_place *place = ranks_place_of(ranks, from);
        struct text line = {0};
        for (to = from + 1; to < size && ranks_place_of(ranks, to)->machine == place->machine;) to++;
        if (hosts >= TOLD_HOSTS) continue;
        ranks_devices_of(ranks, from, &first, &unused);
        ranks_devices_of(ranks, to - 1, &last, &of_last);
        text_add(&line, "host %s: ", PRINTABLE(place->host));
        add_span(&line, "rank", from, to - 1);
        text_add(&line, ", ");
        add_span(&line, "device", first, last + of_last - 1);
        page_text(stdout, 2, 4, &line);
    }
    if (hosts > TOLD_HOSTS) printf("  ... on %" PRIu32 " hosts\n", hosts);
}

/* Of the first rank's host; others have as many. */
static void say_nics(const char *nics)
{
    struct text line = {0};
    text_add(&line, "network cards near the GPUs: %s, for NCCL alone (" NICS_VARIABLE " names others)", nics + 1);
    page_text(stdout, 0, 2, &line);
}

static void say_weights(const struct train_command *c, const struct plan *plan)
{
    printf("weights of %s", PRINTABLE(c->checkpoint));
    if (c->weights_classes > 0 && c->weights_classes != plan->spec.classes)
        printf("; its classifier has %u classes: one of %u begins anew", c->weights_classes, plan->spec.classes);
    putchar('\n');
}

/* What stays is worth something in weights that have learnt alone. */
static void say_unlearnt(const struct plan *plan)
{
    char layers[WORDS_FROZEN];
    if (plan->frozen > 0)
        page_say(
            stdout, 0, 2,
            "note: the weights of what is frozen (%s) stay as they are drawn; --weights brings some that have learnt",
            words_frozen(plan->frozen, layers));
    else if (plan->freeze_bn)
        page_say(stdout, 0, 2,
                 "note: the running statistics stay 0 and 1, which normalise nothing; --weights brings those of a net "
                 "that has learnt");
}

static uint32_t count_untested(const struct dataset *dataset)
{
    uint32_t count = 0;
    for (uint32_t label = 0; label < dataset_info(dataset)->classes; label++)
        count += dataset_class_images(dataset, false, label) == 0;
    return count;
}

/* Small classes have no pictures for tests, which a test's error does not say. */
static void say_divided(const struct train_command *c)
{
    char all[UNITS_TEXT], tests[UNITS_TEXT];
    struct text line = {0};
    const struct dataset_info *info = dataset_info(c->options.dataset);
    if (!info->divided) return;
    uint32_t untested = count_untested(c->options.dataset);
    text_add(&line, "%s has no train/ and test/: ", PRINTABLE(c->options.data_path));
    units_format_count(info->train_images + info->test_images, all);
    if (info->test_images == 0)
        text_add(&line, "none of its %s pictures is for tests, as each class has fewer than %u: no error will be known",
                 all, DATA_TEST_LEAST);
    else
        text_add(&line, "of its %s pictures every tenth of a class, %s, is for tests", all,
                 units_format_count(info->test_images, tests));
    if (info->test_images > 0 && untested > 0)
        text_add(&line, "; %u class%s fewer than %u and %s not tested", untested, untested == 1 ? " has" : "es have",
                 DATA_TEST_LEAST, untested == 1 ? "is" : "are");
    page_text(stdout, 0, 2, &line);
}

/* Whether rates follow the number of steps: a cosine, a recipe's steps, and its warm-up where that is not over. */
static bool rate_follows_length(const struct train_command *c, uint32_t batch)
{
    const struct schedule *now = &c->options.schedule;
    struct schedule before = schedule_for(&c->recipe, c->run_iterations, batch);
    if (!schedule_change(&before, &c->change, NULL)) return false;
    if (now->kind == SCHEDULE_COSINE) return true;
    bool warms = c->resumed < before.warm_steps || c->resumed < now->warm_steps;
    if (warms && before.warm_steps != now->warm_steps) return true;
    return now->kind == SCHEDULE_STEPS && memcmp(before.drops, now->drops, now->drop_count * sizeof *now->drops) != 0;
}

/* The number of steps is not kept with a checkpoint. */
static void say_other_length(const struct train_command *c, const struct plan *plan)
{
    char before[UNITS_TEXT], now[UNITS_TEXT];
    if (!c->run_iterations || c->run_iterations == c->options.iterations || !rate_follows_length(c, plan->batch))
        return;
    printf("the run was begun for %s steps and goes on to %s, so the rate changes at other steps than it would have",
           units_format_count(c->run_iterations, before), units_format_count(c->options.iterations, now));
    if (c->run_iterations > c->resumed) printf("; --iterations %" PRIu64 " leaves it as it was", c->run_iterations);
    putchar('\n');
}

void train_words_begin(const struct plan *plan, const struct train_command *c, const struct backend *backend)
{
    char bytes[UNITS_TEXT];
    const struct train_part all = {.count = (uint32_t)plan->device_count};
    printf("%s, batch %u on %zu %s device%s, peak of %s planned, %" PRIu64 " step%s\n", plan->spec.name, plan->batch,
           plan->device_count, backend->name, plan->device_count == 1 ? "" : "s",
           units_format_bytes(train_planned_bytes(plan, NULL, &all), bytes), c->options.iterations,
           c->options.iterations == 1 ? "" : "s");
    if (c->ranks) say_ranks(c->ranks);
    if (*c->nics) say_nics(c->nics);
    train_learning_say(c, plan);
    say_divided(c);
    if (c->options.weights) say_weights(c, plan);
    if (!c->options.weights && !c->options.resume_folder) say_unlearnt(plan);
    if (c->options.resume_folder)
        printf("going on after step %" PRIu64 ", from %s\n", c->resumed, PRINTABLE(c->checkpoint));
    say_other_length(c, plan);
    if (c->run_begins_again) printf("nothing of the run in %s was saved: it begins again\n", PRINTABLE(c->run_folder));
    if (*c->trace_note) printf("%s: %s\n", PRINTABLE(c->trace), c->trace_note);
    fflush(stdout);
    if (!c->quiet) say_threads(&c->part);
    if (!c->quiet) say_tf32(c, plan);
}
