/* The gradient of whole nets of every form against finite differences of the loss, along the gradient itself. */
#include <criterion/criterion.h>
#include <math.h>

#include "forms_kit.h"
#include "graph_run.h"

/* The loss of the batch; with backward its gradient, too. */
static double run_loss(struct graph_run *run, bool backward)
{
    const struct graph *graph = run->graph;
    const struct tensor *metrics = &graph->tensors[graph->metrics];
    float values[4] = {0};
    struct error err = {0};
    cr_assert(run->backend->parameter_in(run->device, metrics, run->offsets[graph->metrics], values, &err));
    for (uint32_t i = 0; i < (backward ? graph->backward_end : graph->forward_end); i++)
        graph_run_op(run, i, graph->ops[i].pass);
    cr_assert(run->backend->parameter_out(run->device, metrics, run->offsets[graph->metrics], values, &err));
    return (double)values[0] / graph->options.batch;
}

static uint32_t find_gradient(const struct graph *graph, uint32_t parameter)
{
    for (uint32_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].gradient && graph->tensors[t].of == parameter) return t;
    return NO_TENSOR;
}

static float *take(struct graph_run *run, uint32_t tensor)
{
    const struct tensor *t = &run->graph->tensors[tensor];
    struct error err = {0};
    float *values = malloc(tensor_elements(t) * sizeof *values);
    cr_assert(run->backend->parameter_out(run->device, t, run->offsets[tensor], values, &err), "%s", err.text);
    return values;
}

/* Every parameter moves by so much along its gradient. */
static void move(struct graph_run *run, float *const *begun, float *const *gradients, double by)
{
    const struct graph *graph = run->graph;
    struct error err = {0};
    for (size_t p = 0; p < graph->parameter_count; p++) {
        const struct tensor *t = &graph->tensors[graph->parameters[p]];
        uint64_t count = tensor_elements(t);
        float *moved = malloc(count * sizeof *moved);
        for (uint64_t i = 0; i < count; i++) moved[i] = (float)((double)begun[p][i] + by * (double)gradients[p][i]);
        cr_assert(run->backend->parameter_in(run->device, t, run->offsets[graph->parameters[p]], moved, &err));
        free(moved);
    }
}

static void check_form(const struct backend *backend, size_t form, enum bn_freeze freeze)
{
    struct model_spec spec = form_spec(form, 8);
    struct error err = {0};
    struct graph *graph = graph_build(&spec, &(struct graph_options){.batch = 4, .freeze_bn = freeze}, &err);
    cr_assert_not_null(graph, "%s", err.text);
    struct graph_run run = graph_run_begin(backend, graph);
    graph_run_set_step(&run, 0);
    float **begun = calloc(graph->parameter_count, sizeof *begun),
          **gradients = calloc(graph->parameter_count, sizeof *gradients);
    double loss = run_loss(&run, true), squares = 0;
    for (size_t p = 0; p < graph->parameter_count; p++) {
        begun[p] = take(&run, graph->parameters[p]);
        uint32_t gradient = find_gradient(graph, graph->parameters[p]);
        uint64_t count = tensor_elements(&graph->tensors[graph->parameters[p]]);
        gradients[p] = gradient == NO_TENSOR ? calloc(count, sizeof(float)) : take(&run, gradient);
        for (uint64_t i = 0; i < count; i++) squares += (double)gradients[p][i] * (double)gradients[p][i];
    }
    double step = 5e-4 / sqrt(squares);
    move(&run, begun, gradients, step);
    double up = run_loss(&run, false);
    move(&run, begun, gradients, -step);
    double down = run_loss(&run, false), slope = (up - down) / (2 * step);
    cr_expect(isfinite(loss) && squares > 0);
    cr_expect_float_eq(slope / squares, 1, 0.02, "%s, form %zu: the loss rises by %g, by its gradient %g",
                       backend->name, form, slope, squares);
    for (size_t p = 0; p < graph->parameter_count; p++) {
        free(begun[p]);
        free(gradients[p]);
    }
    free(begun);
    free(gradients);
    graph_run_finish(&run);
    graph_destroy(graph);
}

Test(forms, gradients_are_those_of_the_loss)
{
    for (size_t i = 0; i < FORMS; i++) {
        check_form(&cpu_reference_backend, i, BN_TRAINED);
        check_form(&cpu_backend, i, BN_TRAINED);
    }
}

Test(forms, gradients_through_frozen_normalisations_are_those_of_the_loss)
{
    static const size_t some[] = {3, 6, 12, 13};
    for (size_t i = 0; i < 4; i++)
        for (enum bn_freeze freeze = BN_STATISTICS_FROZEN; freeze <= BN_FROZEN; freeze++)
            check_form(i % 2 ? &cpu_backend : &cpu_reference_backend, some[i], freeze);
}
