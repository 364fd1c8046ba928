/* Stable radix sort of (key, index) pairs: the orders of 10^5 buffers are needed within milliseconds. */
#ifndef FATHOM_PLACE_SORT_H
#define FATHOM_PLACE_SORT_H

#include <stddef.h>
#include <stdint.h>

struct sort_pair {
    uint64_t key;
    uint32_t index;
};

/* Sorts pairs[count] by rising key, equal keys in their given order; scratch has room for count as well. */
void sort_pairs(struct sort_pair *pairs, struct sort_pair *scratch, size_t count);

#endif
