/* How long it takes devices to add up their gradients: rings, trees and the two-level way over nodes, the fastest of
 * which counts, as NCCL chooses by size. Simulated from bandwidths and latencies, not measured.
 *
 * For S bytes on n devices, p to a node, N nodes, B the bandwidth inside a node, W that of a node to others, l and w
 * the latencies of one message inside a node and between nodes, and c the fixed part:
 *
 * - ring: c + 2 (n - 1) / n S / min(B, W) + 2 (n - N) l + 2 (N - 1) w; in one node W and w are left out (Patarasuk and
 *   Yuan, J. Parallel Distrib. Comput. 69(2), 2009: it uses each link of a tree of switches once per direction).
 * - tree: c + 2 S / (0.9 min(B, W)) + 2 ((p - 1) l + ceil(log2 N) w): a chain inside a node, two trees of half the data
 *   each over the nodes (Sanders, Speck and Traeff, Parallel Computing 35(12), 2009).
 * - hierarchical: c, a reduce-scatter inside the nodes, (p - 1) / p S / B + (p - 1) l, the same for the all-gather,
 *   and between them every device adds up its p-th part over the nodes, all at once, by ring or by tree:
 *   2 (N - 1) / N S / W + 2 (N - 1) w or 2 S / (0.9 W) + 2 ceil(log2 N) w.
 *
 * c, the 0.9 and these latency sums are those of NCCL's tuning model (src/graph/tuning.cc); 2 (n - 1) / n S over time
 * is the "bus bandwidth" of nccl-tests (doc/PERFORMANCE.md). */
#ifndef FATHOM_ALL_REDUCE_H
#define FATHOM_ALL_REDUCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine.h"

enum all_reduce_way { ALL_REDUCE_RING, ALL_REDUCE_TREE, ALL_REDUCE_HIERARCHICAL, ALL_REDUCE_WAYS };
const char *all_reduce_name(enum all_reduce_way way);

/* Whether the speeds that ranks devices need are known; of one device always. */
bool all_reduce_known(const struct machine *machine, size_t ranks);

/* Seconds by one way; 0 for one rank or when a speed is unknown. A hierarchy of one node is its ring. */
double all_reduce_by(const struct machine *machine, size_t ranks, uint64_t bytes, enum all_reduce_way way);

/* Seconds by the fastest way, which goes into *way (may be NULL). */
double all_reduce_seconds(const struct machine *machine, size_t ranks, uint64_t bytes, enum all_reduce_way *way);

#endif
