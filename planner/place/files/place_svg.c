#include "place_svg.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "mem.h"
#include "place_groups.h"
#include "place_sort.h"
#include "printable.h"
#include "units.h"

#define WIDTH      1280
#define HEIGHT     720
#define LEFT       96.0
#define RIGHT      1256.0
#define TOP        96.0
#define BOTTOM     656.0
#define COLUMNS    1160  /* of the live curve: one a pixel, where it has more than MOST_STEPS */
#define MOST_STEPS 4640  /* drawn where they are */
#define LEAST_AREA 0.02  /* square pixels below which a buffer is not drawn */
#define MOST_RECTS 20000 /* buffers drawn one by one; where there are more the smaller ones are a mosaic */
#define TILE       4.0   /* pixels, of the mosaic */
#define TILES_X    290
#define TILES_Y    140
#define SHADES     8 /* of a tile, so that equal neighbours become one rectangle */

struct picture {
    struct text *out;
    const struct place_buffer *buffers;
    const char *const *ids;
    size_t count;
    const struct place_result *result;
    uint64_t start;      /* of time */
    double span, height; /* of time, of addresses */
};

static double x_of(const struct picture *picture, uint64_t time)
{
    return LEFT + (double)(time - picture->start) / picture->span * (RIGHT - LEFT);
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
    picture->start = picture->count ? lower : 0;
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

/* Where a lifetime lies on a logarithmic scale from 0, brief, to 3. */
static double lifetime_place(const struct picture *picture, const struct place_buffer *buffer)
{
    double share = (double)(buffer->upper - buffer->lower) / picture->span;
    return 3 * fmin(fmax(1 + log(share) / log(1000.0), 0), 1);
}

/* Long lifetimes in deep blue, short ones in warm sand. */
static void place_colour(double place, char out[8])
{
    static const double stops[4][3] = {{236, 178, 88}, {226, 112, 84}, {126, 88, 150}, {38, 84, 138}};
    int stop = place >= 3 ? 2 : (int)place;
    unsigned rgb[3];
    for (int c = 0; c < 3; c++)
        rgb[c] = (unsigned)(stops[stop][c] + (place - stop) * (stops[stop + 1][c] - stops[stop][c]) + 0.5);
    snprintf(out, 8, "#%02x%02x%02x", rgb[0] & 255, rgb[1] & 255, rgb[2] & 255);
}

struct box {
    double left, right, top, bottom;
};

static struct box box_of(const struct picture *picture, size_t i)
{
    const struct place_buffer *buffer = &picture->buffers[i];
    return (struct box){x_of(picture, buffer->lower), x_of(picture, buffer->upper),
                        y_of(picture, (double)buffer->offset + (double)buffer->size),
                        y_of(picture, (double)buffer->offset)};
}

static double area_of(const struct picture *picture, size_t i)
{
    struct box box = box_of(picture, i);
    return (box.right - box.left) * (box.bottom - box.top);
}

static void draw_buffer(struct picture *picture, size_t i)
{
    const struct place_buffer *buffer = &picture->buffers[i];
    struct box box = box_of(picture, i);
    char colour[8], size[UNITS_TEXT];
    place_colour(lifetime_place(picture, buffer), colour);
    text_add(picture->out, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"><title>", box.left,
             box.top, box.right - box.left, box.bottom - box.top, colour);
    if (picture->ids) text_add_xml(picture->out, picture->ids[i]);
    text_add(picture->out, " %s at %" PRIu64 ", live %" PRIu64 " to %" PRIu64 "</title></rect>\n",
             units_format_bytes(buffer->size, size), buffer->offset, buffer->lower, buffer->upper);
}

/* How much of a tile is covered, and the sum of the places on the scale of lifetimes of what covers it. */
struct tile {
    float covered, place;
};

static double overlap(double low, double high, int tile, double start)
{
    double from = fmax(low, start + tile * TILE), to = fmin(high, start + (tile + 1) * TILE);
    return to > from ? to - from : 0;
}

static void cover_tiles(const struct picture *picture, struct tile *tiles, size_t i)
{
    struct box box = box_of(picture, i);
    double place = lifetime_place(picture, &picture->buffers[i]);
    for (int y = (int)((box.top - TOP) / TILE); y < TILES_Y && TOP + y * TILE < box.bottom; y++)
        for (int x = (int)((box.left - LEFT) / TILE); x < TILES_X && LEFT + x * TILE < box.right; x++) {
            double covered = overlap(box.left, box.right, x, LEFT) * overlap(box.top, box.bottom, y, TOP);
            struct tile *tile = &tiles[y * TILES_X + x];
            tile->covered += (float)(covered / (TILE * TILE));
            tile->place += (float)(covered / (TILE * TILE) * place);
        }
}

/* Opacity and colour in steps; 0 = nothing there. */
static int shade_of(const struct tile *tile)
{
    int opacity = (int)lrint(fmin(tile->covered, 1) * SHADES);
    if (opacity == 0) return 0;
    return opacity + (SHADES + 1) * (int)lrint(tile->place / tile->covered / 3 * SHADES);
}

static void draw_tiles(struct picture *picture, const struct tile *tiles)
{
    text_add(picture->out, "<g>\n");
    for (int y = 0; y < TILES_Y; y++)
        for (int x = 0, end; x < TILES_X; x = end) {
            int shade = shade_of(&tiles[y * TILES_X + x]);
            char colour[8];
            for (end = x + 1; end < TILES_X && shade_of(&tiles[y * TILES_X + end]) == shade; end++) {
            }
            if (shade == 0) continue;
            place_colour(3.0 * (shade / (SHADES + 1)) / SHADES, colour);
            text_add(picture->out,
                     "<rect x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\" fill=\"%s\" opacity=\"%.2g\"/>\n",
                     LEFT + x * TILE, TOP + y * TILE, (end - x) * TILE, TILE, colour,
                     (double)(shade % (SHADES + 1)) / SHADES);
        }
    text_add(picture->out, "</g>\n");
}

/* pairs[count]: the buffers by falling area; those behind the first MOST_RECTS become the mosaic. */
static bool draw_mosaic(struct picture *picture, const struct sort_pair *pairs, struct error *err)
{
    struct tile *tiles = mem_zalloc(MEM_GENERAL, TILES_X * TILES_Y, sizeof *tiles);
    if (!tiles) return error_memory(err, TILES_X * TILES_Y * sizeof *tiles, "the picture");
    for (size_t i = MOST_RECTS; i < picture->count; i++) cover_tiles(picture, tiles, pairs[i].index);
    draw_tiles(picture, tiles);
    mem_free(tiles);
    return true;
}

static bool draw_buffers(struct picture *picture, struct error *err)
{
    struct sort_pair *pairs = mem_alloc(MEM_GENERAL, 2 * picture->count, sizeof *pairs);
    if (!pairs) return error_memory(err, 2 * picture->count * sizeof *pairs, "the picture");
    for (size_t i = 0; i < picture->count; i++)
        pairs[i] = (struct sort_pair){UINT64_MAX - (uint64_t)(area_of(picture, i) * 1e9), (uint32_t)i};
    sort_pairs(pairs, pairs + picture->count, picture->count);
    bool ok = picture->count <= MOST_RECTS || draw_mosaic(picture, pairs, err);
    text_add(picture->out, "<g stroke=\"#fdfdfb\" stroke-width=\"%s\">\n", picture->count > 2000 ? "0.1" : "0.5");
    for (size_t i = 0; ok && i < picture->count && i < MOST_RECTS; i++)
        if (area_of(picture, pairs[i].index) >= LEAST_AREA) draw_buffer(picture, pairs[i].index);
    text_add(picture->out, "</g>\n");
    mem_free(pairs);
    return ok;
}

/* The live sum from one instant up to the next step's. */
struct step {
    uint64_t from, live;
};

/* From the starts and ends in time order; the last step is down to zero. steps has room for two for each buffer. */
static bool list_steps(const struct picture *picture, struct step *steps, size_t *step_count, struct error *err)
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
    *step_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct place_buffer *buffer = &picture->buffers[pairs[i].index / 2];
        uint64_t align = buffer->align > 1 ? buffer->align : 1, size = (buffer->size + align - 1) / align * align;
        live = pairs[i].index % 2 ? live - size : live + size;
        if (i + 1 == count || pairs[i + 1].key > pairs[i].key)
            steps[(*step_count)++] = (struct step){pairs[i].key, live};
    }
    mem_free(pairs);
    return true;
}

