/* What weights begin with: the mean, the variance and the bound of each way to draw them. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "init.h"

static struct graph *net(const char *name, int shortcut)
{
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct model_spec spec;
    struct error err = {0};
    options.shortcut = shortcut;
    if (shortcut >= 0) options.number[NUMBER_GATE_BIAS] = -6;
    cr_assert(model_parse(name, &options, &spec, &err), "%s", err.text);
    struct graph *graph = graph_build(&spec, &(struct graph_options){.batch = 1}, &err);
    cr_assert_not_null(graph, "%s", err.text);
    return graph;
}

struct law {
    bool uniform;
    double variance; /* 0: all are zero */
};

static struct law law_of(const struct graph *graph, enum init_kind kind, uint32_t tensor)
{
    const uint32_t *d = graph->tensors[tensor].dims;
    double in = (double)d[1] * d[2] * d[3], out = (double)d[1] * d[2] * d[0];
    bool fc = init_fully_connected(graph, tensor);
    switch (kind) {
    case INIT_HE: return fc ? (struct law){true, 1 / in / 3} : (struct law){false, 2 / out};
    case INIT_HE_FAN_IN: return fc ? (struct law){true, 1 / in / 3} : (struct law){false, 2 / in};
    case INIT_TORCH: return (struct law){true, 1 / in / 3};
    case INIT_XAVIER: return (struct law){true, 2 / (in + out)};
    case INIT_LECUN: return (struct law){false, 1 / in};
    }
    return (struct law){0};
}

static void check(struct law law, const float *x, uint64_t count, const char *what, enum init_kind kind)
{
    double sum = 0, squares = 0, most = 0;
    for (uint64_t i = 0; i < count; i++) {
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
        most = fmax(most, fabs((double)x[i]));
    }
    double mean = sum / (double)count, variance = squares / (double)count, bound = sqrt(3 * law.variance);
    /* Five deviations of either; the fourth moment of a normal is 3, of a uniform law 9 / 5. */
    cr_expect(fabs(mean) <= 5 * sqrt(law.variance / (double)count), "%s, %s: mean %g", what, recipe_init_name(kind),
              mean);
    cr_expect(fabs(variance - law.variance) <= 5 * law.variance * sqrt((law.uniform ? 0.8 : 2) / (double)count),
              "%s, %s: variance %g, not %g", what, recipe_init_name(kind), variance, law.variance);
    cr_expect(!law.uniform || most <= bound * 1.000001, "%s, %s: %g is beyond %g", what, recipe_init_name(kind), most,
              bound);
    cr_expect(law.uniform || count < 1000 || most > bound * 1.2, "%s, %s: no tails", what, recipe_init_name(kind));
}

Test(init, weights_have_the_variance_that_each_way_says)
{
    struct graph *graph = net("resnet-50", -1);
    float *x = malloc(2048 * 1000 * 4 * sizeof *x);
    for (int kind = INIT_HE; kind <= INIT_LECUN; kind++)
        for (uint32_t i = 0; i < graph->parameter_count; i += i < 8 ? 1 : 13) {
            uint32_t tensor = graph->parameters[i];
            const struct tensor *t = &graph->tensors[tensor];
            init_parameter(graph, i, (enum init_kind)kind, 3, x);
            if (t->role == ROLE_WEIGHT)
                check(law_of(graph, (enum init_kind)kind, tensor), x, tensor_elements(t), graph->layers[t->layer].path,
                      (enum init_kind)kind);
            if (t->role == ROLE_GAMMA || t->role == ROLE_BETA) cr_expect_eq(x[0], t->role == ROLE_GAMMA ? 1 : 0);
        }
    uint32_t classifier = (uint32_t)graph->parameter_count - 2, bias = classifier + 1;
    for (int kind = INIT_HE; kind <= INIT_LECUN; kind++) {
        init_parameter(graph, classifier, (enum init_kind)kind, 3, x);
        check(law_of(graph, (enum init_kind)kind, graph->parameters[classifier]), x, 2048 * 1000, "head/fc",
              (enum init_kind)kind);
        init_parameter(graph, bias, (enum init_kind)kind, 3, x);
        cr_assert_eq(graph->tensors[graph->parameters[bias]].role, ROLE_BIAS);
        check(kind == INIT_TORCH ? (struct law){true, 1.0 / 2048 / 3} : (struct law){true, 0}, x, 1000, "the bias",
              (enum init_kind)kind);
    }
    free(x);
    graph_destroy(graph);
}

Test(init, gates_begin_with_the_models_bias)
{
    struct graph *graph = net("resnet-8", SHORTCUT_SHORTCUT_GATE);
    float x[64];
    uint32_t gates = 0;
    for (uint32_t i = 0; i < graph->parameter_count; i++) {
        const struct tensor *t = &graph->tensors[graph->parameters[i]];
        if (t->role != ROLE_BIAS) continue;
        init_parameter(graph, i, INIT_HE, 1, x);
        bool gate = t->dims[3] != 10; /* the classifier has ten */
        gates += gate;
        for (uint32_t c = 0; c < t->dims[3]; c++) cr_expect_eq(x[c], gate ? -6 : 0);
    }
    cr_expect_eq(gates, 3);
    graph_destroy(graph);
}
