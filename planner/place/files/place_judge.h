/* Judging an answer file: is it a placement of the problem, and how far is it from what is provably needed? Nothing
 * here comes from the solver. */
#ifndef FATHOM_PLACE_JUDGE_H
#define FATHOM_PLACE_JUDGE_H

#include "place_csv.h"

struct place_claim {
    uint64_t capacity;     /* the arena must not be larger; 0 = any */
    const uint64_t *sizes; /* of the chunks that the answer's column counts; NULL = one arena */
    size_t chunks;
};

struct place_judgement {
    uint64_t arena_bytes;     /* the highest end; of chunks their number in use */
    uint64_t live_bytes;      /* the largest live sum: no arena is smaller */
    uint64_t fixed_end_bytes; /* nor smaller than where a fixed buffer ends; 0 without a problem to say so */
    uint64_t peak_instant;    /* an instant of the largest live sum */
};

/* Every row of `placed` has an offset, overlaps nothing that lives with it, is aligned, and lies within the claim; with
 * `problem` (which may be NULL) both have the same rows by id, and its fixed offsets are kept. ERROR_UNFIT with the row
 * named where that is not so. Changes the tables' offsets, and nothing else. */
bool place_judge(struct place_table *placed, const char *placed_path, const struct place_table *problem,
                 const char *problem_path, const struct place_claim *claim, struct place_judgement *judgement,
                 struct error *err);

#endif
