#include <math.h>

#include "place_pq.h"

/* ---- What can stand together ---- */

/* Whether the marked leaves of a partial node can come last. */
static bool may_come_last(const struct pq *pq, uint32_t node);

/* Of a Q-node's children: one after another empty, at most one partial, full, at most one partial where `both`, empty.
 */
static bool is_run(const struct pq *pq, uint32_t node, bool both, bool backwards)
{
    int stage = 0; /* 0: before; 1: full ones; 2: behind them */
    for (uint32_t child = backwards ? pq->nodes[node].last : pq->nodes[node].first; child != PQ_NONE;
         child = backwards ? pq->nodes[child].prev : pq->nodes[child].next) {
        enum pq_state state = pq_state_of(pq, child);
        if (state == PQ_EMPTY) {
            if (stage == 1) stage = 2;
            if (stage == 2 && !both) return false;
            continue;
        }
        if (stage == 2) return false;
        if (state == PQ_PARTIAL) {
            if (stage == 1 && !both) return false;
            if (!may_come_last(pq, child)) return false;
            stage = stage == 0 ? 1 : 2;
        } else {
            stage = 1;
        }
    }
    return true;
}

static bool is_bunch(const struct pq *pq, uint32_t node, unsigned most_partial)
{
    unsigned partial = 0;
    for (uint32_t child = pq->nodes[node].met; child != PQ_NONE; child = pq->nodes[child].next_met) {
        if (pq_state_of(pq, child) != PQ_PARTIAL) continue;
        if (++partial > most_partial || !may_come_last(pq, child)) return false;
    }
    return true;
}

static bool may_come_last(const struct pq *pq, uint32_t node)
{
    if (pq->nodes[node].kind == PQ_P) return is_bunch(pq, node, 1);
    return is_run(pq, node, false, false) || is_run(pq, node, false, true);
}

bool pq_may_read(const struct pq *pq, uint32_t node) { return is_run(pq, node, false, false); }

/* ---- What is lost by it ---- */

/* Orders of a P-node's children before and after: what is full is permuted among itself, what is empty too, with the
 * rest as one more of them at the root; a row can be turned round there. */
static double loss_of_p(const struct pq *pq, uint32_t node, bool root)
{
    uint32_t full = 0, partial = 0, all = pq->nodes[node].children;
    for (uint32_t child = pq->nodes[node].met; child != PQ_NONE; child = pq->nodes[child].next_met)
        *(pq_state_of(pq, child) == PQ_FULL ? &full : &partial) += 1;
    double before = pq_log_orders(pq, all), after = pq_log_orders(pq, full);
    if (all > full + partial) after += pq_log_orders(pq, all - full - partial + (root ? 1 : 0));
    if (root && partial > 0) after += log(2);
    return before - after;
}

static double loss_below(const struct pq *pq, uint32_t node)
{
    double loss = 0;
    for (uint32_t child = pq->nodes[node].met; child != PQ_NONE; child = pq->nodes[child].next_met) {
        if (pq_state_of(pq, child) != PQ_PARTIAL) continue;
        loss += pq->nodes[child].kind == PQ_P ? loss_of_p(pq, child, false) : log(2);
        loss += loss_below(pq, child);
    }
    return loss;
}

double pq_join_loss(struct pq *pq, const uint32_t *leaves, size_t count)
{
    uint32_t root = pq_mark(pq, leaves, count);
    if (pq_state_of(pq, root) == PQ_FULL) return 0;
    bool p = pq->nodes[root].kind == PQ_P;
    if (!(p ? is_bunch(pq, root, 2) : is_run(pq, root, true, false))) return INFINITY;
    return (p ? loss_of_p(pq, root, true) : 0) + loss_below(pq, root);
}

/* ---- Blocks ---- */

static void number_below(const struct pq *pq, uint32_t node, uint32_t number, uint32_t *block)
{
    if (pq->nodes[node].kind == PQ_LEAF) block[pq->nodes[node].leaf] = number;
    for (uint32_t child = pq->nodes[node].first; child != PQ_NONE; child = pq->nodes[child].next)
        number_below(pq, child, number, block);
}

/* Full children of a P-node are one block, and each run of them of a Q-node. */
static void number_blocks(const struct pq *pq, uint32_t node, uint32_t *block, uint32_t *count)
{
    bool open = false;
    for (uint32_t child = pq->nodes[node].first; child != PQ_NONE; child = pq->nodes[child].next) {
        if (pq_state_of(pq, child) == PQ_FULL) {
            if (!open) ++*count;
            open = true;
            number_below(pq, child, *count - 1, block);
        } else if (pq->nodes[node].kind == PQ_Q) {
            open = false;
        }
    }
    for (uint32_t child = pq->nodes[node].first; child != PQ_NONE; child = pq->nodes[child].next)
        if (pq_state_of(pq, child) == PQ_PARTIAL) number_blocks(pq, child, block, count);
}

uint32_t pq_number_blocks(struct pq *pq, const uint32_t *leaves, size_t count, uint32_t *block)
{
    uint32_t root = pq_mark(pq, leaves, count), blocks = 0;
    if (pq_state_of(pq, root) == PQ_FULL)
        number_below(pq, root, blocks++, block);
    else
        number_blocks(pq, root, block, &blocks);
    return blocks;
}
