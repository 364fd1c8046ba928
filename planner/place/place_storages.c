/* Solving for storages: which of the derived problems to ask, in what order, for how long. */
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place.h"
#include "place_tied.h"

#define MOST_STORAGES 2048   /* of the exact search over steps, which is quadratic in them */
#define MOST_PIECES   100000 /* of first fit over steps, quadratic as well */
#define FIRST_NODES   20000  /* of the search over steps before anything else is asked */
#define FIRST_SECONDS 0.2    /* of first fit where no time was given */

struct solving {
    struct tied tied;
    struct groups groups;
    const struct place_options *options;
    struct place_result *result;
    uint64_t start_ns, target;
};

static double seconds_left(const struct solving *solving)
{
    double left = solving->options->seconds - (double)(clock_now_ns() - solving->start_ns) * 1e-9;
    return left > 0 ? left : 0;
}

static uint64_t nodes_left(const struct solving *solving)
{
    uint64_t most = solving->options->nodes, used = solving->result->nodes;
    return most == 0 ? 0 : most > used ? most - used : 1;
}

static uint64_t deadline(double seconds) { return clock_now_ns() + (uint64_t)((seconds < 1e9 ? seconds : 1e9) * 1e9); }

static bool done(const struct solving *solving)
{
    const atomic_bool *stop = solving->options->stop;
    if (stop && atomic_load_explicit(stop, memory_order_relaxed)) return true;
    uint64_t bound = solving->result->lower_bound_bytes, capacity = solving->options->capacity;
    if (solving->tied.arena <= bound || solving->tied.arena <= capacity || (capacity > 0 && bound > capacity))
        return true;
    return seconds_left(solving) <= 0 ||
           (solving->options->nodes > 0 && solving->result->nodes >= solving->options->nodes);
}

/* Offsets by storage, when they make the smaller arena. */
static void keep_hulls(struct solving *solving, uint64_t arena)
{
    if (arena >= solving->tied.arena) return;
    solving->tied.arena = arena;
    for (size_t s = 0; s < solving->groups.count; s++) solving->tied.offset[s] = solving->groups.hulls[s].offset;
}

/* Every storage as one rectangle. Its bound holds for nothing but itself. */
static bool try_hulls(struct solving *solving, double seconds, struct error *err)
{
    struct place_options options = *solving->options;
    struct place_result found;
    options.seconds = seconds;
    options.nodes = nodes_left(solving);
    if (options.capacity < solving->result->lower_bound_bytes) options.capacity = solving->result->lower_bound_bytes;
    options.progress = NULL;
    TRY(place_solve(solving->groups.blocks, solving->groups.block_count, &options, &found, err));
    groups_take_blocks(&solving->groups);
    solving->result->nodes += found.nodes;
    keep_hulls(solving, found.arena_bytes);
    return true;
}

/* The exact search over steps, for at most so long; what it ends is proved. */
static bool try_steps(struct solving *solving, double seconds, uint64_t nodes, struct error *err)
{
    struct place_result *result = solving->result;
    uint64_t left = nodes_left(solving);
    bool ended = false;
    if (solving->groups.count > MOST_STORAGES || done(solving)) return true;
    if (left > 0 && (nodes == 0 || left < nodes)) nodes = left;
    TRY(tied_search(&solving->tied, solving->target, nodes, deadline(seconds), solving->options->stop, &result->nodes,
                    &ended, err));
    if (ended && solving->tied.arena > solving->target) result->lower_bound_bytes = solving->tied.arena;
    return true;
}

/* Pieces as they are but for the storages of several, whose offsets stay those of the best placement. */
static bool try_rest(struct solving *solving, double seconds, struct error *err)
{
    struct groups *groups = &solving->groups;
    struct place_options options = *solving->options;
    struct place_result found;
    if (done(solving)) return true;
    for (size_t s = 0; s < groups->count; s++)
        for (size_t p = groups->piece_start[s]; p < groups->piece_start[s + 1]; p++)
            if (groups->piece_start[s + 1] - groups->piece_start[s] > 1)
                groups->pieces[p].fixed = solving->tied.offset[s];
    options.seconds = seconds;
    options.nodes = nodes_left(solving);
    if (options.capacity < solving->result->lower_bound_bytes) options.capacity = solving->result->lower_bound_bytes;
    options.progress = NULL;
    bool ok = place_solve(groups->pieces, groups->piece_count, &options, &found, err);
    for (size_t s = 0; s < groups->count; s++)
        for (size_t p = groups->piece_start[s]; p < groups->piece_start[s + 1]; p++) {
            groups->pieces[p].fixed = groups->hulls[s].fixed;
            groups->hulls[s].offset = groups->pieces[p].offset;
        }
    if (!ok) return false;
    solving->result->nodes += found.nodes;
    keep_hulls(solving, found.arena_bytes);
    return true;
}

