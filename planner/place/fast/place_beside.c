/* Placing in time order, each buffer beside one that ends at about the same time: what ends together leaves one large
 * hole and not many small ones. As in a sweep (place_sweep.c) the fullest section is a stack, from which one goes to
 * the right and one to the left.
 *
 * There is no list of holes: live buffers are linked by rising address, and a hole is the room between two of them. For
 * each size of holes, by powers of two, a set holds who ends beside one, in the order of ends, so that a buffer looks
 * at the few holes of each size whose neighbours end next before and after itself. */
#include <string.h>

#include "mem.h"
#include "place_bits.h"
#include "place_fast.h"
#include "place_sort.h"

#define NOBODY     UINT32_MAX
#define CLASSES    64 /* of room, by powers of two */
#define LOOKS      6  /* at holes of one class, before and after in the order of ends */
#define LOOK_EVERY 1024

/* Of a buffer, together for the sake of caches. */
struct neighbour {
    uint64_t offset, end;  /* bytes */
    uint32_t below, above; /* while it lives: the next one by address, or NOBODY */
    uint32_t rank;         /* its position in ends[] */
};

struct beside {
    const struct problem *problem;
    bool leftwards;
    float weight;                              /* of ends that differ, against room that is left over */
    struct sort_pair *starts, *ends, *scratch; /* who begins after the peak, the longest first, and who ends after it */
    size_t start_count, end_count;
    struct neighbour *of;       /* of each buffer, and of the floor, which is one more */
    uint32_t top;               /* the highest live buffer */
    struct bits sides[CLASSES]; /* 2 * rank: a hole above that buffer; 2 * rank + 1: below it */
    size_t classes;
    struct sort_pair *peak; /* the buffers of the fullest section, the longest first */
    size_t peak_count;
};

static uint32_t floor_of(const struct beside *beside) { return (uint32_t)beside->problem->count; }

static void put(struct beside *beside, uint32_t buffer, uint64_t offset)
{
    beside->of[buffer].offset = offset;
    beside->of[buffer].end = offset + beside->problem->size[buffer];
}

/* ---- Holes ---- */

static size_t class_of(uint64_t room) { return 63 - (size_t)__builtin_clzll(room); }

/* Notes the hole between two neighbours, or that it is no more. */
static void note_hole(struct beside *beside, uint32_t low, uint32_t high, bool there)
{
    if (high == NOBODY) return;
    uint64_t room = beside->of[high].offset - beside->of[low].end;
    if (room == 0) return;
    struct bits *sides = &beside->sides[class_of(room)];
    void (*change)(struct bits *, size_t) = there ? bits_put : bits_take;
    change(sides, 2 * (size_t)beside->of[low].rank);
    change(sides, 2 * (size_t)beside->of[high].rank + 1);
}

static void link_above(struct beside *beside, uint32_t low, uint32_t buffer)
{
    uint32_t high = beside->of[low].above;
    beside->of[low].above = buffer;
    beside->of[buffer].below = low;
    beside->of[buffer].above = high;
    if (high == NOBODY)
        beside->top = buffer;
    else
        beside->of[high].below = buffer;
    note_hole(beside, low, buffer, true);
    note_hole(beside, buffer, high, true);
}

static void give(struct beside *beside, uint32_t buffer)
{
    uint32_t low = beside->of[buffer].below, high = beside->of[buffer].above;
    note_hole(beside, low, buffer, false);
    note_hole(beside, buffer, high, false);
    beside->of[low].above = high;
    if (high == NOBODY)
        beside->top = low;
    else
        beside->of[high].below = low;
    note_hole(beside, low, high, true);
}

/* ---- Choosing ---- */

/* About log2, from the exponent and the mantissa of a float. */
static float rough_log2(uint32_t number)
{
    float value = (float)number;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (float)bits / 8388608.0f;
}

struct choice {
    uint32_t low; /* the hole's lower neighbour, or NOBODY */
    uint64_t offset;
    float cost;
};

/* How much longer or shorter than the buffer the neighbour at a side lives on, as a factor's logarithm. */
static float mismatch(const struct beside *beside, uint64_t now, float life, size_t side)
{
    uint64_t end = side / 2 < beside->end_count ? beside->ends[side / 2].key : beside->problem->sections;
    float rest = rough_log2(end > now ? (uint32_t)(end - now) : 1) - life;
    return rest < 0 ? -rest : rest;
}

