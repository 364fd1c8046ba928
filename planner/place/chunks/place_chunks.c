#include "place_chunks.h"

#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place.h"
#include "place_chunks_search.h"
#include "place_fast.h"
#include "place_sort.h"

#define THRESHOLDS    8          /* of L2, from 0 to half a chunk */
#define MOST_WORK     1000000000 /* section updates of one filling: about a second */
#define PASS_WORK     100000000  /* the same where no time is given */
#define HURRIED_STEPS 1000       /* of first fit for each of very many buffers where no time is given */
#define LOOK_EVERY    64         /* buffers between two looks at the clock */

/* What lives in one section, by Martello and Toth's classes for a threshold. */
struct load {
    uint64_t alone;        /* above chunk - threshold: nothing that counts fits beside */
    uint64_t large;        /* above half a chunk: no two share one */
    uint64_t large_bytes;  /* of those */
    uint64_t medium_bytes; /* from the threshold to half a chunk */
};

static void load_add(struct load *load, uint64_t size, uint64_t chunk, uint64_t threshold, bool leaves)
{
    uint64_t sign = leaves ? UINT64_MAX : 1; /* unsigned arithmetic wraps: this subtracts */
    if (size > chunk - threshold) {
        load->alone += sign;
    } else if (size > chunk / 2) {
        load->large += sign;
        load->large_bytes += sign * size;
    } else if (size >= threshold) {
        load->medium_bytes += sign * size;
    }
}

static uint64_t load_chunks(const struct load *load, uint64_t chunk)
{
    uint64_t room = load->large * chunk - load->large_bytes;
    uint64_t over = load->medium_bytes > room ? load->medium_bytes - room : 0;
    return load->alone + load->large + over / chunk + (over % chunk != 0);
}

/* Both bounds of the number of chunks; live sums with threshold 0 are the plain one. */
static bool bound_chunks(const struct problem *problem, uint64_t *least, struct error *err)
{
    struct load *change = mem_alloc(MEM_SEARCH, (size_t)problem->sections + 1, sizeof *change);
    if (!change) return error_memory(err, problem->sections * sizeof *change, "the bound on chunks");
    for (uint64_t step = 0; step <= THRESHOLDS; step++) {
        uint64_t threshold = problem->chunk / 2 / THRESHOLDS * step;
        memset(change, 0, ((size_t)problem->sections + 1) * sizeof *change);
        for (size_t i = 0; i < problem->count; i++) {
            load_add(&change[problem->first[i]], problem->size[i], problem->chunk, threshold, false);
            load_add(&change[problem->last[i]], problem->size[i], problem->chunk, threshold, true);
        }
        struct load load = {0};
        for (uint32_t s = 0; s < problem->sections; s++) {
            load.alone += change[s].alone;
            load.large += change[s].large;
            load.large_bytes += change[s].large_bytes;
            load.medium_bytes += change[s].medium_bytes;
            uint64_t chunks = load_chunks(&load, problem->chunk);
            if (chunks > *least) *least = chunks;
        }
    }
    mem_free(change);
    return true;
}

/* Translates fixed offsets into addresses over all chunks laid end to end; chunk is of each storage. */
static void fix_chunks(struct problem *problem, const struct groups *groups, const uint64_t *chunk, uint64_t *least)
{
    for (size_t i = 0; i < problem->count; i++) {
        uint64_t held = chunk[groups->block_storage[problem->origin[i]]];
        if (problem->fixed[i] == PLACE_UNPLACED) continue;
        problem->fixed[i] += held * problem->chunk;
        if (held + 1 > *least) *least = held + 1;
    }
}

/* Chunks being filled up to their live sums, and the search for offsets in each. */
struct filling {
    const struct problem *problem;
    uint64_t chunks;
    uint64_t *live;  /* chunks x sections */
    uint32_t *chunk; /* of each buffer */
    struct sort_pair *order;
    struct place_buffer *part; /* the buffers of one chunk, and where each is in the problem */
    uint32_t *index;
    uint64_t *offset; /* addresses, of each buffer */
};

