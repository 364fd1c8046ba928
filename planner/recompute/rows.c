/* Filling one row.
 *
 * What keeps an exact program small: a row that begins at s is never asked for less than the limit minus all that the
 * units before s can hold (its floor), and more than `enough` saves nothing. What keeps it fast: ways to save s come by
 * the hundred, with much the same times, and the best of four is found before the row itself is read; a split at j
 * costs at least the forward runs of s..j-1 again, so it is tried only at those m where the best known is dearer; both
 * fall as j and m grow. */
#include "chain_rows.h"

#include <math.h>
#include <string.h>

#include "mem.h"

#define STRETCH 64 /* of m, passed over together */

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* ---- At which m a row is asked ---- */

static uint32_t most_saved(const struct unit *unit)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < unit->options; i++) most = larger(most, unit->option[i].saved);
    return most;
}

/* What the units before s may hold, at most, as s grows: a row that begins at s is asked for the limit less that, or
 * more. The rows of a unit's blocks are asked for any m. */
static uint32_t row_floor(const struct program *program, uint32_t limit, uint64_t held)
{
    return program->part || held >= limit ? 0 : (uint32_t)(limit - held);
}

bool chain_rows_floor(struct program *program, struct error *err)
{
    size_t count = program->list.count;
    program->floor = mem_alloc(MEM_SEARCH, count, sizeof *program->floor);
    if (!program->floor) return error_memory(err, count * sizeof *program->floor, mem_purpose_name(MEM_SEARCH));
    uint64_t held = 0;
    for (size_t s = 0; s < count; s++) {
        program->floor[s] = row_floor(program, program->low, held);
        held += most_saved(&program->list.units[s]);
    }
    return true;
}

/* Inclusive range of m over which a row is worked out; empty when begin > end. */
struct range {
    uint32_t begin, end;
};

static struct range row_range(const struct program *program, uint32_t high, uint32_t floor, uint32_t more, size_t s,
                              size_t t)
{
    uint32_t most = high;
    if (s > 0) most = high > program->list.units[s - 1].output ? high - program->list.units[s - 1].output : 0;
    uint32_t enough = program->enough[pair_index(s, t)];
    return (struct range){larger(floor, program->least[state_index(&program->list, more, s, t)]),
                          smaller(most, enough)};
}

uint64_t chain_program_row_bytes(const struct program *program, uint32_t low, uint32_t high)
{
    uint64_t held = 0, floats = 0;
    for (size_t s = 0; s < program->list.count; s++) {
        for (size_t t = s; t < program->list.count; t++)
            for (uint32_t more = 0; more <= program->list.more; more++) {
                struct range range = row_range(program, high, row_floor(program, low, held), more, s, t);
                if (range.begin < range.end) floats += range.end - range.begin;
            }
        held += most_saved(&program->list.units[s]);
    }
    return floats * sizeof(float);
}

/* ---- What it holds ---- */

float chain_row_value(const struct row *row, int64_t m)
{
    if (m < (int64_t)row->lo) return INFINITY;
    return m < (int64_t)row->hi ? row->values[m - row->lo] : row->tail;
}

/* best[i] stands for m = begin + i, i < n. */
struct target {
    float *best;
    uint32_t begin;
    size_t n;
};

static const float *values_at(const struct row *row, int64_t m) { return row->values + (m - row->lo); }

/* All three fall as m grows: a stretch whose cheapest candidate, at its end, is no better than the dearest of best, at
 * its start, is passed over. */
static void relax_where_better(float *best, const float *x, const float *y, float constant, size_t n)
{
    for (size_t i = 0, end; i < n; i = end) {
        end = i + STRETCH < n ? i + STRETCH : n;
        if (best[i] > constant + (x[end - 1] + y[end - 1])) chain_relax(best + i, x + i, y + i, constant, end - i);
    }
}

static int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t later(int64_t a, int64_t b) { return a > b ? a : b; }

/* Likewise with one row. */
static void relax_one_where_better(float *best, const float *y, float constant, size_t n)
{
    for (size_t i = 0, end; i < n; i = end) {
        end = i + STRETCH < n ? i + STRETCH : n;
        if (best[i] > constant + y[end - 1]) chain_relax(best + i, NULL, y + i, constant, end - i);
    }
}

/* Candidates constant + x(m) + y(m - shift), from m = from on. */
static void relax_rows(const struct target *target, int64_t from, const struct row *x, const struct row *y,
                       int64_t shift, float constant)
{
    int64_t m = later(from, target->begin), end = (int64_t)target->begin + (int64_t)target->n;
    int64_t x_end = later(earlier(x->hi, end), m), y_end = later(earlier(y->hi + shift, end), m);
    int64_t both = earlier(x_end, y_end), one = later(x_end, y_end);
    float *best = target->best - target->begin;
    if (m < both) relax_where_better(best + m, values_at(x, m), values_at(y, m - shift), constant, (size_t)(both - m));
    if (both < one && x_end > y_end)
        relax_one_where_better(best + both, values_at(x, both), constant + y->tail, (size_t)(one - both));
    else if (both < one)
        relax_one_where_better(best + both, values_at(y, both - shift), constant + x->tail, (size_t)(one - both));
    if (one < end) chain_relax(best + one, NULL, NULL, constant + (x->tail + y->tail), (size_t)(end - one));
}

