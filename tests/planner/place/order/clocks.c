/* Buffers of several streams against brute force: bounds, placements, the checker; tilings of which the optimum is
 * known.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "mem.h"
#include "place.h"
#include "place_check.h"
#include "place_check_clocks.h"
#include "place_clocks.h"
#include "random.h"

#define MOST    400
#define STREAMS 8

struct instance {
    size_t count;
    struct place_buffer buffers[MOST];
    uint64_t start[MOST * STREAMS], end[MOST * STREAMS];
    struct place_clocks clocks;
};

/* Streams that take steps and now and then receive all that another knows; each has a few open buffers, which it ends
 * in any order. */
static void simulate(struct instance *instance, size_t streams, size_t count, uint64_t seed)
{
    struct random random = random_begin(seed, RANDOM_SEARCH, 11, count);
    uint64_t now[STREAMS][STREAMS] = {{0}};
    size_t open[STREAMS][MOST], opened[STREAMS] = {0};
    size_t sync = 2 + random_below(&random, 8);
    *instance = (struct instance){.clocks = {streams, instance->start, instance->end}};
    for (size_t done = 0; done < count;) {
        size_t s = random_below(&random, (uint32_t)streams), other = random_below(&random, (uint32_t)streams);
        now[s][s]++;
        if (random_below(&random, (uint32_t)sync) == 0)
            for (size_t k = 0; k < streams; k++)
                if (now[other][k] > now[s][k]) now[s][k] = now[other][k];
        bool ends = opened[s] > 0 && (instance->count == count || random_below(&random, 2) == 0);
        if (ends) {
            size_t at = random_below(&random, (uint32_t)opened[s]), buffer = open[s][at];
            open[s][at] = open[s][--opened[s]];
            memcpy(instance->end + buffer * streams, now[s], streams * sizeof(uint64_t));
            done++;
        } else if (instance->count < count) {
            size_t buffer = instance->count++;
            open[s][opened[s]++] = buffer;
            memcpy(instance->start + buffer * streams, now[s], streams * sizeof(uint64_t));
            instance->buffers[buffer] =
                (struct place_buffer){.size = 1 + random_below(&random, 20), .align = 1, .fixed = PLACE_UNPLACED};
        }
    }
}

static bool ends_first(const struct instance *instance, size_t a, size_t b)
{
    size_t streams = instance->clocks.streams;
    for (size_t s = 0; s < streams; s++)
        if (instance->end[a * streams + s] > instance->start[b * streams + s]) return false;
    return true;
}

static bool conflict(const struct instance *instance, size_t a, size_t b)
{
    return !ends_first(instance, a, b) && !ends_first(instance, b, a);
}

/* Of every subset. */
static uint64_t heaviest(const struct instance *instance)
{
    uint64_t best = 0;
    for (uint32_t set = 1; set < 1u << instance->count; set++) {
        uint64_t sum = 0;
        bool clique = true;
        for (size_t a = 0; a < instance->count && clique; a++) {
            if (!(set >> a & 1)) continue;
            sum += instance->buffers[a].size;
            for (size_t b = 0; b < a && clique; b++) clique = !(set >> b & 1) || conflict(instance, a, b);
        }
        if (clique && sum > best) best = sum;
    }
    return best;
}

/* Over every order by offset: each lies on the highest before it that it conflicts with. */
static void stack(const struct instance *instance, uint32_t set, uint64_t *end, uint64_t arena, uint64_t *best)
{
    if (arena >= *best) return;
    if (set == 0) *best = arena;
    for (size_t i = 0; i < instance->count; i++) {
        if (!(set >> i & 1)) continue;
        uint64_t at = 0;
        for (size_t j = 0; j < instance->count; j++)
            if (!(set >> j & 1) && conflict(instance, i, j) && end[j] > at) at = end[j];
        end[i] = at + instance->buffers[i].size;
        stack(instance, set & ~(1u << i), end, arena > end[i] ? arena : end[i], best);
    }
}

