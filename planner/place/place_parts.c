/* Stretches of time that no buffer joins: each is a problem of its own, and what one needs of the exact search is not
 * to be gone through again for every mistake in another. All get a little time first, then those that are still above
 * what is aimed at share the rest. Of a side of a cut each is tried once, as a side of its own size, while the whole
 * side has nodes left: a second round would do the same again. */
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place_solve.h"

#define ROUNDS 2

struct parts {
    const struct problem *problem;
    const struct place_options *options;
    uint64_t target;
    uint32_t *start; /* of each part: its first section; one more for the end */
    uint32_t count;
    uint32_t *order; /* buffers by parts */
    uint32_t *from;  /* of each part: where it begins in order[]; one more for the end */
    uint64_t *top;   /* of each part */
    bool *done;      /* of each part: as low as it needs to be, or can be */
    uint64_t nodes;
    struct place_buffer *inside;
};

/* How far the buffers that begin at each section reach. */
static uint32_t *find_reach(const struct problem *problem, struct error *err)
{
    uint32_t *reach = mem_zalloc(MEM_SEARCH, problem->sections, sizeof *reach);
    if (!reach) error_memory(err, problem->sections * sizeof *reach, "parts of a placement problem");
    for (size_t i = 0; reach && i < problem->count; i++)
        if (problem->last[i] > reach[problem->first[i]]) reach[problem->first[i]] = problem->last[i];
    return reach;
}

bool parts_any(const struct problem *problem, bool *any, struct error *err)
{
    uint32_t end = 0, *reach = find_reach(problem, err);
    *any = false;
    for (uint32_t s = 0; reach && s < problem->sections; s++) {
        *any |= s > 0 && s >= end;
        if (reach[s] > end) end = reach[s];
    }
    mem_free(reach);
    return reach != NULL;
}

/* Where parts begin: at sections that share no buffer with the one before. Into start[sections + 1]; how many. */
static uint32_t find_starts(const struct problem *problem, uint32_t *start, const uint32_t *reach)
{
    uint32_t count = 0, end = 0;
    for (uint32_t s = 0; s < problem->sections; s++) {
        if (s >= end) start[count++] = s;
        if (reach[s] > end) end = reach[s];
    }
    start[count] = problem->sections;
    return count;
}

/* Buffers by the part they live in; part_of[] is by section. */
static void list_buffers(struct parts *parts, uint32_t *part_of)
{
    const struct problem *problem = parts->problem;
    for (uint32_t p = 0; p < parts->count; p++)
        for (uint32_t s = parts->start[p]; s < parts->start[p + 1]; s++) part_of[s] = p;
    memset(parts->from, 0, (parts->count + 2) * sizeof *parts->from);
    for (size_t i = 0; i < problem->count; i++) parts->from[part_of[problem->first[i]] + 2]++;
    for (uint32_t p = 2; p < parts->count + 2; p++) parts->from[p] += parts->from[p - 1];
    for (uint32_t i = 0; i < problem->count; i++) parts->order[parts->from[part_of[problem->first[i]] + 1]++] = i;
}

static bool parts_init(struct parts *parts, struct error *err)
{
    const struct problem *problem = parts->problem;
    uint64_t sections = problem->sections;
    uint32_t *reach = find_reach(problem, err);
    if (!reach) return false;
    parts->start = mem_alloc(MEM_SEARCH, sections + 1, sizeof *parts->start);
    if (parts->start) parts->count = find_starts(problem, parts->start, reach);
    parts->order = mem_alloc(MEM_SEARCH, problem->count, sizeof *parts->order);
    parts->from = mem_alloc(MEM_SEARCH, (size_t)parts->count + 2, sizeof *parts->from);
    parts->top = mem_zalloc(MEM_SEARCH, parts->count, sizeof *parts->top);
    parts->done = mem_zalloc(MEM_SEARCH, parts->count, sizeof *parts->done);
    parts->inside = mem_alloc(MEM_SEARCH, problem->count, sizeof *parts->inside);
    bool ok = parts->start && parts->order && parts->from && parts->top && parts->done && parts->inside;
    if (ok) list_buffers(parts, reach);
    mem_free(reach);
    return ok || error_memory(err, problem->count * 60 + sections * 8, "parts of a placement problem");
}

static void parts_finish(struct parts *parts)
{
    mem_free(parts->start);
    mem_free(parts->order);
    mem_free(parts->from);
    mem_free(parts->top);
    mem_free(parts->done);
    mem_free(parts->inside);
}

static void measure(struct parts *parts, const struct placement *best)
{
    for (uint32_t p = 0; p < parts->count; p++) {
        parts->top[p] = 0;
        for (uint32_t k = parts->from[p]; k < parts->from[p + 1]; k++) {
            uint64_t end = best->offset[parts->order[k]] + parts->problem->size[parts->order[k]];
            if (end > parts->top[p]) parts->top[p] = end;
        }
        if (parts->top[p] <= parts->target) parts->done[p] = true;
    }
}

