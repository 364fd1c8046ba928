/* Packings without waste: where the live sum is the bound at every instant, or nearly, there is no choice of sizes but
 * only one of orders. Instants are the vertices of a drawing in the plane, each with the buffers that end and begin
 * there, and the drawing is found by a PQ-tree (place_pq.h) in one pass over time; it is a placement at the bound. This
 * is how a rectangle cut into squares was read as a network (Brooks, Smith, Stone, Tutte, 1940), backwards.
 *
 * Where the live sum is less than the bound, air is put in: buffers that nobody asked for. Where several ranges of
 * bytes change hands at one instant it is several vertices, and which buffers belong to which is a guess, by sums of
 * sizes and by what the tree allows (place_splits.h). When the tree can no longer be continued, earlier guesses are
 * made otherwise (place_draw.c). */
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place_draw.h"
#include "place_perfect.h"
#include "place_stack.h"

#define AIR_DIVISOR   8     /* of the arena over time, at most, may be air */
#define AIR_LOOKS     200   /* at air that may end, for each buffer, at most: more is another kind of problem, too */
#define MOST_DENSITY  6     /* buffers for each section, at most: else too many change hands at once */
#define COPIES_SHARE  16    /* trees to go back to take so much of the memory of a search, its inverse, */
#define CHOICES_SHARE 16    /* and guesses themselves */
#define FIRST_WORK    50000 /* of a drawing (place_draw.h) */
#define WORK_EACH     1000  /* more for each buffer */
#define WORK_OF_FEW   250
#define FULL_WORK     100000 /* buffers: beyond so many, less for each further one */
#define WORK_BEYOND   250
#define NOISE         3.0 /* of later attempts, in the keys of guesses */
#define PLAIN         2   /* attempts without chance */
#define MOST_ATTEMPTS 16
#define LOOSE_BUFFERS 4000 /* from here on drawn loosely where not exactly: no exact search comes near */
#define FEW_BUFFERS   1000 /* below it two short attempts, since an exact search comes next */

struct perfect {
    const struct problem *problem;
    uint64_t capacity, seed, deadline_ns;
    bool backwards;   /* in time */
    size_t count;     /* buffers and air that is there at certain times */
    uint64_t looks;   /* at air */
    bool unsuited[2]; /* forwards and backwards: too much air */
    uint32_t *first, *last;
    uint64_t *size;
    uint32_t *end_start, *start_start; /* by section, and one past the last: positions in items[] */
    struct drawing drawing;
    uint64_t *offset;
};

/* ---- Time and air ---- */

static uint32_t mirror(const struct perfect *perfect, uint32_t section)
{
    return perfect->backwards ? perfect->problem->sections - section : section;
}

static bool add_air(struct perfect *perfect, uint32_t from, uint64_t size, size_t most)
{
    if (perfect->count == most) return false;
    perfect->first[perfect->count] = from;
    perfect->last[perfect->count] = perfect->problem->sections;
    perfect->size[perfect->count++] = size;
    return true;
}

/* Ends so much air: one of that size, or the latest ones, of which the last is cut. */
static bool end_air(struct perfect *perfect, uint32_t at, uint64_t size, size_t most)
{
    uint32_t sections = perfect->problem->sections;
    perfect->looks += perfect->count - perfect->problem->count;
    if (perfect->looks > AIR_LOOKS * perfect->problem->count) return false;
    for (size_t i = perfect->count; i-- > perfect->problem->count;)
        if (perfect->size[i] == size && perfect->last[i] == sections && perfect->first[i] < at) {
            perfect->last[i] = at;
            return true;
        }
    for (size_t i = perfect->count; size > 0 && i-- > perfect->problem->count;) {
        if (perfect->last[i] != sections || perfect->first[i] >= at) continue;
        perfect->last[i] = at;
        uint64_t whole = perfect->size[i];
        if (whole > size && !add_air(perfect, at, whole - size, most)) return false;
        size -= whole < size ? whole : size;
    }
    return true;
}

/* False where there would be too much of it. */
static bool fill_with_air(struct perfect *perfect, size_t most)
{
    const struct problem *problem = perfect->problem;
    uint64_t before = 0;
    perfect->looks = 0;
    for (uint32_t s = 0; s < problem->sections; s++) {
        uint32_t at = perfect->backwards ? problem->sections - 1 - s : s;
        uint64_t slack = perfect->capacity - problem->live[at];
        if (slack > before && !add_air(perfect, s, slack - before, most)) return false;
        if (slack < before && !end_air(perfect, s, before - slack, most)) return false;
        before = slack;
    }
    return true;
}

