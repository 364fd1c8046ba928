/* Header and footer. */
#define _GNU_SOURCE
#include "panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "printable.h"
#include "units.h"

/* The newest value of a metric, NAN when it was never reported. */
static double last_metric(const struct rollup *rollup, enum trace_metric metric)
{
    if (rollup->unreported >> metric & 1) return NAN;
    for (size_t i = rollup->step_count; i-- > 0;)
        if (isfinite(rollup->steps[i].metric[metric])) return rollup->steps[i].metric[metric];
    return NAN;
}

/* Whether the run still makes steps, as far as can be told. */
static bool goes_on(const struct dashboard *dashboard, const struct rollup *rollup)
{
    return !rollup->ended && !dashboard->crashed;
}

/* Time left at the mean pace of the steps seen; NAN when it is unknown or there is none. */
static double seconds_left(const struct rollup *rollup)
{
    uint64_t done = rollup_steps_done(rollup);
    if (rollup->step_count < 2 || done >= rollup->iterations) return NAN;
    const struct rollup_step *first = &rollup->steps[0];
    uint64_t steps = done >= first->step ? done - first->step + 1 : 0;
    if (steps == 0 || rollup->last_ns <= first->begin_ns) return NAN;
    return (double)(rollup->last_ns - first->begin_ns) * 1e-9 / (double)steps * (double)(rollup->iterations - done);
}

/* A list being made of a line's items. */
struct line {
    struct canvas_item items[CANVAS_MOST_ITEMS];
    size_t count;
};

__attribute__((format(printf, 5, 6))) static void add_item(struct line *line, uint8_t rank, const char *label,
                                                           enum ink ink, const char *format, ...)
{
    if (line->count == sizeof line->items / sizeof line->items[0]) return;
    struct canvas_item *item = &line->items[line->count++];
    *item = (struct canvas_item){.rank = rank, .label = label, .ink = ink};
    va_list args;
    va_start(args, format);
    if (vsnprintf(item->text, sizeof item->text, format, args) >= (int)sizeof item->text)
        item->text[utf8_whole_length(item->text, strlen(item->text))] = '\0';
    va_end(args);
}

/* "14:03:05", with the date when it was another day. */
static void write_moment(double seconds, double now, char *out, size_t size)
{
    struct tm then, today;
    time_t t = (time_t)seconds, n = (time_t)now;
    localtime_r(&t, &then);
    localtime_r(&n, &today);
    bool same = then.tm_yday == today.tm_yday && then.tm_year == today.tm_year;
    strftime(out, size, same ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &then);
}

/* When a crashed run stopped, and how long ago. */
static void add_crash(struct line *line, const struct dashboard *dashboard)
{
    char when[40], ago[UNITS_TEXT];
    double now = dashboard->stopped_at + dashboard->silent_seconds;
    units_format_seconds(round(dashboard->silent_seconds), ago);
    add_item(line, 0, NULL, INK_WARN, "CRASHED");
    if (dashboard->stopped_at > 0) {
        write_moment(dashboard->stopped_at, now, when, sizeof when);
        add_item(line, 2, NULL, INK_WARN, "at %s,", when);
    }
    add_item(line, 1, NULL, INK_WARN, "%s ago", ago);
}

bool dashboard_recording(const struct dashboard *dashboard, const struct rollup *rollup, uint64_t *until)
{
    double told = rollup_host_counter(rollup, COUNTER_RECORDED_UNTIL);
    if (!(told > (double)rollup_steps_done(rollup)) || !goes_on(dashboard, rollup)) return false;
    *until = (uint64_t)told;
    return true;
}

/* So long may nothing come: where only some steps are timed, little more than a step's end is told of the others. */
static double usual_silence(const struct rollup *rollup)
{
    double seconds = 5;
    for (size_t i = rollup->step_count, looks = 0; i-- > 0 && looks < 2; looks++) {
        const struct rollup_step *step = &rollup->steps[i];
        double took = step->end_ns > step->begin_ns ? 3e-9 * (double)(step->end_ns - step->begin_ns) : 0;
        if (took > seconds) seconds = took;
    }
    return seconds;
}

