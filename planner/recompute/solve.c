/* Choosing how to solve: at once where everything fits, exactly where the rows are small enough, else coarser. */
#include "chain_private.h"

#include <math.h>
#include <string.h>

#include "mem.h"

#define GROUPED_UNITS 192u

static bool check_block(const struct chain *chain, size_t index, struct error *err)
{
    const struct chain_block *block = &chain->blocks[index];
    if (block->options == 0 || block->options > CHAIN_MOST_OPTIONS)
        return error_set(err, ERROR_INPUT, "block %zu: found %u options, expected 1 to %d", index, block->options,
                         CHAIN_MOST_OPTIONS);
    if (!(block->forward_seconds >= 0 && block->forward_seconds < HUGE_VAL))
        return error_set(err, ERROR_INPUT, "block %zu: found %g forward seconds, expected at least 0", index,
                         block->forward_seconds);
    if (!(block->spared_seconds >= 0 && block->spared_seconds <= block->forward_seconds))
        return error_set(err, ERROR_INPUT, "block %zu: found %g spared seconds, expected 0 to its forward's %g", index,
                         block->spared_seconds, block->forward_seconds);
    for (uint32_t i = 0; i < block->options; i++) {
        const struct chain_option *o = &block->option[i];
        if (o->saved < block->output)
            return error_set(err, ERROR_INPUT,
                             "block %zu option %u: saves %u quanta, expected at least its output's %u", index, i,
                             o->saved, block->output);
        if (o->remakes_input && (!o->frees_input || index == 0))
            return error_set(err, ERROR_INPUT, "block %zu option %u: remakes its input, expected to free it%s", index,
                             i, index == 0 ? ", and not of the first block" : "");
        if (!(o->backward_seconds >= 0 && o->backward_seconds < HUGE_VAL))
            return error_set(err, ERROR_INPUT, "block %zu option %u: found %g backward seconds, expected at least 0",
                             index, i, o->backward_seconds);
    }
    return true;
}

static bool check_chain(const struct chain *chain, struct error *err)
{
    if (chain->most_remade > CHAIN_MOST_REMADE)
        return error_set(err, ERROR_INPUT, "chain: found %u inputs in a row to make again, expected at most %d",
                         chain->most_remade, CHAIN_MOST_REMADE);
    if (chain->longest_streak > CHAIN_MOST_STREAK)
        return error_set(err, ERROR_INPUT, "chain: found streaks of up to %u inputs to make again, expected at most %d",
                         chain->longest_streak, CHAIN_MOST_STREAK);
    if (chain->count == 0) return error_set(err, ERROR_INPUT, "chain: found no blocks, expected at least 1");
    if (!(chain->copy_seconds >= 0 && chain->copy_seconds < HUGE_VAL))
        return error_set(err, ERROR_INPUT, "chain: found %g seconds for a quantum's copies, expected at least 0",
                         chain->copy_seconds);
    for (size_t i = 0; i < chain->count; i++) TRY(check_block(chain, i, err));
    return true;
}

static bool schedule_reserve(struct chain_schedule *schedule, size_t count, struct error *err)
{
    schedule->steps = mem_alloc(MEM_PLAN, count, sizeof *schedule->steps);
    return schedule->steps || error_memory(err, count * sizeof *schedule->steps, mem_purpose_name(MEM_PLAN));
}

static void raise_peak(struct chain_schedule *schedule, uint64_t quanta)
{
    if (quanta > schedule->peak_quanta) schedule->peak_quanta = quanta;
}

static uint32_t kept_option(const struct chain *chain, uint32_t block, bool fastest)
{
    return fastest ? chain_block_fastest_option(chain, &chain->blocks[block]) : 0;
}