/* Who ends and who begins at each section's beginning, by counting, into items[]. */
static void list_by_section(struct perfect *perfect)
{
    uint32_t sections = perfect->problem->sections, *starts = perfect->start_start, *ends = perfect->end_start;
    memset(starts, 0, (sections + 3) * sizeof *starts);
    memset(ends, 0, (sections + 3) * sizeof *ends);
    for (size_t i = 0; i < perfect->count; i++) {
        starts[perfect->first[i] + 2]++;
        ends[perfect->last[i] + 2]++;
    }
    ends[0] = ends[1] = (uint32_t)perfect->count;
    for (uint32_t s = 2; s <= sections + 2; s++) {
        starts[s] += starts[s - 1];
        ends[s] += ends[s - 1];
    }
    for (uint32_t i = 0; i < perfect->count; i++) {
        perfect->drawing.splits.items[starts[perfect->first[i] + 1]++] = i;
        perfect->drawing.splits.items[ends[perfect->last[i] + 1]++] = i;
    }
    perfect->drawing.splits.item_count = 2 * perfect->count;
}

static bool set_up(struct perfect *perfect, size_t most)
{
    const struct problem *problem = perfect->problem;
    perfect->count = problem->count;
    for (size_t i = 0; i < problem->count; i++) {
        perfect->first[i] = mirror(perfect, perfect->backwards ? problem->last[i] : problem->first[i]);
        perfect->last[i] = mirror(perfect, perfect->backwards ? problem->first[i] : problem->last[i]);
        perfect->size[i] = problem->size[i];
    }
    if (!fill_with_air(perfect, most)) return false;
    list_by_section(perfect);
    return true;
}

/* ---- The drawing ---- */

/* What goes on loosely in a hurry may have all the time. */
static bool is_over(const void *context)
{
    const struct perfect *perfect = context;
    if (!perfect->drawing.hurried && perfect->deadline_ns > 0 && clock_now_ns() >= perfect->deadline_ns) return true;
    return problem_halted(perfect->problem);
}

/* Backwards in time: what begins at a vertex has its place, and what ends there lies in the same range. */
static void read_offsets(struct perfect *perfect)
{
    const struct pq *pq = &perfect->drawing.pq;
    for (size_t v = pq->vertex_count; v-- > 0;) {
        const struct pq_vertex *vertex = &pq->vertices[v];
        uint64_t at = v + 1 < pq->vertex_count ? UINT64_MAX : 0;
        for (uint32_t i = 0; at > 0 && i < perfect->drawing.drawn[v].start_count; i++) {
            uint64_t offset = perfect->offset[perfect->drawing.splits.items[perfect->drawing.drawn[v].starts + i]];
            if (offset < at) at = offset;
        }
        for (uint32_t i = 0; i < vertex->count; i++) {
            uint32_t item = pq->ended[vertex->start + (vertex->turned ? vertex->count - 1 - i : i)];
            perfect->offset[item] = at;
            at += perfect->size[item];
        }
    }
}

/* The most buffers at once, air included. */
static size_t most_live(const struct perfect *perfect)
{
    const uint32_t *starts = perfect->start_start, *ends = perfect->end_start;
    size_t live = 0, most = 0;
    for (uint32_t s = 0; s < perfect->problem->sections; s++) {
        live += starts[s + 1] - starts[s];
        live -= ends[s + 1] - ends[s];
        if (live > most) most = live;
    }
    return most;
}

/* The placement of a drawing, where it is better. */
static bool keep(struct perfect *perfect, struct placement *best, struct error *err)
{
    const struct problem *problem = perfect->problem;
    if (perfect->drawing.loose.lost_count == 0)
        read_offsets(perfect);
    else
        TRY(stack_items(&perfect->drawing, problem->count, perfect->size, perfect->offset, err));
    uint64_t arena = problem_arena(problem, perfect->offset);
    if (arena >= best->arena) return true;
    best->arena = arena;
    memcpy(best->offset, perfect->offset, problem->count * sizeof *best->offset);
    return true;
}

/* One drawing, by its number: forwards or backwards, later on with chance in its guesses and more and more patience. */
static bool attempt(struct perfect *perfect, uint32_t number, size_t most, struct placement *best, struct error *err)
{
    bool drawn = false;
    perfect->backwards = number % 2 == 1;
    perfect->drawing.splits.noise = number < PLAIN ? 0 : NOISE;
    perfect->drawing.splits.seed = perfect->seed + number;
    if (perfect->unsuited[perfect->backwards]) return true;
    perfect->unsuited[perfect->backwards] = !set_up(perfect, most);
    if (perfect->unsuited[perfect->backwards]) return true;
    TRY(pq_init(&perfect->drawing.pq, perfect->count, perfect->count + 1, most_live(perfect), err));
    perfect->drawing.count = perfect->count;
    bool ok = draw_all(&perfect->drawing, &drawn, err);
    if (ok && drawn) ok = keep(perfect, best, err);
    perfect->drawing.hurried = false;
    draw_finish(&perfect->drawing);
    pq_finish(&perfect->drawing.pq);
    return ok;
}

/* ---- All of it ---- */

/* Buffers and pieces of air, at most. */
static size_t most_items(const struct problem *problem) { return problem->count + problem->count / 4 + 16; }

