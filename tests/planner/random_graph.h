/* Graphs that no model has: blocks of random ops in a chain, every result of which reaches the loss. */
#ifndef FATHOM_RANDOM_GRAPH_H
#define FATHOM_RANDOM_GRAPH_H

#include <criterion/criterion.h>

#include "build.h"
#include "random.h"

#define POOL_MOST 24

struct pool {
    struct graph *graph;
    struct random *random;
    uint32_t tensors[POOL_MOST], count;
    bool read[POOL_MOST];
};

static inline uint32_t pool_channels(const struct pool *p, uint32_t i)
{
    return p->graph->tensors[p->tensors[i]].dims[3];
}

static inline uint32_t pool_take(struct pool *p, uint32_t i)
{
    p->read[i] = true;
    return p->tensors[i];
}

/* Late tensors rather than early ones, so that chains form. */
static inline uint32_t pool_pick(struct pool *p)
{
    uint32_t late = random_below(p->random, 3);
    return late > 0 || p->count < 2 ? p->count - 1 : random_below(p->random, p->count);
}

static inline void pool_add(struct pool *p, uint32_t tensor)
{
    cr_assert_lt(p->count, POOL_MOST);
    p->read[p->count] = false;
    p->tensors[p->count++] = tensor;
}

/* Another tensor of as many channels, or the same one. */
static inline uint32_t pool_mate(struct pool *p, uint32_t i)
{
    uint32_t from = random_below(p->random, p->count);
    for (uint32_t k = 0; k < p->count; k++)
        if ((from + k) % p->count != i && pool_channels(p, (from + k) % p->count) == pool_channels(p, i))
            return (from + k) % p->count;
    return i;
}

static inline uint32_t random_conv(struct pool *p, uint32_t x)
{
    static const uint32_t channels[] = {4, 4, 8, 16, 3};
    uint32_t c = channels[random_below(p->random, 5)], kernel = random_below(p->random, 2) ? 3 : 1;
    return graph_add_conv(p->graph, x, c, kernel, 1, random_below(p->random, 4) == 0);
}

static inline void random_op(struct pool *p)
{
    uint32_t i = pool_pick(p), mate, x;
    struct graph *g = p->graph;
    switch (random_below(p->random, 16)) {
    case 0: case 1: case 2: case 3: case 4: pool_add(p, random_conv(p, pool_take(p, i))); break;
    case 5: case 6: case 7: case 8: pool_add(p, graph_add_bn(g, pool_take(p, i), random_below(p->random, 4) > 0)); break;
    case 9: case 10:
        mate = pool_mate(p, i);
        x = pool_take(p, i);
        pool_add(p, graph_add_add(g, x, pool_take(p, mate)));
        break;
    case 11: pool_add(p, graph_add_relu(g, pool_take(p, i))); break;
    case 12: pool_add(p, graph_add_maxpool(g, pool_take(p, i), 3, 1, 1)); break;
    case 13: pool_add(p, graph_add_sigmoid(g, pool_take(p, i))); break;
    case 14: pool_add(p, graph_add_dropout(g, pool_take(p, i), 0.25f)); break;
    default:
        mate = pool_mate(p, i);
        x = graph_add_sigmoid(g, pool_take(p, i));
        pool_add(p, graph_add_mul(g, x, pool_take(p, mate)));
        break;
    }
}

/* What nothing reads yet becomes one tensor. */
static inline uint32_t pool_join(struct pool *p)
{
    uint32_t joined = p->tensors[p->count - 1];
    for (uint32_t i = 0; i + 1 < p->count; i++) {
        if (p->read[i]) continue;
        uint32_t parts[2] = {joined, p->tensors[i]};
        bool alike = pool_channels(p, i) == p->graph->tensors[joined].dims[3];
        joined = alike ? graph_add_add(p->graph, parts[0], parts[1]) : graph_add_concat(p->graph, parts, 2);
    }
    return joined;
}

static inline uint32_t random_block_ops(struct graph *graph, struct random *random, uint32_t x)
{
    struct pool p = {.graph = graph, .random = random};
    pool_add(&p, x);
    for (uint32_t ops = 1 + random_below(random, 7); ops > 0; ops--) random_op(&p);
    return pool_join(&p);
}

static inline struct graph *random_graph(uint64_t seed, struct graph_options options)
{
    struct random random = random_begin(seed, RANDOM_SYNTHETIC, 77, 0);
    struct model_spec spec;
    struct error err = {0};
    cr_assert(model_parse("resnet-8", &MODEL_OPTIONS_DEFAULT, &spec, &err));
    spec.image_size = 6;
    struct graph *graph = graph_begin(&spec, &options, &err);
    cr_assert_not_null(graph, "%s", err.text);
    bool blocks = random_below(&random, 4) > 0;
    uint32_t x = graph->images, count = 1 + random_below(&random, 3);
    for (uint32_t b = 0; b < count; b++) {
        graph_set_layer(graph, 0, "block%u", b);
        if (blocks) graph_begin_block(graph);
        if (b == 0) x = graph_add_conv(graph, x, 4, 3, 1, false);
        if (b > 0 && random_below(&random, 3) == 0) x = graph_add_conv(graph, x, 8, 3, 2, false);
        x = random_block_ops(graph, &random, x);
    }
    graph_set_layer(graph, 0, "head");
    graph_add_softmax_loss(graph, graph_add_fc(graph, graph_add_avgpool(graph, x, 0, 1, 0), 10));
    graph = graph_finish(graph, &err);
    cr_assert_not_null(graph, "seed %u: %s", (unsigned)seed, err.text);
    return graph;
}

#endif
