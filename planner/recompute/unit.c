/* Blocks as units, and how little and how much memory each stretch of units can use. */
#include "chain_private.h"
#include "mem.h"

static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }
static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

uint32_t chain_block_fastest_option(const struct chain_block *block)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < block->options; i++) {
        const struct chain_option *o = &block->option[i], *b = &block->option[best];
        if (o->backward_seconds < b->backward_seconds ||
            (o->backward_seconds == b->backward_seconds && o->saved < b->saved))
            best = i;
    }
    return best;
}

uint32_t chain_units_block_option(const struct unit_list *list, uint32_t option, uint32_t block)
{
    const struct chain_block *b = &list->chain->blocks[block];
    if (!list->grouped) return option;
    return option == 0 ? chain_block_fastest_option(b) : smaller(option - 1, b->options - 1);
}

/* All blocks of the unit saved one after the other; backward frees them in reverse order. */
static struct unit_option save_blocks(const struct unit_list *list, const struct unit *unit, uint32_t option)
{
    struct unit_option sum = {0};
    for (uint32_t k = unit->first; k <= unit->last; k++) {
        const struct chain_block *block = &list->chain->blocks[k];
        const struct chain_option *o = &block->option[chain_units_block_option(list, option, k)];
        sum.saved += o->saved;
        sum.forward_need = larger(sum.forward_need, sum.saved + o->forward_overhead);
        sum.backward_need = larger(sum.backward_need, block->gradient + sum.saved + o->backward_overhead);
        sum.excess += o->backward_seconds - block->option[chain_block_fastest_option(block)].backward_seconds;
    }
    return sum;
}

static void fill_options(const struct unit_list *list, struct unit *unit)
{
    uint32_t most = 1;
    for (uint32_t k = unit->first; k <= unit->last; k++) most = larger(most, list->chain->blocks[k].options);
    unit->options = most + list->grouped;
    for (uint32_t i = 0; i < unit->options; i++) unit->option[i] = save_blocks(list, unit, i);
    unit->fastest = list->grouped ? 0 : chain_block_fastest_option(&list->chain->blocks[unit->first]);
}

static void fill_unit(const struct unit_list *list, struct unit *unit)
{
    const struct chain_block *blocks = list->chain->blocks;
    unit->output = blocks[unit->last].output;
    unit->gradient = blocks[unit->last].gradient;
    uint32_t inside = 0;
    for (uint32_t k = unit->first; k <= unit->last; k++) {
        uint32_t need = blocks[k].output + blocks[k].run_overhead;
        if (k > unit->first) inside = larger(inside, blocks[k - 1].output + need);
        unit->forward_seconds += blocks[k].forward_seconds;
    }
    uint32_t own = blocks[unit->first].output + blocks[unit->first].run_overhead;
    uint32_t input = unit->first > 0 ? blocks[unit->first - 1].output : 0;
    unit->run_first = larger(inside, own);
    unit->run_next = larger(inside, input + own);
    fill_options(list, unit);
}

bool chain_units_make(const struct chain *chain, size_t first, size_t count, size_t size, struct unit_list *list,
                      struct error *err)
{
    size_t units = (count + size - 1) / size;
    *list = (struct unit_list){.chain = chain, .count = units, .grouped = size > 1};
    list->units = mem_zalloc(MEM_SEARCH, units, sizeof *list->units);
    if (!list->units) return error_memory(err, units * sizeof *list->units, mem_purpose_name(MEM_SEARCH));
    for (size_t i = 0; i < units; i++) {
        size_t last = (i + 1) * size < count ? (i + 1) * size : count;
        list->units[i].first = (uint32_t)(first + i * size);
        list->units[i].last = (uint32_t)(first + last - 1);
        fill_unit(list, &list->units[i]);
    }
    return true;
}

void chain_units_finish(struct unit_list *list)
{
    mem_free(list->units);
    *list = (struct unit_list){0};
}

/* Saving s first, then s + 1..t above it. */
static uint32_t need_saving(const struct unit_list *list, const struct unit_option *o, size_t s, size_t t,
                            uint32_t rest)
{
    uint32_t own = larger(list->units[t].gradient + o->forward_need, o->backward_need);
    return s == t ? own : larger(own, o->saved + rest);
}

static uint32_t least_saving(const struct unit_list *list, size_t s, size_t t, uint32_t rest)
{
    uint32_t least = NO_ROOM;
    for (uint32_t i = 0; i < list->units[s].options; i++)
        least = smaller(least, need_saving(list, &list->units[s].option[i], s, t, rest));
    return least;
}

static uint32_t least_splitting(const struct unit_list *list, const uint32_t *least, size_t s, size_t t)
{
    uint32_t best = NO_ROOM, run = list->units[s].run_first;
    for (size_t j = s + 1; j <= t; j++) {
        uint32_t right = list->units[j - 1].output + least[pair_index(j, t)];
        uint32_t need = larger(larger(list->units[t].gradient + run, right), least[pair_index(s, j - 1)]);
        best = smaller(best, need);
        run = larger(run, list->units[j].run_next);
    }
    return best;
}

void chain_least_fill(const struct unit_list *list, const uint32_t *single, uint32_t *least)
{
    for (size_t t = 0; t < list->count; t++) {
        least[pair_index(t, t)] = single ? single[t] : least_saving(list, t, t, 0);
        for (size_t s = t; s-- > 0;) {
            uint32_t saving = least_saving(list, s, t, least[pair_index(s + 1, t)]);
            least[pair_index(s, t)] = smaller(saving, least_splitting(list, least, s, t));
        }
    }
}

void chain_enough_fill(const struct unit_list *list, uint32_t *enough)
{
    for (size_t t = 0; t < list->count; t++)
        for (size_t s = t + 1; s-- > 0;) {
            const struct unit *unit = &list->units[s];
            uint32_t rest = s < t ? enough[pair_index(s + 1, t)] : 0;
            enough[pair_index(s, t)] = need_saving(list, &unit->option[unit->fastest], s, t, rest);
        }
}
