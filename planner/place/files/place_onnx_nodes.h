/* The parts of an ONNX model that run: its graph, its local functions, and what a node says of itself beside the
 * tensors that it reads and makes. Whatever holds tensors that the graph does not list is refused by name. */
#ifndef FATHOM_PLACE_ONNX_NODES_H
#define FATHOM_PLACE_ONNX_NODES_H

#include "place_onnx_format.h"

struct onnx_function {
    struct onnx_name domain, name;
};

/* The functions of a model, sorted. */
struct onnx_functions {
    struct onnx_function *list;
    size_t count, capacity;
};

struct onnx_node {
    uint64_t instant;
    struct onnx_name op, name, domain;
};

/* Finds the one graph and the functions of a model. ERROR_INPUT for an unknown IR version, no graph or several, or
 * training information. The functions are ended by onnx_functions_finish, which takes a zeroed object. */
bool onnx_read_model(const char *path, struct wire model, struct onnx_functions *functions, struct wire *graph,
                     struct error *err);
void onnx_functions_finish(struct onnx_functions *functions);

/* Reads everything but inputs and outputs into *node, whose instant is given. ERROR_INPUT where it has or calls graphs
 * (If, Loop and others, and local functions), is spread over devices, or has no operator. */
bool onnx_read_node(const char *path, const struct onnx_functions *functions, struct wire wire, struct onnx_node *node,
                    struct error *err);
/* Whether its outputs are part of the model and not computed. */
bool onnx_is_constant(const struct onnx_node *node);

#endif
