/* A checkpoint put to use: shared by `fathom eval`, `fathom classify` and `fathom features`. */
#ifndef FATHOM_SCORING_H
#define FATHOM_SCORING_H

#include "json.h"
#include "score.h"
#include "train_command.h"
#include "trained_on.h"

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
    bool guessed_scale; /* ImageNet's, of weights that do not say */
    struct plan *plan;
    bool *left_out; /* of classify and features: pictures that cannot be decoded */
    struct dataset *named; /* of classify and features: what --data names, whose classes and scale count */
    char numbers[MODEL_NUMBERS][32]; /* of the model's form, as flags have them */
};

/* Where and how a net is run, as options and as the last lines of a manual: `names` are those that `fathom help train` tells. */
#define SCORING_SPECS(s)                                              \
    {"batch", 'b', OPTION_COUNT, &(s).train.flags.batch, 1, 1 << 16}, \
    {"gpus", 'g', OPTION_TEXT, &(s).train.flags.gpus, 0, 0},          \
    {"backend", 0, OPTION_TEXT, &(s).train.backend, 0, 0},            \
    {"image-size", 0, OPTION_COUNT, &(s).image_size, 1, 1 << 14}
#define SCORING_MANUAL(names)                                     \
    "    -g, --gpus MACHINE  where; as in `fathom help train`\n" \
    "    " names "\n"                                            \
    "                        as in `fathom help train`\n"        \
    "\n"                                                         \
    "EXIT STATUS\n"                                              \
    "    0 done; 1 it failed; 2 the command or a file is wrong\n" \
    "\n"

/* The checkpoint that a word names, with what it was trained on; the model's form and the crops go into s->train. */
bool scoring_open(struct scoring *s, const char *word, struct error *err);
/* Opens the dataset of options.data_path, of which test images alone may be wanted, and whose images are normalised as those were that the net was trained on, where that
 * is known. */
bool scoring_data(struct scoring *s, bool tests_alone, struct error *err);
/* s->plan, and what runs it. */
bool scoring_plan(struct scoring *s, struct error *err);
void scoring_finish(struct scoring *s);
/* After how many steps it was saved: weights of others say none. */
json_t *scoring_step(const struct scoring *s);

#endif
