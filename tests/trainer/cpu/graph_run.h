/* A graph run op by op on a backend, each tensor at bytes of its own. */
#ifndef FATHOM_GRAPH_RUN_H
#define FATHOM_GRAPH_RUN_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "augment.h"
#include "cpu_backend.h"
#include "lower.h"
#include "random.h"

struct graph_run {
    const struct backend *backend;
    const struct graph *graph;
    struct device *device;
    uint64_t *offsets; /* of each tensor */
    uint64_t bytes;    /* of the arena, workspace included */
    uint64_t workspace, workspace_bytes;
    uint32_t crowd;    /* threads, however few processors there are; 0 = as there are */
};

static inline void graph_run_crowd(uint32_t threads)
{
    char text[12];
    snprintf(text, sizeof text, "%u", (unsigned)threads);
    if (threads) setenv("FATHOM_CPU_THREADS", text, 1);
}

static inline uint64_t graph_run_take(struct graph_run *run, uint64_t bytes)
{
    uint64_t at = run->bytes;
    run->bytes += (bytes + 255) / 256 * 256;
    return at;
}

static inline void graph_run_place(struct graph_run *run)
{
    const struct graph *graph = run->graph;
    struct error err = {0};
    for (uint32_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].view_of == NO_TENSOR) run->offsets[t] = graph_run_take(run, graph->tensors[t].bytes);
    for (uint32_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].view_of != NO_TENSOR)
            run->offsets[t] = run->offsets[graph->tensors[t].view_of] + graph->tensors[t].view_offset;
    for (uint32_t i = 0; i < graph->op_count; i++) {
        uint64_t bytes = 0;
        cr_assert(run->backend->op_workspace(graph, &graph->ops[i], graph->ops[i].pass, &bytes, &err), "%s", err.text);
        if (bytes > run->workspace_bytes) run->workspace_bytes = bytes;
    }
    run->workspace = graph_run_take(run, run->workspace_bytes);
}

/* By the persistent tensors' order, which lowering keeps: not by their numbers. */
static inline void graph_run_fill_state(struct graph_run *run)
{
    struct error err = {0};
    uint64_t number = 0;
    for (uint32_t t = 0; t < run->graph->tensor_count; t++) {
        const struct tensor *tensor = &run->graph->tensors[t];
        if (!tensor->persistent || tensor->role == ROLE_BUCKET) continue;
        struct random random = random_begin(5, RANDOM_WEIGHTS, number++, 0);
        uint64_t count = tensor_elements(tensor);
        float *values = calloc(count, sizeof *values);
        for (uint64_t i = 0; i < count; i++)
            values[i] = (tensor->role == ROLE_RUNNING_VARIANCE || tensor->role == ROLE_GAMMA ? 1.0f : 0.0f) +
                        (tensor->role == ROLE_METRICS ? 0 : 0.2f * (float)random_normal(&random));
        cr_assert(run->backend->parameter_in(run->device, tensor, run->offsets[t], values, &err), "%s", err.text);
        free(values);
    }
}

static const float graph_run_mean[3] = {0.4f, 0.5f, 0.45f}, graph_run_deviation[3] = {0.3f, 0.25f, 0.35f};

/* Images of random bytes, shifted and mirrored. */
struct graph_run_input {
    uint32_t images, side;
    uint8_t *pixels;
    int32_t *placements;
    float *normalised;
};

static inline void graph_run_normalise(const struct graph_run_input *input, uint32_t image)
{
    size_t numbers = (size_t)input->side * input->side * 3;
    const int32_t *placement = input->placements + image * INPUT_PLACEMENT;
    float *plain = malloc(numbers * sizeof *plain);
    for (size_t i = 0; i < numbers; i++)
        plain[i] = ((float)input->pixels[image * numbers + i] / 255.0f - graph_run_mean[i % 3]) / graph_run_deviation[i % 3];
    struct augment_shift shift = {placement[0], placement[1], placement[2] != 0};
    augment_apply_shift(plain, input->side, shift, input->normalised + image * numbers);
    free(plain);
}

static inline struct graph_run_input graph_run_input_make(uint32_t images, uint32_t side, uint64_t seed)
{
    size_t numbers = (size_t)images * side * side * 3;
    struct graph_run_input input = {images, side, malloc(numbers), calloc(images, 4 * INPUT_PLACEMENT),
                                    malloc(numbers * sizeof(float))};
    struct random random = random_begin(6, RANDOM_SYNTHETIC, seed, 1);
    for (size_t i = 0; i < numbers; i++) input.pixels[i] = (uint8_t)random_below(&random, 256);
    for (uint32_t n = 0; n < images; n++) {
        struct augment_shift shift = augment_choose_shift(6, seed, n, side / 4);
        const int32_t placement[INPUT_PLACEMENT] = {shift.dx, shift.dy, shift.flip, 0};
        memcpy(input.placements + n * INPUT_PLACEMENT, placement, sizeof placement);
        graph_run_normalise(&input, n);
    }
    return input;
}

