/* In a build without oneDNN: the reference backend needs none of it, and the fast one is not offered. */
#include "onednn.h"
#include "onednn_isa.h"

static bool missing(struct error *err) { return error_set(err, ERROR_FAILED, "this build has no oneDNN"); }

uint32_t onednn_vector_floats(void) { return 0; }

bool onednn_multiplies_bf16(void) { return false; }

bool onednn_create(struct onednn **onednn, struct error *err)
{
    (void)err;
    *onednn = NULL;
    return true;
}

void onednn_destroy(struct onednn *onednn) { (void)onednn; }

bool onednn_workspace(const struct onednn_shape *shape, uint64_t *bytes, struct error *err)
{
    (void)shape;
    (void)bytes;
    return missing(err);
}

struct onednn_kernel *onednn_kernel(struct onednn *onednn, const struct onednn_shape *shape, struct error *err)
{
    (void)onednn;
    (void)shape;
    missing(err);
    return NULL;
}

uint64_t onednn_kernel_workspace(const struct onednn_kernel *kernel)
{
    (void)kernel;
    return 0;
}

const char *onednn_kernel_name(const struct onednn_kernel *kernel)
{
    (void)kernel;
    return "none";
}

const struct onednn_shape *onednn_kernel_shape(const struct onednn_kernel *kernel)
{
    (void)kernel;
    return NULL;
}

bool onednn_run(struct onednn_kernel *kernel, const struct onednn_call *call, struct error *err)
{
    (void)kernel;
    (void)call;
    return missing(err);
}

bool onednn_move_weights(struct onednn_kernel *kernel, const struct onednn_call *call, const void **weights,
                         struct error *err)
{
    (void)weights;
    return onednn_run(kernel, call, err);
}

bool onednn_run_alone(struct onednn_kernel *kernel, unsigned thread, const struct onednn_call *call, struct error *err)
{
    (void)thread;
    return onednn_run(kernel, call, err);
}