static void add_state(struct line *line, const struct dashboard *dashboard, const struct rollup *rollup)
{
    char silent[UNITS_TEXT];
    uint64_t until;
    if (dashboard->notice[0]) add_item(line, 0, NULL, INK_WARN, "%s", dashboard->notice);
    if (dashboard_recording(dashboard, rollup, &until))
        add_item(line, 1, NULL, INK_WARN, "RECORDING to step %" PRIu64, until);
    if (dashboard->paused)
        add_item(line, 0, NULL, INK_WARN, "PAUSED");
    else if (dashboard->reading)
        add_item(line, 0, NULL, INK_TITLE, "READING %.0f %%", 100 * dashboard->read_part);
    else if (rollup->ended)
        add_item(line, 0, NULL, INK_TITLE, "ENDED");
    else if (dashboard->replay && dashboard->speed != 1)
        add_item(line, 0, NULL, INK_TITLE, "REPLAY %g x", dashboard->speed);
    else if (dashboard->replay)
        add_item(line, 0, NULL, INK_TITLE, "REPLAY");
    else if (dashboard->crashed)
        add_crash(line, dashboard);
    else if (dashboard->silent_seconds >= usual_silence(rollup))
        add_item(line, 0, NULL, INK_WARN, "SILENT FOR %s", units_format_seconds(dashboard->silent_seconds, silent));
    else
        add_item(line, 0, NULL, INK_GOOD, "LIVE");
}

/* Draws items so that they end at the area's last column but one; returns where they begin. */
static uint32_t draw_right(const struct line *line, struct canvas *canvas, struct rect area, uint32_t row)
{
    uint32_t end = area.columns - 1,
             width = canvas_items(canvas, (struct rect){0}, row, 0, end, 1, line->items, line->count);
    canvas_items(canvas, area, row, end - width, end, 1, line->items, line->count);
    return end - width;
}

static void draw_identity(const struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas,
                          struct rect area)
{
    char parameters[UNITS_TEXT];
    struct line state = {.count = 0}, line = {.count = 0};
    add_state(&state, dashboard, rollup);
    uint32_t end = draw_right(&state, canvas, area, 0);
    add_item(&line, 0, NULL, INK_TITLE, "%s", rollup->model);
    if (rollup->parameters)
        add_item(&line, 3, "·", INK_PLAIN, "%s parameters", units_format_si((double)rollup->parameters, parameters));
    if (rollup->dataset[0]) add_item(&line, 2, "·", INK_PLAIN, "%s", rollup->dataset);
    if (rollup->batch)
        add_item(&line, 1, "·", INK_PLAIN, "batch %u on %u × %s", rollup->batch, rollup->device_count, rollup->backend);
    else /* imported: it does not say */
        add_item(&line, 1, "·", INK_PLAIN, "%u × %s", rollup->device_count, rollup->backend);
    if (rollup->host[0]) add_item(&line, 4, "·", INK_PLAIN, "%s", rollup->host);
    canvas_items(canvas, area, 0, 1, end > 2 ? end - 2 : 0, 1, line.items, line.count);
}

/* The bar takes what the figures leave, at most a quarter of the line. */
static void draw_progress(const struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas,
                          struct rect area)
{
    char text[UNITS_TEXT];
    uint64_t done = rollup_steps_done(rollup);
    double part = (double)done / (double)rollup->iterations, left = seconds_left(rollup);
    double rate = last_metric(rollup, METRIC_IMAGES_PER_SECOND);
    struct line step = {.count = 0}, pace = {.count = 0}, after = {.count = 0};
    if (rollup->iterations) {
        add_item(&step, 0, NULL, INK_PLAIN, "step %" PRIu64 "/%" PRIu64, done, rollup->iterations);
        add_item(&after, 0, NULL, INK_PLAIN, "%.0f %%", 100 * part);
    } else {
        add_item(&step, 0, NULL, INK_PLAIN, "step %" PRIu64, done);
    }
    if (isfinite(left) && goes_on(dashboard, rollup))
        add_item(&after, 1, NULL, INK_PLAIN, "%s left", units_format_seconds(left, text));
    if (isfinite(rate)) add_item(&pace, 0, NULL, INK_TITLE, "%.0f images/s", rate);
    uint32_t column = canvas_items(canvas, area, 1, 1, area.columns, 2, step.items, step.count) + 1;
    uint32_t end = area.columns - 1;
    if (column + canvas_width(pace.count ? pace.items[0].text : "") + 1 < end) end = draw_right(&pace, canvas, area, 1);
    uint32_t figures = canvas_items(canvas, (struct rect){0}, 1, 0, end - column, 2, after.items, after.count);
    uint32_t bar = end > column + figures + 4 ? end - column - figures - 4 : 0;
    if (bar > area.columns / 4) bar = area.columns / 4;
    if (rollup->iterations && bar >= 4) {
        for (uint32_t i = 0; i < bar; i++)
            canvas_glyph(canvas, area, 1, column + i, 0x2500, INK_DIM); /* what is left */
        canvas_bar(canvas, area, 1, column, bar, part, INK_FORWARD);
        column += bar + 1;
    }
    canvas_items(canvas, area, 1, column, end > 2 ? end - 2 : 0, 2, after.items, after.count);
}

