/* Blocks as units, and how little and how much memory each stretch of units can use. */
#include "chain_private.h"
#include "mem.h"

static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }
static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }
static void raise(uint64_t *most, uint64_t value) { *most = value > *most ? value : *most; }

double chain_option_seconds(const struct chain *chain, const struct chain_option *option)
{
    return option->backward_seconds + chain->copy_seconds * option->copied;
}

uint32_t chain_block_fastest_option(const struct chain *chain, const struct chain_block *block)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < block->options; i++) {
        const struct chain_option *o = &block->option[i], *b = &block->option[best];
        if (o->remakes_input) continue;
        double own = chain_option_seconds(chain, o), least = chain_option_seconds(chain, b);
        if (own < least || (own == least && o->saved < b->saved)) best = i;
    }
    return best;
}

uint32_t chain_block_input(const struct chain *chain, size_t block)
{
    return block > 0 ? chain->blocks[block - 1].output : 0;
}

uint32_t chain_block_freed(const struct chain *chain, size_t block, uint32_t option)
{
    return chain->blocks[block].option[option].frees_input ? chain_block_input(chain, block) : 0;
}

uint32_t chain_least_scale(const struct chain *chain)
{
    uint64_t sum = 0;
    for (size_t k = 0; k < chain->count; k++) {
        const struct chain_block *block = &chain->blocks[k];
        sum += 3 * (uint64_t)block->output + block->gradient + block->run_overhead +
               CHAIN_MOST_STREAK * (uint64_t)block->remade + 3 + CHAIN_MOST_STREAK;
        for (uint32_t i = 0; i < block->options; i++) {
            const struct chain_option *o = &block->option[i];
            sum += (uint64_t)o->saved + o->forward_overhead + o->backward_overhead + o->remake_overhead + 4;
        }
    }
    return (uint32_t)(sum / CHAIN_MOST_QUANTA + 1);
}

static uint32_t block_option(const struct unit_list *list, uint32_t way, uint32_t block)
{
    const struct chain_block *b = &list->chain->blocks[block];
    if (!list->grouped) return way;
    uint32_t option = way == 0 ? 0 : smaller(way - 1, b->options - 1);
    return way == 0 || b->option[option].remakes_input ? chain_block_fastest_option(list->chain, b) : option;
}

uint32_t chain_units_block_option(const struct unit_list *list, const struct unit *unit, uint32_t option,
                                  uint32_t block)
{
    return block_option(list, unit->option[option].way, block);
}

static uint32_t scale_held(const struct unit_list *list, uint64_t quanta)
{
    return (uint32_t)(quanta / list->scale + (!list->optimistic && quanta % list->scale != 0));
}

static uint32_t scale_freed(const struct unit_list *list, uint64_t quanta)
{
    return (uint32_t)(quanta / list->scale + (list->optimistic && quanta % list->scale != 0));
}

/* All blocks of the unit saved one after the other; backward frees them in reverse order. What the first block frees
 * of the unit's input is room for the others. */
static struct unit_option save_blocks(const struct unit_list *list, const struct unit *unit, uint32_t way)
{
    const struct chain *chain = list->chain;
    uint64_t held = 0, room = 0, forward = 0, backward = 0;
    double excess = 0;
    for (uint32_t k = unit->first; k <= unit->last; k++) {
        const struct chain_block *block = &chain->blocks[k];
        uint32_t own = block_option(list, way, k), freed = chain_block_freed(chain, k, own);
        const struct chain_option *o = &block->option[own];
        uint64_t used = held + o->saved > room ? held + o->saved - room : 0;
        raise(&forward, used + o->forward_overhead);
        raise(&backward, block->gradient + used + o->backward_overhead);
        held += o->saved;
        if (k == unit->first)
            room = freed;
        else
            held -= freed;
        excess += chain_option_seconds(chain, o) -
                  chain_option_seconds(chain, &block->option[chain_block_fastest_option(chain, block)]);
    }
    const struct chain_option *first = &chain->blocks[unit->first].option[block_option(list, way, unit->first)];
    uint64_t remake = (uint64_t)chain->blocks[unit->first].gradient + first->saved + first->remake_overhead;
    return (struct unit_option){.saved = scale_held(list, held),
                                .freed = scale_freed(list, room),
                                .forward_need = scale_held(list, forward),
                                .backward_need = scale_held(list, backward),
                                .remake_need = first->remakes_input ? scale_held(list, remake) : 0,
                                .parts = scale_held(list, first->parts),
                                .excess = excess,
                                .way = way,
                                .remakes = !list->grouped && first->remakes_input,
                                .holds = !list->grouped && !first->frees_input,
                                .light = chain->loose || first->parts <= chain->blocks[unit->first].parts};
}