/* Every block saved, under option 0 or its fastest. */
static bool keep_all(const struct chain *chain, bool fastest, struct chain_schedule *schedule, struct error *err)
{
    struct chain_schedule kept = {.optimal = fastest};
    TRY(schedule_reserve(&kept, 2 * chain->count, err));
    uint64_t held = 0, gradient = chain->blocks[chain->count - 1].gradient;
    for (uint32_t k = 0; k < chain->count; k++) {
        uint32_t own = kept_option(chain, k, fastest);
        const struct chain_option *option = &chain->blocks[k].option[own];
        held += option->saved;
        raise_peak(&kept, held + gradient + option->forward_overhead);
        held -= chain_block_freed(chain, k, own);
        kept.copied_quanta += option->copied;
        kept.seconds += chain->blocks[k].forward_seconds;
        kept.steps[kept.count++] = (struct chain_step){CHAIN_SAVE, k, own, option->keep};
    }
    for (uint32_t k = (uint32_t)chain->count; k-- > 0;) {
        uint32_t own = kept_option(chain, k, fastest);
        const struct chain_option *option = &chain->blocks[k].option[own];
        held += chain_block_freed(chain, k, own);
        raise_peak(&kept, held + chain->blocks[k].gradient + option->backward_overhead);
        held -= option->saved;
        kept.seconds += chain_option_seconds(chain, option);
        kept.steps[kept.count++] = (struct chain_step){CHAIN_BACKWARD, k, own, option->keep};
    }
    kept.bound_seconds = kept.seconds;
    bool ok = fastest || chain_quick_bound(chain, kept.peak_quanta, &kept.bound_seconds, err);
    if (ok)
        *schedule = kept;
    else
        chain_schedule_finish(&kept);
    return ok;
}

bool chain_keep_all(const struct chain *chain, struct chain_schedule *schedule, struct error *err)
{
    return check_chain(chain, err) && keep_all(chain, false, schedule, err);
}

void chain_schedule_finish(struct chain_schedule *schedule)
{
    mem_free(schedule->steps);
    *schedule = (struct chain_schedule){0};
}

static size_t group_size(const struct chain *chain)
{
    size_t most = chain->most_units ? chain->most_units : CHAIN_MOST_UNITS;
    size_t units = chain->most_units ? chain->most_units : GROUPED_UNITS;
    return chain->count <= most ? 1 : (chain->count + units - 1) / units;
}

struct chain_table {
    const struct chain *chain;
    struct program fine;     /* only begun: least memory */
    struct program coarse;   /* of larger quanta, filled; as fine when those rows are small enough */
    struct knapsack bound;   /* of all its schedules */
    bool coarser;            /* the two are not the same */
    uint64_t low, high, all; /* all: in which the fastest way of all fits */
};

static bool begin_whole(struct program *program, const struct chain *chain, uint32_t scale, uint32_t inner,
                        struct error *err)
{
    struct unit_cut cut = {.count = chain->count, .size = group_size(chain), .scale = scale, .inner = inner};
    return chain_program_begin(program, chain, &cut, err);
}

static uint64_t whole_least(const struct program *program)
{
    return (uint64_t)chain_program_least(program) * program->list.scale;
}

/* More than everything kept is never needed. */
static uint32_t scaled_limit(const struct program *program, uint64_t limit)
{
    uint64_t scaled = limit / program->list.scale;
    return scaled < CHAIN_MOST_QUANTA ? (uint32_t)scaled : (uint32_t)CHAIN_MOST_QUANTA;
}

/* The most bytes that the rows of any one limit take. Limits between those looked at may take a little more. */
static uint64_t most_row_bytes(const struct program *program, uint64_t all)
{
    uint64_t most = 0, step;
    for (uint64_t limit = whole_least(program); limit <= all; limit += step) {
        uint32_t scaled = scaled_limit(program, limit);
        uint64_t bytes = chain_program_row_bytes(program, scaled, scaled);
        if (bytes > most) most = bytes;
        step = limit / 4 + 1;
    }
    return most;
}

