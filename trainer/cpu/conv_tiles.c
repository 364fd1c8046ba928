#include "conv_tiles.h"

#include <string.h>

#include "bn_rows.h"
#include "conv_tiles_weights.h"
#include "cpu_threads.h"
#include "loops.h"
#include "parallel.h"
#include "crew.h"

#define ALIGN 64u

/* Floats are summed over so many pixels, and doubles over these sums. */
#define FLOAT_SUM_PIXELS 256u

/* Results that will not be in the caches when they are read next go past them: a line that is written need not be read
 * before, and what is there stays. */
#define STREAMED_BYTES (4u << 20)

/* ---- Scratch: weights in another order, a stretch for each thread, then what parts leave behind ---- */

struct scratch {
    uint64_t threads;      /* where the stretches begin; before them the weights */
    uint64_t second, sums; /* within a stretch, after the first panel */
    uint64_t thread_bytes, stretches;
    uint64_t parts;
    uint64_t bytes;
};

static uint64_t take(uint64_t *end, uint64_t bytes)
{
    uint64_t at = *end;
    *end += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return at;
}

static uint64_t made_channels(const struct tiles_cut *c, enum op_kind kind)
{
    return kind == OP_CONV_BWD_DATA ? c->x[3] : c->y[3];
}

static struct scratch scratch_of(const struct op_call *call, const struct tiles_cut *c)
{
    enum op_kind kind = call->op->kind;
    struct scratch s = {0};
    uint64_t end = 0, pixel = c->panel_pixels * sizeof(float), threads = cpu_threads_allowed(0);
    uint64_t weights = c->weights * sizeof(float), made = made_channels(c, kind);
    take(&end, pixel * (kind == OP_CONV_BWD_DATA ? c->y[3] : c->x[3]));
    s.second = take(&end, kind == OP_CONV_BWD_WEIGHTS ? pixel * c->y[3] : 0);
    s.sums = take(&end, 3 * made * sizeof(float));
    s.thread_bytes = end;
    take(&s.threads, kind == OP_CONV_BWD_DATA || c->plain ? weights : 0);
    s.stretches = c->parts < threads ? c->parts : threads;
    s.parts = s.threads + end * s.stretches;
    s.bytes = s.parts;
    take(&s.bytes, c->parts * (kind == OP_CONV_BWD_WEIGHTS ? weights : 2 * made * sizeof(double)));
    return s;
}

uint64_t conv_tiles_bytes(const struct op_call *call)
{
    struct tiles_cut cut = tiles_cut_of(call);
    return scratch_of(call, &cut).bytes;
}

/* ---- What an op reads ---- */

struct source {
    enum tile_reading reading;
    struct tile_bn bn;
    const float *x, *dy;
    float *kept; /* of a gradient: where what is read is written, too */
    const uint32_t *dims;
    uint32_t
        stride; /* pixels from one that is read to the next, both ways; rows and columns of a 3 x 3 are read whole */
};

struct run {
    const struct prepared *p;
    const struct tile_kernels *kernels;
    struct tiles_cut cut;
    struct scratch scratch;
    struct source source, gradient; /* gradient: of OP_CONV_BWD_WEIGHTS */
    /* What is made, but by that. */
    const float *weights, *other, *rectified;
    float *out;
    uint64_t channels;
    struct tile_bn bn;
    uint32_t ending;
};

static struct tile_bn norm_of(const struct prepared *p, unsigned operand, uint64_t channels)
{
    struct bn_norm_rows n = bn_norm_rows(op_in(p, operand), channels);
    return (struct tile_bn){.mean = n.mean, .scale = n.scale, .beta = n.beta};
}

static struct source x_source(const struct run *r)
{
    const struct prepared *p = r->p;
    uint32_t fused = p->call.op->attr.conv.fused;
    struct source s = {.x = op_in(p, 0), .dims = r->cut.x, .stride = r->cut.stride};
    if (!(fused & CONV_NORMALIZED)) return s;
    s.bn = norm_of(p, conv_operands(p->call.op).norm, s.dims[3]);
    s.reading = fused & CONV_RECTIFIED ? TILE_RECTIFIED : TILE_NORMALIZED;
    return s;
}

