#include "split_search.h"

#include <math.h>
#include <string.h>

#include "mem.h"

/* After a third of the effort the rest is for splits that promise more than this. */
#define LEAST_GAIN 0.005

/* A share of a kind that was asked for. */
struct point {
    uint32_t units;
    bool fits;
    double seconds; /* of the slowest share of as many units or fewer, so that it never falls */
    double true_seconds;
};

/* What is known of a kind: points ascending, and between which shares the largest that fits lies. */
struct curve {
    struct point *points;
    size_t count, capacity;
    uint32_t fits, unfit; /* 0 = none yet; total + 1 = none yet */
    uint32_t guess;       /* of the largest that fits */
    uint32_t probes;
    double rate; /* seconds of a unit in the first share that was asked for */
};

struct search {
    const struct split_kind *kinds;
    size_t count;
    split_cost_fn cost_of;
    void *context;
    uint64_t total; /* units */
    uint32_t effort, most_effort;
    struct curve *curves;
    struct split_portion *next;
};

/* ---- What is known ---- */

static const struct point *find_point(const struct curve *curve, uint32_t units)
{
    for (size_t i = 0; i < curve->count; i++)
        if (curve->points[i].units == units) return &curve->points[i];
    return NULL;
}

static bool insert_point(struct curve *curve, const struct point *point, struct error *err)
{
    size_t at = curve->count;
    if (curve->count == curve->capacity) {
        size_t capacity = curve->capacity ? 2 * curve->capacity : 16;
        struct point *points = mem_alloc(MEM_PLAN, capacity, sizeof *points);
        if (!points) return error_memory(err, capacity * sizeof *points, "the shares of a batch");
        if (curve->count > 0) memcpy(points, curve->points, curve->count * sizeof *points);
        mem_free(curve->points);
        curve->points = points;
        curve->capacity = capacity;
    }
    for (; at > 0 && curve->points[at - 1].units > point->units; at--) curve->points[at] = curve->points[at - 1];
    curve->points[at] = *point;
    curve->count++;
    double most = 0;
    for (size_t i = 0; i < curve->count; i++) {
        if (curve->points[i].fits && curve->points[i].true_seconds > most) most = curve->points[i].true_seconds;
        curve->points[i].seconds = most;
    }
    return true;
}

/* Where a share that does not fit would, if what it takes beyond the fixed bytes grew with it. */
static void note_unfit(const struct split_kind *kind, struct curve *curve, uint32_t units, uint64_t peak)
{
    if (units >= curve->unfit) return;
    curve->unfit = units;
    uint64_t room = kind->memory_bytes > kind->fixed_bytes ? kind->memory_bytes - kind->fixed_bytes : 0;
    double most = peak > kind->fixed_bytes ? units * ((double)room / (double)(peak - kind->fixed_bytes)) : units / 2.0;
    curve->guess = most < units ? (uint32_t)most : units - 1;
}

static bool ask(struct search *search, size_t kind, uint32_t units, struct error *err)
{
    struct curve *curve = &search->curves[kind];
    struct split_cost cost = {0};
    if (find_point(curve, units)) return true;
    TRY(search->cost_of(search->context, kind, units, &cost, err));
    search->effort += cost.effort;
    if (curve->count == 0) curve->rate = cost.seconds / units;
    if (cost.fits && units > curve->fits) curve->fits = units;
    if (!cost.fits) note_unfit(&search->kinds[kind], curve, units, cost.peak_bytes);
    struct point point = {units, cost.fits, 0, cost.fits ? cost.seconds : INFINITY};
    return insert_point(curve, &point, err);
}

/* ---- What is expected ---- */

/* The largest share worth counting on. */
static uint32_t most_units(const struct curve *curve)
{
    uint32_t most = curve->guess < curve->unfit ? curve->guess : curve->unfit - 1;
    return most > curve->fits ? most : curve->fits;
}

static double between(const struct point *a, const struct point *b, uint32_t units)
{
    double slope = (b->seconds - a->seconds) / ((double)b->units - a->units);
    return a->seconds + slope * ((double)units - a->units);
}

/* Straight lines between the points, and on from the last two; towards nothing in proportion. */
static double expect(const struct curve *curve, uint32_t units)
{
    const struct point *before = NULL, *last = NULL;
    if (units > most_units(curve)) return INFINITY;
    for (size_t i = 0; i < curve->count; i++) {
        const struct point *point = &curve->points[i];
        if (!point->fits) continue;
        if (point->units == units) return point->seconds;
        if (point->units > units) return last ? between(last, point, units) : point->seconds * units / point->units;
        before = last;
        last = point;
    }
    if (!last) return units * curve->rate;
    double straight = before ? between(before, last, units) : 0, steep = last->seconds * units / last->units;
    return before ? straight : steep;
}