/* ---- One row beside a constant, by fours ---- */

/* From m = from on: constant + row(m - shift). */
struct addend {
    const struct row *row;
    int64_t from, shift;
    float constant;
};

struct batch {
    struct target target;
    struct addend list[CHAIN_TOGETHER];
    size_t count;
};

/* Where the addend's row ends and its tail begins. */
static int64_t addend_end(const struct addend *a) { return later(a->row->hi + a->shift, a->from); }

static const float *addend_at(const struct addend *a, int64_t m) { return values_at(a->row, m - a->shift); }

/* At m in [begin, end). */
static void relax_alone(const struct target *target, const struct addend *a, int64_t begin, int64_t end)
{
    int64_t m = later(a->from, begin), row_end = later(earlier(addend_end(a), end), m);
    float *best = target->best - target->begin;
    if (m < row_end) chain_relax(best + m, NULL, addend_at(a, m), a->constant, (size_t)(row_end - m));
    if (row_end < end) chain_relax(best + row_end, NULL, NULL, a->constant + a->row->tail, (size_t)(end - row_end));
}

/* Of a full batch, where all its rows have values. */
static void relax_together(const struct batch *batch, int64_t begin, int64_t end)
{
    const float *rows[CHAIN_TOGETHER];
    float constants[CHAIN_TOGETHER];
    for (size_t i = 0; i < CHAIN_TOGETHER; i++) {
        rows[i] = addend_at(&batch->list[i], begin);
        constants[i] = batch->list[i].constant;
    }
    chain_relax_together(batch->target.best + (begin - batch->target.begin), rows, constants, (size_t)(end - begin));
}

static void relax_batch(struct batch *batch)
{
    const struct target *target = &batch->target;
    int64_t begin = target->begin, end = begin + (int64_t)target->n, low = begin, high = end;
    for (size_t i = 0; i < batch->count; i++) {
        low = later(low, batch->list[i].from);
        high = earlier(high, addend_end(&batch->list[i]));
    }
    if (batch->count < CHAIN_TOGETHER || low >= high) low = high = end;
    for (size_t i = 0; i < batch->count; i++) {
        relax_alone(target, &batch->list[i], begin, low);
        if (high < end) relax_alone(target, &batch->list[i], high, end);
    }
    if (low < high) relax_together(batch, low, high);
    batch->count = 0;
}

static void add(struct batch *batch, const struct addend *addend)
{
    if (addend->from >= (int64_t)batch->target.begin + (int64_t)batch->target.n) return;
    batch->list[batch->count++] = *addend;
    if (batch->count == CHAIN_TOGETHER) relax_batch(batch);
}

/* Under the options that remake their input, or the others. */
static void fill_saving(const struct program *program, size_t s, size_t t, uint32_t more, bool remakes,
                        struct batch *batch)
{
    const struct unit *unit = &program->list.units[s];
    for (uint32_t i = 0; i < unit->options; i++) {
        const struct unit_option *o = &unit->option[i];
        if (o->remakes != remakes) continue;
        const struct row *rest = chain_row_after(program, o, s, t, more);
        if (rest->lo == NO_ROOM) continue;
        int64_t from = chain_need_alone(&program->list, o, s, t, more),
                shift = s < t ? (int64_t)o->saved - o->freed : 0;
        if (s < t) from = later(from, rest->lo + shift);
        add(batch, &(struct addend){rest, from, shift, (float)o->excess});
    }
}

static void fill_streaks(const struct program *program, size_t s, size_t t, struct batch *batch)
{
    const struct streaks *streaks = program->list.streaks ? &program->list.streaks[s] : NULL;
    for (size_t i = 0; streaks && i < streaks->count; i++) {
        const struct streak *streak = &streaks->list[i];
        size_t last = s + streak->length;
        if (last > t) continue;
        const struct row *rest = last < t ? chain_row_at(program, 0, last + 1, t) : &chain_no_row;
        if (rest->lo == NO_ROOM) continue;
        int64_t from = chain_streak_need(&program->list, streak, t), shift = last < t ? streak->saved : 0;
        if (last < t) from = later(from, rest->lo + shift);
        add(batch, &(struct addend){rest, from, shift, (float)streak->excess});
    }
}

/* Splits at j: with the input of s on the device, and with it on the host. */
static void fill_split(const struct program *program, size_t s, size_t t, size_t j, const struct target *target,
                       const struct runs *runs, double again)
{
    const struct unit *units = program->list.units;
    const struct row *right = chain_row_at(program, 0, j, t);
    const struct row *left = &program->across[pair_across(program->list.count, s, j - 1)];
    if (right->lo == NO_ROOM || left->lo == NO_ROOM) return;
    int64_t shift = units[j - 1].output, from = later((int64_t)units[t].gradient + runs->here, left->lo);
    relax_rows(target, later(from, right->lo + shift), left, right, shift, (float)again);
    if (units[s].freed == 0) return;
    shift -= units[s].freed;
    from = later((int64_t)units[t].gradient + runs->away, left->lo);
    relax_rows(target, later(from, right->lo + shift), left, right, shift, (float)(again + units[s].offload_seconds));
}