static struct source gradient_source(const struct run *r, unsigned operand)
{
    const struct prepared *p = r->p;
    struct conv_operands o = conv_operands(p->call.op);
    uint32_t fused = p->call.op->attr.conv.fused;
    struct source s = {.x = op_in(p, operand), .dims = r->cut.y, .stride = 1};
    if (!(fused & CONV_GRADIENT)) return s;
    struct bn_coefficient_rows n = bn_coefficient_rows(op_in(p, o.coefficients), s.dims[3]);
    s.bn = (struct tile_bn){n.mean, n.scale, n.beta, n.shift, n.slope};
    s.reading = fused & CONV_GRADIENT_SHUT ? TILE_GRADIENT_SHUT : TILE_GRADIENT;
    s.dy = s.x;
    s.x = op_in(p, o.y);
    return s;
}

/* `pixels` from number `at` of the tensor on, `stride` apart. */
static void read_run(const struct run *r, const struct source *s, uint64_t at, uint64_t pixels, float *panel)
{
    uint64_t channels = s->dims[3];
    struct tile_rows rows = {
        .reading = s->reading, .pixels = pixels, .channels = channels, .panel = panel, .bn = &s->bn};
    rows.x = s->x + at * channels;
    if (s->dy) rows.dy = s->dy + at * channels;
    if (s->kept) rows.kept = s->kept + at * channels;
    rows.pixel_step = channels * s->stride;
    rows.group_step = r->cut.panel_pixels * r->kernels->lanes;
    r->kernels->read(&rows);
}

/* What pixels [first, first + pixels) of y meet. */
static void read_tile(const struct run *r, const struct source *s, uint64_t first, uint64_t pixels, float *panel)
{
    const uint32_t *y = r->cut.y;
    if (s->stride == 1) {
        read_run(r, s, first, pixels, panel);
        return;
    }
    for (uint64_t done = 0, length; done < pixels; done += length) {
        uint64_t row = (first + done) / y[2], column = (first + done) % y[2], image = row / y[1];
        length = y[2] - column < pixels - done ? y[2] - column : pixels - done;
        uint64_t x_row = image * s->dims[1] + row % y[1] * s->stride;
        read_run(r, s, x_row * s->dims[2] + column * s->stride, length, panel + done * r->kernels->lanes);
    }
}

/* Pixels [at, at + pixels) of what an op reads, where they lie side by side: one or two stretches of memory; returns
 * how many. */
static unsigned ahead_of(const struct source *s, uint64_t at, uint64_t pixels, struct tile_ahead *ahead)
{
    uint64_t channels = s->dims[3], all = (uint64_t)s->dims[0] * s->dims[1] * s->dims[2];
    if (s->stride != 1 || at >= all) return 0;
    uint64_t count = all - at < pixels ? all - at : pixels;
    ahead[0] = (struct tile_ahead){s->x + at * channels, s->x + (at + count) * channels};
    if (!s->dy) return 1;
    ahead[1] = (struct tile_ahead){s->dy + at * channels, s->dy + (at + count) * channels};
    return 2;
}

/* ---- Panels of images, with an edge of a pixel ---- */

static uint64_t row_step(const struct run *r) { return (r->cut.x[2] + 2ull) * r->kernels->lanes; }

static void clear_edges(const struct run *r, uint64_t channels, float *panel)
{
    uint64_t lanes = r->kernels->lanes, step = row_step(r), rows = r->cut.x[1] + 2ull;
    for (uint64_t group = 0; group < channels / lanes; group++, panel += rows * step) {
        memset(panel, 0, step * sizeof *panel);
        memset(panel + (rows - 1) * step, 0, step * sizeof *panel);
        for (uint64_t row = 1; row + 1 < rows; row++) {
            memset(panel + row * step, 0, lanes * sizeof *panel);
            memset(panel + (row + 1) * step - lanes, 0, lanes * sizeof *panel);
        }
    }
}

static void read_image_row(const struct run *r, const struct source *s, uint64_t image, uint64_t row, float *panel)
{
    uint64_t at = (image * s->dims[1] + row) * s->dims[2];
    read_run(r, s, at, s->dims[2], panel + (row + 1) * row_step(r) + r->kernels->lanes);
}

/* ---- A part of y or dx ---- */

static float *stretch(const struct run *r, unsigned thread)
{
    return (float *)((uint8_t *)op_scratch(r->p) + r->scratch.threads + thread * r->scratch.thread_bytes);
}

static double *part_sums(const struct run *r, uint64_t part)
{
    return (double *)((uint8_t *)op_scratch(r->p) + r->scratch.parts) + part * 2 * r->channels;
}

