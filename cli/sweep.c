/* `fathom sweep`: a table of runs. */
#define _GNU_SOURCE
#include "command.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "files.h"
#include "locks.h"
#include "mem.h"
#include "outputs.h"
#include "page.h"
#include "printable.h"
#include "run_folder.h"
#include "stop.h"
#include "sweep_report.h"
#include "train_words.h"

#define MOST_WORDS 64

static const char *const manual[] = {
    "NAME\n"
    "    fathom sweep - run a table of runs, over several seeds\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom sweep FILE --data DIR [-o DIR] [OPTIONS] [-- TRAIN_OPTIONS]\n"
    "\n",

    "DESCRIPTION\n"
    "    Runs `fathom train` for each row of the file with each seed, one run after\n"
    "    the other, each in a folder of its own, and prints for each row the mean of\n"
    "    what is compared with its sample deviation over seeds, beside what was\n"
    "    published. All rows are planned and checked first: a wrong one is named, and\n"
    "    nothing has begun.\n"
    "\n"
    "    The same command goes on with what is not finished, however the sweep ended:\n"
    "    finished runs are passed over, one that was stopped or killed goes on from\n"
    "    its last checkpoint, one that failed is tried again. A run whose loss became\n"
    "    no number is marked and stays as it is. The first seeds of all rows come\n"
    "    before the second ones, so that there is early something to compare.\n"
    "\n"
    "    What stands after -- is told to every run and wins over the file: a table\n"
    "    made shorter, or for other devices. Seeds, images and the files of runs are\n"
    "    the sweep's own.\n"
    "\n",

    "FILE\n"
    "    A JSON object. Options are those of `fathom train` without their hyphens:\n"
    "    text, a number, or true for a flag; in a row false leaves one out that all\n"
    "    have.\n"
    "    rows                  a list of objects: name; model and options, where they\n"
    "                          differ from those of all; published, a figure or words\n"
    "    model, options        of all rows\n"
    "    seeds                 like [0, 1, 2]; [0] if not given\n"
    "    compare               top1_error of the last test (if not given),\n"
    "                          best_top1_error, top5_error, or loss\n"
    "    name, source          what it is called (the file's name if not given), and\n"
    "                          where the figures come from\n"
    "    recipes/sweeps has tables of the papers.\n"
    "\n",

    "OPTIONS\n"
    "    --data DIR            the images, as for `fathom train`\n"
    "    -o, --output DIR      where the runs' folders are; if not given a folder of\n"
    "                          the file's name here. One sweep at a time\n"
    "    --svg FILE            the curves: of each row the mean over seeds in a band\n"
    "                          of the deviation; if not given curves.svg in that\n"
    "                          folder\n"
    "    --dry-run             list the runs, the memory that is planned for each and\n"
    "                          the time that it takes (measured, where a run of its\n"
    "                          row has begun, else predicted, where it is known), and\n"
    "                          run none\n"
    "    --json                one object instead of the table; what runs say goes to\n"
    "                          standard error\n"
    "\n"
    "EXIT STATUS\n"
    "    0 done, or stopped by Ctrl-C or another request to end; 1 a run failed; 2\n"
    "    the command, the file or a row is wrong\n"
    "\n"
    "EXAMPLES\n"
    "    fathom sweep recipes/sweeps/activations.json --data cifar --dry-run\n"
    "    fathom sweep mine.json --data cifar -- --iterations 400 --batch 64\n",
    NULL,
};

struct sweep_command {
    const char *file, *data, *folder, *svg;
    const char *words[MOST_WORDS]; /* the file, and what follows -- */
    size_t word_count;
    bool dry, json;
    char own_folder[FILES_PATH], own_svg[FILES_PATH];
    struct sweep sweep;
    struct sweep_jobs jobs;
    struct train_preview *previews; /* of each row */
    struct folder_lock lock;
};

/* ---- Beginning ---- */

static bool parse(int argc, char **argv, struct sweep_command *c, struct error *err)
{
    const struct option_spec specs[] = {
        {"data", 0, OPTION_TEXT, &c->data, 0, 0}, {"output", 'o', OPTION_TEXT, &c->folder, 0, 0},
        {"svg", 0, OPTION_TEXT, &c->svg, 0, 0},   {"dry-run", 0, OPTION_FLAG, &c->dry, 0, 0},
        {"json", 0, OPTION_FLAG, &c->json, 0, 0},
    };
    TRY(options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], c->words, MOST_WORDS, &c->word_count, err));
    if (c->word_count == 0) return error_set(err, ERROR_INPUT, "a file is wanted; --help shows what it has");
    if (c->word_count > 1 && c->words[1][0] != '-')
        return error_set(err, ERROR_INPUT, "'%s' is one word too many; options of train follow --", c->words[1]);
    c->file = c->words[0];
    return sweep_check_words(c->words + 1, c->word_count - 1, err);
}

