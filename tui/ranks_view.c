#include "ranks_view.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "units.h"

/* ---- What the traces say ---- */

static uint64_t wall_end(const struct rollup *rollup, const struct rollup_step *step)
{
    return step->end_ns + rollup->wall_offset_ns;
}

/* Adds a step that all have ended; false when some have not. */
static bool add_step(struct ranks_view *view, const struct rollup *const rollups[], uint64_t number)
{
    uint64_t first = UINT64_MAX, last = 0;
    for (size_t i = 0; i < view->count; i++) {
        const struct rollup_step *step = rollup_ended_step(rollups[i], number);
        if (!step || step->begin_ns == 0) return false;
        uint64_t end = wall_end(rollups[i], step);
        if (end < first) first = end;
        if (end > last) last = end;
    }
    for (size_t i = 0; i < view->count; i++) {
        const struct rollup_step *step = rollup_ended_step(rollups[i], number);
        view->rows[i].step_ns += (double)(step->end_ns - step->begin_ns);
        view->rows[i].late_ns += (double)(wall_end(rollups[i], step) - first);
    }
    double spread = (double)(last - first);
    view->spread_ns += spread;
    if (spread > view->worst_ns) view->worst_ns = spread;
    return true;
}

static void find_steps(struct ranks_view *view, const struct rollup *const rollups[])
{
    const struct rollup *first = rollups[0];
    for (size_t i = first->step_count; i-- > 0 && view->steps < RANKS_VIEW_STEPS;)
        view->steps += add_step(view, rollups, first->steps[i].step);
    if (view->steps == 0) return;
    view->spread_ns /= view->steps;
    for (size_t i = 0; i < view->count; i++) {
        struct rank_row *row = &view->rows[i];
        row->steps_known = true;
        row->step_ns /= view->steps;
        row->late_ns /= view->steps;
        if (row->step_ns > view->step_ns) view->step_ns = row->step_ns;
    }
}

/* The time in all-reduces of a step of the first device; false when none was timed. */
static bool time_sums(const struct rollup *rollup, double *ns)
{
    bool any = false;
    *ns = 0;
    for (size_t i = 0; i < rollup->op_count; i++) {
        const struct rollup_op *op = &rollup->ops[i];
        if (op->device != 0 || op->count == 0 || strcmp(op->pass, "comm") != 0) continue;
        *ns += (double)op->total_ns / (double)op->count;
        any = true;
    }
    return any;
}

static void find_waits(struct ranks_view *view, const struct rollup *const rollups[])
{
    view->waited_known = view->count > 1;
    for (size_t i = 0; i < view->count; i++) {
        struct rank_row *row = &view->rows[i];
        row->sums_known = time_sums(rollups[i], &row->sums_ns);
        view->waited_known = view->waited_known && row->sums_known;
        if (row->sums_known && row->sums_ns < view->rows[view->waited_for].sums_ns) view->waited_for = i;
    }
    for (size_t i = 0; view->waited_known && i < view->count; i++)
        view->rows[i].waits_ns = view->rows[i].sums_ns - view->rows[view->waited_for].sums_ns;
}

void ranks_view_make(struct ranks_view *view, const struct rollup *const rollups[])
{
    *view = (struct ranks_view){.rows = view->rows, .count = view->count, .iterations = rollups[0]->iterations};
    for (size_t i = 0; i < view->count; i++) {
        struct rank_row *row = &view->rows[i];
        *row = (struct rank_row){.rank = rollups[i]->rank,
                                 .host = rollups[i]->origin_host,
                                 .devices = rollups[i]->own_devices,
                                 .step = rollup_steps_done(rollups[i]),
                                 .ended = rollups[i]->ended,
                                 .crashed = row->crashed,
                                 .silent_seconds = row->silent_seconds};
    }
    find_steps(view, rollups);
    find_waits(view, rollups);
}

/* ---- Drawing ---- */

#define AT_HOST   6
#define FIRST_ROW 5

/* Where each column ends; names of hosts get what is left of the width, a bar the rest. */
struct columns {
    uint32_t host, devices, step, time, late, sums, waits, bar;
};

static struct columns place_columns(uint32_t width)
{
    uint32_t host = width < 84 ? 12 : width < 104 ? width - 72 : 32;
    struct columns at = {.host = AT_HOST + host};
    at.devices = at.host + 8;
    at.step = at.devices + 9;
    at.time = at.step + 10;
    at.late = at.time + 10;
    at.sums = at.late + 10;
    at.waits = at.sums + 10;
    at.bar = at.waits + 2;
    return at;
}

static const char *time_text(bool known, double ns, char out[UNITS_TEXT])
{
    return known ? units_format_seconds(ns * 1e-9, out) : "-";
}

