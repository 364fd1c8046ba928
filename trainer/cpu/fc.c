/* Fully connected layers of a classifier's size, on loops of our own: oneDNN's matrix product takes memory from the
 * heap while it runs. Weights are [classes][features], as stored when they are plain. */
#include <string.h>

#include "cpu_device.h"
#include "loops.h"
#include "parallel.h"
#include "weights.h"

#define MOST_WEIGHTS (2048u * 2048u) /* beyond, blocking for caches pays more than a quiet heap */

bool cpu_fc_is_own(const struct tensor *weights)
{
    return weight_layout(weights->dims).order == WEIGHT_PLAIN && tensor_elements(weights) <= MOST_WEIGHTS;
}

struct product {
    const struct loops *loops;
    uint64_t images, classes, features;
    const float *x, *w, *bias, *dy;
    float *out, *dbias; /* y, dx or dw */
};

static void forward_images(const void *context, uint64_t first, uint64_t last)
{
    const struct product *p = context;
    for (uint64_t n = first; n < last; n++)
        for (uint64_t k = 0; k < p->classes; k++) {
            float sum = p->loops->dot(p->x + n * p->features, p->w + k * p->features, p->features);
            p->out[n * p->classes + k] = sum + (p->bias ? p->bias[k] : 0);
        }
}

static void data_gradient_images(const void *context, uint64_t first, uint64_t last)
{
    const struct product *p = context;
    for (uint64_t n = first; n < last; n++) {
        float *dx = p->out + n * p->features;
        memset(dx, 0, p->features * sizeof *dx);
        for (uint64_t k = 0; k < p->classes; k++)
            p->loops->add_scaled(dx, p->w + k * p->features, p->dy[n * p->classes + k], p->features);
    }
}

static void weight_gradient_classes(const void *context, uint64_t first, uint64_t last)
{
    const struct product *p = context;
    for (uint64_t k = first; k < last; k++) {
        float *dw = p->out + k * p->features;
        double sum = 0;
        memset(dw, 0, p->features * sizeof *dw);
        for (uint64_t n = 0; n < p->images; n++) {
            float dy = p->dy[n * p->classes + k];
            p->loops->add_scaled(dw, p->x + n * p->features, dy, p->features);
            sum += (double)dy;
        }
        if (p->dbias) p->dbias[k] = (float)sum;
    }
}

static struct product product_of(const struct prepared *op, const struct tensor *weights, const struct tensor *images)
{
    return (struct product){.loops = loops_best(),
                            .images = images->dims[0],
                            .classes = weights->dims[0],
                            .features = weights->dims[3],
                            .out = op_out(op, 0)};
}

static void run_product(const struct product *p, uint64_t count, parallel_task task)
{
    parallel_run(count, p->images * p->classes * p->features, task, p);
}

void cpu_fc(const struct prepared *op)
{
    struct product p = product_of(op, op->call.in_tensor[1], op->call.in_tensor[0]);
    p.x = op_in(op, 0);
    p.w = op_in(op, 1);
    p.bias = op->call.op->inputs > 2 ? op_in(op, 2) : NULL;
    run_product(&p, p.images, forward_images);
}

void cpu_fc_backward_data(const struct prepared *op)
{
    struct product p = product_of(op, op->call.in_tensor[1], op->call.in_tensor[0]);
    p.dy = op_in(op, 0);
    p.w = op_in(op, 1);
    run_product(&p, p.images, data_gradient_images);
}

void cpu_fc_backward_weights(const struct prepared *op)
{
    struct product p = product_of(op, op->call.out_tensor[0], op->call.in_tensor[0]);
    p.x = op_in(op, 0);
    p.dy = op_in(op, 1);
    p.dbias = op->call.op->outputs > 1 ? op_out(op, 1) : NULL;
    run_product(&p, p.classes, weight_gradient_classes);
}
