#include "place_svg.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "mem.h"
#include "place_sort.h"
#include "units.h"

#define WIDTH      1280
#define HEIGHT     720
#define LEFT       96.0
#define RIGHT      1256.0
#define TOP        96.0
#define BOTTOM     656.0
#define COLUMNS    1160 /* of the live curve: one a pixel */
#define LEAST_AREA 0.02 /* square pixels below which a buffer is not drawn */

struct picture {
    struct text *out;
    const struct place_buffer *buffers;
    const char *const *ids;
    size_t count;
    const struct place_result *result;
    double start, span, height; /* of time, of time, of addresses */
};

static double x_of(const struct picture *picture, double time)
{
    return LEFT + (time - picture->start) / picture->span * (RIGHT - LEFT);
}

static double y_of(const struct picture *picture, double address)
{
    return BOTTOM - address / picture->height * (BOTTOM - TOP);
}

static void find_extent(struct picture *picture)
{
    uint64_t lower = UINT64_MAX, upper = 0;
    for (size_t i = 0; i < picture->count; i++) {
        if (picture->buffers[i].lower < lower) lower = picture->buffers[i].lower;
        if (picture->buffers[i].upper > upper) upper = picture->buffers[i].upper;
    }
    picture->start = picture->count ? (double)lower : 0;
    picture->span = picture->count ? (double)(upper - lower) : 1;
    picture->height = picture->result->arena_bytes ? (double)picture->result->arena_bytes : 1;
}

static void draw_frame(struct picture *picture, const char *title)
{
    struct text *out = picture->out;
    text_add(out,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"Helvetica, Arial, "
             "sans-serif\">\n<rect width=\"%d\" height=\"%d\" fill=\"#fdfdfb\"/>\n"
             "<text x=\"%g\" y=\"40\" font-size=\"22\" font-weight=\"600\" fill=\"#1c2733\">",
             WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT);
    text_add_xml(out, title);
    text_add(out, "</text>\n<rect x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\" fill=\"#eef1f4\"/>\n", LEFT, TOP,
             RIGHT - LEFT, BOTTOM - TOP);
}

static void draw_summary(struct picture *picture)
{
    const struct place_result *result = picture->result;
    char arena[UNITS_TEXT], bound[UNITS_TEXT], count[UNITS_TEXT];
    double gap =
        result->lower_bound_bytes ? 100.0 * ((double)result->arena_bytes / (double)result->lower_bound_bytes - 1) : 0;
    text_add(picture->out,
             "<text x=\"%g\" y=\"66\" font-size=\"14\" fill=\"#4a5866\">%s buffers, arena %s, bound %s: ", LEFT,
             units_format_count(picture->count, count), units_format_bytes(result->arena_bytes, arena),
             units_format_bytes(result->lower_bound_bytes, bound));
    if (result->proved_optimal)
        text_add(picture->out, "proved optimal</text>\n");
    else
        text_add(picture->out, "%.2f %% above the bound</text>\n", gap);
}

/* Long lifetimes in deep blue, short ones in warm sand, on a logarithmic scale. */
static void buffer_colour(const struct picture *picture, const struct place_buffer *buffer, char out[8])
{
    static const double stops[4][3] = {{236, 178, 88}, {226, 112, 84}, {126, 88, 150}, {38, 84, 138}};
    double share = (double)(buffer->upper - buffer->lower) / picture->span;
    double place = 3 * fmin(fmax(1 + log(share) / log(1000.0), 0), 1);
    int stop = place >= 3 ? 2 : (int)place;
    unsigned rgb[3];
    for (int c = 0; c < 3; c++)
        rgb[c] = (unsigned)(stops[stop][c] + (place - stop) * (stops[stop + 1][c] - stops[stop][c]) + 0.5);
    snprintf(out, 8, "#%02x%02x%02x", rgb[0] & 255, rgb[1] & 255, rgb[2] & 255);
}

static void draw_buffer(struct picture *picture, size_t i)
{
    const struct place_buffer *buffer = &picture->buffers[i];
    double x = x_of(picture, (double)buffer->lower), right = x_of(picture, (double)buffer->upper);
    double y = y_of(picture, (double)buffer->offset + (double)buffer->size);
    double bottom = y_of(picture, (double)buffer->offset);
    if ((right - x) * (bottom - y) < LEAST_AREA) return;
    char colour[8], size[UNITS_TEXT];
    buffer_colour(picture, buffer, colour);
    text_add(picture->out, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"><title>", x, y,
             right - x, bottom - y, colour);
    if (picture->ids) text_add_xml(picture->out, picture->ids[i]);
    text_add(picture->out, " %s at %" PRIu64 ", live %" PRIu64 " to %" PRIu64 "</title></rect>\n",
             units_format_bytes(buffer->size, size), buffer->offset, buffer->lower, buffer->upper);
}

static void draw_buffers(struct picture *picture)
{
    text_add(picture->out, "<g stroke=\"#fdfdfb\" stroke-width=\"%s\">\n", picture->count > 2000 ? "0.1" : "0.5");
    for (size_t i = 0; i < picture->count; i++) draw_buffer(picture, i);
    text_add(picture->out, "</g>\n");
}

static size_t column_of(const struct picture *picture, uint64_t time)
{
    double place = ((double)time - picture->start) / picture->span * COLUMNS;
    return place >= COLUMNS ? COLUMNS - 1 : (size_t)place;
}

