/* Messages between ranks, and what is said where they do not come. */
#include "ranks_private.h"

static bool say_peer(struct ranks *ranks, const struct ranks_wait *wait, enum ranks_outcome outcome, struct error *err)
{
    char name[RANKS_NAME];
    ranks->missed = outcome != RANKS_ABORTED;
    ranks->waited = outcome == RANKS_ABORTED;
    ranks->peer = wait->peer;
    ranks_name(ranks, wait->peer, name);
    if (outcome == RANKS_GONE) return error_set(err, ERROR_FAILED, "%s has ended without a word", name);
    if (outcome == RANKS_ABORTED)
        return error_set(err, ERROR_PEER, "%s has not been heard of: it hangs, is stopped or is cut off", name);
    return error_set(err, ERROR_FAILED,
                     "%s has not been heard of for %g s: it hangs, is stopped or is cut off (--timeout)", name,
                     (double)ranks->limit_ns * 1e-9);
}

bool ranks_exchange(struct ranks *ranks, const struct ranks_part *out, uint32_t outs, const struct ranks_part *in,
                    uint32_t ins, struct error *err)
{
    struct ranks_wait wait = {.limit_ns = ranks->limit_ns, .aborted = &ranks->aborted};
    switch (ranks->transport->exchange(ranks->link, out, outs, in, ins, &wait)) {
    case RANKS_DONE: return true;
    case RANKS_LATE: return say_peer(ranks, &wait, RANKS_LATE, err);
    case RANKS_GONE: return say_peer(ranks, &wait, RANKS_GONE, err);
    case RANKS_ABORTED: /* by others, or by this rank's own failure */
        return ranks_any_heard(ranks) ? say_peer(ranks, &wait, RANKS_ABORTED, err)
                                      : error_set(err, ERROR_FAILED, "another rank has failed");
    case RANKS_CUT: return error_set(err, ERROR_PEER, "messages between ranks fail: %s", wait.fault);
    default: return error_set(err, ERROR_FAILED, "messages between ranks fail: %s", wait.fault);
    }
}
