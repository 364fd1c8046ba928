#include "flow_draw.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "files.h"
#include "printable.h"
#include "svg.h"

#define WIDTH       1600.0
#define HEIGHT      620.0
#define TOP         150.0
#define BOTTOM      540.0
#define LEFT        90.0
#define PANEL_APART 520.0
#define PANEL_WIDTH 450.0
#define SMALL       "font-size=\"13\" fill=\"" SVG_SOFT "\""
#define TICK_APART  22.0

static const char *const titles[TRACE_NORMS] = {"Outputs of units", "Gradients with respect to them",
                                                "Gradients of their weights"};

struct panel {
    struct text *svg;
    const struct flow_picture *picture;
    enum trace_norm norm;
    double left;
    double low, high; /* decimal logarithms of the axis' ends */
    size_t units;     /* the most of a run */
};

/* ---- Values ---- */

/* NAN: nothing to draw. */
static double value_of(const struct panel *p, size_t run, size_t step, size_t unit)
{
    const struct flow *flow = p->picture->flows[run];
    double value = p->picture->rms ? flow_rms(flow, step, unit, p->norm) : (double)flow_norm(flow, step, unit, p->norm);
    return isfinite(value) && value > 0 ? value : (double)NAN;
}

static size_t curve_count(const struct flow *flow)
{
    return flow->step_count < FLOW_DRAW_CURVES ? flow->step_count : FLOW_DRAW_CURVES;
}

static size_t curve_step(const struct flow *flow, size_t curve)
{
    size_t curves = curve_count(flow);
    return curves > 1 ? curve * (flow->step_count - 1) / (curves - 1) : flow->step_count - 1;
}

static void cover(struct panel *p, double value)
{
    if (isnan(value)) return;
    p->low = fmin(p->low, log10(value));
    p->high = fmax(p->high, log10(value));
}

/* Half a decade at least. */
static void find_extent(struct panel *p)
{
    p->low = INFINITY;
    p->high = -INFINITY;
    for (size_t r = 0; r < p->picture->count; r++) {
        const struct flow *flow = p->picture->flows[r];
        if (flow->unit_count > p->units) p->units = flow->unit_count;
        for (size_t c = 0; c < curve_count(flow); c++)
            for (size_t u = 0; u < flow->unit_count; u++) cover(p, value_of(p, r, curve_step(flow, c), u));
    }
    if (p->low > p->high) p->low = p->high = 0;
    double middle = (p->low + p->high) / 2, half = fmax(0.25, 0.54 * (p->high - p->low));
    p->low = middle - half;
    p->high = middle + half;
}

static double x_of(const struct panel *p, double unit)
{
    return p->left + PANEL_WIDTH * (p->units > 1 ? unit / (double)(p->units - 1) : 0.5);
}

static double y_of(const struct panel *p, double value)
{
    return BOTTOM - (BOTTOM - TOP) * (log10(value) - p->low) / (p->high - p->low);
}

/* ---- Axes ---- */

static void draw_tick(const struct panel *p, double value)
{
    char label[32];
    svg_line(p->svg, p->left, y_of(p, value), p->left + PANEL_WIDTH, y_of(p, value), "stroke=\"" SVG_HAIR "\"");
    snprintf(label, sizeof label, value >= 0.9e-4 && value < 1e5 ? "%g" : "%.0e", value);
    svg_label(p->svg, p->left - 8, y_of(p, value) + 5, "text-anchor=\"end\" " SMALL, label);
}

/* Decades, where many do not fit every so many; where few do, 2 and 5 times these too. */
static void draw_values(const struct panel *p)
{
    static const double few[] = {1, 2, 5}, many[] = {1, 1.5, 2, 3, 4, 5, 6, 8};
    double decade = (BOTTOM - TOP) / (p->high - p->low), every = ceil(TICK_APART / decade);
    const double *parts = decade > 12 * TICK_APART ? many : few;
    int count = decade > 12 * TICK_APART ? 8 : decade > 4 * TICK_APART ? 3 : 1;
    for (double power = every * floor(p->low / every); power <= p->high; power += every)
        for (int i = 0; i < count; i++) {
            double at = power + log10(parts[i]);
            if (at >= p->low && at <= p->high) draw_tick(p, parts[i] * pow(10, power));
        }
}