static bool is_side(const struct parts *parts) { return parts->problem->effort > 0; }

/* Limits of part p: what is left is shared by so many, but within a side of a cut, where it has its own of that. False
 * where nothing is left. */
static bool limit(const struct parts *parts, uint32_t p, uint32_t sharers, struct place_options *options,
                  uint64_t *deadline_ns)
{
    const struct problem *problem = parts->problem;
    uint64_t now = clock_now_ns(), own = side_nodes(problem->effort, parts->from[p + 1] - parts->from[p]);
    if (problem_halted(problem)) return false;
    if (parts->options->nodes > 0 && parts->nodes >= parts->options->nodes) return false;
    *deadline_ns = is_side(parts) ? problem->deadline_ns : now + (problem->deadline_ns - now) / sharers;
    *options = *parts->options;
    options->progress = NULL;
    uint64_t left = options->nodes - parts->nodes; /* where nodes are limited, as a side's are */
    if (is_side(parts))
        options->nodes = own < left ? own : left;
    else if (options->nodes > 0)
        options->nodes = left / sharers + 1;
    return true;
}

static void copy_part(struct parts *parts, const uint32_t *order, size_t count)
{
    const struct problem *problem = parts->problem;
    for (size_t i = 0; i < count; i++) {
        const struct place_buffer *source = &problem->source[problem->origin[order[i]]];
        parts->inside[i] = (struct place_buffer){.lower = source->lower,
                                                 .upper = source->upper,
                                                 .size = problem->size[order[i]],
                                                 .align = problem->align[order[i]],
                                                 .fixed = problem->fixed[order[i]]};
    }
}

/* One part by itself, kept where it is lower than before. Below the target it need not come; where it cannot come so
 * low, the target rises. */
static bool solve_part(struct parts *parts, uint32_t p, const struct place_options *options, uint64_t deadline_ns,
                       struct placement *best, struct error *err)
{
    const uint32_t *order = parts->order + parts->from[p];
    size_t count = parts->from[p + 1] - parts->from[p];
    struct place_result result = {0};
    struct placement found = {0};
    struct problem part;
    copy_part(parts, order, count);
    TRY(problem_init(&part, parts->inside, count, err));
    if (parts->target > part.bound) part.bound = parts->target;
    part.deadline_ns = deadline_ns;
    part.quit = parts->problem->quit;
    part.effort = parts->problem->effort;
    part.of_hard = parts->problem->of_hard;
    bool ok = problem_solve(&part, options, &found, &result, err);
    parts->nodes += result.nodes;
    if (ok && found.arena < parts->top[p]) {
        parts->top[p] = found.arena;
        for (size_t i = 0; i < part.count; i++) best->offset[order[part.origin[i]]] = found.offset[i];
    }
    if (ok && result.lower_bound_bytes > parts->target) parts->target = result.lower_bound_bytes;
    parts->done[p] = parts->top[p] <= parts->target;
    mem_free(found.offset);
    problem_finish(&part);
    return ok;
}

/* Where but one part is left it has all that is left. A second try guesses otherwise than the first, which was in
 * vain. */
static bool run_round(struct parts *parts, uint32_t round, struct placement *best, struct error *err)
{
    uint32_t left = 0;
    for (uint32_t p = 0; p < parts->count; p++) left += !parts->done[p];
    bool last = round == ROUNDS || left == 1;
    for (uint32_t p = 0; p < parts->count && left > 0; p++) {
        struct place_options options;
        uint64_t deadline_ns;
        if (parts->done[p]) continue;
        if (!limit(parts, p, last ? left : ROUNDS * left, &options, &deadline_ns)) break;
        if (!is_side(parts)) options.seed += round - 1;
        TRY(solve_part(parts, p, &options, deadline_ns, best, err));
        if (is_side(parts) && side_fails(parts->top[p], parts->target)) break;
        left--;
    }
    return true;
}

bool parts_improve(const struct problem *problem, const struct place_options *options, struct placement *best,
                   uint64_t *bound, uint64_t *nodes, struct error *err)
{
    struct parts parts = {.problem = problem, .options = options};
    uint64_t least = options->capacity > *bound ? options->capacity : *bound;
    parts.target = least;
    bool ok = parts_init(&parts, err);
    if (ok) {
        measure(&parts, best);
        for (uint32_t round = is_side(&parts) ? ROUNDS : 1; ok && round <= ROUNDS; round++)
            ok = run_round(&parts, round, best, err);
        best->arena = problem_arena(problem, best->offset);
        *nodes = parts.nodes;
        if (parts.target > least) *bound = parts.target;
    }
    parts_finish(&parts);
    return ok;
}
