/* Shared by topology.c and topology_ring.c. */
#ifndef FATHOM_TOPOLOGY_PRIVATE_H
#define FATHOM_TOPOLOGY_PRIVATE_H

#include "topology.h"

/* The slower of two, where they are known. */
static inline double topology_slower(double a, double b) { return a <= 0 ? b : b <= 0 || a < b ? a : b; }

/* Between two places by PCIe alone, whatever joins their packages. */
struct topology_link topology_slots_between(const struct topology *t, uint32_t a, uint32_t b);

#endif
