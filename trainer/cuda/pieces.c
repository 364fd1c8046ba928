#include "pieces.h"

static bool launch_pieces(struct cuda_pieces *s, struct error *err)
{
    const uint32_t blocks = s->count ? s->count : 1; /* of nothing */
    s->count = 0;
    return s->launch(s, (struct launch_shape){.blocks = blocks, .threads = KERNEL_THREADS}, err);
}

static bool cut_pieces(struct cuda_pieces *s, struct error *err)
{
    while (s->begin < s->end) {
        const uint64_t left = s->end - s->begin, count = left < KERNEL_PIECE_ELEMENTS ? left : KERNEL_PIECE_ELEMENTS;
        if (s->count == KERNEL_PIECES) TRY(launch_pieces(s, err));
        s->list[s->count].first = (uint32_t)s->begin;
        s->list[s->count++].count = (uint32_t)count | s->marks;
        s->begin += count;
    }
    return true;
}

bool cuda_pieces_check(const struct tensor *bucket, const char *what, struct error *err)
{
    return tensor_elements(bucket) <= UINT32_MAX ||
           error_set(err, ERROR_FAILED, "a bucket of gradients of 16 GiB or more: the cuda backend cannot %s it", what);
}

bool cuda_pieces_add(struct cuda_pieces *s, uint64_t begin, uint64_t count, struct error *err)
{
    if (begin != s->end) {
        TRY(cut_pieces(s, err));
        s->begin = begin;
    }
    s->end = begin + count;
    return true;
}

bool cuda_pieces_mark(struct cuda_pieces *s, uint32_t marks, struct error *err)
{
    if (marks == s->marks) return true;
    TRY(cut_pieces(s, err));
    s->marks = marks;
    return true;
}

bool cuda_pieces_end(struct cuda_pieces *s, struct error *err) { return cut_pieces(s, err) && launch_pieces(s, err); }
