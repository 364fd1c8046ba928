#include "curves_draw.h"

#include <math.h>
#include <string.h>

#include "chart.h"
#include "files.h"
#include "mem.h"
#include "text.h"

#define SMOOTH 20 /* a twentieth of the run is a window, */
#define LEAST  5  /* of so many points at least */

/* Points of one quantity: of bins or of tests. */
struct points {
    double *x, *y;
    size_t count;
};

enum quantity { TRAIN_LOSS, TRAIN_ERROR, TEST_LOSS, TEST_ERROR };

/* A drawing's blocks of numbers, freed together. */
struct pool {
    double **blocks;
    size_t count, capacity;
    bool failed;
};

static double *take(struct pool *pool, size_t count)
{
    if (!mem_grow(MEM_GENERAL, (void **)&pool->blocks, &pool->capacity, pool->count + 1, sizeof *pool->blocks)) {
        pool->failed = true;
        return NULL;
    }
    double *block = mem_alloc(MEM_GENERAL, count ? count : 1, sizeof *block);
    if (block)
        pool->blocks[pool->count++] = block;
    else
        pool->failed = true;
    return block;
}

static void drain(struct pool *pool)
{
    for (size_t i = 0; i < pool->count; i++) mem_free(pool->blocks[i]);
    mem_free(pool->blocks);
}

/* ---- Points ---- */

static double of_bin(const struct curve_bin *bin, enum quantity what)
{
    if (bin->count == 0) return NAN;
    return (what == TRAIN_LOSS ? bin->loss : bin->error) / (double)bin->count;
}

static struct points list_points(struct pool *pool, const struct curves *c, enum quantity what)
{
    bool tests = what == TEST_LOSS || what == TEST_ERROR;
    size_t count = tests ? c->test_count : c->bin_count;
    struct points p = {take(pool, count), take(pool, count), count};
    if (!p.x || !p.y) return (struct points){0};
    for (size_t i = 0; i < count; i++) {
        p.x[i] = tests ? (double)c->tests[i].step : 0.5 * (double)(c->bins[i].first + c->bins[i].last);
        p.y[i] = !tests ? of_bin(&c->bins[i], what) : what == TEST_LOSS ? c->tests[i].loss : c->tests[i].top1_error;
    }
    return p;
}

static struct points smooth(struct pool *pool, struct points p)
{
    double *y = take(pool, p.count);
    if (!y) return (struct points){0};
    chart_smooth(p.y, p.count, p.count / SMOOTH > LEAST ? p.count / SMOOTH : LEAST, y);
    return (struct points){p.x, y, p.count};
}

static bool write_picture(struct text *svg, const char *path, bool failed, struct error *err)
{
    bool ok = svg->failed || failed ? error_memory(err, svg->capacity, "the picture")
                                    : files_write(path, svg->bytes, svg->length, err);
    text_finish(svg);
    return ok;
}

/* ---- One run ---- */

static struct chart_series series_of(struct points p, const char *name, unsigned colour, bool right)
{
    return (struct chart_series){
        .name = name, .x = p.x, .y = p.y, .count = p.count, .colour = colour, .right = right, .thin = true};
}

bool curves_draw_run(const struct curves *c, const char *title, const char *path, struct error *err)
{
    struct pool pool = {0};
    struct text svg = {0};
    struct points loss = list_points(&pool, c, TRAIN_LOSS), error = list_points(&pool, c, TRAIN_ERROR);
    struct chart_series series[6] = {
        series_of(loss, NULL, 0, false),
        series_of(error, NULL, 1, true),
        series_of(smooth(&pool, loss), "training loss", 0, false),
        series_of(smooth(&pool, error), "training error, top-1", 1, true),
        series_of(list_points(&pool, c, TEST_LOSS), "test loss", 2, false),
        series_of(list_points(&pool, c, TEST_ERROR), "test error, top-1", 3, true),
    };
    series[0].faint = series[1].faint = true;
    series[2].thin = series[3].thin = false;
    series[4].dots = series[5].dots = true;
    struct chart_panel panel = {.left = "loss",
                                .right = "error",
                                .below = "steps",
                                .right_percent = true,
                                .series = series,
                                .count = c->test_count ? 6 : 4};
    chart_draw(&svg, title, &panel, 1);
    bool ok = write_picture(&svg, path, pool.failed, err);
    drain(&pool);
    return ok;
}

