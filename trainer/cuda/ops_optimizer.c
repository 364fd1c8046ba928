/* Updates of weights, their averages, and the norm by which gradients are clipped. */
#include <string.h>

#include "pieces.h"

_Static_assert((int)KERNEL_MOMENTUM == OPTIMIZER_MOMENTUM && (int)KERNEL_SGD == OPTIMIZER_SGD &&
                   (int)KERNEL_RMSPROP == OPTIMIZER_RMSPROP &&
                   (int)KERNEL_RMSPROP_MOMENTUM == OPTIMIZER_RMSPROP_MOMENTUM &&
                   (int)KERNEL_ADAGRAD == OPTIMIZER_ADAGRAD && (int)KERNEL_ADADELTA == OPTIMIZER_ADADELTA &&
                   (int)KERNEL_ADAM == OPTIMIZER_ADAM && (int)KERNEL_ADAMW == OPTIMIZER_ADAMW,
               "kernels know optimizers by these numbers");

/* ---- Updates ---- */

static bool launch_update(struct cuda_pieces *s, struct launch_shape shape, struct error *err)
{
    struct update_arguments *a = s->arguments;
    TRY(ADD_KERNEL(s->p, KERNEL_update, shape, a, err));
    memset(a->pieces, 0, sizeof a->pieces);
    return true;
}

/* Vectors of 4 are moved whole: parameters begin at multiples of 64 bytes in their buckets, as buckets do in the arena.
 */
bool cuda_prepare_update(struct prepared *p, struct error *err)
{
    const struct graph *graph = p->call.graph;
    const struct update_operands operands = update_operands(p->call.op);
    struct update_arguments a = {.weights = op_out(p, 0),
                                 .gradients = op_in(p, 1),
                                 .loss_scale = operands.scale == NO_OPERAND ? NULL : op_in(p, operands.scale),
                                 .norm = operands.norm == NO_OPERAND ? NULL : op_in(p, operands.norm),
                                 .step = p->device->step};
    struct cuda_pieces s = {.p = p, .list = a.pieces, .launch = launch_update, .arguments = &a};
    for (unsigned i = 0; i < operands.states; i++) a.state[i] = op_out(p, 1 + i);
    TRY(cuda_pieces_check(p->call.in_tensor[1], "update by", err));
    for (size_t i = 0; i < graph->parameter_count; i++) {
        const struct tensor *parameter = &graph->tensors[graph->parameters[i]];
        if (parameter->view_of != p->call.op->in[0]) continue;
        TRY(cuda_pieces_mark(&s, parameter->role == ROLE_WEIGHT ? KERNEL_PIECE_DECAYS : 0, err));
        TRY(cuda_pieces_add(&s, parameter->view_offset / sizeof(float), tensor_elements(parameter), err));
    }
    return cuda_pieces_end(&s, err);
}

bool cuda_prepare_weights_average(struct prepared *p, struct error *err)
{
    struct weights_average_arguments a = {.weights = op_in(p, 0),
                                          .average = op_out(p, 0),
                                          .loss_scale = p->call.op->attr.update.scaled ? op_in(p, 2) : NULL,
                                          .count = op_elements(p),
                                          .step = p->device->step};
    a.vectors = cuda_vectors(a.count, sizeof(float), a.weights, a.average, NULL);
    return ADD_KERNEL(p, KERNEL_weights_average, cuda_grid(p, a.vectors ? a.vectors : a.count), &a, err);
}

/* ---- The norm ---- */

static bool launch_norm(struct cuda_pieces *s, struct launch_shape shape, struct error *err)
{
    struct gradient_norm_arguments *a = s->arguments;
    TRY(ADD_KERNEL(s->p, KERNEL_gradient_norm, shape, a, err));
    memset(a->pieces, 0, sizeof a->pieces);
    a->keep = 1;
    return true;
}

bool cuda_prepare_gradient_norm(struct prepared *p, struct error *err)
{
    const struct graph *graph = p->call.graph;
    struct gradient_norm_arguments a = {.gradients = op_in(p, 0),
                                        .norm = op_out(p, 0),
                                        .partial = (double *)(void *)p->device->scratch,
                                        .keep = !p->call.op->attr.check.first,
                                        .step = p->device->step};
    struct cuda_pieces s = {.p = p, .list = a.pieces, .launch = launch_norm, .arguments = &a};
    TRY(cuda_pieces_check(p->call.in_tensor[0], "measure", err));
    for (size_t i = 0; i < graph->parameter_count; i++) {
        const struct tensor *parameter = &graph->tensors[graph->parameters[i]];
        if (parameter->view_of == p->call.in_tensor[0]->of)
            TRY(cuda_pieces_add(&s, parameter->view_offset / sizeof(float), tensor_elements(parameter), err));
    }
    return cuda_pieces_end(&s, err);
}
