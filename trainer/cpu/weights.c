#include "weights.h"

#include <string.h>

#include "loops.h"
#include "onednn_isa.h"
#include "parallel.h"

/* 1x1 kernels with more weights than this are fully connected layers (the largest 1x1 convolutions of ResNets have
 * 1024 x 2048). */
#define MOST_POINTWISE_WEIGHTS (2048u * 2048u)

struct weight_layout weight_layout(const uint32_t dims[4])
{
    uint32_t b = onednn_vector_floats();
    bool matrix = dims[1] == 1 && dims[2] == 1 && (uint64_t)dims[0] * dims[3] > MOST_POINTWISE_WEIGHTS;
    if (b == 0 || matrix || dims[0] % b != 0) return (struct weight_layout){WEIGHT_PLAIN, 1};
    return (struct weight_layout){dims[3] % b == 0 ? WEIGHT_BLOCKED : WEIGHT_OUTPUTS, b};
}

/* Where element (k, r, s, c) is stored; rs = r * S + s. */
static uint64_t stored_index(const struct weight_layout *l, const uint32_t dims[4], uint64_t k, uint64_t rs, uint64_t c)
{
    uint64_t b = l->block, area = (uint64_t)dims[1] * dims[2], channels = dims[3];
    switch (l->order) {
    case WEIGHT_OUTPUTS: return ((k / b * area + rs) * channels + c) * b + k % b;
    case WEIGHT_BLOCKED: return (((k / b * (channels / b) + c / b) * area + rs) * b + c % b) * b + k % b;
    case WEIGHT_PLAIN: break;
    }
    return (k * area + rs) * channels + c;
}

void weights_permute_in(const uint32_t dims[4], const float *canonical, float *stored)
{
    struct weight_layout layout = weight_layout(dims);
    uint64_t area = (uint64_t)dims[1] * dims[2];
    for (uint64_t k = 0; k < dims[0]; k++)
        for (uint64_t rs = 0; rs < area; rs++)
            for (uint64_t c = 0; c < dims[3]; c++) stored[stored_index(&layout, dims, k, rs, c)] = *canonical++;
}

void weights_permute_out(const uint32_t dims[4], const float *stored, float *canonical)
{
    struct weight_layout layout = weight_layout(dims);
    uint64_t area = (uint64_t)dims[1] * dims[2];
    for (uint64_t k = 0; k < dims[0]; k++)
        for (uint64_t rs = 0; rs < area; rs++)
            for (uint64_t c = 0; c < dims[3]; c++) *canonical++ = stored[stored_index(&layout, dims, k, rs, c)];
}

/* ---- For one call ---- */

#define BLOCK 16u /* inputs or outputs */

struct moved {
    float *out;
    const float *in;
    uint64_t outputs, inputs, area, block;
};

static void transpose_range(const void *context, uint64_t first, uint64_t last)
{
    const struct moved *m = context;
    const uint64_t step = BLOCK * BLOCK;
    for (uint64_t i = first; i < last; i++) loops_best()->transpose_block(m->out + i * step, BLOCK, m->in + i * step);
}

void weights_transpose(const uint32_t dims[4], const float *stored, float *transposed)
{
    struct moved m = {.out = transposed, .in = stored};
    uint64_t elements = (uint64_t)dims[0] * dims[1] * dims[2] * dims[3];
    parallel_run(elements / (BLOCK * BLOCK), elements, transpose_range, &m);
}

/* Each task takes 16 inputs at one place of the kernel. */
static void turn_range(const void *context, uint64_t first, uint64_t last)
{
    const struct moved *m = context;
    uint64_t columns = m->inputs / BLOCK;
    for (uint64_t i = first; i < last; i++) {
        uint64_t column = i / m->area, place = i % m->area, input = column * BLOCK;
        float *out = m->out + (input / m->block * m->area + place) * m->outputs * m->block + input % m->block;
        const float *in = m->in + (column * m->area + m->area - 1 - place) * BLOCK * BLOCK;
        for (uint64_t k = 0; k < m->outputs; k += BLOCK, out += BLOCK * m->block) {
            if (column < columns)
                loops_best()->transpose_block(out, m->block, in + k * m->inputs * m->area);
            else
                for (uint64_t row = 0; row < BLOCK; row++) memset(out + row * m->block, 0, BLOCK * sizeof *out);
        }
    }
}

void weights_turn(const uint32_t dims[4], uint32_t block, const float *stored, float *turned)
{
    struct moved m = {turned, stored, dims[0], dims[3], (uint64_t)dims[1] * dims[2], block};
    uint64_t padded = (m.inputs + block - 1) / block * block;
    parallel_run(padded / BLOCK * m.area, padded * m.outputs * m.area, turn_range, &m);
}
