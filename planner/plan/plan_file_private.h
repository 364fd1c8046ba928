/* What reader and writer of plan files share. */
#ifndef FATHOM_PLAN_FILE_PRIVATE_H
#define FATHOM_PLAN_FILE_PRIVATE_H

#define PLAN_OLDER_OPTIMIZER "momentum" /* what memory_class_name(MEMORY_OPTIMIZER) was */

/* The cells of a row of ops and of tensors, in order. A tensor in host memory has one more (docs/formats.md). */
#define PLAN_OP_CELLS 8
#define PLAN_TENSOR_CELLS 6
static const char *const plan_op_cells[PLAN_OP_CELLS] = {"pass",   "kind", "layer", "graph_op",
                                                         "stream", "in",   "out",   "workspace"};
static const char *const plan_tensor_cells[PLAN_TENSOR_CELLS] = {"graph_tensor", "class", "offset",
                                                                 "bytes",        "first", "last"};

#endif
