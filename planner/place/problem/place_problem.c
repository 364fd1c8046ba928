#include "place_problem.h"

#include <inttypes.h>

#include "clock.h"
#include "mem.h"
#include "place_sort.h"

#define MOST_BUFFERS (UINT32_MAX / 2)
#define MOST_BYTES   (UINT64_MAX / 4) /* of all sizes together, so that no sum of the solver overflows */

static bool check_buffer(const struct place_buffer *buffer, size_t index, struct error *err)
{
    if (buffer->lower >= buffer->upper)
        return error_set(err, ERROR_INPUT,
                         "buffer %zu: lives from %" PRIu64 " to %" PRIu64 "; upper must be above lower", index,
                         buffer->lower, buffer->upper);
    if (buffer->size > MOST_BYTES || buffer->align > MOST_BYTES)
        return error_set(err, ERROR_INPUT, "buffer %zu: size %" PRIu64 ", alignment %" PRIu64 "; the most is %" PRIu64,
                         index, buffer->size, buffer->align, MOST_BYTES);
    if (buffer->fixed == PLACE_UNPLACED) return true;
    if (buffer->fixed > MOST_BYTES)
        return error_set(err, ERROR_INPUT, "buffer %zu: fixed offset %" PRIu64 "; the most is %" PRIu64, index,
                         buffer->fixed, MOST_BYTES);
    if (buffer->align > 1 && buffer->fixed % buffer->align != 0)
        return error_set(err, ERROR_INPUT,
                         "buffer %zu: fixed offset %" PRIu64 " is not a multiple of its alignment %" PRIu64, index,
                         buffer->fixed, buffer->align);
    return true;
}

bool problem_check_buffers(const struct place_buffer *buffers, size_t count, struct error *err)
{
    if (count > MOST_BUFFERS) return error_set(err, ERROR_INPUT, "%zu buffers; the most is %u", count, MOST_BUFFERS);
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        TRY(check_buffer(&buffers[i], i, err));
        uint64_t align = buffers[i].align > 1 ? buffers[i].align : 1;
        total += align_up(buffers[i].size, align) + align - 1;
        if (total > MOST_BYTES)
            return error_set(err, ERROR_INPUT, "buffer %zu: the sizes up to here add up to more than %" PRIu64 " bytes",
                             i, MOST_BYTES);
    }
    return true;
}

/* Who is of any size. */
static bool list_buffers(struct problem *problem, const struct place_buffer *buffers, size_t count, struct error *err)
{
    problem->origin = mem_alloc(MEM_SEARCH, count, sizeof *problem->origin);
    if (!problem->origin) return error_memory(err, count * sizeof *problem->origin, "the placement problem");
    for (size_t i = 0; i < count; i++)
        if (buffers[i].size > 0) problem->origin[problem->count++] = (uint32_t)i;
    return true;
}

/* Walks starts and ends in time order, ends first: a section closes at the first end after a start. */
static void cut_sections(struct problem *problem, const struct place_buffer *buffers, const uint32_t *starts,
                         const struct sort_pair *ends)
{
    uint32_t section = 0;
    bool open = false;
    size_t at_start = 0;
    for (size_t at_end = 0; at_end < problem->count;) {
        if (at_start < problem->count && buffers[problem->origin[starts[at_start]]].lower < ends[at_end].key) {
            problem->first[starts[at_start++]] = section;
            open = true;
            continue;
        }
        if (open) section++;
        open = false;
        problem->last[ends[at_end++].index] = section;
    }
    problem->sections = section;
}

/* By their starts and by their ends, one after the other in the same memory. */
static void sort_times(struct problem *problem, const struct place_buffer *buffers, uint32_t *starts,
                       struct sort_pair *pairs)
{
    size_t count = problem->count;
    for (size_t i = 0; i < count; i++) pairs[i] = (struct sort_pair){buffers[problem->origin[i]].lower, (uint32_t)i};
    sort_pairs(pairs, pairs + count, count);
    for (size_t i = 0; i < count; i++) starts[i] = pairs[i].index;
    for (size_t i = 0; i < count; i++) pairs[i] = (struct sort_pair){buffers[problem->origin[i]].upper, (uint32_t)i};
    sort_pairs(pairs, pairs + count, count);
}

static bool find_sections(struct problem *problem, const struct place_buffer *buffers, struct error *err)
{
    size_t count = problem->count;
    problem->first = mem_alloc(MEM_SEARCH, count, sizeof *problem->first);
    problem->last = mem_alloc(MEM_SEARCH, count, sizeof *problem->last);
    uint32_t *starts = mem_alloc(MEM_SEARCH, count, sizeof *starts);
    struct sort_pair *pairs = mem_alloc(MEM_SEARCH, 2 * count, sizeof *pairs);
    bool ok = problem->first && problem->last && starts && pairs;
    if (ok) {
        sort_times(problem, buffers, starts, pairs);
        cut_sections(problem, buffers, starts, pairs);
    }
    mem_free(starts);
    mem_free(pairs);
    return ok || error_memory(err, count * 44, "the placement problem");
}

