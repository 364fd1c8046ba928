/* Placement problems from other programs' files. */
#ifndef FATHOM_PLACE_IMPORT_H
#define FATHOM_PLACE_IMPORT_H

#include "place_csv.h"

/* What a recorded run used, beside its problem. */
struct place_source {
    bool snapshot; /* the rest is filled for a memory snapshot alone */
    uint64_t device, events;
    uint64_t peak_bytes;     /* the most that was allocated at once, as requested */
    uint64_t reserved_bytes; /* the most that the allocator held for it; 0 = not in the dump */
};

/* Reads a problem, recognised by its content: an ONNX model, a PyTorch memory snapshot, else CSV (place_table_read).
 * The caller ends it with place_table_finish. ERROR_INPUT names file and tensor or line; *table is then finished
 * already. */
bool place_import(struct place_table *table, struct place_source *source, const char *path, struct error *err);

/* The activations of an ONNX model (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) as buffers: graph inputs
 * live from instant 0, what node i makes from instant i, until the last node that reads it, graph outputs until the
 * end. Initializers and the outputs of Constant nodes are weights and take no part; nor do nodes' inner buffers. Each
 * output is a buffer of its own, also where a program would make it a view. What the reader
 * does not understand is never passed over: ERROR_INPUT for bytes that are no model, fields and versions that ONNX did
 * not know, a tensor of unknown, contradictory or no dense shape, nodes out of order, nodes with graphs inside (If,
 * Loop, Scan), calls of local functions, and training information. `path` is for messages; bytes stay the caller's. */
bool place_onnx_parse(struct place_table *table, const char *path, const void *bytes, size_t length, struct error *err);

/* The allocations of a PyTorch memory snapshot (a pickle by torch.cuda.memory._dump_snapshot or torch.xpu's, whose
 * addresses may be above 2^63 and are written signed or not) as buffers, aligned to
 * 512 bytes as PyTorch's are: one per `alloc` event, until its address' `free_completed` or the end; what was there
 * before the first event, known by its later free or by an active block, lives from instant 0. Event i happens at
 * instant i + 1. Of several devices the one with the most events. ERROR_INPUT for anything but plain data in the
 * pickle, or a dump without events. */
bool place_snapshot_parse(struct place_table *table, struct place_source *source, const char *path, const void *bytes,
                          size_t length, struct error *err);

#endif
