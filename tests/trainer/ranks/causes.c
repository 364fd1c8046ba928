/* Which of the causes that ranks tell is the first: the whole table of what one rank's fault looks like to the others.
 */
#include <criterion/criterion.h>

#include "errors.h"
#include "ranks_private.h"

#define RANKS  4
#define NOBODY RANKS_UNKNOWN

struct told {
    bool heard;
    uint32_t weight, peer;
    enum error_kind kind;
};

#define SILENT                                                                                                         \
    {                                                                                                                  \
        false, 0, NOBODY, ERROR_NONE                                                                                   \
    }
#define OWN                                                                                                            \
    {                                                                                                                  \
        true, RANKS_OWN, NOBODY, ERROR_FAILED                                                                          \
    }
#define LATE                                                                                                           \
    {                                                                                                                  \
        true, RANKS_OWN, NOBODY, ERROR_LATE                                                                            \
    } /* a device has not ended its step */
#define MISSES(peer)                                                                                                   \
    {                                                                                                                  \
        true, RANKS_MISSED, peer, ERROR_FAILED                                                                         \
    }
#define WAITS_FOR(peer)                                                                                                \
    {                                                                                                                  \
        true, RANKS_WAITED, peer, ERROR_PEER                                                                           \
    }
#define FOLLOWS                                                                                                        \
    {                                                                                                                  \
        true, RANKS_FOLLOWS, NOBODY, ERROR_FAILED                                                                      \
    }

static uint32_t first_of(const struct told told[RANKS])
{
    struct ranks_cause causes[RANKS] = {0};
    bool heard[RANKS];
    for (uint32_t i = 0; i < RANKS; i++) {
        causes[i] = (struct ranks_cause){i, told[i].weight, told[i].peer, told[i].kind, ""};
        heard[i] = told[i].heard;
    }
    return ranks_first_cause(causes, heard, RANKS);
}

struct row {
    const char *what;
    struct told told[RANKS];
    uint32_t first;
};

static const struct row rows[] = {
    {"nobody has said anything", {SILENT, SILENT, SILENT, SILENT}, RANKS},
    {"one fails, the rest follow", {FOLLOWS, FOLLOWS, OWN, FOLLOWS}, 2},
    {"two fail for the same reason", {OWN, FOLLOWS, OWN, FOLLOWS}, 0},
    {"one fails while others wait for it and for each other", {WAITS_FOR(1), OWN, MISSES(1), WAITS_FOR(0)}, 1},
    {"one is silent, and all miss it", {MISSES(2), MISSES(2), SILENT, MISSES(2)}, 0},
    {"one misses a rank that waits for the silent one until it hears of that",
     {WAITS_FOR(2), MISSES(0), SILENT, WAITS_FOR(0)},
     0},
    {"the same where the one that waits comes later in order", {MISSES(3), WAITS_FOR(0), SILENT, WAITS_FOR(2)}, 3},
    {"one has waited to the end, others until then for ranks that compute",
     {WAITS_FOR(2), MISSES(3), SILENT, SILENT},
     1},
    {"one that was stopped goes on, and follows those that missed it", {MISSES(1), FOLLOWS, WAITS_FOR(1), FOLLOWS}, 0},
    {"devices that summed with a stopped one are late, others see those end",
     {WAITS_FOR(NOBODY), SILENT, LATE, WAITS_FOR(NOBODY)},
     2},
    {"a device that fails makes others' late", {LATE, LATE, LATE, OWN}, 3},
    {"a network's error is all that is known", {FOLLOWS, WAITS_FOR(NOBODY), SILENT, WAITS_FOR(NOBODY)}, 1},
};

Test(causes, the_first_is_found_whoever_tells_it)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_expect_eq(first_of(rows[i].told), rows[i].first, "%s: rank %u", rows[i].what, first_of(rows[i].told));
}
