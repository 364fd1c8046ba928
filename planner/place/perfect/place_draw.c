/* The drawing takes at each vertex the likeliest way. Where it cannot go on, some earlier guess was wrong: those that
 * bear on what is stuck, and the others after them, are made otherwise one at a time, the most doubtful first, and the
 * drawing goes on from there as before. With the right one it gets much further; that is kept as a wish for the vertex,
 * by name, so that it is taken again however the drawing comes there. */
#include "place_draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define WORK_OF_VERTEX 100  /* what one takes, in sums of sizes */
#define LOOK_EVERY     6400 /* work between two looks at the clock */
#define FEW_WAYS       16   /* kept of each vertex where guesses take more than half of what they may */
#define FURTHER        1000 /* sections beyond the one where it was stuck: far enough to be sure */
#define BATCH          16   /* suspects that are tried before the best of them is taken */
#define MOST_TRIES     512
#define MOST_KICKS     40    /* guesses made otherwise although none leads further */
#define UNRELATED      3.0   /* doubt of what does not bear on the vertex that is stuck */
#define LONG_AGO       256.0 /* sections back: doubt rises with the logarithm */
#define LOOSE_TRIES    64    /* the first two and the last of these where it has gone on loosely before */
#define LOOSE_FURTHER  300
#define LOOSE_SHARE    2      /* of what it may take so much more, its inverse, from then on: */
#define SPOT_SHARE     64     /* of what is left so much for each place where it is stuck, its inverse, */
#define SPOT_WORK      200000 /* and at least so much */
#define START          UINT32_MAX

/* STEP_LOST: nothing that is made otherwise leads on. */
enum step { STEP_ENDED, STEP_STUCK, STEP_CHOICE, STEP_FAR, STEP_LOST, STEP_TIRED, STEP_NO_MEMORY };

/* ---- Choices ---- */

static void drop_copy(struct drawing *drawing, struct choice *choice)
{
    if (choice->copy.nodes) drawing->copies_bytes -= choice->copy.node_count * sizeof *choice->copy.nodes;
    pq_copy_finish(&choice->copy);
}

/* With its suspects. */
static uint64_t bytes_of(const struct choice *choice)
{
    return sizeof *choice + choice->option_count * (sizeof *choice->options + sizeof(struct suspect)) +
           choice->pending_count * sizeof *choice->pending;
}

/* The same whenever the drawing has come here by the same choices, so that it finds the same options again. */
static uint64_t guesses_bytes(const struct drawing *drawing)
{
    const struct splits *splits = &drawing->splits;
    return drawing->choices_bytes + (splits->item_count - 2 * drawing->count) * sizeof *splits->items;
}

static void drop_choices(struct drawing *drawing, size_t kept)
{
    while (drawing->choice_count > kept) {
        struct choice *choice = &drawing->choices[--drawing->choice_count];
        drawing->choices_bytes -= bytes_of(choice);
        drop_copy(drawing, choice);
        mem_free(choice->options);
        mem_free(choice->pending);
    }
}

/* Where copies take too much every other is given up; the drawing goes there from the one before. */
static void bound_copies(struct drawing *drawing)
{
    if (drawing->copies_bytes <= drawing->most_copies_bytes) return;
    bool drop = false;
    for (size_t i = 0; i + 1 < drawing->choice_count; i++) {
        if (!drawing->choices[i].copy.nodes) continue;
        if (drop) drop_copy(drawing, &drawing->choices[i]);
        drop = !drop;
    }
}

static uint32_t find_wished(const struct drawing *drawing, uint64_t name, const struct split *options, size_t count)
{
    for (size_t i = drawing->wish_count; i-- > 0;) {
        if (drawing->wishes[i].vertex != name) continue;
        for (uint32_t k = 0; k < count; k++)
            if (options[k].name == drawing->wishes[i].option) return k;
    }
    return 0;
}

static uint32_t wished_option(const struct drawing *drawing, const struct choice *choice)
{
    return find_wished(drawing, choice->name, choice->options, choice->option_count);
}

static bool add_wish(struct drawing *drawing, const struct choice *choice, uint32_t option, struct error *err)
{
    struct wish wish = {choice->name, choice->options[option].name};
    for (size_t i = 0; i < drawing->wish_count; i++)
        if (drawing->wishes[i].vertex == wish.vertex) {
            drawing->wishes[i] = wish;
            return true;
        }
    void *wishes = drawing->wishes;
    if (!mem_grow(MEM_SEARCH, &wishes, &drawing->wish_capacity, drawing->wish_count + 1, sizeof wish))
        return error_memory(err, sizeof wish, "guesses of a packing");
    drawing->wishes = wishes;
    drawing->wishes[drawing->wish_count++] = wish;
    return true;
}