static inline void graph_run_input_free(struct graph_run_input *input)
{
    free(input->pixels);
    free(input->placements);
    free(input->normalised);
}

/* As the graph wants it: images, or the bytes that they are made of. */
static inline void graph_run_fill_input(struct graph_run *run, uint64_t step)
{
    const struct graph *graph = run->graph;
    const struct backend *b = run->backend;
    const struct tensor *images = &graph->tensors[graph->images];
    struct graph_run_input input = graph_run_input_make(images->dims[0], images->dims[1], step);
    struct error err = {0};
    int32_t labels[64];
    struct random random = random_begin(6, RANDOM_SYNTHETIC, step, 0);
    for (int i = 0; i < 64; i++) labels[i] = (int32_t)random_below(&random, 10);
    if (graph->pixels == NO_TENSOR)
        cr_assert(b->image_in(run->device, NULL, images, run->offsets[graph->images], input.normalised, &err));
    else
        cr_assert(b->copy_in(run->device, NULL, run->offsets[graph->pixels], input.pixels,
                             graph->tensors[graph->pixels].bytes, &err) &&
                  b->copy_in(run->device, NULL, run->offsets[graph->placements], input.placements,
                             graph->tensors[graph->placements].bytes, &err));
    cr_assert(b->copy_in(run->device, NULL, run->offsets[graph->labels], labels, graph->tensors[graph->labels].bytes, &err));
    graph_run_input_free(&input);
}

static inline void graph_run_op(struct graph_run *run, uint32_t index, enum op_pass pass)
{
    const struct graph *graph = run->graph;
    const struct op *op = &graph->ops[index];
    struct op_call call = {.graph = graph, .op = op, .op_index = graph_logical_op(graph, index), .pass = pass};
    struct prepared *prepared = NULL;
    struct error err = {0};
    graph_run_crowd(run->crowd);
    for (uint32_t k = 0; k < op->inputs; k++) {
        call.in[k] = run->offsets[op->in[k]];
        call.in_tensor[k] = &graph->tensors[op->in[k]];
    }
    for (uint32_t k = 0; k < op->outputs; k++) {
        call.out[k] = run->offsets[op->out[k]];
        call.out_tensor[k] = &graph->tensors[op->out[k]];
    }
    call.workspace = run->workspace;
    call.workspace_bytes = run->workspace_bytes;
    cr_assert(run->backend->op_prepare(run->device, &call, &prepared, &err) &&
                  run->backend->op_launch(prepared, NULL, &err),
              "%s: %s", op_kind_name(op->kind), err.text);
    run->backend->op_release(prepared);
}

/* A device for the graph with its tensors' places, its state as fill_state has it and step 0 set; ended by
 * graph_run_finish. */
static inline struct graph_run graph_run_begin_with(const struct backend *backend, const struct graph *graph,
                                                    uint32_t threads)
{
    struct graph_run run = {.backend = backend, .graph = graph};
    struct error err = {0};
    const struct device_options options = {.threads = threads};
    run.offsets = calloc(graph->tensor_count, sizeof *run.offsets);
    graph_run_place(&run);
    cr_assert(backend->device_create(&options, run.bytes, &run.device, &err), "%s", err.text);
    cr_assert(backend->fill(run.device, NULL, 0, run.bytes, 0, &err));
    graph_run_fill_state(&run);
    return run;
}

/* On the cpu backend, with so many threads however few processors there are. */
static inline struct graph_run graph_run_begin_crowded(const struct graph *graph, uint32_t threads)
{
    graph_run_crowd(threads);
    struct graph_run run = graph_run_begin_with(&cpu_backend, graph, threads);
    run.crowd = threads;
    return run;
}

static inline struct graph_run graph_run_begin(const struct backend *backend, const struct graph *graph)
{
    return graph_run_begin_with(backend, graph, 1);
}

static inline void graph_run_set_step(struct graph_run *run, uint64_t number)
{
    struct step now = {.number = number, .seed = 3, .learning_rate = 0.02f, .momentum = 0.9f, .bn_momentum = 0.1f};
    struct error err = {0};
    memcpy(now.mean, graph_run_mean, sizeof now.mean);
    memcpy(now.deviation, graph_run_deviation, sizeof now.deviation);
    cr_assert(run->backend->set_step(run->device, NULL, &now, &err));
    graph_run_fill_input(run, number);
}

static inline void graph_run_finish(struct graph_run *run)
{
    run->backend->device_destroy(run->device);
    free(run->offsets);
}

#endif