static bool filling_init(struct filling *filling, const struct problem *problem, uint64_t chunks, struct error *err)
{
    size_t count = problem->count;
    *filling = (struct filling){.problem = problem, .chunks = chunks};
    filling->live = mem_alloc(MEM_SEARCH, (size_t)chunks * problem->sections, sizeof *filling->live);
    filling->chunk = mem_alloc(MEM_SEARCH, count, sizeof *filling->chunk);
    filling->order = mem_alloc(MEM_SEARCH, 2 * count, sizeof *filling->order);
    filling->part = mem_alloc(MEM_SEARCH, count, sizeof *filling->part);
    filling->index = mem_alloc(MEM_SEARCH, count, sizeof *filling->index);
    filling->offset = mem_alloc(MEM_SEARCH, count, sizeof *filling->offset);
    bool ok = filling->live && filling->chunk && filling->order && filling->part && filling->index && filling->offset;
    return ok || error_memory(err, (size_t)chunks * problem->sections * 8, "filling chunks");
}

static void filling_finish(struct filling *filling)
{
    mem_free(filling->live);
    mem_free(filling->chunk);
    mem_free(filling->order);
    mem_free(filling->part);
    mem_free(filling->index);
    mem_free(filling->offset);
}

/* The first chunk in which the live sum leaves room over the buffer's whole life, or filling->chunks. */
static uint64_t find_chunk(const struct filling *filling, size_t buffer)
{
    const struct problem *problem = filling->problem;
    uint64_t room = problem->chunk - problem->size[buffer];
    for (uint64_t c = 0; c < filling->chunks; c++) {
        const uint64_t *live = filling->live + c * problem->sections;
        uint32_t s = problem->first[buffer];
        while (s < problem->last[buffer] && live[s] <= room) s++;
        if (s == problem->last[buffer]) return c;
    }
    return filling->chunks;
}

static void enter_chunk(struct filling *filling, size_t buffer, uint64_t chunk)
{
    const struct problem *problem = filling->problem;
    uint64_t *live = filling->live + chunk * problem->sections;
    for (uint32_t s = problem->first[buffer]; s < problem->last[buffer]; s++) live[s] += problem->size[buffer];
    filling->chunk[buffer] = (uint32_t)chunk;
}

/* Largest first by area (by_area) or by size; false when a buffer finds no chunk, or there is no time left. */
static bool fill_chunks(struct filling *filling, bool by_area)
{
    const struct problem *problem = filling->problem;
    memset(filling->live, 0, filling->chunks * problem->sections * sizeof *filling->live);
    for (size_t i = 0; i < problem->count; i++) {
        uint64_t length = by_area ? problem->last[i] - problem->first[i] : 1, key;
        if (__builtin_mul_overflow(problem->size[i], length, &key)) key = UINT64_MAX;
        filling->order[i] = (struct sort_pair){~key, (uint32_t)i};
        if (problem->fixed[i] == PLACE_UNPLACED) continue;
        if (problem->fixed[i] / problem->chunk >= filling->chunks) return false;
        enter_chunk(filling, i, problem->fixed[i] / problem->chunk);
    }
    sort_pairs(filling->order, filling->order + problem->count, problem->count);
    for (size_t i = 0; i < problem->count; i++) {
        size_t buffer = filling->order[i].index;
        if (i % LOOK_EVERY == 0 && problem_halted(problem)) return false;
        if (problem->fixed[buffer] != PLACE_UNPLACED) continue;
        uint64_t chunk = find_chunk(filling, buffer);
        if (chunk == filling->chunks) return false;
        enter_chunk(filling, buffer, chunk);
    }
    return true;
}

/* Searches one chunk's own placement; *fits says whether it came out within the chunk. */
static bool solve_chunk(struct filling *filling, uint64_t chunk, const struct place_options *options, bool *fits,
                        struct error *err)
{
    const struct problem *problem = filling->problem;
    uint64_t base = chunk * problem->chunk;
    size_t count = 0;
    for (size_t i = 0; i < problem->count; i++) {
        if (filling->chunk[i] != chunk) continue;
        uint64_t fixed = problem->fixed[i];
        filling->part[count] = (struct place_buffer){.lower = problem->first[i],
                                                     .upper = problem->last[i],
                                                     .size = problem->size[i],
                                                     .align = problem->align[i],
                                                     .fixed = fixed == PLACE_UNPLACED ? fixed : fixed - base};
        filling->index[count++] = (uint32_t)i;
    }
    struct place_result result;
    TRY(place_solve(filling->part, count, options, &result, err));
    for (size_t i = 0; i < count; i++) filling->offset[filling->index[i]] = base + filling->part[i].offset;
    *fits = result.arena_bytes <= problem->chunk;
    return true;
}

