/* Runs that are made up by a law, and tables of what ops take that learn from them. */
#ifndef FATHOM_COST_KIT_H
#define FATHOM_COST_KIT_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cost.h"
#include "cost_table.h"
#include "graph_kit.h"
#include "mem.h"

static inline struct graph *make_form(const char *model, const struct model_options *form, uint32_t batch,
                                      enum dtype dtype, uint32_t lowering)
{
    return build_with(model, *form,
                      (struct graph_options){.batch = batch, .micro_batches = 1, .dtype = dtype, .lowering = lowering});
}

static inline struct graph *make_lowered(const char *model, uint32_t batch, enum dtype dtype, uint32_t lowering)
{
    return make_form(model, &MODEL_OPTIONS_DEFAULT, batch, dtype, lowering);
}

static inline struct graph *make_graph(const char *model, uint32_t batch, enum dtype dtype)
{
    return make_lowered(model, batch, dtype, 0);
}

/* Seconds of an op: so much of its own, and so much per FLOP. */
struct law {
    double fixed, per_flop;
};

static inline double law_seconds(const struct law *law, const struct op *op)
{
    return law->fixed + law->per_flop * (double)op->flops;
}

/* A run of the model in the shape of a trace; free run.samples. */
static inline struct cost_run make_run(const struct graph *graph, const char *model, uint32_t batch,
                                       const struct law *law)
{
    struct cost_sample *samples = calloc(graph->op_count, sizeof *samples);
    struct cost_run run = {.name = "run.trace",
                           .model = model,
                           .dataset = "cifar10",
                           .device = "cpu",
                           .on_cpu = true,
                           .devices = 1,
                           .images = batch,
                           .samples = samples,
                           .count = graph->op_count};
    for (size_t i = 0; i < graph->op_count; i++) {
        const struct op *op = &graph->ops[i];
        samples[i] = (struct cost_sample){
            graph->layers[op->layer].path, op_kind_name(op->kind), op_pass_name(op->pass), op->flops, op->bytes_moved,
            law_seconds(law, op)};
        run.step_seconds += samples[i].seconds;
    }
    return run;
}

static const struct device_spec cpu = {.kind = DEVICE_CPU, .name = "cpu"};

/* Of a whole step, against the law's; counts where the times came from. */
static inline double compare(const struct cost_table *table, const char *model, uint32_t batch, const struct law *law,
                             size_t sources[COST_SOURCES])
{
    struct graph *graph = make_graph(model, batch, DTYPE_F32);
    struct cost_speed speed = cost_speed_of(&cpu, DTYPE_F32, table);
    double sum = 0, wanted = 0;
    cr_assert(speed.known && speed.measured == table);
    for (size_t i = 0; i < graph->op_count; i++) {
        enum cost_source source;
        sum += cost_table_seconds(table, &speed, graph, &graph->ops[i], &source);
        wanted += law_seconds(law, &graph->ops[i]);
        sources[source]++;
    }
    graph_destroy(graph);
    return sum / wanted;
}

static inline struct cost_table *new_table(void)
{
    struct error err = {0};
    struct cost_table *table = cost_table_create(&err);
    cr_assert(table, "%s", err.text);
    return table;
}

#endif
