/* Which network cards NCCL is to use between hosts. NCCL looks for those near to each GPU itself, among all that a host has; where
 * some are far from all of the run's GPUs (a card for storage, those of GPUs that the run does not use) they are left out. All
 * ranks of a host are told the same ones: NCCL lays its rings by what a rank sees, and ranks that see different cards lay
 * different ones (github.com/NVIDIA/nccl/issues/1478). */
#ifndef FATHOM_NICS_H
#define FATHOM_NICS_H

#include "ranks.h"
#include "topology.h"

#define NICS_VARIABLE "NCCL_IB_HCA"

/* Called by all ranks, once they have divided `devices`; near: the bus id of each GPU of this process. The cards of this host
 * come into list, and into the environment for NCCL, before its first call. Empty where nothing is chosen: the run is on one
 * host; on some rank the user or a file of NCCL's settings names cards; or on some host none stand out (topology.h), or another
 * number of them than on others. */
bool nics_choose(struct ranks *ranks, uint32_t devices, const char *const *near, char list[TOPOLOGY_FABRICS],
                 struct error *err);

/* Whether the user says which cards: in the environment, or in a file of settings that NCCL reads. */
bool nics_are_named(void);

#endif