static uint64_t smallest(const struct instance *instance)
{
    uint64_t end[32] = {0}, best = UINT64_MAX;
    stack(instance, (1u << instance->count) - 1, end, 0, &best);
    return best;
}

static struct place_result solve(struct instance *instance, const struct place_options *options)
{
    struct error err = {0};
    struct place_result result;
    uint32_t clique[MOST];
    size_t members;
    uint64_t arena, live, sum = 0;
    cr_assert(place_clocks_solve(instance->buffers, &instance->clocks, instance->count, options, &result, clique,
                                 &members, &err),
              "%s", err.text);
    cr_assert(place_check_clocks(instance->buffers, &instance->clocks, instance->count, &arena, &err), "%s", err.text);
    cr_assert_eq(arena, result.arena_bytes);
    cr_assert_leq(result.lower_bound_bytes, result.arena_bytes);
    cr_assert_eq(result.proved_optimal, result.lower_bound_bytes == result.arena_bytes);
    for (size_t a = 0; a < members; a++) { /* the certificate */
        uint64_t align = instance->buffers[clique[a]].align;
        sum += (instance->buffers[clique[a]].size + align - 1) / align * align;
        for (size_t b = 0; b < a; b++) cr_assert(conflict(instance, clique[a], clique[b]));
    }
    cr_assert_eq(sum, result.live_bytes);
    cr_assert(place_check_clocks_live(instance->buffers, &instance->clocks, instance->count, &live, &err), "%s",
              err.text);
    cr_assert_leq(live, result.lower_bound_bytes);
    return result;
}

Test(place_clocks, small_ones_are_as_brute_force_has_them)
{
    static const struct place_options quick = {.threads = 1};
    static struct instance instance;
    int met = 0, cases = 0;
    for (uint64_t seed = 0; seed < 1500; seed++) {
        simulate(&instance, 2 + seed % 3, 2 + seed % 6, seed);
        struct place_result result = solve(&instance, &quick);
        uint64_t least = smallest(&instance);
        cr_assert_eq(result.live_bytes, heaviest(&instance), "seed %" PRIu64, seed);
        cr_assert_leq(result.lower_bound_bytes, least, "seed %" PRIu64, seed);
        cr_assert_geq(result.arena_bytes, least, "seed %" PRIu64, seed);
        cases++;
        met += result.arena_bytes == least;
    }
    cr_assert_gt(met, cases * 98 / 100, "%d of %d at their least", met, cases);
}

/* Of one stream it is the problem in plain time. */
Test(place_clocks, one_stream_is_plain_time)
{
    static const struct place_options options = {.seconds = 5, .nodes = 20000, .threads = 1};
    static struct instance instance;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct error err = {0};
        struct place_result plain, clocked;
        simulate(&instance, 1, 10 + seed, seed);
        clocked = solve(&instance, &options);
        for (size_t i = 0; i < instance.count; i++) {
            instance.buffers[i].lower = instance.start[i];
            instance.buffers[i].upper = instance.end[i];
        }
        cr_assert(place_check(instance.buffers, instance.count, clocked.arena_bytes, &err), "%s", err.text);
        cr_assert(place_solve(instance.buffers, instance.count, &options, &plain, &err));
        cr_assert_eq(plain.live_bytes, clocked.live_bytes);
        cr_assert_eq(plain.arena_bytes, clocked.arena_bytes, "seed %" PRIu64, seed);
    }
}

Test(place_clocks, alignments_and_fixed_offsets_hold)
{
    static const struct place_options options = {.seconds = 0.02, .threads = 1};
    static struct instance instance;
    for (uint64_t seed = 0; seed < 40; seed++) {
        simulate(&instance, 1 + seed % 5, 40, seed);
        for (size_t i = 0; i < instance.count; i++) instance.buffers[i].align = UINT64_C(1) << i % 4;
        solve(&instance, &options);
        for (size_t i = 0; i < instance.count; i += 5) instance.buffers[i].fixed = instance.buffers[i].offset;
        solve(&instance, &options);
    }
}

