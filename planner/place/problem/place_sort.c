#include "place_sort.h"

#include <string.h>

static void sort_by_byte(const struct sort_pair *from, struct sort_pair *to, size_t count, unsigned shift)
{
    size_t start[257] = {0};
    for (size_t i = 0; i < count; i++) start[((from[i].key >> shift) & 255) + 1]++;
    for (size_t i = 1; i < 257; i++) start[i] += start[i - 1];
    for (size_t i = 0; i < count; i++) to[start[(from[i].key >> shift) & 255]++] = from[i];
}

void sort_pairs(struct sort_pair *pairs, struct sort_pair *scratch, size_t count)
{
    uint64_t differs = 0;
    for (size_t i = 1; i < count; i++) differs |= pairs[i].key ^ pairs[0].key;
    struct sort_pair *from = pairs, *to = scratch;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        if (((differs >> shift) & 255) == 0) continue;
        sort_by_byte(from, to, count, shift);
        struct sort_pair *swap = from;
        from = to;
        to = swap;
    }
    if (from != pairs) memcpy(pairs, from, count * sizeof *pairs);
}
