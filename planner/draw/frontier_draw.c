#include "frontier_draw.h"

#include <math.h>
#include <stdio.h>

#include "files.h"
#include "printable.h"
#include "text.h"
#include "ticks.h"
#include "units.h"

#define WIDTH      1280.0
#define HEIGHT     720.0
#define LEFT       120.0
#define RIGHT      1220.0
#define TOP        110.0
#define BOTTOM     630.0
#define TICK_APART 24.0 /* pixels between two of the logarithmic axis */
/* From this ratio of costs on the axis is logarithmic: the least memory may cost twenty times the rest. */
#define MUCH 4.0

struct picture {
    struct text svg;
    const struct frontier *frontier;
    double most_size, least_cost, most_cost;
};

static double x_of(const struct picture *p, double size) { return LEFT + (RIGHT - LEFT) * size / p->most_size; }

static bool is_logarithmic(const struct picture *p) { return p->most_cost > MUCH * p->least_cost; }

static double y_of(const struct picture *p, double cost)
{
    double part = 0.5;
    if (is_logarithmic(p))
        part = log(cost / p->least_cost) / log(p->most_cost / p->least_cost);
    else if (p->most_cost > p->least_cost)
        part = (cost - p->least_cost) / (p->most_cost - p->least_cost);
    return BOTTOM - (BOTTOM - TOP) * part;
}

/* Sizes in bytes have round values in powers of two. */
static double round_bytes(double span, int most)
{
    double step = 1;
    while (span / step > most) step *= 2;
    return step;
}

/* What the cost axis counts: seconds, or the part that is computed again. */
static double cost_base(const struct picture *p) { return p->frontier->timed ? 0 : 1; }

/* 1, 2 and 5 times powers of ten that do not lie too close on the axis. */
static size_t list_logarithmic(const struct picture *p, double ticks[TICKS_MOST])
{
    static const double parts[] = {1, 2, 5};
    double base = cost_base(p), last = BOTTOM + TICK_APART;
    size_t count = 0;
    if (p->least_cost <= base) {
        ticks[count++] = 0;
        last = BOTTOM;
    }
    for (int i = 0; i < 54 && count < TICKS_MOST; i++) {
        double value = parts[i % 3] * pow(10, i / 3 - 9), cost = base + value;
        if (cost < p->least_cost || cost > p->most_cost || last - y_of(p, cost) < TICK_APART) continue;
        last = y_of(p, cost);
        ticks[count++] = value;
    }
    return count;
}

static size_t list_costs(const struct picture *p, double ticks[TICKS_MOST])
{
    double low = p->least_cost - cost_base(p), high = p->most_cost - cost_base(p);
    if (is_logarithmic(p)) return list_logarithmic(p, ticks);
    if (high > low) return ticks_list(low, high, ticks_step(high - low, 6), ticks);
    ticks[0] = low;
    return 1;
}