static bool begin_choice(struct drawing *drawing, const struct vertex *vertex, struct error *err)
{
    void *choices = drawing->choices;
    if (!mem_grow(MEM_SEARCH, &choices, &drawing->choice_capacity, drawing->choice_count + 1, sizeof *drawing->choices))
        return error_memory(err, sizeof *drawing->choices, "guesses of a packing");
    drawing->choices = choices;
    struct choice *choice = &drawing->choices[drawing->choice_count++];
    *choice = (struct choice){.name = splits_name(&drawing->splits, vertex),
                              .option_count = (uint32_t)drawing->splits.count,
                              .section = drawing->section,
                              .pending_count = drawing->pending_count,
                              .item_count = drawing->splits.item_count};
    drawing->choices_bytes += bytes_of(choice);
    choice->options = mem_alloc(MEM_SEARCH, choice->option_count, sizeof *choice->options);
    choice->pending = mem_alloc(MEM_SEARCH, drawing->pending_count + 1, sizeof *choice->pending);
    if (!choice->options || !choice->pending) return error_memory(err, sizeof *choice->options, "guesses of a packing");
    memcpy(choice->options, drawing->splits.found, choice->option_count * sizeof *choice->options);
    memcpy(choice->pending, drawing->pending, drawing->pending_count * sizeof *choice->pending);
    if (drawing->probing) return true;
    TRY(pq_save(&drawing->pq, &choice->copy, err));
    drawing->copies_bytes += choice->copy.node_count * sizeof *choice->copy.nodes;
    bound_copies(drawing);
    return true;
}

/* ---- Vertices ---- */

static void draw(struct drawing *drawing, const struct vertex *vertex)
{
    const uint32_t *items = drawing->splits.items;
    drawing->drawn[drawing->pq.vertex_count] = *vertex;
    pq_replace(&drawing->pq, items + vertex->ends, vertex->end_count, items + vertex->starts, vertex->start_count);
}

/* False: no room for what is to come. */
static bool take_split(struct drawing *drawing, struct split split)
{
    if (split.second.end_count == 0) {
        draw(drawing, &split.first);
        return true;
    }
    if (drawing->pending_count + 2 > DRAW_PENDING) return false;
    drawing->pending[drawing->pending_count++] = split.second;
    drawing->pending[drawing->pending_count++] = split.first;
    return true;
}

/* Takes one option of the last choice. */
static bool take_option(struct drawing *drawing, uint32_t option)
{
    uint32_t number = (uint32_t)drawing->choice_count - 1;
    struct choice *choice = &drawing->choices[number];
    struct split split = choice->options[option];
    choice->taken = option;
    split.first.choice = split.second.choice = number;
    return take_split(drawing, split);
}

static struct vertex next_vertex(struct drawing *drawing)
{
    if (drawing->pending_count > 0) return drawing->pending[--drawing->pending_count];
    const uint32_t *ends = drawing->end_start, *starts = drawing->start_start;
    uint32_t s = drawing->section++;
    return (struct vertex){ends[s], starts[s], ends[s + 1] - ends[s], starts[s + 1] - starts[s], PQ_NONE};
}

static bool is_tired(struct drawing *drawing)
{
    drawing->splits.work += WORK_OF_VERTEX;
    if (!drawing->hurried && drawing->splits.work >= drawing->most_work) return true;
    if (!drawing->hurried && guesses_bytes(drawing) > drawing->most_choices_bytes) return true;
    if (drawing->splits.work < drawing->next_look) return false;
    drawing->next_look = drawing->splits.work + LOOK_EVERY;
    return drawing->limits.is_over(drawing->limits.context);
}