Test(place_clocks, same_seed_same_offsets)
{
    static const struct place_options options = {.threads = 2, .seed = 3};
    static struct instance first, second;
    simulate(&first, 4, 150, 5);
    simulate(&second, 4, 150, 5);
    solve(&first, &options);
    solve(&second, &options);
    for (size_t i = 0; i < first.count; i++) cr_assert_eq(first.buffers[i].offset, second.buffers[i].offset);
}

Test(place_clocks, what_is_wrong_is_said)
{
    static const struct place_options options = {0};
    static struct instance instance;
    struct error err = {0};
    struct place_result result = {.arena_bytes = 77};
    uint32_t clique[MOST];
    size_t members;
    uint64_t arena;
    simulate(&instance, 2, 20, 1);
    solve(&instance, &options);
    for (size_t i = 0; i < instance.count; i++) instance.buffers[i].offset = 0;
    cr_assert_not(place_check_clocks(instance.buffers, &instance.clocks, instance.count, &arena, &err));
    cr_assert(strstr(err.text, "neither ends before the other begins"), "%s", err.text);
    instance.buffers[3].alias = 1;
    err = (struct error){0};
    cr_assert_not(
        place_clocks_solve(instance.buffers, &instance.clocks, 20, &options, &result, clique, &members, &err));
    cr_assert(err.kind == ERROR_INPUT && strstr(err.text, "buffer 3") && strstr(err.text, "alias"), "%s", err.text);
    instance.buffers[3].alias = 0;
    instance.end[2 * 4] = instance.start[2 * 4] = 5;
    instance.end[2 * 4] = 4;
    err = (struct error){0};
    cr_assert_not(
        place_clocks_solve(instance.buffers, &instance.clocks, 20, &options, &result, clique, &members, &err));
    cr_assert(err.kind == ERROR_INPUT && strstr(err.text, "buffer 4"), "%s", err.text);
    cr_assert_eq(result.arena_bytes, 77);
}

/* Two that live together; the second's end wraps around, or its size does when it is rounded. */
Test(place_clocks, ends_beyond_64_bits_are_refused)
{
    static const struct place_buffer wrong[] = {{.size = 20, .offset = UINT64_MAX - 9},
                                                {.size = UINT64_MAX, .align = 4096, .offset = 0},
                                                {.size = UINT64_MAX - 4094, .align = 4096, .offset = 0},
                                                {.size = 1, .align = 1, .offset = UINT64_MAX}};
    uint64_t start[] = {0, 0, 1, 0}, end[] = {2, 1, 3, 3}, arena, live;
    const struct place_clocks clocks = {2, start, end};
    struct place_buffer buffers[2] = {{.size = 10, .offset = 0, .fixed = PLACE_UNPLACED}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct error err = {0};
        buffers[1] = wrong[i];
        buffers[1].fixed = PLACE_UNPLACED;
        cr_assert_not(place_check_clocks(buffers, &clocks, 2, &arena, &err), "%zu", i);
        cr_assert(err.kind == ERROR_INPUT && strstr(err.text, "buffer 1") && strstr(err.text, "beyond 64 bits"), "%s",
                  err.text);
    }
    struct error err = {0};
    buffers[1] = (struct place_buffer){.size = UINT64_MAX - 10, .offset = 10, .fixed = PLACE_UNPLACED};
    cr_assert(place_check_clocks(buffers, &clocks, 2, &arena, &err), "the last byte there is: %s", err.text);
    cr_assert_eq(arena, UINT64_MAX);
    cr_assert(place_check_clocks_live(buffers, &clocks, 2, &live, &err), "%s", err.text);
    cr_assert_eq(live, UINT64_MAX);
    buffers[1].size++;
    cr_assert_not(place_check_clocks_live(buffers, &clocks, 2, &live, &err));
    cr_assert(strstr(err.text, "beyond 64 bits"), "%s", err.text);
}

/* ---- Tilings of concurrent streams ---- */

/* The source that omnimalloc measures itself by: each stream cuts a band of its own into tiles, and streams learn of
 * each other's time by messages, so that the capacity is enough whatever they know. */
