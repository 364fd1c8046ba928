/* A step of an eager framework while it is walked: shared by torch_step.c, torch_forward.c and torch_backward.c. */
#ifndef FATHOM_TORCH_STEP_PRIVATE_H
#define FATHOM_TORCH_STEP_PRIVATE_H

#include "torch_step.h"
#include "torch_tensors.h"

#define TORCH_MOST_KEPT 4

/* What autograd keeps for one forward op: its inputs or results, small ones beside. */
struct torch_kept {
    uint32_t storages[TORCH_MOST_KEPT];
    uint32_t result; /* of the ReLU that follows a batch normalisation */
};

struct torch_step {
    const struct graph *graph;
    const struct torch_options *options;
    struct torch_tensors tensors;
    uint32_t *values;    /* by tensor of the graph: the storage of a forward result, of a parameter, of running statistics */
    uint32_t *halves;    /* by parameter: autocast's copy, which lives as long as the forward pass */
    uint32_t *gradients; /* by tensor: of a forward result while its backward nodes run, of a parameter from then on */
    uint32_t *momenta;   /* by parameter */
    uint32_t *last_reader, *readers; /* by tensor, of forward ops */
    struct torch_kept *kept;         /* by forward op */
    uint32_t labels, output, loss;   /* that the script holds, beside values[images] */
    uint32_t cublas;
    uint64_t workspace_bytes; /* the largest */
    struct error *err;
};

static inline bool torch_is_half(const struct torch_step *s) { return s->options->dtype != DTYPE_F32; }
static inline uint64_t torch_bytes(const struct torch_step *s, uint32_t tensor, enum dtype dtype)
{
    return dtype_bytes(dtype, tensor_elements(&s->graph->tensors[tensor]));
}
/* Of a forward result, or of the gradient of one. */
static inline uint64_t torch_activation_bytes(const struct torch_step *s, uint32_t tensor)
{
    return torch_bytes(s, tensor, s->options->dtype);
}
static inline bool torch_make(struct torch_step *s, uint64_t bytes, uint32_t *storage)
{
    return torch_tensors_make(&s->tensors, bytes, storage, s->err);
}
static inline bool torch_drop(struct torch_step *s, uint32_t *storage)
{
    return torch_tensors_drop(&s->tensors, storage, s->err);
}

/* The workspace of a convolution's pass, taken and given back. */
bool torch_work(struct torch_step *step, const struct op *op, enum torch_pass pass);
/* cuBLAS's, which stays. */
bool torch_use_cublas(struct torch_step *step);

/* Whether a fully connected layer is a convolution over what is left of the image, as timm writes VGG's hidden ones: a ReLU
 * follows. */
bool torch_is_hidden(const struct torch_step *step, const struct op *op);

/* One op of the forward pass with what is kept of it, and what nobody reads any more let go. */
bool torch_forward(struct torch_step *step, uint32_t op);
/* The nodes that it leaves in the backward pass. */
bool torch_backward(struct torch_step *step, uint32_t op);

#endif
