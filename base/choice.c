#include "choice.h"

#include <stdio.h>
#include <string.h>

#include "ascii.h"
#include "printable.h"
#include "text.h"

/* The next character that counts, in lower case; 0 at the end. */
static int next_letter(const char **at)
{
    while (**at == '-' || **at == '_' || **at == ' ') ++*at;
    return **at ? ascii_lower(*(*at)++) : 0;
}

bool choice_same(const char *a, const char *b)
{
    int left, right;
    do {
        left = next_letter(&a);
        right = next_letter(&b);
    } while (left == right && left != 0);
    return left == right;
}

static void normalise(const char *word, char out[TEXT_WORD + 1])
{
    size_t length = 0;
    for (int letter; length < TEXT_WORD && (letter = next_letter(&word)) != 0;) out[length++] = (char)letter;
    out[length] = '\0';
}

size_t choice_distance(const char *word, const char *name, size_t too_far)
{
    char a[TEXT_WORD + 1], b[TEXT_WORD + 1];
    normalise(word, a);
    normalise(name, b);
    size_t distance = text_distance(a, b), longer = strlen(a) > strlen(b) ? strlen(a) : strlen(b);
    return 2 * distance > longer ? too_far : distance; /* two letters of three make another word */
}

static bool find_name(const char *text, const char *const *names, size_t count, size_t *choice)
{
    for (size_t i = 0; i < count; i++) {
        if (!choice_same(text, names[i])) continue;
        *choice = i;
        return true;
    }
    return false;
}

static const char *find_nearest(const char *text, const char *const *names, size_t count)
{
    const char *nearest = NULL;
    size_t least = TEXT_WORD;
    for (size_t i = 0; i < count; i++) {
        size_t distance = choice_distance(text, names[i], TEXT_WORD);
        if (distance >= least) continue;
        least = distance;
        nearest = names[i];
    }
    return nearest;
}

static bool refuse(const char *text, const char *what, const char *const *names, size_t count, struct error *err)
{
    char list[256] = "", near[80] = "";
    const char *nearest = find_nearest(text, names, count);
    for (size_t i = 0, used = 0; i < count && used < sizeof list; i++) {
        const char *before = i == 0 ? "" : i + 1 == count ? " or " : ", ";
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", before, names[i]);
    }
    if (nearest) snprintf(near, sizeof near, "; did you mean %s?", nearest);
    return error_set(err, ERROR_INPUT, "%s: found \"%s\", expected %s%s", what, PRINTABLE_CUT(text, 60), list, near);
}

bool choice_parse(const char *text, const char *what, const char *const *names, size_t count,
                  const struct choice_synonym *synonyms, size_t synonym_count, size_t *choice, struct error *err)
{
    if (find_name(text, names, count, choice)) return true;
    for (size_t i = 0; i < synonym_count; i++)
        if (choice_same(text, synonyms[i].word) && find_name(synonyms[i].name, names, count, choice)) return true;
    return refuse(text, what, names, count, err);
}
