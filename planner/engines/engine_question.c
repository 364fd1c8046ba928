#include "engine_question.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const passes[ENGINE_PASSES] = {"forward", "backward-data", "backward-weights"};
static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};

const char *const engine_question_names[ENGINE_QUESTION_NUMBERS] = {"images",  "height", "width",  "channels",
                                                                    "filters", "kernel", "stride", "padding"};

const char *engine_pass_name(enum engine_pass pass) { return passes[pass]; }

bool engine_pass_find(const char *name, uint32_t *pass)
{
    for (uint32_t i = 0; i < ENGINE_PASSES; i++)
        if (strcmp(name, passes[i]) == 0) {
            *pass = i;
            return true;
        }
    return false;
}

bool engine_dtype_find(const char *name, uint32_t *dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(name, dtype_name(dtypes[i])) == 0) {
            *dtype = (uint32_t)dtypes[i];
            return true;
        }
    return false;
}

/* The tensors x and w of a convolution, or their gradients, which have their shapes. */
static bool find_operands(const struct op *op, uint32_t *pass, uint32_t *x, uint32_t *w)
{
    switch (op->kind) {
    case OP_CONV: *pass = ENGINE_FORWARD, *x = op->in[0], *w = op->in[1]; return true;
    case OP_CONV_BWD_DATA: *pass = ENGINE_BACKWARD_DATA, *x = op->out[0], *w = op->in[1]; return true;
    case OP_CONV_BWD_WEIGHTS: *pass = ENGINE_BACKWARD_WEIGHTS, *x = op->in[0], *w = op->out[0]; return true;
    default: return false;
    }
}

bool engine_question_of(const struct graph *graph, const struct op *op, struct engine_question *question)
{
    uint32_t pass, x, w;
    TRY(find_operands(op, &pass, &x, &w) && op->attr.conv.fused == 0);
    const uint32_t *image = graph->tensors[x].dims, *weights = graph->tensors[w].dims;
    *question = (struct engine_question){.pass = pass,
                                         .dtype = (uint32_t)graph->options.dtype,
                                         .images = image[0],
                                         .height = image[1],
                                         .width = image[2],
                                         .channels = image[3],
                                         .filters = weights[0],
                                         .kernel = op->attr.conv.kernel,
                                         .stride = op->attr.conv.stride,
                                         .padding = op->attr.conv.padding};
    return true;
}

bool engine_question_same(const struct engine_question *a, const struct engine_question *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

char *engine_question_words(const struct engine_question *q, char out[ENGINE_QUESTION_TEXT])
{
    int length = snprintf(out, ENGINE_QUESTION_TEXT,
                          "%" PRIu32 "x%" PRIu32 "x%" PRIu32 "x%" PRIu32 " -> %" PRIu32 ", %" PRIu32 "x%" PRIu32,
                          q->images, q->height, q->width, q->channels, q->filters, q->kernel, q->kernel);
    if (q->stride != 1 && length < ENGINE_QUESTION_TEXT)
        snprintf(out + length, (size_t)(ENGINE_QUESTION_TEXT - length), " / %" PRIu32, q->stride);
    return out;
}
