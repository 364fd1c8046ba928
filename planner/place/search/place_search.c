#include "place_search.h"

#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place_search_private.h"

#define NEAR 128 /* sections */

struct mark {
    size_t section, buffer;
};

/* What a stack of `capacity` elements takes once it has room for `needed`. */
static uint64_t grown_bytes(size_t capacity, size_t needed, size_t size)
{
    if (needed <= capacity) return (uint64_t)capacity * size;
    return (uint64_t)(2 * capacity > needed ? 2 * capacity : needed) * size;
}

/* A step pushes one set at most, and a component's search one more. */
static size_t sets_needed(const struct search *search)
{
    return search->jumps ? search->blame.count + 2 * search->blame.words : 0;
}

static bool may_grow(const struct search *search, size_t sections, size_t buffers)
{
    uint64_t bytes =
        grown_bytes(search->section_capacity, search->section_count + sections, sizeof *search->section_trail) +
        grown_bytes(search->buffer_capacity, search->buffer_count + buffers + 1, sizeof *search->buffer_trail) +
        grown_bytes(search->branch_capacity, search->branch_count + buffers, sizeof *search->branch) +
        grown_bytes(search->part_capacity, search->part_count + sections, sizeof *search->parts) +
        grown_bytes(search->blame.capacity, sets_needed(search), sizeof *search->blame.sets);
    return bytes <= search->tables->trail_bytes;
}

/* The room that one step may need, taken at once so that nothing within it can fail. Beyond the limit the search ends
 * without an answer. */
static bool reserve_step(struct search *search, uint32_t from, uint32_t to)
{
    if (!may_grow(search, to - from, search->problem->count)) {
        search->stopped = true;
        return false;
    }
    void *sections = search->section_trail, *buffers = search->buffer_trail, *branch = search->branch,
         *parts = search->parts, *sets = search->blame.sets;
    size_t count = search->problem->count;
    bool ok =
        mem_grow(MEM_SEARCH, &sections, &search->section_capacity, search->section_count + (to - from),
                 sizeof *search->section_trail) &&
        mem_grow(MEM_SEARCH, &buffers, &search->buffer_capacity, search->buffer_count + count + 1,
                 sizeof *search->buffer_trail) &&
        mem_grow(MEM_SEARCH, &branch, &search->branch_capacity, search->branch_count + count, sizeof *search->branch) &&
        mem_grow(MEM_SEARCH, &parts, &search->part_capacity, search->part_count + (to - from), sizeof *search->parts) &&
        mem_grow(MEM_SEARCH, &sets, &search->blame.capacity, sets_needed(search), sizeof *search->blame.sets);
    search->section_trail = sections;
    search->buffer_trail = buffers;
    search->branch = branch;
    search->parts = parts;
    search->blame.sets = sets;
    if (!ok) search->stopped = search->out_of_memory = true;
    return ok;
}

static struct section *touch(struct search *search, uint32_t s)
{
    if (search->stamp[s] != search->step) {
        search->section_trail[search->section_count++] =
            (struct saved_section){search->sections[s], s, search->stamp[s]};
        search->stamp[s] = search->step;
    }
    return &search->sections[s];
}

static struct mark begin_step(struct search *search)
{
    search->step++;
    return (struct mark){search->section_count, search->buffer_count};
}

static void undo(struct search *search, struct mark mark)
{
    while (search->section_count > mark.section) {
        const struct saved_section *saved = &search->section_trail[--search->section_count];
        search->sections[saved->index] = saved->old;
        search->stamp[saved->index] = saved->old_stamp;
    }
    while (search->buffer_count > mark.buffer) {
        const struct saved_buffer *saved = &search->buffer_trail[--search->buffer_count];
        search->least[saved->index] = saved->old_least;
        search->cause[saved->index] = saved->old_cause;
        if (saved->placed) search->placed[saved->index] = 0;
    }
}