/* Beside the neighbour that the side names; no change where the hole does not take the buffer. */
static void look_at(const struct beside *beside, uint32_t buffer, size_t side, float apart, struct choice *best)
{
    const struct problem *problem = beside->problem;
    size_t rank = side / 2;
    uint32_t beneath = rank < beside->end_count ? beside->ends[rank].index : floor_of(beside);
    bool on_top = side % 2 == 1; /* of the hole */
    uint32_t low = on_top ? beside->of[beneath].below : beneath, high = on_top ? beneath : beside->of[beneath].above;
    uint64_t size = problem->size[buffer], align = problem->align[buffer];
    uint64_t from = beside->of[low].end, to = beside->of[high].offset;
    if (to - from < size) return;
    uint64_t offset = on_top ? (to - size) / align * align : align_up(from, align);
    if (offset < from || offset + size > to) return;
    float cost = 1 - (float)size / (float)(to - from) + apart;
    if (cost < best->cost) *best = (struct choice){low, offset, cost};
}

/* What any hole of a class costs at least. */
static float least_cost(size_t class, uint64_t size)
{
    float share = (float)size / (float)(UINT64_C(1) << class);
    return share < 1 ? 1 - share : 0;
}

/* The holes of one class whose neighbours end next after the buffer, or next before. */
static void look_along(const struct beside *beside, size_t class, uint32_t buffer, uint64_t now, bool after,
                       struct choice *best)
{
    const struct problem *problem = beside->problem;
    const struct bits *sides = &beside->sides[class];
    size_t side = 2 * (size_t)beside->of[buffer].rank;
    float life = rough_log2(problem->last[buffer] - problem->first[buffer]);
    float least = least_cost(class, problem->size[buffer]);
    for (int look = 0; look < LOOKS; look++) {
        side = after ? bits_from(sides, side + (look > 0)) : bits_before(sides, side);
        if (side == BITS_NONE) return;
        float apart = beside->weight * mismatch(beside, now, life, side);
        if (least + apart >= best->cost) return;
        look_at(beside, buffer, side, apart, best);
    }
}

static void take(struct beside *beside, uint32_t buffer, uint64_t now)
{
    const struct problem *problem = beside->problem;
    struct choice best = {.low = NOBODY, .cost = 1e30f};
    for (size_t class = class_of(problem->size[buffer]); class < beside->classes; class ++) {
        if (least_cost(class, problem->size[buffer]) >= best.cost) break;
        look_along(beside, class, buffer, now, true, &best);
        look_along(beside, class, buffer, now, false, &best);
    }
    if (best.low == NOBODY) {
        best.low = beside->top;
        best.offset = align_up(beside->of[best.low].end, problem->align[buffer]);
    }
    note_hole(beside, best.low, beside->of[best.low].above, false);
    put(beside, buffer, best.offset);
    link_above(beside, best.low, buffer);
}

/* ---- Sweeps ---- */

/* The buffer's run in the direction of the sweep. */
static uint32_t begin_of(const struct beside *beside, uint32_t buffer)
{
    const struct problem *problem = beside->problem;
    return beside->leftwards ? problem->sections - problem->last[buffer] : problem->first[buffer];
}

static uint32_t ending_of(const struct beside *beside, uint32_t buffer)
{
    const struct problem *problem = beside->problem;
    return beside->leftwards ? problem->sections - problem->first[buffer] : problem->last[buffer];
}

static void list_events(struct beside *beside)
{
    const struct problem *problem = beside->problem;
    uint32_t peak = beside->leftwards ? problem->sections - 1 - problem->peak : problem->peak;
    beside->start_count = beside->end_count = beside->peak_count = 0;
    for (uint32_t i = 0; i < problem->count; i++) {
        uint64_t begin = begin_of(beside, i), end = ending_of(beside, i), shortness = UINT32_MAX - (end - begin);
        if (begin > peak) beside->starts[beside->start_count++] = (struct sort_pair){begin << 32 | shortness, i};
        if (end > peak) beside->ends[beside->end_count++] = (struct sort_pair){end, i};
        if (begin <= peak && peak < end) beside->peak[beside->peak_count++] = (struct sort_pair){shortness, i};
    }
    sort_pairs(beside->starts, beside->scratch, beside->start_count);
    sort_pairs(beside->ends, beside->scratch, beside->end_count);
    sort_pairs(beside->peak, beside->scratch, beside->peak_count);
    for (uint32_t r = 0; r < beside->end_count; r++) beside->of[beside->ends[r].index].rank = r;
    beside->of[floor_of(beside)].rank = (uint32_t)beside->end_count;
}