static bool any_named(const struct place_buffer *buffers, const struct problem *problem)
{
    for (size_t i = 0; i < problem->count; i++)
        if (buffers[problem->origin[i]].alias > 0) return true;
    return false;
}

/* What else is known of buffers and sections: taken after the sections are found, for which much memory goes by. */
static bool reserve_rest(struct problem *problem, const struct place_buffer *buffers, struct error *err)
{
    size_t count = problem->count, sections = (size_t)problem->sections + 1;
    problem->size = mem_alloc(MEM_SEARCH, count, sizeof *problem->size);
    problem->align = mem_alloc(MEM_SEARCH, count, sizeof *problem->align);
    problem->fixed = mem_alloc(MEM_SEARCH, count, sizeof *problem->fixed);
    bool named = any_named(buffers, problem);
    if (named) problem->alias = mem_alloc(MEM_SEARCH, count, sizeof *problem->alias);
    problem->live = mem_zalloc(MEM_SEARCH, sections, sizeof *problem->live);
    problem->instant = mem_zalloc(MEM_SEARCH, sections, sizeof *problem->instant);
    bool ok = problem->size && problem->align && problem->fixed && (problem->alias || !named) && problem->live &&
              problem->instant;
    return ok || error_memory(err, count * 32 + sections * 16, "the placement problem");
}

/* A section's instant is the last at which one of its buffers begins. */
static void copy_buffers(struct problem *problem, const struct place_buffer *buffers)
{
    for (size_t i = 0; i < problem->count; i++) {
        const struct place_buffer *buffer = &buffers[problem->origin[i]];
        uint64_t *instant = &problem->instant[problem->first[i]];
        if (buffer->lower > *instant) *instant = buffer->lower;
        problem->align[i] = buffer->align > 1 ? buffer->align : 1;
        problem->size[i] = align_up(buffer->size, problem->align[i]);
        problem->fixed[i] = buffer->fixed;
        if (problem->alias) problem->alias[i] = buffer->alias;
        problem->any_fixed |= buffer->fixed != PLACE_UNPLACED;
        problem->mixed_align |= problem->align[i] != problem->align[0];
    }
}

static void sum_live(struct problem *problem)
{
    for (size_t i = 0; i < problem->count; i++) {
        problem->live[problem->first[i]] += problem->size[i];
        problem->live[problem->last[i]] -= problem->size[i];
        if (problem->fixed[i] != PLACE_UNPLACED && problem->fixed[i] + problem->size[i] > problem->bound)
            problem->bound = problem->fixed[i] + problem->size[i];
    }
    for (uint32_t s = 1; s < problem->sections; s++) {
        problem->live[s] += problem->live[s - 1];
        if (problem->live[s] > problem->live[problem->peak]) problem->peak = s;
    }
    if (problem->live[problem->peak] > problem->bound) problem->bound = problem->live[problem->peak];
}

bool problem_init(struct problem *problem, const struct place_buffer *buffers, size_t count, struct error *err)
{
    *problem = (struct problem){.start_ns = clock_now_ns()};
    TRY(problem_check_buffers(buffers, count, err));
    problem->source = buffers;
    TRY_GOTO(list_buffers(problem, buffers, count, err), fail);
    TRY_GOTO(find_sections(problem, buffers, err), fail);
    TRY_GOTO(reserve_rest(problem, buffers, err), fail);
    copy_buffers(problem, buffers);
    sum_live(problem);
    return true;
fail:
    problem_finish(problem);
    return false;
}

void problem_finish(struct problem *problem)
{
    mem_free(problem->first);
    mem_free(problem->last);
    mem_free(problem->size);
    mem_free(problem->align);
    mem_free(problem->fixed);
    mem_free(problem->origin);
    mem_free(problem->alias);
    mem_free(problem->live);
    mem_free(problem->instant);
    *problem = (struct problem){0};
}

/* The highest ends of fixed buffers over the sections, as a binary tree: a buffer is noted whole[] at the nodes that
 * its run is made of, and below[] at those above. Numbers are indices + 1, 0 = nothing there. */
struct skyline {
    const struct problem *problem;
    uint32_t *whole, *below;
    size_t leaves;
};

static uint64_t end_of(const struct problem *problem, uint32_t number)
{
    return number > 0 ? problem->fixed[number - 1] + problem->size[number - 1] : 0;
}

static uint32_t higher(const struct problem *problem, uint32_t a, uint32_t b)
{
    return end_of(problem, a) >= end_of(problem, b) ? a : b;
}

/* The one of those noted under the nodes of [first, last) and above them that ends highest. */
static uint32_t find_highest(const struct skyline *skyline, size_t first, size_t last)
{
    const struct problem *problem = skyline->problem;
    uint32_t found = 0;
    for (size_t low = first + skyline->leaves, high = last + skyline->leaves; low < high; low /= 2, high /= 2) {
        if (low & 1) found = higher(problem, found, skyline->below[low++]);
        if (high & 1) found = higher(problem, found, skyline->below[--high]);
    }
    for (size_t at = (first + skyline->leaves) / 2; at > 0; at /= 2) found = higher(problem, found, skyline->whole[at]);
    for (size_t at = (last - 1 + skyline->leaves) / 2; at > 0; at /= 2)
        found = higher(problem, found, skyline->whole[at]);
    return found;
}