/* Raises a buffer's lowest offset and marks its sections. */
static void raise_least(struct search *search, uint32_t buffer, uint64_t at)
{
    if (search->least[buffer] >= at) return;
    at = search_fit_from(search, buffer, at);
    search->buffer_trail[search->buffer_count++] =
        (struct saved_buffer){search->least[buffer], buffer, search->cause[buffer], false};
    search->least[buffer] = at;
    search->cause[buffer] = search->raiser;
    memset(search->dirty + search->problem->first[buffer], 1,
           search->problem->last[buffer] - search->problem->first[buffer]);
}

/* Keeps the section's members by rising release. They are almost in order from the last time. */
static void sort_members(const struct search *search, uint32_t *members, size_t count)
{
    const uint64_t *least = search->least;
    for (size_t i = 1; i < count; i++) {
        uint32_t buffer = members[i];
        size_t at = i;
        for (; at > 0 && least[members[at - 1]] > least[buffer]; at--) members[at] = members[at - 1];
        members[at] = buffer;
    }
}

/* One section afresh: its floor is the least offset of the buffers to come; their earliest end is that of jobs with
 * release times on one machine, taken in order of release. */
static bool refresh(struct search *search, uint32_t s)
{
    const uint64_t *least = search->least, *size = search->problem->size;
    uint32_t *members = search->members + search->tables->member_start[s];
    size_t count = search->tables->member_start[s + 1] - search->tables->member_start[s];
    struct section *section = touch(search, s);
    /* Steps are undone in reverse, so the placed ones behind stay sorted: only the last placed may still be ahead. */
    if (!search->problem->any_fixed && count > section->waiting) count = section->waiting + 1;
    uint64_t finish = 0, floor = UINT64_MAX;
    uint32_t choices = 0;
    sort_members(search, members, count);
    for (size_t i = 0; i < count && least[members[i]] != UINT64_MAX; i++) {
        uint64_t release = least[members[i]];
        finish = (finish > release ? finish : release) + size[members[i]];
        if (floor != UINT64_MAX && release != floor) continue;
        if (search->placed[members[i]]) continue; /* fixed: a job, but no choice */
        floor = release;
        choices++;
    }
    section->finish = finish;
    section->choices = choices;
    if (section->waiting > 0) section->floor = floor;
    return finish <= section->ceiling;
}

/* Refreshes one dirty section; when that ends the branch, the section moves to the front of the suspects. */
static bool passes(struct search *search, uint32_t s)
{
    search->dirty[s] = 0;
    if (refresh(search, s)) return true;
    if (search->jumps) search_blame_section(search, s);
    size_t at = 0;
    while (at + 1 < SUSPECTS && search->suspects[at] != s) at++;
    memmove(search->suspects + 1, search->suspects, at * sizeof *search->suspects);
    search->suspects[0] = s;
    return false;
}

/* What ended the last branches most often ends this one: those sections first. */
static bool refresh_dirty(struct search *search, uint32_t from, uint32_t to)
{
    bool ok = true;
    for (size_t i = 0; ok && i < SUSPECTS; i++) {
        uint32_t s = search->suspects[i];
        if (s >= from && s < to && search->dirty[s]) ok = passes(search, s);
    }
    for (uint32_t s = from; ok && s < to; s++)
        if (search->dirty[s]) ok = passes(search, s);
    if (!ok) memset(search->dirty + from, 0, to - from);
    return ok;
}

/* Takes the buffer out of the waiting ones; offset and sections' tops are the caller's. */
static void settle(struct search *search, uint32_t buffer, uint64_t offset)
{
    const struct problem *problem = search->problem;
    search->buffer_trail[search->buffer_count++] =
        (struct saved_buffer){search->least[buffer], buffer, search->cause[buffer], true};
    search->placed[buffer] = 1;
    search->least[buffer] = UINT64_MAX;
    search->offset[buffer] = offset;
    for (uint32_t s = problem->first[buffer]; s < problem->last[buffer]; s++) {
        struct section *section = touch(search, s);
        section->rest -= problem->size[buffer];
        section->waiting--;
        if (s + 1 < problem->last[buffer]) section->crossing--;
        search->dirty[s] = 1;
    }
}

