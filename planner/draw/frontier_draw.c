#include "frontier_draw.h"

#include <math.h>
#include <stdio.h>

#include "files.h"
#include "printable.h"
#include "text.h"
#include "units.h"

#define WIDTH  1280.0
#define HEIGHT 720.0
#define LEFT   120.0
#define RIGHT  1220.0
#define TOP    110.0
#define BOTTOM 630.0
#define TICKS  5
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

/* The cost at so much of the axis's height. */
static double cost_at(const struct picture *p, double part)
{
    if (is_logarithmic(p)) return p->least_cost * pow(p->most_cost / p->least_cost, part);
    return p->least_cost + part * (p->most_cost - p->least_cost);
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
}

static void draw_axes(struct picture *p)
{
    char label[UNITS_TEXT];
    text_add(&p->svg, "<path d=\"M%.1f %.1fV%.1fH%.1f\" fill=\"none\" stroke=\"#5b6675\"/>\n", LEFT, TOP, BOTTOM,
             RIGHT);
    for (int i = 0; i <= TICKS; i++) {
        double part = i / (double)TICKS, cost = cost_at(p, part);
        if (p->frontier->by_share)
            snprintf(label, sizeof label, "%.0f %%", 100 * part * p->most_size);
        else
            units_format_bytes((uint64_t)(part * p->most_size), label);
        add_label(p, x_of(p, part * p->most_size), BOTTOM + 26, "middle", label);
        if (p->frontier->timed)
            units_format_seconds(cost, label);
        else
            snprintf(label, sizeof label, "%+.1f %%", 100 * (cost - 1));
        add_label(p, LEFT - 10, y_of(p, cost) + 5, "end", label);
    }
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
    for (size_t i = 0; i < f->count; i++)
        text_add(&p->svg, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\" fill=\"%s\"/>\n",
                 x_of(p, frontier_size(f, &f->points[i])), y_of(p, frontier_cost(f, &f->points[i])),
                 f->points[i].memory_share <= 1 ? "#0072b2" : "#d3d9e0");
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
    text_add(&p.svg, "</svg>\n");
    bool ok = p.svg.failed ? error_memory(err, p.svg.capacity, "the picture")
                           : files_write(path, p.svg.bytes, p.svg.length, err);
    text_finish(&p.svg);
    return ok;
}
