#define _GNU_SOURCE
#include <glob.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "canvas.h"
#include "choice.h"
#include "clock.h"
#include "command.h"
#include "dashboard.h"
#include "mem.h"
#include "rollup.h"
#include "screen.h"
#include "top_batch.h"
#include "top_interrupt.h"
#include "top_ranks.h"
#include "top_record.h"
#include "top_replay.h"
#include "watch.h"

static const char *const manual[] = {
    "NAME\n"
    "    fathom top - the dashboard of a run, live or replayed\n"
    "\n"
    "SYNOPSIS\n"
    "    fathom top [RUN.trace] [--once | --batch json|csv | --replay] [OPTIONS]\n"
    "    fathom top RUN.trace RUN.rank1.trace ... [--once | --batch json]\n"
    "\n",

    "DESCRIPTION\n"
    "    Follows the trace that `fathom train --trace RUN.trace` writes: ops with\n"
    "    their times, of a run on GPUs their kernels and how the GPUs fare, where a\n"
    "    step's time goes, the layer tree, planned against used memory, the loss. It\n"
    "    only reads the file, and after a crash the last moments open in the same\n"
    "    view. The run is never touched, but for one key: r has it record its next 64\n"
    "    steps op by op, which the header tells while it does. Without RUN.trace it\n"
    "    takes the newest *.trace here and in runs/. Press ? for the keys.\n"
    "\n"
    "    Several traces are the ranks of one run (`fathom top run*.trace`): how far\n"
    "    apart they end a step, how long each is in sums over ranks, and who is\n"
    "    waited for there. q leaves.\n"
    "\n",

    "OPTIONS\n"
    "    --once             print one screen as text and leave\n"
    "    --batch json|csv   print the op table, the kernel table and the run's state\n"
    "                       for a script and leave; csv is one table: with\n"
    "                       --view kernels that of kernels\n"
    "    --replay           play a finished run at its own pace: n and p go a step on\n"
    "                       and back, < and > halve and double the pace\n"
    "    --speed X          of the replay (default 1)\n"
    "    --until-end        leave when the run ends; 1 when its process is gone\n"
    "                       without having closed the trace\n"
    "    --view NAME        start with overview, ops, layers, memory, loss or\n"
    "                       kernels\n"
    "    --filter TEXT      only ops and kernels with TEXT in layer, kind or pass, or\n"
    "                       in the kernel's name\n"
    "    --by WHAT          op, kind, layer or pass: one line for what has it in\n"
    "                       common (default op, for each device; the others with all\n"
    "                       devices together, as in `fathom trace stats --by WHAT`);\n"
    "                       of kernels op is each by itself, and kind is their name\n"
    "    --interval MS      between two looks at the file, 50 to 10000 (default 250)\n"
    "    --size RxC         rows and columns of --once (default: the terminal's, else\n"
    "                       32x110)\n"
    "    --ascii            no UTF-8 boxes and plots\n"
    "\n",

    "ENVIRONMENT\n"
    "    NO_COLOR           no colours\n"
    "\n",

    "EXIT STATUS\n"
    "    0 done, 1 the terminal, the file or the run failed, 2 the command or the\n"
    "    file is wrong\n"
    "\n"
    "EXAMPLES\n"
    "    fathom top runs/demo.trace\n"
    "    fathom top run.trace --batch csv > ops.csv\n",
    NULL,
};

struct top_options {
    const char *path, *paths[TOP_MOST_RANKS], *batch, *view, *size, *filter, *by;
    bool once, replay, until_end, ascii;
    double speed;
    uint64_t interval_ms;
    uint32_t rows, columns;
    size_t path_count;
};

