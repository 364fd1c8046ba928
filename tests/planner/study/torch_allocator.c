/* The allocator's rules, each with figures computed by hand, and random tensors against a naive model of the same
 * rules. */
#include <criterion/criterion.h>

#include "torch_allocator.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

static uint32_t take(struct torch_allocator *a, uint64_t bytes)
{
    struct error err = {0};
    uint32_t block;
    cr_assert(torch_allocator_take(a, bytes, &block, &err), "%s", err.text);
    return block;
}

static void give(struct torch_allocator *a, uint32_t block)
{
    struct error err = {0};
    cr_assert(torch_allocator_free(a, block, &err), "%s", err.text);
}

#define expect(allocator, allocated, reserved)                                                                         \
    do {                                                                                                               \
        cr_expect_eq((allocator).allocated_bytes, (allocated), "%lu", (unsigned long)(allocator).allocated_bytes);     \
        cr_expect_eq((allocator).reserved_bytes, (reserved), "%lu", (unsigned long)(allocator).reserved_bytes);        \
    } while (0)

Test(torch_allocator, sizes_are_rounded_and_segments_are_of_three_kinds)
{
    struct torch_allocator a = {0};
    take(&a, 1);
    expect(a, 512, 2 * MIB);
    take(&a, 513);
    expect(a, 512 + 1024, 2 * MIB);
    cr_expect_eq(take(&a, 0), TORCH_NO_BLOCK);
    take(&a, 1 * MIB); /* the last of the small ones: the 2 MiB segment has room for it */
    expect(a, 1536 + 1 * MIB, 2 * MIB);
    take(&a, 1 * MIB + 1); /* 1 MiB + 512 from a segment of 20 MiB */
    expect(a, 1536 + 1 * MIB + 1 * MIB + 512, 22 * MIB);
    take(&a, 10 * MIB - 1); /* 10 MiB after rounding, of the 18.99 that are left */
    expect(a, 1536 + 1 * MIB + 1 * MIB + 512 + 10 * MIB, 22 * MIB);
    take(&a, 10 * MIB); /* 8.99 MiB are left of the 20: not enough */
    expect(a, 1536 + 1 * MIB + 1 * MIB + 512 + 20 * MIB, 32 * MIB);
    take(&a, 21 * MIB); /* a segment of 22, taken whole, as 1 MiB is too little to be left */
    expect(a, 1536 + 1 * MIB + 1 * MIB + 512 + 42 * MIB, 54 * MIB);
    cr_expect_eq(a.peak_reserved_bytes, 54 * MIB);
    torch_allocator_finish(&a);
}

Test(torch_allocator, what_is_left_of_a_block_stays_free_only_when_it_is_worth_it)
{
    struct torch_allocator a = {0};
    uint32_t block = take(&a, 12 * MIB);
    give(&a, block);
    /* 1 MiB would be left: not above 1 MiB, so the whole block is taken. */
    block = take(&a, 11 * MIB);
    cr_expect_eq(torch_allocator_block_bytes(&a, block), 12 * MIB);
    expect(a, 12 * MIB, 12 * MIB);
    give(&a, block);
    block = take(&a, 11 * MIB - 512);
    cr_expect_eq(torch_allocator_block_bytes(&a, block), 11 * MIB - 512);
    /* and what is left serves the next of such a size */
    take(&a, 1 * MIB + 512);
    expect(a, 12 * MIB, 12 * MIB);
    /* small ones: 512 bytes are enough to be left */
    take(&a, 1 * MIB);
    block = take(&a, 1 * MIB - 512);
    cr_expect_eq(torch_allocator_block_bytes(&a, block), 1 * MIB - 512);
    take(&a, 1);
    expect(a, 12 * MIB + 2 * MIB, 14 * MIB);
    torch_allocator_finish(&a);
}

Test(torch_allocator, the_smallest_block_that_is_large_enough_then_the_lowest)
{
    struct torch_allocator a = {0};
    uint32_t large = take(&a, 40 * MIB), first = take(&a, 20 * MIB), second = take(&a, 20 * MIB);
    give(&a, large);
    give(&a, second);
    give(&a, first);
    cr_expect_eq(take(&a, 20 * MIB), first, "of equal ones that at the lowest address");
    cr_expect_eq(take(&a, 19 * MIB), second);
    cr_expect_eq(take(&a, 19 * MIB), large);
    expect(a, 20 * MIB + 20 * MIB + 19 * MIB, 80 * MIB);
    torch_allocator_finish(&a);
}

Test(torch_allocator, free_neighbours_of_a_segment_are_joined_and_segments_are_not)
{
    struct torch_allocator a = {0};
    uint32_t parts[4];
    for (int i = 0; i < 4; i++) parts[i] = take(&a, 5 * MIB);
    expect(a, 20 * MIB, 20 * MIB);
    give(&a, parts[0]);
    give(&a, parts[2]);
    take(&a, 10 * MIB); /* 5 + 5 are apart */
    expect(a, 20 * MIB, 30 * MIB);
    give(&a, parts[1]);
    take(&a, 15 * MIB); /* now they are not */
    expect(a, 30 * MIB, 30 * MIB);
    torch_allocator_finish(&a);

    uint32_t first = take(&a, 16 * MIB), second = take(&a, 16 * MIB);
    give(&a, first);
    give(&a, second);
    take(&a, 32 * MIB);
    expect(a, 32 * MIB, 64 * MIB);
    torch_allocator_finish(&a);
}