static bool put_on_floor(struct search *search, uint32_t buffer, uint32_t from, uint32_t to)
{
    const struct problem *problem = search->problem;
    const struct search_tables *tables = search->tables;
    uint64_t top = search->least[buffer] + problem->size[buffer];
    settle(search, buffer, search->least[buffer]);
    for (uint32_t s = problem->first[buffer]; s < problem->last[buffer]; s++) {
        search->sections[s].top = top;
        search->sections[s].occupant = buffer;
    }
    for (size_t i = tables->neighbour_start[buffer]; i < tables->neighbour_start[buffer + 1]; i++)
        if (!search->placed[tables->neighbours[i]]) raise_least(search, tables->neighbours[i], top);
    return refresh_dirty(search, from, to);
}

/* A buffer that lives as long as its whole component may as well lie on top of it: what was above moves down. Its floor
 * counts as real ground from then on, because what moved down may rest on nothing else. */
static bool put_on_ceiling(struct search *search, uint32_t buffer, uint32_t from, uint32_t to)
{
    uint64_t size = search->problem->size[buffer];
    settle(search, buffer, search->sections[from].ceiling - size);
    for (uint32_t s = from; s < to; s++) {
        struct section *section = touch(search, s);
        section->ceiling -= size;
        section->top = section->floor;
        section->occupant = NO_BUFFER;
    }
    return refresh_dirty(search, from, to);
}

static bool one_piece(const struct search *search)
{
    return !search->problem->any_fixed && !search->problem->mixed_align;
}

static uint32_t find_spanning(const struct search *search, uint32_t from, uint32_t to)
{
    const struct search_tables *tables = search->tables;
    if (!one_piece(search)) return NO_BUFFER;
    for (size_t i = tables->member_start[from]; i < tables->member_start[from + 1]; i++) {
        uint32_t buffer = tables->members[i];
        if (!search->placed[buffer] && search->problem->last[buffer] >= to) return buffer;
    }
    return NO_BUFFER;
}

/* The section with the fewest choices among those of [from, to) at the bottom of a valley, then with the least slack;
 * `to` when there is no valley. [low, high) is the component. */
static uint32_t choose_within(const struct search *search, uint32_t from, uint32_t to, uint32_t low, uint32_t high)
{
    const struct section *sections = search->sections;
    uint32_t best = to, end;
    uint64_t best_slack = UINT64_MAX, best_choices = UINT64_MAX;
    for (uint32_t s = from; s < to; s = end) {
        for (end = s + 1; end < to && sections[end].floor == sections[s].floor; end++) {
        }
        if (s > low && sections[s - 1].floor <= sections[s].floor) continue; /* within a run, or on a slope */
        if (end < high && sections[end].floor <= sections[s].floor) continue;
        for (uint32_t i = s; i < end; i++) {
            uint64_t slack = sections[i].ceiling - sections[i].finish;
            uint64_t choices = sections[i].choices + (slack > 0);
            if (choices > best_choices || (choices == best_choices && slack >= best_slack)) continue;
            best = i;
            best_choices = choices;
            best_slack = slack;
        }
    }
    return best;
}

/* In a large component, near the last step if that was in it and a valley is there: what fails stays close to what
 * caused it. */
static uint32_t choose_section(const struct search *search, uint32_t from, uint32_t to)
{
    if (to - from > 4 * NEAR && search->recent < to + NEAR) {
        uint32_t low = search->recent > from + NEAR ? search->recent - NEAR : from;
        uint32_t high = to - low > 2 * NEAR ? low + 2 * NEAR : to;
        uint32_t near = choose_within(search, low, high, from, to);
        if (near < high) return near;
    }
    return choose_within(search, from, to, from, to);
}

/* Whether the buffer at its lowest offset rests on something, and in order if that is a buffer of the same lifetime. */
static bool well_placed(const struct search *search, uint32_t buffer)
{
    const struct problem *problem = search->problem;
    uint64_t top = 0;
    for (uint32_t s = problem->first[buffer]; s < problem->last[buffer]; s++)
        if (search->sections[s].top > top) top = search->sections[s].top;
    if (top < search->least[buffer] && search_fit_from(search, buffer, top) < search->least[buffer]) return false;
    uint32_t twin = search->tables->twin[buffer];
    if (twin != NO_BUFFER && !search->placed[twin]) return false;
    const struct section *section = &search->sections[problem->first[buffer]];
    if (!one_piece(search) || section->occupant == NO_BUFFER || section->top != search->least[buffer]) return true;
    return search->tables->span[section->occupant] != search->tables->span[buffer] ||
           search->rank[section->occupant] < search->rank[buffer];
}