/* Seconds until a time on clock_now_ns. */
static double seconds_until(uint64_t deadline_ns)
{
    uint64_t now = clock_now_ns();
    return deadline_ns > now ? (double)(deadline_ns - now) * 1e-9 : 0;
}

/* Until a deadline; 0 = one pass for each chunk. */
static bool solve_chunks(struct filling *filling, uint64_t deadline_ns, const struct place_options *options, bool *fits,
                         struct error *err)
{
    struct place_options each = *options;
    each.capacity = filling->problem->chunk;
    each.progress = NULL;
    *fits = true;
    for (uint64_t c = 0; *fits && c < filling->chunks; c++) {
        each.seconds = deadline_ns > 0 ? seconds_until(deadline_ns) : 0;
        if (deadline_ns > 0 && each.seconds <= 0) *fits = false;
        if (*fits) TRY(solve_chunk(filling, c, &each, fits, err));
    }
    return true;
}

static uint64_t chunks_of(const struct problem *problem, const struct placement *best)
{
    return best->arena / problem->chunk + (best->arena % problem->chunk != 0);
}

/* Tries `chunks` of them in both orders, the first with half of the time that is left. */
static bool fill_improve(const struct problem *problem, uint64_t chunks, const struct place_options *options,
                         struct placement *best, struct error *err)
{
    struct filling filling;
    bool ok = filling_init(&filling, problem, chunks, err);
    for (int by_area = 0; ok && by_area < 2 && chunks_of(problem, best) > chunks; by_area++) {
        bool fits = false;
        uint64_t deadline_ns = problem->deadline_ns, now = clock_now_ns();
        if (!by_area && deadline_ns > now) deadline_ns = now + (deadline_ns - now) / 2;
        if (!fill_chunks(&filling, by_area)) continue;
        ok = solve_chunks(&filling, deadline_ns, options, &fits, err);
        if (!ok || !fits) continue;
        memcpy(best->offset, filling.offset, problem->count * sizeof *best->offset);
        best->arena = problem_arena(problem, best->offset);
    }
    filling_finish(&filling);
    return ok;
}

/* Of very many buffers one pass over all of them is what no time is enough for. */
static bool is_hurried(const struct problem *problem)
{
    return problem->deadline_ns == 0 && problem->count >= MANY_BUFFERS;
}

/* Whether filling so many chunks takes little enough time: each is a pass of its own. */
static bool may_fill(const struct problem *problem, uint64_t chunks)
{
    if (is_hurried(problem)) return false;
    uint64_t length = 0, most = problem->deadline_ns > 0 ? MOST_WORK : PASS_WORK;
    for (size_t i = 0; i < problem->count; i++) length += problem->last[i] - problem->first[i];
    return length < most / chunks && chunks < PLACE_MEMORY_BYTES / sizeof(uint64_t) / problem->sections;
}

static bool place_problem(const struct problem *problem, uint64_t enough, const struct place_options *options,
                          uint64_t least, struct placement *best, struct error *err)
{
    struct squeeze_limits limits = {.steps = problem_pass_steps(problem), .options = options};
    if (is_hurried(problem)) limits.steps = HURRIED_STEPS * (uint64_t)problem->count;
    uint64_t wanted = enough > least ? enough : least;
    if (!problem->any_fixed)
        TRY(sweep_improve(problem, is_hurried(problem) ? SWEEP_FIRST : SWEEP_ALL, least * problem->chunk, best, err));
    if (chunks_of(problem, best) <= least || (best->arena < UINT64_MAX && problem_halted(problem))) return true;
    TRY(squeeze_improve(problem, least * problem->chunk, &limits, best, err));
    if (chunks_of(problem, best) <= wanted || enough < least || problem_halted(problem)) return true;
    return !may_fill(problem, wanted) || fill_improve(problem, wanted, options, best, err);
}

/* What is solved: storages as their hulls, and beside them the pieces that bound them. */
struct chunking {
    struct groups groups;
    struct problem problem; /* of the blocks */
    uint64_t *chunk;        /* of each storage: required, or PLACE_UNPLACED */
    struct placement best;
    uint64_t enough, deadline_ns;
    const struct place_options *options;
    struct place_chunks_result found;
};

