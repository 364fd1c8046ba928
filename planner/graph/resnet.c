/* Residual nets: stem, units and head of arXiv:1512.03385 and arXiv:1603.05027, and the plain nets they are compared
 * to.
 *
 * All unit kinds are one sequence: [pre], conv, BN-ReLU, conv, [BN-ReLU, conv,] [last BN], addition, [post]; they
 * differ in what stands in brackets (figure 4 of arXiv:1603.05027). */
#include "build.h"
#include "graph_private.h"

#define MOST_CONVS 3

struct unit {
    struct graph *graph;
    const struct model_spec *spec;
    uint32_t stage, index; /* from 1 */
    uint32_t in_channels, channels, stride;
    bool first; /* of the net */
};

struct conv_shape {
    uint32_t channels, kernel, stride;
};

static void set_layer(const struct unit *unit, const char *name)
{
    graph_set_layer(unit->graph, unit->stage, "stage%u/unit%u/%s", unit->stage, unit->index, name);
}

static void set_layer_numbered(const struct unit *unit, const char *name, uint32_t number)
{
    graph_set_layer(unit->graph, unit->stage, "stage%u/unit%u/%s%u", unit->stage, unit->index, name, number);
}

/* The stride is on the 3x3 on ImageNet and on the first 1x1 on CIFAR, as fb.resnet.torch's and the authors' releases
 * have it, where nothing else is asked for. */
static uint32_t unit_convs(const struct unit *unit, struct conv_shape convs[MOST_CONVS])
{
    if (!unit->spec->bottleneck) {
        convs[0] = (struct conv_shape){unit->channels, 3, unit->stride};
        convs[1] = (struct conv_shape){unit->channels, 3, 1};
        return 2;
    }
    bool late = unit->spec->stride_in == STRIDE_IN_3X3;
    uint32_t narrow = unit->channels / 4;
    convs[0] = (struct conv_shape){narrow, 1, late ? 1 : unit->stride};
    convs[1] = (struct conv_shape){narrow, 3, late ? unit->stride : 1};
    convs[2] = (struct conv_shape){unit->channels, 1, 1};
    return 3;
}

/* The first unit of an ImageNet net reads what the stem's BN-ReLU made: no second one (as released). */
static uint32_t add_pre(const struct unit *unit, uint32_t x)
{
    enum unit_kind kind = unit->spec->unit;
    if (unit->first && unit->spec->dataset == DATASET_IMAGENET) return x;
    if (kind == UNIT_PREACT) {
        set_layer(unit, "bn1");
        return graph_add_bn(unit->graph, x, true);
    }
    if (kind == UNIT_RELU_ONLY_PREACT) {
        set_layer(unit, "relu0");
        return graph_add_relu(unit->graph, x);
    }
    return x;
}

static bool has_bn_after(enum unit_kind kind) { return kind == UNIT_BN_AFTER_ADD || kind == UNIT_BN_AFTER_ADD_NO_RELU; }

static uint32_t add_branch(const struct unit *unit, uint32_t x)
{
    struct conv_shape convs[MOST_CONVS];
    enum unit_kind kind = unit->spec->unit;
    uint32_t count = unit_convs(unit, convs), bn_shift = kind == UNIT_PREACT ? 2 : 1;
    for (uint32_t i = 0; i < count; i++) {
        set_layer_numbered(unit, "conv", i + 1);
        x = graph_add_conv(unit->graph, x, convs[i].channels, convs[i].kernel, convs[i].stride, false);
        bool last = i + 1 == count;
        if (last && (kind == UNIT_PREACT || has_bn_after(kind))) break;
        set_layer_numbered(unit, "bn", i + bn_shift);
        x = graph_add_bn(unit->graph, x, !last || kind == UNIT_RELU_BEFORE_ADD || kind == UNIT_PLAIN);
    }
    return x;
}

static bool changes_shape(const struct unit *unit) { return unit->stride != 1 || unit->in_channels != unit->channels; }

