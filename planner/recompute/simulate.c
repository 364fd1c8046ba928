/* What a schedule does, step by step, from the blocks' figures alone.
 *
 * Resident are: plain outputs of blocks that ran without saving, what blocks saved, and gradients. A plain output goes
 * when its reader ran, or, where it is a reader's kept input, after that block's backward. The gradient of the chain's
 * output is there from the start. An output, plain or part of what is saved, can be away: its reader sent it to the
 * host, or was saved under an option that frees it. The former comes back by a step, the latter at the reader's
 * backward. */
#include "chain.h"
#include "mem.h"

struct state {
    bool output; /* the plain output is resident */
    bool kept;   /* the block's input must stay for a later run or backward */
    bool saved, gradient, done;
    bool away;       /* the output, plain or saved, is not on the device */
    bool frees;      /* what is saved is so without the input */
    uint32_t option; /* of what is saved */
};

struct simulation {
    const struct chain *chain;
    struct state *states;
    uint64_t resident, peak;
    double seconds;
    size_t step;
    struct error *err;
};

#define REFUSE(sim, ...) error_set((sim)->err, ERROR_INPUT, __VA_ARGS__)

static bool has_input(const struct simulation *sim, uint32_t block)
{
    if (block == 0) return true;
    const struct state *before = &sim->states[block - 1];
    if (!before->output && !before->saved)
        return REFUSE(sim, "step %zu: block %u runs without its input", sim->step, block);
    return !before->away || REFUSE(sim, "step %zu: block %u runs while its input is away", sim->step, block);
}

/* The input leaves the device; the chain's, which is not counted, frees nothing. */
static void send_away(struct simulation *sim, uint32_t block)
{
    if (block == 0) return;
    sim->states[block - 1].away = true;
    sim->resident -= sim->chain->blocks[block - 1].output;
}

static void bring_back(struct simulation *sim, uint32_t block)
{
    if (block == 0) return;
    sim->states[block - 1].away = false;
    sim->resident += sim->chain->blocks[block - 1].output;
}

static void reach(struct simulation *sim, uint64_t above)
{
    if (sim->resident + above > sim->peak) sim->peak = sim->resident + above;
}

static void drop_input(struct simulation *sim, uint32_t block)
{
    if (block == 0 || !sim->states[block - 1].output) return;
    sim->states[block - 1].output = false;
    sim->resident -= sim->chain->blocks[block - 1].output;
}

static bool run(struct simulation *sim, uint32_t block, bool keep_input)
{
    const struct chain_block *b = &sim->chain->blocks[block];
    struct state *state = &sim->states[block];
    TRY(has_input(sim, block));
    if (state->output || state->saved)
        return REFUSE(sim, "step %zu: block %u runs though its output is there", sim->step, block);
    reach(sim, (uint64_t)b->output + b->run_overhead);
    sim->resident += b->output;
    state->output = true;
    sim->seconds += b->forward_seconds;
    if (keep_input) state->kept = true;
    if (!state->kept) drop_input(sim, block);
    return true;
}

/* How many blocks before this one are saved so that their inputs are made again, in a row. */
static uint32_t remade_before(const struct simulation *sim, uint32_t block)
{
    uint32_t count = 0;
    while (count < block) {
        const struct state *state = &sim->states[block - 1 - count];
        if (!state->saved || !sim->chain->blocks[block - 1 - count].option[state->option].remakes_input) break;
        count++;
    }
    return count;
}

/* The block before them all is saved, with its own input there. */
static bool can_remake(const struct simulation *sim, uint32_t block)
{
    uint32_t before = remade_before(sim, block);
    uint32_t most = sim->chain->most_remade;
    if (most > 0 && sim->chain->longest_streak > most) most = sim->chain->longest_streak;
    if (block < before + 1 || before >= most)
        return REFUSE(sim, "step %zu: block %u is to have its input made again, as %u before it", sim->step, block,
                      before);
    const struct state *first = &sim->states[block - 1 - before];
    return (first->saved && !first->frees) ||
           REFUSE(sim, "step %zu: block %u is to have its input made again, of which nothing is there", sim->step,
                  block);
}

static bool save(struct simulation *sim, uint32_t block, uint32_t option)
{
    const struct chain_block *b = &sim->chain->blocks[block];
    struct state *state = &sim->states[block];
    TRY(has_input(sim, block));
    TRY(!b->option[option].remakes_input || can_remake(sim, block));
    if (state->output || state->saved)
        return REFUSE(sim, "step %zu: block %u is saved though its output is there", sim->step, block);
    reach(sim, (uint64_t)b->option[option].saved + b->option[option].forward_overhead);
    sim->resident += b->option[option].saved;
    state->saved = state->kept = true;
    state->option = option;
    bool unread = block + 1 < sim->chain->count && sim->states[block + 1].done;
    sim->seconds += b->forward_seconds - (unread ? b->spared_seconds : 0);
    sim->seconds += sim->chain->copy_seconds * b->option[option].copied;
    state->frees = b->option[option].frees_input;
    if (state->frees) send_away(sim, block);
    return true;
}

