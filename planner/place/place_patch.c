/* Patches: where a placement sticks out above what is aimed at, a window of time around is placed anew by the exact
 * search, what crosses its borders staying where it is. The highest comes first; where it cannot be brought below some
 * height, nothing that is lower needs to be touched. For large problems of short lifetimes, of which a sweep fails in a
 * few places. */
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place.h"
#include "place_solve.h"
#include "place_sort.h"

#define MOST_INSIDE 240 /* buffers in a window */
#define MOST_RUNS   4000
#define FIRST_SIDE  4 /* sections on each side of what sticks out */
#define LAST_SIDE   256
#define NODES       3000   /* of each window's search */
#define PASS_WORK   200000 /* nodes and buffers of all windows, where no time is given, or nodes are */
#define BLOCK       256
#define FEW_BUFFERS 2000 /* below it an exact search of all comes next */

struct patch {
    const struct problem *problem;
    const struct place_options *options;
    uint64_t goal, deadline_ns, work;
    struct sort_pair *order; /* buffers by where they begin */
    uint32_t *latest;        /* of each BLOCK of them: where the last ends */
    uint64_t *offset;
    struct place_buffer inside[MOST_INSIDE];
    uint32_t index[MOST_INSIDE];
    size_t inside_count;
};

/* A stretch of time in which something sticks out, without a gap. */
struct run {
    uint32_t from, to;
    uint64_t height;
};

static uint64_t end_of(const struct patch *patch, uint32_t buffer)
{
    return patch->offset[buffer] + patch->problem->size[buffer];
}

static bool add_inside(struct patch *patch, uint32_t buffer, uint32_t from, uint32_t to)
{
    const struct problem *problem = patch->problem;
    if (patch->inside_count == MOST_INSIDE) return false;
    uint32_t first = problem->first[buffer], last = problem->last[buffer];
    bool crosses = first < from || last > to;
    patch->index[patch->inside_count] = buffer;
    patch->inside[patch->inside_count++] =
        (struct place_buffer){.lower = first > from ? first : from,
                              .upper = last < to ? last : to,
                              .size = problem->size[buffer],
                              .align = problem->align[buffer],
                              .fixed = crosses ? patch->offset[buffer] : problem->fixed[buffer]};
    return true;
}

/* Who meets [from, to); false where they are too many. */
static bool look_into(struct patch *patch, uint32_t from, uint32_t to)
{
    const struct problem *problem = patch->problem;
    patch->inside_count = 0;
    for (size_t block = 0; block * BLOCK < problem->count; block++) {
        size_t begin = block * BLOCK, end = begin + BLOCK < problem->count ? begin + BLOCK : problem->count;
        if (problem->first[patch->order[begin].index] >= to) break;
        if (patch->latest[block] <= from) continue;
        for (size_t i = begin; i < end; i++) {
            uint32_t buffer = patch->order[i].index;
            if (problem->first[buffer] >= to) break;
            if (problem->last[buffer] > from && !add_inside(patch, buffer, from, to)) return false;
        }
    }
    return true;
}

/* The window anew; kept where its highest end is lower than before. *height becomes what it is then. */
static bool solve_window(struct patch *patch, uint64_t *height, struct error *err)
{
    struct place_options options = {.capacity = patch->goal,
                                    .seconds = 1e6,
                                    .nodes = NODES,
                                    .memory_bytes = patch->options->memory_bytes,
                                    .seed = patch->options->seed,
                                    .threads = 1,
                                    .stop = patch->options->stop};
    struct place_result result;
    uint64_t now = clock_now_ns(), before = 0;
    if (patch->deadline_ns > 0)
        options.seconds = patch->deadline_ns > now ? (double)(patch->deadline_ns - now) * 1e-9 : 1e-9;
    for (size_t i = 0; i < patch->inside_count; i++)
        if (end_of(patch, patch->index[i]) > before) before = end_of(patch, patch->index[i]);
    TRY(place_solve(patch->inside, patch->inside_count, &options, &result, err));
    patch->work += patch->inside_count + result.nodes;
    *height = before;
    if (result.arena_bytes >= before) return true;
    *height = result.arena_bytes;
    for (size_t i = 0; i < patch->inside_count; i++) patch->offset[patch->index[i]] = patch->inside[i].offset;
    return true;
}

static bool is_over(const struct patch *patch)
{
    if (problem_halted(patch->problem)) return true;
    if ((patch->deadline_ns == 0 || patch->options->nodes > 0) && patch->work > PASS_WORK) return true;
    return patch->deadline_ns > 0 && clock_now_ns() >= patch->deadline_ns;
}

