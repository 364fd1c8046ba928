/* Packings without waste: where the live sum is the bound at every instant, or nearly, there is no choice of sizes but
 * only one of orders. Instants are the vertices of a drawing in the plane, each with the buffers that end and begin
 * there, and the drawing is found by a PQ-tree (place_pq.h) in one pass over time; it is a placement at the bound. This
 * is how a rectangle cut into squares was read as a network (Brooks, Smith, Stone, Tutte, 1940), backwards.
 *
 * Where the live sum is less than the bound, air is put in: buffers that nobody asked for. Where several ranges of
 * bytes change hands at one instant it is several vertices, and which buffers belong to which is a guess, by sums of
 * sizes and by what the tree allows. When the tree can no longer be continued, the latest guess that bears on what
 * ends there is made otherwise. */
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place_perfect.h"
#include "place_splits.h"
#include "random.h"

#define LOOK_EVERY    64 /* vertices between two looks at the clock */
#define MOST_PENDING  64
#define AIR_DIVISOR   8    /* of the arena over time, at most, may be air */
#define AIR_LOOKS     200  /* at air that may end, for each buffer, at most: more is another kind of problem, too */
#define MOST_DENSITY  6    /* buffers for each section, at most: else too many change hands at once */
#define COPIES_SHARE  4    /* trees to go back to take so much of the memory of a search, its inverse */
#define UNLIKELY      0.05 /* below it sums of sizes are not the same by chance */
#define FIRST_RETURNS 200  /* to a guess, in the first attempts; later ones may more and more */
#define FIRST_EFFORT  3    /* vertices taken for each instant, likewise, and some more */
#define MORE_EFFORT   200
#define FIRST_WORK    2000000 /* of splitting (place_splits.h), in all attempts, where no time is given */
#define WORK_EACH     40      /* more for each buffer */
#define PLAIN         4       /* attempts without chance */
#define MOST_ATTEMPTS 16
#define FEW_BUFFERS   1000 /* below it two attempts, since an exact search comes next */

struct option {
    double key; /* smaller is tried first */
    struct split split;
    bool joined; /* one vertex after all */
};

struct choice {
    struct vertex vertex;
    struct pq_copy copy;
    struct option *options;
    uint32_t option_count, next;
    uint32_t section;
    struct vertex *pending; /* those at the same instant that are still to come */
    uint32_t pending_count;
    size_t item_count;
};

struct perfect {
    const struct problem *problem;
    uint64_t capacity, seed, deadline_ns;
    bool backwards;         /* in time */
    double noise, overlook; /* chances: of another order of guesses, and that a culprit is overlooked */
    size_t count;           /* buffers and air */
    uint64_t looks;         /* at air */
    bool unsuited[2];       /* forwards and backwards: too much air */
    uint32_t *first, *last;
    uint64_t *size;
    uint32_t *end_start, *start_start; /* by section, and one past the last: positions in items[] */
    struct pq pq;
    struct splits splits;
    struct vertex *drawn; /* by number */
    struct vertex pending[MOST_PENDING];
    uint32_t pending_count, section;
    struct choice *choices;
    size_t choice_count, choice_capacity;
    uint64_t copies_bytes, most_copies_bytes;
    bool *touched; /* scratch, by buffer */
    uint64_t *offset;
    struct random random;
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
        perfect->splits.items[starts[perfect->first[i] + 1]++] = i;
        perfect->splits.items[ends[perfect->last[i] + 1]++] = i;
    }
    perfect->splits.item_count = 2 * perfect->count;
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

/* ---- Guesses ---- */

static void drop_choice(struct perfect *perfect, struct choice *choice)
{
    perfect->copies_bytes -= choice->copy.node_count * sizeof *choice->copy.nodes;
    pq_copy_finish(&choice->copy);
    mem_free(choice->options);
    mem_free(choice->pending);
    choice->options = NULL;
    choice->pending = NULL;
    choice->next = choice->option_count;
}

static void drop_choices(struct perfect *perfect, size_t kept)
{
    while (perfect->choice_count > kept) drop_choice(perfect, &perfect->choices[--perfect->choice_count]);
}

/* The oldest are given up first where copies take too much. */
static void bound_copies(struct perfect *perfect)
{
    for (size_t i = 0; perfect->copies_bytes > perfect->most_copies_bytes && i + 1 < perfect->choice_count; i++)
        if (perfect->choices[i].options) drop_choice(perfect, &perfect->choices[i]);
}

