/* Free space against a plain array of holes, looked through from end to end. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "mem.h"
#include "place_holes.h"
#include "random.h"

#define MOST 3000

struct plain {
    struct hole hole[MOST + 1];
    size_t count;
};

static bool takes(struct hole hole, uint64_t size, uint64_t align)
{
    uint64_t low = (hole.low + align - 1) / align * align;
    return low + size <= hole.high;
}

static size_t find(const struct plain *plain, int how, uint64_t size, uint64_t align)
{
    size_t found = plain->count - 1;
    for (size_t i = 0; i < plain->count - 1; i++) {
        if (!takes(plain->hole[i], size, align)) continue;
        if (how == 0) return i;
        if (how == 1) found = i;
        if (how == 2 && plain->hole[i].high - plain->hole[i].low < plain->hole[found].high - plain->hole[found].low)
            found = i;
    }
    return found;
}

static void put(struct plain *plain, size_t at, struct hole hole)
{
    if (hole.low >= hole.high) return;
    memmove(plain->hole + at + 1, plain->hole + at, (plain->count++ - at) * sizeof hole);
    plain->hole[at] = hole;
}

static void drop(struct plain *plain, size_t at)
{
    memmove(plain->hole + at, plain->hole + at + 1, (--plain->count - at) * sizeof *plain->hole);
}

static void give(struct plain *plain, struct hole hole)
{
    size_t at = 0;
    while (plain->hole[at].low < hole.low) at++;
    put(plain, at, hole);
    if (plain->hole[at].high == plain->hole[at + 1].low) {
        plain->hole[at].high = plain->hole[at + 1].high;
        drop(plain, at + 1);
    }
    if (at > 0 && plain->hole[at - 1].high == plain->hole[at].low) {
        plain->hole[at - 1].high = plain->hole[at].high;
        drop(plain, at);
    }
}

static struct hole_place look(struct holes *holes, int how, uint64_t size, uint64_t align)
{
    return how == 0   ? holes_lowest(holes, size, align)
           : how == 1 ? holes_highest(holes, size, align)
                      : holes_tightest(holes, size, align);
}

static void churn(uint32_t seed, uint32_t steps, uint64_t most_size)
{
    static struct plain plain;
    static struct hole taken[MOST];
    struct random random = random_begin(seed, RANDOM_SEARCH, 3, 3);
    struct holes holes;
    struct error err = {0};
    size_t used = 0;
    cr_assert(holes_init(&holes, MOST, 0, &err));
    holes_reset(&holes, 40);
    plain = (struct plain){.hole = {{40, UINT64_MAX / 2}}, .count = 1};
    for (uint32_t step = 0; step < steps; step++) {
        bool grow = step % 5000 < 2500 ? random_below(&random, 4) > 0 : random_below(&random, 4) == 0;
        if (used > 0 && (!grow || used == MOST)) {
            size_t at = random_below(&random, (uint32_t)used);
            give(&plain, taken[at]);
            holes_give(&holes, taken[at].low, taken[at].high);
            taken[at] = taken[--used];
            continue;
        }
        uint64_t size = 1 + random_below(&random, (uint32_t)most_size), align = 1 + random_below(&random, 3);
        int how = (int)random_below(&random, 3);
        size_t at = find(&plain, how, size, align);
        struct hole hole = plain.hole[at];
        struct hole_place place = look(&holes, how, size, align);
        cr_assert_eq(holes_get(&holes, place)->low, hole.low, "seed %" PRIu32 " step %" PRIu32, seed, step);
        cr_assert_eq(holes_is_last(&holes, place), at == plain.count - 1);
        uint64_t low = (hole.low + align - 1) / align * align;
        holes_cut(&holes, place, low, low + size);
        drop(&plain, at);
        put(&plain, at, (struct hole){low + size, hole.high});
        put(&plain, at, (struct hole){hole.low, low});
        taken[used++] = (struct hole){low, low + size};
    }
    holes_finish(&holes);
}

Test(place_holes, the_same_as_a_plain_array)
{
    for (uint32_t seed = 0; seed < 8; seed++) churn(seed, 20000, seed % 2 ? 8 : 1000);
    cr_assert_eq(mem_current_bytes(MEM_SEARCH), 0);
}

Test(place_holes, a_single_hole_is_enough_for_nothing)
{
    struct holes holes;
    struct error err = {0};
    cr_assert(holes_init(&holes, 0, 0, &err));
    holes_reset(&holes, 0);
    cr_assert(holes_is_last(&holes, holes_lowest(&holes, 5, 1)));
    holes_finish(&holes);
    holes_finish(&holes);
}
