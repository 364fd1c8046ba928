/* Parts of a bucket for kernels that give each a block: so many as a launch has room for go together. */
#ifndef FATHOM_PIECES_H
#define FATHOM_PIECES_H

#include "cuda_ops.h"

/* The next elements are [begin, end). Zeroed but for p, list, launch and arguments, which are the user's; `marks` may be set
 * between the parts: it goes to the counts of those that follow. */
struct cuda_pieces {
    struct prepared *p;
    struct kernel_piece *list; /* KERNEL_PIECES */
    bool (*launch)(struct cuda_pieces *s, struct launch_shape shape, struct error *err); /* adds one of the kernel's */
    void *arguments; /* of the kernel, the list among them */
    uint32_t marks, count;
    uint64_t begin, end;
};

/* Whether pieces can count the elements of a bucket; what: would be done to it. */
bool cuda_pieces_check(const struct tensor *bucket, const char *what, struct error *err);
/* Elements of the bucket. Those that touch go together. */
bool cuda_pieces_add(struct cuda_pieces *pieces, uint64_t begin, uint64_t count, struct error *err);
/* What differs from here on is marked so. */
bool cuda_pieces_mark(struct cuda_pieces *pieces, uint32_t marks, struct error *err);
/* Adds the last launch; there is one at least. */
bool cuda_pieces_end(struct cuda_pieces *pieces, struct error *err);

#endif
