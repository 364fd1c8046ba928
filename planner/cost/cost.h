/* How long ops take (all_reduce.h: messages): measured times where a run was given (cost_table.h), else a roofline
 * (roofline.h) with stated efficiencies.
 *
 * A device whose speed is unknown is given a stand-in's, so that ways to run a step can be compared; cost_speed.known
 * then says that no time may be shown. */
#ifndef FATHOM_COST_H
#define FATHOM_COST_H

#include "machine.h"
#include "roofline.h"

/* measured may be NULL, or of another device: then it is left out. */
struct cost_speed cost_speed_of(const struct device_spec *device, enum dtype dtype, const struct cost_table *measured);
/* The time of an op of the graph: the measured one, else the roofline's. OP_ALL_REDUCE costs nothing here. With the
 * workspace that it wants; workspace.h has the time with less. */
double cost_op_seconds(const struct cost_speed *speed, const struct graph *graph, const struct op *op);

#endif
