#include "place_search_blame.h"

#include <string.h>

#define A_SET 0x80000000u

size_t blame_push(struct blame *blame)
{
    size_t set = blame->count;
    memset(blame->sets + set, 0, blame->words * sizeof *blame->sets);
    blame->count += blame->words;
    return set;
}

uint32_t blame_push_failure(struct blame *blame)
{
    size_t set = blame->count;
    memcpy(blame->sets + set, blame->failure, blame->words * sizeof *blame->sets);
    blame->count += blame->words;
    return A_SET | (uint32_t)(set / blame->words);
}

static void join(const struct blame *blame, uint64_t *set, const uint64_t *other)
{
    for (size_t i = 0; i < blame->words; i++) set[i] |= other[i];
}

void blame_add(const struct blame *blame, uint64_t *set, uint32_t cause)
{
    if (cause == NO_CAUSE) return;
    if (cause & A_SET)
        join(blame, set, blame->sets + (size_t)(cause & ~A_SET) * blame->words);
    else
        set[(cause - 1) / 64] |= (uint64_t)1 << ((cause - 1) % 64);
}

bool blame_pass_on(const struct blame *blame, uint32_t level, size_t set)
{
    uint64_t bit = (uint64_t)1 << (level % 64), *word = &blame->failure[level / 64];
    if (!(*word & bit)) return false;
    *word &= ~bit;
    join(blame, blame->sets + set, blame->failure);
    return true;
}