/* Whether a is at least as good as b in everything. */
static bool serves_for(const struct unit_option *a, const struct unit_option *b)
{
    return a->saved <= b->saved && a->freed >= b->freed && a->forward_need <= b->forward_need &&
           a->backward_need <= b->backward_need && a->remake_need <= b->remake_need && a->parts <= b->parts &&
           a->excess <= b->excess && a->remakes <= b->remakes && a->holds >= b->holds && a->light >= b->light;
}

/* What takes no less of anything than another option is left out; of equals the first stays. */
static void add_option(struct unit *unit, const struct unit_option *option)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < unit->options; i++)
        if (serves_for(&unit->option[i], option)) return;
    for (uint32_t i = 0; i < unit->options; i++)
        if (!serves_for(option, &unit->option[i])) unit->option[kept++] = unit->option[i];
    unit->option[kept] = *option;
    unit->options = kept + 1;
}

static void fill_options(const struct unit_list *list, struct unit *unit)
{
    uint32_t most = 1;
    for (uint32_t k = unit->first; k <= unit->last; k++) most = larger(most, list->chain->blocks[k].options);
    for (uint32_t way = 0; way < most + list->grouped; way++) {
        struct unit_option option = save_blocks(list, unit, way);
        if (!option.remakes || list->more > 0) add_option(unit, &option);
    }
    for (uint32_t i = 1; i < unit->options; i++) {
        const struct unit_option *o = &unit->option[i], *best = &unit->option[unit->fastest];
        if (o->remakes) continue;
        if (o->excess < best->excess || (o->excess <= best->excess && o->saved < best->saved)) unit->fastest = i;
    }
}

static void fill_unit(const struct unit_list *list, struct unit *unit)
{
    const struct chain_block *blocks = list->chain->blocks;
    uint64_t inside = 0, input = chain_block_input(list->chain, unit->first);
    for (uint32_t k = unit->first; k <= unit->last; k++) {
        if (k > unit->first) raise(&inside, (uint64_t)blocks[k - 1].output + blocks[k].output + blocks[k].run_overhead);
        unit->forward_seconds += blocks[k].forward_seconds;
    }
    uint64_t own = (uint64_t)blocks[unit->first].output + blocks[unit->first].run_overhead;
    unit->output = scale_held(list, blocks[unit->last].output);
    unit->gradient = scale_held(list, blocks[unit->last].gradient);
    unit->run_own = scale_held(list, own);
    unit->run_first = scale_held(list, inside > own ? inside : own);
    unit->run_next = scale_held(list, inside > input + own ? inside : input + own);
    unit->remade = scale_held(list, blocks[unit->first].remade);
    unit->parts = scale_freed(list, blocks[unit->first].parts);
    unit->spared_seconds = blocks[unit->last].spared_seconds;
    unit->freed = list->chain->copy_seconds > 0 ? scale_freed(list, input) : 0;
    unit->offload_seconds = list->chain->copy_seconds * (double)input;
    fill_options(list, unit);
}

static bool remakes_any(const struct chain *chain)
{
    for (size_t k = 0; k < chain->count; k++)
        for (uint32_t i = 0; i < chain->blocks[k].options; i++)
            if (chain->blocks[k].option[i].remakes_input) return true;
    return false;
}

bool chain_units_make(const struct chain *chain, const struct unit_cut *cut, struct unit_list *list, struct error *err)
{
    size_t units = (cut->count + cut->size - 1) / cut->size;
    *list = (struct unit_list){.chain = chain,
                               .count = units,
                               .scale = cut->scale,
                               .inner = cut->inner,
                               .optimistic = cut->optimistic,
                               .grouped = cut->size > 1};
    if (cut->size == 1 && cut->count == chain->count && remakes_any(chain)) list->more = chain->most_remade;
    list->units = mem_zalloc(MEM_SEARCH, units, sizeof *list->units);
    if (!list->units) return error_memory(err, units * sizeof *list->units, mem_purpose_name(MEM_SEARCH));
    for (size_t i = 0; i < units; i++) {
        size_t last = (i + 1) * cut->size < cut->count ? (i + 1) * cut->size : cut->count;
        list->units[i].first = (uint32_t)(cut->first + i * cut->size);
        list->units[i].last = (uint32_t)(cut->first + last - 1);
        fill_unit(list, &list->units[i]);
    }
    return true;
}

