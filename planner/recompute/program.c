/* Filling the rows C(s, t, .): all rows of one length are independent, and are shared among threads.
 *
 * What keeps an exact program small: a row that begins at s is never asked for less than the limit minus all that the
 * units before s can hold (its floor), and more than `enough` saves nothing. What keeps it fast: a split at j costs at
 * least the forward runs of s..j-1 again, so it is tried only at those m where the best known is dearer; both fall as j
 * and m grow. */
#define _GNU_SOURCE
#include "chain_private.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "mem.h"
#include "system_limits.h"
#include "thread.h"

#define MOST_THREADS 8
#define STRETCH      64 /* of m, passed over together */
#define FEW_UNITS    48 /* below, threads cost more than they give */

struct store {
    float *floats;
    uint64_t bytes;
    _Atomic uint64_t used; /* floats */
};

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

static bool begin_groups(struct program *program, uint32_t *single, struct error *err)
{
    const struct unit_list *list = &program->list;
    program->groups = mem_zalloc(MEM_SEARCH, list->count, sizeof *program->groups);
    if (!program->groups) return error_memory(err, list->count * sizeof *program->groups, mem_purpose_name(MEM_SEARCH));
    for (size_t i = 0; i < list->count; i++) {
        size_t blocks = list->units[i].last - list->units[i].first + 1;
        struct unit_cut cut = {.first = list->units[i].first, .count = blocks, .size = 1, .scale = list->inner};
        TRY(chain_program_begin(&program->groups[i], list->chain, &cut, err));
        program->groups[i].part = true;
        uint64_t least = (uint64_t)chain_program_least(&program->groups[i]) * list->inner;
        single[i] = (uint32_t)(least / list->scale + (least % list->scale != 0));
    }
    return true;
}

static bool begin_tables(struct program *program, struct error *err)
{
    size_t count = program->list.count, pairs = pair_count(count), states = state_count(&program->list);
    program->least = mem_alloc(MEM_SEARCH, states, sizeof *program->least);
    program->enough = mem_alloc(MEM_SEARCH, pairs, sizeof *program->enough);
    uint32_t *single = mem_alloc(MEM_SEARCH, count, sizeof *single);
    bool ok = program->least && program->enough && single;
    if (!ok) error_memory(err, (states + pairs) * sizeof *program->least, mem_purpose_name(MEM_SEARCH));
    if (ok && program->list.grouped) ok = begin_groups(program, single, err);
    if (ok) {
        chain_least_fill(&program->list, program->list.grouped ? single : NULL, program->least);
        chain_enough_fill(&program->list, program->enough);
    }
    mem_free(single);
    return ok;
}

bool chain_program_begin(struct program *program, const struct chain *chain, const struct unit_cut *cut,
                         struct error *err)
{
    *program = (struct program){0};
    if (chain_units_make(chain, cut, &program->list, err) && begin_tables(program, err)) return true;
    chain_program_finish(program);
    return false;
}

uint32_t chain_program_least(const struct program *program)
{
    return program->least[state_index(&program->list, 0, 0, program->list.count - 1)];
}

static void store_destroy(struct store *store)
{
    if (!store) return;
    mem_unmap(MEM_SEARCH, store->floats, store->bytes);
    mem_free(store);
}

static void finish_tables(struct program *program)
{
    mem_free(program->least);
    mem_free(program->enough);
    mem_free(program->floor);
    mem_free(program->rows);
    chain_units_finish(&program->list);
}

void chain_program_finish(struct program *program)
{
    if (program->groups)
        for (size_t i = 0; i < program->list.count; i++) finish_tables(&program->groups[i]);
    mem_free(program->groups);
    store_destroy(program->store);
    finish_tables(program);
    *program = (struct program){0};
}

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

static bool fill_floor(struct program *program, struct error *err)
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

