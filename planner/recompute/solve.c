/* Choosing how to solve: at once where everything fits, exactly where the tables are small enough, else coarser. */
#include "chain_private.h"

#include <math.h>
#include <string.h>

#include "mem.h"

#define MOST_UNITS          512u /* exact program's; beyond, blocks are taken together */
#define GROUPED_UNITS       384u
#define DEFAULT_TABLE_BYTES ((uint64_t)512 << 20)
#define MOST_QUANTA         ((uint64_t)1 << 30) /* of all sizes of a chain together, in the program's own quanta */

static bool check_block(const struct chain *chain, size_t index, struct error *err)
{
    const struct chain_block *block = &chain->blocks[index];
    if (block->options == 0 || block->options > CHAIN_MOST_OPTIONS)
        return error_set(err, ERROR_INPUT, "block %zu: found %u options, expected 1 to %d", index, block->options,
                         CHAIN_MOST_OPTIONS);
    if (!(block->forward_seconds >= 0 && block->forward_seconds < HUGE_VAL))
        return error_set(err, ERROR_INPUT, "block %zu: found %g forward seconds, expected at least 0", index,
                         block->forward_seconds);
    for (uint32_t i = 0; i < block->options; i++) {
        const struct chain_option *o = &block->option[i];
        if (o->saved < block->output)
            return error_set(err, ERROR_INPUT,
                             "block %zu option %u: saves %u quanta, expected at least its output's %u", index, i,
                             o->saved, block->output);
        if (!(o->backward_seconds >= 0 && o->backward_seconds < HUGE_VAL))
            return error_set(err, ERROR_INPUT, "block %zu option %u: found %g backward seconds, expected at least 0",
                             index, i, o->backward_seconds);
    }
    return true;
}

