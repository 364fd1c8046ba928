/* Softmax with cross-entropy, shared by both tables: it is a thousandth of a step. */
#include <math.h>
#include <stdint.h>

#include "cpu_device.h"

/* Natural logarithm of sum exp(z), and the largest z on the way. */
static double log_sum_exp(const float *z, uint64_t classes)
{
    float most = z[0];
    for (uint64_t k = 1; k < classes; k++)
        if (z[k] > most) most = z[k];
    double sum = 0;
    for (uint64_t k = 0; k < classes; k++) sum += exp((double)z[k] - (double)most);
    return (double)most + log(sum);
}

/* How many classes stand before the label: larger logits, and equal ones of lower number. What is not a number stands
 * before everything, so that a net that has diverged hits nothing. */
static uint64_t rank_of(const float *z, uint64_t classes, uint64_t label)
{
    uint64_t before = 0;
    for (uint64_t k = 0; k < classes; k++) before += k < label ? !(z[k] < z[label]) : k > label && !(z[k] <= z[label]);
    return before;
}

static double mean_of(const float *z, uint64_t classes)
{
    double sum = 0;
    for (uint64_t k = 0; k < classes; k++) sum += (double)z[k];
    return sum / (double)classes;
}

/* The logits' mean under the target: the label's own without smoothing. */
static double target_logit(const float *z, uint64_t classes, uint64_t label, double smoothing)
{
    if (smoothing <= 0) return (double)z[label];
    return (1 - smoothing) * (double)z[label] + smoothing * mean_of(z, classes);
}

bool cpu_run_softmax_loss(const struct prepared *p, struct error *err)
{
    (void)err;
    const float *logits = op_in(p, 0);
    const int32_t *labels = op_in(p, 1);
    float *probabilities = op_out(p, 0), *metrics = op_out(p, 1);
    uint64_t images = p->call.in_tensor[0]->dims[0], classes = tensor_elements(p->call.in_tensor[0]) / images;
    double loss = 0, sums[4] = {0};
    double smoothing = p->call.pass == PASS_EVALUATE ? 0 : (double)p->device->step.label_smoothing;
    for (uint64_t n = 0; n < images; n++) {
        const float *z = logits + n * classes;
        int32_t label = labels[n];
        double total = log_sum_exp(z, classes);
        if (label >= 0 && (uint64_t)label < classes) {
            uint64_t rank = rank_of(z, classes, (uint64_t)label);
            loss += total - target_logit(z, classes, (uint64_t)label, smoothing);
            sums[1] += rank < 1;
            sums[2] += rank < 5;
            sums[3] += 1;
        }
        for (uint64_t k = 0; k < classes; k++) probabilities[n * classes + k] = (float)exp((double)z[k] - total);
    }
    sums[0] = loss;
    bool copy = p->device->step.micro_batch == 0;
    for (int i = 0; i < 4; i++) metrics[i] = (float)(copy ? sums[i] : (double)metrics[i] + sums[i]);
    if (p->call.pass != PASS_EVALUATE && !isfinite(metrics[0])) p->device->halted = true;
    return true;
}

bool cpu_run_softmax_loss_backward(const struct prepared *p, struct error *err)
{
    (void)err;
    const float *probabilities = op_in(p, 0);
    const int32_t *labels = op_in(p, 1);
    float *gradient = op_out(p, 0);
    uint64_t images = p->call.in_tensor[0]->dims[0], classes = tensor_elements(p->call.in_tensor[0]) / images;
    const struct loss_scale *loss_scale = p->call.op->inputs > 2 ? op_in(p, 2) : NULL;
    double smoothing = (double)p->device->step.label_smoothing;
    double scale = (loss_scale ? (double)loss_scale->scale : 1) / (double)p->call.op->attr.loss.images;
    for (uint64_t n = 0; n < images; n++) {
        int32_t label = labels[n];
        bool counted = label >= 0 && (uint64_t)label < classes;
        for (uint64_t k = 0; k < classes; k++) {
            uint64_t i = n * classes + k;
            double difference =
                (double)probabilities[i] - (k == (uint64_t)label ? 1 - smoothing : 0) - smoothing / (double)classes;
            gradient[i] = counted ? (float)(difference * scale) : 0;
        }
    }
    return true;
}