static void add_option(struct perfect *perfect, struct choice *choice, struct option option)
{
    option.key += perfect->noise * random_real(&perfect->random);
    uint32_t at = choice->option_count++;
    for (; at > 0 && choice->options[at - 1].key > option.key; at--) choice->options[at] = choice->options[at - 1];
    choice->options[at] = option;
}

/* Least loss of freedom first; of the same, what sums of sizes speak for. */
static void list_options(struct perfect *perfect, struct choice *choice, uint32_t joined_cost)
{
    const struct splits *splits = &perfect->splits;
    double doubt = splits->chance < UNLIKELY ? 0 : 0.5;
    for (size_t i = 0; i < splits->count; i++)
        add_option(perfect, choice, (struct option){.key = splits->found[i].cost + doubt, .split = splits->found[i]});
    if (joined_cost != PQ_NONE) add_option(perfect, choice, (struct option){.key = joined_cost + 0.25, .joined = true});
}

static bool begin_choice(struct perfect *perfect, const struct vertex *vertex, uint32_t joined_cost, struct error *err)
{
    void *choices = perfect->choices;
    if (!mem_grow(MEM_SEARCH, &choices, &perfect->choice_capacity, perfect->choice_count + 1, sizeof *perfect->choices))
        return error_memory(err, sizeof *perfect->choices, "guesses of a packing");
    perfect->choices = choices;
    struct choice *choice = &perfect->choices[perfect->choice_count];
    *choice = (struct choice){.vertex = *vertex,
                              .section = perfect->section,
                              .pending_count = perfect->pending_count,
                              .item_count = perfect->splits.item_count};
    choice->options = mem_alloc(MEM_SEARCH, perfect->splits.count + 1, sizeof *choice->options);
    choice->pending = mem_alloc(MEM_SEARCH, perfect->pending_count + 1, sizeof *choice->pending);
    bool ok = choice->options && choice->pending && pq_save(&perfect->pq, &choice->copy, err);
    if (!choice->options || !choice->pending) error_memory(err, sizeof *choice->options, "guesses of a packing");
    perfect->copies_bytes += choice->copy.node_count * sizeof *choice->copy.nodes;
    perfect->choice_count++;
    if (!ok) return false;
    memcpy(choice->pending, perfect->pending, perfect->pending_count * sizeof *choice->pending);
    list_options(perfect, choice, joined_cost);
    bound_copies(perfect);
    return true;
}

static void draw(struct perfect *perfect, const struct vertex *vertex)
{
    const uint32_t *items = perfect->splits.items;
    perfect->drawn[perfect->pq.vertex_count] = *vertex;
    pq_replace(&perfect->pq, items + vertex->ends, vertex->end_count, items + vertex->starts, vertex->start_count);
}

/* The next option of the last choice. False: none fits in here. */
static bool take_option(struct perfect *perfect)
{
    uint32_t number = (uint32_t)perfect->choice_count - 1;
    struct choice *choice = &perfect->choices[number];
    struct option option = choice->options[choice->next++];
    struct vertex vertex = choice->vertex;
    if (option.joined) {
        vertex.choice = number;
        draw(perfect, &vertex);
        return true;
    }
    if (perfect->pending_count + 2 > MOST_PENDING) return false;
    option.split.first.choice = option.split.second.choice = number;
    perfect->pending[perfect->pending_count++] = option.split.second;
    perfect->pending[perfect->pending_count++] = option.split.first;
    return true;
}

static bool is_open(const struct perfect *perfect, uint32_t choice)
{
    return choice != PQ_NONE && perfect->choices[choice].next < perfect->choices[choice].option_count;
}

static bool touches(const struct perfect *perfect, size_t from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (perfect->touched[perfect->splits.items[from + i]]) return true;
    return false;
}

static void touch(struct perfect *perfect, size_t from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) perfect->touched[perfect->splits.items[from + i]] = true;
}

/* Whether the choice is to be made otherwise. Where some are overlooked, *culprit is one of them unless this is. */
static bool is_culprit(struct perfect *perfect, uint32_t choice, uint32_t *culprit)
{
    if (!is_open(perfect, choice)) return false;
    *culprit = choice;
    return perfect->overlook == 0 || random_real(&perfect->random) >= perfect->overlook;
}

/* The latest open choice of those that made the vertex or one before it whose bytes these buffers have; else the latest
 * of all. A wrong guess may show long after, where all the ways of those that follow it lead to the same: so in some
 * attempts each is overlooked by chance, if there is an earlier one. PQ_NONE: all is tried. */