static uint32_t units_within(const struct curve *curve, double limit)
{
    uint32_t low = 0, high = most_units(curve) + 1;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (expect(curve, middle) <= limit)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static uint64_t units_of_all(const struct search *search, double limit)
{
    uint64_t sum = 0;
    for (size_t k = 0; k < search->count; k++) {
        uint64_t units = units_within(&search->curves[k], limit);
        if (units == 0) return 0;
        sum += units * search->kinds[k].devices;
    }
    return sum;
}

/* What is given out too much comes back from the slowest kinds: less than one unit of each of their devices, or the
 * limit could be lower. */
static void take_back(struct search *search, uint64_t surplus, double limit)
{
    for (int round = 0; round < 2 && surplus > 0; round++)
        for (size_t k = 0; k < search->count && surplus > 0; k++) {
            struct split_portion *portion = &search->next[k];
            bool slowest = expect(&search->curves[k], portion->units) >= limit * (1 - 1e-12);
            if ((round == 0 && !slowest) || portion->fewer > 0 || portion->units < 2) continue;
            uint32_t most = search->kinds[k].devices;
            portion->fewer = surplus < most ? (uint32_t)surplus : most;
            surplus -= portion->fewer;
            if (portion->fewer < most) continue;
            portion->units--;
            portion->fewer = 0;
        }
}

/* The expected best split; false when no split is expected to fit. */
static bool expect_best(struct search *search)
{
    double low = 0, high = 0;
    for (size_t k = 0; k < search->count; k++) {
        double all = expect(&search->curves[k], most_units(&search->curves[k]));
        if (all > high) high = all;
    }
    if (units_of_all(search, high) < search->total) return false;
    for (int i = 0; i < 100; i++) {
        double middle = low + (high - low) / 2;
        *(units_of_all(search, middle) < search->total ? &low : &high) = middle;
    }
    uint64_t given = 0;
    for (size_t k = 0; k < search->count; k++) {
        search->next[k] = (struct split_portion){units_within(&search->curves[k], high), 0};
        given += (uint64_t)search->next[k].units * search->kinds[k].devices;
    }
    take_back(search, given - search->total, high);
    return true;
}

/* ---- Looking ---- */

static bool ask_portions(struct search *search, const struct split_portion *portions, struct error *err)
{
    for (size_t k = 0; k < search->count; k++) {
        TRY(ask(search, k, portions[k].units, err));
        if (portions[k].fewer > 0) TRY(ask(search, k, portions[k].units - 1, err));
    }
    return true;
}

/* The slowest share's; INFINITY when one does not fit. */
static double true_seconds(const struct search *search, const struct split_portion *portions)
{
    double slowest = 0;
    for (size_t k = 0; k < search->count; k++)
        for (uint32_t less = 0; less <= (portions[k].fewer > 0); less++) {
            const struct point *point = find_point(&search->curves[k], portions[k].units - less);
            if (point->true_seconds > slowest) slowest = point->true_seconds;
        }
    return slowest;
}

/* Nothing is expected to fit: whether one unit more than was counted on does; every third time half of what is open. */
static bool probe_memory(struct search *search, struct error *err)
{
    for (size_t k = 0; k < search->count; k++) {
        struct curve *curve = &search->curves[k];
        uint32_t most = most_units(curve), open = curve->unfit - 1 - most;
        if (open == 0) continue;
        TRY(ask(search, k, curve->probes++ % 3 == 2 ? most + (open + 1) / 2 : most + 1, err));
    }
    return true;
}

/* The expected best is known: whether a kind that ends before the slowest would with one unit more. */
static bool probe_time(struct search *search, double slowest, struct error *err)
{
    for (size_t k = 0; k < search->count; k++) {
        uint32_t more = search->next[k].units + 1;
        const struct curve *curve = &search->curves[k];
        if (more >= curve->unfit || find_point(curve, search->next[k].units)->true_seconds >= slowest) continue;
        TRY(ask(search, k, more, err));
    }
    return true;
}

static double expected_seconds(const struct search *search)
{
    double slowest = 0;
    for (size_t k = 0; k < search->count; k++) {
        double seconds = expect(&search->curves[k], search->next[k].units);
        if (seconds > slowest) slowest = seconds;
    }
    return slowest;
}

static size_t points_known(const struct search *search)
{
    size_t sum = 0;
    for (size_t k = 0; k < search->count; k++) sum += search->curves[k].count;
    return sum;
}

static bool improve(struct search *search, struct split_portion *best, double *best_seconds, struct error *err)
{
    for (size_t known = 0; search->effort < search->most_effort && known < points_known(search);) {
        known = points_known(search);
        if (!expect_best(search)) {
            TRY(probe_memory(search, err));
            continue;
        }
        if (search->effort > search->most_effort / 3 && expected_seconds(search) > (1 - LEAST_GAIN) * *best_seconds)
            break;
        TRY(ask_portions(search, search->next, err));
        double seconds = true_seconds(search, search->next);
        if (seconds < *best_seconds) {
            *best_seconds = seconds;
            memcpy(best, search->next, search->count * sizeof *best);
        }
        if (known == points_known(search)) TRY(probe_time(search, seconds, err));
    }
    return true;
}

static bool begin(struct search *search, const struct split_portion *portions, struct error *err)
{
    search->curves = mem_zalloc(MEM_PLAN, search->count, sizeof *search->curves);
    search->next = mem_zalloc(MEM_PLAN, search->count, sizeof *search->next);
    if (!search->curves || !search->next)
        return error_memory(err, search->count * sizeof *search->curves, "the shares of a batch");
    for (size_t k = 0; k < search->count; k++)
        search->total += (uint64_t)portions[k].units * search->kinds[k].devices - portions[k].fewer;
    for (size_t k = 0; k < search->count; k++)
        search->curves[k].unfit = (search->curves[k].guess = (uint32_t)search->total) + 1;
    return true;
}

bool split_search(const struct split_kind *kinds, size_t count, uint32_t most_effort, split_cost_fn cost_of,
                  void *context, struct split_portion *portions, bool *fits, double *seconds, struct error *err)
{
    struct search search = {
        .kinds = kinds, .count = count, .cost_of = cost_of, .context = context, .most_effort = most_effort};
    bool ok = begin(&search, portions, err) && ask_portions(&search, portions, err);
    if (ok) {
        *seconds = true_seconds(&search, portions);
        ok = improve(&search, portions, seconds, err);
        *fits = ok && *seconds < INFINITY;
    }
    for (size_t k = 0; search.curves && k < count; k++) mem_free(search.curves[k].points);
    mem_free(search.curves);
    mem_free(search.next);
    return ok;
}