/* Goes on until it is stuck, at the section `far`, or at the beginning of that choice. */
static enum step go_on(struct drawing *drawing, uint32_t far, uint32_t choice, struct error *err)
{
    struct splits *splits = &drawing->splits;
    while (drawing->pending_count > 0 || drawing->section < drawing->sections) {
        if (drawing->pending_count == 0 && drawing->section >= far) return STEP_FAR;
        if (is_tired(drawing)) return STEP_TIRED;
        struct vertex vertex = next_vertex(drawing);
        drawing->stuck = vertex;
        splits->most_ways = drawing->hurried                                           ? 1
                            : 2 * guesses_bytes(drawing) > drawing->most_choices_bytes ? FEW_WAYS
                                                                                       : SPLITS_MOST;
        if (!splits_find(splits, &vertex, err)) return STEP_NO_MEMORY;
        if (splits->count == 0) return STEP_STUCK;
        if (splits->count == 1 && splits->found[0].second.end_count == 0) {
            draw(drawing, &vertex);
            continue;
        }
        if (drawing->hurried) {
            uint32_t option = find_wished(drawing, splits_name(splits, &vertex), splits->found, splits->count);
            if (!take_split(drawing, splits->found[option])) return STEP_STUCK;
            continue;
        }
        if (!begin_choice(drawing, &vertex, err)) return STEP_NO_MEMORY;
        if (drawing->choice_count == (size_t)choice + 1) return STEP_CHOICE;
        const struct choice *last = &drawing->choices[drawing->choice_count - 1];
        if (!take_option(drawing, wished_option(drawing, last))) return STEP_STUCK;
    }
    return STEP_ENDED;
}

/* Where it goes on loosely at thousands of places, trees of many leaves take most of the time. */
static void count_copy(struct drawing *drawing)
{
    if (drawing->loosely) drawing->splits.work += drawing->pq.node_count;
}

static void restore(struct drawing *drawing, const struct choice *choice)
{
    pq_restore(&drawing->pq, &choice->copy);
    count_copy(drawing);
    drawing->section = choice->section;
    drawing->pending_count = choice->pending_count;
    drawing->splits.item_count = choice->item_count;
    memcpy(drawing->pending, choice->pending, choice->pending_count * sizeof *choice->pending);
}

static void start(struct drawing *drawing)
{
    drop_choices(drawing, 0);
    if (drawing->base.copy.nodes) {
        restore(drawing, &drawing->base);
        return;
    }
    pq_begin(&drawing->pq, drawing->splits.items, drawing->start_start[1]);
    drawing->splits.item_count = 2 * drawing->count;
    drawing->section = 1;
    drawing->pending_count = 0;
}

/* To the beginning of a choice, from the last one before it that can be gone back to. */
static enum step go_to(struct drawing *drawing, uint32_t number, struct error *err)
{
    size_t from = drawing->choice_count < (size_t)number + 1 ? drawing->choice_count : (size_t)number + 1;
    while (from > 0 && !drawing->choices[from - 1].copy.nodes) from--;
    if (from == 0) {
        start(drawing);
    } else {
        drop_choices(drawing, from);
        restore(drawing, &drawing->choices[from - 1]);
        if (from == (size_t)number + 1) return STEP_CHOICE;
        if (!take_option(drawing, wished_option(drawing, &drawing->choices[from - 1]))) return STEP_STUCK;
    }
    return go_on(drawing, UINT32_MAX, number, err);
}

/* ---- Suspects ---- */

static bool touches(const struct drawing *drawing, size_t from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (drawing->touched[drawing->splits.items[from + i]]) return true;
    return false;
}

static void touch(struct drawing *drawing, size_t from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) drawing->touched[drawing->splits.items[from + i]] = true;
}

/* Each option with its share of the likelihood of all. */
static bool add_suspects(struct drawing *drawing, uint32_t number, double doubt, struct error *err)
{
    const struct choice *choice = &drawing->choices[number];
    size_t room = drawing->suspect_count + choice->option_count;
    void *suspects = drawing->suspects;
    if (!mem_grow(MEM_SEARCH, &suspects, &drawing->suspect_capacity, room, sizeof *drawing->suspects))
        return error_memory(err, room * sizeof *drawing->suspects, "guesses of a packing");
    drawing->suspects = suspects;
    double sum = 0;
    for (uint32_t i = 0; i < choice->option_count; i++) sum += exp(choice->options[0].key - choice->options[i].key);
    doubt = splits_round(doubt + log(sum));
    for (uint32_t i = 0; i < choice->option_count; i++)
        if (i != choice->taken)
            drawing->suspects[drawing->suspect_count++] =
                (struct suspect){doubt + choice->options[i].key - choice->options[0].key, number, i, 0};
    return true;
}

/* Marks the choices that made the vertex that is stuck, or one before it whose bytes its buffers have. */
static void mark_related(struct drawing *drawing, bool *related)
{
    memset(drawing->touched, 0, drawing->count * sizeof *drawing->touched);
    touch(drawing, drawing->stuck.ends, drawing->stuck.end_count);
    if (drawing->stuck.choice != PQ_NONE) related[drawing->stuck.choice] = true;
    for (size_t v = drawing->pq.vertex_count; v-- > drawing->base_vertex;) {
        const struct vertex *drawn = &drawing->drawn[v];
        if (!touches(drawing, drawn->starts, drawn->start_count)) continue;
        if (drawn->choice != PQ_NONE) related[drawn->choice] = true;
        touch(drawing, drawn->ends, drawn->end_count);
    }
}

