/* What is comparable goes together: buffers of two components of the order all conflict, so that each component has a
 * range of its own. One that is an order of intervals is a problem in plain time. Of another three placements are made:
 * first fit by the table of conflicts; in plain time, with lifetimes drawn out until all that conflict overlap; and the
 * buffers of each stream in a range of their own, as a packing in plain time. */
#include "place_clocks.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place.h"
#include "place_order.h"
#include "place_streams.h"
#include "place_problem.h"
#include "place_sort.h"

#define TIME_SHARES 3 /* of what is left goes to a placement before first fit, its inverse */

struct clocked {
    struct place_buffer *buffers;
    const struct place_clocks *clocks;
    size_t count;
    const struct place_options *options;
    uint64_t deadline_ns;
    uint64_t nodes;
    bool *member;     /* of the heaviest set that was found */
    uint32_t *stream; /* of each buffer */
};

static bool check_clock(const struct place_clocks *clocks, size_t buffer, struct error *err)
{
    const uint64_t *start = clocks->start + buffer * clocks->streams, *end = clocks->end + buffer * clocks->streams;
    bool later = false;
    for (size_t s = 0; s < clocks->streams; s++) {
        if (end[s] > CLOCKS_MOST_TIME)
            return error_set(err, ERROR_INPUT, "buffer %zu: time %" PRIu64 "; the most is %" PRIu64, buffer, end[s],
                             CLOCKS_MOST_TIME);
        if (end[s] < start[s])
            return error_set(err, ERROR_INPUT,
                             "buffer %zu: ends at %" PRIu64 " and begins at %" PRIu64
                             " of stream %zu; no clock goes back",
                             buffer, end[s], start[s], s);
        later |= end[s] > start[s];
    }
    return later || error_set(err, ERROR_INPUT, "buffer %zu: its end is its beginning; it must be later", buffer);
}

/* All but the lifetimes, which are not of one time. */
static bool check_buffers(const struct place_buffer *buffers, size_t count, struct error *err)
{
    struct place_buffer *copy = mem_alloc(MEM_SEARCH, count, sizeof *copy);
    if (!copy) return error_memory(err, count * sizeof *copy, "placement by streams");
    for (size_t i = 0; i < count; i++) {
        copy[i] = buffers[i];
        copy[i].lower = 0;
        copy[i].upper = 1;
    }
    bool ok = problem_check_buffers(copy, count, err);
    mem_free(copy);
    return ok;
}

static bool check(const struct place_buffer *buffers, const struct place_clocks *clocks, size_t count,
                  struct error *err)
{
    if (clocks->streams < 1 || clocks->streams > CLOCKS_MOST_STREAMS)
        return error_set(err, ERROR_INPUT, "%zu streams; 1 to %d are possible", clocks->streams, CLOCKS_MOST_STREAMS);
    if (count > CLOCKS_MOST_BUFFERS)
        return error_set(err, ERROR_INPUT, "%zu buffers with clocks of several streams; the most is %d", count,
                         CLOCKS_MOST_BUFFERS);
    for (size_t i = 0; i < count; i++) {
        TRY(check_clock(clocks, i, err));
        if (buffers[i].alias > 0)
            return error_set(err, ERROR_INPUT, "buffer %zu: an alias, which goes without clocks of several streams", i);
    }
    return true;
}

static double seconds_left(const struct clocked *clocked, uint64_t share)
{
    uint64_t now = clock_now_ns();
    if (clocked->options->seconds <= 0) return 0;
    return clocked->deadline_ns > now ? (double)(clocked->deadline_ns - now) * 1e-9 / (double)share + 1e-3 : 1e-3;
}

/* ---- One part ---- */

