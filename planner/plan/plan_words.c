#include "plan_words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "certainty.h"
#include "units.h"

/* What is kept beside each parameter, by optimizer, without and with averages. */
static const char *kept_words(const struct update_needs *update)
{
    static const char *const words[OPTIMIZERS][2] = {
        [OPTIMIZER_MOMENTUM] = {"momentum", "momentum, average"},
        [OPTIMIZER_SGD] = {"optimizer state", "average"},
        [OPTIMIZER_RMSPROP] = {"rmsprop's state", "rmsprop, average"},
        [OPTIMIZER_RMSPROP_MOMENTUM] = {"rmsprop's state", "rmsprop, average"},
        [OPTIMIZER_ADAGRAD] = {"adagrad's state", "adagrad, average"},
        [OPTIMIZER_ADADELTA] = {"adadelta's state", "adadelta, average"},
        [OPTIMIZER_ADAM] = {"adam's state", "adam, average"},
        [OPTIMIZER_ADAMW] = {"adamw's state", "adamw, average"}};
    return update ? words[update->optimizer][update->averages] : "optimizer state";
}

const char *words_memory_class(const struct update_needs *update, enum memory_class class)
{
    static const char *const labels[MEMORY_CLASSES] = {[MEMORY_WEIGHTS] = "weights",
                                                       [MEMORY_GRADIENTS] = "gradients",
                                                       [MEMORY_KEPT] = "kept activations",
                                                       [MEMORY_TRANSIENT] = "transients",
                                                       [MEMORY_WORKSPACE] = "workspace",
                                                       [MEMORY_INPUT] = "input",
                                                       [MEMORY_COMMUNICATION] = "communication",
                                                       [MEMORY_CONTEXT] = "context, libraries"};
    return class == MEMORY_OPTIMIZER ? kept_words(update) : labels[class];
}

const char *words_memory_meaning(enum memory_class class, enum device_kind device)
{
    static const char *const meanings[MEMORY_CLASSES] = {
        [MEMORY_WEIGHTS] = "the parameters and running statistics",
        [MEMORY_GRADIENTS] = "of the parameters, until the update",
        [MEMORY_OPTIMIZER] = "the optimizer's state",
        [MEMORY_KEPT] = "results of the forward pass that the backward pass reads",
        [MEMORY_TRANSIENT] = "results and gradients on their way from one op to the next",
        [MEMORY_WORKSPACE] = "scratch memory of the op that runs",
        [MEMORY_INPUT] = "images and labels",
        [MEMORY_COMMUNICATION] = "buffers in which devices exchange gradients",
        [MEMORY_CONTEXT] = "CUDA, cuDNN and their kernels, before the first tensor"};
    if (device == DEVICE_CPU && class == MEMORY_CONTEXT) return "the process itself";
    if (device == DEVICE_CPU && class == MEMORY_INPUT) return "images, labels and the loader's buffers";
    return meanings[class];
}