/* Pushes the buffers that may lie on the floor over s, in rank order; returns how many. */
static size_t push_candidates(struct search *search, uint32_t s)
{
    const struct search_tables *tables = search->tables;
    uint32_t *list = search->branch + search->branch_count;
    size_t count = 0;
    for (size_t i = tables->member_start[s]; i < tables->member_start[s + 1]; i++) {
        uint32_t buffer = tables->members[i];
        if (search->placed[buffer] || search->least[buffer] != search->sections[s].floor) continue;
        if (!well_placed(search, buffer)) continue;
        size_t at = count++;
        for (; at > 0 && search->rank[list[at - 1]] > search->rank[buffer]; at--) list[at] = list[at - 1];
        list[at] = buffer;
    }
    search->branch_count += count;
    return count;
}

/* The least top above the floor of s on which this buffer, once it does not lie on that floor, could rest. */
static uint64_t next_rest(const struct search *search, uint32_t buffer, uint32_t s)
{
    const struct problem *problem = search->problem;
    const struct search_tables *tables = search->tables;
    uint64_t next = UINT64_MAX;
    for (size_t i = tables->neighbour_start[buffer]; i < tables->neighbour_start[buffer + 1]; i++) {
        uint32_t other = tables->neighbours[i];
        bool fixed = problem->fixed[other] != PLACE_UNPLACED;
        bool covers = problem->first[other] <= s && s < problem->last[other];
        if (fixed ? search->least[other] + problem->size[other] <= search->least[buffer]
                  : search->placed[other] || covers)
            continue;
        uint64_t top = search->least[other] + problem->size[other];
        if (top < next) next = top;
    }
    return next;
}

/* No buffer lies on the floor over s: raises it to the next height at which one could. */
static bool lift_floor(struct search *search, uint32_t s, uint32_t from, uint32_t to, size_t refuted)
{
    const struct search_tables *tables = search->tables;
    uint64_t floor = search->sections[s].floor, next = UINT64_MAX;
    for (size_t i = tables->member_start[s]; i < tables->member_start[s + 1]; i++) {
        uint32_t buffer = tables->members[i];
        if (search->placed[buffer]) continue;
        uint64_t height = search->least[buffer] > floor ? search->least[buffer] : next_rest(search, buffer, s);
        if (height < next) next = height;
    }
    if (search->jumps) search_blame_lift(search, s, refuted);
    if (next > search->sections[s].ceiling - search->sections[s].rest) return false;
    for (size_t i = tables->member_start[s]; i < tables->member_start[s + 1]; i++)
        if (!search->placed[tables->members[i]]) raise_least(search, tables->members[i], next);
    return refresh_dirty(search, from, to);
}

static bool may_go_on(struct search *search)
{
    const struct search_job *job = search->job;
    if (search->stopped) return false;
    search->nodes++;
    if (search->nodes > job->most_nodes) search->stopped = true;
    if ((search->nodes & 63) == 0) {
        uint64_t used = job->nodes_before + search->nodes;
        if (job->stop && used > atomic_load_explicit(job->stop, memory_order_relaxed)) search->stopped = true;
        if (job->quit && atomic_load_explicit(job->quit, memory_order_relaxed)) search->stopped = true;
        if (job->deadline_ns && clock_now_ns() > job->deadline_ns) search->stopped = true;
    }
    return !search->stopped;
}

static bool solve(struct search *search, uint32_t from, uint32_t to);
static bool solve_component(struct search *search, uint32_t from, uint32_t to);

/* Whether placing the buffer may have cut its component: some two sections that it joined are joined by none now. */
static bool splits(const struct search *search, uint32_t buffer)
{
    for (uint32_t s = search->problem->first[buffer]; s < search->problem->last[buffer]; s++)
        if (search->sections[s].crossing == 0) return true;
    return false;
}

