/* The only door to oneDNN, whose 2.x and 3.x interfaces differ: convolutions, fully connected layers and pools of given
 * shapes, on plain NHWC activations in f32, of convolutions in bf16 too.
 *
 * A kernel is shared by all ops of one shape on one device; it owns no scratch. Running takes the addresses of that
 * call; all scratch, including room for weights in another order than stored, lies in the caller's workspace. */
#ifndef FATHOM_ONEDNN_H
#define FATHOM_ONEDNN_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"
#include "onednn_shape.h"

/* x, w, y stand for their gradients where the primitive computes those. Unused ones are NULL. */
struct onednn_call {
    const void *x, *w, *bias, *y, *mask;
    void *workspace;
};

struct onednn;
struct onednn_kernel;

/* Workspace with any number of threads that a device of this process gets when the host's threads are shared evenly by
 * one to eight devices. */
bool onednn_workspace(const struct onednn_shape *shape, uint64_t *bytes, struct error *err);

bool onednn_create(struct onednn **onednn, struct error *err);
void onednn_destroy(struct onednn *onednn); /* takes NULL; ends its kernels */

/* The kernel for a shape, made at the first request, for as many threads as the calling thread may use now. Owned by
 * onednn. */
struct onednn_kernel *onednn_kernel(struct onednn *onednn, const struct onednn_shape *shape, struct error *err);
uint64_t onednn_kernel_workspace(const struct onednn_kernel *kernel);
const char *onednn_kernel_name(const struct onednn_kernel *kernel);
const struct onednn_shape *onednn_kernel_shape(const struct onednn_kernel *kernel);
bool onednn_run(struct onednn_kernel *kernel, const struct onednn_call *call, struct error *err);

/* A convolution whose shape is `alone`, on pieces of the work that several threads take at the same time. All calls of
 * one op have the same workspace. First, by one thread for all: *weights is where the kernel finds the weights then,
 * call->w as the pieces' calls have it. */
bool onednn_move_weights(struct onednn_kernel *kernel, const struct onednn_call *call, const void **weights,
                         struct error *err);
/* `thread` below the number that the calling thread could use when the kernel was made, each by one caller at a time. */
bool onednn_run_alone(struct onednn_kernel *kernel, unsigned thread, const struct onednn_call *call, struct error *err);

#endif