static uint32_t find_culprit(struct perfect *perfect, const struct vertex *vertex)
{
    uint32_t culprit = PQ_NONE;
    if (is_culprit(perfect, vertex->choice, &culprit)) return culprit;
    memset(perfect->touched, 0, perfect->count * sizeof *perfect->touched);
    touch(perfect, vertex->ends, vertex->end_count);
    for (size_t v = perfect->pq.vertex_count; v-- > 0;) {
        const struct vertex *drawn = &perfect->drawn[v];
        if (!touches(perfect, drawn->starts, drawn->start_count)) continue;
        if (is_culprit(perfect, drawn->choice, &culprit)) return culprit;
        touch(perfect, drawn->ends, drawn->end_count);
    }
    for (size_t i = perfect->choice_count; culprit == PQ_NONE && i-- > 0;)
        if (is_open(perfect, (uint32_t)i)) culprit = (uint32_t)i;
    return culprit;
}

static bool go_back(struct perfect *perfect, const struct vertex *vertex)
{
    uint32_t culprit = find_culprit(perfect, vertex);
    if (culprit == PQ_NONE) return false;
    drop_choices(perfect, culprit + 1);
    const struct choice *choice = &perfect->choices[culprit];
    pq_restore(&perfect->pq, &choice->copy);
    perfect->section = choice->section;
    perfect->pending_count = choice->pending_count;
    perfect->splits.item_count = choice->item_count;
    memcpy(perfect->pending, choice->pending, choice->pending_count * sizeof *choice->pending);
    return true;
}

/* ---- The drawing ---- */

/* Takes one vertex, or splits it. *stuck: neither is possible. */
static bool take_vertex(struct perfect *perfect, const struct vertex *vertex, bool *stuck, struct error *err)
{
    uint32_t cost = pq_join_cost(&perfect->pq, perfect->splits.items + vertex->ends, vertex->end_count);
    *stuck = false;
    perfect->splits.count = 0;
    if (vertex->end_count > 1 && vertex->start_count > 1)
        TRY(splits_find(&perfect->splits, vertex, cost != PQ_NONE, err));
    if (perfect->splits.count > 0) {
        TRY(begin_choice(perfect, vertex, cost, err));
        *stuck = !take_option(perfect);
        return true;
    }
    *stuck = cost == PQ_NONE;
    if (!*stuck) draw(perfect, vertex);
    return true;
}

static struct vertex next_vertex(struct perfect *perfect)
{
    if (perfect->pending_count > 0) return perfect->pending[--perfect->pending_count];
    const uint32_t *ends = perfect->end_start, *starts = perfect->start_start;
    uint32_t s = perfect->section++;
    return (struct vertex){ends[s], starts[s], ends[s + 1] - ends[s], starts[s + 1] - starts[s], PQ_NONE};
}

static bool is_over(const struct perfect *perfect)
{
    const struct problem *problem = perfect->problem;
    if (problem->deadline_ns > 0 ? clock_now_ns() >= perfect->deadline_ns
                                 : perfect->splits.work > FIRST_WORK + WORK_EACH * (uint64_t)problem->count)
        return true;
    return problem_halted(problem);
}

/* False = out of memory. *drawn: to the end. */
static bool draw_all(struct perfect *perfect, uint32_t number, bool *drawn, struct error *err)
{
    uint32_t patience = 1 + number / PLAIN, returns = FIRST_RETURNS * patience;
    uint64_t most = (MORE_EFFORT + FIRST_EFFORT * (uint64_t)perfect->problem->sections) * patience, taken = 0;
    pq_begin(&perfect->pq, perfect->splits.items, perfect->start_start[1]);
    perfect->section = 1;
    perfect->pending_count = 0;
    *drawn = false;
    while (perfect->pending_count > 0 || perfect->section < perfect->problem->sections) {
        struct vertex vertex = next_vertex(perfect);
        bool stuck;
        if (++taken > most || (taken % LOOK_EVERY == 0 && is_over(perfect))) return true;
        TRY(take_vertex(perfect, &vertex, &stuck, err));
        while (stuck) {
            if (returns-- == 0 || !go_back(perfect, &vertex)) return true;
            stuck = !take_option(perfect);
        }
    }
    pq_end(&perfect->pq);
    *drawn = true;
    return true;
}