static uint64_t part_pixels(const struct run *r, uint64_t part)
{
    uint64_t first = tiles_first_unit(&r->cut, part) * r->cut.tile,
             last = tiles_first_unit(&r->cut, part + 1) * r->cut.tile;
    return (last < r->cut.pixels ? last : r->cut.pixels) - first;
}

struct part {
    const struct run *run;
    struct tile_product product; /* as all its tiles have it */
    double *sums;
    uint64_t summed; /* pixels in the product's sums */
};

static bool streams(const struct run *r)
{
    bool lines = 2 * r->kernels->lanes * sizeof(float) >= ALIGN; /* two vectors are written at a time */
    return lines && r->p->call.out_tensor[0]->bytes >= STREAMED_BYTES && (uintptr_t)r->out % ALIGN == 0;
}

static struct part begin_part(const struct run *r, unsigned thread, uint64_t index)
{
    float *panel = stretch(r, thread), *sums = panel + r->scratch.sums / sizeof *panel;
    struct part part = {.run = r, .sums = part_sums(r, index)};
    part.product = (struct tile_product){.ending = r->ending, .panel = panel, .weights = r->weights, .bn = &r->bn};
    part.product.group_step = r->cut.panel_pixels * r->kernels->lanes;
    part.product.inputs = r->source.dims[3];
    part.product.outputs = r->channels;
    part.product.sums = sums;
    part.product.origin = sums + 2 * r->channels;
    part.product.first = true;
    part.product.streams = streams(r);
    memset(sums, 0, 2 * r->channels * sizeof *sums);
    memset(part.sums, 0, 2 * r->channels * sizeof *part.sums);
    return part;
}

static void keep_sums(struct part *part)
{
    float *sums = part->product.sums;
    uint64_t count = 2 * part->run->channels;
    for (uint64_t i = 0; i < count; i++) part->sums[i] += (double)sums[i];
    memset(sums, 0, count * sizeof *sums);
    part->summed = 0;
}

/* Pixels from number `at` of what is made on, read from the panel's pixel at `from`. */
static void make(struct part *part, const float *from, uint64_t at, uint64_t pixels)
{
    const struct run *r = part->run;
    struct tile_product *p = &part->product;
    p->panel = from;
    p->pixels = pixels;
    p->out = r->out + at * r->channels;
    p->other = r->other ? r->other + at * r->channels : NULL;
    p->rectified = r->rectified ? r->rectified + at * r->channels : NULL;
    (r->cut.window ? r->kernels->window : r->kernels->product)[p->ending](p);
    p->first = false;
    part->summed += pixels;
    if (part->summed >= FLOAT_SUM_PIXELS) keep_sums(part);
}

static void make_tile(struct part *part, uint64_t tile, float *panel)
{
    const struct run *r = part->run;
    uint64_t first = tile * r->cut.tile, left = r->cut.pixels - first;
    uint64_t pixels = left < r->cut.tile ? left : r->cut.tile;
    read_tile(r, &r->source, first, pixels, panel);
    ahead_of(&r->source, first + pixels, pixels, part->product.ahead);
    make(part, panel, first, pixels);
}

/* Each row is made as soon as the one below it has been read. */
static void make_image(struct part *part, uint64_t image, float *panel)
{
    const struct run *r = part->run;
    uint64_t rows = r->cut.x[1], columns = r->cut.x[2];
    part->product.row_step = row_step(r);
    for (uint64_t row = 0; row <= rows; row++) {
        if (row < rows) read_image_row(r, &r->source, image, row, panel);
        ahead_of(&r->source, (image * rows + row + 1) * columns, columns, part->product.ahead);
        if (row > 0) make(part, panel + (row - 1) * row_step(r), (image * rows + row - 1) * columns, columns);
    }
}

/* Mean and squares from sums of distances from the origin and of their squares. */
static void finish_statistics(const struct part *part, uint64_t pixels)
{
    uint64_t channels = part->run->channels;
    double *mean = part->sums, *squares = mean + channels;
    for (uint64_t c = 0; c < channels; c++) {
        double shift = mean[c] / (double)pixels, apart = squares[c] - mean[c] * shift;
        squares[c] = apart > 0 ? apart : 0;
        mean[c] = (double)part->product.origin[c] + shift;
    }
}