/* Where time went that no op accounts for, as parts of the run; what rounds to nothing is left out. */
static void add_gaps(struct line *line, const struct rollup *rollup)
{
    static const char *const names[TRACE_GAPS] = {"data", "sync", "checkpoint", "evaluate"};
    double run_ns = (double)(rollup->last_ns - rollup->first_ns);
    if (rollup->device_count == 0 || !(run_ns > 0)) return;
    size_t before = line->count;
    for (int gap = 0; gap < TRACE_GAPS; gap++) {
        double part = 100 * (double)rollup->devices[0].gap_ns[gap] / run_ns;
        enum ink ink = part > 5 && gap < GAP_CHECKPOINT ? INK_WARN : INK_PLAIN;
        const char *label = line->count == before ? "waits" : NULL;
        if (part >= 0.05) add_item(line, 4, label, ink, "%s %.1f %%", names[gap], part);
    }
    if (line->count == before) add_item(line, 4, "waits", INK_PLAIN, "none");
}

static bool has_parts(const struct rollup *rollup) { return rollup->parts.steps > 0 && rollup->parts.ns > 0; }

static void add_metric(struct line *line, const struct rollup *rollup, uint8_t rank, enum trace_metric metric,
                       const char *name, double factor)
{
    double value = last_metric(rollup, metric);
    if (isfinite(value)) add_item(line, rank, name, INK_PLAIN, "%.4g%s", factor * value, factor > 1 ? " %" : "");
}

/* The first to go where the line is short is what takes the least. */
static uint8_t part_rank(const struct rollup_parts *parts, enum step_part part)
{
    int rank = 4;
    for (int other = 0; other < STEP_PARTS; other++)
        rank += parts->part_ns[other] > parts->part_ns[part] ||
                (parts->part_ns[other] == parts->part_ns[part] && other < (int)part);
    return (uint8_t)rank;
}

/* Where the time of a timed step goes, each nanosecond once: kernels and launch always, the others when they round to
 * anything. */
static void add_parts(struct line *line, const struct rollup_parts *parts)
{
    char text[16];
    add_item(line, 3, "timed step", INK_TITLE, "%s", format_ns((uint64_t)parts->ns, text));
    static const enum step_part order[STEP_PARTS] = {PART_KERNELS, PART_LAUNCH, PART_DEPENDENCY,
                                                     PART_COPY,    PART_SYNC,   PART_DATA};
    for (uint8_t i = 0; i < STEP_PARTS; i++) {
        double part = 100 * parts->part_ns[order[i]] / parts->ns;
        enum ink ink = order[i] == PART_KERNELS ? INK_GOOD : part > 5 ? INK_WARN : INK_PLAIN;
        if (part >= 0.05 || i < 2)
            add_item(line, part_rank(parts, order[i]), NULL, ink, "%s %.1f %%", step_part_name(order[i]), part);
    }
}

/* A cost that is not told from none for the noise of steps is what it is at most. */
static void add_cost(struct line *line, const struct rollup *rollup)
{
    double cost = 100 * last_metric(rollup, METRIC_PROFILER_COST),
           most = rollup_host_counter(rollup, COUNTER_COST_MOST);
    if (isfinite(most) && most >= 2 * cost)
        add_item(line, 6, NULL, INK_PLAIN, "cost < %.2g %%", most);
    else if (isfinite(cost))
        add_item(line, 6, NULL, INK_PLAIN, "cost %.2f %%", cost);
}

static void add_integrity(struct line *line, const struct rollup *rollup)
{
    const struct {
        uint64_t count;
        const char *what;
    } faults[] = {{rollup->dropped, "lost (--trace-queue)"},
                  {rollup->damaged_blocks, "damaged blocks"},
                  {rollup->lost_timestamps, "untimed"},
                  {rollup->unattributed, "unattributed"}};
    char text[UNITS_TEXT];
    bool whole = true;
    add_item(line, 2, "trace", INK_PLAIN, "%s events", units_format_si((double)rollup->events, text));
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        if (faults[i].count == 0) continue;
        whole = false;
        add_item(line, i == 0 ? 0 : 1, NULL, INK_BAD, "%s %s", units_format_count(faults[i].count, text),
                 faults[i].what);
    }
    if (whole) add_item(line, 1, NULL, INK_GOOD, "whole");
}

/* Where parts are known they take the next line, all of it. */
static void draw_metrics(const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    struct line line = {.count = 0}, integrity = {.count = 0};
    uint32_t end = area.columns;
    add_metric(&line, rollup, 0, METRIC_LOSS, "loss", 1);
    add_metric(&line, rollup, 3, METRIC_LEARNING_RATE, "rate", 1);
    add_metric(&line, rollup, 2, METRIC_TRAIN_ERROR, "train error", 100);
    add_metric(&line, rollup, 1, METRIC_TOP1_ERROR, "top-1 error", 100);
    add_metric(&line, rollup, 4, METRIC_TOP5_ERROR, "top-5 error", 100);
    if (has_parts(rollup)) {
        add_gaps(&line, rollup);
        add_integrity(&integrity, rollup);
        end = draw_right(&integrity, canvas, area, 2) - 2;
    }
    canvas_items(canvas, area, 2, 1, end, 3, line.items, line.count);
}

