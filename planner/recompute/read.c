/* From a program to the steps of its schedule. */
#include "chain_private.h"

#include <math.h>

#include "mem.h"

/* Solve units s..t of a program, or run the backward of unit s, or bring its input back. `held` is what is resident
 * besides gradients, in the quanta of the chain. */
struct task {
    const struct program *program;
    size_t s, t;
    uint32_t more;   /* inputs in a row that may be made again */
    uint32_t before; /* of the backward of a streak's unit: how many before it in the streak have theirs made again */
    uint32_t m;
    uint64_t held;
    enum { TASK_SOLVE, TASK_BACKWARD, TASK_FETCH } kind;
    uint32_t option;
};

struct reader {
    const struct chain *chain;
    bool least;
    struct chain_schedule *schedule;
    uint32_t *saved; /* of each block: the option under which it was last saved */
    size_t step_capacity;
    struct task *tasks;
    size_t task_count, task_capacity;
};

struct decision {
    bool splits;
    struct split split;
    const struct streak *streak; /* or NULL */
    uint32_t option;
};

static struct decision decide_by_time(const struct task *task)
{
    struct decision d = {0};
    float saving = INFINITY, splitting;
    if (task->s < task->t || !task->program->groups)
        saving = chain_program_best_option(task->program, task->s, task->t, task->more, task->m, &d.option);
    float streak = chain_program_best_streak(task->program, task->s, task->t, task->m, &d.streak);
    if (streak < saving)
        saving = streak;
    else
        d.streak = NULL;
    splitting = chain_program_best_split(task->program, task->s, task->t, task->m, &d.split);
    d.splits = splitting < saving;
    return d;
}

static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

static uint32_t least_of(const struct program *program, uint32_t more, size_t s, size_t t)
{
    return program->least[state_index(&program->list, more, s, t)];
}

static uint32_t saving_need(const struct task *task, const struct unit_option *o)
{
    const struct program *p = task->program;
    if (o->remakes && task->more == 0) return NO_ROOM;
    uint32_t after = chain_more_after(&p->list, o, task->more);
    uint32_t rest = task->s < task->t ? least_of(p, after, task->s + 1, task->t) : 0;
    return chain_need_saving(&p->list, o, task->s, task->t, task->more, rest);
}

/* What attains `least`; the input stays on the device where it can. */
static struct decision decide_by_memory(const struct task *task)
{
    const struct program *p = task->program;
    const struct unit *units = p->list.units;
    uint32_t least = least_of(p, task->more, task->s, task->t), gradient = units[task->t].gradient;
    struct runs runs = chain_runs_begin(&p->list, task->s);
    for (uint32_t i = 0; i < units[task->s].options; i++)
        if (saving_need(task, &units[task->s].option[i]) <= least) return (struct decision){.option = i};
    for (size_t j = task->s + 1; j <= task->t; j++) {
        uint32_t right = units[j - 1].output + least_of(p, 0, j, task->t);
        uint32_t left = least_of(p, 0, task->s, j - 1), freed = units[task->s].freed;
        if (larger(gradient + runs.here, larger(left, right)) <= least)
            return (struct decision){.splits = true, .split = {j, false}};
        if (larger(gradient + runs.away, left) <= least && right <= least + freed)
            return (struct decision){.splits = true, .split = {j, true}};
        chain_runs_extend(&p->list, task->s, j, &runs);
    }
    return (struct decision){0};
}

static bool push(struct reader *r, struct task task, struct error *err)
{
    if (!mem_grow(MEM_SEARCH, (void **)&r->tasks, &r->task_capacity, r->task_count + 1, sizeof task))
        return error_memory(err, (r->task_count + 1) * sizeof task, mem_purpose_name(MEM_SEARCH));
    r->tasks[r->task_count++] = task;
    return true;
}

/* A step that takes `seconds` and needs `quanta` in all while it runs. */
static bool add_step(struct reader *r, struct chain_step step, double seconds, uint64_t quanta, struct error *err)
{
    struct chain_schedule *schedule = r->schedule;
    if (!mem_grow(MEM_PLAN, (void **)&schedule->steps, &r->step_capacity, schedule->count + 1, sizeof step))
        return error_memory(err, (schedule->count + 1) * sizeof step, mem_purpose_name(MEM_PLAN));
    schedule->steps[schedule->count++] = step;
    schedule->seconds += seconds;
    if (quanta > schedule->peak_quanta) schedule->peak_quanta = quanta;
    return true;
}