static void make_part(const struct run *r, unsigned thread, uint64_t index)
{
    struct part part = begin_part(r, thread, index);
    float *panel = stretch(r, thread);
    if (r->cut.window) clear_edges(r, r->source.dims[3], panel);
    for (uint64_t unit = tiles_first_unit(&r->cut, index); unit < tiles_first_unit(&r->cut, index + 1); unit++)
        (r->cut.window ? make_image : make_tile)(&part, unit, panel);
    keep_sums(&part);
    r->kernels->settle();
    if (r->ending & TILE_SUMS) finish_statistics(&part, part_pixels(r, index));
}

/* ---- A part of the gradient of weights ---- */

static void look_ahead(const struct run *r, struct tile_outer *o, uint64_t at, uint64_t pixels)
{
    memset(o->ahead, 0, sizeof o->ahead);
    unsigned taken = ahead_of(&r->source, at, pixels, o->ahead);
    ahead_of(&r->gradient, at, pixels, o->ahead + taken);
}

/* Pixels of an image whose products are summed at a time: whole rows, and at least some. */
#define BAND_PIXELS 128u
#define LEAST_BAND  4u

static float *part_weights(const struct run *r, uint64_t part)
{
    return (float *)((uint8_t *)op_scratch(r->p) + r->scratch.parts) + part * r->cut.weights;
}

static void weigh_tile(const struct run *r, uint64_t tile, struct tile_outer *o, float *x, float *gradient)
{
    uint64_t first = tile * r->cut.tile, left = r->cut.pixels - first;
    o->pixels = left < r->cut.tile ? left : r->cut.tile;
    read_tile(r, &r->source, first, o->pixels, x);
    read_tile(r, &r->gradient, first, o->pixels, gradient);
    look_ahead(r, o, first + o->pixels, o->pixels);
    r->kernels->outer(o);
    o->first = false;
}

static void weigh_image(const struct run *r, uint64_t image, struct tile_outer *o, float *x, float *gradient)
{
    uint64_t rows = r->cut.x[1], step = row_step(r), read = 0, band = BAND_PIXELS / r->cut.x[2];
    o->pixels = r->cut.x[2];
    if (band < LEAST_BAND) band = LEAST_BAND;
    for (uint64_t row = 0; row < rows; row += band) {
        o->rows = rows - row < band ? rows - row : band;
        for (; read < rows && read <= row + o->rows; read++) {
            read_image_row(r, &r->source, image, read, x);
            read_image_row(r, &r->gradient, image, read, gradient);
        }
        o->x = x + row * step;
        o->gradient = gradient + row * step;
        look_ahead(r, o, (image * rows + read) * r->cut.x[2], band * r->cut.x[2]);
        r->kernels->outer_window(o);
        o->first = false;
    }
}

static void weigh_part(const struct run *r, unsigned thread, uint64_t index)
{
    float *x = stretch(r, thread), *gradient = x + r->scratch.second / sizeof *x;
    uint64_t group = r->cut.panel_pixels * r->kernels->lanes;
    struct tile_outer o = {.x = x, .gradient = gradient, .x_group = group, .gradient_group = group};
    o.row_step = row_step(r);
    o.inputs = r->cut.x[3];
    o.outputs = r->cut.y[3];
    o.weights = part_weights(r, index);
    o.first = true;
    if (r->cut.window) {
        clear_edges(r, o.inputs, x);
        clear_edges(r, o.outputs, gradient);
    }
    for (uint64_t unit = tiles_first_unit(&r->cut, index); unit < tiles_first_unit(&r->cut, index + 1); unit++)
        (r->cut.window ? weigh_image : weigh_tile)(r, unit, &o, x, gradient);
}

/* ---- Merging ---- */

static void merge_weights(const void *context, uint64_t first, uint64_t last)
{
    const struct run *r = context;
    const struct loops *loops = loops_best();
    uint64_t count = last - first;
    memcpy(r->out + first, part_weights(r, 0) + first, count * sizeof *r->out);
    for (uint64_t part = 1; part < r->cut.parts; part++)
        loops->add(r->out + first, r->out + first, part_weights(r, part) + first, count);
}

/* Chan, Golub and LeVeque, as in loops.c. */
static void merge_statistics(const struct run *r, double *all)
{
    uint64_t channels = r->channels, before = part_pixels(r, 0);
    memcpy(all, part_sums(r, 0), 2 * channels * sizeof *all);
    for (uint64_t part = 1; part < r->cut.parts; part++) {
        const double *next = part_sums(r, part);
        uint64_t count = part_pixels(r, part);
        const double share = (double)count / (double)(before + count), weight = share * (double)before;
        for (uint64_t c = 0; c < channels; c++) {
            double difference = next[c] - all[c];
            all[c] += difference * share;
            all[channels + c] += next[channels + c] + difference * difference * weight;
        }
        before += count;
    }
}