void chain_units_finish(struct unit_list *list)
{
    chain_streaks_finish(list);
    mem_free(list->units);
    *list = (struct unit_list){0};
}

static uint32_t less_freed(uint32_t quanta, uint32_t freed) { return quanta > freed ? quanta - freed : 0; }

uint32_t chain_more_after(const struct unit_list *list, const struct unit_option *o, uint32_t more)
{
    if (!o->light) return 0;
    return o->remakes ? more - 1 : o->holds ? list->more : 0;
}

uint32_t chain_need_alone(const struct unit_list *list, const struct unit_option *o, size_t s, size_t t, uint32_t more)
{
    uint32_t remake = o->remake_need, own = larger(list->units[t].gradient + o->forward_need, o->backward_need);
    /* States with more inputs dropped than there are units before s are filled as the others are; none leads to one. */
    for (uint32_t i = 1; o->remakes && i <= list->more - more && i <= s; i++) remake += list->units[s - i].remade;
    return larger(own, remake);
}

uint32_t chain_need_saving(const struct unit_list *list, const struct unit_option *o, size_t s, size_t t, uint32_t more,
                           uint32_t rest)
{
    uint32_t own = chain_need_alone(list, o, s, t, more);
    return s == t ? own : larger(own, less_freed(o->saved + rest, o->freed));
}

/* Saving s first, under the option that needs least with the rest. */
static uint32_t least_saving(const struct unit_list *list, const uint32_t *least, size_t s, size_t t, uint32_t more)
{
    uint32_t best = NO_ROOM;
    for (uint32_t i = 0; i < list->units[s].options; i++) {
        const struct unit_option *o = &list->units[s].option[i];
        if (o->remakes && more == 0) continue;
        uint32_t after = chain_more_after(list, o, more);
        uint32_t rest = s < t ? least[state_index(list, after, s + 1, t)] : 0;
        best = smaller(best, chain_need_saving(list, o, s, t, more, rest));
    }
    return best;
}

struct runs chain_runs_begin(const struct unit_list *list, size_t s)
{
    const struct unit *unit = &list->units[s];
    return (struct runs){unit->run_first, larger(unit->run_own, less_freed(unit->run_first, unit->freed))};
}

void chain_runs_extend(const struct unit_list *list, size_t s, size_t next, struct runs *runs)
{
    uint32_t need = list->units[next].run_next;
    runs->here = larger(runs->here, need);
    runs->away = larger(runs->away, less_freed(need, list->units[s].freed));
}

static uint32_t least_splitting(const struct unit_list *list, const uint32_t *least, size_t s, size_t t)
{
    uint32_t best = NO_ROOM, freed = list->units[s].freed;
    struct runs runs = chain_runs_begin(list, s);
    for (size_t j = s + 1; j <= t; j++) {
        uint32_t right = less_freed(list->units[j - 1].output + least[pair_index(j, t)], freed);
        uint32_t need = larger(larger(list->units[t].gradient + runs.away, right), least[pair_index(s, j - 1)]);
        best = smaller(best, need);
        chain_runs_extend(list, s, j, &runs);
    }
    return best;
}

void chain_least_fill(const struct unit_list *list, const uint32_t *single, uint32_t *least)
{
    for (size_t t = 0; t < list->count; t++)
        for (size_t s = t + 1; s-- > 0;) {
            uint32_t splitting = s == t && single ? single[t] : least_splitting(list, least, s, t);
            for (uint32_t more = 0; more <= list->more; more++) {
                uint32_t saving = s == t && single ? NO_ROOM : least_saving(list, least, s, t, more);
                least[state_index(list, more, s, t)] = smaller(saving, splitting);
            }
        }
}

void chain_enough_fill(const struct unit_list *list, uint32_t *enough)
{
    for (size_t t = 0; t < list->count; t++)
        for (size_t s = t + 1; s-- > 0;) {
            const struct unit *unit = &list->units[s];
            uint32_t rest = s < t ? enough[pair_index(s + 1, t)] : 0;
            enough[pair_index(s, t)] = chain_need_saving(list, &unit->option[unit->fastest], s, t, 0, rest);
        }
}