const char *words_op_kind(enum op_kind kind)
{
    static const char *const names[OP_KINDS] = {
        [OP_CONV] = "the convolution",
        [OP_BN] = "the batch normalisation",
        [OP_RELU] = "the ReLU",
        [OP_ADD] = "the addition",
        [OP_MUL] = "the multiplication",
        [OP_SCALE] = "the scaling",
        [OP_SIGMOID] = "the sigmoid",
        [OP_DROPOUT] = "the dropout",
        [OP_MAXPOOL] = "the pooling",
        [OP_AVGPOOL] = "the pooling",
        [OP_SHORTCUT_PAD] = "the zero-padded shortcut",
        [OP_FC] = "the fully connected layer",
        [OP_SOFTMAX_LOSS] = "the loss",
        [OP_CONCAT] = "the concatenation",
        [OP_CONV_BWD_DATA] = "the gradient of the convolution's input",
        [OP_CONV_BWD_WEIGHTS] = "the gradient of the convolution's weights",
        [OP_BN_BWD] = "the gradients of the batch normalisation",
        [OP_RELU_BWD] = "the gradient of the ReLU's input",
        [OP_MUL_BWD] = "the gradient of a factor",
        [OP_SCALE_BWD] = "the gradient of the scaling's input",
        [OP_SIGMOID_BWD] = "the gradient of the sigmoid's input",
        [OP_DROPOUT_BWD] = "the gradient of the dropout's input",
        [OP_MAXPOOL_BWD] = "the gradient of the pooling's input",
        [OP_AVGPOOL_BWD] = "the gradient of the pooling's input",
        [OP_SHORTCUT_PAD_BWD] = "the gradient of the shortcut's input",
        [OP_FC_BWD_DATA] = "the gradient of the fully connected layer's input",
        [OP_FC_BWD_WEIGHTS] = "the gradient of the fully connected layer's weights",
        [OP_SOFTMAX_LOSS_BWD] = "the gradient of the loss",
        [OP_CONCAT_BWD] = "the gradient of a part of the concatenation",
        [OP_ADD_GRADIENT] = "the sum of two gradients",
        [OP_ACCUMULATE] = "the sum of the micro-batches' gradients",
        [OP_ALL_REDUCE] = "the exchange of gradients between devices",
        [OP_UPDATE] = "the update of the parameters",
        [OP_GRADIENT_NORM] = "the norm of the gradients",
        [OP_WEIGHTS_AVERAGE] = "the average of the weights",
        [OP_BN_SUMS] = "the sums of the batch normalisation",
        [OP_BN_FINALIZE] = "the statistics of the batch normalisation",
        [OP_BN_APPLY] = "the batch normalisation, its statistics known",
        [OP_BN_BWD_SUMS] = "the sums of the batch normalisation's gradient",
        [OP_BN_BWD_FINALIZE] = "the gradients of the batch normalisation's parameters",
        [OP_BN_BWD_APPLY] = "the gradient of the batch normalisation's input",
        [OP_GRADIENT_CHECK] = "the search for gradients that overflowed",
        [OP_LOSS_SCALE_UPDATE] = "the update of the loss scale",
        [OP_WEIGHTS_COPY] = "the rounding of the weights to 16 bits",
        [OP_GRADIENTS_WIDEN] = "the widening of the weights' gradients from 16 bits",
        [OP_INPUT] = "the placing and normalisation of the images"};
    return names[kind];
}

const char *words_pass(enum op_pass pass)
{
    static const char *const names[OP_PASSES] = {[PASS_FORWARD] = "in the forward pass",
                                                 [PASS_RECOMPUTE] = "while a part of the forward pass runs again",
                                                 [PASS_BACKWARD] = "in the backward pass",
                                                 [PASS_COMM] = "while devices exchange gradients",
                                                 [PASS_UPDATE] = "in the update",
                                                 [PASS_EVALUATE] = "in evaluation",
                                                 [PASS_OFFLOAD] = "while a result is copied to host memory",
                                                 [PASS_FETCH] = "while a result comes back from host memory",
                                                 [PASS_RECONSTRUCT] =
                                                     "while a block's input is made again from its output"};
    return names[pass];
}

static bool alike(const struct plan_device *a, const struct plan_device *b)
{
    return strcmp(a->spec.name, b->spec.name) == 0 && a->spec.memory_bytes == b->spec.memory_bytes;
}

/* Adds to a text that may be full already: then it ends in "...". */
__attribute__((format(printf, 3, 4))) static void append(char *out, size_t size, const char *format, ...)
{
    size_t used = strlen(out);
    va_list args;
    va_start(args, format);
    int length = vsnprintf(out + used, size - used, format, args);
    va_end(args);
    if (length > 0 && (size_t)length >= size - used && size > 4) memcpy(out + size - 4, "...", 4);
}

static size_t run_length(const struct plan *plan, size_t first)
{
    size_t count = 1;
    while (first + count < plan->device_count && alike(&plan->devices[first], &plan->devices[first + count])) count++;
    return count;
}

char *words_devices(const struct plan *plan, char *out, size_t size)
{
    out[0] = '\0';
    for (size_t i = 0; i < plan->device_count;) {
        size_t count = run_length(plan, i);
        if (i > 0) append(out, size, " + ");
        if (count > 1) append(out, size, "%zu x ", count);
        append(out, size, "%s", plan->devices[i].spec.name);
        i += count;
    }
    return out;
}

/* "7.40 of 12.0 GiB", "211 MiB of 12.0 GiB". The reserve is told where without it the device would do. */
static void append_peak(char *out, size_t size, const struct plan_device *device)
{
    char memory[UNITS_TEXT], bytes[UNITS_TEXT];
    uint64_t have = device->spec.memory_bytes, need = device->peak_bytes, gib = 1ull << 30;
    double peak = (double)need / (double)(have >= gib ? gib : 1ull << 20);
    units_format_bytes(have, memory);
    if (have >= gib && need < gib)
        append(out, size, "%s of %s", units_format_bytes(need, bytes), memory);
    else
        append(out, size, "%.*f of %s", peak < 10 ? 2 : 1, peak, memory);
    if (need <= have && need > device_usable_bytes(&device->spec))
        append(out, size, " less %s kept free", units_format_bytes(device->spec.reserve_bytes, bytes));
}