/* One buffer on the floor, and all that is left of its component on top. */
static bool try_candidate(struct search *search, uint32_t buffer, uint32_t from, uint32_t to)
{
    search->raiser = blame_level(search->level++);
    bool fits = put_on_floor(search, buffer, from, to);
    search->recent = search->problem->first[buffer];
    return fits && (splits(search, buffer) ? solve(search, from, to) : solve_component(search, from, to));
}

enum outcome { FOUND, REFUTED, LEFT };

/* LEFT: the search ends, or goes back further because these choices have no part in the failure. */
static enum outcome try_candidates(struct search *search, size_t first, size_t count, uint32_t from, uint32_t to,
                                   size_t refuted)
{
    uint32_t level = search->level;
    size_t sets = search->blame.count;
    for (size_t i = first; i < first + count; i++) {
        if (!may_go_on(search) || !reserve_step(search, from, to)) return LEFT;
        struct mark mark = begin_step(search);
        if (try_candidate(search, search->branch[i], from, to)) return FOUND;
        undo(search, mark);
        search->level = level;
        search->blame.count = sets;
        if (search->stopped || (search->jumps && !blame_pass_on(&search->blame, level, refuted))) return LEFT;
    }
    return REFUTED;
}

static bool solve_component(struct search *search, uint32_t from, uint32_t to)
{
    if (!reserve_step(search, from, to)) return false;
    struct mark mark = begin_step(search);
    uint32_t spanning = find_spanning(search, from, to);
    if (spanning != NO_BUFFER) {
        if (put_on_ceiling(search, spanning, from, to) && solve(search, from, to)) return true;
        undo(search, mark);
        return false;
    }
    size_t refuted = search->jumps ? blame_push(&search->blame) : 0;
    for (;;) {
        uint32_t s = choose_section(search, from, to);
        size_t first = search->branch_count, count = push_candidates(search, s);
        enum outcome outcome = try_candidates(search, first, count, from, to, refuted);
        search->branch_count = first;
        if (outcome == FOUND) return true;
        if (outcome == LEFT || !reserve_step(search, from, to)) break;
        begin_step(search);
        if (!lift_floor(search, s, from, to, refuted) || !may_go_on(search)) break;
    }
    undo(search, mark);
    return false;
}

/* Pushes the parts of [from, to) that share no waiting buffer, the tightest first; returns how many. */
static size_t push_parts(struct search *search, uint32_t from, uint32_t to)
{
    struct part *list = search->parts + search->part_count;
    size_t count = 0;
    for (uint32_t s = from, end; s < to; s = end) {
        struct part part = {s, s, UINT64_MAX};
        end = s;
        do {
            uint64_t slack = search->sections[end].ceiling - search->sections[end].finish;
            if (slack < part.slack) part.slack = slack;
        } while (search->sections[end++].crossing > 0);
        if (search->sections[s].waiting == 0) continue;
        part.to = end;
        size_t at = count++;
        for (; at > 0 && list[at - 1].slack > part.slack; at--) list[at] = list[at - 1];
        list[at] = part;
    }
    search->part_count += count;
    return count;
}

static bool solve(struct search *search, uint32_t from, uint32_t to)
{
    if (!reserve_step(search, from, to)) return false;
    size_t first = search->part_count, count = push_parts(search, from, to);
    bool ok = true;
    for (size_t i = first; ok && i < first + count; i++)
        ok = solve_component(search, search->parts[i].from, search->parts[i].to);
    search->part_count = first;
    return ok;
}
enum search_verdict search_run(struct search *search, const struct search_job *job, uint64_t *offset, uint64_t *nodes)
{
    uint32_t sections = search->problem->sections;
    search_reset(search, job);
    bool found = reserve_step(search, 0, sections) && refresh_dirty(search, 0, sections) && solve(search, 0, sections);
    *nodes = search->nodes;
    if (found) memcpy(offset, search->offset, search->problem->count * sizeof *offset);
    if (found) return SEARCH_FOUND;
    if (search->out_of_memory) return SEARCH_NO_MEMORY;
    return search->stopped || search->jumps ? SEARCH_STOPPED : SEARCH_IMPOSSIBLE;
}