static bool choose_places(struct sweep_command *c, struct error *err)
{
    struct outputs outputs = {0};
    if (!c->folder) {
        const char *base = strrchr(c->file, '/');
        snprintf(c->own_folder, sizeof c->own_folder, "%s", base ? base + 1 : c->file);
        c->own_folder[strcspn(c->own_folder, ".")] = '\0';
        c->folder = c->own_folder;
    }
    if (!c->svg) {
        snprintf(c->own_svg, sizeof c->own_svg, "%.4000s/curves.svg", c->folder);
        c->svg = c->own_svg;
    }
    if (!*c->folder) return error_set(err, ERROR_INPUT, "-o: a folder is wanted");
    if (!c->data && !sweep_has_data(&c->sweep))
        return error_set(err, ERROR_INPUT, "--data: a dataset is wanted; `fathom data synth DIR` makes one");
    return outputs_reads(&outputs, "fathom sweep", c->file, err) && outputs_writes(&outputs, "-o", c->folder, err) &&
           outputs_writes(&outputs, "--svg", c->svg, err);
}

static bool name_commands(struct sweep_jobs *jobs, struct error *err)
{
    for (size_t i = 0; i < jobs->count; i++) {
        struct sweep_job *job = &jobs->jobs[i];
        struct text text = {0};
        train_words_command((int)job->words.count, job->words.words, &text);
        if (!text.failed) job->command = mem_strdup(MEM_GENERAL, text.bytes);
        text_finish(&text);
        if (!job->command) return error_memory(err, 0, "a command");
    }
    return true;
}

/* As `fathom train` will take it. */
static bool preview_row(struct sweep_command *c, size_t row, struct train_preview *last, struct error *err)
{
    struct sweep_words all = {0};
    const struct sweep_words *words = &c->jobs.jobs[row].words; /* the first jobs are all rows with the first seed */
    bool ok = true;
    for (size_t i = 0; ok && i < words->count; i++) ok = sweep_add_word(&all, words->words[i], err);
    if (ok && c->data) ok = sweep_add_word(&all, "--data", err) && sweep_add_word(&all, c->data, err);
    ok = ok && (train_preview((int)all.count, all.words, last, err) ||
                error_prefix(err, "%s: row '%s'", c->file, c->sweep.rows[row].name));
    c->previews[row] = *last;
    sweep_words_finish(&all);
    return ok;
}

static bool preview(struct sweep_command *c, struct error *err)
{
    struct train_preview last = {0};
    c->previews = mem_zalloc(MEM_GENERAL, c->sweep.row_count, sizeof *c->previews);
    bool ok = c->previews || error_memory(err, c->sweep.row_count * sizeof *c->previews, "rows");
    for (size_t i = 0; ok && i < c->sweep.row_count; i++) ok = preview_row(c, i, &last, err);
    dataset_close(last.dataset);
    return ok;
}

/* true is for flags: else the next word would be taken for the value. */
static bool check_values(const struct sweep_command *c, json_t *options, const char *row, struct error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(options, name, value) if (json_is_true(value) &&
                                                  train_option_takes_value(
                                                      name)) return error_set(err, ERROR_INPUT,
                                                                              "%s: %s%s%s: option '%s': found true, "
                                                                              "which is for flags; a value is wanted",
                                                                              c->file, row ? "row '" : "all rows",
                                                                              row ? row : "", row ? "'" : "", name);
    return true;
}

static bool check_all_values(const struct sweep_command *c, struct error *err)
{
    TRY(check_values(c, c->sweep.options, NULL, err));
    for (size_t i = 0; i < c->sweep.row_count; i++)
        TRY(check_values(c, c->sweep.rows[i].options, c->sweep.rows[i].name, err));
    return true;
}

static bool prepare(struct sweep_command *c, struct error *err)
{
    TRY(sweep_read(c->file, &c->sweep, err) && check_all_values(c, err) && choose_places(c, err));
    TRY(sweep_jobs_make(&c->sweep, c->folder, c->words + 1, c->word_count - 1, &c->jobs, err));
    TRY(name_commands(&c->jobs, err) && preview(c, err));
    for (size_t i = 0; i < c->jobs.count; i++) TRY(sweep_job_look(&c->jobs.jobs[i], err));
    return true;
}

/* ---- Running ---- */

static bool is_done(const struct sweep_job *job)
{
    return job->state == SWEEP_FINISHED || job->state == SWEEP_DIVERGED;
}

static void say_job(const struct sweep_command *c, size_t number)
{
    const struct sweep_job *job = &c->jobs.jobs[number];
    FILE *to = c->json ? stderr : stdout;
    page_say(to, 0, 2, "run %zu of %zu: %s, seed %" PRIu64 "%s", number + 1, c->jobs.count,
             PRINTABLE(c->sweep.rows[job->row].name), job->seed, job->state == SWEEP_NEW ? "" : ", begun before");
    fflush(to);
}