char *words_frozen(uint32_t frozen, char out[WORDS_FROZEN])
{
    if (frozen == FROZEN_ALL_BUT_CLASSIFIER)
        snprintf(out, WORDS_FROZEN, "all but the classifier");
    else if (frozen > 1)
        snprintf(out, WORDS_FROZEN, "stem to stage%u", frozen - 1);
    else
        snprintf(out, WORDS_FROZEN, "%s", frozen == 1 ? "stem" : "");
    return out;
}

char *words_untrainable(const struct plan *plan, char out[WORDS_UNTRAINABLE])
{
    char has[DEVICE_CAPABILITY];
    out[0] = '\0';
    for (size_t i = 0; i < plan->device_count && !*out; i++) {
        const struct device_spec *spec = &plan->devices[i].spec;
        device_capability_words(spec->capability, has);
        if (!device_can_train(spec))
            snprintf(out, WORDS_UNTRAINABLE,
                     "`fathom train` cannot run this plan on %s: CUDA 13 serves GPUs of compute capability 7.5 and "
                     "later, and this is %s",
                     spec->name, has);
        else if (plan->dtype == DTYPE_BF16 && spec->capability > 0 && spec->capability < DEVICE_BF16_CAPABILITY)
            snprintf(out, WORDS_UNTRAINABLE,
                     "`fathom train` cannot run this plan on %s: cuDNN has convolutions in bf16 for GPUs of compute "
                     "capability 8.0 and later, and this is %s; f16 does",
                     spec->name, has);
    }
    return out;
}

static const struct plan_device *largest_peak(const struct plan *plan, size_t first, size_t count)
{
    const struct plan_device *largest = &plan->devices[first];
    for (size_t i = 1; i < count; i++)
        if (plan->devices[first + i].peak_bytes > largest->peak_bytes) largest = &plan->devices[first + i];
    return largest;
}

char *words_more(double fraction, char out[WORDS_MORE])
{
    if (fraction <= 0)
        snprintf(out, WORDS_MORE, "no more");
    else if (fraction < 0.0005)
        snprintf(out, WORDS_MORE, "less than 0.1 %% more");
    else
        snprintf(out, WORDS_MORE, "%.1f %% more", 100 * fraction);
    return out;
}

static void append_recomputed(char *out, size_t size, const struct plan *plan)
{
    char more[WORDS_MORE], host[UNITS_TEXT];
    double extra = 0;
    uint64_t waits = 0;
    for (size_t v = 0; v < plan->variant_count; v++) {
        if (plan->variants[v].extra_flops_fraction > extra) extra = plan->variants[v].extra_flops_fraction;
        if (plan->variants[v].host_bytes > waits) waits = plan->variants[v].host_bytes;
    }
    if (extra > 0)
        append(out, size, "; %s computation", words_more(extra, more));
    else
        append(out, size, "; nothing recomputed");
    if (waits > 0) append(out, size, ", %s in host memory", units_format_bytes(waits, host));
}

static const char *fits_words(const struct plan *plan)
{
    if (certainty_of(plan).verdict == CERTAINTY_CLOSE) return WORDS_CLOSE;
    return plan->fits ? "fits" : "does not fit";
}

char *words_verdict(const struct plan *plan, char *out, size_t size)
{
    char devices[160];
    out[0] = '\0';
    append(out, size, "%s %s %s at batch %u", plan->spec.name, fits_words(plan),
           words_devices(plan, devices, sizeof devices), plan->batch);
    if (plan->devices[0].micro_batches > 1) append(out, size, " in %u micro-batches", plan->devices[0].micro_batches);
    append(out, size, ": peak ");
    for (size_t i = 0; i < plan->device_count;) {
        size_t count = run_length(plan, i);
        if (i > 0) append(out, size, ", ");
        append_peak(out, size, largest_peak(plan, i, count));
        if (count < plan->device_count) append(out, size, " on %s", plan->devices[i].spec.name);
        if (count > 1) append(out, size, count == plan->device_count ? " on each" : " each");
        i += count;
    }
    if (plan->fits) append_recomputed(out, size, plan);
    return out;
}