/* The newest *.trace of the usual places, into path. */
static bool find_newest(char *path, size_t size, struct error *err)
{
    static const char *const patterns[] = {"*.trace", "runs/*.trace"};
    struct timespec newest = {0};
    *path = '\0';
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        glob_t found;
        if (glob(patterns[i], 0, NULL, &found) != 0) continue;
        for (size_t k = 0; k < found.gl_pathc; k++) {
            struct stat info;
            if (stat(found.gl_pathv[k], &info) != 0) continue;
            bool newer = info.st_mtim.tv_sec != newest.tv_sec ? info.st_mtim.tv_sec > newest.tv_sec
                                                              : info.st_mtim.tv_nsec >= newest.tv_nsec;
            if (!newer) continue;
            newest = info.st_mtim;
            snprintf(path, size, "%s", found.gl_pathv[k]);
        }
        globfree(&found);
    }
    if (*path) return true;
    return error_set(err, ERROR_INPUT, "RUN.trace: none was named, and there is no *.trace here or in runs/");
}

static void choose_size(struct top_options *options)
{
    struct winsize window;
    options->rows = 32;
    options->columns = 110;
    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_row && window.ws_col) {
        options->rows = window.ws_row;
        options->columns = window.ws_col;
    }
}

static bool parse_size(struct top_options *options, struct error *err)
{
    char end;
    choose_size(options);
    if (!options->size) return true;
    if (sscanf(options->size, "%" SCNu32 "x%" SCNu32 "%c", &options->rows, &options->columns, &end) == 2 &&
        options->rows >= 5 && options->rows <= 1000 && options->columns >= 20 && options->columns <= 1000)
        return true;
    return error_set(err, ERROR_INPUT, "--size: '%s' is not rows x columns; write one like 24x80 (5x20 to 1000x1000)",
                     options->size);
}

static bool parse_view(const char *text, enum view *view, struct error *err)
{
    for (int v = 0; v < VIEWS; v++) {
        if (strcmp(text, view_name((enum view)v)) != 0) continue;
        *view = (enum view)v;
        return true;
    }
    return error_set(err, ERROR_INPUT,
                     "--view: there is no view '%s'; they are overview, ops, layers, memory, loss and "
                     "kernels",
                     text);
}

static bool parse_group(const char *text, enum row_group *group, struct error *err)
{
    const char *names[GROUPS];
    size_t chosen;
    for (int g = 0; g < GROUPS; g++) names[g] = row_group_name((enum row_group)g);
    TRY(choice_parse(text, "--by", names, GROUPS, NULL, 0, &chosen, err));
    *group = (enum row_group)chosen;
    return true;
}

static bool parse_options(int argc, char **argv, struct top_options *options, struct error *err)
{
    *options = (struct top_options){.speed = 1, .interval_ms = 250};
    const struct option_spec specs[] = {
        {"once", 0, OPTION_FLAG, &options->once, 0, 0},
        {"batch", 0, OPTION_TEXT, &options->batch, 0, 0},
        {"replay", 0, OPTION_FLAG, &options->replay, 0, 0},
        {"speed", 0, OPTION_REAL, &options->speed, 0.001, 1e6},
        {"until-end", 0, OPTION_FLAG, &options->until_end, 0, 0},
        {"view", 0, OPTION_TEXT, &options->view, 0, 0},
        {"filter", 0, OPTION_TEXT, &options->filter, 0, 0},
        {"by", 0, OPTION_TEXT, &options->by, 0, 0},
        {"interval", 0, OPTION_COUNT, &options->interval_ms, 50, 10000},
        {"size", 0, OPTION_TEXT, &options->size, 0, 0},
        {"ascii", 0, OPTION_FLAG, &options->ascii, 0, 0},
    };
    TRY(options_parse(argc, argv, specs, sizeof specs / sizeof specs[0], options->paths, TOP_MOST_RANKS,
                      &options->path_count, err));
    options->path = options->paths[0];
    if (options->batch && strcmp(options->batch, "json") != 0 && strcmp(options->batch, "csv") != 0)
        return error_set(err, ERROR_INPUT, "--batch: '%s' is not a format; it is json or csv", options->batch);
    if (options->once + (options->batch != NULL) + options->replay > 1)
        return error_set(err, ERROR_INPUT, "--once, --batch and --replay exclude each other");
    bool csv = options->batch && strcmp(options->batch, "csv") == 0;
    if (options->path_count > 1 &&
        (csv || options->replay || options->until_end || options->view || options->filter || options->by))
        return error_set(err, ERROR_INPUT,
                         "several traces are shown together, as ranks of a run; of the options --once, --batch json, "
                         "--interval, --size and --ascii go with that");
    return parse_size(options, err);
}

