#include "engine_question.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const passes[ENGINE_PASSES] = {"forward", "backward-data", "backward-weights"};
static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};

const struct engine_question_field engine_question_fields[ENGINE_QUESTION_FIELDS] = {
    {"images", 0, false},  {"height", 1, false}, {"width", 2, false},  {"channels", 3, false},
    {"filters", 4, false}, {"kernel", 5, true},  {"stride", 7, false}, {"padding", 8, true}};

char *engine_question_number(const struct engine_question *question, const struct engine_question_field *field,
                             char out[ENGINE_NUMBER_TEXT])
{
    const uint32_t *n = &question->numbers[field->at];
    if (field->two && n[0] != n[1])
        snprintf(out, ENGINE_NUMBER_TEXT, "[%" PRIu32 ", %" PRIu32 "]", n[0], n[1]);
    else
        snprintf(out, ENGINE_NUMBER_TEXT, "%" PRIu32, n[0]);
    return out;
}

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

/* ---- What it does besides ---- */

static const struct {
    uint32_t bit;
    const char *name;
} fusions[] = {{CONV_NORMALIZED, "normalized"},
               {CONV_RECTIFIED, "rectified"},
               {ENGINE_BIAS, "bias"},
               {CONV_ADDS, "adds"},
               {CONV_SUMS, "sums"},
               {CONV_GRADIENT_SUMS, "gradient-sums"},
               {CONV_SHUTS, "shuts"},
               {ENGINE_CHANNELS_FIRST, "channels-first"}};
#define FUSIONS (sizeof fusions / sizeof fusions[0])

char *engine_fused_words(uint32_t fused, char out[ENGINE_FUSED_TEXT])
{
    size_t length = 0;
    out[0] = '\0';
    for (size_t i = 0; i < FUSIONS; i++)
        if (fused & fusions[i].bit)
            length +=
                (size_t)snprintf(out + length, ENGINE_FUSED_TEXT - length, "%s%s", length ? "+" : "", fusions[i].name);
    return out;
}

bool engine_fused_find(const char *words, uint32_t *fused)
{
    *fused = 0;
    while (*words) {
        size_t length = strcspn(words, "+"), i = 0;
        while (i < FUSIONS && (strncmp(words, fusions[i].name, length) != 0 || fusions[i].name[length])) i++;
        if (i == FUSIONS || *fused & fusions[i].bit) return false;
        *fused |= fusions[i].bit;
        words += length;
        if (*words && !*++words) return false;
    }
    return true;
}

/* ---- Questions ---- */

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

#define KNOWN_FUSED (CONV_NORMALIZED | CONV_RECTIFIED | CONV_ADDS | CONV_SUMS | CONV_GRADIENT_SUMS | CONV_SHUTS)

/* False where cuDNN has no op for something. */
static bool find_fused(const struct op *op, enum op_pass pass, uint32_t *fused)
{
    *fused = op->attr.conv.fused;
    TRY((*fused & ~(uint32_t)KNOWN_FUSED) == 0);
    TRY(op->kind != OP_CONV_BWD_DATA || !(*fused & CONV_ADDS));
    if (pass == PASS_RECOMPUTE || pass == PASS_EVALUATE) *fused &= ~(uint32_t)CONV_SUMS;
    if (conv_operands(op).bias != NO_OPERAND) *fused |= ENGINE_BIAS;
    return true;
}

bool engine_question_of(const struct graph *graph, const struct op *op, enum op_pass plan_pass,
                        struct engine_question *question)
{
    uint32_t pass, x, w, fused;
    TRY(find_operands(op, &pass, &x, &w) && find_fused(op, plan_pass, &fused));
    const uint32_t *image = graph->tensors[x].dims, *weights = graph->tensors[w].dims;
    const uint32_t dtype = (uint32_t)graph->options.dtype, *kernel = op->attr.conv.kernel,
                   *padding = op->attr.conv.padding;
    *question =
        (struct engine_question){.pass = pass,
                                 .dtype = dtype,
                                 .fused = fused,
                                 .weights = pass == ENGINE_BACKWARD_WEIGHTS ? (uint32_t)graph->tensors[w].dtype : dtype,
                                 .images = image[0],
                                 .height = image[1],
                                 .width = image[2],
                                 .channels = image[3],
                                 .filters = weights[0],
                                 .kernel = {kernel[0], kernel[1]},
                                 .stride = op->attr.conv.stride,
                                 .padding = {padding[0], padding[1]}};
    return true;
}

bool engine_question_next(struct engine_question *question)
{
    if (question->weights == question->dtype) return false;
    question->weights = question->dtype;
    return true;
}

bool engine_question_copies(const struct engine_question *question) { return question->weights != DTYPE_F32; }

bool engine_question_same(const struct engine_question *a, const struct engine_question *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

char *engine_question_words(const struct engine_question *q, char out[ENGINE_QUESTION_TEXT])
{
    int length = snprintf(out, ENGINE_QUESTION_TEXT,
                          "%" PRIu32 "x%" PRIu32 "x%" PRIu32 "x%" PRIu32 " -> %" PRIu32 ", %" PRIu32 "x%" PRIu32,
                          q->images, q->height, q->width, q->channels, q->filters, q->kernel[0], q->kernel[1]);
    if (q->stride != 1 && length < ENGINE_QUESTION_TEXT)
        snprintf(out + length, (size_t)(ENGINE_QUESTION_TEXT - length), " / %" PRIu32, q->stride);
    return out;
}
