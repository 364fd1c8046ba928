/* First fit over and over, each time with the buffers that stuck out above the target moved forward in the order
 * (Joslin and Clements, "Squeaky wheel" optimization, JAIR 1999): the few that do not fit say themselves where the
 * order is wrong. Several lines of such attempts, each from its own first order, are followed in rounds; a round gives
 * every line some attempts, then the weaker half begins anew, as variations of the first orders.
 *
 * Lines do not see each other within a round, and the lowest line that reaches the target wins it, so that the result
 * does not depend on timing or on the number of threads. */
#include <pthread.h>
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place_fast.h"
#include "place_firstfit.h"
#include "random.h"
#include "thread.h"

#define MOST_THREADS   64
#define LINES          FIRSTFIT_ORDERS
#define KEPT           ((LINES + 1) / 2) /* lines that go on to the next round */
#define FIRST_ATTEMPTS 4                 /* of a line in the second round; in the first, one */
#define MOST_ATTEMPTS  32
#define FINE_BITS      12 /* of a place in the order, to put one buffer between two others */

struct line {
    uint32_t *order;
    uint32_t peak;   /* how many at the beginning of the order stay there, in half of the moves */
    uint32_t number; /* of its stream of random numbers */
    uint64_t attempts;
    uint64_t *offset; /* of its best */
    uint64_t arena;
    enum firstfit_outcome outcome;
};

struct squeeze {
    const struct problem *problem;
    uint64_t target, seed;
    struct line lines[LINES];
    uint64_t *load;
    uint32_t begun;    /* lines so far */
    uint32_t attempts; /* of each line in this round */
    bool obliged;      /* there is no placement yet: the first is made whatever the limits */
    struct firstfit_limits limits;
    uint64_t steps_left; /* where limits.steps > 0 */
    const struct place_options *options;
    uint64_t start_ns;
    _Atomic uint32_t next, winner;
};

struct worker {
    struct squeeze *squeeze;
    struct firstfit firstfit;
};

static void begin_line(struct squeeze *squeeze, struct line *line)
{
    line->number = squeeze->begun++;
    line->attempts = 0;
    line->arena = UINT64_MAX;
    line->outcome = FIRSTFIT_PLACED;
}

/* Left until the line's first attempt: most problems end at the first lines. */
static void make_order(const struct squeeze *squeeze, struct firstfit *firstfit, struct line *line)
{
    static const double noises[] = {0.1, 0.03, 0.3};
    uint32_t again = line->number / FIRSTFIT_ORDERS;
    line->peak = firstfit_make_order(firstfit, squeeze->load, line->number % FIRSTFIT_ORDERS,
                                     again ? noises[again % 3] : 0, squeeze->seed + line->number, line->order);
}

/* Every buffer above the target goes to a random place ahead of where it was. */
static void move_forward(struct firstfit *firstfit, struct line *line, uint64_t target, struct random *random)
{
    const struct problem *problem = firstfit->problem;
    struct sort_pair *pairs = firstfit->pairs;
    bool past_peak = random_below(random, 2) == 0;
    for (size_t i = 0; i < problem->count; i++) {
        uint32_t buffer = line->order[i];
        uint64_t place = (uint64_t)i << FINE_BITS;
        if (firstfit->offset[buffer] + problem->size[buffer] > target) {
            uint64_t from = past_peak && i >= line->peak ? (uint64_t)line->peak << FINE_BITS : 0;
            place = from + (uint64_t)(random_real(random) * (double)(place - from));
        } else {
            place++;
        }
        pairs[i] = (struct sort_pair){place, buffer};
    }
    sort_pairs(pairs, firstfit->scratch, problem->count);
    for (size_t i = 0; i < problem->count; i++) line->order[i] = pairs[i].index;
}

/* Where one order took more than it might, the others would as well. */
static void count_steps(struct squeeze *squeeze, const struct firstfit *firstfit, uint64_t limit)
{
    uint64_t steps = firstfit->gaps.steps;
    squeeze->steps_left = steps > limit || steps > squeeze->steps_left ? 0 : squeeze->steps_left - steps;
}