/* What does not fit is cut, and says so. */
__attribute__((format(printf, 5, 6))) static void draw_line(struct canvas *canvas, struct rect area, uint32_t row,
                                                            enum ink ink, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    canvas_text_cut(canvas, area, row, 0, area.columns, false, ink, text);
}

/* Of all ranks: whether any still makes steps. */
static void draw_state(const struct ranks_view *view, struct canvas *canvas, struct rect area, uint32_t column)
{
    char text[40] = "LIVE";
    size_t ended = 0, gone = 0;
    for (size_t i = 0; i < view->count; i++) {
        ended += view->rows[i].ended;
        gone += view->rows[i].crashed;
    }
    if (view->reading)
        snprintf(text, sizeof text, "READING %.0f %%", 100 * view->read_part);
    else if (gone)
        snprintf(text, sizeof text, "%zu GONE", gone);
    else if (ended)
        snprintf(text, sizeof text, ended < view->count ? "%zu ENDED" : "ENDED", ended);
    enum ink ink = view->reading || (ended && !gone) ? INK_TITLE : gone ? INK_BAD : INK_GOOD;
    if (column + 2 + canvas_width(text) < area.columns)
        canvas_text_right(canvas, area, 0, area.columns - 1, ink, "%s", text);
}

static void draw_head(const struct ranks_view *view, struct canvas *canvas, struct rect area)
{
    char spread[UNITS_TEXT], worst[UNITS_TEXT], step[UNITS_TEXT];
    uint64_t least = view->rows[0].step;
    for (size_t i = 1; i < view->count; i++)
        if (view->rows[i].step < least) least = view->rows[i].step;
    uint32_t column = canvas_text(canvas, area, 0, 0, INK_TITLE, "%zu ranks", view->count);
    column =
        canvas_text(canvas, area, 0, column + 2, INK_PLAIN, "step %" PRIu64 " of %" PRIu64, least, view->iterations);
    draw_state(view, canvas, area, column);
    if (view->steps > 0)
        draw_line(canvas, area, 1, INK_PLAIN, "their ends of a step of %s lie %s apart, %s at most (last %u)",
                  units_format_seconds(view->step_ns * 1e-9, step),
                  units_format_seconds(view->spread_ns * 1e-9, spread),
                  units_format_seconds(view->worst_ns * 1e-9, worst), view->steps);
    else
        draw_line(canvas, area, 1, INK_DIM, "no step that all have ended");
    if (view->waited_known)
        draw_line(canvas, area, 2, INK_WARN, "rank %u on %s is waited for: the others are longer in sums",
                  view->rows[view->waited_for].rank, view->rows[view->waited_for].host);
    else
        draw_line(canvas, area, 2, INK_DIM, "who is waited for is known when ops have been timed");
}

/* A column is whole or not there: half a number would be another one. */
static void draw_cell(struct canvas *canvas, struct rect area, uint32_t row, uint32_t end, enum ink ink,
                      const char *text)
{
    if (end <= area.columns) canvas_text_right(canvas, area, row, end, ink, "%s", text);
}

static void draw_titles(struct canvas *canvas, struct rect area, const struct columns *at)
{
    const uint32_t row = FIRST_ROW - 1;
    const struct {
        uint32_t end;
        const char *title;
    } titles[] = {{at->devices, "DEVICES"}, {at->step, "STEP"},    {at->time, "TIME"},
                  {at->late, "LATE"},       {at->sums, "IN SUMS"}, {at->waits, "WAITS"}};
    canvas_text(canvas, area, row, 0, INK_DIM, "RANK");
    canvas_text(canvas, area, row, AT_HOST, INK_DIM, "HOST");
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++)
        draw_cell(canvas, area, row, titles[i].end, INK_DIM, titles[i].title);
}

static void draw_waits(const struct ranks_view *view, const struct rank_row *row, struct canvas *canvas,
                       struct rect area, uint32_t line, const struct columns *at)
{
    char waits[UNITS_TEXT];
    uint32_t width = area.columns > at->bar ? area.columns - at->bar : 0;
    double part = view->step_ns > 0 ? row->waits_ns / view->step_ns : 0;
    uint32_t cells = (uint32_t)((double)width * (part < 1 ? part : 1));
    draw_cell(canvas, area, line, at->waits, INK_PLAIN, time_text(true, row->waits_ns, waits));
    for (uint32_t i = 0; i < cells; i++) canvas_glyph(canvas, area, line, at->bar + i, 0x2588, INK_COMM);
}

