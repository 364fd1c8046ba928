/* Engines and graphs for their tests. */
#ifndef FATHOM_ENGINES_KIT_H
#define FATHOM_ENGINES_KIT_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engines.h"
#include "graph_kit.h"

static inline const struct engine_device *kit_device(const char *name)
{
    const struct engine_device *device = engine_device_find(catalogue_find(name));
    cr_assert(device, "%s", name);
    return device;
}

static inline struct graph *kit_lowered(const char *model, uint32_t batch, enum dtype dtype, uint32_t lowering)
{
    return build_with(model, MODEL_OPTIONS_DEFAULT,
                      (struct graph_options){.batch = batch, .micro_batches = 1, .dtype = dtype, .lowering = lowering});
}

static inline struct graph *kit_graph(const char *model, uint32_t batch, enum dtype dtype)
{
    return kit_lowered(model, batch, dtype, 0);
}

static inline struct engines *kit_open(const struct engines_options *options)
{
    struct error err = {0};
    struct engines *engines = engines_create(options, &err);
    cr_assert(engines, "%s", err.text);
    return engines;
}

/* How many ops of the graph have an answer. */
static inline size_t kit_ask_all(struct engines *engines, const struct graph *graph)
{
    size_t answered = 0;
    for (size_t i = 0; i < graph->op_count; i++) {
        struct engine_answer answer;
        answered += engines_answer(engines, graph, &graph->ops[i], PASS_FORWARD, &(struct engine_rules){.tf32 = true}, &answer);
    }
    return answered;
}

static inline size_t kit_convolutions(const struct graph *graph)
{
    size_t count = 0;
    for (size_t i = 0; i < graph->op_count; i++) {
        struct engine_question question;
        count += engine_question_of(graph, &graph->ops[i], PASS_FORWARD, &question);
    }
    return count;
}

/* A folder of its own, and a path in it. */
struct kit_folder {
    char path[64];
};
static inline struct kit_folder kit_folder(void)
{
    struct kit_folder folder = {"/tmp/fathom-engines-XXXXXX"};
    cr_assert(mkdtemp(folder.path));
    return folder;
}
static inline char *kit_path(const struct kit_folder *folder, const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", folder->path, name);
    return out;
}
static inline void kit_remove(const struct kit_folder *folder)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder->path);
    cr_expect_eq(system(command), 0);
}

/* A convolution of 3 x 3 with stride 1 over square images, which stay as large, all in one type. */
static inline struct engine_question kit_question(uint32_t pass, uint32_t dtype, uint32_t images, uint32_t side,
                                                  uint32_t channels, uint32_t filters)
{
    return (struct engine_question){.pass = pass,
                                    .dtype = dtype,
                                    .weights = dtype,
                                    .images = images,
                                    .height = side,
                                    .width = side,
                                    .channels = channels,
                                    .filters = filters,
                                    .kernel = {3, 3},
                                    .stride = 1,
                                    .padding = {1, 1}};
}

#endif
