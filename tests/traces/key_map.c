/* Numbers by keys: all are found, and a search looks at few slots whatever the keys have in common. */
#include <criterion/criterion.h>

#include "key_map.h"
#include "mem.h"

#define KEYS 50000

/* Half of the searches are of keys that have no number. */
static void check_keys(uint64_t step)
{
    struct key_map map = {0};
    uint32_t number;
    cr_assert_not(key_map_find(&map, 0, &number), "empty");
    for (uint32_t i = 0; i < KEYS; i++) {
        cr_assert_not(key_map_find(&map, i * step, &number));
        cr_assert(key_map_add(&map, i * step, i));
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        cr_assert(key_map_find(&map, i * step, &number));
        cr_assert_eq(number, i);
    }
    cr_assert_not(key_map_find(&map, KEYS * step, &number));
    cr_expect_leq(map.looks, 10 * KEYS, "step %llu: %llu looks", (unsigned long long)step, (unsigned long long)map.looks);
    key_map_finish(&map);
    cr_expect_eq(mem_current_bytes(MEM_TRACE), 0);
}

Test(key_map, finds_keys_that_share_most_of_their_bits)
{
    const uint64_t steps[] = {1, 7, 1024, UINT64_C(1) << 32, UINT64_C(1) << 40, UINT64_C(0x100000001)};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) check_keys(steps[i]);
}

Test(key_map, changes_nothing_when_memory_ends)
{
    struct key_map map = {0};
    uint32_t number, added = 0;
    mem_fail_at(3);
    while (key_map_add(&map, added, added)) added++;
    mem_fail_at(0);
    cr_assert_geq(added, 8);
    for (uint32_t i = 0; i < added; i++) cr_assert(key_map_find(&map, i, &number) && number == i);
    cr_assert_not(key_map_find(&map, added, &number));
    cr_assert(key_map_add(&map, added, added), "later there is memory again");
    key_map_finish(&map);
    cr_expect_eq(mem_current_bytes(MEM_TRACE), 0);
}