/* In plain time, as the order was drawn: a placement, and where that is exact its bound. */
static bool solve_run(struct clocked *clocked, const struct order *order, uint64_t share, uint64_t *offset,
                      uint64_t *arena, uint64_t *bound, struct error *err)
{
    struct place_buffer *run = mem_alloc(MEM_SEARCH, order->count, sizeof *run);
    struct place_options options = *clocked->options;
    struct place_result result;
    if (!run) return error_memory(err, order->count * sizeof *run, "a run of streams");
    for (size_t i = 0; i < order->count; i++)
        run[i] = (struct place_buffer){.lower = order->first[i],
                                       .upper = order->last[i],
                                       .size = order->size[i],
                                       .align = order->align[i],
                                       .fixed = order->fixed[i]};
    options.capacity = 0;
    options.progress = NULL;
    options.seconds = seconds_left(clocked, share);
    bool ok = place_solve(run, order->count, &options, &result, err);
    if (ok) clocked->nodes += result.nodes;
    if (ok && bound) *bound = result.lower_bound_bytes;
    for (size_t i = 0; ok && result.arena_bytes < *arena && i < order->count; i++) offset[i] = run[i].offset;
    if (ok && result.arena_bytes < *arena) *arena = result.arena_bytes;
    mem_free(run);
    return ok;
}

static bool fits_run(const struct order *order, struct error *err)
{
    for (size_t a = 0; order->any_fixed && !order->is_interval && a < order->count; a++)
        for (size_t b = 0; b < a; b++)
            if (order->fixed[a] != PLACE_UNPLACED && order->fixed[b] != PLACE_UNPLACED && order_conflict(order, a, b) &&
                order->fixed[a] < order->fixed[b] + order->size[b] &&
                order->fixed[b] < order->fixed[a] + order->size[a])
                return error_set(err, ERROR_INPUT,
                                 "two buffers that conflict, fixed at %" PRIu64 " and %" PRIu64 ", overlap",
                                 order->fixed[a], order->fixed[b]);
    return true;
}

/* Best of the ways but for the streams' own. */
static bool solve_part(struct clocked *clocked, const struct order *order, uint64_t target, uint64_t *offset,
                       uint64_t *arena, uint64_t *bound, struct error *err)
{
    if (order->is_interval) return solve_run(clocked, order, 1, offset, arena, bound, err);
    TRY(fits_run(order, err));
    /* drawn out, fixed buffers may overlap that may do so */
    if (!order->any_fixed) TRY(solve_run(clocked, order, TIME_SHARES, offset, arena, NULL, err));
    struct order_limits limits = {.target = target,
                                  .deadline_ns = clocked->options->seconds > 0 ? clocked->deadline_ns : 0,
                                  .seed = clocked->options->seed,
                                  .quit = clocked->options->stop};
    return order_first_fit(order, &limits, offset, arena, err);
}

/* ---- Ranges of their own ---- */

/* Parts one on the other, each a number in part[]: of all buffers in index[count] that have it. target 0: each alone as
 * well as may be. *bound is the sum of the parts' where all are exact, or 0. */
static bool stack_parts(struct clocked *clocked, const uint32_t *index, const uint32_t *part, uint32_t parts,
                        size_t count, bool deep, uint64_t *offset, uint64_t *arena, uint64_t *bound, struct error *err);

/* The buffers of each stream in a range of their own. */
static bool stack_streams(struct clocked *clocked, const uint32_t *index, size_t count, uint64_t *offset,
                          uint64_t *arena, struct error *err)
{
    uint32_t *stream = mem_alloc(MEM_SEARCH, count, sizeof *stream);
    uint64_t *found = mem_alloc(MEM_SEARCH, count, sizeof *found), top = UINT64_MAX, bound;
    bool ok = stream && found;
    if (!ok) error_memory(err, count * 12, "placement by streams");
    for (size_t i = 0; ok && i < count; i++) stream[i] = clocked->stream[index[i]];
    ok = ok && stack_parts(clocked, index, stream, (uint32_t)clocked->clocks->streams, count, false, found, &top,
                           &bound, err);
    if (ok && top < *arena) {
        *arena = top;
        memcpy(offset, found, count * sizeof *offset);
    }
    mem_free(stream);
    mem_free(found);
    return ok;
}