static bool show_ranks(const struct top_options *options, struct error *err)
{
    const struct top_ranks_options ranks = {.paths = options->paths,
                                            .count = options->path_count,
                                            .once = options->once,
                                            .json = options->batch != NULL,
                                            .ascii = options->ascii,
                                            .rows = options->rows,
                                            .columns = options->columns,
                                            .interval_ms = (uint32_t)options->interval_ms};
    return top_ranks_show(&ranks, err);
}

static bool print_once(struct dashboard *dashboard, const struct rollup *rollup, const struct top_options *options,
                       struct error *err)
{
    struct canvas canvas;
    TRY(canvas_init(&canvas, options->rows, options->columns, options->ascii || !screen_has_utf8(), err));
    dashboard_draw(dashboard, rollup, &canvas);
    struct text text = {0};
    canvas_print(&canvas, &text);
    bool ok = !text.failed;
    if (ok)
        fwrite(text.bytes, 1, text.length, stdout);
    else
        error_memory(err, text.length, "the screen");
    text_finish(&text);
    canvas_finish(&canvas);
    return ok;
}

/* When tables were made last, of how much, whether of a whole trace, and how long that took; when all was drawn last.
 */
struct renewal {
    uint64_t at_ns, cost_ns, events, drawn_ns;
    size_t ops, kernels;
    struct rollup_parts parts;
    bool ended, reading;
};

#define RENEWAL_PART 400u                 /* of the time, at most one part in so many goes into it */
#define RENEWAL_NS   UINT64_C(4000000000) /* so old they are at most */
#define DRAWN_NS     UINT64_C(1000000000) /* so old a screen is at most: it may tell how long nothing has come */

/* The last steps are divided after they have ended, perhaps when no more events come. */
static bool same_parts(const struct rollup_parts *a, const struct rollup_parts *b)
{
    return a->steps == b->steps && a->ns == b->ns;
}

/* Tables of tens of thousands of ops take milliseconds to sort: they are made anew less often than the screen is drawn,
 * but at once when a key asks for others. */
static bool renew(struct dashboard *dashboard, const struct rollup *rollup, struct renewal *last, bool asked,
                  struct error *err)
{
    uint64_t now = clock_now_ns(), age = now - last->at_ns;
    bool same = last->ops == rollup->op_count && last->kernels == rollup->kernel_count && last->ended == rollup->ended;
    bool news = last->events != rollup->events || !same_parts(&last->parts, &rollup->parts);
    if (same && !asked && (!news || (age < RENEWAL_NS && age < RENEWAL_PART * last->cost_ns))) return true;
    TRY(dashboard_update(dashboard, rollup, err));
    if (last->ops != rollup->op_count) mem_trim(); /* tables have grown, step by step */
    last->at_ns = now;
    last->cost_ns = clock_now_ns() - now;
    last->events = rollup->events;
    last->ops = rollup->op_count;
    last->kernels = rollup->kernel_count;
    last->parts = rollup->parts;
    last->ended = rollup->ended;
    return true;
}

