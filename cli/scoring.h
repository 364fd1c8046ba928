/* A checkpoint put to use: shared by `fathom eval`, `fathom classify` and `fathom features`. */
#ifndef FATHOM_SCORING_H
#define FATHOM_SCORING_H

#include "json.h"
#include "score.h"
#include "train_command.h"

struct scoring {
    struct train_command train;
    uint64_t images, top, image_size, crops, resize;
    bool json;
    const char *output; /* of features */
    const char *scales; /* of eval */
    const char *part;   /* of features: "train" or "test"; NULL = test */
    struct checkpoint checkpoint;
    struct trained_on trained;
    bool known; /* what it was trained on */
    struct plan *plan;
    char numbers[MODEL_NUMBERS][32]; /* of the model's form, as flags have them */
};

/* The checkpoint that a word names, with what it was trained on; the model's form and the crops go into s->train. */
bool scoring_open(struct scoring *s, const char *word, struct error *err);
/* s->plan, and what runs it. */
bool scoring_plan(struct scoring *s, struct error *err);
void scoring_finish(struct scoring *s);
/* After how many steps it was saved: weights of others say none. */
json_t *scoring_step(const struct scoring *s);

#endif