/* A storage's chunk is that of any of its names: they share one place. */
static bool merge_chunks(struct chunking *chunking, const struct place_buffer *buffers, const uint64_t *chunk,
                         size_t count, uint64_t chunk_bytes, struct error *err)
{
    uint64_t most = UINT64_MAX / 8 / chunk_bytes;
    chunking->chunk = mem_alloc(MEM_SEARCH, chunking->groups.count, sizeof *chunking->chunk);
    if (!chunking->chunk) return error_memory(err, chunking->groups.count * sizeof *chunk, "the chunks");
    for (size_t s = 0; s < chunking->groups.count; s++) chunking->chunk[s] = PLACE_UNPLACED;
    for (size_t i = 0; i < count; i++) {
        uint64_t *held = &chunking->chunk[chunking->groups.storage[i]];
        if ((buffers[i].fixed == PLACE_UNPLACED) != (chunk[i] == PLACE_UNPLACED))
            return error_set(err, ERROR_INPUT,
                             "buffer %zu: a fixed offset and its chunk go together, one of them is missing", i);
        if (buffers[i].fixed == PLACE_UNPLACED || chunk[i] == PLACE_UNPLACED) continue;
        if (chunk[i] >= most)
            return error_set(err, ERROR_INPUT, "buffer %zu: chunk %" PRIu64 "; the most is %" PRIu64, i, chunk[i],
                             most - 1);
        if (*held != PLACE_UNPLACED && *held != chunk[i])
            return error_set(err, ERROR_INPUT,
                             "buffer %zu: fixed in chunk %" PRIu64 " where another of alias group %" PRIu64
                             " is fixed in chunk %" PRIu64,
                             i, chunk[i], buffers[i].alias, *held);
        *held = chunk[i];
    }
    return true;
}

static bool check_sizes(const struct chunking *chunking, const struct place_buffer *buffers, size_t count,
                        uint64_t chunk_bytes, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct place_buffer *hull = &chunking->groups.hulls[chunking->groups.storage[i]];
        uint64_t bytes = buffers[i].size > 0 ? align_up(buffers[i].size, hull->align) : 0;
        if (bytes > chunk_bytes)
            return error_set(err, ERROR_INPUT, "buffer %zu: %" PRIu64 " bytes; a chunk has %" PRIu64, i, bytes,
                             chunk_bytes);
        if (bytes > 0 && hull->fixed != PLACE_UNPLACED && hull->fixed > chunk_bytes - bytes)
            return error_set(err, ERROR_INPUT,
                             "buffer %zu: %" PRIu64 " bytes fixed at %" PRIu64 " end above its chunk of %" PRIu64, i,
                             bytes, hull->fixed, chunk_bytes);
    }
    return true;
}

/* Hulls promise too little where storages have steps: the bound is that of their pieces. */
static bool bound_pieces(struct chunking *chunking, struct error *err)
{
    struct problem pieces;
    struct place_chunks_result *found = &chunking->found;
    TRY(problem_init(&pieces, chunking->groups.pieces, chunking->groups.piece_count, err));
    pieces.chunk = chunking->problem.chunk;
    bool ok = bound_chunks(&pieces, &found->least_chunks, err);
    found->lower_bound_bytes = pieces.live[pieces.peak];
    found->peak_instant = pieces.instant[pieces.peak];
    problem_finish(&pieces);
    return ok;
}

static bool improve_exactly(struct chunking *chunking, uint64_t chunks, enum chunks_verdict *verdict, struct error *err)
{
    struct chunks_question question = {.problem = &chunking->problem,
                                       .groups = &chunking->groups,
                                       .chunks = chunks,
                                       .options = chunking->options,
                                       .deadline_ns = chunking->deadline_ns};
    TRY(chunks_search(&question, &chunking->best, verdict, err));
    chunking->found.nodes += question.nodes;
    return true;
}

/* First whether the number asked for is enough, then how few would be: what is impossible raises the bound. */
static bool search_chunks(struct chunking *chunking, struct error *err)
{
    struct place_chunks_result *found = &chunking->found;
    enum chunks_verdict verdict = CHUNKS_IMPOSSIBLE;
    if (chunking->options->seconds <= 0 || chunking->problem.count > CHUNKS_MOST_BLOCKS) return true;
    if (chunks_of(&chunking->problem, &chunking->best) > chunking->enough && found->least_chunks <= chunking->enough) {
        TRY(improve_exactly(chunking, chunking->enough, &verdict, err));
        if (verdict == CHUNKS_IMPOSSIBLE) found->least_chunks = chunking->enough + 1;
    }
    while (verdict == CHUNKS_IMPOSSIBLE && found->least_chunks < chunks_of(&chunking->problem, &chunking->best)) {
        TRY(improve_exactly(chunking, found->least_chunks, &verdict, err));
        if (verdict == CHUNKS_IMPOSSIBLE) found->least_chunks++;
    }
    return true;
}