/* Backwards in time: what begins at a vertex has its place, and what ends there lies in the same range. */
static void read_offsets(struct perfect *perfect)
{
    const struct pq *pq = &perfect->pq;
    for (size_t v = pq->vertex_count; v-- > 0;) {
        const struct pq_vertex *vertex = &pq->vertices[v];
        uint64_t at = v + 1 < pq->vertex_count ? UINT64_MAX : 0;
        for (uint32_t i = 0; at > 0 && i < perfect->drawn[v].start_count; i++) {
            uint64_t offset = perfect->offset[perfect->splits.items[perfect->drawn[v].starts + i]];
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

/* One drawing, by its number: forwards or backwards, more or less eager to split, later on by chance and with more and
 * more patience. */
static bool attempt(struct perfect *perfect, uint32_t number, size_t most, struct placement *best, struct error *err)
{
    bool drawn = false;
    perfect->backwards = number % 2 == 1;
    perfect->splits.eager = number / 2 % 2 == 1;
    perfect->noise = number < PLAIN ? 0 : 0.6;
    perfect->overlook = number / PLAIN % 2 == 1 ? 0.6 : 0;
    perfect->random = random_begin(perfect->seed, RANDOM_SEARCH, number, 0);
    if (perfect->unsuited[perfect->backwards]) return true;
    perfect->unsuited[perfect->backwards] = !set_up(perfect, most);
    if (perfect->unsuited[perfect->backwards]) return true;
    TRY(pq_init(&perfect->pq, perfect->count, perfect->count + 1, most_live(perfect), err));
    bool ok = draw_all(perfect, number, &drawn, err);
    drop_choices(perfect, 0);
    if (ok && drawn) {
        read_offsets(perfect);
        best->arena = problem_arena(perfect->problem, perfect->offset);
        memcpy(best->offset, perfect->offset, perfect->problem->count * sizeof *best->offset);
    }
    pq_finish(&perfect->pq);
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

static bool reserve(struct perfect *perfect, size_t most, struct error *err)
{
    uint32_t sections = perfect->problem->sections;
    perfect->first = mem_alloc(MEM_SEARCH, most, sizeof *perfect->first);
    perfect->last = mem_alloc(MEM_SEARCH, most, sizeof *perfect->last);
    perfect->size = mem_alloc(MEM_SEARCH, most, sizeof *perfect->size);
    perfect->end_start = mem_alloc(MEM_SEARCH, sections + 3, sizeof *perfect->end_start);
    perfect->start_start = mem_alloc(MEM_SEARCH, sections + 3, sizeof *perfect->start_start);
    perfect->drawn = mem_alloc(MEM_SEARCH, most + 1, sizeof *perfect->drawn);
    perfect->touched = mem_alloc(MEM_SEARCH, most, sizeof *perfect->touched);
    perfect->offset = mem_alloc(MEM_SEARCH, most, sizeof *perfect->offset);
    perfect->splits.block = mem_alloc(MEM_SEARCH, most, sizeof *perfect->splits.block);
    perfect->splits.item_capacity = 2 * most;
    perfect->splits.items = mem_alloc(MEM_SEARCH, 2 * most, sizeof *perfect->splits.items);
    bool ok = perfect->first && perfect->last && perfect->size && perfect->end_start && perfect->start_start &&
              perfect->drawn && perfect->touched && perfect->offset && perfect->splits.block && perfect->splits.items;
    return ok || error_memory(err, most * 88 + sections * (uint64_t)8, "a packing without waste");
}

static void finish(struct perfect *perfect)
{
    mem_free(perfect->first);
    mem_free(perfect->last);
    mem_free(perfect->size);
    mem_free(perfect->end_start);
    mem_free(perfect->start_start);
    mem_free(perfect->drawn);
    mem_free(perfect->touched);
    mem_free(perfect->offset);
    mem_free(perfect->splits.block);
    mem_free(perfect->splits.items);
    mem_free(perfect->choices);
    mem_free(perfect);
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
    perfect->most_copies_bytes =
        (options->memory_bytes > 0 ? options->memory_bytes : PLACE_MEMORY_BYTES) / COPIES_SHARE;
    perfect->splits.pq = &perfect->pq;
    bool ok = reserve(perfect, most, err);
    perfect->splits.size = perfect->size;
    uint64_t now = clock_now_ns(), end = problem->deadline_ns;
    perfect->deadline_ns = end > now ? now + (end - now) / 4 : end;
    uint32_t attempts = problem->count < FEW_BUFFERS ? PLAIN / 2 : end > 0 ? MOST_ATTEMPTS : PLAIN;
    for (uint32_t i = 0; ok && i < attempts && best->arena > problem->bound && !is_over(perfect); i++)
        ok = attempt(perfect, i, most, best, err);
    finish(perfect);
    return ok;
}