static bool projects(const struct unit *unit)
{
    return unit->spec->shortcut == SHORTCUT_C || (unit->spec->shortcut == SHORTCUT_B && changes_shape(unit));
}

/* A projection is normalised like the branch's last convolution, which pre-activation and BN-after-addition are not. */
static uint32_t add_projection(const struct unit *unit, uint32_t x)
{
    set_layer(unit, "shortcut");
    x = graph_add_conv(unit->graph, x, unit->channels, 1, unit->stride, false);
    if (unit->spec->unit == UNIT_PREACT || has_bn_after(unit->spec->unit)) return x;
    set_layer(unit, "shortcut_bn");
    return graph_add_bn(unit->graph, x, false);
}

static uint32_t add_identity(const struct unit *unit, uint32_t x)
{
    if (!changes_shape(unit)) return x;
    set_layer(unit, "shortcut");
    return graph_add_shortcut_pad(unit->graph, x, unit->channels, unit->stride);
}

static uint32_t add_gate(const struct unit *unit, uint32_t x)
{
    set_layer(unit, "gate");
    x = graph_add_conv(unit->graph, x, unit->channels, 1, unit->stride, true);
    set_layer(unit, "gate_sigmoid");
    return graph_add_sigmoid(unit->graph, x);
}

/* (1 - g) times the identity. */
static uint32_t add_gated_identity(const struct unit *unit, uint32_t x, uint32_t gate)
{
    uint32_t identity = add_identity(unit, x);
    set_layer(unit, "gate_inverse");
    uint32_t inverse = graph_add_scale(unit->graph, gate, -1, 1);
    set_layer(unit, "shortcut_gated");
    return graph_add_mul(unit->graph, identity, inverse);
}

/* Times a number of the form; times 1 is no op. Plans name halves so. */
static uint32_t add_scaled(const struct unit *unit, const char *name, uint32_t x, enum model_number number)
{
    double scale = unit->spec->number[number];
    if (scale == 1) return x;
    graph_set_layer(unit->graph, unit->stage, "stage%u/unit%u/%s_%s", unit->stage, unit->index, name,
                    scale == 0.5 ? "half" : "scaled");
    return graph_add_scale(unit->graph, x, (float)scale, 0);
}

static uint32_t add_dropped(const struct unit *unit, uint32_t x)
{
    double drop = unit->spec->number[NUMBER_DROPOUT];
    if (drop <= 0) return x;
    set_layer(unit, "shortcut_dropout");
    return graph_add_dropout(unit->graph, x, (float)drop);
}

/* The shortcut from x (or from the shared pre-activation), for the variants that change the branch too: *branch. Scaled
 * by 0 there is none: NO_TENSOR. */
static uint32_t add_shortcut(const struct unit *unit, uint32_t x, uint32_t pre, uint32_t *branch)
{
    switch (unit->spec->shortcut) {
    case SHORTCUT_A:
    case SHORTCUT_B:
    case SHORTCUT_C: return projects(unit) ? add_projection(unit, pre) : add_identity(unit, x);
    case SHORTCUT_SCALING:
        *branch = add_scaled(unit, "branch", *branch, NUMBER_BRANCH_SCALE);
        if (unit->spec->number[NUMBER_SHORTCUT_SCALE] <= 0) return NO_TENSOR;
        return add_scaled(unit, "shortcut", add_identity(unit, x), NUMBER_SHORTCUT_SCALE);
    case SHORTCUT_EXCLUSIVE_GATE: {
        uint32_t gate = add_gate(unit, x);
        set_layer(unit, "branch_gated");
        *branch = graph_add_mul(unit->graph, *branch, gate);
        return add_gated_identity(unit, x, gate);
    }
    case SHORTCUT_SHORTCUT_GATE: return add_gated_identity(unit, x, add_gate(unit, x));
    case SHORTCUT_CONV1X1:
        set_layer(unit, "shortcut");
        return graph_add_conv(unit->graph, x, unit->channels, 1, unit->stride, false);
    case SHORTCUT_DROPOUT: return add_dropped(unit, add_identity(unit, x));
    }
    return NO_TENSOR;
}