/* Workspaces between activations: the reason why more is reserved than was ever taken. */
Test(torch_allocator, a_workspace_that_no_cached_segment_holds_is_reserved_beside_them)
{
    struct torch_allocator a = {0};
    for (int i = 0; i < 3; i++) give(&a, take(&a, (100 + 20 * (uint64_t)i) * MIB));
    cr_expect_eq(a.peak_allocated_bytes, 140 * MIB);
    cr_expect_eq(a.peak_reserved_bytes, 100 * MIB + 120 * MIB + 140 * MIB);
    give(&a, take(&a, 130 * MIB));
    cr_expect_eq(a.peak_reserved_bytes, 360 * MIB);
    torch_allocator_finish(&a);
}

Test(torch_allocator, what_is_cached_goes_back_before_it_is_out_of_memory)
{
    struct torch_allocator a = {.most_bytes = 100 * MIB};
    uint32_t kept = take(&a, 30 * MIB), loose = take(&a, 60 * MIB);
    give(&a, loose);
    cr_expect_neq(take(&a, 70 * MIB), TORCH_NO_BLOCK);
    cr_expect_eq(a.given_back, 1);
    expect(a, 100 * MIB, 100 * MIB);
    cr_expect_eq(take(&a, 2 * MIB), TORCH_NO_BLOCK);
    expect(a, 100 * MIB, 100 * MIB);
    /* A segment of which a part is taken stays. */
    give(&a, kept);
    cr_expect_neq(take(&a, 10 * MIB), TORCH_NO_BLOCK);
    cr_expect_eq(take(&a, 25 * MIB), TORCH_NO_BLOCK);
    expect(a, 80 * MIB, 100 * MIB);
    torch_allocator_finish(&a);
}

/* ---- A naive model ---- */

#define MOST_PIECES 4096

struct piece {
    uint64_t segment, offset, bytes;
    bool small, free;
};

struct naive {
    struct piece pieces[MOST_PIECES]; /* by segment, then by offset */
    size_t count;
    uint64_t segments, reserved;
};

static void insert(struct naive *n, size_t at, struct piece piece)
{
    cr_assert_lt(n->count, (size_t)MOST_PIECES);
    memmove(n->pieces + at + 1, n->pieces + at, (n->count - at) * sizeof piece);
    n->pieces[at] = piece;
    n->count++;
}

/* Segment and offset of what was taken. */
static struct piece naive_take(struct naive *n, uint64_t bytes)
{
    uint64_t wanted = (bytes + 511) / 512 * 512;
    bool small = wanted <= MIB;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < n->count; i++) {
        const struct piece *p = &n->pieces[i];
        if (p->free && p->small == small && p->bytes >= wanted &&
            (best == SIZE_MAX || p->bytes < n->pieces[best].bytes))
            best = i;
    }
    if (best == SIZE_MAX) {
        uint64_t segment = small               ? 2 * MIB
                           : wanted < 10 * MIB ? 20 * MIB
                                               : (wanted + 2 * MIB - 1) / (2 * MIB) * 2 * MIB;
        n->reserved += segment;
        best = n->count;
        insert(n, best, (struct piece){n->segments++, 0, segment, small, true});
    }
    struct piece *p = &n->pieces[best];
    uint64_t left = p->bytes - wanted;
    p->free = false;
    if (small ? left >= 512 : left > MIB) {
        p->bytes = wanted;
        insert(n, best + 1, (struct piece){p->segment, p->offset + wanted, left, small, true});
    }
    return n->pieces[best];
}

static void naive_free(struct naive *n, uint64_t segment, uint64_t offset)
{
    size_t kept = 0;
    for (size_t i = 0; i < n->count; i++)
        if (n->pieces[i].segment == segment && n->pieces[i].offset == offset) n->pieces[i].free = true;
    for (size_t i = 0; i < n->count; i++) {
        struct piece *last = kept ? &n->pieces[kept - 1] : NULL;
        if (last && last->free && n->pieces[i].free && last->segment == n->pieces[i].segment)
            last->bytes += n->pieces[i].bytes;
        else
            n->pieces[kept++] = n->pieces[i];
    }
    n->count = kept;
}

Test(torch_allocator, random_tensors_take_what_a_naive_model_takes)
{
    static struct naive naive;
    struct torch_allocator a = {0};
    struct held {
        uint32_t block;
        struct piece piece;
    } held[200];
    size_t count = 0;
    uint64_t state = 7, allocated = 0;
    for (int i = 0; i < 6000; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t draw = state >> 33;
        if (count == 200 || (count > 0 && draw % 5 < 2)) {
            size_t at = draw / 5 % count;
            allocated -= held[at].piece.bytes;
            naive_free(&naive, held[at].piece.segment, held[at].piece.offset);
            give(&a, held[at].block);
            held[at] = held[--count];
        } else {
            uint64_t bytes = 1 + draw / 7 % ((draw % 3 == 0) ? 3 * MIB : (draw % 3 == 1) ? 900 * KIB : 40 * MIB);
            held[count] = (struct held){take(&a, bytes), naive_take(&naive, bytes)};
            cr_assert_eq(torch_allocator_block_bytes(&a, held[count].block), held[count].piece.bytes, "step %d", i);
            allocated += held[count++].piece.bytes;
        }
        cr_assert_eq(a.allocated_bytes, allocated, "step %d", i);
        cr_assert_eq(a.reserved_bytes, naive.reserved, "step %d", i);
    }
    torch_allocator_finish(&a);
}