static void raise_columns(const struct picture *picture, double *columns, uint64_t from, uint64_t to, uint64_t live)
{
    for (size_t c = column_of(picture, from), last = column_of(picture, to - 1); c <= last; c++)
        if ((double)live > columns[c]) columns[c] = (double)live;
}

/* The largest live sum within each column, from the starts and ends in time order. */
static bool sum_columns(const struct picture *picture, double *columns, struct error *err)
{
    size_t count = 2 * picture->count;
    struct sort_pair *pairs = mem_alloc(MEM_GENERAL, 2 * count, sizeof *pairs);
    if (!pairs) return error_memory(err, 2 * count * sizeof *pairs, "the live curve");
    for (size_t i = 0; i < picture->count; i++) {
        pairs[2 * i] = (struct sort_pair){picture->buffers[i].lower, (uint32_t)(2 * i)};
        pairs[2 * i + 1] = (struct sort_pair){picture->buffers[i].upper, (uint32_t)(2 * i + 1)};
    }
    sort_pairs(pairs, pairs + count, count);
    uint64_t live = 0;
    for (size_t i = 0; i < count; i++) {
        const struct place_buffer *buffer = &picture->buffers[pairs[i].index / 2];
        uint64_t align = buffer->align > 1 ? buffer->align : 1, size = (buffer->size + align - 1) / align * align;
        live = pairs[i].index % 2 ? live - size : live + size;
        if (i + 1 < count && pairs[i + 1].key > pairs[i].key)
            raise_columns(picture, columns, pairs[i].key, pairs[i + 1].key, live);
    }
    mem_free(pairs);
    return true;
}

static bool draw_live(struct picture *picture, struct error *err)
{
    double *columns = mem_zalloc(MEM_GENERAL, COLUMNS, sizeof *columns);
    if (!columns) return error_memory(err, COLUMNS * sizeof *columns, "the live curve");
    bool ok = sum_columns(picture, columns, err);
    text_add(picture->out, "<path fill=\"none\" stroke=\"#10202c\" stroke-width=\"1.6\" d=\"M%g %g", LEFT, BOTTOM);
    double before = -1;
    for (size_t c = 0; ok && c < COLUMNS; c++) {
        if (columns[c] == before) continue;
        text_add(picture->out, "H%.1fV%.1f", LEFT + (RIGHT - LEFT) * (double)c / COLUMNS, y_of(picture, columns[c]));
        before = columns[c];
    }
    text_add(picture->out, "H%gV%g\"/>\n", RIGHT, BOTTOM);
    mem_free(columns);
    return ok;
}

static void draw_bound(struct picture *picture)
{
    double y = y_of(picture, (double)picture->result->lower_bound_bytes);
    double x = x_of(picture, (double)picture->result->peak_instant);
    text_add(picture->out,
             "<line x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#b0203a\" stroke-width=\"1.5\" "
             "stroke-dasharray=\"7 4\"/>\n",
             LEFT, RIGHT, y, y);
    text_add(picture->out,
             "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%g\" stroke=\"#b0203a\" stroke-width=\"1\"/>\n"
             "<text x=\"%.1f\" y=\"%.1f\" font-size=\"13\" fill=\"#b0203a\" text-anchor=\"%s\">peak at %" PRIu64
             "</text>\n",
             x, x, y, BOTTOM, x, TOP - 8, x > (LEFT + RIGHT) / 2 ? "end" : "start", picture->result->peak_instant);
}

static void draw_axes(struct picture *picture)
{
    for (int i = 0; i <= 4; i++) {
        char label[UNITS_TEXT];
        double address = picture->height * i / 4, y = y_of(picture, address);
        text_add(picture->out,
                 "<text x=\"%g\" y=\"%.1f\" font-size=\"12\" fill=\"#4a5866\" text-anchor=\"end\">%s</text>\n",
                 LEFT - 8, y + 4, units_format_bytes((uint64_t)address, label));
        double time = picture->start + picture->span * i / 4;
        text_add(picture->out,
                 "<text x=\"%.1f\" y=\"%g\" font-size=\"12\" fill=\"#4a5866\" text-anchor=\"%s\">%.0f</text>\n",
                 x_of(picture, time), BOTTOM + 18,
                 i == 0   ? "start"
                 : i == 4 ? "end"
                          : "middle",
                 time);
    }
    text_add(picture->out,
             "<text x=\"%g\" y=\"%g\" font-size=\"13\" fill=\"#4a5866\">time, address upwards; "
             "black: live sum, dashed: lower bound; blue buffers live long, sand ones briefly</text>\n</svg>\n",
             LEFT, BOTTOM + 44);
}

bool place_svg(struct text *out, const char *title, const struct place_buffer *buffers, const char *const *ids,
               size_t count, const struct place_result *result, struct error *err)
{
    struct picture picture = {.out = out, .buffers = buffers, .ids = ids, .count = count, .result = result};
    find_extent(&picture);
    draw_frame(&picture, title);
    draw_summary(&picture);
    draw_buffers(&picture);
    TRY(draw_live(&picture, err));
    draw_bound(&picture);
    draw_axes(&picture);
    return !out->failed || error_memory(err, out->length, "the picture");
}