static void note(struct skyline *skyline, size_t at, uint32_t number)
{
    skyline->whole[at] = higher(skyline->problem, number, skyline->whole[at]);
    for (; at > 0; at /= 2) skyline->below[at] = higher(skyline->problem, number, skyline->below[at]);
}

static void raise(struct skyline *skyline, size_t buffer)
{
    size_t low = skyline->problem->first[buffer] + skyline->leaves;
    size_t high = skyline->problem->last[buffer] + skyline->leaves;
    for (; low < high; low /= 2, high /= 2) {
        if (low & 1) note(skyline, low++, (uint32_t)buffer + 1);
        if (high & 1) note(skyline, --high, (uint32_t)buffer + 1);
    }
}

static uint64_t alias_of(const struct problem *problem, size_t buffer)
{
    return problem->alias ? problem->alias[buffer] : 0;
}

/* Fixed buffers by rising offset overlap one before them when the highest end over their life is above their offset.
 * Names of one storage have one offset, stand together, and are compared before any of them is noted. */
static bool check_skyline(struct skyline *skyline, const struct sort_pair *pairs, size_t count, struct error *err)
{
    const struct problem *problem = skyline->problem;
    for (size_t from = 0, to; from < count; from = to) {
        uint64_t alias = alias_of(problem, pairs[from].index);
        for (to = from + 1; alias > 0 && to < count && alias_of(problem, pairs[to].index) == alias; to++) {
        }
        for (size_t i = from; i < to; i++) {
            uint32_t b = pairs[i].index, held = find_highest(skyline, problem->first[b], problem->last[b]);
            if (end_of(problem, held) <= problem->fixed[b]) continue;
            uint32_t a = held - 1;
            return error_set(err, ERROR_INPUT,
                             "buffers %" PRIu32 " and %" PRIu32 ": their fixed offsets %" PRIu64 " and %" PRIu64
                             " overlap while both live",
                             problem->origin[a < b ? a : b], problem->origin[a < b ? b : a],
                             problem->fixed[a < b ? a : b], problem->fixed[a < b ? b : a]);
        }
        for (size_t i = from; i < to; i++) raise(skyline, pairs[i].index);
    }
    return true;
}

/* By offset, and by alias where it is the same. */
static size_t sort_fixed(const struct problem *problem, struct sort_pair *pairs)
{
    size_t count = 0;
    for (size_t i = 0; i < problem->count; i++)
        if (problem->fixed[i] != PLACE_UNPLACED) pairs[count++] = (struct sort_pair){alias_of(problem, i), (uint32_t)i};
    sort_pairs(pairs, pairs + problem->count, count);
    for (size_t i = 0; i < count; i++) pairs[i].key = problem->fixed[pairs[i].index];
    sort_pairs(pairs, pairs + problem->count, count);
    return count;
}

bool problem_check_fixed(const struct problem *problem, struct error *err)
{
    if (!problem->any_fixed) return true;
    struct skyline skyline = {.problem = problem, .leaves = problem->sections};
    struct sort_pair *pairs = mem_alloc(MEM_SEARCH, 2 * problem->count, sizeof *pairs);
    skyline.whole = mem_zalloc(MEM_SEARCH, 2 * skyline.leaves, sizeof *skyline.whole);
    skyline.below = mem_zalloc(MEM_SEARCH, 2 * skyline.leaves, sizeof *skyline.below);
    bool ok = pairs && skyline.whole && skyline.below;
    if (!ok) error_memory(err, problem->count * 48, "checking fixed offsets");
    ok = ok && check_skyline(&skyline, pairs, sort_fixed(problem, pairs), err);
    mem_free(pairs);
    mem_free(skyline.whole);
    mem_free(skyline.below);
    return ok;
}

bool problem_halted(const struct problem *problem)
{
    if (problem->quit && atomic_load_explicit(problem->quit, memory_order_relaxed)) return true;
    return problem->deadline_ns > 0 && clock_now_ns() >= problem->deadline_ns;
}

uint64_t problem_arena(const struct problem *problem, const uint64_t *offset)
{
    uint64_t arena = 0;
    for (size_t i = 0; i < problem->count; i++)
        if (offset[i] + problem->size[i] > arena) arena = offset[i] + problem->size[i];
    return arena;
}

uint64_t problem_quantum(const struct problem *problem)
{
    uint64_t quantum = 0;
    for (size_t i = 0; i < problem->count; i++) {
        quantum = common_divisor(quantum, problem->size[i]);
        if (problem->mixed_align || problem->any_fixed) quantum = common_divisor(quantum, problem->align[i]);
        if (problem->fixed[i] != PLACE_UNPLACED) quantum = common_divisor(quantum, problem->fixed[i]);
    }
    return quantum;
}

void problem_report(const struct problem *problem, const struct place_options *options, uint64_t bound, uint64_t arena)
{
    double seconds = (double)(clock_now_ns() - problem->start_ns) * 1e-9;
    if (options->progress) options->progress(options->context, bound, arena, seconds);
}
