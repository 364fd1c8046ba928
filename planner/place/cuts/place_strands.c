#include "place_strands.h"

#include <string.h>

#include "mem.h"
#include "place_sort.h"

#define MOST_BUFFERS  4000
#define MOST_STRETCH  (1u << 22) /* of all strands together, in stretches */
#define MOST_TOGETHER 12         /* strands at an event of which all subsets are summed */

/* What is known while strands are joined. */
struct joining {
    const struct problem *problem;
    uint32_t events;
    uint32_t *begin, *end;   /* of each buffer: its events */
    size_t *start;           /* of each event, events + 1: in list[] */
    uint32_t *list;          /* buffers by events: twice each */
    uint32_t *parent;        /* of each buffer: towards the one that stands for its strand */
    struct sort_pair *pairs; /* scratch, twice two for each buffer */
};

bool strands_suit(const struct problem *problem)
{
    return !problem->any_fixed && !problem->mixed_align && problem->chunk == 0 && problem->source &&
           problem->count <= MOST_BUFFERS && problem->bound < (uint64_t)1 << 62;
}

static uint32_t find(uint32_t *parent, uint32_t buffer)
{
    while (parent[buffer] != buffer) buffer = parent[buffer] = parent[parent[buffer]];
    return buffer;
}

/* ---- Events ---- */

static void number_events(struct joining *joining)
{
    const struct problem *problem = joining->problem;
    size_t count = problem->count;
    struct sort_pair *pairs = joining->pairs;
    for (uint32_t i = 0; i < count; i++) {
        pairs[2 * i] = (struct sort_pair){problem->source[problem->origin[i]].lower, 2 * i};
        pairs[2 * i + 1] = (struct sort_pair){problem->source[problem->origin[i]].upper, 2 * i + 1};
    }
    sort_pairs(pairs, pairs + 2 * count, 2 * count);
    for (size_t k = 0; k < 2 * count; k++) {
        if (k == 0 || pairs[k].key != pairs[k - 1].key) joining->start[joining->events++] = k;
        uint32_t buffer = pairs[k].index / 2;
        (pairs[k].index % 2 ? joining->end : joining->begin)[buffer] = joining->events - 1;
        joining->list[k] = buffer;
    }
    joining->start[joining->events] = 2 * count;
}

/* What each strand changes at an event, none that changes nothing; how many, MOST_TOGETHER + 1 where they are more. */
static size_t sum_up(struct joining *joining, uint32_t event, uint32_t *strand, int64_t *bytes)
{
    size_t count = 0, kept = 0;
    for (size_t k = joining->start[event]; k < joining->start[event + 1]; k++) {
        uint32_t buffer = joining->list[k], root = find(joining->parent, buffer);
        int64_t size = (int64_t)joining->problem->size[buffer];
        size_t at = 0;
        while (at < count && strand[at] != root) at++;
        if (at == 4 * MOST_TOGETHER) return MOST_TOGETHER + 1;
        if (at == count) {
            strand[count] = root;
            bytes[count++] = 0;
        }
        bytes[at] += joining->begin[buffer] == event ? size : -size;
    }
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] == 0) continue;
        strand[kept] = strand[i];
        bytes[kept++] = bytes[i];
    }
    return kept <= MOST_TOGETHER ? kept : MOST_TOGETHER + 1;
}

/* Whether all sum up to nothing and no part of them does. */
static bool is_whole(const int64_t *bytes, size_t count)
{
    int64_t sum[1 << MOST_TOGETHER];
    uint32_t all = (1u << count) - 1;
    sum[0] = 0;
    for (uint32_t set = 1; set <= all; set++) {
        uint32_t lowest = 0;
        while (!(set >> lowest & 1)) lowest++;
        sum[set] = sum[set & (set - 1)] + bytes[lowest];
        if (sum[set] == 0 && set < all) return false;
    }
    return sum[all] == 0;
}

static bool join_at(struct joining *joining, uint32_t event)
{
    uint32_t strand[4 * MOST_TOGETHER];
    int64_t bytes[4 * MOST_TOGETHER];
    size_t count = sum_up(joining, event, strand, bytes);
    if (count < 2 || count > MOST_TOGETHER || !is_whole(bytes, count)) return false;
    for (size_t i = 1; i < count; i++) joining->parent[strand[i]] = strand[0];
    return true;
}

static void join_lifetimes(struct joining *joining)
{
    for (uint32_t e = 0; e < joining->events; e++)
        for (size_t k = joining->start[e]; k < joining->start[e + 1]; k++)
            for (size_t j = k + 1; j < joining->start[e + 1]; j++) {
                uint32_t a = joining->list[k], b = joining->list[j];
                if (joining->begin[a] == joining->begin[b] && joining->end[a] == joining->end[b])
                    joining->parent[find(joining->parent, b)] = find(joining->parent, a);
            }
}

/* What events say, until they say no more or the problem is halted. */
static void join_events(struct joining *joining)
{
    for (bool more = true; more && !problem_halted(joining->problem);) {
        more = false;
        for (uint32_t e = 0; e < joining->events; e++) more |= join_at(joining, e);
    }
}

/* ---- Strands ---- */

static void number_strands(struct strands *strands, struct joining *joining)
{
    for (uint32_t i = 0; i < joining->problem->count; i++) {
        uint32_t root = find(joining->parent, i);
        if (root == i) {
            strands->first[strands->count] = UINT32_MAX;
            strands->of[i] = (uint32_t)strands->count++;
        }
    }
    for (uint32_t i = 0; i < joining->problem->count; i++) {
        uint32_t strand = strands->of[i] = strands->of[find(joining->parent, i)];
        strands->buffers[strand]++;
        if (joining->begin[i] < strands->first[strand]) strands->first[strand] = joining->begin[i];
        if (joining->end[i] > strands->last[strand]) strands->last[strand] = joining->end[i];
    }
}

