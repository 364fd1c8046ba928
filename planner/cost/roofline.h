/* The least time of an op by its arithmetic and its traffic: the roofline (Williams, Waterman and Patterson, CACM 52(4),
 * 2009), counting whole tiles. */
#ifndef FATHOM_ROOFLINE_H
#define FATHOM_ROOFLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "graph.h"

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

#endif
