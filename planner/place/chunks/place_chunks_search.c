#include "place_chunks_search.h"

#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place.h"
#include "place_sort.h"

#define MOST_NODES  5000000 /* of assignments: seconds */
#define MOST_CHUNKS 1024
#define CACHE_SLOTS 4096 /* sets of blocks whose placement has been tried */

/* A set of blocks, and whether and how one chunk holds it. */
struct tried {
    uint64_t set; /* 0 = free slot */
    bool fits;
    uint64_t offset[CHUNKS_MOST_BLOCKS];
};

struct search {
    struct chunks_question *question;
    const struct problem *problem; /* of the blocks: block i is a bit of a set */
    struct problem pieces;
    uint64_t *live; /* chunks x sections of the pieces */
    uint64_t *set;  /* of each chunk: its blocks */
    struct sort_pair *order;
    size_t count; /* blocks without a fixed place, in order */
    struct tried *tried;
    struct place_buffer *part;
    uint64_t *offset;
    bool stopped, unsure;
};

enum { NOT_TO_BLAME = -1 };

static size_t piece_from(const struct search *search, size_t i)
{
    return search->question->groups->block_start[search->problem->origin[i]];
}

static size_t piece_to(const struct search *search, size_t i)
{
    return search->question->groups->block_start[search->problem->origin[i] + 1];
}

static bool has_room(const struct search *search, size_t i, uint64_t chunk)
{
    const struct problem *pieces = &search->pieces;
    const uint64_t *live = search->live + chunk * pieces->sections;
    for (size_t p = piece_from(search, i); p < piece_to(search, i); p++)
        for (uint32_t s = pieces->first[p]; s < pieces->last[p]; s++)
            if (live[s] + pieces->size[p] > search->problem->chunk) return false;
    return true;
}

static void enter(struct search *search, size_t i, uint64_t chunk, bool leaves)
{
    const struct problem *pieces = &search->pieces;
    uint64_t *live = search->live + chunk * pieces->sections;
    for (size_t p = piece_from(search, i); p < piece_to(search, i); p++)
        for (uint32_t s = pieces->first[p]; s < pieces->last[p]; s++)
            live[s] = leaves ? live[s] - pieces->size[p] : live[s] + pieces->size[p];
    search->set[chunk] ^= UINT64_C(1) << i;
}

static struct tried *find_tried(struct search *search, uint64_t set)
{
    size_t at = (size_t)(set * UINT64_C(0x9E3779B97F4A7C15) >> 52) & (CACHE_SLOTS - 1);
    for (size_t step = 0; step < 8; step++, at = (at + 1) & (CACHE_SLOTS - 1))
        if (search->tried[at].set == 0 || search->tried[at].set == set) return &search->tried[at];
    search->tried[at].set = 0;
    return &search->tried[at];
}

/* One chunk's own placement, storages of several pieces as names of one. */
static size_t list_part(struct search *search, uint64_t chunk)
{
    const struct groups *groups = search->question->groups;
    size_t count = 0;
    for (size_t i = 0; i < search->problem->count; i++) {
        if (!(search->set[chunk] >> i & 1)) continue;
        for (size_t p = piece_from(search, i); p < piece_to(search, i); p++) {
            search->part[count] = groups->pieces[p];
            search->part[count++].alias = i + 1;
        }
    }
    return count;
}

static double seconds_left(const struct search *search)
{
    uint64_t now = clock_now_ns();
    return search->question->deadline_ns > now ? (double)(search->question->deadline_ns - now) * 1e-9 : 0;
}

static bool place_chunk(struct search *search, uint64_t chunk, struct tried *tried, struct error *err)
{
    struct place_options options = *search->question->options;
    struct place_result result;
    size_t count = list_part(search, chunk);
    options.capacity = search->problem->chunk;
    options.seconds = seconds_left(search);
    options.threads = 1;
    options.progress = NULL;
    TRY(place_solve(search->part, count, &options, &result, err));
    search->question->nodes += result.nodes;
    tried->set = search->set[chunk];
    tried->fits = result.arena_bytes <= search->problem->chunk;
    if (!tried->fits && result.lower_bound_bytes <= search->problem->chunk) search->unsure = true;
    for (size_t i = 0; i < count; i++) tried->offset[search->part[i].alias - 1] = search->part[i].offset;
    return true;
}

/* Whether the chunk's set has a placement, which is then written down. What is not decided within the limits counts as
 * having none. */
static bool chunk_fits(struct search *search, uint64_t chunk, bool *fits, struct error *err)
{
    struct tried *tried = find_tried(search, search->set[chunk]);
    if (tried->set == 0) TRY(place_chunk(search, chunk, tried, err));
    *fits = tried->fits;
    for (size_t i = 0; tried->fits && i < search->problem->count; i++)
        if (tried->set >> i & 1) search->offset[i] = chunk * search->problem->chunk + tried->offset[i];
    return true;
}

/* The deepest level of those in a chunk's set: changing what comes after it changes nothing. */
static int to_blame(const struct search *search, uint64_t chunk)
{
    for (int level = (int)search->count - 1; level >= 0; level--)
        if (search->set[chunk] >> search->order[level].index & 1) return level;
    return NOT_TO_BLAME;
}