/* Without their ties the pieces may fit into less: what is impossible for them is impossible. */
static bool raise_bound(struct solving *solving, double seconds, struct error *err)
{
    struct place_options options = *solving->options;
    struct place_result found;
    if (done(solving)) return true;
    options.seconds = seconds;
    options.nodes = nodes_left(solving);
    options.progress = NULL;
    TRY(place_solve(solving->groups.pieces, solving->groups.piece_count, &options, &found, err));
    solving->result->nodes += found.nodes;
    if (found.lower_bound_bytes > solving->result->lower_bound_bytes)
        solving->result->lower_bound_bytes = found.lower_bound_bytes;
    return true;
}

static void report(const struct solving *solving)
{
    const struct place_options *options = solving->options;
    if (options->progress)
        options->progress(options->context, solving->result->lower_bound_bytes, solving->tied.arena,
                          (double)(clock_now_ns() - solving->start_ns) * 1e-9);
}

static bool solve_steps(struct solving *solving, struct error *err)
{
    double seconds = solving->options->seconds;
    bool small = solving->groups.count <= MOST_STORAGES; /* the search over steps may end it at once */
    TRY(try_hulls(solving, small ? 0 : seconds / 4, err));
    if (solving->tied.arena > solving->target && solving->groups.piece_count <= MOST_PIECES)
        TRY(tied_first_fit(
            &solving->tied, solving->target,
            deadline(seconds > 0 && seconds_left(solving) < FIRST_SECONDS ? seconds_left(solving) : FIRST_SECONDS),
            solving->options->stop, err));
    report(solving);
    TRY(try_steps(solving, seconds_left(solving) / 4, FIRST_NODES, err));
    report(solving);
    if (small && !done(solving)) TRY(try_hulls(solving, seconds_left(solving) / 4, err));
    report(solving);
    TRY(try_rest(solving, seconds_left(solving) / 3, err));
    report(solving);
    TRY(raise_bound(solving, seconds_left(solving) / 3, err));
    report(solving);
    return try_steps(solving, seconds_left(solving), 0, err);
}

static bool solving_init(struct solving *solving, struct error *err)
{
    struct tied *tied = &solving->tied;
    const struct problem *problem = &tied->problem;
    uint64_t capacity = solving->options->capacity;
    TRY(problem_init(&tied->problem, solving->groups.pieces, solving->groups.piece_count, err));
    tied->groups = &solving->groups;
    tied->arena = UINT64_MAX;
    tied->offset = mem_alloc(MEM_SEARCH, solving->groups.count, sizeof *tied->offset);
    if (!tied->offset) return error_memory(err, solving->groups.count * sizeof *tied->offset, "offsets");
    solving->target = capacity > problem->bound ? capacity : problem->bound;
    solving->result->lower_bound_bytes = solving->result->first_bound_bytes = problem->bound;
    solving->result->live_bytes = problem->live[problem->peak];
    solving->result->peak_instant = problem->instant[problem->peak];
    return true;
}

/* Storages of several pieces. */
static bool solve_stepped(struct solving *solving, struct error *err)
{
    struct place_result *result = solving->result;
    bool ok = solving_init(solving, err) && solve_steps(solving, err);
    if (ok) {
        for (size_t s = 0; s < solving->groups.count; s++) solving->groups.hulls[s].offset = solving->tied.offset[s];
        result->arena_bytes = solving->tied.arena;
        result->proved_optimal = result->arena_bytes == result->lower_bound_bytes;
    }
    mem_free(solving->tied.offset);
    problem_finish(&solving->tied.problem);
    return ok;
}

bool groups_solve(struct place_buffer *buffers, size_t count, const struct place_options *options,
                  struct place_result *result, struct error *err)
{
    struct place_result found = {0};
    struct solving solving = {.options = options, .result = &found, .start_ns = clock_now_ns()};
    TRY(groups_init(&solving.groups, buffers, count, err));
    bool ok = groups_check_fixed(&solving.groups, buffers, count, NULL, 0, err);
    if (ok && solving.groups.stepped) {
        ok = solve_stepped(&solving, err);
    } else if (ok) {
        ok = place_solve(solving.groups.blocks, solving.groups.block_count, options, &found, err);
        groups_take_blocks(&solving.groups);
    }
    if (ok) {
        groups_write(&solving.groups, buffers, count);
        found.seconds = (double)(clock_now_ns() - solving.start_ns) * 1e-9;
        *result = found;
    }
    groups_finish(&solving.groups);
    return ok;
}