/* "stage2/unit17": 6, the bytes of its stage. */
static size_t stage_length(const struct flow_unit *unit) { return strcspn(unit->layer, "/"); }

/* Where stages begin, of the run with the most units. */
static void draw_stages(const struct panel *p)
{
    const struct flow_picture *picture = p->picture;
    const struct flow *flow = picture->flows[picture->count > 1 && picture->flows[1]->unit_count == p->units];
    size_t begin = 0;
    for (size_t u = 1; u <= flow->unit_count; u++) {
        const struct flow_unit *unit = &flow->units[begin];
        size_t length = stage_length(unit);
        bool same = u < flow->unit_count && stage_length(&flow->units[u]) == length &&
                    strncmp(flow->units[u].layer, unit->layer, length) == 0;
        if (same) continue;
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)(length < 20 ? length : 20), unit->layer);
        double left = x_of(p, (double)begin), right = x_of(p, (double)u - 1);
        if (begin > 0)
            svg_line(p->svg, x_of(p, (double)begin - 0.5), TOP, x_of(p, (double)begin - 0.5), BOTTOM,
                     "stroke=\"" SVG_HAIR "\" stroke-dasharray=\"3 4\"");
        if (right - left > 60)
            svg_label(p->svg, (left + right) / 2, BOTTOM + 20, "text-anchor=\"middle\" " SMALL, name);
        begin = u;
    }
}

static void draw_axes(const struct panel *p)
{
    draw_values(p);
    draw_stages(p);
    svg_line(p->svg, p->left, BOTTOM, p->left + PANEL_WIDTH, BOTTOM, "stroke=\"" SVG_SOFT "\"");
    svg_label(p->svg, p->left, TOP - 16, "font-weight=\"600\"", titles[p->norm]);
    svg_label(p->svg, p->left + PANEL_WIDTH / 2, BOTTOM + 44, "text-anchor=\"middle\" " SMALL,
              "units, from the image to the loss");
}

/* ---- Curves ---- */

/* From the first step's colour to the last one's: light to dark. */
static void find_colour(size_t run, size_t curve, size_t curves, char out[8])
{
    static const int ends[2][2][3] = {{{0x9c, 0xc3, 0xee}, {0x0b, 0x3d, 0x91}},
                                      {{0xf5, 0xb9, 0x7a}, {0x9a, 0x34, 0x00}}};
    double part = curves > 1 ? (double)curve / (double)(curves - 1) : 1;
    int c[3];
    for (int i = 0; i < 3; i++) c[i] = (int)lround(ends[run][0][i] + part * (ends[run][1][i] - ends[run][0][i]));
    snprintf(out, 8, "#%02x%02x%02x", (unsigned)c[0] & 0xff, (unsigned)c[1] & 0xff, (unsigned)c[2] & 0xff);
}

/* A point between two gaps is a dot: a line of no length with round ends. */
static void draw_curve(const struct panel *p, size_t run, size_t curve)
{
    const struct flow *flow = p->picture->flows[run];
    size_t step = curve_step(flow, curve);
    char colour[8], name[64];
    bool gap = true;
    find_colour(run, curve, curve_count(flow), colour);
    text_add(p->svg,
             "<path fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" stroke-linecap=\"round\" "
             "stroke-linejoin=\"round\" d=\"",
             colour);
    for (size_t u = 0; u < flow->unit_count; u++) {
        double value = value_of(p, run, step, u);
        if (!isnan(value))
            text_add(p->svg, "%s%.1f %.1f%s", gap ? "M" : "L", x_of(p, (double)u), y_of(p, value), gap ? "h0" : "");
        gap = isnan(value);
    }
    text_add(p->svg, "\">");
    snprintf(name, sizeof name, "step %" PRIu64, flow->steps[step].step);
    svg_title(p->svg, name);
    text_add(p->svg, "</path>\n");
}

