#include "place_judge.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "place_check.h"
#include "place_check_clocks.h"
#include "printable.h"

struct judging {
    struct place_table *placed;
    const struct place_table *problem;
    const char *placed_path, *problem_path;
};

/* What was read as a requirement is the answer. */
static bool take_offsets(struct judging *judging, bool chunks, struct error *err)
{
    struct place_table *placed = judging->placed;
    if (chunks && !placed->chunk)
        return error_set(err, ERROR_UNFIT, "%s: a column 'chunk' is wanted beside the offsets", judging->placed_path);
    for (size_t i = 0; i < placed->count; i++) {
        struct place_buffer *buffer = &placed->buffers[i];
        if (buffer->fixed == PLACE_UNPLACED)
            return error_set(err, ERROR_UNFIT, "%s: '%s' has no offset", judging->placed_path,
                             PRINTABLE_CUT(placed->ids[i], 40));
        buffer->offset = buffer->fixed;
        buffer->fixed = PLACE_UNPLACED;
    }
    return true;
}

static int compare_ids(const void *left, const void *right)
{
    const char *const *const *a = left, *const *const *b = right;
    return strcmp(**a, **b);
}

/* Places in table->ids by rising id. */
static const char ***sort_ids(const struct place_table *table)
{
    const char ***sorted = mem_alloc(MEM_GENERAL, table->count, sizeof *sorted);
    for (size_t i = 0; sorted && i < table->count; i++) sorted[i] = &table->ids[i];
    if (sorted) qsort(sorted, table->count, sizeof *sorted, compare_ids);
    return sorted;
}

static bool have_same_clocks(const struct judging *judging, size_t row, size_t asked)
{
    const struct place_clocks *is = &judging->placed->clocks, *was = &judging->problem->clocks;
    size_t streams = was->streams, bytes = streams * sizeof *was->start;
    if (is->streams != streams) return false;
    return streams == 0 || (memcmp(is->start + row * streams, was->start + asked * streams, bytes) == 0 &&
                            memcmp(is->end + row * streams, was->end + asked * streams, bytes) == 0);
}

static bool compare_row(struct judging *judging, size_t row, size_t asked, struct error *err)
{
    struct place_buffer *is = &judging->placed->buffers[row];
    const struct place_buffer *was = &judging->problem->buffers[asked];
    const char *id = judging->placed->ids[row];
    if (is->lower != was->lower || is->upper != was->upper || is->size != was->size)
        return error_set(err, ERROR_UNFIT,
                         "%s: '%s' lives from %" PRIu64 " to %" PRIu64 " with %" PRIu64 " bytes; in %s it is %" PRIu64
                         " to %" PRIu64 " with %" PRIu64,
                         judging->placed_path, PRINTABLE_CUT(id, 40), is->lower, is->upper, is->size,
                         judging->problem_path, was->lower, was->upper, was->size);
    if (!have_same_clocks(judging, row, asked))
        return error_set(err, ERROR_UNFIT, "%s: '%s' lives by other clocks than in %s", judging->placed_path,
                         PRINTABLE_CUT(id, 40), judging->problem_path);
    if (was->fixed != PLACE_UNPLACED && is->offset != was->fixed)
        return error_set(err, ERROR_UNFIT, "%s: '%s' is at %" PRIu64 "; %s fixes it at %" PRIu64, judging->placed_path,
                         PRINTABLE_CUT(id, 40), is->offset, judging->problem_path, was->fixed);
    if (was->fixed != PLACE_UNPLACED && judging->problem->chunk && judging->placed->chunk &&
        judging->problem->chunk[asked] != judging->placed->chunk[row])
        return error_set(err, ERROR_UNFIT, "%s: '%s' is in chunk %" PRIu64 "; %s fixes it in chunk %" PRIu64,
                         judging->placed_path, PRINTABLE_CUT(id, 40), judging->placed->chunk[row],
                         judging->problem_path, judging->problem->chunk[asked]);
    is->align = was->align; /* the problem's word counts */
    is->alias = was->alias;
    is->fixed = was->fixed;
    return true;
}

