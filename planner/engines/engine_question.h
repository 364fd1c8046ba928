/* What cuDNN is asked: a convolution of one pass, by its distinct shape. Activations are NHWC, weights K R S C. */
#ifndef FATHOM_ENGINE_QUESTION_H
#define FATHOM_ENGINE_QUESTION_H

#include "graph.h"

enum engine_pass { ENGINE_FORWARD, ENGINE_BACKWARD_DATA, ENGINE_BACKWARD_WEIGHTS, ENGINE_PASSES };
const char *engine_pass_name(enum engine_pass pass);

/* Equal questions are equal bytes. */
#define ENGINE_QUESTION_NUMBERS 8
struct engine_question {
    uint32_t pass, dtype; /* enums engine_pass, dtype */
    union {
        struct {
            uint32_t images, height, width, channels, filters, kernel, stride, padding; /* of the forward pass */
        };
        uint32_t numbers[ENGINE_QUESTION_NUMBERS];
    };
};
/* Their names in files and to the helper, from images on. */
extern const char *const engine_question_names[ENGINE_QUESTION_NUMBERS];

/* False for an op that is no convolution, or does more than one (lower.h): cuDNN is not asked about that yet. */
bool engine_question_of(const struct graph *graph, const struct op *op, struct engine_question *question);
bool engine_question_same(const struct engine_question *a, const struct engine_question *b);

/* "64 x 32x32x16 -> 16, 3x3 / 2" into out; returns out. */
#define ENGINE_QUESTION_TEXT 80
char *engine_question_words(const struct engine_question *question, char out[ENGINE_QUESTION_TEXT]);

/* The names back. False for others. */
bool engine_pass_find(const char *name, uint32_t *pass);
bool engine_dtype_find(const char *name, uint32_t *dtype);

#endif