static void draw_panel(struct text *svg, const struct flow_picture *picture, enum trace_norm norm)
{
    struct panel p = {.svg = svg, .picture = picture, .norm = norm, .left = LEFT + PANEL_APART * (double)norm};
    find_extent(&p);
    draw_axes(&p);
    for (size_t r = 0; r < picture->count; r++)
        for (size_t c = 0; c < curve_count(picture->flows[r]); c++) draw_curve(&p, r, c);
}

/* ---- The page ---- */

/* Folders that both runs lie in tell nothing. */
static size_t shared_folders(const struct flow_picture *picture)
{
    const char *first = picture->names[0], *last = picture->names[picture->count - 1];
    size_t folders = 0;
    for (size_t i = 0; first[i] && first[i] == last[i]; i++)
        if (first[i] == '/') folders = i + 1;
    return folders;
}

static void add_run(const struct flow_picture *picture, size_t run, struct text *line)
{
    static const char end[] = ".trace";
    const struct flow *flow = picture->flows[run];
    const char *path = picture->names[run] + shared_folders(picture);
    size_t length = strlen(path);
    char name[512];
    if (length >= sizeof end && strcmp(path + length + 1 - sizeof end, end) == 0) length -= sizeof end - 1;
    snprintf(name, sizeof name, "%.*s", (int)length, path);
    text_add(line, "%s: ", PRINTABLE(name));
    if (flow->model[0])
        text_add(line, "%s on %s, batch %" PRIu32 ", ", PRINTABLE(flow->model), PRINTABLE(flow->dataset), flow->batch);
}

static void draw_legend(struct text *svg, const struct flow_picture *picture, size_t run)
{
    const struct flow *flow = picture->flows[run];
    const double y = 62 + 24 * (double)run, width = 90;
    size_t curves = curve_count(flow);
    struct text line = {0};
    for (size_t c = 0; c < curves; c++) {
        char colour[8], attributes[32];
        find_colour(run, c, curves, colour);
        snprintf(attributes, sizeof attributes, "fill=\"%s\"", colour);
        svg_rect(svg, LEFT + width * (double)c / (double)curves, y - 11, width / (double)curves, 12, attributes);
    }
    add_run(picture, run, &line);
    text_add(&line, "step %" PRIu64, flow->steps[0].step);
    if (curves > 1) text_add(&line, " (light) to %" PRIu64 " (dark)", flow->steps[flow->step_count - 1].step);
    if (flow->ranks > 1) text_add(&line, ", rank %" PRIu32 " of %" PRIu32, flow->rank, flow->ranks);
    if (!line.failed) svg_label(svg, LEFT + width + 12, y, SMALL, line.bytes);
    text_finish(&line);
}

bool flow_draw(const struct flow_picture *picture, const char *path, struct error *err)
{
    struct text svg = {0};
    const char *title = picture->rms ? "Root mean square by unit, logarithmic" : "L2 norms by unit, logarithmic";
    svg_begin(&svg, WIDTH, HEIGHT, title);
    svg_label(&svg, LEFT, 34, "font-size=\"20\" font-weight=\"600\"", title);
    for (size_t r = 0; r < picture->count; r++) draw_legend(&svg, picture, r);
    for (int norm = 0; norm < TRACE_NORMS; norm++) draw_panel(&svg, picture, (enum trace_norm)norm);
    svg_end(&svg);
    bool ok = svg.failed ? error_memory(err, svg.length, "the picture") : files_write(path, svg.bytes, svg.length, err);
    text_finish(&svg);
    return ok;
}