static double column_of(const struct picture *picture, uint64_t time)
{
    return (double)(time - picture->start) * COLUMNS / picture->span;
}

/* The largest live sum within each column: a step counts in every column that it reaches into. */
static void draw_columns(const struct picture *picture, const struct step *steps, size_t count)
{
    double highest[COLUMNS] = {0}, before = 0;
    for (size_t i = 0; i + 1 < count; i++) {
        size_t end = (size_t)ceil(column_of(picture, steps[i + 1].from));
        for (size_t c = (size_t)column_of(picture, steps[i].from); c < end && c < COLUMNS; c++)
            highest[c] = fmax(highest[c], (double)steps[i].live);
    }
    for (size_t c = 0; c < COLUMNS; c++) {
        if (highest[c] == before) continue;
        text_add(picture->out, "H%.2fV%.2f", LEFT + (RIGHT - LEFT) * (double)c / COLUMNS, y_of(picture, highest[c]));
        before = highest[c];
    }
}

static void draw_steps(const struct picture *picture, const struct step *steps, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++)
        text_add(picture->out, "H%.2fV%.2f", x_of(picture, steps[i].from), y_of(picture, (double)steps[i].live));
}

static bool draw_curve(const struct picture *picture, struct error *err)
{
    struct step *steps = mem_alloc(MEM_GENERAL, 2 * picture->count, sizeof *steps);
    size_t count = 0;
    if (!steps) return error_memory(err, 2 * picture->count * sizeof *steps, "the live curve");
    bool ok = list_steps(picture, steps, &count, err);
    text_add(picture->out, "<path fill=\"none\" stroke=\"#10202c\" stroke-width=\"1.6\" d=\"M%g %g", LEFT, BOTTOM);
    if (count > MOST_STEPS)
        draw_columns(picture, steps, count);
    else
        draw_steps(picture, steps, count);
    text_add(picture->out, "H%gV%g\"/>\n", RIGHT, BOTTOM);
    mem_free(steps);
    return ok;
}

/* Names of one storage count once. */
static bool draw_live(const struct picture *picture, struct error *err)
{
    struct groups groups;
    struct picture pieces = *picture;
    if (!groups_any(picture->buffers, picture->count)) return draw_curve(picture, err);
    TRY(groups_init(&groups, picture->buffers, picture->count, err));
    pieces.buffers = groups.pieces;
    pieces.count = groups.piece_count;
    bool ok = draw_curve(&pieces, err);
    groups_finish(&groups);
    return ok;
}

static void draw_bound(struct picture *picture)
{
    double y = y_of(picture, (double)picture->result->lower_bound_bytes);
    uint64_t peak = picture->count ? picture->result->peak_instant : picture->start;
    double x = x_of(picture, peak);
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
        uint64_t time = picture->start + (uint64_t)(picture->span * i / 4);
        text_add(picture->out,
                 "<text x=\"%.1f\" y=\"%g\" font-size=\"12\" fill=\"#4a5866\" text-anchor=\"%s\">%" PRIu64 "</text>\n",
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
    TRY(draw_buffers(&picture, err));
    TRY(draw_live(&picture, err));
    draw_bound(&picture);
    draw_axes(&picture);
    return !out->failed || error_memory(err, out->length, "the picture");
}