/* *level: how far to go back, search->count when all chunks are placed. */
static bool place_all(struct search *search, int *level, struct error *err)
{
    bool fits = true;
    for (uint64_t c = 0; c < search->question->chunks; c++) {
        if (search->set[c] == 0) continue;
        TRY(chunk_fits(search, c, &fits, err));
        if (fits) continue;
        *level = to_blame(search, c);
        return true;
    }
    *level = (int)search->count;
    return true;
}

static bool halted(const struct search *search)
{
    const atomic_bool *stop = search->question->options->stop;
    return (stop && atomic_load_explicit(stop, memory_order_relaxed)) || search->question->nodes > MOST_NODES ||
           clock_now_ns() >= search->question->deadline_ns;
}

/* Empty chunks are all alike: only the first is tried. *back is the level that the failure is blamed on. */
static bool assign(struct search *search, int level, int *back, struct error *err)
{
    if (level == (int)search->count) return place_all(search, back, err);
    size_t i = search->order[level].index;
    bool empty = false;
    search->question->nodes++;
    for (uint64_t c = 0; c < search->question->chunks; c++) {
        if (halted(search)) search->stopped = true;
        if (search->stopped) break;
        if (search->set[c] == 0 && empty) continue;
        empty |= search->set[c] == 0;
        if (!has_room(search, i, c)) continue;
        enter(search, i, c, false);
        TRY(assign(search, level + 1, back, err));
        if (*back == (int)search->count) return true;
        enter(search, i, c, true);
        if (*back < level) return true;
    }
    *back = level - 1;
    return true;
}

static bool enter_fixed(struct search *search)
{
    const struct problem *problem = search->problem;
    for (size_t i = 0; i < problem->count; i++) {
        if (problem->fixed[i] == PLACE_UNPLACED) continue;
        uint64_t chunk = problem->fixed[i] / problem->chunk;
        if (chunk >= search->question->chunks || !has_room(search, i, chunk)) return false;
        enter(search, i, chunk, false);
    }
    return true;
}

static void sort_blocks(struct search *search)
{
    const struct problem *problem = search->problem;
    for (size_t i = 0; i < problem->count; i++) {
        double area = (double)problem->size[i] * (double)problem->size[i] * (problem->last[i] - problem->first[i]);
        if (problem->fixed[i] == PLACE_UNPLACED)
            search->order[search->count++] =
                (struct sort_pair){UINT64_MAX - (uint64_t)(area < 9e18 ? area : 9e18), (uint32_t)i};
    }
    sort_pairs(search->order, search->order + search->count, search->count);
}

static bool search_init(struct search *search, struct error *err)
{
    const struct groups *groups = search->question->groups;
    uint64_t chunks = search->question->chunks;
    TRY(problem_init(&search->pieces, groups->pieces, groups->piece_count, err));
    search->live = mem_zalloc(MEM_SEARCH, chunks * search->pieces.sections, sizeof *search->live);
    search->set = mem_zalloc(MEM_SEARCH, chunks, sizeof *search->set);
    search->order = mem_alloc(MEM_SEARCH, 2 * search->problem->count, sizeof *search->order);
    search->tried = mem_zalloc(MEM_SEARCH, CACHE_SLOTS, sizeof *search->tried);
    search->part = mem_alloc(MEM_SEARCH, groups->piece_count, sizeof *search->part);
    search->offset = mem_alloc(MEM_SEARCH, search->problem->count, sizeof *search->offset);
    bool ok = search->live && search->set && search->order && search->tried && search->part && search->offset;
    return ok || error_memory(err, chunks * search->pieces.sections * 8, "the search over chunks");
}

static void search_finish(struct search *search)
{
    problem_finish(&search->pieces);
    mem_free(search->live);
    mem_free(search->set);
    mem_free(search->order);
    mem_free(search->tried);
    mem_free(search->part);
    mem_free(search->offset);
}

static bool run(struct search *search, struct placement *best, enum chunks_verdict *verdict, struct error *err)
{
    int back = NOT_TO_BLAME;
    sort_blocks(search);
    if (enter_fixed(search)) TRY(assign(search, 0, &back, err));
    if (back == (int)search->count) {
        *verdict = CHUNKS_FOUND;
        best->arena = problem_arena(search->problem, search->offset);
        memcpy(best->offset, search->offset, search->problem->count * sizeof *best->offset);
        return true;
    }
    *verdict = search->stopped || search->unsure ? CHUNKS_STOPPED : CHUNKS_IMPOSSIBLE;
    return true;
}

bool chunks_search(struct chunks_question *question, struct placement *best, enum chunks_verdict *verdict,
                   struct error *err)
{
    struct search search = {.question = question, .problem = question->problem};
    question->nodes = 0;
    *verdict = CHUNKS_STOPPED;
    if (question->chunks > MOST_CHUNKS || question->problem->count > CHUNKS_MOST_BLOCKS) return true;
    bool ok = search_init(&search, err) && run(&search, best, verdict, err);
    search_finish(&search);
    return ok;
}