/* ---- Several ---- */

/* Between the points around x; NAN outside them. */
static double value_at(struct points p, double x)
{
    size_t i = 0;
    if (p.count == 0 || x < p.x[0] || x > p.x[p.count - 1]) return NAN;
    while (i + 1 < p.count && p.x[i + 1] < x) i++;
    if (i + 1 == p.count || p.x[i] >= x) return p.y[i];
    double part = (x - p.x[i]) / (p.x[i + 1] - p.x[i]);
    return p.y[i] + part * (p.y[i + 1] - p.y[i]);
}

static struct points points_of_run(struct pool *pool, const struct curves *run, enum quantity what)
{
    struct points p = list_points(pool, run, what);
    return what == TRAIN_LOSS ? smooth(pool, p) : p;
}

/* Where all runs are known: mean and sample deviation there. */
static void add_mean(const struct points *runs, size_t count, size_t i, struct chart_series *s, double *out[4])
{
    double sum = 0, squares = 0, x = runs[0].x[i];
    for (size_t r = 0; r < count; r++) sum += value_at(runs[r], x);
    double mean = sum / (double)count;
    for (size_t r = 0; r < count; r++) {
        double off = value_at(runs[r], x) - mean;
        squares += off * off;
    }
    if (!isfinite(mean)) return;
    double deviation = count > 1 ? sqrt(squares / (double)(count - 1)) : 0;
    out[0][s->count] = x;
    out[1][s->count] = mean;
    out[2][s->count] = fmax(0, mean - deviation);
    out[3][s->count] = mean + deviation;
    s->count++;
}

static struct chart_series line_of(struct pool *pool, const struct curves_line *line, enum quantity what,
                                   unsigned colour)
{
    struct chart_series s = {
        .name = what == TRAIN_LOSS ? line->name : NULL, .colour = colour, .dots = what != TRAIN_LOSS};
    struct points *runs = mem_alloc(MEM_GENERAL, line->count ? line->count : 1, sizeof *runs);
    if (!runs) pool->failed = true;
    if (!runs || line->count == 0) {
        mem_free(runs);
        return s;
    }
    for (size_t r = 0; r < line->count; r++) runs[r] = points_of_run(pool, line->runs[r], what);
    double *out[4]; /* x, mean, and the band's edges */
    for (int k = 0; k < 4; k++) out[k] = take(pool, runs[0].count);
    s.x = out[0];
    s.y = out[1];
    if (line->count > 1) {
        s.low = out[2];
        s.high = out[3];
    }
    for (size_t i = 0; !pool->failed && i < runs[0].count; i++) add_mean(runs, line->count, i, &s, out);
    mem_free(runs);
    return s;
}

bool curves_draw_lines(const struct curves_line *lines, size_t count, const char *title, const char *path,
                       struct error *err)
{
    struct pool pool = {0};
    struct text svg = {0};
    struct chart_series *series = mem_zalloc(MEM_GENERAL, 2 * count, sizeof *series);
    if (!series) return error_memory(err, 2 * count * sizeof *series, "the picture");
    for (size_t i = 0; i < count; i++) {
        series[i] = line_of(&pool, &lines[i], TRAIN_LOSS, (unsigned)i);
        series[count + i] = line_of(&pool, &lines[i], TEST_ERROR, (unsigned)i);
    }
    struct chart_panel panels[2] = {{.left = "training loss", .below = "steps", .series = series, .count = count},
                                    {.left = "test error, top-1",
                                     .below = "steps",
                                     .left_percent = true,
                                     .series = series + count,
                                     .count = count}};
    if (!pool.failed) chart_draw(&svg, title, panels, 2);
    bool ok = write_picture(&svg, path, pool.failed, err);
    drain(&pool);
    mem_free(series);
    return ok;
}