static void add_label(struct picture *p, double x, double y, const char *anchor, const char *plain)
{
    text_add(&p->svg, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    text_add_xml(&p->svg, plain);
    text_add(&p->svg, "</text>\n");
}

static void find_extent(struct picture *p)
{
    const struct frontier *f = p->frontier;
    const struct frontier_point *last = &f->points[f->count - 1];
    p->most_size = 1.05 * frontier_size(f, last);
    p->least_cost = frontier_cost(f, last);
    p->most_cost = frontier_cost(f, &f->points[0]);
    if (f->own.peak_bytes == 0) return;
    p->most_size = fmax(p->most_size, 1.05 * frontier_size(f, &f->own));
    p->most_cost = fmax(p->most_cost, frontier_cost(f, &f->own));
}

static void draw_sizes(struct picture *p)
{
    char label[UNITS_TEXT];
    double ticks[TICKS_MOST],
        step = p->frontier->by_share ? ticks_step(p->most_size, 10) : round_bytes(p->most_size, 8);
    size_t count = ticks_list(0, p->most_size, step, ticks);
    for (size_t i = 0; i < count; i++) {
        if (p->frontier->by_share)
            snprintf(label, sizeof label, "%.*f %%", step < 0.01 ? 1 : 0, 100 * ticks[i]);
        else
            units_format_bytes((uint64_t)ticks[i], label);
        add_label(p, x_of(p, ticks[i]), BOTTOM + 26, "middle", ticks[i] > 0 ? label : "0");
    }
}

static void draw_costs(struct picture *p)
{
    char label[UNITS_TEXT];
    double ticks[TICKS_MOST];
    size_t count = list_costs(p, ticks);
    for (size_t i = 0; i < count; i++) {
        if (p->frontier->timed)
            units_format_seconds(ticks[i], label);
        else
            snprintf(label, sizeof label, "%+.*f %%", ticks[i] > 0 && ticks[i] < 0.01 ? 1 : 0, 100 * ticks[i]);
        add_label(p, LEFT - 10, y_of(p, cost_base(p) + ticks[i]) + 5, "end", ticks[i] > 0 ? label : "0");
    }
}

static void draw_axes(struct picture *p)
{
    text_add(&p->svg, "<path d=\"M%.1f %.1fV%.1fH%.1f\" fill=\"none\" stroke=\"#5b6675\"/>\n", LEFT, TOP, BOTTOM,
             RIGHT);
    draw_sizes(p);
    draw_costs(p);
    add_label(p, (LEFT + RIGHT) / 2, BOTTOM + 56, "middle",
              p->frontier->by_share ? "peak of the fullest device, of its memory" : "peak memory of a device");
    add_label(p, LEFT, TOP - 18, "start",
              p->frontier->timed  ? is_logarithmic(p) ? "predicted step, logarithmic" : "predicted step"
              : is_logarithmic(p) ? "more computation, logarithmic"
                                  : "more computation");
}

static void draw_memory(struct picture *p)
{
    double memory = p->frontier->by_share ? 1 : (double)p->frontier->memory_bytes;
    if (memory > p->most_size) return;
    text_add(&p->svg, "<path d=\"M%.1f %.1fV%.1f\" stroke=\"#b3261e\" stroke-dasharray=\"6 4\"/>\n", x_of(p, memory),
             TOP, BOTTOM);
    add_label(p, x_of(p, memory), TOP - 6, "middle", p->frontier->by_share ? "its memory" : "memory of a device");
}

static void draw_point(struct picture *p, const struct frontier_point *point)
{
    const struct frontier *f = p->frontier;
    char peak[UNITS_TEXT], step[UNITS_TEXT], title[200];
    size_t used = (size_t)snprintf(title, sizeof title, "%s, %.1f %% more computation, --recompute %s",
                                   units_format_bytes(point->peak_bytes, peak), 100 * point->extra_flops_fraction,
                                   recompute_policy_name(point->recompute));
    if (f->timed)
        snprintf(title + used, sizeof title - used, ", %s a step", units_format_seconds(point->step_seconds, step));
    text_add(&p->svg, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\" fill=\"%s\"><title>", x_of(p, frontier_size(f, point)),
             y_of(p, frontier_cost(f, point)), point->memory_share <= 1 ? "#0072b2" : "#d3d9e0");
    text_add_xml(&p->svg, title);
    text_add(&p->svg, "</title></circle>\n");
}

/* Steps: between two plans the smaller one's cost holds. */
static void draw_points(struct picture *p)
{
    const struct frontier *f = p->frontier;
    text_add(&p->svg, "<path fill=\"none\" stroke=\"#0072b2\" stroke-width=\"2\" d=\"");
    for (size_t i = 0; i < f->count; i++) {
        double x = x_of(p, frontier_size(f, &f->points[i])), y = y_of(p, frontier_cost(f, &f->points[i]));
        text_add(&p->svg, i == 0 ? "M%.1f %.1f" : "H%.1fV%.1f", x, y);
    }
    text_add(&p->svg, "\"/>\n");
    for (size_t i = 0; i < f->count; i++) draw_point(p, &f->points[i]);
}

/* The plan that was told, also where another beats it. */
static void draw_own(struct picture *p)
{
    const struct frontier *f = p->frontier;
    double x = x_of(p, frontier_size(f, &f->own)), y = y_of(p, frontier_cost(f, &f->own));
    bool left = x > (LEFT + RIGHT) / 2;
    if (f->own.peak_bytes == 0) return;
    text_add(&p->svg,
             "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"10\" fill=\"none\" stroke=\"#d55e00\" stroke-width=\"3\"/>\n", x, y);
    add_label(p, left ? x - 16 : x + 16, y - 12, left ? "end" : "start", "this plan");
}

bool frontier_draw(const struct frontier *frontier, const char *title, const char *path, struct error *err)
{
    struct picture p = {.frontier = frontier};
    find_extent(&p);
    text_add(
        &p.svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" font-family=\"Helvetica, Arial, "
        "sans-serif\" font-size=\"15\" fill=\"#1b2430\">\n<rect width=\"%.0f\" height=\"%.0f\" fill=\"#ffffff\"/>\n",
        WIDTH, HEIGHT, WIDTH, HEIGHT);
    text_add(&p.svg, "<g font-size=\"22\">");
    add_label(&p, LEFT, 48, "start", title);
    text_add(&p.svg, "</g>\n");
    draw_axes(&p);
    draw_memory(&p);
    draw_points(&p);
    draw_own(&p);
    text_add(&p.svg, "</svg>\n");
    bool ok = p.svg.failed ? error_memory(err, p.svg.capacity, "the picture")
                           : files_write(path, p.svg.bytes, p.svg.length, err);
    text_finish(&p.svg);
    return ok;
}
