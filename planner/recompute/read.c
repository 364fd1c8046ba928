/* From a program to the steps of its schedule. */
#include "chain_private.h"

#include <math.h>

#include "mem.h"

/* Solve units s..t of a program, or run the backward of unit s. `held` is what is resident besides gradients and the
 * input of s, in the quanta of the chain that is asked about. */
struct task {
    const struct program *program;
    size_t s, t;
    uint32_t m;
    uint64_t held;
    bool backward;
    uint32_t option;
};

struct reader {
    const struct chain *chain;
    bool least;
    struct chain_schedule *schedule;
    size_t step_capacity;
    struct task *tasks;
    size_t task_count, task_capacity;
};

struct decision {
    bool split;
    size_t j;
    uint32_t option;
};

static struct decision decide_by_time(const struct task *task)
{
    struct decision d = {0};
    float saving = INFINITY, splitting;
    if (task->s < task->t || !task->program->groups)
        saving = chain_program_best_option(task->program, task->s, task->t, task->m, &d.option);
    splitting = chain_program_best_split(task->program, task->s, task->t, task->m, &d.j);
    d.split = splitting < saving;
    return d;
}

static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

static uint32_t saving_need(const struct task *task, const struct unit_option *o)
{
    const struct program *p = task->program;
    uint32_t need = larger(p->list.units[task->t].gradient + o->forward_need, o->backward_need);
    return task->s == task->t ? need : larger(need, o->saved + p->least[pair_index(task->s + 1, task->t)]);
}

/* What attains `least`. */
static struct decision decide_by_memory(const struct task *task)
{
    const struct program *p = task->program;
    const struct unit *units = p->list.units;
    uint32_t least = p->least[pair_index(task->s, task->t)], run = units[task->s].run_first;
    for (uint32_t i = 0; i < units[task->s].options; i++)
        if (saving_need(task, &units[task->s].option[i]) <= least) return (struct decision){.option = i};
    for (size_t j = task->s + 1; j <= task->t; j++) {
        uint32_t right = units[j - 1].output + p->least[pair_index(j, task->t)];
        uint32_t need = larger(units[task->t].gradient + run, p->least[pair_index(task->s, j - 1)]);
        if (larger(need, right) <= least) return (struct decision){.split = true, .j = j};
        run = larger(run, units[j].run_next);
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

static bool read_split(struct reader *r, const struct task *task, size_t j, struct error *err)
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
    }
    struct task left = *task, right = *task;
    left.t = j - 1;
    right.s = j;
    right.m -= r->least ? 0 : units[j - 1].output;
    right.held += blocks[last].output;
    return push(r, left, err) && push(r, right, err);
}

static bool read_saving(struct reader *r, const struct task *task, uint32_t option, struct error *err)
{
    const struct unit_list *list = &task->program->list;
    const struct unit *unit = &list->units[task->s];
    struct task backward = *task, rest = *task;
    backward.backward = true;
    backward.option = option;
    for (uint32_t k = unit->first; k <= unit->last; k++) {
        const struct chain_block *block = &r->chain->blocks[k];
        uint32_t own = chain_units_block_option(list, option, k);
        TRY(add_step(r, (struct chain_step){CHAIN_SAVE, k, own, block->option[own].keep}, block->forward_seconds,
                     rest.held + r->chain->blocks[list->units[task->t].last].gradient + block->option[own].saved +
                         block->option[own].forward_overhead,
                     err));
        rest.held += block->option[own].saved;
    }
    TRY(push(r, backward, err));
    if (task->s == task->t) return true;
    rest.s++;
    rest.m -= r->least ? 0 : unit->option[option].saved;
    return push(r, rest, err);
}

static bool read_backward(struct reader *r, const struct task *task, struct error *err)
{
    const struct unit_list *list = &task->program->list;
    const struct unit *unit = &list->units[task->s];
    uint64_t held = task->held;
    for (uint32_t k = unit->first; k <= unit->last; k++)
        held += r->chain->blocks[k].option[chain_units_block_option(list, task->option, k)].saved;
    for (uint32_t k = unit->last + 1; k-- > unit->first;) {
        const struct chain_block *block = &r->chain->blocks[k];
        uint32_t own = chain_units_block_option(list, task->option, k);
        TRY(add_step(r, (struct chain_step){CHAIN_BACKWARD, k, own, block->option[own].keep},
                     block->option[own].backward_seconds, held + block->gradient + block->option[own].backward_overhead,
                     err));
        held -= block->option[own].saved;
    }
    return true;
}

static bool read_task(struct reader *r, const struct task *task, struct error *err)
{
    if (task->backward) return read_backward(r, task, err);
    if (task->s == task->t && task->program->groups) {
        struct task inside = *task;
        inside.program = &task->program->groups[task->s];
        inside.s = 0;
        inside.t = inside.program->list.count - 1;
        return push(r, inside, err);
    }
    struct decision decision = r->least ? decide_by_memory(task) : decide_by_time(task);
    return decision.split ? read_split(r, task, decision.j, err) : read_saving(r, task, decision.option, err);
}

bool chain_program_read(const struct program *program, const struct chain *chain, bool least,
                        struct chain_schedule *schedule, struct error *err)
{
    struct reader r = {.chain = chain, .least = least, .schedule = schedule};
    bool ok = push(&r, (struct task){.program = program, .t = program->list.count - 1, .m = program->limit}, err);
    while (ok && r.task_count > 0) {
        struct task task = r.tasks[--r.task_count];
        ok = read_task(&r, &task, err);
    }
    mem_free(r.tasks);
    return ok;
}
