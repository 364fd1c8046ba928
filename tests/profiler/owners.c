/* Whose a node of a graph is: announced, cloned, destroyed, and its number given away again. */
#include <criterion/criterion.h>

#ifdef FATHOM_CUDA
#include "mem.h"
#include "owners.h"

#define NODE(graph, place) ((uint64_t)(graph) << 32 | (place))

static void add(struct owners *owners, uint64_t node, uint32_t op)
{
    cr_assert(owners_add_node(owners, node, &(struct owner){.op = op, .kernel = OWNER_NO_KERNEL}));
}

/* The op; UINT32_MAX: nobody's. */
static uint32_t op_of(struct owners *owners, uint64_t node)
{
    owners_lock(owners);
    const struct owner *owner = owners_find_node(owners, node);
    uint32_t op = owner ? owner->op : UINT32_MAX;
    owners_unlock(owners);
    return op;
}

Test(owners, a_clone_is_its_original_s_until_it_is_forgotten)
{
    uint64_t before = mem_current_bytes(MEM_TRACE);
    struct owners *owners = owners_create();
    cr_assert_not_null(owners);
    for (uint32_t i = 1; i <= 5000; i++) {
        add(owners, NODE(1, i), i);
        cr_assert(owners_clone_node(owners, NODE(2, i), NODE(1, i)));
        cr_assert(owners_retire_node(owners, NODE(1, i), 100)); /* the captured graph goes at once */
    }
    cr_assert(owners_clone_node(owners, NODE(2, 9999), NODE(1, 9999)), "of a node that nobody announced");
    cr_expect_eq(op_of(owners, NODE(2, 9999)), UINT32_MAX);
    cr_expect_eq(op_of(owners, NODE(1, 7)), 7, "records may still come");
    owners_forget(owners, 101);
    for (uint32_t i = 1; i <= 5000; i++) {
        cr_assert_eq(op_of(owners, NODE(1, i)), UINT32_MAX);
        cr_assert_eq(op_of(owners, NODE(2, i)), i);
    }
    owners_destroy(owners);
    cr_expect_eq(mem_current_bytes(MEM_TRACE), before);
}

/* A graph that is recorded again, or updated, may have the numbers of the one before: they are the new op's, and stay
 * it. */
Test(owners, a_number_that_is_given_away_again_stays_the_new_op_s)
{
    struct owners *owners = owners_create();
    cr_assert_not_null(owners);
    for (uint64_t again = 1; again < 50; again++) {
        for (uint32_t i = 1; i <= 100; i++) add(owners, NODE(3, i), (uint32_t)again * 1000 + i);
        owners_forget(owners, 10 * again);
        for (uint32_t i = 1; i <= 100; i++)
            cr_assert_eq(op_of(owners, NODE(3, i)), again * 1000 + i, "the %llu-th time", (unsigned long long)again);
        for (uint32_t i = 1; i <= 100; i++) cr_assert(owners_retire_node(owners, NODE(3, i), 10 * again + 5));
    }
    owners_forget(owners, UINT64_MAX);
    cr_expect_eq(op_of(owners, NODE(3, 1)), UINT32_MAX);
    owners_destroy(owners);
}

Test(owners, launches_are_forgotten_oldest_first)
{
    struct owners *owners = owners_create();
    cr_assert_not_null(owners);
    for (uint32_t i = 1; i <= 200000; i++) cr_assert(owners_add_launch(owners, i, &(struct owner){.op = i}));
    owners_lock(owners);
    const struct owner *last = owners_find_launch(owners, 200000), *first = owners_find_launch(owners, 1);
    cr_expect(last && last->op == 200000);
    cr_expect_null(first);
    owners_unlock(owners);
    owners_destroy(owners);
}
#else
Test(owners, without_cuda) { cr_skip_test("this build has no CUDA"); }
#endif