struct message {
    uint64_t at, clock[STREAMS];
};

#define SPAN     100000
#define CAPACITY ((uint64_t)1 << 20)
#define SYNCS    600

static struct message received[STREAMS][SYNCS];
static size_t received_count[STREAMS];

static void send_messages(struct random *random, size_t streams, size_t syncs)
{
    uint64_t now[STREAMS][STREAMS] = {{0}};
    memset(received_count, 0, sizeof received_count);
    for (size_t m = 0; m < syncs; m++) {
        size_t from = random_below(random, (uint32_t)streams);
        size_t to = (from + 1 + random_below(random, (uint32_t)streams - 1)) % streams;
        uint64_t at = SPAN * (m + 1) / (syncs + 1);
        now[from][from] = at;
        for (size_t k = 0; k < streams; k++)
            if (now[from][k] > now[to][k]) now[to][k] = now[from][k];
        struct message *message = &received[to][received_count[to]++];
        message->at = at;
        memcpy(message->clock, now[to], sizeof message->clock);
    }
}

static void project(size_t stream, uint64_t at, size_t streams, uint64_t *clock)
{
    memset(clock, 0, streams * sizeof *clock);
    for (size_t m = 0; m < received_count[stream] && received[stream][m].at <= at; m++)
        memcpy(clock, received[stream][m].clock, streams * sizeof *clock);
    clock[stream] = at;
}

struct tile {
    uint64_t from, to, low, high;
};

static void cut_band(struct random *random, struct tile *tiles, size_t count, uint64_t height)
{
    tiles[0] = (struct tile){0, SPAN, 0, height};
    for (size_t made = 1; made < count; made++) {
        size_t at = 0;
        for (size_t i = 1; i < made; i++)
            if ((tiles[i].to - tiles[i].from) * (tiles[i].high - tiles[i].low) >
                (tiles[at].to - tiles[at].from) * (tiles[at].high - tiles[at].low))
                at = i;
        struct tile *tile = &tiles[at], rest = *tile;
        uint64_t share = 20 + random_below(random, 60);
        if (random_below(random, 2))
            tile->to = rest.from = tile->from + (tile->to - tile->from) * share / 100;
        else
            tile->high = rest.low = tile->low + (tile->high - tile->low) * share / 100;
        tiles[made] = rest;
    }
}

static void make_tiling(struct instance *instance, size_t streams, size_t syncs, uint64_t seed)
{
    struct random random = random_begin(seed, RANDOM_SEARCH, 12, syncs);
    *instance = (struct instance){.clocks = {streams, instance->start, instance->end}};
    send_messages(&random, streams, syncs);
    for (size_t s = 0; s < streams; s++) {
        struct tile tiles[MOST];
        size_t count = 200 / streams;
        cut_band(&random, tiles, count, CAPACITY / streams);
        for (size_t i = 0; i < count; i++) {
            size_t buffer = instance->count++;
            instance->buffers[buffer] =
                (struct place_buffer){.size = tiles[i].high - tiles[i].low, .align = 1, .fixed = PLACE_UNPLACED};
            project(s, tiles[i].from, streams, instance->start + buffer * streams);
            project(s, tiles[i].to, streams, instance->end + buffer * streams);
        }
    }
}

Test(place_clocks, tilings_of_streams_reach_their_optimum)
{
    static const size_t syncs[] = {0, 1, 16, 100, SYNCS};
    static const struct place_options options = {.seconds = 2, .threads = 1};
    static struct instance instance;
    for (size_t streams = 2; streams <= STREAMS; streams *= 2)
        for (size_t i = 0; i < sizeof syncs / sizeof syncs[0]; i++) {
            make_tiling(&instance, streams, syncs[i], streams + i);
            struct place_result result = solve(&instance, &options);
            cr_assert_eq(result.arena_bytes, CAPACITY, "%zu streams, %zu messages: %" PRIu64, streams, syncs[i],
                         result.arena_bytes);
            cr_assert(result.proved_optimal, "%zu streams, %zu messages", streams, syncs[i]);
        }
}
