#define _GNU_SOURCE
#include "top_ranks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "json.h"
#include "ranks_view.h"
#include "screen.h"
#include "top_interrupt.h"
#include "watch.h"

struct top_rank {
    const char *path;
    struct trace_follower *follower;
    struct trace_watch watch;
};

struct top_ranks {
    struct top_rank ranks[TOP_MOST_RANKS]; /* in the order of ranks */
    const struct rollup *rollups[TOP_MOST_RANKS];
    struct rank_row rows[TOP_MOST_RANKS];
    struct ranks_view view;
    size_t count;
};

/* ---- Reading ---- */

static const struct rollup *rollup_of(const struct top_rank *rank) { return trace_follow_rollup(rank->follower); }

static bool read_more(struct top_rank *rank, uint64_t *all, struct error *err)
{
    uint64_t read;
    *all = 0;
    do {
        TRY(trace_follow_more(rank->follower, 0, &read, err));
        *all += read;
    } while (read > 0);
    return true;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = rollup_of(a)->rank, y = rollup_of(b)->rank;
    return (x > y) - (x < y);
}

/* Traces of other runs would be compared step by step all the same. */
static bool check_run(const struct top_ranks *t, struct error *err)
{
    const struct rollup *first = rollup_of(&t->ranks[0]);
    for (size_t i = 0; i < t->count; i++) {
        const struct rollup *r = rollup_of(&t->ranks[i]);
        if (!r->has_origin)
            return error_set(err, ERROR_INPUT, "%s: does not say which rank of a run wrote it", t->ranks[i].path);
        bool same = strcmp(r->model, first->model) == 0 && r->ranks == first->ranks && r->batch == first->batch;
        if (!same || (i > 0 && r->rank == rollup_of(&t->ranks[i - 1])->rank))
            return error_set(err, ERROR_INPUT, "%s and %s are not two ranks of one run", t->ranks[i ? i - 1 : 0].path,
                             t->ranks[i].path);
    }
    return true;
}

static bool open_all(struct top_ranks *t, const struct top_ranks_options *options, struct error *err)
{
    uint64_t read;
    for (; t->count < options->count; t->count++) {
        struct top_rank *rank = &t->ranks[t->count];
        rank->path = options->paths[t->count];
        TRY(trace_follow(rank->path, &rank->follower, err));
    }
    for (size_t i = 0; i < t->count; i++) TRY(read_more(&t->ranks[i], &read, err));
    qsort(t->ranks, t->count, sizeof t->ranks[0], compare);
    TRY(check_run(t, err));
    for (size_t i = 0; i < t->count; i++) {
        t->rollups[i] = rollup_of(&t->ranks[i]);
        trace_watch_begin(&t->ranks[i].watch, t->ranks[i].path, clock_now_ns());
    }
    t->view = (struct ranks_view){.rows = t->rows, .count = t->count};
    return true;
}

static bool read_all(struct top_ranks *t, struct error *err)
{
    for (size_t i = 0; i < t->count; i++) {
        uint64_t read, now = clock_now_ns();
        TRY(read_more(&t->ranks[i], &read, err));
        trace_watch_see(&t->ranks[i].watch, t->rollups[i], read, now);
        t->rows[i].crashed = trace_watch_crashed(&t->ranks[i].watch, t->rollups[i], now);
        t->rows[i].silent_seconds = trace_watch_silence(&t->ranks[i].watch, now);
    }
    ranks_view_make(&t->view, t->rollups);
    return true;
}

/* ---- Showing ---- */

static bool print_once(const struct top_ranks *t, const struct top_ranks_options *options, struct error *err)
{
    struct canvas canvas;
    struct text text = {0};
    TRY(canvas_init(&canvas, options->rows, options->columns, options->ascii || !screen_has_utf8(), err));
    ranks_view_draw(&t->view, &canvas);
    canvas_print(&canvas, &text);
    bool ok = !text.failed || error_memory(err, text.length, "the screen");
    if (ok) fwrite(text.bytes, 1, text.length, stdout);
    text_finish(&text);
    canvas_finish(&canvas);
    return ok;
}

static json_t *seconds_or_null(bool known, double ns) { return known ? json_real(ns * 1e-9) : json_null(); }

static json_t *describe_rank(const struct ranks_view *view, size_t i)
{
    const struct rank_row *row = &view->rows[i];
    return json_pack(
        "{s:i, s:o, s:i, s:I, s:b, s:b, s:o, s:o, s:o, s:o}", "rank", (int)row->rank, "host", json_text(row->host),
        "devices", (int)row->devices, "step", (json_int_t)row->step, "ended", row->ended, "crashed", row->crashed,
        "step_seconds", seconds_or_null(row->steps_known, row->step_ns), "late_seconds",
        seconds_or_null(row->steps_known, row->late_ns), "sums_seconds", seconds_or_null(row->sums_known, row->sums_ns),
        "waits_seconds", seconds_or_null(view->waited_known, row->waits_ns));
}

static bool print_json(const struct ranks_view *view, struct error *err)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < view->count; i++) json_array_append_new(rows, describe_rank(view, i));
    json_t *root = json_pack(
        "{s:I, s:i, s:o, s:o, s:o, s:o}", "iterations", (json_int_t)view->iterations, "compared_steps",
        (int)view->steps, "spread_seconds", seconds_or_null(view->steps > 0, view->spread_ns), "most_spread_seconds",
        seconds_or_null(view->steps > 0, view->worst_ns), "waited_for",
        view->waited_known ? json_integer((json_int_t)view->rows[view->waited_for].rank) : json_null(), "ranks", rows);
    bool ok = root && json_write(root, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(root);
    return ok || error_set(err, ERROR_FAILED, "standard output: the JSON could not be written");
}

static bool show_once(struct top_ranks *t, struct canvas *canvas, bool ascii, struct error *err)
{
    uint32_t rows, columns;
    TRY(read_all(t, err));
    screen_size(&rows, &columns);
    if (rows != canvas->rows || columns != canvas->columns) {
        canvas_finish(canvas);
        TRY(canvas_init(canvas, rows, columns, ascii, err));
    }
    ranks_view_draw(&t->view, canvas);
    screen_show(canvas);
    return true;
}

static bool run_screen(struct top_ranks *t, const struct top_ranks_options *options, struct error *err)
{
    struct canvas canvas = {0};
    uint32_t key = 0;
    top_catch_interrupts();
    TRY(screen_open(err));
    bool ok = true;
    while (ok && !top_interrupted() && key != 'q') {
        ok = show_once(t, &canvas, options->ascii || !screen_has_utf8(), err);
        if (ok) key = screen_wait_key(options->interval_ms).key;
    }
    screen_close();
    canvas_finish(&canvas);
    return ok;
}

bool top_ranks_show(const struct top_ranks_options *options, struct error *err)
{
    static struct top_ranks t; /* its tables are large for a stack */
    bool ok = open_all(&t, options, err) && read_all(&t, err);
    if (ok && (options->once || options->json)) ok = read_all(&t, err); /* what came before processes were asked for */
    if (ok && options->once)
        ok = print_once(&t, options, err);
    else if (ok && options->json)
        ok = print_json(&t.view, err);
    else if (ok)
        ok = run_screen(&t, options, err);
    for (size_t i = 0; i < t.count; i++) trace_unfollow(t.ranks[i].follower);
    return ok;
}
