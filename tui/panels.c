/* Header, footer and help. */
#include "panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "units.h"

/* The newest value of a metric, NAN when it was never reported. */
static double last_metric(const struct rollup *rollup, enum trace_metric metric)
{
    for (size_t i = rollup->step_count; i-- > 0;)
        if (isfinite(rollup->steps[i].metric[metric])) return rollup->steps[i].metric[metric];
    return NAN;
}

/* Time left at the mean pace of the steps seen. */
static double seconds_left(const struct rollup *rollup)
{
    uint64_t done = rollup_steps_done(rollup);
    if (rollup->step_count < 2 || done >= rollup->iterations) return NAN;
    const struct rollup_step *first = &rollup->steps[0];
    uint64_t steps = done >= first->step ? done - first->step + 1 : 0;
    if (steps == 0 || rollup->last_ns <= first->begin_ns) return NAN;
    return (double)(rollup->last_ns - first->begin_ns) * 1e-9 / (double)steps * (double)(rollup->iterations - done);
}

static void draw_state(const struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas,
                       struct rect area)
{
    uint32_t end = area.columns - 1;
    char silent[UNITS_TEXT];
    if (dashboard->paused)
        canvas_text_right(canvas, area, 0, end, INK_WARN, "PAUSED");
    else if (rollup->ended)
        canvas_text_right(canvas, area, 0, end, INK_TITLE, "ENDED");
    else if (dashboard->replay)
        canvas_text_right(canvas, area, 0, end, INK_TITLE, "REPLAY");
    else if (dashboard->crashed)
        canvas_text_right(canvas, area, 0, end, INK_WARN, "CRASHED");
    else if (dashboard->silent_seconds >= 5)
        canvas_text_right(canvas, area, 0, end, INK_WARN, "SILENT FOR %s",
                          units_format_seconds(dashboard->silent_seconds, silent));
    else
        canvas_text_right(canvas, area, 0, end, INK_GOOD, "LIVE");
}

static void draw_progress(const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    char text[UNITS_TEXT];
    uint64_t done = rollup_steps_done(rollup);
    double part = rollup->iterations ? (double)done / (double)rollup->iterations : 0;
    uint32_t column =
        canvas_text(canvas, area, 1, 1, INK_PLAIN, "step %" PRIu64 "/%" PRIu64 " ", done, rollup->iterations);
    uint32_t bar = area.columns / 4;
    canvas_bar(canvas, area, 1, column, bar, part, INK_FORWARD);
    column = canvas_text(canvas, area, 1, column + bar + 1, INK_PLAIN, "%.0f %%", 100 * part);
    double left = seconds_left(rollup);
    if (isfinite(left) && !rollup->ended)
        column = canvas_text(canvas, area, 1, column + 2, INK_PLAIN, "%s left", units_format_seconds(left, text));
    double rate = last_metric(rollup, METRIC_IMAGES_PER_SECOND);
    if (isfinite(rate)) canvas_text_right(canvas, area, 1, area.columns - 1, INK_TITLE, "%.0f images/s", rate);
}

static uint32_t draw_metric(const struct rollup *rollup, struct canvas *canvas, struct rect area, uint32_t column,
                            enum trace_metric metric, const char *name, const char *format_unit, double factor)
{
    double value = last_metric(rollup, metric);
    if (!isfinite(value)) return column;
    column = canvas_text(canvas, area, 2, column, INK_DIM, "%s ", name);
    return canvas_text(canvas, area, 2, column, INK_PLAIN, "%.4g%s", factor * value, format_unit) + 3;
}

static void draw_metrics(const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    uint32_t column = 1;
    column = draw_metric(rollup, canvas, area, column, METRIC_LOSS, "loss", "", 1);
    column = draw_metric(rollup, canvas, area, column, METRIC_LEARNING_RATE, "rate", "", 1);
    column = draw_metric(rollup, canvas, area, column, METRIC_TRAIN_ERROR, "train error", " %", 100);
    column = draw_metric(rollup, canvas, area, column, METRIC_TOP1_ERROR, "top-1 error", " %", 100);
    draw_metric(rollup, canvas, area, column, METRIC_TOP5_ERROR, "top-5 error", " %", 100);
}

/* Where time went that no op accounts for, as parts of the run; what rounds to nothing is left out. */
static uint32_t draw_gaps(const struct rollup *rollup, struct canvas *canvas, struct rect area, uint32_t column)
{
    static const char *const names[TRACE_GAPS] = {"data", "sync", "checkpoint", "evaluate"};
    double run_ns = (double)(rollup->last_ns - rollup->first_ns);
    if (rollup->device_count == 0 || !(run_ns > 0)) return column;
    column = canvas_text(canvas, area, 3, column, INK_DIM, "waits ");
    uint32_t begin = column;
    for (int gap = 0; gap < TRACE_GAPS; gap++) {
        double part = 100 * (double)rollup->devices[0].gap_ns[gap] / run_ns;
        enum ink ink = part > 5 && gap < GAP_CHECKPOINT ? INK_WARN : INK_PLAIN;
        if (part >= 0.05) column = canvas_text(canvas, area, 3, column, ink, "%s %.1f %%  ", names[gap], part);
    }
    return column > begin ? column : canvas_text(canvas, area, 3, column, INK_PLAIN, "none  ");
}

