#include "torch_names.h"

#include <stdio.h>
#include <string.h>

#include "init.h"

/* ---- Layers ---- */

static bool resnet_top(const char *layer, char out[TORCH_NAME])
{
    static const char *const names[][2] = {
        {"stem/conv", "conv1"}, {"stem/bn", "bn1"}, {"head/bn", "norm"}, {"head/fc", "fc"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(layer, names[i][0]) != 0) continue;
        strcpy(out, names[i][1]);
        return true;
    }
    return false;
}

/* "stage2/unit3/shortcut_bn" is the second of what torchvision has in layer2.2.downsample. */
static bool resnet_unit(const char *layer, char out[TORCH_NAME])
{
    unsigned stage, unit;
    int read = 0;
    if (sscanf(layer, "stage%u/unit%u/%n", &stage, &unit, &read) != 2 || read == 0 || unit == 0) return false;
    const char *last = layer + read;
    if (strcmp(last, "shortcut") == 0) last = "downsample.0";
    if (strcmp(last, "shortcut_bn") == 0) last = "downsample.1";
    snprintf(out, TORCH_NAME, "layer%u.%u.%s", stage, unit - 1, last);
    return true;
}

/* Torchvision numbers a VGG's modules through: convolutions, ReLUs and pools count, and dropouts of the classifier. */
static bool vgg_layer(const struct graph *graph, uint32_t layer, char out[TORCH_NAME])
{
    const char *path = graph->layers[layer].path;
    bool head = strncmp(path, "head/", 5) == 0;
    uint32_t number = 0;
    for (uint32_t i = 0; i < graph->forward_end; i++) {
        const struct op *op = &graph->ops[i];
        bool classifies = strncmp(graph->layers[op->layer].path, "head/", 5) == 0;
        if (op->layer == layer) {
            snprintf(out, TORCH_NAME, "%s.%u", head ? "classifier" : "features", number);
            return true;
        }
        bool counts = op->kind == OP_CONV || op->kind == OP_RELU || op->kind == OP_MAXPOOL || op->kind == OP_FC ||
                      op->kind == OP_DROPOUT;
        number += counts && classifies == head;
    }
    return false;
}

static void any_layer(const char *path, char out[TORCH_NAME])
{
    snprintf(out, TORCH_NAME, "%s", path);
    for (char *c = out; *c; c++)
        if (*c == '/') *c = '.';
}

/* ---- Tensors ---- */

static const char *role_name(enum tensor_role role)
{
    switch (role) {
    case ROLE_BIAS:
    case ROLE_BETA: return "bias";
    case ROLE_RUNNING_MEAN: return "running_mean";
    case ROLE_RUNNING_VARIANCE: return "running_var";
    default: return "weight";
    }
}

char *torch_name(const struct graph *graph, uint32_t tensor, char out[TORCH_NAME])
{
    const struct tensor *t = &graph->tensors[tensor];
    const char *path = graph->layers[t->layer].path;
    bool vgg = graph->spec.family == FAMILY_VGG && vgg_layer(graph, t->layer, out);
    if (!vgg && !resnet_top(path, out) && !resnet_unit(path, out)) any_layer(path, out);
    size_t used = strlen(out);
    snprintf(out + used, TORCH_NAME - used, ".%s", role_name(t->role));
    return out;
}

uint32_t torch_shape(const struct graph *graph, uint32_t tensor, uint64_t shape[4], uint32_t kernel[4])
{
    const struct tensor *t = &graph->tensors[tensor];
    const struct op *fc = t->role == ROLE_WEIGHT ? init_fully_connected(graph, tensor) : NULL;
    memcpy(kernel, t->dims, sizeof t->dims);
    if (fc) memcpy(kernel + 1, graph->tensors[fc->in[0]].dims + 1, 3 * sizeof kernel[0]);
    shape[0] = fc || t->role == ROLE_WEIGHT ? t->dims[0] : tensor_elements(t);
    shape[1] = fc ? tensor_elements(t) / t->dims[0] : kernel[3];
    shape[2] = kernel[1];
    shape[3] = kernel[2];
    return t->role != ROLE_WEIGHT ? 1 : fc ? 2 : 4;
}