static bool compare_sorted(struct judging *judging, const char ***is, const char ***was, struct error *err)
{
    const struct place_table *placed = judging->placed, *problem = judging->problem;
    size_t most = placed->count < problem->count ? placed->count : problem->count;
    for (size_t i = 0; i < most; i++) {
        int order = strcmp(*is[i], *was[i]);
        if (order != 0)
            return error_set(err, ERROR_UNFIT, "'%s' is in %s and not in %s",
                             PRINTABLE_CUT(order < 0 ? *is[i] : *was[i], 40),
                             order < 0 ? judging->placed_path : judging->problem_path,
                             order < 0 ? judging->problem_path : judging->placed_path);
        TRY(compare_row(judging, (size_t)(is[i] - placed->ids), (size_t)(was[i] - problem->ids), err));
    }
    if (placed->count == problem->count) return true;
    bool more = placed->count > problem->count;
    return error_set(err, ERROR_UNFIT, "'%s' is in %s and not in %s", PRINTABLE_CUT(more ? *is[most] : *was[most], 40),
                     more ? judging->placed_path : judging->problem_path,
                     more ? judging->problem_path : judging->placed_path);
}

static bool compare_tables(struct judging *judging, struct error *err)
{
    const char ***is = sort_ids(judging->placed), ***was = sort_ids(judging->problem);
    bool ok = is && was;
    ok = ok ? compare_sorted(judging, is, was, err)
            : error_memory(err, judging->placed->count * sizeof *is, "comparing an answer with its problem");
    mem_free(is);
    mem_free(was);
    return ok;
}

static bool judge_chunks(const struct judging *judging, const struct place_claim *claim,
                         struct place_judgement *judgement, struct error *err)
{
    const struct place_table *placed = judging->placed;
    TRY(place_check_fragments(placed->buffers, placed->chunk, placed->count, claim->sizes, claim->chunks, err));
    bool *used = mem_zalloc(MEM_GENERAL, claim->chunks, sizeof *used);
    if (!used) return error_memory(err, claim->chunks, "checking chunks");
    for (size_t i = 0; i < placed->count; i++) {
        if (placed->buffers[i].size == 0 || used[placed->chunk[i]]) continue;
        used[placed->chunk[i]] = true;
        judgement->arena_bytes++;
    }
    mem_free(used);
    return true;
}

static bool judge_arena(const struct judging *judging, const struct place_claim *claim,
                        struct place_judgement *judgement, struct error *err)
{
    const struct place_table *placed = judging->placed;
    if (placed->clocks.streams > 0)
        TRY(place_check_clocks(placed->buffers, &placed->clocks, placed->count, &judgement->arena_bytes, err));
    else
        TRY(place_check_arena(placed->buffers, placed->count, &judgement->arena_bytes, &judgement->fixed_end_bytes,
                              err));
    if (claim->capacity == 0 || judgement->arena_bytes <= claim->capacity) return true;
    return error_set(err, ERROR_UNFIT, "the arena ends at %" PRIu64 ", above the capacity of %" PRIu64,
                     judgement->arena_bytes, claim->capacity);
}

static bool find_live(const struct place_table *placed, struct place_judgement *judgement, struct error *err)
{
    if (placed->clocks.streams == 0)
        return place_check_live(placed->buffers, placed->count, &judgement->live_bytes, &judgement->peak_instant, err);
    return place_check_clocks_live(placed->buffers, &placed->clocks, placed->count, &judgement->live_bytes, err);
}

bool place_judge(struct place_table *placed, const char *placed_path, const struct place_table *problem,
                 const char *problem_path, const struct place_claim *claim, struct place_judgement *judgement,
                 struct error *err)
{
    struct judging judging = {placed, problem, placed_path, problem_path};
    struct place_judgement found = {0};
    TRY(take_offsets(&judging, claim->sizes != NULL, err));
    if (problem) TRY(compare_tables(&judging, err));
    bool ok = (claim->sizes ? judge_chunks(&judging, claim, &found, err) : judge_arena(&judging, claim, &found, err)) &&
              find_live(placed, &found, err);
    if (!ok) {
        if (err && err->kind == ERROR_INPUT) err->kind = ERROR_UNFIT;
        return error_prefix(err, "%s, buffers counted from 0", placed_path);
    }
    *judgement = found;
    return true;
}