static void draw_integrity(const struct rollup *rollup, struct canvas *canvas, struct rect area, uint32_t column)
{
    char text[UNITS_TEXT];
    double cost = last_metric(rollup, METRIC_PROFILER_COST);
    column = canvas_text(canvas, area, 3, column, INK_DIM, "trace ");
    column =
        canvas_text(canvas, area, 3, column, INK_PLAIN, "%s events", units_format_si((double)rollup->events, text));
    if (isfinite(cost)) column = canvas_text(canvas, area, 3, column, INK_PLAIN, ", cost %.2f %%", 100 * cost);
    uint64_t lost = rollup->dropped + rollup->lost_timestamps + rollup->unattributed + rollup->damaged_blocks;
    if (lost == 0) {
        canvas_text(canvas, area, 3, column, INK_GOOD, ", whole");
        return;
    }
    canvas_text(canvas, area, 3, column, INK_BAD,
                ", %" PRIu64 " dropped, %" PRIu64 " untimed, %" PRIu64 " unattributed, %" PRIu64 " damaged blocks",
                rollup->dropped, rollup->lost_timestamps, rollup->unattributed, rollup->damaged_blocks);
}

void panel_header(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    if (area.rows < 4) return;
    if (!rollup->has_run) {
        canvas_text(canvas, area, 0, 1, INK_TITLE, "fathom");
        canvas_text(canvas, area, 1, 1, INK_DIM, "waiting for the run to begin");
        return;
    }
    char parameters[UNITS_TEXT];
    uint32_t column = canvas_text(canvas, area, 0, 1, INK_TITLE, "%s", rollup->model);
    canvas_text(canvas, area, 0, column, INK_PLAIN, " · %s parameters · %s · batch %u on %u × %s · %s",
                units_format_si((double)rollup->parameters, parameters), rollup->dataset, rollup->batch,
                rollup->device_count, rollup->backend, rollup->host);
    draw_state(dashboard, rollup, canvas, area);
    draw_progress(rollup, canvas, area);
    draw_metrics(rollup, canvas, area);
    draw_integrity(rollup, canvas, area, draw_gaps(rollup, canvas, area, 1));
}

void panel_footer(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    (void)rollup;
    if (area.rows == 0) return;
    if (dashboard->filter_open) {
        canvas_text(canvas, area, 0, 1, INK_TITLE, "filter: %s_   Enter keeps it, Esc clears it", dashboard->filter);
        return;
    }
    uint32_t column = 1;
    for (int view = 0; view < VIEWS; view++) {
        bool here = (int)dashboard->view == view;
        column = canvas_text(canvas, area, 0, column, here ? INK_TITLE : INK_DIM, here ? "[%d %s]" : " %d %s ",
                             view + 1, view_name((enum view)view));
    }
    canvas_text(canvas, area, 0, column + 1, INK_DIM,
                "? help  q quit  / filter  s sort  g group  Enter open  Space pause");
}

void panel_help(struct canvas *canvas)
{
    static const char *const lines[] = {
        "1-5, Tab     overview, ops, layers, memory, loss",
        "Up Down j k  select a line;  PgUp PgDn Home End",
        "Enter        open: a kind's ops, an op's layer, a layer's parts",
        "Left Right   close and open in the tree; else step back and forth",
        "s, S         sort by the next, the previous column",
        "g            ops one by one, or together by kind and pass",
        "/            filter by layer, kind or pass; Esc clears",
        "d            next device in the memory panel",
        "+ -          zoom the loss curve",
        "Space        pause and go on (the run itself is never touched)",
        "q            quit (the run goes on)",
    };
    uint32_t rows = sizeof lines / sizeof lines[0] + 2, columns = 68;
    if (canvas->rows < rows || canvas->columns < columns)
        columns = canvas->columns, rows = rows < canvas->rows ? rows : canvas->rows;
    struct rect area = {(canvas->rows - rows) / 2, (canvas->columns - columns) / 2, rows, columns};
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < columns; column++) canvas_glyph(canvas, area, row, column, ' ', INK_PLAIN);
    struct rect inside = canvas_frame(canvas, area, "Keys", true);
    for (uint32_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        canvas_text(canvas, inside, i, 1, INK_PLAIN, "%s", lines[i]);
}