/* The first placement: half of the time goes by in search of gaps at most, the rest is for what is left then. */
static void oblige(struct firstfit_limits *limits)
{
    uint64_t now = clock_now_ns();
    limits->obliged = true;
    limits->stop = NULL;
    if (limits->deadline_ns > now) limits->deadline_ns = now + (limits->deadline_ns - now) / 2;
}

static void run_line(struct squeeze *squeeze, struct firstfit *firstfit, uint32_t index)
{
    struct line *line = &squeeze->lines[index];
    struct firstfit_limits limits = squeeze->limits;
    limits.index = index;
    if (limits.steps > 0) limits.steps = squeeze->steps_left / 2 + 1;
    if (squeeze->obliged && index == 0 && line->attempts == 0) oblige(&limits);
    if (!limits.obliged && !firstfit_may_go_on(&limits)) return;
    if (line->attempts == 0) make_order(squeeze, firstfit, line);
    for (uint32_t i = 0; i < squeeze->attempts; i++) {
        uint64_t arena;
        struct random random =
            random_begin(squeeze->seed + line->number, RANDOM_SEARCH, FIRSTFIT_ORDERS, line->attempts++);
        line->outcome = firstfit_place(firstfit, line->order, &limits, &arena);
        if (limits.steps > 0) count_steps(squeeze, firstfit, limits.steps);
        if (line->outcome != FIRSTFIT_PLACED) return;
        if (arena < line->arena) {
            line->arena = arena;
            memcpy(line->offset, firstfit->offset, squeeze->problem->count * sizeof *line->offset);
        }
        if (problem_content(squeeze->problem, squeeze->target, arena)) break;
        move_forward(firstfit, line, squeeze->target, &random);
    }
    uint32_t winner = atomic_load(&squeeze->winner);
    while (problem_content(squeeze->problem, squeeze->target, line->arena) && index < winner &&
           !atomic_compare_exchange_weak(&squeeze->winner, &winner, index)) {
    }
}

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    for (uint32_t i; (i = atomic_fetch_add(&worker->squeeze->next, 1)) < LINES;)
        run_line(worker->squeeze, &worker->firstfit, i);
    return NULL;
}

/* Threads that cannot start leave their share to the calling one. */
static void run_workers(struct worker *workers, uint32_t count)
{
    pthread_t threads[MOST_THREADS];
    uint32_t started = 1;
    atomic_store(&workers->squeeze->next, 0);
    atomic_store(&workers->squeeze->winner, UINT32_MAX);
    while (started < count && thread_start(&threads[started], 0, "place", run_worker, &workers[started]) == 0)
        started++;
    run_worker(&workers[0]);
    for (uint32_t i = 1; i < started; i++) pthread_join(threads[i], NULL);
}

/* The best lines first, in their order among equals. */
static void rank_lines(struct line *lines)
{
    for (size_t i = 1; i < LINES; i++) {
        struct line line = lines[i];
        size_t at = i;
        for (; at > 0 && lines[at - 1].arena > line.arena; at--) lines[at] = lines[at - 1];
        lines[at] = line;
    }
}

/* A round's yield goes into *best: after a win nothing but the winner, since the lines above it may be unfinished. */
static bool gather(struct squeeze *squeeze, struct placement *best, struct error *err)
{
    uint32_t winner = atomic_load(&squeeze->winner);
    size_t bytes = squeeze->problem->count * sizeof *best->offset;
    for (uint32_t i = 0; i < LINES; i++) {
        const struct line *line = &squeeze->lines[i];
        if (line->outcome == FIRSTFIT_NO_MEMORY) return error_memory(err, bytes, "first-fit placement");
        if (line->arena >= best->arena || (winner != UINT32_MAX && i != winner)) continue;
        best->arena = line->arena;
        memcpy(best->offset, line->offset, bytes);
    }
    return true;
}

static void report(const struct squeeze *squeeze, const struct placement *best)
{
    const struct place_options *options = squeeze->options;
    double seconds = (double)(clock_now_ns() - squeeze->start_ns) * 1e-9;
    if (options->progress) options->progress(options->context, squeeze->problem->bound, best->arena, seconds);
}