static bool solve(struct chunking *chunking, struct error *err)
{
    struct problem *problem = &chunking->problem;
    struct placement *best = &chunking->best;
    if (problem->count == 0) return true;
    fix_chunks(problem, &chunking->groups, chunking->chunk, &chunking->found.least_chunks);
    TRY(bound_pieces(chunking, err));
    best->arena = UINT64_MAX;
    best->offset = mem_alloc(MEM_SEARCH, problem->count, sizeof *best->offset);
    if (!best->offset) return error_memory(err, problem->count * sizeof *best->offset, "offsets");
    TRY(place_problem(problem, chunking->enough, chunking->options, chunking->found.least_chunks, best, err));
    TRY(search_chunks(chunking, err));
    chunking->found.chunks = chunks_of(problem, best);
    return true;
}

static void write_chunks(struct chunking *chunking, struct place_buffer *buffers, uint64_t *chunk, size_t count)
{
    const struct problem *problem = &chunking->problem;
    struct place_buffer *hulls = chunking->groups.hulls;
    for (size_t s = 0; s < chunking->groups.count; s++)
        if (chunking->chunk[s] == PLACE_UNPLACED) chunking->chunk[s] = 0; /* an empty one may be anywhere */
    for (size_t i = 0; i < problem->count; i++) {
        uint32_t storage = chunking->groups.block_storage[problem->origin[i]];
        hulls[storage].offset = chunking->best.offset[i] % problem->chunk;
        chunking->chunk[storage] = chunking->best.offset[i] / problem->chunk;
    }
    groups_write(&chunking->groups, buffers, count);
    for (size_t i = 0; i < count; i++) chunk[i] = chunking->chunk[chunking->groups.storage[i]];
}

static bool chunking_init(struct chunking *chunking, const struct place_buffer *buffers, const uint64_t *chunk,
                          size_t count, uint64_t chunk_bytes, struct error *err)
{
    uint64_t most = UINT64_MAX / 8 / ((uint64_t)count + 1); /* a chunk for each buffer is still addressable */
    if (chunk_bytes == 0 || chunk_bytes > most)
        return error_set(err, ERROR_INPUT, "chunks of %" PRIu64 " bytes; 1 to %" PRIu64 " are possible here",
                         chunk_bytes, most);
    TRY(groups_init(&chunking->groups, buffers, count, err));
    TRY(merge_chunks(chunking, buffers, chunk, count, chunk_bytes, err));
    TRY(check_sizes(chunking, buffers, count, chunk_bytes, err));
    TRY(groups_check_fixed(&chunking->groups, buffers, count, chunking->chunk, chunk_bytes, err));
    TRY(problem_init(&chunking->problem, chunking->groups.blocks, chunking->groups.block_count, err));
    chunking->problem.chunk = chunk_bytes;
    return true;
}

static void chunking_finish(struct chunking *chunking)
{
    groups_finish(&chunking->groups);
    problem_finish(&chunking->problem);
    mem_free(chunking->chunk);
    mem_free(chunking->best.offset);
}

bool place_chunks_solve(struct place_buffer *buffers, uint64_t *chunk, size_t count, uint64_t chunk_bytes,
                        uint64_t enough, const struct place_options *options, struct place_chunks_result *result,
                        struct error *err)
{
    uint64_t start = clock_now_ns();
    double seconds = options->seconds < 1e9 ? options->seconds : 1e9;
    struct chunking chunking = {.enough = enough, .options = options, .deadline_ns = start + (uint64_t)(seconds * 1e9)};
    bool ok = chunking_init(&chunking, buffers, chunk, count, chunk_bytes, err);
    chunking.problem.quit = options->stop;
    if (seconds > 0) chunking.problem.deadline_ns = chunking.deadline_ns;
    ok = ok && solve(&chunking, err);
    if (ok) {
        write_chunks(&chunking, buffers, chunk, count);
        chunking.found.proved_least = chunking.found.chunks == chunking.found.least_chunks;
        chunking.found.seconds = (double)(clock_now_ns() - start) * 1e-9;
        *result = chunking.found;
    }
    chunking_finish(&chunking);
    return ok;
}