/* The buffers of the fullest section one on the other. */
static void stack_peak(struct beside *beside)
{
    uint32_t floor = floor_of(beside);
    for (size_t c = 0; c < beside->classes; c++) bits_clear(&beside->sides[c]);
    beside->top = floor;
    beside->of[floor].above = NOBODY;
    beside->of[floor].offset = beside->of[floor].end = 0;
    for (size_t i = 0; i < beside->peak_count; i++) {
        uint32_t buffer = beside->peak[i].index;
        put(beside, buffer, align_up(beside->of[beside->top].end, beside->problem->align[buffer]));
        link_above(beside, beside->top, buffer);
    }
}

static inline __attribute__((always_inline)) void fetch(const struct beside *beside, const struct sort_pair *list,
                                                        size_t at, size_t count)
{
    if (at >= count) return;
    __builtin_prefetch(&beside->of[list[at].index]);
    problem_fetch(beside->problem, list[at].index);
}

/* One side of the peak. False when it is given up: no better than `arena`, or no time. */
static bool sweep_side(struct beside *beside, bool leftwards, uint64_t arena)
{
    beside->leftwards = leftwards;
    list_events(beside);
    stack_peak(beside);
    size_t ended = 0;
    for (size_t i = 0; i < beside->start_count; i++) {
        uint64_t now = beside->starts[i].key >> 32;
        fetch(beside, beside->starts, i + PROBLEM_AHEAD, beside->start_count);
        for (; ended < beside->end_count && beside->ends[ended].key <= now; ended++) {
            fetch(beside, beside->ends, ended + PROBLEM_AHEAD, beside->end_count);
            give(beside, beside->ends[ended].index);
        }
        take(beside, beside->starts[i].index, now);
        if (beside->of[beside->top].end >= arena) return false;
        if (i % LOOK_EVERY == 0 && problem_halted(beside->problem)) return false;
    }
    return true;
}

/* ---- All of it ---- */

/* No hole is larger than the arena that is to be beaten. */
static bool reserve(struct beside *beside, uint64_t arena, struct error *err)
{
    size_t count = beside->problem->count + 1;
    beside->starts = mem_alloc(MEM_SEARCH, count, sizeof *beside->starts);
    beside->ends = mem_alloc(MEM_SEARCH, count, sizeof *beside->ends);
    beside->peak = mem_alloc(MEM_SEARCH, count, sizeof *beside->peak);
    beside->scratch = mem_alloc(MEM_SEARCH, count, sizeof *beside->scratch);
    beside->of = mem_alloc(MEM_SEARCH, count, sizeof *beside->of);
    if (!beside->starts || !beside->ends || !beside->peak || !beside->scratch || !beside->of)
        return error_memory(err, count * 96, "placement beside neighbours");
    for (beside->classes = 0; beside->classes <= class_of(arena); beside->classes++)
        TRY(bits_init(&beside->sides[beside->classes], 2 * count, err));
    return true;
}

static void finish(struct beside *beside)
{
    mem_free(beside->starts);
    mem_free(beside->ends);
    mem_free(beside->peak);
    mem_free(beside->scratch);
    mem_free(beside->of);
    for (size_t c = 0; c < CLASSES; c++) bits_finish(&beside->sides[c]);
    mem_free(beside);
}

bool beside_improve(const struct problem *problem, uint64_t target, struct placement *best, struct error *err)
{
    static const float weights[] = {1.0f, 2.5f};
    size_t tries = problem->count < MANY_BUFFERS ? sizeof weights / sizeof weights[0] : 1;
    if (problem->any_fixed || problem->chunk > 0 || best->arena > UINT64_MAX / 2) return true;
    struct beside *beside = mem_zalloc(MEM_SEARCH, 1, sizeof *beside);
    if (!beside) return error_memory(err, sizeof *beside, "placement beside neighbours");
    beside->problem = problem;
    bool ok = reserve(beside, best->arena, err);
    for (size_t i = 0; ok && i < tries && !problem_content(problem, target, best->arena); i++) {
        beside->weight = weights[i];
        if (!sweep_side(beside, false, best->arena) || !sweep_side(beside, true, best->arena)) continue;
        for (size_t b = 0; b < problem->count; b++) best->offset[b] = beside->of[b].offset;
        best->arena = problem_arena(problem, best->offset);
    }
    finish(beside);
    return ok;
}