/* What a split costs at least grows with j, as what the output of j - 1 spares is part of what its run costs. */
static void fill_splitting(const struct program *program, size_t s, size_t t, struct target target)
{
    const struct unit *units = program->list.units;
    double again = 0;
    struct runs runs = chain_runs_begin(&program->list, s);
    for (size_t j = s + 1; j <= t; j++) {
        again += units[j - 1].forward_seconds;
        double seconds = again - units[j - 1].spared_seconds;
        while (target.n > 0 && target.best[target.n - 1] <= (float)seconds) target.n--;
        if (target.n == 0) return;
        fill_split(program, s, t, j, &target, &runs, seconds);
        chain_runs_extend(&program->list, s, j, &runs);
    }
}

/* Without what lies before the first time and after the last change. */
static struct row keep_row(struct program *program, const struct target *target)
{
    size_t lo = 0, hi = target->n - 1;
    while (lo < target->n && target->best[lo] == INFINITY) lo++;
    if (lo == target->n) return (struct row){NULL, NO_ROOM, NO_ROOM, INFINITY};
    float tail = target->best[hi];
    while (hi > lo && target->best[hi - 1] == tail) hi--;
    uint64_t at = atomic_fetch_add(&program->store->used, hi - lo);
    float *values = program->store->floats + at;
    memcpy(values, target->best + lo, (hi - lo) * sizeof *values);
    return (struct row){values, target->begin + (uint32_t)lo, target->begin + (uint32_t)hi, tail};
}

static void fill_group(const struct program *program, size_t s, const struct target *target)
{
    const struct program *group = &program->groups[s];
    const struct row *exact = chain_row_at(group, 0, 0, group->list.count - 1);
    for (size_t i = 0; i < target->n; i++)
        target->best[i] = chain_row_value(exact, chain_group_limit(program, target->begin + (uint32_t)i));
}

/* A row that asks for no work: never asked for less than enough, or with no room at all. */
static bool fill_empty(struct row *row, const struct range *range, uint32_t enough)
{
    if (range->begin >= enough) {
        *row = (struct row){NULL, range->begin, range->begin, 0};
        return true;
    }
    if (range->begin <= range->end) return false;
    *row = (struct row){NULL, NO_ROOM, NO_ROOM, INFINITY};
    return true;
}

static void fill_first(struct program *program, size_t s, size_t t, float *scratch)
{
    struct row *row = &program->rows[state_index(&program->list, 0, s, t)];
    struct range range = row_range(program, program->high, program->floor[s], 0, s, t);
    if (fill_empty(row, &range, program->enough[pair_index(s, t)])) return;
    struct target target = {scratch, range.begin, range.end - range.begin + 1};
    for (size_t i = 0; i < target.n; i++) scratch[i] = INFINITY;
    if (s == t && program->groups) {
        fill_group(program, s, &target);
    } else {
        struct batch batch = {.target = target};
        fill_saving(program, s, t, 0, false, &batch);
        fill_streaks(program, s, t, &batch);
        relax_batch(&batch);
        fill_splitting(program, s, t, target);
    }
    *row = keep_row(program, &target);
}

static bool remakes(const struct unit *unit)
{
    for (uint32_t i = 0; i < unit->options; i++)
        if (unit->option[i].remakes) return true;
    return false;
}

/* With the options that remake the input too: at least as fast as without, whose row serves where there are none. */
static void fill_remaking(struct program *program, uint32_t more, size_t s, size_t t, float *scratch)
{
    const struct row *without = chain_row_at(program, 0, s, t);
    struct row *row = &program->rows[state_index(&program->list, more, s, t)];
    *row = *without;
    if (!remakes(&program->list.units[s])) return;
    struct range range = row_range(program, program->high, program->floor[s], more, s, t);
    if (fill_empty(row, &range, program->enough[pair_index(s, t)])) return;
    struct target target = {scratch, range.begin, range.end - range.begin + 1};
    for (size_t i = 0; i < target.n; i++) scratch[i] = chain_row_value(without, (int64_t)range.begin + (int64_t)i);
    struct batch batch = {.target = target};
    fill_saving(program, s, t, more, true, &batch);
    relax_batch(&batch);
    *row = keep_row(program, &target);
}

void chain_rows_fill(struct program *program, size_t s, size_t t, float *scratch)
{
    fill_first(program, s, t, scratch);
    program->across[pair_across(program->list.count, s, t)] = *chain_row_at(program, 0, s, t);
    for (uint32_t more = 1; more <= program->list.more; more++) fill_remaking(program, more, s, t, scratch);
}