static int compare_doubts(const void *left, const void *right)
{
    const struct suspect *a = left, *b = right;
    if (a->doubt < b->doubt || a->doubt > b->doubt) return a->doubt < b->doubt ? -1 : 1;
    if (a->choice != b->choice) return a->choice > b->choice ? -1 : 1;
    return a->option < b->option ? -1 : a->option > b->option;
}

static int compare_choices(const void *left, const void *right)
{
    const struct suspect *a = left, *b = right;
    if (a->choice != b->choice) return a->choice > b->choice ? -1 : 1;
    return a->option < b->option ? -1 : a->option > b->option;
}

/* The most doubtful first. */
static bool list_suspects(struct drawing *drawing, struct error *err)
{
    bool *related = mem_zalloc(MEM_SEARCH, drawing->choice_count + 1, sizeof *related);
    if (!related) return error_memory(err, drawing->choice_count, "guesses of a packing");
    mark_related(drawing, related);
    bool ok = true;
    drawing->suspect_count = 0;
    for (uint32_t i = (uint32_t)drawing->choice_count; ok && i-- > 0;) {
        double back = drawing->section - drawing->choices[i].section;
        ok = add_suspects(drawing, i, log1p(back / LONG_AGO) + (related[i] ? 0 : UNRELATED), err);
    }
    mem_free(related);
    if (ok && drawing->suspect_count > 0)
        qsort(drawing->suspects, drawing->suspect_count, sizeof *drawing->suspects, compare_doubts);
    return ok;
}

/* ---- Repair ---- */

/* The drawing with one guess made otherwise, as far as it goes or to `far`. */
static enum step try_suspect(struct drawing *drawing, struct suspect *suspect, uint32_t far, struct error *err)
{
    enum step step = go_to(drawing, suspect->choice, err);
    suspect->reach = 0;
    if (step == STEP_CHOICE) {
        drawing->probing = true;
        step = take_option(drawing, suspect->option) ? go_on(drawing, far, START, err) : STEP_STUCK;
        drawing->probing = false;
        suspect->reach = drawing->section;
        drop_choices(drawing, (size_t)suspect->choice + 1);
    }
    return step;
}

/* Keeps what a suspect says, and goes on with it. */
static enum step accept(struct drawing *drawing, const struct suspect *suspect, struct error *err)
{
    enum step step = go_to(drawing, suspect->choice, err);
    if (step != STEP_CHOICE) return step;
    if (!add_wish(drawing, &drawing->choices[suspect->choice], suspect->option, err)) return STEP_NO_MEMORY;
    if (!take_option(drawing, suspect->option)) return STEP_STUCK;
    return go_on(drawing, UINT32_MAX, START, err);
}

/* One batch, the latest first, so that what comes before them stays as it is. */
static enum step try_batch(struct drawing *drawing, size_t from, size_t to, uint32_t far, const struct suspect **best,
                           struct error *err)
{
    qsort(drawing->suspects + from, to - from, sizeof *drawing->suspects, compare_choices);
    for (size_t i = from; i < to; i++) {
        struct suspect *suspect = &drawing->suspects[i];
        enum step step = try_suspect(drawing, suspect, far, err);
        if (step == STEP_TIRED || step == STEP_NO_MEMORY) return step;
        if (!*best || suspect->reach > (*best)->reach) *best = suspect;
        if (step == STEP_FAR || step == STEP_ENDED) return step;
    }
    return STEP_STUCK;
}

static enum step repair(struct drawing *drawing, uint32_t *kicks, struct error *err)
{
    uint32_t reached = drawing->section;
    const struct suspect *best = NULL;
    if (!list_suspects(drawing, err)) return STEP_NO_MEMORY;
    bool loosely = drawing->loosely;
    size_t tries = loosely ? LOOSE_TRIES : MOST_TRIES;
    size_t most = drawing->suspect_count < tries ? drawing->suspect_count : tries;
    uint64_t work = drawing->splits.work, left = drawing->most_work > work ? drawing->most_work - work : 0;
    uint64_t enough = work + (left / SPOT_SHARE > SPOT_WORK ? left / SPOT_SHARE : SPOT_WORK);
    for (size_t i = 0; i < most && (!loosely || drawing->splits.work < enough); i += BATCH) {
        size_t end = i + BATCH < most ? i + BATCH : most;
        enum step step = try_batch(drawing, i, end, reached + (loosely ? LOOSE_FURTHER : FURTHER), &best, err);
        if (step != STEP_STUCK) {
            if (step == STEP_TIRED || step == STEP_NO_MEMORY) return step;
            break;
        }
    }
    if (!best || (best->reach <= reached && (loosely || (*kicks)++ >= MOST_KICKS))) return STEP_LOST;
    struct suspect chosen = *best;
    return accept(drawing, &chosen, err);
}