/* A checkpoint goes to the host and comes back. */
static bool offload(struct simulation *sim, uint32_t block)
{
    TRY(has_input(sim, block));
    if (block == 0) return REFUSE(sim, "step %zu: the input of block 0 goes to the host", sim->step);
    if (!sim->states[block].kept || sim->states[block].saved)
        return REFUSE(sim, "step %zu: block %u has no checkpoint to send to the host", sim->step, block);
    send_away(sim, block);
    sim->seconds += sim->chain->copy_seconds * sim->chain->blocks[block - 1].output;
    return true;
}

static bool fetch(struct simulation *sim, uint32_t block)
{
    if (block == 0 || !sim->states[block - 1].away || sim->states[block].saved)
        return REFUSE(sim, "step %zu: block %u has no checkpoint on the host", sim->step, block);
    bring_back(sim, block);
    reach(sim, 0);
    return true;
}

/* What the input takes that is made again, with what comes back of the blocks before, of which it is made: as each is
 * kept. */
static void remake_input(struct simulation *sim, uint32_t block, const struct chain_option *option)
{
    if (!option->remakes_input) return;
    uint64_t quanta = option->remake_overhead, less = 0;
    uint32_t before = remade_before(sim, block);
    for (uint32_t i = 1; i <= before + 1; i++) {
        const struct chain_block *b = &sim->chain->blocks[block - i];
        if (i <= before) quanta += b->remade;
        quanta += b->option[sim->states[block - i].option].parts;
        less += b->parts;
    }
    reach(sim, quanta > less ? quanta - less : 0);
}

static bool backward(struct simulation *sim, uint32_t block, uint32_t option)
{
    const struct chain_block *b = &sim->chain->blocks[block];
    struct state *state = &sim->states[block];
    if (!state->saved || state->option != option)
        return REFUSE(sim, "step %zu: backward of block %u without what option %u saves", sim->step, block, option);
    if (!state->gradient || state->done)
        return REFUSE(sim, "step %zu: backward of block %u without the gradient of its output", sim->step, block);
    if (state->frees) bring_back(sim, block);
    TRY(has_input(sim, block));
    reach(sim, b->option[option].backward_overhead);
    remake_input(sim, block, &b->option[option]);
    sim->resident -= (uint64_t)b->option[option].saved + b->gradient;
    *state = (struct state){.done = true};
    sim->seconds += b->option[option].backward_seconds;
    drop_input(sim, block);
    if (block > 0) {
        sim->states[block - 1].gradient = true;
        sim->resident += sim->chain->blocks[block - 1].gradient;
    }
    return true;
}

static bool execute(struct simulation *sim, const struct chain_step *step)
{
    if (step->block >= sim->chain->count)
        return REFUSE(sim, "step %zu: block %u of %zu", sim->step, step->block, sim->chain->count);
    bool choosing = step->kind == CHAIN_SAVE || step->kind == CHAIN_BACKWARD;
    if (choosing && step->option >= sim->chain->blocks[step->block].options)
        return REFUSE(sim, "step %zu: option %u of block %u, which has %u", sim->step, step->option, step->block,
                      sim->chain->blocks[step->block].options);
    switch (step->kind) {
    case CHAIN_RUN: return run(sim, step->block, false);
    case CHAIN_CHECKPOINT: return run(sim, step->block, true);
    case CHAIN_SAVE: return save(sim, step->block, step->option);
    case CHAIN_BACKWARD: return backward(sim, step->block, step->option);
    case CHAIN_OFFLOAD: return offload(sim, step->block);
    case CHAIN_FETCH: return fetch(sim, step->block);
    }
    return REFUSE(sim, "step %zu: of unknown kind %d", sim->step, (int)step->kind);
}

static bool simulate(struct simulation *sim, const struct chain_schedule *schedule)
{
    const struct chain *chain = sim->chain;
    sim->states[chain->count - 1].gradient = true;
    sim->resident = chain->blocks[chain->count - 1].gradient;
    reach(sim, 0);
    for (; sim->step < schedule->count; sim->step++) TRY(execute(sim, &schedule->steps[sim->step]));
    return sim->states[0].done || REFUSE(sim, "after step %zu: block 0 has had no backward", sim->step);
}

bool chain_simulate(const struct chain *chain, const struct chain_schedule *schedule, double *seconds,
                    uint64_t *peak_quanta, struct error *err)
{
    if (chain->count == 0) return error_set(err, ERROR_INPUT, "chain: found no blocks, expected at least 1");
    struct simulation sim = {.chain = chain, .err = err};
    sim.states = mem_zalloc(MEM_SEARCH, chain->count, sizeof *sim.states);
    if (!sim.states) return error_memory(err, chain->count * sizeof *sim.states, mem_purpose_name(MEM_SEARCH));
    bool ok = simulate(&sim, schedule);
    mem_free(sim.states);
    if (!ok) return false;
    *seconds = sim.seconds;
    *peak_quanta = sim.peak;
    return true;
}