/* `freed`: of the input, which goes to the host as soon as its first reader ran. */
static bool run_through(struct reader *r, const struct task *task, size_t j, uint32_t freed, struct error *err)
{
    const struct chain_block *blocks = r->chain->blocks;
    const struct unit *units = task->program->list.units;
    uint32_t first = units[task->s].first, last = units[j - 1].last;
    uint64_t held = task->held + blocks[units[task->t].last].gradient;
    for (uint32_t k = first; k <= last; k++) {
        enum chain_step_kind kind = k == first ? CHAIN_CHECKPOINT : CHAIN_RUN;
        uint64_t input = k == first ? 0 : blocks[k - 1].output;
        TRY(add_step(r, (struct chain_step){.kind = kind, .block = k}, blocks[k].forward_seconds,
                     held + input + blocks[k].output + blocks[k].run_overhead, err));
        if (k > first || freed == 0) continue;
        TRY(add_step(r, (struct chain_step){.kind = CHAIN_OFFLOAD, .block = k}, r->chain->copy_seconds * freed, 0,
                     err));
        r->schedule->copied_quanta += freed;
        held -= freed;
    }
    /* The left part saves its last block when nobody reads the output any more. */
    r->schedule->seconds -= blocks[last].spared_seconds;
    return true;
}

static bool read_split(struct reader *r, const struct task *task, const struct split *split, struct error *err)
{
    const struct unit *units = task->program->list.units, *left_end = &units[split->j - 1];
    uint32_t first = units[task->s].first, freed = split->offload ? chain_block_input(r->chain, first) : 0;
    TRY(run_through(r, task, split->j, freed, err));
    struct task left = *task, fetch = *task, right = *task;
    left.more = right.more = 0;
    left.t = split->j - 1;
    fetch.kind = TASK_FETCH;
    right.s = split->j;
    right.m = right.m - left_end->output + (split->offload ? units[task->s].freed : 0);
    right.held += r->chain->blocks[left_end->last].output - (uint64_t)freed;
    TRY(push(r, left, err));
    return (!split->offload || push(r, fetch, err)) && push(r, right, err);
}

/* Leaves *task as what remains to be solved, though its `more` may be wrong, and no unit may remain. */
static bool save_unit(struct reader *r, struct task *task, uint32_t option, struct error *err)
{
    const struct unit_list *list = &task->program->list;
    const struct unit *unit = &list->units[task->s];
    struct task backward = *task;
    backward.kind = TASK_BACKWARD;
    backward.option = option;
    for (uint32_t k = unit->first; k <= unit->last; k++) {
        const struct chain_block *block = &r->chain->blocks[k];
        uint32_t own = chain_units_block_option(list, unit, option, k);
        const struct chain_option *o = &block->option[own];
        r->saved[k] = own;
        TRY(add_step(r, (struct chain_step){CHAIN_SAVE, k, own, o->keep},
                     block->forward_seconds + r->chain->copy_seconds * o->copied,
                     task->held + r->chain->blocks[list->units[task->t].last].gradient + o->saved + o->forward_overhead,
                     err));
        task->held += o->saved - (uint64_t)chain_block_freed(r->chain, k, own);
        r->schedule->copied_quanta += o->copied;
    }
    task->s++;
    task->m = task->m - unit->option[option].saved + unit->option[option].freed;
    return push(r, backward, err);
}

static bool read_saving(struct reader *r, const struct task *task, uint32_t option, struct error *err)
{
    const struct unit_list *list = &task->program->list;
    struct task rest = *task;
    rest.before = list->more - task->more;
    TRY(save_unit(r, &rest, option, err));
    rest.before = 0;
    rest.more = chain_more_after(list, &list->units[task->s].option[option], task->more);
    return rest.s > rest.t || push(r, rest, err);
}

static bool read_streak(struct reader *r, const struct task *task, const struct streak *streak, struct error *err)
{
    const struct unit_list *list = &task->program->list;
    struct task rest = *task;
    TRY(save_unit(r, &rest, streak->hold, err));
    for (uint32_t i = 0; i < streak->length; i++) {
        rest.before = i;
        TRY(save_unit(r, &rest, chain_streak_option(&list->units[rest.s], streak->way), err));
    }
    rest.more = rest.before = 0;
    return rest.s > rest.t || push(r, rest, err);
}

