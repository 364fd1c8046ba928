#include "conv_tiles_weights.h"

#include "loops.h"
#include "parallel.h"

struct move {
    const struct tiles_cut *cut;
    const float *from;
    float *to;
    uint64_t lanes, taps, inputs, outputs; /* inputs and outputs: groups */
};

static void run_blocks(const struct tiles_cut *cut, const float *from, float *to, parallel_task task)
{
    struct move m = {.cut = cut, .from = from, .to = to, .lanes = cut->kernels->lanes, .taps = cut->window ? 9 : 1};
    m.inputs = cut->x[3] / m.lanes;
    m.outputs = cut->y[3] / m.lanes;
    parallel_run(cut->weights / (m.lanes * m.lanes), cut->weights, task, &m);
}

/* Where plain weights have the one of output k of a group, input 0 of another. */
static uint64_t plain_index(const struct move *m, uint64_t output, uint64_t k, uint64_t tap, uint64_t input)
{
    return (((output * m->lanes + k) * m->taps + tap) * m->inputs + input) * m->lanes;
}

/* ---- Turned ---- */

static void turn_block(const struct move *m, const float *from, float *to)
{
    if (m->lanes == 16)
        loops_best()->transpose_block(to, 16, from);
    else
        m->cut->kernels->transpose(from, to);
}

static void turn_range(const void *context, uint64_t first, uint64_t last)
{
    const struct move *m = context;
    uint64_t size = m->lanes * m->lanes;
    for (uint64_t i = first; i < last; i++) {
        uint64_t tap = m->taps - 1 - i % m->taps, output = i / m->taps % m->outputs, input = i / m->taps / m->outputs;
        float *to = m->to + i * size;
        if (!m->cut->plain) {
            turn_block(m, m->from + ((output * m->inputs + input) * m->taps + tap) * size, to);
            continue;
        }
        for (uint64_t k = 0; k < m->lanes; k++)
            for (uint64_t c = 0; c < m->lanes; c++)
                to[k * m->lanes + c] = m->from[plain_index(m, output, k, tap, input) + c];
    }
}

void tiles_weights_turn(const struct tiles_cut *cut, const float *stored, float *turned)
{
    run_blocks(cut, stored, turned, turn_range);
}

/* ---- Blocks of plain ones ---- */

static void block_range(const void *context, uint64_t first, uint64_t last)
{
    const struct move *m = context;
    for (uint64_t i = first; i < last; i++) {
        uint64_t tap = i % m->taps, input = i / m->taps % m->inputs, output = i / m->taps / m->inputs;
        float *to = m->to + i * m->lanes * m->lanes;
        for (uint64_t k = 0; k < m->lanes; k++)
            for (uint64_t c = 0; c < m->lanes; c++)
                to[c * m->lanes + k] = m->from[plain_index(m, output, k, tap, input) + c];
    }
}

void tiles_weights_block(const struct tiles_cut *cut, const float *stored, float *blocks)
{
    run_blocks(cut, stored, blocks, block_range);
}

static void unblock_range(const void *context, uint64_t first, uint64_t last)
{
    const struct move *m = context;
    for (uint64_t i = first; i < last; i++) {
        uint64_t tap = i % m->taps, input = i / m->taps % m->inputs, output = i / m->taps / m->inputs;
        const float *from = m->from + i * m->lanes * m->lanes;
        for (uint64_t k = 0; k < m->lanes; k++)
            for (uint64_t c = 0; c < m->lanes; c++)
                m->to[plain_index(m, output, k, tap, input) + c] = from[c * m->lanes + k];
    }
}

void tiles_weights_unblock(const struct tiles_cut *cut, const float *blocks, float *stored)
{
    run_blocks(cut, blocks, stored, unblock_range);
}