/* Windows wider and wider, until nothing sticks out. */
static bool mend(struct patch *patch, struct run *run, struct error *err)
{
    uint32_t sections = patch->problem->sections;
    for (uint32_t side = FIRST_SIDE; side <= LAST_SIDE && run->height > patch->goal; side *= 2) {
        uint32_t from = run->from > side ? run->from - side : 0;
        uint32_t to = sections - run->to > side ? run->to + side : sections;
        if (is_over(patch) || !look_into(patch, from, to)) return true;
        TRY(solve_window(patch, &run->height, err));
    }
    return true;
}

/* The stretches that out[out_count], by where they begin, take together; none where they are too many. */
static size_t list_runs(const struct patch *patch, struct sort_pair *out, size_t out_count, struct run *runs)
{
    const struct problem *problem = patch->problem;
    size_t count = 0;
    for (size_t i = 0; i < out_count; i++) {
        uint32_t buffer = out[i].index, first = problem->first[buffer], last = problem->last[buffer];
        if (count == 0 || first >= runs[count - 1].to) {
            if (count == MOST_RUNS) return 0;
            runs[count++] = (struct run){first, last, 0};
        }
        struct run *run = &runs[count - 1];
        if (last > run->to) run->to = last;
        if (end_of(patch, buffer) > run->height) run->height = end_of(patch, buffer);
    }
    return count;
}

static size_t list_out(const struct patch *patch, struct sort_pair *out)
{
    size_t count = 0;
    for (size_t i = 0; i < patch->problem->count; i++)
        if (end_of(patch, patch->order[i].index) > patch->goal) out[count++] = patch->order[i];
    return count;
}

/* The highest first: what is placed anew ends no higher than it did. */
static bool mend_all(struct patch *patch, struct run *runs, size_t count, struct sort_pair *pairs, struct error *err)
{
    uint64_t least = 0;
    for (size_t i = 0; i < count; i++) pairs[i] = (struct sort_pair){~runs[i].height, (uint32_t)i};
    sort_pairs(pairs, pairs + count, count);
    for (size_t i = 0; i < count; i++) {
        struct run *run = &runs[pairs[i].index];
        if (run->height <= least || is_over(patch)) return true;
        TRY(mend(patch, run, err));
        if (run->height > least) least = run->height;
    }
    return true;
}

static bool run_patches(struct patch *patch, struct placement *best, struct error *err)
{
    const struct problem *problem = patch->problem;
    struct sort_pair *scratch = mem_alloc(MEM_SEARCH, problem->count, sizeof *scratch);
    struct run *runs = mem_alloc(MEM_SEARCH, MOST_RUNS, sizeof *runs);
    bool ok = scratch && runs;
    if (!ok) error_memory(err, problem->count * sizeof *scratch, "patches of a placement");
    for (uint32_t i = 0; ok && i < problem->count; i++) patch->order[i] = (struct sort_pair){problem->first[i], i};
    if (ok) sort_pairs(patch->order, scratch, problem->count);
    for (size_t i = 0; ok && i < problem->count; i++) {
        uint32_t last = problem->last[patch->order[i].index], *latest = &patch->latest[i / BLOCK];
        if (i % BLOCK == 0 || last > *latest) *latest = last;
    }
    size_t count = ok ? list_runs(patch, scratch, list_out(patch, scratch), runs) : 0;
    ok = ok && (2 * count > problem->count || mend_all(patch, runs, count, scratch, err));
    uint64_t arena = ok ? problem_arena(problem, patch->offset) : UINT64_MAX;
    if (arena < best->arena) {
        best->arena = arena;
        memcpy(best->offset, patch->offset, problem->count * sizeof *best->offset);
    }
    mem_free(scratch);
    mem_free(runs);
    return ok;
}

bool patch_improve(const struct problem *problem, uint64_t target, const struct place_options *options,
                   struct placement *best, struct error *err)
{
    if (problem->chunk > 0 || best->arena == UINT64_MAX || problem->count < FEW_BUFFERS) return true;
    struct patch *patch = mem_zalloc(MEM_SEARCH, 1, sizeof *patch);
    if (!patch) return error_memory(err, sizeof *patch, "patches of a placement");
    patch->problem = problem;
    patch->options = options;
    patch->goal = target;
    uint64_t now = clock_now_ns(), end = problem->deadline_ns;
    patch->deadline_ns = end > now ? now + (end - now) / 4 : end; /* those that come after it have their time, too */
    patch->order = mem_alloc(MEM_SEARCH, problem->count, sizeof *patch->order);
    patch->latest = mem_alloc(MEM_SEARCH, problem->count / BLOCK + 1, sizeof *patch->latest);
    patch->offset = mem_alloc(MEM_SEARCH, problem->count, sizeof *patch->offset);
    bool ok = patch->order && patch->latest && patch->offset;
    if (ok) memcpy(patch->offset, best->offset, problem->count * sizeof *patch->offset);
    ok = ok ? run_patches(patch, best, err) : error_memory(err, problem->count * 25, "patches of a placement");
    mem_free(patch->order);
    mem_free(patch->latest);
    mem_free(patch->offset);
    mem_free(patch);
    return ok;
}
