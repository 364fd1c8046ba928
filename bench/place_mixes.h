/* Random mixes of placement problems that can each be placed at their bound: what is placed apart can be placed
 * together, so that the bound of a mix is known and can be met. In sequence, one ends before the next begins, and the
 * bound is the largest of theirs; side by side, their peaks are at one instant, and the bound is the sum; interleaved,
 * the same with times scaled, so that the events of one come between those of the others. Rows are in random order. */
#ifndef FATHOM_BENCH_PLACE_MIXES_H
#define FATHOM_BENCH_PLACE_MIXES_H

#include "mem.h"
#include "place.h"
#include "random.h"

#define MIX_MOST    4  /* problems in a mix; at least two */
#define MIX_SCALE   16 /* of times that are interleaved, at most */
#define MIX_SOURCES 64 /* to draw from, at most */

enum mix_kind { MIX_SEQUENCE, MIX_BESIDE, MIX_INTERLEAVED, MIX_KINDS };

struct mix_part {
    const struct place_buffer *buffers;
    size_t count;
    uint64_t bound, peak, end; /* filled in by mix_measure */
};

struct mix {
    struct place_buffer *buffers;
    size_t count;
    uint64_t bound;
    enum mix_kind kind;
};

static inline bool mix_measure(struct mix_part *part, struct error *err)
{
    part->end = 0;
    for (size_t i = 0; i < part->count; i++)
        if (part->buffers[i].upper > part->end) part->end = part->buffers[i].upper;
    return place_lower_bound(part->buffers, part->count, &part->bound, &part->peak, err);
}

static void mix_append(struct mix *mix, const struct mix_part *part, uint64_t scale, uint64_t shift)
{
    for (size_t i = 0; i < part->count; i++) {
        struct place_buffer *buffer = &mix->buffers[mix->count++];
        *buffer = part->buffers[i];
        buffer->lower = buffer->lower * scale + shift;
        buffer->upper = buffer->upper * scale + shift;
    }
    mix->bound = mix->kind != MIX_SEQUENCE ? mix->bound + part->bound
                 : part->bound > mix->bound ? part->bound
                                            : mix->bound;
}

static void mix_shuffle(struct mix *mix, struct random *random)
{
    for (size_t i = mix->count; i > 1; i--) {
        size_t j = random_below(random, (uint32_t)i);
        struct place_buffer swap = mix->buffers[j];
        mix->buffers[j] = mix->buffers[i - 1];
        mix->buffers[i - 1] = swap;
    }
}

/* Some of the parts, which are measured, by the seed; buffers are the caller's, for mem_free. */
static inline bool mix_make(struct mix *mix, const struct mix_part *parts, uint32_t part_count, uint64_t seed,
                     struct error *err)
{
    struct random random = random_begin(seed, RANDOM_SYNTHETIC, 7, 0);
    const struct mix_part *chosen[MIX_MOST];
    uint64_t scale[MIX_MOST], latest = 0, at = 0;
    size_t count = 0;
    *mix = (struct mix){.kind = (enum mix_kind)(seed % MIX_KINDS)};
    uint32_t number = 2 + random_below(&random, MIX_MOST - 1);
    for (uint32_t k = 0; k < number; k++) {
        chosen[k] = &parts[random_below(&random, part_count)];
        scale[k] = mix->kind == MIX_INTERLEAVED ? 1 + random_below(&random, MIX_SCALE) : 1;
        if (chosen[k]->peak * scale[k] > latest) latest = chosen[k]->peak * scale[k];
        count += chosen[k]->count;
    }
    mix->buffers = mem_alloc(MEM_GENERAL, count, sizeof *mix->buffers);
    if (!mix->buffers) return error_memory(err, count * sizeof *mix->buffers, "a mix of problems");
    for (uint32_t k = 0; k < number; k++) {
        mix_append(mix, chosen[k], scale[k], mix->kind == MIX_SEQUENCE ? at : latest - chosen[k]->peak * scale[k]);
        at += chosen[k]->end;
    }
    mix_shuffle(mix, &random);
    return true;
}

#endif