/* ---- Going on loosely ---- */

/* What has been drawn is not gone back behind. */
static bool set_base(struct drawing *drawing, struct error *err)
{
    struct choice *base = &drawing->base;
    pq_copy_finish(&base->copy);
    if (!base->pending) base->pending = mem_alloc(MEM_SEARCH, DRAW_PENDING, sizeof *base->pending);
    if (!base->pending) return error_memory(err, DRAW_PENDING * sizeof *base->pending, "a loose drawing");
    base->section = drawing->section;
    base->pending_count = drawing->pending_count;
    base->item_count = drawing->splits.item_count;
    for (uint32_t i = 0; i < drawing->pending_count; i++) drawing->pending[i].choice = PQ_NONE;
    memcpy(base->pending, drawing->pending, drawing->pending_count * sizeof *base->pending);
    drawing->base_vertex = drawing->pq.vertex_count;
    count_copy(drawing);
    return pq_save(&drawing->pq, &base->copy, err);
}

static enum step go_loosely(struct drawing *drawing, struct error *err)
{
    struct vertex taken;
    drop_choices(drawing, 0);
    if (!loose_take(&drawing->loose, &drawing->splits, &drawing->stuck, &drawing->limits, &taken, err))
        return STEP_NO_MEMORY;
    draw(drawing, &taken);
    if (!drawing->hurried && !set_base(drawing, err)) return STEP_NO_MEMORY;
    return go_on(drawing, UINT32_MAX, START, err);
}

/* Where all it may take is taken: a little more to go on loosely with, and then in a hurry. */
static void get_tired(struct drawing *drawing)
{
    if (drawing->loosely)
        drawing->hurried = true;
    else
        drawing->most_work = drawing->splits.work + drawing->share / LOOSE_SHARE;
    drawing->loosely = true;
}

/* Replays what leads to where it was stuck. */
static enum step go_back_loosely(struct drawing *drawing, struct error *err)
{
    start(drawing);
    enum step step = go_on(drawing, UINT32_MAX, START, err);
    return step == STEP_STUCK ? go_loosely(drawing, err) : step;
}

static enum step draw_on(struct drawing *drawing, enum step step, uint32_t *kicks, struct error *err)
{
    if (step == STEP_STUCK) return drawing->hurried ? go_loosely(drawing, err) : repair(drawing, kicks, err);
    if (step == STEP_TIRED || !drawing->loosely) get_tired(drawing);
    return go_back_loosely(drawing, err);
}

static bool may_draw_on(const struct drawing *drawing, enum step step)
{
    if (step == STEP_STUCK) return true;
    return (step == STEP_LOST || (step == STEP_TIRED && !drawing->hurried)) && drawing->may_loosen;
}

bool draw_all(struct drawing *drawing, bool *drawn, struct error *err)
{
    uint32_t kicks = 0;
    drawing->wish_count = 0;
    drawing->loosely = drawing->hurried = false;
    drawing->most_work = drawing->splits.work + drawing->share;
    start(drawing);
    enum step step = go_on(drawing, UINT32_MAX, START, err);
    while (may_draw_on(drawing, step)) step = draw_on(drawing, step, &kicks, err);
    *drawn = step == STEP_ENDED;
    if (*drawn) pq_end(&drawing->pq);
    return step != STEP_NO_MEMORY;
}

void draw_finish(struct drawing *drawing)
{
    drop_choices(drawing, 0);
    pq_copy_finish(&drawing->base.copy);
    mem_free(drawing->base.pending);
    drawing->base = (struct choice){0};
    drawing->base_vertex = 0;
    loose_finish(&drawing->loose);
    mem_free(drawing->choices);
    mem_free(drawing->wishes);
    mem_free(drawing->suspects);
    drawing->choices = NULL;
    drawing->wishes = NULL;
    drawing->suspects = NULL;
    drawing->choice_count = drawing->choice_capacity = drawing->wish_count = drawing->wish_capacity = 0;
    drawing->suspect_count = drawing->suspect_capacity = 0;
}
