#include <math.h>
#include <string.h>

#include "mem.h"
#include "rollup_private.h"

static bool is_evaluated(const struct rollup_step *step)
{
    return !isnan(step->metric[METRIC_TEST_LOSS]) || !isnan(step->metric[METRIC_TOP1_ERROR]);
}

static bool is_kept(const struct trace_follower *follower, const struct rollup_step *step, bool evaluated)
{
    return step->step % follower->step_stride == 0 || (evaluated && is_evaluated(step));
}

/* Every other step goes; when evaluated steps fill the table, they too. */
void rollup_thin_steps(struct trace_follower *follower, size_t most)
{
    struct rollup *rollup = &follower->rollup;
    for (bool evaluated = true; rollup->step_count >= most; evaluated = false) {
        if (follower->step_stride < 1ull << 62) follower->step_stride *= 2;
        size_t kept = 0;
        for (size_t i = 0; i < rollup->step_count; i++)
            if (is_kept(follower, &rollup->steps[i], evaluated)) rollup->steps[kept++] = rollup->steps[i];
        rollup->step_count = kept;
        if (kept >= most && !evaluated) rollup->step_count = most / 2;
    }
}

static size_t step_position(const struct rollup *rollup, uint64_t step)
{
    size_t low = 0, high = rollup->step_count;
    if (high > 0 && rollup->steps[high - 1].step < step) return high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rollup->steps[middle].step < step)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct rollup_step *rollup_ended_step(const struct rollup *rollup, uint64_t step)
{
    size_t at = step_position(rollup, step);
    bool there = at < rollup->step_count && rollup->steps[at].step == step && rollup->steps[at].end_ns > 0;
    return there ? &rollup->steps[at] : NULL;
}

bool rollup_find_step(struct trace_follower *follower, uint64_t step, struct rollup_step **found, struct error *err)
{
    struct rollup *rollup = &follower->rollup;
    size_t at = step_position(rollup, step);
    *found = at < rollup->step_count && rollup->steps[at].step == step ? &rollup->steps[at] : NULL;
    bool last = at == rollup->step_count;
    if (*found || (!last && step % follower->step_stride != 0)) return true;
    if (last && at > 0 && !is_kept(follower, &rollup->steps[at - 1], true)) at = --rollup->step_count;
    rollup_thin_steps(follower, follower->most_steps);
    at = step_position(rollup, step);
    void *steps = rollup->steps;
    if (!mem_grow(MEM_TRACE, &steps, &follower->step_capacity, rollup->step_count + 1, sizeof(struct rollup_step)))
        return error_memory(err, (rollup->step_count + 1) * sizeof(struct rollup_step), "a trace's steps");
    rollup->steps = steps;
    memmove(&rollup->steps[at + 1], &rollup->steps[at], (rollup->step_count - at) * sizeof *rollup->steps);
    rollup->step_count++;
    *found = &rollup->steps[at];
    **found = (struct rollup_step){.step = step};
    for (int i = 0; i < TRACE_METRICS; i++) (*found)->metric[i] = NAN;
    return true;
}

bool rollup_take_step(struct trace_follower *follower, const struct trace_event *event, struct error *err)
{
    struct rollup_step *step;
    if (event->device != 0) return true;
    TRY(rollup_find_step(follower, event->step, &step, err));
    if (!step) return true;
    if (event->type == TRACE_STEP_BEGIN) {
        step->begin_ns = event->ns;
        if (step->end_ns < event->ns) step->end_ns = 0; /* done again after a resume */
    } else {
        step->end_ns = event->ns;
    }
    return true;
}

bool rollup_take_metric(struct trace_follower *follower, const struct trace_event *event, struct error *err)
{
    struct rollup *rollup = &follower->rollup;
    struct rollup_step *step;
    if (event->kind >= TRACE_METRICS) return true;
    TRY(rollup_find_step(follower, event->step, &step, err));
    if (step) step->metric[event->kind] = (float)event->value;
    rollup->unreported &= ~(1u << event->kind);
    return true;
}
