/* Rows of units whose inputs are made again one from another, chosen as wholes: longer ones than the program keeps rows
 * of its table for, and with what comes back as each is kept. */
#include <string.h>

#include "chain_private.h"
#include "mem.h"

static const uint32_t lengths[] = {1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, CHAIN_MOST_STREAK};
#define LENGTHS (sizeof lengths / sizeof lengths[0])

static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

uint32_t chain_streak_option(const struct unit *unit, uint32_t way)
{
    uint32_t i = 0;
    while (i < unit->options && !(unit->option[i].remakes && unit->option[i].way == way)) i++;
    return i;
}

uint32_t chain_streak_need(const struct unit_list *list, const struct streak *streak, size_t t)
{
    return larger(list->units[t].gradient + streak->forward_need, streak->backward_need);
}

/* ---- One ---- */

static struct streak begin(const struct unit *unit, uint32_t hold, uint32_t way)
{
    const struct unit_option *o = &unit->option[hold];
    return (struct streak){.hold = hold,
                           .way = way,
                           .saved = o->saved,
                           .forward_need = o->forward_need,
                           .backward_need = o->backward_need,
                           .excess = o->excess};
}

/* `back`: what comes back of the units before when this one's input is made again, beyond what the option counts. */
static void extend(struct streak *streak, const struct unit_option *o, int64_t back)
{
    int64_t remake = (int64_t)o->remake_need + back;
    streak->forward_need = larger(streak->forward_need, streak->saved + o->forward_need);
    streak->backward_need = larger(streak->backward_need, streak->saved + o->backward_need);
    if (remake > 0) streak->backward_need = larger(streak->backward_need, streak->saved + (uint32_t)remake);
    int64_t saved = (int64_t)streak->saved + o->saved - o->freed;
    streak->saved = saved > 0 ? (uint32_t)saved : 0; /* never less, but for an optimist's rounding */
    streak->excess += o->excess;
    streak->length++;
}

static bool serves_for(const struct streak *a, const struct streak *b)
{
    return a->length == b->length && a->saved <= b->saved && a->excess <= b->excess &&
           a->forward_need <= b->forward_need && a->backward_need <= b->backward_need;
}

/* What takes no less of anything than another of its length is left out. */
static bool add(struct streaks *streaks, const struct streak *streak, struct error *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < streaks->count; i++)
        if (serves_for(&streaks->list[i], streak)) return true;
    for (size_t i = 0; i < streaks->count; i++)
        if (!serves_for(streak, &streaks->list[i])) streaks->list[kept++] = streaks->list[i];
    streaks->count = kept;
    if (!mem_grow(MEM_SEARCH, (void **)&streaks->list, &streaks->capacity, kept + 1, sizeof *streak))
        return error_memory(err, (kept + 1) * sizeof *streak, mem_purpose_name(MEM_SEARCH));
    streaks->list[streaks->count++] = *streak;
    return true;
}

/* ---- All ---- */

/* Those from unit s on, of all lengths. */
static bool follow(const struct unit_list *list, size_t s, uint32_t hold, uint32_t way, struct error *err)
{
    struct streak streak = begin(&list->units[s], hold, way);
    const struct unit_option *before = &list->units[s].option[hold];
    int64_t back = 0;
    size_t next = 0;
    for (size_t i = s + 1; i < list->count && streak.length < list->chain->longest_streak; i++) {
        const struct unit *unit = &list->units[i];
        uint32_t option = chain_streak_option(unit, way);
        if (option == unit->options) return true;
        back += (int64_t)before->parts - list->units[i - 1].parts;
        extend(&streak, &unit->option[option], back);
        back += unit->remade;
        before = &unit->option[option];
        while (next < LENGTHS && lengths[next] < streak.length) next++;
        if (next == LENGTHS || lengths[next] != streak.length) continue;
        TRY(add(&list->streaks[s], &streak, err));
    }
    return true;
}

static bool same_option(const struct unit_option *a, const struct unit_option *b)
{
    return a->saved == b->saved && a->freed == b->freed && a->forward_need == b->forward_need &&
           a->backward_need == b->backward_need && a->remake_need == b->remake_need && a->parts == b->parts &&
           a->way == b->way && a->remakes == b->remakes && a->holds == b->holds && a->light == b->light &&
           memcmp(&a->excess, &b->excess, sizeof a->excess) == 0;
}

/* In all that streaks are made of. */
static bool same_unit(const struct unit *a, const struct unit *b)
{
    bool same = a->options == b->options && a->remade == b->remade && a->parts == b->parts;
    for (uint32_t i = 0; same && i < a->options; i++) same = same_option(&a->option[i], &b->option[i]);
    return same;
}

/* The first unit from s on that is not as the one before it. */
static size_t end_of_alike(const struct unit_list *list, size_t s)
{
    while (s > 0 && s < list->count && same_unit(&list->units[s - 1], &list->units[s])) s++;
    return s;
}

static bool copy_streaks(struct unit_list *list, size_t s, struct error *err)
{
    const struct streaks *before = &list->streaks[s - 1];
    struct streaks *own = &list->streaks[s];
    if (before->count == 0) return true;
    if (!mem_grow(MEM_SEARCH, (void **)&own->list, &own->capacity, before->count, sizeof *own->list))
        return error_memory(err, before->count * sizeof *own->list, mem_purpose_name(MEM_SEARCH));
    memcpy(own->list, before->list, before->count * sizeof *own->list);
    own->count = before->count;
    return true;
}

static bool make_streaks(struct unit_list *list, size_t s, struct error *err)
{
    const struct unit *unit = &list->units[s], *after = &list->units[s + 1];
    for (uint32_t hold = 0; hold < unit->options; hold++)
        for (uint32_t i = 0; unit->option[hold].holds && i < after->options; i++)
            if (after->option[i].remakes) TRY(follow(list, s, hold, after->option[i].way, err));
    return true;
}

/* Layers of one shape come by the hundred: where all that a unit's streaks reach is as what those of the unit before
 * reach, so are the streaks. */
bool chain_streaks_make(struct unit_list *list, struct error *err)
{
    size_t alike = 0;
    if (list->more == 0 || list->chain->longest_streak == 0) return true;
    list->streaks = mem_zalloc(MEM_SEARCH, list->count, sizeof *list->streaks);
    if (!list->streaks) return error_memory(err, list->count * sizeof *list->streaks, mem_purpose_name(MEM_SEARCH));
    for (size_t s = 0; s + 1 < list->count; s++) {
        if (alike <= s) alike = end_of_alike(list, s);
        bool repeats = alike > s + list->chain->longest_streak;
        TRY(repeats ? copy_streaks(list, s, err) : make_streaks(list, s, err));
    }
    return true;
}

void chain_streaks_finish(struct unit_list *list)
{
    for (size_t s = 0; list->streaks && s < list->count; s++) mem_free(list->streaks[s].list);
    mem_free(list->streaks);
    list->streaks = NULL;
}