static uint32_t next_attempts(uint32_t attempts)
{
    if (attempts == 1) return FIRST_ATTEMPTS;
    return attempts < MOST_ATTEMPTS ? 2 * attempts : MOST_ATTEMPTS;
}

static bool run_rounds(struct squeeze *squeeze, struct worker *workers, uint32_t threads, uint64_t most_work,
                       struct placement *best, struct error *err)
{
    uint64_t work = LINES * squeeze->problem->count;
    for (uint32_t i = 0; i < LINES; i++) begin_line(squeeze, &squeeze->lines[i]);
    squeeze->attempts = 1;
    for (;;) {
        run_workers(workers, threads);
        TRY(gather(squeeze, best, err));
        report(squeeze, best);
        if (problem_content(squeeze->problem, squeeze->target, best->arena) || !firstfit_may_go_on(&squeeze->limits))
            break;
        rank_lines(squeeze->lines);
        for (size_t i = KEPT; squeeze->attempts >= FIRST_ATTEMPTS && i < LINES; i++)
            begin_line(squeeze, &squeeze->lines[i]);
        squeeze->attempts = next_attempts(squeeze->attempts);
        work += (uint64_t)squeeze->attempts * LINES * squeeze->problem->count;
        if (work > most_work || !firstfit_may_go_on(&squeeze->limits)) break;
    }
    return true;
}

static bool squeeze_init(struct squeeze *squeeze, struct error *err)
{
    size_t count = squeeze->problem->count;
    squeeze->limits.stop = &squeeze->winner;
    squeeze->load = mem_alloc(MEM_SEARCH, count, sizeof *squeeze->load);
    bool ok = squeeze->load != NULL;
    for (size_t i = 0; i < LINES; i++) {
        squeeze->lines[i].order = mem_alloc(MEM_SEARCH, count, sizeof *squeeze->lines[i].order);
        squeeze->lines[i].offset = mem_alloc(MEM_SEARCH, count, sizeof *squeeze->lines[i].offset);
        ok &= squeeze->lines[i].order && squeeze->lines[i].offset;
    }
    if (!ok) return error_memory(err, count * (8 + 12 * LINES), "first-fit placement");
    return firstfit_find_load(squeeze->problem, squeeze->load, err);
}

static void squeeze_finish(struct squeeze *squeeze)
{
    for (size_t i = 0; i < LINES; i++) {
        mem_free(squeeze->lines[i].order);
        mem_free(squeeze->lines[i].offset);
    }
    mem_free(squeeze->load);
}

static bool run(struct squeeze *squeeze, uint32_t threads, uint64_t most_work, struct placement *best,
                struct error *err)
{
    struct worker workers[MOST_THREADS] = {0};
    bool ok = squeeze_init(squeeze, err);
    for (uint32_t i = 0; ok && i < threads; i++) {
        workers[i].squeeze = squeeze;
        ok = firstfit_init(&workers[i].firstfit, squeeze->problem, err);
    }
    ok = ok && run_rounds(squeeze, workers, threads, most_work, best, err);
    for (uint32_t i = 0; i < threads; i++) firstfit_finish(&workers[i].firstfit);
    squeeze_finish(squeeze);
    return ok;
}

bool squeeze_improve(const struct problem *problem, uint64_t target, const struct squeeze_limits *limits,
                     struct placement *best, struct error *err)
{
    struct squeeze squeeze = {
        .problem = problem,
        .target = target,
        .seed = limits->options->seed,
        .options = limits->options,
        .steps_left = limits->steps,
        .start_ns = clock_now_ns(),
        .obliged = best->arena == UINT64_MAX,
        .limits = {.deadline_ns = problem->deadline_ns, .steps = limits->steps, .quit = problem->quit}};
    uint32_t threads = limits->threads < LINES ? limits->threads : LINES;
    return run(&squeeze, threads > 0 ? threads : 1, limits->work, best, err);
}