/* The whole of one component, or of all where there are no components to be had. */
static bool solve_component(struct clocked *clocked, const struct order *order, const uint32_t *index, uint64_t *offset,
                            uint64_t *arena, uint64_t *bound, struct error *err)
{
    bool *member = mem_zalloc(MEM_SEARCH, order->count, sizeof *member);
    if (!member) return error_memory(err, order->count, "the bound of a placement");
    bool ok = order_find_clique(order, member, bound, err);
    for (size_t i = 0; ok && i < order->count; i++) clocked->member[index[i]] = member[i];
    mem_free(member);
    uint64_t exact = 0;
    *arena = UINT64_MAX;
    if (ok && !order->is_interval && !order->any_fixed && clocked->clocks->streams > 1)
        ok = stack_streams(clocked, index, order->count, offset, arena, err);
    if (ok && *arena > *bound) ok = solve_part(clocked, order, *bound, offset, arena, &exact, err);
    if (order->is_interval && exact > *bound) *bound = exact;
    return ok;
}

static bool stack_parts(struct clocked *clocked, const uint32_t *index, const uint32_t *part, uint32_t parts,
                        size_t count, bool deep, uint64_t *offset, uint64_t *arena, uint64_t *bound, struct error *err)
{
    uint32_t *own = mem_alloc(MEM_SEARCH, count, sizeof *own), *place = mem_alloc(MEM_SEARCH, count, sizeof *place);
    uint64_t *found = mem_alloc(MEM_SEARCH, count, sizeof *found), top = 0;
    bool ok = own && place && found;
    if (!ok) error_memory(err, count * 16, "placement by streams");
    *bound = 0;
    for (uint32_t p = 0; ok && p < parts; p++) {
        struct order order;
        size_t members = 0;
        uint64_t height = UINT64_MAX, least = 0, align = 1;
        for (uint32_t i = 0; i < count; i++)
            if (part[i] == p) own[members] = index[i], place[members++] = i;
        if (members == 0) continue;
        ok = order_init(&order, clocked->buffers, clocked->clocks, own, members, err);
        if (!ok) break;
        for (size_t i = 0; i < members; i++)
            if (order.align[i] > align) align = order.align[i] / common_divisor(order.align[i], align) * align;
        ok = deep ? solve_component(clocked, &order, own, found, &height, &least, err)
                  : solve_part(clocked, &order, 0, found, &height, &least, err);
        top = order.any_fixed ? top : align_up(top, align);
        for (size_t i = 0; ok && i < members; i++) offset[place[i]] = top + found[i];
        order_finish(&order);
        top += height;
        *bound += least;
    }
    *arena = top;
    mem_free(own);
    mem_free(place);
    mem_free(found);
    return ok;
}

/* ---- All of it ---- */

/* Components of all that have bytes; one for all where offsets are fixed. */
static bool split(struct clocked *clocked, const uint32_t *index, size_t count, uint32_t *component,
                  uint32_t *components, struct error *err)
{
    struct order order;
    uint32_t *queue = mem_alloc(MEM_SEARCH, count, sizeof *queue);
    if (!queue) return error_memory(err, count * sizeof *queue, "placement by streams");
    bool ok = order_init(&order, clocked->buffers, clocked->clocks, index, count, err);
    if (ok) {
        *components = order.any_fixed ? 1 : order_components(&order, component, queue);
        if (order.any_fixed) memset(component, 0, count * sizeof *component);
        order_finish(&order);
    }
    mem_free(queue);
    return ok;
}