static void merge_gradients(const struct run *r, double *all)
{
    uint64_t width = 2 * r->channels;
    memcpy(all, part_sums(r, 0), width * sizeof *all);
    for (uint64_t part = 1; part < r->cut.parts; part++)
        for (uint64_t i = 0; i < width; i++) all[i] += part_sums(r, part)[i];
}

/* ---- All ---- */

static bool run_part(const void *context, unsigned thread, uint64_t index, struct error *err)
{
    const struct run *r = context;
    (void)err;
    (r->p->call.op->kind == OP_CONV_BWD_WEIGHTS ? weigh_part : make_part)(r, thread, index);
    return true;
}

static void set_forward(struct run *r)
{
    const struct prepared *p = r->p;
    struct conv_operands o = conv_operands(p->call.op);
    r->source = x_source(r);
    r->weights = r->cut.plain ? op_scratch(p) : op_in(p, 1);
    if (r->cut.plain) tiles_weights_block(&r->cut, op_in(p, 1), op_scratch(p));
    if (o.residual != NO_OPERAND) r->other = op_in(p, o.residual);
    if (r->other) r->ending |= TILE_ADDS;
    if (p->call.op->attr.conv.fused & CONV_SUMS && p->call.pass == PASS_FORWARD) r->ending |= TILE_SUMS;
}

static void set_data(struct run *r)
{
    const struct prepared *p = r->p;
    struct conv_operands o = conv_operands(p->call.op);
    uint32_t fused = p->call.op->attr.conv.fused;
    r->source = gradient_source(r, 0);
    if (o.kept != NO_OPERAND) r->source.kept = op_out(p, o.kept);
    r->weights = op_scratch(p);
    tiles_weights_turn(&r->cut, op_in(p, 1), op_scratch(p));
    if (o.residual != NO_OPERAND) r->other = op_in(p, o.residual);
    if (o.rectified != NO_OPERAND) r->rectified = op_in(p, o.rectified);
    if (fused & CONV_ADDS) r->ending |= TILE_ADDS;
    if (fused & CONV_RECTIFIES) r->ending |= TILE_RECTIFIES;
    if (!(fused & CONV_GRADIENT_SUMS)) return;
    r->ending = fused & CONV_SHUTS ? TILE_GRADIENT_SUMS | TILE_SHUTS : TILE_GRADIENT_SUMS;
    r->other = op_in(p, o.x);
    r->bn = norm_of(p, o.norm, r->channels);
}

static void set_weights(struct run *r)
{
    r->source = x_source(r);
    r->gradient = gradient_source(r, 1);
    if (r->cut.plain) r->out = op_scratch(r->p); /* in blocks */
}

bool conv_tiles_run(const struct prepared *p, struct error *err)
{
    enum op_kind kind = p->call.op->kind;
    struct run r = {.p = p, .cut = tiles_cut_of(&p->call), .out = op_out(p, 0)};
    r.kernels = r.cut.kernels;
    r.scratch = scratch_of(&p->call, &r.cut);
    r.channels = made_channels(&r.cut, kind);
    if (kind == OP_CONV) set_forward(&r);
    if (kind == OP_CONV_BWD_DATA) set_data(&r);
    if (kind == OP_CONV_BWD_WEIGHTS) set_weights(&r);
    /* A device may have been given more threads than there are processors. */
    if (p->device->threads > r.scratch.stretches) crew_use((uint32_t)r.scratch.stretches);
    TRY(parallel_each(r.cut.parts, run_part, &r, err));
    if (kind == OP_CONV_BWD_WEIGHTS) parallel_run(r.cut.weights, r.cut.weights * r.cut.parts, merge_weights, &r);
    if (kind == OP_CONV_BWD_WEIGHTS && r.cut.plain) tiles_weights_unblock(&r.cut, r.out, op_out(p, 0));
    if (r.ending & TILE_SUMS) merge_statistics(&r, op_out(p, 1));
    if (r.ending & TILE_GRADIENT_SUMS) merge_gradients(&r, op_out(p, 1));
    return true;
}