/* Little air in few pieces, and few at each instant: else it is another kind of problem. */
static bool suits(const struct problem *problem, uint64_t capacity)
{
    size_t pieces = 0;
    double air = 0;
    if (problem->any_fixed || problem->mixed_align || problem->chunk > 0 || problem->sections < 2) return false;
    if (problem->count > MOST_DENSITY * (uint64_t)problem->sections) return false;
    for (uint32_t s = 0; s < problem->sections; s++) {
        air += (double)(capacity - problem->live[s]);
        pieces += s == 0 ? problem->live[s] < capacity : problem->live[s] < problem->live[s - 1];
    }
    if (pieces > most_items(problem) - problem->count) return false;
    return air * AIR_DIVISOR <= (double)capacity * problem->sections;
}

static uint64_t common_unit(const struct problem *problem)
{
    uint64_t unit = problem->bound;
    for (size_t i = 0; unit > 1 && i < problem->count; i++) unit = common_divisor(problem->size[i], unit);
    return unit;
}

static bool reserve(struct perfect *perfect, size_t most, struct error *err)
{
    uint32_t sections = perfect->problem->sections;
    perfect->first = mem_alloc(MEM_SEARCH, most, sizeof *perfect->first);
    perfect->last = mem_alloc(MEM_SEARCH, most, sizeof *perfect->last);
    perfect->size = mem_alloc(MEM_SEARCH, most, sizeof *perfect->size);
    perfect->end_start = mem_alloc(MEM_SEARCH, sections + 3, sizeof *perfect->end_start);
    perfect->start_start = mem_alloc(MEM_SEARCH, sections + 3, sizeof *perfect->start_start);
    perfect->drawing.drawn = mem_alloc(MEM_SEARCH, most + 1, sizeof *perfect->drawing.drawn);
    perfect->drawing.touched = mem_alloc(MEM_SEARCH, most, sizeof *perfect->drawing.touched);
    perfect->offset = mem_alloc(MEM_SEARCH, most, sizeof *perfect->offset);
    perfect->drawing.splits.block = mem_alloc(MEM_SEARCH, most, sizeof *perfect->drawing.splits.block);
    perfect->drawing.splits.item_capacity = 2 * most;
    perfect->drawing.splits.items = mem_alloc(MEM_SEARCH, 2 * most, sizeof *perfect->drawing.splits.items);
    bool ok = perfect->first && perfect->last && perfect->size && perfect->end_start && perfect->start_start &&
              perfect->drawing.drawn && perfect->drawing.touched && perfect->offset && perfect->drawing.splits.block &&
              perfect->drawing.splits.items;
    return ok || error_memory(err, most * 88 + sections * (uint64_t)8, "a packing without waste");
}

static void finish(struct perfect *perfect)
{
    mem_free(perfect->first);
    mem_free(perfect->last);
    mem_free(perfect->size);
    mem_free(perfect->end_start);
    mem_free(perfect->start_start);
    mem_free(perfect->drawing.drawn);
    mem_free(perfect->drawing.touched);
    mem_free(perfect->offset);
    splits_finish(&perfect->drawing.splits);
    mem_free(perfect);
}

static void prepare(struct perfect *perfect, const struct place_options *options)
{
    const struct problem *problem = perfect->problem;
    struct drawing *drawing = &perfect->drawing;
    uint64_t memory = options->memory_bytes > 0 ? options->memory_bytes : PLACE_MEMORY_BYTES;
    uint64_t now = clock_now_ns(), end = problem->deadline_ns;
    perfect->deadline_ns = end > now ? now + (end - now) / 2 : end;
    drawing->most_copies_bytes = memory / COPIES_SHARE;
    drawing->most_choices_bytes = memory / CHOICES_SHARE;
    drawing->splits.pq = &drawing->pq;
    drawing->splits.unit = common_unit(problem);
    drawing->splits.size = perfect->size;
    drawing->may_loosen = problem->count >= LOOSE_BUFFERS;
    drawing->sections = problem->sections;
    drawing->end_start = perfect->end_start;
    drawing->start_start = perfect->start_start;
    drawing->limits = (struct loose_limits){is_over, perfect};
}

bool perfect_improve(const struct problem *problem, const struct place_options *options, struct placement *best,
                     struct error *err)
{
    if (!suits(problem, problem->bound)) return true;
    size_t most = most_items(problem);
    struct perfect *perfect = mem_zalloc(MEM_SEARCH, 1, sizeof *perfect);
    if (!perfect) return error_memory(err, sizeof *perfect, "a packing without waste");
    perfect->problem = problem;
    perfect->capacity = problem->bound;
    perfect->seed = options->seed;
    bool ok = reserve(perfect, most, err), few = problem->count < FEW_BUFFERS;
    if (ok) prepare(perfect, options);
    bool brief = few || problem->deadline_ns == 0;
    uint64_t work = FIRST_WORK + (few ? WORK_OF_FEW : WORK_EACH) * (uint64_t)problem->count;
    if (problem->count > FULL_WORK) work -= (WORK_EACH - WORK_BEYOND) * (uint64_t)(problem->count - FULL_WORK);
    for (uint32_t i = 0; ok && i < (brief ? PLAIN : MOST_ATTEMPTS); i++) {
        if (best->arena == problem->bound || is_over(perfect)) break;
        perfect->drawing.share = brief ? work : work * (2 + i);
        ok = attempt(perfect, i, most, best, err);
    }
    finish(perfect);
    return ok;
}