/* What stands on the screen stays while nothing comes, and no key. */
static bool show(struct dashboard *dashboard, const struct rollup *rollup, struct renewal *last, bool news,
                 struct canvas *canvas, bool ascii, struct error *err)
{
    uint32_t rows, columns;
    uint64_t now = clock_now_ns();
    screen_size(&rows, &columns);
    bool fits = rows == canvas->rows && columns == canvas->columns;
    if (!news && fits && last->at_ns <= last->drawn_ns && last->reading == dashboard->reading &&
        now - last->drawn_ns < DRAWN_NS)
        return true;
    last->drawn_ns = now;
    last->reading = dashboard->reading;
    if (!fits) {
        canvas_finish(canvas);
        TRY(canvas_init(canvas, rows, columns, ascii, err));
    }
    dashboard_draw(dashboard, rollup, canvas);
    screen_show(canvas);
    return true;
}

/* Of a long trace so much is read before the screen is drawn and keys are looked at: 10 ms or so. */
#define READ_EVENTS (1u << 18)
#define READ_NS     UINT64_C(40000000)

/* Reads on: all there is. *behind: there is more. */
static bool read_on(struct trace_follower *follower, uint64_t *grown, bool *behind, struct error *err)
{
    const uint64_t begun = clock_now_ns();
    *grown = 0;
    *behind = false;
    for (uint64_t read = READ_EVENTS; read >= READ_EVENTS;) {
        *behind = clock_now_ns() - begun > READ_NS;
        if (*behind) return true;
        TRY(trace_follow_more(follower, READ_EVENTS, &read, err));
        *grown += read;
    }
    return true;
}

static bool say_crashed(const struct top_options *options, const struct rollup *rollup, struct error *err)
{
    return error_set(err, ERROR_FAILED,
                     "%s: the run (process %" PRIu64
                     ") is gone and has not closed its trace; `fathom top %s` shows its "
                     "last moments",
                     options->path, rollup->pid, options->path);
}

/* What a look at the file goes by. */
struct look {
    struct trace_watch watch;
    struct top_replay replay;
};

/* Takes in what has come since the last look. */
static bool look_on(struct look *look, struct trace_follower **follower, struct dashboard *dashboard,
                    const struct top_options *options, uint64_t now, uint64_t *grown, struct error *err)
{
    dashboard->reading = false;
    *grown = 0;
    if (options->replay) {
        TRY(top_replay_read(&look->replay, dashboard, *follower, now, grown, err));
    } else if (!dashboard->paused) {
        TRY(read_on(*follower, grown, &dashboard->reading, err));
        if (dashboard->reading) dashboard->read_part = trace_follow_part(*follower);
    }
    const struct rollup *rollup = trace_follow_rollup(*follower);
    if (!dashboard->paused) {
        trace_watch_see(&look->watch, rollup, *grown, now);
        dashboard->crashed = !options->replay && trace_watch_crashed(&look->watch, rollup, now);
        dashboard->stopped_at = options->replay ? 0 : trace_last_moment(rollup);
    }
    dashboard->silent_seconds = trace_watch_silence(&look->watch, now);
    return true;
}

/* A replay stands where it has gone to by steps. */
static bool go_steps(struct look *look, struct trace_follower **follower, struct dashboard *dashboard,
                     struct renewal *renewal, const struct top_options *options, struct error *err)
{
    TRY(top_replay_step(&look->replay, dashboard, follower, options->path, err));
    dashboard->paused = false;
    TRY(renew(dashboard, trace_follow_rollup(*follower), renewal, true, err));
    dashboard->paused = true;
    return true;
}