/* In words, what is wrong with a rank; empty where nothing is. */
static void write_trouble(const struct rank_row *row, char out[32])
{
    out[0] = '\0';
    if (row->crashed)
        snprintf(out, 32, "process gone");
    else if (!row->ended && row->silent_seconds > 5)
        snprintf(out, 32, "silent %.0f s", row->silent_seconds);
}

static void draw_numbers(const struct ranks_view *view, size_t i, struct canvas *canvas, struct rect area,
                         uint32_t line, const struct columns *at, enum ink ink)
{
    const struct rank_row *row = &view->rows[i];
    char text[UNITS_TEXT];
    snprintf(text, sizeof text, "%u", row->devices);
    draw_cell(canvas, area, line, at->devices, ink, text);
    snprintf(text, sizeof text, "%" PRIu64, row->step);
    draw_cell(canvas, area, line, at->step, ink, text);
    draw_cell(canvas, area, line, at->time, ink, time_text(row->steps_known, row->step_ns, text));
    draw_cell(canvas, area, line, at->late, ink, time_text(row->steps_known, row->late_ns, text));
    draw_cell(canvas, area, line, at->sums, ink, time_text(row->sums_known, row->sums_ns, text));
}

/* Trouble stands where waits would, and on a narrow screen where numbers would. */
static void draw_row(const struct ranks_view *view, size_t i, struct canvas *canvas, struct rect area, uint32_t line,
                     const struct columns *at)
{
    const struct rank_row *row = &view->rows[i];
    char trouble[32];
    write_trouble(row, trouble);
    bool narrow = *trouble && at->sums + 2 + canvas_width(trouble) > area.columns;
    enum ink ink = row->crashed ? INK_BAD : view->waited_known && i == view->waited_for ? INK_WARN : INK_PLAIN;
    canvas_text(canvas, area, line, 0, ink, "%u", row->rank);
    canvas_text_cut(canvas, area, line, AT_HOST, at->host - AT_HOST, false, ink, row->host);
    if (!narrow) draw_numbers(view, i, canvas, area, line, at, ink);
    if (*trouble)
        canvas_text(canvas, area, line, narrow ? at->host + 1 : at->sums + 2, row->crashed ? INK_BAD : INK_WARN, "%s",
                    trouble);
    else if (view->waited_known)
        draw_waits(view, row, canvas, area, line, at);
    else
        draw_cell(canvas, area, line, at->waits, INK_DIM, "-");
}

/* How many rows there are for the one that is waited for, for those that are gone and for the others: as far as there
 * is room, in this order. */
enum worth { WAITED_FOR, GONE, OTHERS, WORTHS };

static enum worth worth_of(const struct ranks_view *view, size_t i)
{
    if (view->waited_known && i == view->waited_for) return WAITED_FOR;
    return view->rows[i].crashed ? GONE : OTHERS;
}

static void share_rows(const struct ranks_view *view, size_t rows, size_t shares[WORTHS])
{
    memset(shares, 0, WORTHS * sizeof shares[0]);
    for (size_t i = 0; i < view->count; i++) shares[worth_of(view, i)]++;
    for (size_t i = 0; i < WORTHS; i++) {
        if (shares[i] > rows) shares[i] = rows;
        rows -= shares[i];
    }
}

static size_t draw_rows(const struct ranks_view *view, size_t most, struct canvas *canvas, struct rect area,
                        const struct columns *at)
{
    size_t shares[WORTHS];
    uint32_t line = FIRST_ROW;
    share_rows(view, most, shares);
    for (size_t i = 0; i < view->count; i++) {
        size_t *share = &shares[worth_of(view, i)];
        if (*share == 0) continue;
        --*share;
        draw_row(view, i, canvas, area, line++, at);
    }
    return line - FIRST_ROW;
}

void ranks_view_draw(const struct ranks_view *view, struct canvas *canvas)
{
    struct rect area = {0, 0, canvas->rows, canvas->columns};
    const struct columns at = place_columns(area.columns);
    const uint32_t room = area.rows > FIRST_ROW + 1 ? area.rows - FIRST_ROW - 1 : 0; /* above the keys */
    canvas_clear(canvas);
    draw_head(view, canvas, area);
    draw_titles(canvas, area, &at);
    bool all = view->count <= room;
    size_t shown = draw_rows(view, all || room == 0 ? room : room - 1, canvas, area, &at);
    if (!all && room > 0)
        canvas_text(canvas, area, area.rows - 2, 0, INK_DIM, "%zu more ranks; a higher screen shows them",
                    view->count - shown);
    if (area.rows > FIRST_ROW)
        canvas_text_cut(canvas, area, area.rows - 1, 1, area.columns > 1 ? area.columns - 1 : 0, false, INK_DIM,
                        "q quit   fathom top TRACE: one rank's ops, layers and memory");
}