static bool run_all(struct sweep_command *c, struct error *err)
{
    const struct sweep_running how = {.data = c->data, .stop = stop_flag(), .quiet = c->json};
    stop_catch();
    for (size_t i = 0; i < c->jobs.count && !*stop_flag(); i++) {
        if (is_done(&c->jobs.jobs[i])) continue;
        say_job(c, i);
        TRY(sweep_job_run(&c->jobs.jobs[i], &how, err));
        if (!c->json) putchar('\n');
    }
    return true;
}

/* A run's files, and a row's folder, are the runs' own. */
static bool check_picture(const struct sweep_command *c, struct error *err)
{
    char row[FILES_PATH];
    for (size_t i = 0; i < c->jobs.count; i++) {
        const char *folder = c->jobs.jobs[i].folder, *seed = strrchr(folder, '/');
        snprintf(row, sizeof row, "%.*s", seed ? (int)(seed - folder) : 0, folder);
        if (run_folder_holds(row, c->svg))
            return error_set(err, ERROR_INPUT, "--svg: %s is in the folder of this sweep's runs, %s; name another file",
                             c->svg, row);
    }
    return true;
}

/* Found before the first run, not after the last one. */
static bool try_picture(const char *path, struct error *err)
{
    struct stat info;
    struct files_writer writer;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) return true;
    if (!files_begin(&writer, path, err)) return error_prefix(err, "--svg");
    files_abandon(&writer);
    return true;
}

/* A sweep that is refused leaves nothing behind. */
static bool claim(struct sweep_command *c, struct error *err)
{
    size_t there = files_folder_there(c->folder);
    TRY(check_picture(c, err));
    if (files_make_folder(c->folder, err) && locks_enter_folder(&c->lock, c->folder, err) && try_picture(c->svg, err))
        return true;
    locks_leave_folder(&c->lock);
    files_unmake_folder(c->folder, there);
    return false;
}

/* ---- The end ---- */

static size_t count_of(const struct sweep_jobs *jobs, enum sweep_state state)
{
    size_t count = 0;
    for (size_t i = 0; i < jobs->count; i++) count += jobs->jobs[i].state == state;
    return count;
}

static void say_failures(const struct sweep_command *c)
{
    for (size_t i = 0; i < c->jobs.count; i++) {
        const struct sweep_job *job = &c->jobs.jobs[i];
        if (job->state == SWEEP_FAILED || job->state == SWEEP_DIVERGED)
            page_say(c->json ? stderr : stdout, 0, 2, "%s: %s", PRINTABLE(job->folder),
                     *job->view.facts.reason ? PRINTABLE(job->view.facts.reason) : "it did not say why");
    }
}

static bool report(const struct sweep_command *c, struct error *err)
{
    if (c->json)
        TRY(sweep_report_json(&c->sweep, &c->jobs, c->folder, c->dry ? c->previews : NULL, err));
    else if (c->dry)
        sweep_report_plan(&c->sweep, &c->jobs, c->previews);
    else
        sweep_report_table(&c->sweep, &c->jobs);
    if (c->dry) return true;
    say_failures(c);
    size_t left = count_of(&c->jobs, SWEEP_NEW) + count_of(&c->jobs, SWEEP_BEGUN);
    if (left > 0 && *stop_flag())
        page_say(c->json ? stderr : stdout, 0, 2, "stopped by %s, with %zu run%s left; the same command goes on",
                 stop_name((int)*stop_flag()), left, left == 1 ? "" : "s");
    return true;
}

/* Once the table is told: that it cannot be drawn takes nothing from it. */
static bool draw(const struct sweep_command *c, struct error *err)
{
    if (sweep_draw(&c->sweep, &c->jobs, c->svg, err)) return true;
    err->kind = ERROR_FAILED;
    return false;
}

static int run(int argc, char **argv, struct error *err)
{
    struct sweep_command *c = mem_zalloc(MEM_GENERAL, 1, sizeof *c);
    if (!c) {
        error_memory(err, sizeof *c, "a sweep");
        return 1;
    }
    c->lock.fd = -1;
    bool ok = parse(argc, argv, c, err) && prepare(c, err) && (c->dry || (claim(c, err) && run_all(c, err)));
    ok = ok && report(c, err) && (c->dry || draw(c, err));
    int code = ok ? count_of(&c->jobs, SWEEP_FAILED) > 0 && !c->dry : error_exit_code(err);
    locks_leave_folder(&c->lock);
    sweep_jobs_finish(&c->jobs);
    sweep_finish(&c->sweep);
    mem_free(c->previews);
    mem_free(c);
    return code;
}

const struct command command_sweep = {"sweep", "run a table of runs, over several seeds", manual, run};