static bool check_chain(const struct chain *chain, struct error *err)
{
    if (chain->count == 0) return error_set(err, ERROR_INPUT, "chain: found no blocks, expected at least 1");
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

static uint32_t kept_option(const struct chain_block *block, bool fastest)
{
    return fastest ? chain_block_fastest_option(block) : 0;
}

/* Every block saved, under option 0 or its fastest. */
static bool keep_all(const struct chain *chain, bool fastest, struct chain_schedule *schedule, struct error *err)
{
    struct chain_schedule kept = {.optimal = fastest};
    TRY(schedule_reserve(&kept, 2 * chain->count, err));
    uint64_t held = 0, gradient = chain->blocks[chain->count - 1].gradient;
    for (uint32_t k = 0; k < chain->count; k++) {
        const struct chain_block *block = &chain->blocks[k];
        uint32_t option = kept_option(block, fastest);
        held += block->option[option].saved;
        raise_peak(&kept, held + gradient + block->option[option].forward_overhead);
        kept.seconds += block->forward_seconds;
        kept.steps[kept.count++] = (struct chain_step){CHAIN_SAVE, k, option, chain->blocks[k].option[option].keep};
    }
    for (uint32_t k = (uint32_t)chain->count; k-- > 0;) {
        const struct chain_block *block = &chain->blocks[k];
        uint32_t option = kept_option(block, fastest);
        raise_peak(&kept, held + block->gradient + block->option[option].backward_overhead);
        held -= block->option[option].saved;
        kept.seconds += block->option[option].backward_seconds;
        kept.steps[kept.count++] = (struct chain_step){CHAIN_BACKWARD, k, option, chain->blocks[k].option[option].keep};
    }
    *schedule = kept;
    return true;
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

static uint32_t divide_up(uint32_t size, uint32_t scale) { return size / scale + (size % scale != 0); }

/* The same chain in quanta `scale` times as large, every size rounded up: what fits it fits the chain. */
static bool scale_chain(const struct chain *chain, uint32_t scale, struct chain *scaled, struct error *err)
{
    *scaled = *chain;
    scaled->blocks = mem_alloc(MEM_SEARCH, chain->count, sizeof *scaled->blocks);
    if (!scaled->blocks) return error_memory(err, chain->count * sizeof *scaled->blocks, mem_purpose_name(MEM_SEARCH));
    memcpy(scaled->blocks, chain->blocks, chain->count * sizeof *scaled->blocks);
    for (size_t k = 0; k < chain->count; k++) {
        struct chain_block *block = &scaled->blocks[k];
        block->output = divide_up(block->output, scale);
        block->gradient = divide_up(block->gradient, scale);
        block->run_overhead = divide_up(block->run_overhead, scale);
        for (uint32_t i = 0; i < block->options; i++) {
            struct chain_option *o = &block->option[i];
            o->saved = divide_up(o->saved, scale);
            o->forward_overhead = divide_up(o->forward_overhead, scale);
            o->backward_overhead = divide_up(o->backward_overhead, scale);
        }
    }
    return true;
}

/* The quanta must be this much larger for sums over the chain to fit the program's numbers: 1 for any real chain. */
static uint32_t least_scale(const struct chain *chain)
{
    uint64_t sum = 0;
    for (size_t k = 0; k < chain->count; k++) {
        const struct chain_block *block = &chain->blocks[k];
        sum += (uint64_t)block->output + block->gradient + block->run_overhead + 3;
        for (uint32_t i = 0; i < block->options; i++) {
            const struct chain_option *o = &block->option[i];
            sum += (uint64_t)o->saved + o->forward_overhead + o->backward_overhead + 3;
        }
    }
    return (uint32_t)(sum / MOST_QUANTA + 1);
}

static size_t group_size(const struct chain *chain)
{
    return chain->count <= MOST_UNITS ? 1 : (chain->count + GROUPED_UNITS - 1) / GROUPED_UNITS;
}

/* A program over the chain in larger quanta. */
struct attempt {
    struct chain scaled;
    struct program program;
    uint32_t scale;
};

static bool attempt_begin(struct attempt *attempt, const struct chain *chain, uint32_t scale, struct error *err)
{
    *attempt = (struct attempt){.scale = scale};
    if (scale_chain(chain, scale, &attempt->scaled, err) &&
        chain_program_begin(&attempt->program, &attempt->scaled, 0, chain->count, group_size(chain), err))
        return true;
    mem_free(attempt->scaled.blocks);
    *attempt = (struct attempt){0};
    return false;
}

static void attempt_finish(struct attempt *attempt)
{
    chain_program_finish(&attempt->program);
    mem_free(attempt->scaled.blocks);
}

static uint32_t attempt_least(const struct attempt *attempt)
{
    return attempt->program.least[pair_index(0, attempt->program.list.count - 1)];
}

/* More than everything kept is never needed. */
static uint32_t attempt_limit(const struct attempt *attempt, uint64_t limit)
{
    uint64_t scaled = limit / attempt->scale;
    return scaled < MOST_QUANTA ? (uint32_t)scaled : (uint32_t)MOST_QUANTA;
}

/* Coarsens the quanta until the rows fit the table. */
static bool coarsen(struct attempt *attempt, const struct chain *chain, uint64_t limit, uint64_t table_bytes,
                    uint64_t *bytes, struct error *err)
{
    while ((*bytes = chain_program_row_bytes(&attempt->program, attempt_limit(attempt, limit))) > table_bytes) {
        uint64_t scale = attempt->scale * (*bytes / table_bytes + 1);
        if (scale > MOST_QUANTA || attempt_limit(attempt, limit) == 0)
            return error_set(err, ERROR_INPUT, "table bytes: found %llu, expected more for a chain of %zu blocks",
                             (unsigned long long)table_bytes, chain->count);
        attempt_finish(attempt);
        TRY(attempt_begin(attempt, chain, (uint32_t)scale, err));
    }
    return true;
}

static bool solve_coarsened(struct attempt *attempt, const struct chain *chain, uint64_t limit, uint64_t table_bytes,
                            struct chain_schedule *schedule, struct error *err)
{
    uint64_t bytes;
    TRY(coarsen(attempt, chain, limit, table_bytes, &bytes, err));
    uint32_t scaled = attempt_limit(attempt, limit);
    schedule->optimal = attempt->scale == 1 && !attempt->program.list.grouped;
    if (scaled < attempt_least(attempt)) return true; /* rounding left no room */
    return chain_program_solve(&attempt->program, scaled, bytes, err) &&
           chain_program_read(&attempt->program, chain, false, schedule, err);
}

/* Where the coarser quanta leave no room, the schedule of least memory does. */
static bool solve_tight(const struct chain *chain, struct chain_schedule *schedule, struct error *err)
{
    struct attempt attempt;
    TRY(attempt_begin(&attempt, chain, least_scale(chain), err));
    bool ok = chain_program_read(&attempt.program, chain, true, schedule, err);
    attempt_finish(&attempt);
    return ok;
}

static bool solve_limited(const struct chain *chain, uint64_t limit, uint64_t table_bytes,
                          struct chain_schedule *schedule, struct error *err)
{
    struct attempt attempt;
    TRY(attempt_begin(&attempt, chain, least_scale(chain), err));
    uint64_t least = (uint64_t)attempt_least(&attempt) * attempt.scale;
    bool ok = limit >= least ||
              error_set(err, ERROR_UNFIT, "recomputation: found a limit of %llu quanta, expected at least %llu",
                        (unsigned long long)limit, (unsigned long long)least);
    if (ok) ok = solve_coarsened(&attempt, chain, limit, table_bytes, schedule, err);
    attempt_finish(&attempt);
    return ok && (schedule->count > 0 || solve_tight(chain, schedule, err));
}

bool chain_solve(const struct chain *chain, uint64_t limit, uint64_t table_bytes, struct chain_schedule *schedule,
                 struct error *err)
{
    struct chain_schedule found;
    TRY(check_chain(chain, err));
    TRY(keep_all(chain, true, &found, err));
    if (found.peak_quanta > limit) {
        chain_schedule_finish(&found);
        if (!solve_limited(chain, limit, table_bytes ? table_bytes : DEFAULT_TABLE_BYTES, &found, err)) {
            chain_schedule_finish(&found);
            return false;
        }
    }
    *schedule = found;
    return true;
}

uint64_t chain_least_limit(const struct chain *chain)
{
    struct attempt attempt;
    if (!check_chain(chain, NULL) || !attempt_begin(&attempt, chain, least_scale(chain), NULL)) return UINT64_MAX;
    uint64_t least = (uint64_t)attempt_least(&attempt) * attempt.scale;
    attempt_finish(&attempt);
    return least;
}