/* What an input takes that is made again, with what comes back of the units before, which are of one block each and are
 * kept as is known. */
static uint64_t remake_overhead(const struct reader *r, const struct task *task)
{
    const struct unit_list *list = &task->program->list;
    const struct unit *unit = &list->units[task->s];
    if (!unit->option[task->option].remakes) return 0;
    const struct chain_block *blocks = r->chain->blocks;
    int64_t quanta = blocks[unit->first].option[unit->option[task->option].way].remake_overhead;
    for (uint32_t i = 1; i <= task->before; i++) quanta += blocks[unit->first - i].remade;
    for (uint32_t i = 1; i <= task->before + 1; i++) {
        const struct chain_block *block = &blocks[unit->first - i];
        quanta += (int64_t)block->option[r->saved[unit->first - i]].parts - block->parts;
    }
    return quanta > 0 ? (uint64_t)quanta : 0;
}

static bool read_backward(struct reader *r, const struct task *task, struct error *err)
{
    const struct unit_list *list = &task->program->list;
    const struct unit *unit = &list->units[task->s];
    uint64_t held = task->held, remake = remake_overhead(r, task);
    for (uint32_t k = unit->first; k <= unit->last; k++) {
        uint32_t own = chain_units_block_option(list, unit, task->option, k);
        held += r->chain->blocks[k].option[own].saved - (uint64_t)chain_block_freed(r->chain, k, own);
    }
    for (uint32_t k = unit->last + 1; k-- > unit->first;) {
        const struct chain_block *block = &r->chain->blocks[k];
        uint32_t own = chain_units_block_option(list, unit, task->option, k);
        held += chain_block_freed(r->chain, k, own);
        uint64_t above = block->option[own].backward_overhead;
        TRY(add_step(r, (struct chain_step){CHAIN_BACKWARD, k, own, block->option[own].keep},
                     block->option[own].backward_seconds, held + block->gradient + (above > remake ? above : remake),
                     err));
        held -= block->option[own].saved;
    }
    return true;
}

/* Inside a unit, in its own quanta. */
static bool read_inside(struct reader *r, const struct task *task, struct error *err)
{
    struct task inside = *task;
    inside.program = &task->program->groups[task->s];
    inside.s = 0;
    inside.t = inside.program->list.count - 1;
    uint64_t quanta = (uint64_t)task->m * task->program->list.scale / task->program->list.inner;
    inside.m = quanta < inside.program->high ? (uint32_t)quanta : inside.program->high;
    return push(r, inside, err);
}

static bool read_task(struct reader *r, const struct task *task, struct error *err)
{
    uint32_t first = task->program->list.units[task->s].first;
    if (task->kind == TASK_BACKWARD) return read_backward(r, task, err);
    if (task->kind == TASK_FETCH)
        return add_step(r, (struct chain_step){.kind = CHAIN_FETCH, .block = first}, 0, 0, err);
    if (task->s == task->t && task->program->groups) return read_inside(r, task, err);
    struct decision decision = r->least ? decide_by_memory(task) : decide_by_time(task);
    if (decision.splits) return read_split(r, task, &decision.split, err);
    if (decision.streak) return read_streak(r, task, decision.streak, err);
    return read_saving(r, task, decision.option, err);
}

bool chain_program_read(const struct program *program, uint32_t limit, struct chain_schedule *schedule,
                        struct error *err)
{
    struct reader r = {.chain = program->list.chain, .least = limit == NO_ROOM, .schedule = schedule};
    r.saved = mem_zalloc(MEM_SEARCH, r.chain->count, sizeof *r.saved);
    if (!r.saved) return error_memory(err, r.chain->count * sizeof *r.saved, mem_purpose_name(MEM_SEARCH));
    bool ok = push(&r, (struct task){.program = program, .t = program->list.count - 1, .m = limit}, err);
    while (ok && r.task_count > 0) {
        struct task task = r.tasks[--r.task_count];
        ok = read_task(&r, &task, err);
    }
    mem_free(r.tasks);
    mem_free(r.saved);
    return ok;
}