static void draw_account(const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    struct line line = {.count = 0};
    if (has_parts(rollup))
        add_parts(&line, &rollup->parts);
    else
        add_gaps(&line, rollup), add_integrity(&line, rollup);
    add_cost(&line, rollup);
    canvas_items(canvas, area, 3, 1, area.columns, 2, line.items, line.count);
}

void panel_header(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    if (area.rows < 4 || area.columns < 4) return;
    if (!rollup->has_run) {
        canvas_text(canvas, area, 0, 1, INK_TITLE, "fathom");
        canvas_text_cut(canvas, area, 1, 1, area.columns - 1, false, INK_DIM, "waiting for the run to begin");
        return;
    }
    draw_identity(dashboard, rollup, canvas, area);
    draw_progress(dashboard, rollup, canvas, area);
    draw_metrics(rollup, canvas, area);
    draw_account(rollup, canvas, area);
}

static void draw_filter(const struct dashboard *dashboard, struct canvas *canvas, struct rect area)
{
    struct line line = {.count = 0};
    add_item(&line, 0, NULL, INK_TITLE, "filter: %s_", dashboard->filter);
    add_item(&line, 1, NULL, INK_TITLE, "Enter keeps it,");
    add_item(&line, 1, NULL, INK_TITLE, "Esc clears it");
    canvas_items(canvas, area, 0, 1, area.columns, 1, line.items, line.count);
}

/* What a click on a word of the footer does is what its key does. */
static const struct hint {
    uint32_t key;
    const char *words;
} hints[] = {{'?', "? help"},      {'q', "q quit"},      {'/', "/ filter"},
             {'s', "s sort"},      {'g', "g group"},     {DASHBOARD_RETURN, "Enter open"},
             {' ', "Space pause"}, {'n', "n next step"}, {'r', "r record"},
             {'D', "D devices"}};
#define HINTS (sizeof hints / sizeof hints[0])
_Static_assert(VIEWS + HINTS <= DASHBOARD_WORDS, "more words than a footer has");

static bool is_for_now(const struct dashboard *dashboard, const struct rollup *rollup, uint32_t key)
{
    if (key == 'r') return goes_on(dashboard, rollup) && !dashboard->replay;
    if (key == 'n') return dashboard->replay;
    return key != 'D' || rollup->device_count > 1;
}

static void add_word(struct dashboard *dashboard, struct line *line, uint32_t key)
{
    if (line->count < CANVAS_MOST_ITEMS) dashboard->words[line->count].key = key;
}

void panel_footer(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    uint32_t columns[CANVAS_MOST_ITEMS];
    struct line line = {.count = 0};
    memset(dashboard->words, 0, sizeof dashboard->words);
    dashboard->words_row = area.row;
    if (area.rows == 0) return;
    if (dashboard->filter_open) {
        draw_filter(dashboard, canvas, area);
        return;
    }
    for (int view = 0; view < VIEWS; view++) {
        bool here = (int)dashboard->view == view;
        if (view == VIEW_KERNELS && !here && rollup->kernel_count == 0) continue;
        add_word(dashboard, &line, '1' + (uint32_t)view);
        add_item(&line, here ? 0 : 2, NULL, here ? INK_TITLE : INK_DIM, here ? "[%d %s]" : " %d %s ", view + 1,
                 view_name((enum view)view));
    }
    for (size_t i = 0; i < HINTS; i++) {
        bool clears = hints[i].key == '/' && dashboard->filter[0];
        if (!is_for_now(dashboard, rollup, hints[i].key)) continue;
        add_word(dashboard, &line, clears ? DASHBOARD_ESCAPE : hints[i].key);
        add_item(&line, i < 2 ? 1 : (uint8_t)(i + 1), NULL, INK_DIM, i ? "  %s" : " %s",
                 clears ? "Esc all" : hints[i].words);
    }
    canvas_place_items(line.items, line.count, 1, area.columns, 0, columns);
    for (size_t i = 0; i < line.count; i++) {
        if (columns[i] == CANVAS_NOWHERE) continue;
        dashboard->words[i].begin = area.column + columns[i];
        dashboard->words[i].end = dashboard->words[i].begin + canvas_width(line.items[i].text);
    }
    canvas_items(canvas, area, 0, 1, area.columns, 0, line.items, line.count);
}