/* A unit's rows are asked at the limits of the whole, in their own quanta. */
static uint32_t group_limit(const struct program *program, uint32_t limit)
{
    uint64_t quanta = (uint64_t)limit * program->list.scale / program->list.inner;
    return quanta < NO_ROOM / 4 ? (uint32_t)quanta : NO_ROOM / 4;
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

uint64_t chain_program_inner_bytes(const struct program *program, uint32_t high)
{
    uint64_t bytes = 0;
    for (size_t i = 0; program->groups && i < program->list.count; i++)
        bytes += chain_program_row_bytes(&program->groups[i], 0, group_limit(program, high));
    return bytes;
}

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

static const struct row nothing = {NULL, 0, 0, 0};

static const struct row *row_at(const struct program *program, uint32_t more, size_t s, size_t t)
{
    return &program->rows[state_index(&program->list, more, s, t)];
}

static const struct row *rest_of(const struct program *program, const struct unit_option *o, size_t s, size_t t,
                                 uint32_t more)
{
    return s < t ? row_at(program, chain_more_after(&program->list, o, more), s + 1, t) : &nothing;
}

/* Under the options that remake their input, or the others. */
static void fill_saving(const struct program *program, size_t s, size_t t, uint32_t more, bool remakes,
                        const struct target *target)
{
    const struct unit *unit = &program->list.units[s];
    for (uint32_t i = 0; i < unit->options; i++) {
        const struct unit_option *o = &unit->option[i];
        if (o->remakes != remakes) continue;
        const struct row *rest = rest_of(program, o, s, t, more);
        if (rest->lo == NO_ROOM) continue;
        int64_t from = chain_need_alone(&program->list, o, s, t, more),
                shift = s < t ? (int64_t)o->saved - o->freed : 0;
        if (s < t) from = later(from, rest->lo + shift);
        relax_rows(target, from, &nothing, rest, shift, (float)o->excess);
    }
}

static void fill_streaks(const struct program *program, size_t s, size_t t, const struct target *target)
{
    const struct streaks *streaks = program->list.streaks ? &program->list.streaks[s] : NULL;
    for (size_t i = 0; streaks && i < streaks->count; i++) {
        const struct streak *streak = &streaks->list[i];
        size_t last = s + streak->length;
        const struct row *rest = last < t ? row_at(program, 0, last + 1, t) : &nothing;
        if (last > t || rest->lo == NO_ROOM) continue;
        int64_t from = chain_streak_need(&program->list, streak, t), shift = last < t ? streak->saved : 0;
        if (last < t) from = later(from, rest->lo + shift);
        relax_rows(target, from, &nothing, rest, shift, (float)streak->excess);
    }
}

/* Splits at j: with the input of s on the device, and with it on the host. */
static void fill_split(const struct program *program, size_t s, size_t t, size_t j, const struct target *target,
                       const struct runs *runs, double again)
{
    const struct unit *units = program->list.units;
    const struct row *right = row_at(program, 0, j, t), *left = row_at(program, 0, s, j - 1);
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
    const struct row *exact = row_at(group, 0, 0, group->list.count - 1);
    for (size_t i = 0; i < target->n; i++)
        target->best[i] = chain_row_value(exact, group_limit(program, target->begin + (uint32_t)i));
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

static void fill_row(struct program *program, size_t s, size_t t, float *scratch)
{
    struct row *row = &program->rows[state_index(&program->list, 0, s, t)];
    struct range range = row_range(program, program->high, program->floor[s], 0, s, t);
    if (fill_empty(row, &range, program->enough[pair_index(s, t)])) return;
    struct target target = {scratch, range.begin, range.end - range.begin + 1};
    for (size_t i = 0; i < target.n; i++) scratch[i] = INFINITY;
    if (s == t && program->groups) {
        fill_group(program, s, &target);
    } else {
        fill_saving(program, s, t, 0, false, &target);
        fill_streaks(program, s, t, &target);
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
    const struct row *without = row_at(program, 0, s, t);
    struct row *row = &program->rows[state_index(&program->list, more, s, t)];
    *row = *without;
    if (!remakes(&program->list.units[s])) return;
    struct range range = row_range(program, program->high, program->floor[s], more, s, t);
    if (fill_empty(row, &range, program->enough[pair_index(s, t)])) return;
    struct target target = {scratch, range.begin, range.end - range.begin + 1};
    for (size_t i = 0; i < target.n; i++) scratch[i] = chain_row_value(without, (int64_t)range.begin + (int64_t)i);
    fill_saving(program, s, t, more, true, &target);
    *row = keep_row(program, &target);
}

static void fill_pair(struct program *program, size_t s, size_t t, float *scratch)
{
    fill_row(program, s, t, scratch);
    for (uint32_t more = 1; more <= program->list.more; more++) fill_remaking(program, more, s, t, scratch);
}

/* Threads take rows of one length in turn, and wait for each other between lengths. */
struct crew {
    struct program *program;
    _Atomic size_t *next; /* of each length: the next row to take */
    float *scratch;       /* `width` floats of each thread */
    size_t width, threads;
    pthread_mutex_t gate;      /* held until all threads that could be started are */
    pthread_barrier_t barrier; /* of them all */
};

struct worker {
    struct crew *crew;
    float *scratch;
    pthread_t thread;
};

static void fill_rows(struct crew *crew, float *scratch)
{
    size_t count = crew->program->list.count;
    for (size_t length = 0; length < count; length++) {
        for (size_t s; (s = atomic_fetch_add(&crew->next[length], 1)) + length < count;)
            fill_pair(crew->program, s, s + length, scratch);
        if (crew->threads > 1) pthread_barrier_wait(&crew->barrier);
    }
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    pthread_mutex_lock(&worker->crew->gate);
    pthread_mutex_unlock(&worker->crew->gate);
    fill_rows(worker->crew, worker->scratch);
    return NULL;
}

static size_t choose_threads(const struct program *program)
{
    size_t processors = limits_processors();
    if (program->list.count < FEW_UNITS) return 1;
    return processors < MOST_THREADS ? processors : MOST_THREADS;
}

/* A thread that cannot be started is done without. */
static void run_crew(struct crew *crew, size_t wanted)
{
    struct worker workers[MOST_THREADS];
    crew->threads = 1;
    pthread_mutex_init(&crew->gate, NULL);
    pthread_mutex_lock(&crew->gate);
    while (crew->threads < wanted) {
        struct worker *worker = &workers[crew->threads];
        *worker = (struct worker){.crew = crew, .scratch = crew->scratch + crew->threads * crew->width};
        if (thread_start(&worker->thread, 0, "recompute", work, worker) != 0) break;
        crew->threads++;
    }
    pthread_barrier_init(&crew->barrier, NULL, (unsigned)crew->threads);
    pthread_mutex_unlock(&crew->gate);
    fill_rows(crew, crew->scratch);
    for (size_t i = 1; i < crew->threads; i++) pthread_join(workers[i].thread, NULL);
    pthread_barrier_destroy(&crew->barrier);
    pthread_mutex_destroy(&crew->gate);
}

static size_t row_width(const struct program *program)
{
    size_t width = 0;
    for (size_t i = 0; i < pair_count(program->list.count); i++)
        if (program->enough[i] > width) width = program->enough[i];
    return (size_t)smaller(program->high, (uint32_t)width) + 1;
}

static bool fill_program(struct program *program, struct error *err)
{
    size_t count = program->list.count, threads = choose_threads(program), width = row_width(program);
    struct crew crew = {.program = program, .width = width};
    crew.next = mem_zalloc(MEM_SEARCH, count, sizeof *crew.next);
    crew.scratch = mem_alloc(MEM_SEARCH, width * threads, sizeof *crew.scratch);
    program->rows = mem_alloc(MEM_SEARCH, state_count(&program->list), sizeof *program->rows);
    bool ok = crew.next && crew.scratch && program->rows;
    if (ok)
        run_crew(&crew, threads);
    else
        error_memory(err, state_count(&program->list) * sizeof *program->rows, mem_purpose_name(MEM_SEARCH));
    mem_free(crew.next);
    mem_free(crew.scratch);
    return ok;
}

static bool solve_groups(struct program *program, struct error *err)
{
    for (size_t i = 0; program->groups && i < program->list.count; i++) {
        struct program *group = &program->groups[i];
        group->high = group_limit(program, program->high);
        group->store = program->store;
        TRY(fill_floor(group, err));
        TRY(fill_program(group, err));
    }
    return true;
}

bool chain_program_solve(struct program *program, uint32_t low, uint32_t high, struct error *err)
{
    program->low = low;
    program->high = high;
    program->store = mem_zalloc(MEM_SEARCH, 1, sizeof *program->store);
    if (!program->store) return error_memory(err, sizeof *program->store, mem_purpose_name(MEM_SEARCH));
    uint64_t bytes = chain_program_row_bytes(program, low, high) + chain_program_inner_bytes(program, high);
    program->store->bytes = bytes += sizeof(float); /* never none */
    program->store->floats = mem_map(MEM_SEARCH, bytes);
    if (!program->store->floats) return error_memory(err, bytes, mem_purpose_name(MEM_SEARCH));
    return fill_floor(program, err) && solve_groups(program, err) && fill_program(program, err);
}

float chain_program_best_option(const struct program *program, size_t s, size_t t, uint32_t more, uint32_t m,
                                uint32_t *option)
{
    float best = INFINITY;
    for (uint32_t i = 0; i < program->list.units[s].options; i++) {
        const struct unit_option *o = &program->list.units[s].option[i];
        if ((o->remakes && more == 0) || m < chain_need_alone(&program->list, o, s, t, more)) continue;
        float value = (float)o->excess;
        if (s < t) value += chain_row_value(rest_of(program, o, s, t, more), (int64_t)m - o->saved + o->freed);
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
        if (last < t) value += chain_row_value(row_at(program, 0, last + 1, t), (int64_t)m - streak->saved);
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
    return chain_row_value(row_at(program, 0, s, split->j - 1), m) +
           chain_row_value(row_at(program, 0, split->j, t), (int64_t)m - units[split->j - 1].output + freed) +
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
