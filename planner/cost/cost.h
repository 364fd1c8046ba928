/* How long ops take (all_reduce.h: messages): measured times where a run was given (cost_table.h), else a roofline
 * (Williams, Waterman and Patterson, CACM 52(4), 2009) with stated efficiencies.
 *
 * A device whose speed is unknown is given a stand-in's, so that ways to run a step can be compared; cost_speed.known
 * then says that no time may be shown. */
#ifndef FATHOM_COST_H
#define FATHOM_COST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "graph.h"
#include "machine.h"

/* Ops' times measured in runs, by kind and shape. */
struct cost_table;

struct cost_speed {
    double flops_per_second; /* of convolutions and matrix products, after efficiency */
    double bytes_per_second; /* after efficiency */
    double launch_seconds;
    uint32_t tile;                     /* products are computed in squares of so many outputs; 1 = as they are */
    uint32_t tile_depth;               /* and of so many terms */
    uint32_t processors;               /* that work on tiles side by side; 0 = unknown */
    const struct cost_table *measured; /* goes before the roofline; borrowed, NULL when none applies to the device */
    bool known;
    bool asked; /* of the device's backend: its workspaces are what its ops want (workspace.h) */
};
/* measured may be NULL, or of another device: then it is left out. */
struct cost_speed cost_speed_of(const struct device_spec *device, enum dtype dtype, const struct cost_table *measured);

/* What the roofline looks at: an op's counts, and of a convolution or matrix product its extent as one product of
 * matrices, rows x depth times depth x columns (implicit GEMM; NVIDIA, "Convolutional Layers User's Guide"); else 0. */
struct cost_work {
    uint64_t flops, bytes_moved;
    uint64_t rows, columns, depth;
    bool splits; /* the depth, a sum over pixels, is cut into as many parts as there are processors */
};
struct cost_work cost_work_of(const struct graph *graph, const struct op *op);
/* The larger of arithmetic and traffic, and the launch. Arithmetic counts whole tiles, and whole waves of tiles over
 * the processors ("Matrix Multiplication Background User's Guide", tile and wave quantization): 16 channels take as
 * long as a tile's 64. */
double cost_roofline_seconds(const struct cost_speed *speed, const struct cost_work *work);

/* The time of an op of the graph: the measured one, else the roofline's. OP_ALL_REDUCE costs nothing here. With the
 * workspace that it wants; workspace.h has the time with less. */
double cost_op_seconds(const struct cost_speed *speed, const struct graph *graph, const struct op *op);

#endif