/* members[] by events, of which changes[] is the same by strands. */
static void list_changes(struct strands *strands, const struct joining *joining)
{
    size_t count = 0;
    for (uint32_t e = 0; e < joining->events; e++) {
        size_t from = strands->member_start[e] = count;
        for (size_t k = joining->start[e]; k < joining->start[e + 1]; k++) {
            uint32_t buffer = joining->list[k], strand = strands->of[buffer];
            int64_t size = (int64_t)joining->problem->size[buffer];
            size_t at = from;
            while (at < count && strands->members[at].strand != strand) at++;
            if (at == count) strands->members[count++] = (struct change){strand, e, 0};
            strands->members[at].bytes += joining->begin[buffer] == e ? size : -size;
        }
    }
    strands->member_start[joining->events] = count;
    memset(strands->change_start, 0, (strands->count + 2) * sizeof *strands->change_start);
    for (size_t k = 0; k < count; k++) strands->change_start[strands->members[k].strand + 2]++;
    for (size_t i = 2; i < strands->count + 2; i++) strands->change_start[i] += strands->change_start[i - 1];
    for (size_t k = 0; k < count; k++)
        strands->changes[strands->change_start[strands->members[k].strand + 1]++] = strands->members[k];
}

static bool draw_profiles(struct strands *strands, const struct joining *joining, uint64_t most_bytes,
                          struct error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < strands->count; i++) {
        strands->profile_start[i] = total;
        total += strands->last[i] - strands->first[i];
    }
    strands->profile_start[strands->count] = total;
    if (total > MOST_STRETCH || total * sizeof *strands->profile > most_bytes) {
        strands->count = 0;
        return true;
    }
    strands->profile = mem_zalloc(MEM_SEARCH, total, sizeof *strands->profile);
    if (!strands->profile) return error_memory(err, total * sizeof *strands->profile, "cuts of a placement");
    for (uint32_t i = 0; i < joining->problem->count; i++) {
        uint32_t strand = strands->of[i];
        uint64_t *profile = strands->profile + strands->profile_start[strand];
        for (uint32_t e = joining->begin[i]; e < joining->end[i]; e++)
            profile[e - strands->first[strand]] += joining->problem->size[i];
    }
    return true;
}

static bool joining_init(struct joining *joining, const struct problem *problem)
{
    size_t count = problem->count;
    joining->problem = problem;
    joining->begin = mem_alloc(MEM_SEARCH, count, sizeof *joining->begin);
    joining->end = mem_alloc(MEM_SEARCH, count, sizeof *joining->end);
    joining->start = mem_alloc(MEM_SEARCH, 2 * count + 1, sizeof *joining->start);
    joining->list = mem_alloc(MEM_SEARCH, 2 * count, sizeof *joining->list);
    joining->parent = mem_alloc(MEM_SEARCH, count, sizeof *joining->parent);
    joining->pairs = mem_alloc(MEM_SEARCH, 4 * count, sizeof *joining->pairs);
    return joining->begin && joining->end && joining->start && joining->list && joining->parent && joining->pairs;
}

static void joining_finish(struct joining *joining)
{
    mem_free(joining->begin);
    mem_free(joining->end);
    mem_free(joining->start);
    mem_free(joining->list);
    mem_free(joining->parent);
    mem_free(joining->pairs);
}

bool strands_init(struct strands *strands, const struct problem *problem, bool by_lifetime, uint64_t most_bytes,
                  struct error *err)
{
    size_t count = problem->count;
    struct joining joining = {0};
    *strands = (struct strands){0};
    strands->of = mem_alloc(MEM_SEARCH, count, sizeof *strands->of);
    strands->buffers = mem_zalloc(MEM_SEARCH, count, sizeof *strands->buffers);
    strands->first = mem_alloc(MEM_SEARCH, count, sizeof *strands->first);
    strands->last = mem_zalloc(MEM_SEARCH, count, sizeof *strands->last);
    strands->change_start = mem_alloc(MEM_SEARCH, count + 2, sizeof *strands->change_start);
    strands->changes = mem_alloc(MEM_SEARCH, 2 * count, sizeof *strands->changes);
    strands->member_start = mem_alloc(MEM_SEARCH, 2 * count + 1, sizeof *strands->member_start);
    strands->members = mem_alloc(MEM_SEARCH, 2 * count, sizeof *strands->members);
    strands->profile_start = mem_alloc(MEM_SEARCH, count + 1, sizeof *strands->profile_start);
    bool ok = strands->of && strands->buffers && strands->first && strands->last && strands->change_start &&
              strands->changes && strands->member_start && strands->members && strands->profile_start &&
              joining_init(&joining, problem);
    if (ok) {
        number_events(&joining);
        for (uint32_t i = 0; i < count; i++) joining.parent[i] = i;
        if (by_lifetime) join_lifetimes(&joining);
        join_events(&joining);
        strands->events = joining.events;
        number_strands(strands, &joining);
        list_changes(strands, &joining);
        ok = draw_profiles(strands, &joining, most_bytes, err);
    } else {
        error_memory(err, count * 200, "cuts of a placement");
    }
    joining_finish(&joining);
    if (!ok) strands_finish(strands);
    return ok;
}

void strands_finish(struct strands *strands)
{
    mem_free(strands->of);
    mem_free(strands->buffers);
    mem_free(strands->first);
    mem_free(strands->last);
    mem_free(strands->change_start);
    mem_free(strands->changes);
    mem_free(strands->member_start);
    mem_free(strands->members);
    mem_free(strands->profile_start);
    mem_free(strands->profile);
    *strands = (struct strands){0};
}