static bool solve(struct clocked *clocked, size_t count, struct place_result *result, struct error *err)
{
    uint32_t *index = mem_alloc(MEM_SEARCH, count, sizeof *index), components = 0;
    uint32_t *component = mem_alloc(MEM_SEARCH, count, sizeof *component);
    uint64_t *offset = mem_alloc(MEM_SEARCH, count, sizeof *offset), end = 0;
    bool ok = index && component && offset;
    size_t used = 0;
    if (!ok) error_memory(err, count * 16, "placement by streams");
    for (uint32_t i = 0; ok && i < count; i++) {
        struct place_buffer *buffer = &clocked->buffers[i];
        if (buffer->size > 0) index[used++] = i;
        if (buffer->size > 0 && buffer->fixed != PLACE_UNPLACED && buffer->fixed + buffer->size > end)
            end = buffer->fixed + buffer->size;
        if (buffer->size == 0) buffer->offset = buffer->fixed == PLACE_UNPLACED ? 0 : buffer->fixed;
    }
    if (ok && used > 0) {
        ok = split(clocked, index, used, component, &components, err) &&
             stack_parts(clocked, index, component, components, used, true, offset, &result->arena_bytes,
                         &result->lower_bound_bytes, err);
        for (size_t i = 0; ok && i < used; i++) clocked->buffers[index[i]].offset = offset[i];
    }
    for (size_t i = 0; ok && i < count; i++) {
        uint64_t align = clocked->buffers[i].align > 1 ? clocked->buffers[i].align : 1;
        if (clocked->member[i]) result->live_bytes += align_up(clocked->buffers[i].size, align);
    }
    result->first_bound_bytes = result->live_bytes > end ? result->live_bytes : end;
    if (result->lower_bound_bytes < result->first_bound_bytes) result->lower_bound_bytes = result->first_bound_bytes;
    mem_free(index);
    mem_free(component);
    mem_free(offset);
    return ok;
}

static bool list_clique(const struct clocked *clocked, size_t count, uint32_t *clique, size_t *clique_count,
                        struct error *err)
{
    struct sort_pair *pairs = mem_alloc(MEM_SEARCH, 2 * count, sizeof *pairs);
    if (!pairs) return error_memory(err, 2 * count * sizeof *pairs, "the buffers of the bound");
    *clique_count = 0;
    for (uint32_t i = 0; i < count; i++)
        if (clocked->member[i]) pairs[(*clique_count)++] = (struct sort_pair){~clocked->buffers[i].size, i};
    sort_pairs(pairs, pairs + count, *clique_count);
    for (size_t i = 0; i < *clique_count; i++) clique[i] = pairs[i].index;
    mem_free(pairs);
    return true;
}

bool place_clocks_solve(struct place_buffer *buffers, const struct place_clocks *clocks, size_t count,
                        const struct place_options *options, struct place_result *result, uint32_t *clique,
                        size_t *clique_count, struct error *err)
{
    uint64_t start = clock_now_ns();
    struct clocked clocked = {.buffers = buffers, .clocks = clocks, .count = count, .options = options};
    struct place_result found = {0};
    TRY(check(buffers, clocks, count, err));
    TRY(check_buffers(buffers, count, err));
    clocked.deadline_ns = start + (uint64_t)(fmin(options->seconds, 1e9) * 1e9);
    clocked.member = mem_zalloc(MEM_SEARCH, count + 1, sizeof *clocked.member);
    clocked.stream = mem_alloc(MEM_SEARCH, count, sizeof *clocked.stream);
    bool ok = clocked.member && clocked.stream;
    if (!ok) error_memory(err, count * 5, "placement by streams");
    ok = ok && streams_find(clocks, count, clocked.stream, err) && solve(&clocked, count, &found, err) &&
         list_clique(&clocked, count, clique, clique_count, err);
    mem_free(clocked.member);
    mem_free(clocked.stream);
    if (!ok) return false;
    found.nodes = clocked.nodes;
    found.proved_optimal = found.arena_bytes == found.lower_bound_bytes;
    found.seconds = (double)(clock_now_ns() - start) * 1e-9;
    *result = found;
    return true;
}