static uint32_t raise_scale(uint32_t scale, uint64_t bytes, uint64_t room)
{
    uint64_t raised = scale * (bytes / (room ? room : 1) + 1);
    return raised < CHAIN_MOST_QUANTA ? (uint32_t)raised : (uint32_t)CHAIN_MOST_QUANTA;
}

static bool begin_coarser(struct chain_table *table, uint32_t scale, uint32_t inner, struct error *err)
{
    chain_program_finish(&table->coarse);
    return begin_whole(&table->coarse, table->chain, scale, inner, err);
}

/* The least quanta whose rows fit under every limit, so that a larger limit never meets coarser ones. A quarter is for
 * the rows inside units. */
static bool coarsen(struct chain_table *table, uint64_t table_bytes, struct error *err)
{
    uint32_t scale = table->fine.list.scale, inner = scale;
    uint64_t inside_room = table_bytes / 4, between_room = table_bytes - (table->fine.groups ? inside_room : 0);
    const struct program *program = &table->fine;
    for (;;) {
        uint64_t inside = chain_program_inner_bytes(program, scaled_limit(program, table->all));
        uint64_t between = most_row_bytes(program, table->all);
        if (inside <= inside_room && between <= between_room) return true;
        if (inside > inside_room) inner = raise_scale(inner, inside, inside_room);
        if (between > between_room) scale = raise_scale(scale, between, between_room);
        if (scale == CHAIN_MOST_QUANTA || inner == CHAIN_MOST_QUANTA || table_bytes < table->chain->count)
            return error_set(err, ERROR_INPUT, "table bytes: found %llu, expected more for a chain of %zu blocks",
                             (unsigned long long)table_bytes, table->chain->count);
        TRY(begin_coarser(table, scale, inner, err));
        table->coarser = true;
        program = &table->coarse;
    }
}

static struct program *filled_program(struct chain_table *table)
{
    return table->coarser ? &table->coarse : &table->fine;
}

static bool fill_table(struct chain_table *table, uint64_t table_bytes, struct error *err)
{
    TRY(begin_whole(&table->fine, table->chain, chain_least_scale(table->chain), chain_least_scale(table->chain), err));
    uint64_t least = whole_least(&table->fine);
    if (table->high < least)
        return error_set(err, ERROR_UNFIT, "recomputation: found a limit of %llu quanta, expected at least %llu",
                         (unsigned long long)table->high, (unsigned long long)least);
    if (table->high > table->all) table->high = table->all;
    if (table->low > table->high) table->low = table->high;
    TRY(coarsen(table, table_bytes, err));
    struct program *program = filled_program(table);
    return chain_program_solve(program, scaled_limit(program, table->low), scaled_limit(program, table->high), err);
}

static uint64_t peak_of_all(const struct chain *chain, struct error *err)
{
    struct chain_schedule all;
    if (!keep_all(chain, true, &all, err)) return UINT64_MAX;
    uint64_t peak = all.peak_quanta;
    chain_schedule_finish(&all);
    return peak;
}

struct chain_table *chain_table_create(const struct chain *chain, uint64_t low, uint64_t high, uint64_t table_bytes,
                                       struct error *err)
{
    if (!check_chain(chain, err)) return NULL;
    uint64_t all = peak_of_all(chain, err);
    if (all == UINT64_MAX) return NULL;
    struct chain_table *table = mem_zalloc(MEM_SEARCH, 1, sizeof *table);
    if (!table) {
        error_memory(err, sizeof *table, mem_purpose_name(MEM_SEARCH));
        return NULL;
    }
    *table = (struct chain_table){.chain = chain, .low = low, .high = high, .all = all};
    bool ok = low >= all || (chain_knapsack_make(chain, &table->bound, err) &&
                             fill_table(table, table_bytes ? table_bytes : CHAIN_TABLE_BYTES, err));
    if (ok) return table;
    chain_table_destroy(table);
    return NULL;
}

