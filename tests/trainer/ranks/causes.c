/* Which of the causes that ranks tell is the first: the whole table of what one rank's fault looks like to the others.
 */
#include <criterion/criterion.h>
#include <stdio.h>

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

/* ---- A message that fails ---- */

static enum ranks_outcome cut(struct ranks_link *link, const struct ranks_part *out, uint32_t outs,
                              const struct ranks_part *in, uint32_t ins, struct ranks_wait *wait)
{
    (void)link, (void)out, (void)outs, (void)in, (void)ins;
    snprintf(wait->fault, sizeof wait->fault, "no route");
    return RANKS_CUT;
}

static struct ranks_cause told_by_rank_0;

static void tell(struct ranks_link *link, const struct ranks_cause *cause)
{
    (void)link;
    told_by_rank_0 = *cause;
}

/* The rank that is silent is named, not the one whose message has failed. */
Test(causes, message_fails)
{
    static const struct ranks_transport transport = {.exchange = cut, .tell = tell};
    static char link;
    struct ranks_place places[3] = {{.host = "a"}, {.host = "b"}, {.host = "c"}};
    struct ranks_cause causes[3] = {{0}, {.rank = 1, .weight = RANKS_WAITED, .peer = NOBODY, .kind = ERROR_PEER}};
    bool heard[3] = {false, true, false};
    struct ranks ranks = {.transport = &transport,
                          .link = (struct ranks_link *)(void *)&link,
                          .place = {.rank = 0, .size = 3},
                          .places = places,
                          .devices = 6,
                          .watched = true,
                          .any_heard = true,
                          .causes = causes,
                          .heard = heard,
                          .lock = PTHREAD_MUTEX_INITIALIZER};
    struct error err;
    int code = 1;
    cr_assert(!ranks_exchange(&ranks, NULL, 0, NULL, 0, &err));
    cr_assert(ranks_settle(&ranks, &err, &code));
    cr_expect_eq(told_by_rank_0.weight, RANKS_WAITED);
    cr_expect_str_eq(err.text, "rank 2 of 3 (host c, devices 4 to 5): nothing was heard of it when rank 0 waited in "
                               "vain: messages between ranks fail: no route");
}
