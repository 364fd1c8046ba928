/* The picture of a placement, by the values that are drawn. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "mem.h"
#include "place_svg.h"
#include "random.h"

#define LEFT   96.0
#define RIGHT  1256.0
#define TOP    96.0
#define BOTTOM 656.0
#define PIXELS 1160

/* What the live curve says: from x[i] on to x[i + 1] the sum is live[i]. */
struct curve {
    double *x, *live;
    size_t count;
};

static double number_after(const char **at)
{
    char *end;
    double value = strtod(*at + 1, &end);
    cr_assert(end > *at + 1);
    *at = end;
    return value;
}

/* M LEFT BOTTOM, then H x V y over and over, and down to the ground at RIGHT. */
static struct curve read_curve(const char *svg, uint64_t arena)
{
    const char *at = strstr(svg, "<path fill=\"none\" stroke=\"#10202c\"");
    cr_assert(at);
    at = strstr(at, " d=\"M");
    cr_assert(at);
    at += 4;
    struct curve curve = {mem_alloc(MEM_GENERAL, 20000, sizeof(double)), mem_alloc(MEM_GENERAL, 20000, sizeof(double)),
                          0};
    double x = number_after(&at), y = number_after(&at);
    cr_assert(fabs(x - LEFT) < 0.001 && fabs(y - BOTTOM) < 0.001);
    while (*at == 'H') {
        cr_assert_lt(curve.count, 20000u);
        curve.x[curve.count] = number_after(&at);
        cr_assert_eq(*at, 'V');
        curve.live[curve.count++] = (BOTTOM - number_after(&at)) / (BOTTOM - TOP) * (double)arena;
    }
    cr_assert_eq(*at, '"');
    cr_expect_float_eq(curve.x[0], LEFT, 0.001, "the curve begins at %g", curve.x[0]);
    cr_expect_float_eq(curve.x[curve.count - 1], RIGHT, 0.001, "and ends at %g", curve.x[curve.count - 1]);
    cr_expect_float_eq(curve.live[curve.count - 1], 0, 0.001);
    return curve;
}

static void curve_finish(struct curve *curve)
{
    mem_free(curve->x);
    mem_free(curve->live);
}

static double value_at(const struct curve *curve, double x)
{
    double live = 0;
    for (size_t i = 0; i < curve->count && curve->x[i] <= x; i++) live = curve->live[i];
    return live;
}

static struct curve draw(const struct place_buffer *buffers, size_t count, uint64_t arena)
{
    struct place_result result = {.arena_bytes = arena, .lower_bound_bytes = arena, .peak_instant = buffers[0].lower};
    struct error err = {0};
    struct text svg = {0};
    cr_assert(place_svg(&svg, "p", buffers, NULL, count, &result, &err), "%s", err.text);
    struct curve curve = read_curve(svg.bytes, arena);
    text_finish(&svg);
    return curve;
}

/* Instants start … start + span, of which about half the buffers live one each; live sums into live[span]. */
static uint64_t make_buffers(struct place_buffer *buffers, size_t count, uint64_t start, uint64_t span, double *live)
{
    struct random random = random_begin(7, RANDOM_SEARCH, count, span);
    memset(live, 0, span * sizeof *live);
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t lower = i < span ? i * (span / (count < span ? count : span)) : random_below(&random, (uint32_t)span);
        uint64_t length = 1 + (i % 2 ? random_below(&random, 4) : 0), upper = lower + length;
        if (i == 0) lower = 0, upper = span;
        if (upper > span) upper = span;
        buffers[i] = (struct place_buffer){
            start + lower, start + upper, 1 + random_below(&random, 1000), 1, PLACE_UNPLACED, 0, 0};
        for (uint64_t t = lower; t < upper; t++) live[t] += (double)buffers[i].size;
    }
    for (uint64_t t = 0; t < span; t++) most = fmax(most, live[t]);
    return (uint64_t)most;
}

/* Few instants are drawn where they are: in the middle of each its own sum is read. */
static void expect_instants(size_t count, uint64_t start, uint64_t span)
{
    struct place_buffer *buffers = mem_zalloc(MEM_GENERAL, count, sizeof *buffers);
    double *live = mem_zalloc(MEM_GENERAL, span, sizeof *live);
    uint64_t arena = make_buffers(buffers, count, start, span, live), wrong = 0;
    struct curve curve = draw(buffers, count, arena);
    for (uint64_t t = 0; t < span; t++) {
        double x = LEFT + ((double)t + 0.5) / (double)span * (RIGHT - LEFT);
        wrong += fabs(value_at(&curve, x) - live[t]) > 0.0001 * (double)arena;
    }
    cr_expect_eq(wrong, 0, "%zu of %zu instants from %zu", (size_t)wrong, (size_t)span, (size_t)start);
    curve_finish(&curve);
    mem_free(buffers);
    mem_free(live);
}

/* Many instants: in each pixel column the largest sum of those that reach into it. */
static void expect_columns(size_t count, uint64_t span)
{
    struct place_buffer *buffers = mem_zalloc(MEM_GENERAL, count, sizeof *buffers);
    double *live = mem_zalloc(MEM_GENERAL, span, sizeof *live);
    uint64_t arena = make_buffers(buffers, count, 0, span, live), wrong = 0;
    struct curve curve = draw(buffers, count, arena);
    for (uint64_t c = 0; c < PIXELS; c++) {
        double most = 0;
        for (uint64_t t = c * span / PIXELS; t < span && t * PIXELS < (c + 1) * span; t++) most = fmax(most, live[t]);
        wrong += fabs(value_at(&curve, LEFT + (double)c + 0.5) - most) > 0.0001 * (double)arena;
    }
    cr_expect_eq(wrong, 0, "%zu of %d columns", (size_t)wrong, PIXELS);
    curve_finish(&curve);
    mem_free(buffers);
    mem_free(live);
}

Test(place_svg, the_live_curve_shows_every_instant_where_there_are_few)
{
    expect_instants(1, 0, 1);
    expect_instants(8, 0, 8);
    expect_instants(5, 3, 8);
    expect_instants(100, 0, 300);
    expect_instants(1005, 0, 1005);
    expect_instants(2200, 0, 1161);
    expect_instants(9000, 0, 4000);
    expect_instants(1005, UINT64_MAX - 2000, 1005);
}

Test(place_svg, the_live_curve_shows_the_most_of_each_column_where_there_are_many)
{
    expect_columns(20000, 5801);
    expect_columns(9000, 7000);
    expect_columns(30000, 1000000);
}

Test(place_svg, nothing_is_drawn_where_nothing_lives)
{
    const struct place_buffer buffers[] = {{0, 2, 100, 1, PLACE_UNPLACED, 0, 0}, {6, 8, 50, 1, PLACE_UNPLACED, 0, 0}};
    struct curve curve = draw(buffers, 2, 100);
    cr_expect_float_eq(value_at(&curve, LEFT + 1.9 / 8 * PIXELS), 100, 0.1);
    cr_expect_float_eq(value_at(&curve, LEFT + 4.0 / 8 * PIXELS), 0, 0.1);
    cr_expect_float_eq(value_at(&curve, LEFT + 6.1 / 8 * PIXELS), 50, 0.1);
    curve_finish(&curve);
}
