/* What hangs where on this host, for `fathom devices`: as a tree with a table of what lies between GPUs, and as JSON. */
#ifndef FATHOM_DEVICES_TREE_H
#define FATHOM_DEVICES_TREE_H

#include "host_gpus.h"
#include "json.h"
#include "topology.h"

/* GPUs have CUDA's numbers where CUDA sees them, else those of their slots. */
void devices_tree_print(const struct topology *topology, const struct host_gpus *gpus);
/* Arrays: the places of the tree, and what lies between each two GPUs. NULL: no memory. */
json_t *devices_tree_json(const struct topology *topology);
json_t *devices_links_json(const struct topology *topology, const struct host_gpus *gpus);

#endif
