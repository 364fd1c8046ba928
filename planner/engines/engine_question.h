/* What cuDNN is asked: a convolution of one pass, by its distinct shape, with what it does besides. Activations are NHWC,
 * weights K R S C. */
#ifndef FATHOM_ENGINE_QUESTION_H
#define FATHOM_ENGINE_QUESTION_H

#include "graph.h"

enum engine_pass { ENGINE_FORWARD, ENGINE_BACKWARD_DATA, ENGINE_BACKWARD_WEIGHTS, ENGINE_PASSES };
const char *engine_pass_name(enum engine_pass pass);

/* Beside the bits of enum conv_fusion: a bias is added; all tensors are NCHW and K C R S, as in other frameworks. */
#define ENGINE_BIAS           256u
#define ENGINE_CHANNELS_FIRST 512u

/* Equal questions are equal bytes. */
#define ENGINE_QUESTION_NUMBERS 10
struct engine_question {
    uint32_t pass, dtype; /* enums engine_pass, dtype */
    uint32_t fused;       /* bits of enum conv_fusion, and the two above */
    uint32_t weights;     /* enum dtype: of the weights, or of their gradient */
    union {
        struct {
            uint32_t images, height, width, channels, filters, kernel[2], stride, padding[2]; /* of the forward pass */
        };
        uint32_t numbers[ENGINE_QUESTION_NUMBERS];
    };
};
/* Those numbers in files and to the helper, from images on: kernel and padding are of rows and
 * columns, and one number where both are equal. */
#define ENGINE_QUESTION_FIELDS 8
extern const struct engine_question_field {
    const char *name;
    uint32_t at; /* in numbers[] */
    bool two;
} engine_question_fields[ENGINE_QUESTION_FIELDS];
/* "3", or "[1, 7]", into out; returns out. */
#define ENGINE_NUMBER_TEXT 32
char *engine_question_number(const struct engine_question *question, const struct engine_question_field *field,
                             char out[ENGINE_NUMBER_TEXT]);

/* The question of an op in a pass of the plan: a convolution that runs again, or in evaluation, writes no sums. False for
 * an op that is no convolution, and for one that reads its gradient through a BN, for which cuDNN has no ops. */
bool engine_question_of(const struct graph *graph, const struct op *op, enum op_pass pass,
                        struct engine_question *question);
/* What to ask when that has no engine: a gradient of weights in the activations' type, which is widened afterwards. False
 * when there is nothing else. */
bool engine_question_next(struct engine_question *question);
/* Whether a 16-bit copy of the weights, or of their gradient, is made beside it (workspace_weights_copy). */
bool engine_question_copies(const struct engine_question *question);
bool engine_question_same(const struct engine_question *a, const struct engine_question *b);

/* "64x32x32x16 -> 16, 3x3 / 2" into out; returns out. */
#define ENGINE_QUESTION_TEXT 80
char *engine_question_words(const struct engine_question *question, char out[ENGINE_QUESTION_TEXT]);

/* "normalized+rectified+sums" into out, "" for none; returns out. */
#define ENGINE_FUSED_TEXT 80
char *engine_fused_words(uint32_t fused, char out[ENGINE_FUSED_TEXT]);
bool engine_fused_find(const char *words, uint32_t *fused);

/* The names back. False for others. */
bool engine_pass_find(const char *name, uint32_t *pass);
bool engine_dtype_find(const char *name, uint32_t *dtype);

#endif
