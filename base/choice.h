/* Words that stand for one of a few things, as people write them: case, hyphens, underscores and blanks do not count. */
#ifndef FATHOM_CHOICE_H
#define FATHOM_CHOICE_H

#include <stdbool.h>
#include <stddef.h>

#include "errors.h"

/* Another word for one of the names. */
struct choice_synonym {
    const char *word, *name;
};

/* Whether both are the same word: "ResNet-50" and "resnet50". */
bool choice_same(const char *a, const char *b);

/* How far the word is from a name, in letters that must change; at least `too_far` where nobody would take the one for the
 * other. */
size_t choice_distance(const char *word, const char *name, size_t too_far);

/* Finds text among the names, or among the synonyms (count 0 = none). ERROR_INPUT names `what` (a flag), what was found,
 * the nearest name where one is near, and all of them. */
bool choice_parse(const char *text, const char *what, const char *const *names, size_t count,
                  const struct choice_synonym *synonyms, size_t synonym_count, size_t *choice, struct error *err);

#endif
