/* A table of runs as a file: options of `fathom train` that all rows share, rows that differ in some, seeds
 * (docs/formats.md). */
#ifndef FATHOM_SWEEP_FILE_H
#define FATHOM_SWEEP_FILE_H

#include "json.h"

#define SWEEP_MOST_ROWS  128
#define SWEEP_MOST_SEEDS 64
#define SWEEP_NAME       64

/* What rows are compared by: of a run's last test, of its best one, or of its last step. */
enum sweep_figure { SWEEP_TOP1, SWEEP_BEST_TOP1, SWEEP_TOP5, SWEEP_LOSS };

struct sweep_row {
    const char *name, *model;
    char folder[SWEEP_NAME + 1]; /* the name as a file system takes it */
    const char *published;       /* what the paper has for it; NULL = nothing */
    json_t *options;             /* its own; NULL = none */
};

/* Strings and options belong to json. */
struct sweep {
    json_t *json;
    const char *name, *source; /* "" = not said */
    enum sweep_figure compare;
    uint64_t seeds[SWEEP_MOST_SEEDS];
    size_t seed_count;
    struct sweep_row rows[SWEEP_MOST_ROWS];
    size_t row_count;
    json_t *options; /* of all rows; NULL = none */
    char own_name[SWEEP_NAME + 1], texts[SWEEP_MOST_ROWS][32];
};

/* ERROR_INPUT names the file, the row and the key, and of a key that there is not the nearest. Ended with sweep_finish. */
bool sweep_read(const char *path, struct sweep *sweep, struct error *err);
/* Takes a zeroed object. */
void sweep_finish(struct sweep *sweep);

/* "test error, top-1" */
const char *sweep_figure_words(enum sweep_figure figure);
/* "top1_error", as in the file */
const char *sweep_figure_name(enum sweep_figure figure);

/* Words of a command, each its own block. */
struct sweep_words {
    char **words;
    size_t count, capacity;
};
/* Adds the row's command from "train" on, with the seed: model, options of all that the row does not have otherwise,
 * the row's own, and `more`, which win. */
bool sweep_add_command(const struct sweep *sweep, size_t row, uint64_t seed, const char *const *more, size_t more_count,
                       struct sweep_words *words, struct error *err);
bool sweep_add_word(struct sweep_words *words, const char *word, struct error *err);
/* Whether words that each command has besides leave out what the sweep says itself. ERROR_INPUT. */
bool sweep_check_words(const char *const *words, size_t count, struct error *err);
/* Whether the file says where the images are. */
bool sweep_has_data(const struct sweep *sweep);
/* Takes a zeroed object. */
void sweep_words_finish(struct sweep_words *words);

#endif