static uint32_t add_post(const struct unit *unit, uint32_t x)
{
    if (unit->spec->unit == UNIT_ORIGINAL) {
        set_layer(unit, "relu");
        return graph_add_relu(unit->graph, x);
    }
    if (has_bn_after(unit->spec->unit)) {
        set_layer(unit, "bn_after");
        return graph_add_bn(unit->graph, x, unit->spec->unit == UNIT_BN_AFTER_ADD);
    }
    return x;
}

static uint32_t add_unit(const struct unit *unit, uint32_t x)
{
    graph_set_layer(unit->graph, unit->stage, "stage%u/unit%u", unit->stage, unit->index);
    graph_begin_block(unit->graph);
    uint32_t pre = add_pre(unit, x), branch = add_branch(unit, pre);
    if (unit->spec->unit == UNIT_PLAIN) return branch;
    uint32_t shortcut = add_shortcut(unit, x, pre, &branch);
    if (shortcut == NO_TENSOR) return add_post(unit, branch);
    set_layer(unit, "add");
    return add_post(unit, graph_add_add(unit->graph, branch, shortcut));
}

/* On CIFAR a pre-activation net's first unit normalises what the stem's convolution made. */
static uint32_t add_stem(struct graph *graph)
{
    const struct model_spec *spec = &graph->spec;
    bool imagenet = spec->dataset == DATASET_IMAGENET;
    graph_set_layer(graph, 0, "stem");
    graph_begin_block(graph);
    graph_set_layer(graph, 0, "stem/conv");
    uint32_t x = graph_add_conv(graph, graph->images, imagenet ? 64 : 16, imagenet ? 7 : 3, imagenet ? 2 : 1, false);
    if (!imagenet && spec->unit == UNIT_PREACT) return x;
    graph_set_layer(graph, 0, "stem/bn");
    x = graph_add_bn(graph, x, imagenet || spec->unit != UNIT_RELU_ONLY_PREACT);
    if (!imagenet) return x;
    graph_set_layer(graph, 0, "stem/pool");
    return graph_add_maxpool(graph, x, 3, 2, 1);
}

static void add_head(struct graph *graph, uint32_t stage, uint32_t x)
{
    graph_set_layer(graph, stage, "head");
    graph_begin_block(graph);
    if (graph->spec.unit == UNIT_PREACT) {
        graph_set_layer(graph, stage, "head/bn");
        x = graph_add_bn(graph, x, true);
    } else if (graph->spec.unit == UNIT_RELU_ONLY_PREACT) {
        graph_set_layer(graph, stage, "head/relu");
        x = graph_add_relu(graph, x);
    }
    graph_add_classifier(graph, stage, x);
}

void graph_build_resnet(struct graph *graph)
{
    const struct model_spec *spec = &graph->spec;
    uint32_t x = add_stem(graph), stages = spec->dataset == DATASET_IMAGENET ? 4 : 3;
    uint32_t narrowest = spec->dataset == DATASET_IMAGENET ? 64 : 16, in_channels = narrowest;
    for (uint32_t stage = 0; stage < stages; stage++) {
        uint32_t channels = (narrowest << stage) * (spec->bottleneck ? 4 : 1);
        for (uint32_t i = 0; i < spec->units[stage] && x != NO_TENSOR; i++) {
            struct unit unit = {.graph = graph,
                                .spec = spec,
                                .stage = stage + 1,
                                .index = i + 1,
                                .in_channels = in_channels,
                                .channels = channels,
                                .stride = stage > 0 && i == 0 ? 2 : 1,
                                .first = stage == 0 && i == 0};
            x = add_unit(&unit, x);
            in_channels = channels;
        }
    }
    add_head(graph, stages + 1, x);
}
