#include "chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "printable.h"
#include "svg.h"
#include "ticks.h"

#define WIDTH         1000.0
#define LEFT          80.0
#define RIGHT         920.0
#define HEAD          52.0 /* of the title */
#define LEGEND_ROW    24.0
#define PANEL_ONE     400.0 /* a panel's height, without what is written around it: alone, or among others */
#define PANEL_MANY    250.0
#define ABOVE         40.0
#define BELOW         64.0
#define LETTER        7.2  /* about the width of a character at 13 px */
#define LEGEND_COLUMN 60.0 /* names begin at multiples of it */
#define MOST_NAME     110  /* characters of a name in the legend: a row */

struct panel {
    const struct chart_panel *told;
    size_t number;
    double top, bottom;
    double most_x, least_y[2], most_y[2]; /* of the axes: left, right */
    double shade;                         /* of a band, which others may cover */
};

/* ---- Extents ---- */

static int compare_reals(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Its highest point, but at most eight times what three quarters of its points stay below: of a loss that falls that is
 * all, of one that leaps now and then its floor. */
static double usual_most(const struct chart_series *s, double *values)
{
    const double *y = s->high ? s->high : s->y;
    size_t count = 0;
    for (size_t i = 0; i < s->count; i++)
        if (isfinite(y[i])) values[count++] = y[i];
    if (count == 0) return 0;
    qsort(values, count, sizeof *values, compare_reals);
    double most = values[count - 1], usual = 8 * values[count - 1 - count / 4];
    return usual > 0 ? fmin(most, usual) : most;
}

/* The highest of the curves, but at most twice the middle one: one that diverges leaves room for the others. */
static double axis_most(const struct chart_panel *panel, bool right, double *values, double *mosts)
{
    size_t count = 0;
    for (size_t i = 0; i < panel->count; i++) {
        if (panel->series[i].right != right || panel->series[i].faint) continue;
        double most = usual_most(&panel->series[i], values);
        if (most > 0) mosts[count++] = most;
    }
    if (count == 0) return 1;
    qsort(mosts, count, sizeof *mosts, compare_reals);
    return 1.04 * fmin(mosts[count - 1], 2 * mosts[(count - 1) / 2]);
}

/* 0, but where even the lowest point is above half of the axis a mark below it: curves that differ by little are told
 * apart. */
static double axis_least(const struct chart_panel *panel, bool right, double most)
{
    double least = INFINITY;
    for (size_t i = 0; i < panel->count; i++) {
        const struct chart_series *s = &panel->series[i];
        const double *y = s->low ? s->low : s->y;
        for (size_t k = 0; k < s->count && s->right == right && !s->faint; k++)
            if (isfinite(y[k])) least = fmin(least, y[k]);
    }
    if (!isfinite(least) || least <= most / 2) return 0;
    double step = ticks_step(most - least, 6);
    return step * floor(least / step);
}

static void find_extents(struct panel *p)
{
    size_t points = 1, bands = 0;
    p->most_x = 0;
    for (size_t i = 0; i < p->told->count; i++) {
        const struct chart_series *s = &p->told->series[i];
        if (s->count > points) points = s->count;
        bands += s->low != NULL;
        if (s->count > 0) p->most_x = fmax(p->most_x, s->x[s->count - 1]);
    }
    if (p->most_x <= 0) p->most_x = 1;
    double *values = mem_alloc(MEM_GENERAL, points, sizeof *values);
    double *mosts = mem_alloc(MEM_GENERAL, p->told->count + 1, sizeof *mosts);
    for (int axis = 0; axis < 2; axis++) {
        p->most_y[axis] = values && mosts ? axis_most(p->told, axis == 1, values, mosts) : 1;
        p->least_y[axis] = axis_least(p->told, axis == 1, p->most_y[axis]);
    }
    p->shade = 0.16 * fmin(1, 4 / fmax(1, (double)bands));
    mem_free(mosts);
    mem_free(values);
}

static double x_of(const struct panel *p, double x) { return LEFT + (RIGHT - LEFT) * x / p->most_x; }

static double y_of(const struct panel *p, double y, bool right)
{
    double part = (y - p->least_y[right]) / (p->most_y[right] - p->least_y[right]);
    return p->bottom - (p->bottom - p->top) * fmin(part, 10); /* what is cut off */
}

/* ---- Axes ---- */

static void format_steps(double steps, char text[32])
{
    if (steps >= 10000)
        snprintf(text, 32, "%.6gk", steps / 1000);
    else
        snprintf(text, 32, "%.6g", steps);
}

static void draw_steps(struct text *svg, const struct panel *p)
{
    char label[32];
    double ticks[TICKS_MOST], step = fmax(1, ticks_step(p->most_x, 8));
    size_t count = ticks_list(0, p->most_x, step, ticks);
    for (size_t i = 0; i < count; i++) {
        format_steps(ticks[i], label);
        svg_line(svg, x_of(p, ticks[i]), p->bottom, x_of(p, ticks[i]), p->bottom + 5, "class=\"hair\"");
        svg_label(svg, x_of(p, ticks[i]), p->bottom + 22, "text-anchor=\"middle\" font-size=\"13\" class=\"soft\"",
                  label);
    }
    svg_label(svg, (LEFT + RIGHT) / 2, p->bottom + 44, "text-anchor=\"middle\" font-size=\"13\" class=\"soft\"",
              p->told->below);
}

static void draw_values(struct text *svg, const struct panel *p, bool right)
{
    char label[32];
    bool percent = right ? p->told->right_percent : p->told->left_percent;
    double scale = percent ? 100 : 1, ticks[TICKS_MOST];
    double least = p->least_y[right] * scale, most = p->most_y[right] * scale;
    size_t count = ticks_list(least, most, ticks_step(most - least, 6), ticks);
    for (size_t i = 0; i < count; i++) {
        double y = y_of(p, ticks[i] / scale, right);
        snprintf(label, sizeof label, percent ? "%.4g %%" : "%.4g", ticks[i]);
        if (!right) svg_line(svg, LEFT, y, RIGHT, y, "class=\"hair\" stroke-width=\"0.7\"");
        svg_label(svg, right ? RIGHT + 8 : LEFT - 8, y + 4.5,
                  right ? "font-size=\"13\" class=\"soft\"" : "text-anchor=\"end\" font-size=\"13\" class=\"soft\"",
                  label);
    }
}

static void draw_axes(struct text *svg, const struct panel *p)
{
    draw_values(svg, p, false);
    if (p->told->right) draw_values(svg, p, true);
    draw_steps(svg, p);
    svg_line(svg, LEFT, p->bottom, RIGHT, p->bottom, "class=\"hair\"");
    svg_label(svg, LEFT, p->top - 14, "font-size=\"14\"", p->told->left);
    if (p->told->right) svg_label(svg, RIGHT, p->top - 14, "font-size=\"14\" text-anchor=\"end\"", p->told->right);
}

/* ---- Curves ---- */

static bool is_lone(const struct chart_series *s, size_t i)
{
    bool before = i > 0 && isfinite(s->y[i - 1]), after = i + 1 < s->count && isfinite(s->y[i + 1]);
    return !before && !after;
}

static void draw_band(struct text *svg, const struct panel *p, const struct chart_series *s)
{
    if (!s->low || s->count < 2) return;
    text_add(svg, "<path class=\"f%u\" fill-opacity=\"%.2f\" d=\"", s->colour % SVG_COLOURS, p->shade);
    for (size_t i = 0; i < s->count; i++)
        text_add(svg, "%s%.1f %.1f", i ? "L" : "M", x_of(p, s->x[i]), y_of(p, s->high[i], s->right));
    for (size_t i = s->count; i-- > 0;) text_add(svg, "L%.1f %.1f", x_of(p, s->x[i]), y_of(p, s->low[i], s->right));
    text_add(svg, "Z\"/>\n");
}

static void draw_curve(struct text *svg, const struct panel *p, const struct chart_series *s)
{
    bool open = false;
    text_add(svg,
             "<path class=\"s%u\" fill=\"none\" stroke-linejoin=\"round\" stroke-width=\"%s\" stroke-opacity=\"%s\"%s "
             "d=\"M0 0",
             s->colour % SVG_COLOURS, s->thin ? "1.2" : "2", s->faint ? "0.3" : "1",
             s->colour >= SVG_COLOURS ? " stroke-dasharray=\"7 4\"" : "");
    for (size_t i = 0; i < s->count; i++) {
        bool known = isfinite(s->y[i]);
        if (known) text_add(svg, "%s%.1f %.1f", open ? "L" : "M", x_of(p, s->x[i]), y_of(p, s->y[i], s->right));
        open = known;
    }
    text_add(svg, "\"/>\n");
}

static void draw_dots(struct text *svg, const struct panel *p, const struct chart_series *s)
{
    for (size_t i = 0; i < s->count; i++) {
        if (!isfinite(s->y[i]) || (!s->dots && !is_lone(s, i))) continue;
        text_add(svg, "<circle class=\"f%u\" r=\"%s\" cx=\"%.1f\" cy=\"%.1f\"/>\n", s->colour % SVG_COLOURS,
                 s->count > 100 ? "2" : "3.5", x_of(p, s->x[i]), y_of(p, s->y[i], s->right));
    }
}

static void draw_panel(struct text *svg, const struct panel *p)
{
    draw_axes(svg, p);
    text_add(svg, "<clipPath id=\"panel%zu\">", p->number);
    svg_rect(svg, LEFT - 4, p->top - 4, RIGHT - LEFT + 8, p->bottom - p->top + 8, "");
    text_add(svg, "</clipPath>\n<g clip-path=\"url(#panel%zu)\">\n", p->number);
    for (size_t s = 0; s < p->told->count; s++) draw_band(svg, p, &p->told->series[s]);
    for (size_t s = 0; s < p->told->count; s++) {
        draw_curve(svg, p, &p->told->series[s]);
        draw_dots(svg, p, &p->told->series[s]);
    }
    text_add(svg, "</g>\n");
}

/* ---- Legend ---- */

static void draw_key(struct text *svg, const struct chart_series *s, double x, double y)
{
    char attributes[120];
    snprintf(attributes, sizeof attributes, "class=\"s%u\" stroke-width=\"%s\"%s", s->colour % SVG_COLOURS,
             s->thin ? "1.2" : "2.4", s->colour >= SVG_COLOURS ? " stroke-dasharray=\"7 4\"" : "");
    svg_line(svg, x, y - 4, x + 24, y - 4, attributes);
    if (s->dots)
        text_add(svg, "<circle class=\"f%u\" r=\"3.5\" cx=\"%.1f\" cy=\"%.1f\"/>\n", s->colour % SVG_COLOURS, x + 12,
                 y - 4);
}

static size_t letters_of(const char *text)
{
    size_t count = 0;
    for (; *text; text++) count += ((unsigned char)*text & 0xC0) != 0x80;
    return count;
}

/* Names one after the other, as many in a row as it holds; svg NULL: only how high that is. */
static double draw_legend(struct text *svg, const struct chart_panel *panels, size_t count, double y)
{
    double x = LEFT, top = y;
    for (size_t p = 0; p < count; p++)
        for (size_t s = 0; s < panels[p].count; s++) {
            const struct chart_series *series = &panels[p].series[s];
            if (!series->name) continue;
            struct printable room;
            const char *name = printable_cut(series->name, MOST_NAME, &room);
            double width = LEGEND_COLUMN * ceil((32 + LETTER * (double)letters_of(name) + 26) / LEGEND_COLUMN);
            if (x > LEFT && x + width > RIGHT + 40) {
                x = LEFT;
                y += LEGEND_ROW;
            }
            if (svg) draw_key(svg, series, x, y);
            if (svg) svg_label(svg, x + 32, y, "font-size=\"13\" class=\"soft\"", name);
            x += width;
        }
    return x > LEFT || y > top ? y + LEGEND_ROW - top : 0;
}

void chart_draw(struct text *svg, const char *title, const struct chart_panel *panels, size_t count)
{
    double legend = draw_legend(NULL, panels, count, 0), tall = count > 1 ? PANEL_MANY : PANEL_ONE;
    double top = HEAD + 22 + legend;
    svg_begin_themed(svg, WIDTH, top + (double)count * (ABOVE + tall + BELOW), title);
    svg_label(svg, LEFT, HEAD - 10, "font-size=\"20\"", title);
    draw_legend(svg, panels, count, HEAD + 18);
    for (size_t i = 0; i < count; i++) {
        struct panel p = {.told = &panels[i], .number = i, .top = top + ABOVE};
        p.bottom = p.top + tall;
        find_extents(&p);
        draw_panel(svg, &p);
        top = p.bottom + BELOW;
    }
    svg_end(svg);
}

void chart_smooth(const double *y, size_t count, size_t window, double *out)
{
    for (size_t i = 0; i < count; i++) {
        size_t half = window / 2, from = i > half ? i - half : 0, to = i + half < count ? i + half : count - 1;
        double sum = 0, known = 0;
        for (size_t k = from; k <= to; k++) {
            if (!isfinite(y[k])) continue;
            sum += y[k];
            known++;
        }
        out[i] = known > 0 && isfinite(y[i]) ? sum / known : NAN;
    }
}
