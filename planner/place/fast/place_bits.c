#include "place_bits.h"

#include <string.h>

#include "mem.h"

bool bits_init(struct bits *bits, size_t limit, struct error *err)
{
    *bits = (struct bits){0};
    for (size_t width = limit;;) {
        width = width / 64 + 1; /* one past the last may be asked about */
        bits->level_start[bits->level_count++] = bits->word_count;
        bits->word_count += width;
        if (width == 1) break;
    }
    bits->words = mem_zalloc(MEM_SEARCH, bits->word_count, sizeof *bits->words);
    return bits->words || error_memory(err, bits->word_count * sizeof *bits->words, "the free space of a placement");
}

void bits_finish(struct bits *bits)
{
    mem_free(bits->words);
    *bits = (struct bits){0};
}

void bits_clear(struct bits *bits) { memset(bits->words, 0, bits->word_count * sizeof *bits->words); }

void bits_put(struct bits *bits, size_t number)
{
    for (size_t level = 0; level < bits->level_count; level++, number /= 64)
        bits->words[bits->level_start[level] + number / 64] |= UINT64_C(1) << number % 64;
}

void bits_take(struct bits *bits, size_t number)
{
    for (size_t level = 0; level < bits->level_count; level++, number /= 64) {
        uint64_t *word = &bits->words[bits->level_start[level] + number / 64];
        *word &= ~(UINT64_C(1) << number % 64);
        if (*word != 0) return;
    }
}

/* Up to a level that has one on that side, then down to it. */
size_t bits_from(const struct bits *bits, size_t number)
{
    for (size_t level = 0; level < bits->level_count; level++) {
        uint64_t word = bits->words[bits->level_start[level] + number / 64] >> number % 64;
        if (word != 0) {
            number += (size_t)__builtin_ctzll(word);
            while (level-- > 0)
                number = 64 * number + (size_t)__builtin_ctzll(bits->words[bits->level_start[level] + number]);
            return number;
        }
        number = number / 64 + 1;
        if (level + 1 < bits->level_count && number / 64 >= bits->level_start[level + 1] - bits->level_start[level])
            return BITS_NONE;
    }
    return BITS_NONE;
}

size_t bits_before(const struct bits *bits, size_t number)
{
    for (size_t level = 0; level < bits->level_count && number > 0; level++, number /= 64) {
        uint64_t below = (UINT64_C(1) << number % 64) - 1;
        uint64_t word = bits->words[bits->level_start[level] + number / 64] & below;
        if (word == 0) continue;
        number = number - number % 64 + 63 - (size_t)__builtin_clzll(word);
        while (level-- > 0)
            number = 64 * number + 63 - (size_t)__builtin_clzll(bits->words[bits->level_start[level] + number]);
        return number;
    }
    return BITS_NONE;
}