void chain_table_destroy(struct chain_table *table)
{
    if (!table) return;
    chain_program_finish(&table->fine);
    chain_program_finish(&table->coarse);
    chain_knapsack_finish(&table->bound);
    mem_free(table);
}

/* The schedule of least memory, where coarser quanta leave no room or find nothing faster. */
static bool read_fine(const struct chain_table *table, struct chain_schedule *found, struct error *err)
{
    struct chain_schedule tight = {0};
    bool ok = chain_program_read(&table->fine, NO_ROOM, &tight, err);
    if (ok && (found->count == 0 || tight.seconds < found->seconds)) {
        struct chain_schedule slower = *found;
        *found = tight;
        tight = slower;
    }
    chain_schedule_finish(&tight);
    return ok;
}

static bool read_filled(const struct chain_table *table, uint64_t limit, struct chain_schedule *found,
                        struct error *err)
{
    const struct program *program = table->coarser ? &table->coarse : &table->fine;
    uint32_t scaled = scaled_limit(program, limit);
    if (scaled >= chain_program_least(program)) TRY(chain_program_read(program, scaled, found, err));
    if (table->coarser) TRY(read_fine(table, found, err));
    double bound = chain_knapsack_seconds(&table->bound, limit);
    found->optimal = (program->list.scale == 1 && !program->list.grouped) || found->seconds <= bound;
    found->bound_seconds = found->optimal ? found->seconds : bound;
    return true;
}

static bool check_limit(const struct chain_table *table, uint64_t limit, struct error *err)
{
    if (limit < table->low)
        return error_set(err, ERROR_INPUT, "recomputation: found a limit of %llu quanta, expected at least %llu",
                         (unsigned long long)limit, (unsigned long long)table->low);
    uint64_t least = whole_least(&table->fine);
    return limit >= least ||
           error_set(err, ERROR_UNFIT, "recomputation: found a limit of %llu quanta, expected at least %llu",
                     (unsigned long long)limit, (unsigned long long)least);
}

bool chain_table_schedule(const struct chain_table *table, uint64_t limit, struct chain_schedule *schedule,
                          struct error *err)
{
    struct chain_schedule found = {0};
    if (limit > table->high) limit = table->high;
    if (limit >= table->all) return keep_all(table->chain, true, schedule, err);
    TRY(check_limit(table, limit, err));
    if (!read_filled(table, limit, &found, err)) {
        chain_schedule_finish(&found);
        return false;
    }
    *schedule = found;
    return true;
}

bool chain_solve(const struct chain *chain, uint64_t limit, uint64_t table_bytes, struct chain_schedule *schedule,
                 struct error *err)
{
    struct chain_table *table = chain_table_create(chain, limit, limit, table_bytes, err);
    if (!table) return false;
    bool ok = chain_table_schedule(table, limit, schedule, err);
    chain_table_destroy(table);
    return ok;
}

bool chain_solve_least(const struct chain *chain, struct chain_schedule *schedule, struct error *err)
{
    struct program program;
    struct chain_schedule found = {0};
    TRY(check_chain(chain, err));
    TRY(begin_whole(&program, chain, chain_least_scale(chain), chain_least_scale(chain), err));
    bool ok = chain_program_read(&program, NO_ROOM, &found, err);
    ok = ok && chain_quick_bound(chain, whole_least(&program), &found.bound_seconds, err);
    chain_program_finish(&program);
    if (ok)
        *schedule = found;
    else
        chain_schedule_finish(&found);
    return ok;
}

uint64_t chain_least_limit(const struct chain *chain)
{
    struct program program;
    uint32_t scale = check_chain(chain, NULL) ? chain_least_scale(chain) : 0;
    if (scale == 0 || !begin_whole(&program, chain, scale, scale, NULL)) return UINT64_MAX;
    uint64_t least = whole_least(&program);
    chain_program_finish(&program);
    return least;
}
