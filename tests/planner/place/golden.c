/* MiniMalloc's challenging set (Moffitt, ASPLOS 2023), when the data are at hand: FATHOM_SHARED or ../shared. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "place.h"
#include "place_check.h"
#include "place_csv.h"
#include "place_kit.h"
#include "rounds.h"

#define ENOUGH 1e6 /* seconds: what is found does not depend on how busy the machine is */

static bool read_set(struct place_table *table, const char *name)
{
    const char *shared = getenv("FATHOM_SHARED"), *source = getenv("FATHOM_SOURCE");
    char path[1024];
    struct error err = {0};
    if (shared)
        snprintf(path, sizeof path, "%s/data/placement/minimalloc-%s.csv", shared, name);
    else
        snprintf(path, sizeof path, "%s/../shared/data/placement/minimalloc-%s.csv", source ? source : ".", name);
    if (access(path, R_OK) != 0) return false;
    cr_assert(place_table_read(table, path, &err), "%s", err.text);
    return true;
}

static const struct {
    const char *name;
    size_t rows;
    uint64_t bound, capacity;
    uint64_t reached; /* on one thread */
} sets[] = {{"example-12", 5, 12, 12, 12},         {"A", 154, 1048576, 1048576, 1048576},
            {"B", 170, 1048576, 1048576, 1048576}, {"C", 203, 1039360, 1048576, 1039360},
            {"D", 213, 986112, 1048576, 986112},   {"E", 215, 1048576, 1048576, 1048576},
            {"F", 296, 1048576, 1048576, 1048576}};

Test(place_golden, the_challenging_set_is_solved)
{
    size_t seen = 0;
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        struct place_table table;
        if (!read_set(&table, sets[i].name)) continue;
        seen++;
        cr_assert_eq(table.count, sets[i].rows);
        struct place_options options = {.capacity = sets[i].capacity, .seconds = ENOUGH, .threads = 1};
        struct place_result fits = place_kit_solve(table.buffers, table.count, &options);
        cr_assert_leq(fits.arena_bytes, sets[i].capacity, "%s", sets[i].name);
        cr_assert_eq(fits.lower_bound_bytes, sets[i].bound, "%s", sets[i].name);
        options = (struct place_options){.seconds = ENOUGH, .threads = 1};
        struct place_result least = place_kit_solve(table.buffers, table.count, &options);
        cr_assert_leq(least.arena_bytes, sets[i].reached, "%s", sets[i].name);
        cr_assert_eq(least.proved_optimal, least.arena_bytes == sets[i].bound, "%s", sets[i].name);
        place_table_finish(&table);
    }
    if (seen == 0) cr_skip_test("the placement data are not here");
}

/* Twice with one thread and twice with three: the same offsets each time. */
Test(place_golden, the_same_seed_and_threads_give_the_same_offsets)
{
    struct place_table first, again;
    if (!read_set(&first, "F")) cr_skip_test("the placement data are not here");
    cr_assert(read_set(&again, "F"));
    for (uint32_t threads = 1; threads <= 3; threads += 2) {
        for (uint64_t seed = 0; seed < rounds(4); seed++) {
            struct place_options options = {.seconds = ENOUGH, .threads = threads, .seed = seed};
            struct place_result a = place_kit_solve(first.buffers, first.count, &options),
                                b = place_kit_solve(again.buffers, again.count, &options);
            cr_assert_eq(a.arena_bytes, b.arena_bytes);
            for (size_t i = 0; i < first.count; i++)
                cr_assert_eq(first.buffers[i].offset, again.buffers[i].offset, "threads %u buffer %zu", threads, i);
        }
    }
    place_table_finish(&first);
    place_table_finish(&again);
}