static bool run_loop(struct trace_follower **follower, struct dashboard *dashboard, struct top_record *record,
                     const struct top_options *options, struct canvas *canvas, struct error *err)
{
    bool ascii = options->ascii || !screen_has_utf8();
    struct look look;
    struct renewal renewal = {0};
    bool asked = true;
    trace_watch_begin(&look.watch, options->path, clock_now_ns());
    top_replay_begin(&look.replay, clock_now_ns());
    while (!dashboard->quit && !top_interrupted()) {
        uint64_t now = clock_now_ns(), grown;
        TRY(look_on(&look, follower, dashboard, options, now, &grown, err));
        const struct rollup *rollup = trace_follow_rollup(*follower);
        top_record_look(record, dashboard, rollup, now);
        TRY(renew(dashboard, rollup, &renewal, asked, err));
        TRY(show(dashboard, rollup, &renewal, grown > 0 || asked, canvas, ascii, err));
        if (options->until_end && rollup->ended) return true;
        if (options->until_end && dashboard->crashed) return say_crashed(options, rollup, err);
        /* Keys are answered at once; the file is looked at again when the interval is over. */
        struct screen_key key = screen_wait_key(dashboard->reading ? 0 : (uint32_t)options->interval_ms);
        asked = key.key != 0;
        if (!asked) continue;
        dashboard->click_row = key.row;
        dashboard->click_column = key.column;
        dashboard_key(dashboard, rollup, key.key);
        if (!dashboard->asks_steps) continue;
        TRY(go_steps(&look, follower, dashboard, &renewal, options, err));
        record->notice_ns = clock_now_ns(); /* it may have left one */
    }
    return true;
}

static bool run_dashboard(struct trace_follower **follower, struct dashboard *dashboard,
                          const struct top_options *options, struct error *err)
{
    top_catch_interrupts();
    TRY(screen_open(err));
    struct canvas canvas = {0};
    struct top_record record;
    dashboard->replay = options->replay;
    dashboard->speed = options->speed;
    top_record_begin(&record, options->path);
    bool ok = run_loop(follower, dashboard, &record, options, &canvas, err);
    top_record_end(&record);
    screen_close();
    canvas_finish(&canvas);
    return ok;
}

static bool run_with(struct trace_follower **follower, struct dashboard *dashboard, const struct top_options *options,
                     struct error *err)
{
    if (options->view) TRY(parse_view(options->view, &dashboard->view, err));
    if (options->by) TRY(parse_group(options->by, &dashboard->group, err));
    if (options->filter) snprintf(dashboard->filter, sizeof dashboard->filter, "%s", options->filter);
    if (!options->once && !options->batch) return run_dashboard(follower, dashboard, options, err);
    uint64_t read;
    uint64_t now = clock_now_ns();
    struct trace_watch watch;
    const struct rollup *rollup = trace_follow_rollup(*follower);
    trace_watch_begin(&watch, options->path, now);
    for (int look = 0; look < 2; look++) { /* the second brings what came before the process was asked for */
        do TRY(trace_follow_more(*follower, 0, &read, err));
        while (read > 0);
        trace_watch_see(&watch, rollup, 0, now);
    }
    TRY(dashboard_update(dashboard, rollup, err));
    if (options->batch) TRY(dashboard_update_kernels(dashboard, rollup, err));
    dashboard->silent_seconds = trace_watch_silence(&watch, now);
    dashboard->crashed = trace_watch_crashed(&watch, rollup, now);
    dashboard->stopped_at = trace_last_moment(rollup);
    if (options->once) return print_once(dashboard, rollup, options, err);
    return strcmp(options->batch, "json") == 0 ? batch_print_json(dashboard, rollup, err)
                                               : batch_print_csv(dashboard, rollup, err);
}

static int run(int argc, char **argv, struct error *err)
{
    struct top_options options;
    char newest[512];
    if (!parse_options(argc, argv, &options, err)) return 2;
    if (options.path_count > 1) return show_ranks(&options, err) ? 0 : 1;
    if (!options.path) {
        if (!find_newest(newest, sizeof newest, err)) return 2;
        options.path = newest;
    }
    struct trace_follower *follower;
    if (!trace_follow(options.path, &follower, err)) return 2;
    struct dashboard dashboard;
    dashboard_init(&dashboard);
    bool ok = run_with(&follower, &dashboard, &options, err);
    dashboard_finish(&dashboard);
    trace_unfollow(follower);
    return ok ? 0 : 1;
}

const struct command command_top = {"top", "follow a run in the terminal, live or replayed", manual, run};
