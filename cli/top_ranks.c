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
    size_t next; /* is read from first at the next look */
};

/* ---- Reading ---- */

static const struct rollup *rollup_of(const struct top_rank *rank) { return trace_follow_rollup(rank->follower); }

/* So much is read before the screen is drawn and keys are looked at. */
#define READ_EVENTS (1u << 16)
#define READ_NS     UINT64_C(40000000)

/* Of all ranks in turn, so that they have come equally far, to their ends or until it is late (0: never): *behind. What
 * a rank writes after its end was seen is left to the next look, as there may be no moment at which none has more. Adds
 * to grown[]. */
static bool read_until(struct top_ranks *t, uint64_t late_ns, uint64_t grown[TOP_MOST_RANKS], bool *behind,
                       struct error *err)
{
    bool done[TOP_MOST_RANKS] = {false};
    *behind = false;
    for (size_t left = t->count; left > 0;) {
        uint64_t read;
        size_t i = t->next++ % t->count;
        if (done[i]) continue;
        *behind = late_ns && clock_now_ns() >= late_ns;
        if (*behind) return true;
        TRY(trace_follow_more(t->ranks[i].follower, READ_EVENTS, &read, err));
        grown[i] += read;
        done[i] = read == 0;
        left -= done[i];
    }
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
    /* What says which rank it is stands before the first event. */
    for (size_t i = 0; i < t->count; i++) TRY(trace_follow_more(t->ranks[i].follower, 1, &read, err));
    qsort(t->ranks, t->count, sizeof t->ranks[0], compare);
    TRY(check_run(t, err));
    for (size_t i = 0; i < t->count; i++) {
        t->rollups[i] = rollup_of(&t->ranks[i]);
        trace_watch_begin(&t->ranks[i].watch, t->ranks[i].path, clock_now_ns());
    }
    t->view = (struct ranks_view){.rows = t->rows, .count = t->count};
    return true;
}

static double part_read(const struct top_ranks *t)
{
    double sum = 0;
    for (size_t i = 0; i < t->count; i++) sum += trace_follow_part(t->ranks[i].follower);
    return sum / (double)t->count;
}

static bool read_on(struct top_ranks *t, uint64_t late_ns, struct error *err)
{
    static uint64_t grown[TOP_MOST_RANKS];
    uint64_t now = clock_now_ns();
    memset(grown, 0, t->count * sizeof grown[0]);
    bool reading;
    TRY(read_until(t, late_ns, grown, &reading, err));
    for (size_t i = 0; i < t->count; i++) {
        struct top_rank *rank = &t->ranks[i];
        trace_watch_see(&rank->watch, t->rollups[i], grown[i], now);
        t->rows[i].crashed = !reading && trace_watch_crashed(&rank->watch, t->rollups[i], now);
        t->rows[i].silent_seconds = reading ? 0 : trace_watch_silence(&rank->watch, now);
    }
    ranks_view_make(&t->view, t->rollups);
    t->view.reading = reading;
    t->view.read_part = part_read(t);
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
    TRY(read_on(t, clock_now_ns() + READ_NS, err));
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
        if (ok) key = screen_wait_key(t->view.reading ? 0 : options->interval_ms).key;
    }
    screen_close();
    canvas_finish(&canvas);
    return ok;
}

bool top_ranks_show(const struct top_ranks_options *options, struct error *err)
{
    static struct top_ranks t; /* its tables are large for a stack */
    bool ok = open_all(&t, options, err);
    for (int look = 0; ok && look < 2 && (options->once || options->json); look++)
        ok = read_on(&t, 0, err); /* the second brings what came before processes were asked for */
    if (ok && options->once)
        ok = print_once(&t, options, err);
    else if (ok && options->json)
        ok = print_json(&t.view, err);
    else if (ok)
        ok = run_screen(&t, options, err);
    for (size_t i = 0; i < t.count; i++) trace_unfollow(t.ranks[i].follower);
    return ok;
}
