/* What the files of this room share: growing a graph, and the tables about op kinds. */
#ifndef FATHOM_GRAPH_PRIVATE_H
#define FATHOM_GRAPH_PRIVATE_H

#include "graph.h"

/* Layer paths live in chunks, so that a path's address never changes and a deep net makes few allocations. */
struct text_chunk {
    struct text_chunk *next;
    size_t used;
    char bytes[];
};

struct graph_state {
    struct text_chunk *chunks; /* of the layers' paths */
    size_t layer_capacity, tensor_capacity, op_capacity, block_capacity, parameter_capacity, stands_capacity;
    uint32_t layer, block; /* of the next op */
    float bn_epsilon;      /* of the next batch normalisation */
    bool failed;
    struct error err; /* the first one */
};

/* Inputs and outputs an op may have, and over which inputs out[0] may be written (bits as in struct op). */
struct op_shape {
    const char *name;
    uint8_t least_inputs, most_inputs, least_outputs, most_outputs;
    uint8_t in_place;
};
const struct op_shape *op_kind_shape(enum op_kind kind);

/* Whether in[1] is multiplied with. */
static inline bool op_reads_weights(enum op_kind kind)
{
    return kind == OP_CONV || kind == OP_FC || kind == OP_CONV_BWD_DATA || kind == OP_FC_BWD_DATA;
}

/* How many windows of a pool lie along `size` pixels. With ceil the last may be cut, but never begins beyond the
 * image. */
static inline uint32_t pool_outputs(const struct op *op, uint32_t size)
{
    uint32_t kernel = op->attr.pool.kernel, stride = op->attr.pool.stride, padding = op->attr.pool.padding;
    if (op->attr.pool.ceil && size + 2 * padding < kernel) return 1;
    uint32_t left = size + 2 * padding - kernel, outputs = left / stride + 1;
    bool cut = op->attr.pool.ceil && left % stride != 0 && outputs * stride < size + padding;
    return outputs + (cut ? 1 : 0);
}

/* Whether it stands for no logical op. */
static inline bool op_stands_alone(enum op_kind kind) 
{
    return kind == OP_WEIGHTS_COPY || kind == OP_INPUT || kind == OP_GRADIENTS_WIDEN;
}

/* Remember the builder's first error; both return false. */
bool graph_fail(struct graph *graph, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool graph_fail_memory(struct graph *graph, size_t bytes);

/* An empty graph; NULL when memory is short. */
struct graph *graph_allocate(struct error *err);

/* Room for one more element of an array of the graph's; false after a failure, now or earlier. */
bool graph_grow(struct graph *graph, void **array, size_t *capacity, size_t count, size_t size);

/* Append, and give the index; NO_TENSOR and NO_OP after a failure, now or earlier. A tensor's bytes and layer are
 * filled in; an op's layer and block unless it is derived from another, its in_place, FLOPs and bytes moved always. */
uint32_t graph_new_tensor(struct graph *graph, struct tensor tensor);
uint32_t graph_new_op(struct graph *graph, struct op op);
bool graph_new_parameter(struct graph *graph, uint32_t tensor);

static inline void op_add_input(struct op *op, uint32_t tensor) { op->in[op->inputs++] = tensor; }
static inline void op_add_output(struct op *op, uint32_t tensor) { op->out[op->outputs++] = tensor; }

/* The builders of the families: the whole forward pass. */
void graph_build_resnet(struct graph *graph);
void graph_build_vgg(struct graph *graph);
void graph_build_bn_inception(struct graph *graph);
void graph_build_inception_v3(struct graph *graph);

/* What graph_options.frozen says, once all forward ops are there. */
void graph_freeze(struct graph *graph);
/* Steps of graph_finish; false after graph_fail. */
bool graph_close_blocks(struct graph *graph);
bool graph_derive_backward(struct graph *graph);
void graph_count(struct graph *graph);

/* FLOPs (a multiplication and an addition count as two) and bytes of one op. */
uint64_t op_count_macs(const struct graph *graph, const struct op *op);
uint64_t op_count_flops(const struct graph *graph, const struct op *op);
uint64_t op_count_bytes(const struct graph *graph, const struct op *op);

/* Parameters' gradients cut into buckets in the order in which backward makes them (bucket.c). */
struct bucket {
    /* Tensors; partial is NO_TENSOR with one micro-batch, average unless weights are averaged, states that the optimizer has
     * not. */
    uint32_t weights, gradients, partial, average, state[OPTIMIZER_MOST_BUFFERS];
    uint32_t layer;
};
struct bucket_list {
    struct bucket *buckets;
    size_t count, capacity;
};
/* Puts the gradients that `op` (about to be appended) will write into the open bucket, all into one; where they do not
 * fit, that one is closed first, right after the last op that filled it. */
bool bucket_take(struct graph *graph, struct bucket_list *list, const struct op *op);
void bucket_frozen(struct graph *graph);
/* Closes the last bucket, and appends the ops of the communication and update passes. */
void bucket_finish(struct graph *graph, struct bucket_list *list);
void bucket_list_finish(struct bucket_list *list);

/* Of graph_check: the shapes of an op's operands against its kind. All its tensors are the graph's. */
bool graph_shapes_agree(const struct graph *graph, const struct op *op);

#endif
