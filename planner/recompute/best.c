/* The decision behind a value of a solved program: which option, streak or split it comes from. */
#include <math.h>

#include "chain_rows.h"

float chain_program_best_option(const struct program *program, size_t s, size_t t, uint32_t more, uint32_t m,
                                uint32_t *option)
{
    float best = INFINITY;
    for (uint32_t i = 0; i < program->list.units[s].options; i++) {
        const struct unit_option *o = &program->list.units[s].option[i];
        if ((o->remakes && more == 0) || m < chain_need_alone(&program->list, o, s, t, more)) continue;
        float value = (float)o->excess;
        if (s < t) value += chain_row_value(chain_row_after(program, o, s, t, more), (int64_t)m - o->saved + o->freed);
        if (value < best) {
            best = value;
            *option = i;
        }
    }
    return best;
}

float chain_program_best_streak(const struct program *program, size_t s, size_t t, uint32_t m,
                                const struct streak **best)
{
    const struct streaks *streaks = program->list.streaks ? &program->list.streaks[s] : NULL;
    float least = INFINITY;
    *best = NULL;
    for (size_t i = 0; streaks && i < streaks->count; i++) {
        const struct streak *streak = &streaks->list[i];
        size_t last = s + streak->length;
        if (last > t || m < chain_streak_need(&program->list, streak, t)) continue;
        float value = (float)streak->excess;
        if (last < t) value += chain_row_value(chain_row_at(program, 0, last + 1, t), (int64_t)m - streak->saved);
        if (value >= least) continue;
        least = value;
        *best = streak;
    }
    return least;
}

/* With the input of s on the device, or on the host. */
static float split_value(const struct program *program, size_t s, size_t t, uint32_t m, const struct split *split,
                         double again)
{
    const struct unit *units = program->list.units;
    uint32_t freed = split->offload ? units[s].freed : 0;
    double seconds = split->offload ? again + units[s].offload_seconds : again;
    return chain_row_value(chain_row_at(program, 0, s, split->j - 1), m) +
           chain_row_value(chain_row_at(program, 0, split->j, t), (int64_t)m - units[split->j - 1].output + freed) +
           (float)seconds;
}

float chain_program_best_split(const struct program *program, size_t s, size_t t, uint32_t m, struct split *best)
{
    const struct unit *units = program->list.units;
    float least = INFINITY;
    double again = 0;
    struct runs runs = chain_runs_begin(&program->list, s);
    for (size_t j = s + 1; j <= t; j++) {
        again += units[j - 1].forward_seconds;
        if (m < units[t].gradient + runs.away) return least; /* nor at any larger j */
        bool here = m >= units[t].gradient + runs.here;
        chain_runs_extend(&program->list, s, j, &runs);
        for (int offload = !here; offload <= (units[s].freed > 0); offload++) {
            struct split split = {j, offload};
            float value = split_value(program, s, t, m, &split, again - units[j - 1].spared_seconds);
            if (value < least) {
                least = value;
                *best = split;
            }
        }
    }
    return least;
}
