/* Lowered graphs by the GPU's own kernels, run by the host: each op against the CPU's readable loops on the same
 * operands, in each type of activations; and whole graphs trained. No GPU has run them here.
 *
 * Tolerances are of the largest value of a row of channels. In f32, 2e-5, as the CPU's fast loops have (sums in f32 by
 * trees against f64). Statistics that a convolution writes are f32 here, from which a variance loses up to mean^2 /
 * variance times 1e-7, and gradients of biases may be all that is left of sums that cancel: 2e-4. In 16 bits, a step of
 * the type for what is rounded to it, and four for sums, which are taken of rounded values here and of unrounded ones
 * there: half a step of each value at most, but of values that may cancel. */
#include <math.h>
#include <string.h>

#include "bn_layout.h"
#include "build.h"
#include "forms_kit.h"
#include "graph_run.h"
#include "half.h"
#include "host_backend.h"
#include "lower.h"
#include "random_graph.h"
#include "rounds.h"

#define MOST_CHANNELS 512

/* ---- Values of tensors as doubles ---- */

static double value_of(enum dtype dtype, const void *values, uint64_t i)
{
    switch (dtype) {
    case DTYPE_F16: return (double)float_from_f16(((const uint16_t *)values)[i]);
    case DTYPE_BF16: return (double)float_from_bf16(((const uint16_t *)values)[i]);
    case DTYPE_F64: return ((const double *)values)[i];
    case DTYPE_U8: return ((const uint8_t *)values)[i];
    case DTYPE_I32: return ((const int32_t *)values)[i];
    case DTYPE_BIT: return ((const uint8_t *)values)[i / 8] >> i % 8 & 1;
    default: return (double)((const float *)values)[i];
    }
}

static void *read_bytes(struct graph_run *run, uint32_t tensor)
{
    const uint64_t bytes = run->graph->tensors[tensor].bytes;
    struct error err = {0};
    void *values = calloc(1, bytes + 8);
    cr_assert(run->backend->copy_out(run->device, NULL, values, run->offsets[tensor], bytes, &err));
    return values;
}

static void write_bytes(struct graph_run *run, uint32_t tensor, const void *values)
{
    struct error err = {0};
    cr_assert(run->backend->copy_in(run->device, NULL, run->offsets[tensor], values, run->graph->tensors[tensor].bytes,
                                    &err));
}

static double *as_doubles(struct graph_run *run, uint32_t tensor)
{
    const struct tensor *t = &run->graph->tensors[tensor];
    const uint64_t count = tensor_elements(t);
    double *values = calloc(count + 1, sizeof *values);
    void *bytes = read_bytes(run, tensor);
    for (uint64_t i = 0; i < count; i++) values[i] = value_of(t->dtype, bytes, i);
    free(bytes);
    return values;
}

/* ---- The rows of a BN's small tensors, which either backend has in its own way ---- */

/* The op of this kind whose operand `i` is the tensor. */
static const struct op *reader_of(const struct graph *graph, enum op_kind kind, unsigned i, uint32_t tensor)
{
    for (uint32_t k = 0; k < graph->op_count; k++)
        if (graph->ops[k].kind == kind && graph->ops[k].in[i] == tensor) return &graph->ops[k];
    cr_assert_fail("nobody reads tensor %u", (unsigned)tensor);
    return NULL;
}

static const struct op *maker_of(const struct graph *graph, uint32_t tensor)
{
    for (uint32_t k = 0; k < graph->op_count; k++)
        if (graph->ops[k].out[0] == tensor) return &graph->ops[k];
    return NULL;
}

static void put_sums(const struct graph *graph, uint32_t tensor, const double *first, const double *second, void *out)
{
    const uint32_t channels = graph->tensors[tensor].dims[3];
    const bool single = bn_sums_are_single(graph, tensor);
    for (uint32_t c = 0; c < channels; c++) {
        if (single)
            ((float *)out)[c] = (float)first[c], ((float *)out)[channels + c] = (float)second[c];
        else
            ((double *)out)[c] = first[c], ((double *)out)[channels + c] = second[c];
    }
}

static double sum_at(const struct graph *graph, uint32_t tensor, const void *values, uint64_t i)
{
    return value_of(bn_sums_are_single(graph, tensor) ? DTYPE_F32 : DTYPE_F64, values, i);
}

/* From the CPU's mean and squared differences to a sum and a sum of squares. */
static void *sums_from_cpu(const struct graph *graph, uint32_t tensor, const double *cpu)
{
    const uint32_t n = graph->tensors[tensor].dims[3];
    const double rows = (double)reader_of(graph, OP_BN_FINALIZE, 0, tensor)->attr.bn.rows;
    double first[MOST_CHANNELS], second[MOST_CHANNELS];
    void *out = calloc(1, graph->tensors[tensor].bytes);
    for (uint32_t c = 0; c < n; c++) {
        first[c] = cpu[c] * rows;
        second[c] = cpu[n + c] + rows * cpu[c] * cpu[c];
    }
    put_sums(graph, tensor, first, second, out);
    return out;
}

static void sums_to_cpu(const struct graph *graph, uint32_t tensor, const void *values, double *cpu)
{
    const uint32_t n = graph->tensors[tensor].dims[3];
    const double rows = (double)reader_of(graph, OP_BN_FINALIZE, 0, tensor)->attr.bn.rows;
    for (uint32_t c = 0; c < n; c++) {
        cpu[c] = sum_at(graph, tensor, values, c) / rows;
        cpu[n + c] = sum_at(graph, tensor, values, n + c) - rows * cpu[c] * cpu[c];
    }
}

/* scale, beta, mean, variance there; mean, inverse deviation, gamma, beta, and what a prologue reads here. */
static void *norm_from_cpu(const struct graph *graph, uint32_t tensor, const double *cpu)
{
    const uint32_t n = graph->tensors[tensor].dims[3];
    const double epsilon = (double)maker_of(graph, tensor)->attr.bn.epsilon;
    float *out = calloc(1, graph->tensors[tensor].bytes);
    for (uint32_t c = 0; c < n; c++) {
        const double inverse = 1 / sqrt(cpu[3 * n + c] + epsilon);
        out[BN_ROW_MEAN * n + c] = (float)cpu[2 * n + c];
        out[BN_ROW_INVERSE_DEVIATION * n + c] = (float)inverse;
        out[BN_ROW_GAMMA * n + c] = (float)(cpu[c] / inverse);
        out[BN_ROW_BETA * n + c] = (float)cpu[n + c];
    }
    return out;
}

static void norm_to_cpu(const struct graph *graph, uint32_t tensor, const void *values, double *cpu)
{
    const float *norm = values;
    const uint32_t n = graph->tensors[tensor].dims[3];
    const double epsilon = (double)maker_of(graph, tensor)->attr.bn.epsilon;
    for (uint32_t c = 0; c < n; c++) {
        const double inverse = (double)norm[BN_ROW_INVERSE_DEVIATION * n + c];
        cpu[c] = (double)norm[BN_ROW_GAMMA * n + c] * inverse;
        cpu[n + c] = (double)norm[BN_ROW_BETA * n + c];
        cpu[2 * n + c] = (double)norm[BN_ROW_MEAN * n + c];
        cpu[3 * n + c] = 1 / (inverse * inverse) - epsilon;
    }
}

/* The prologue's rows are the folded scale and bias, in f16 in plans in f16. */
static void check_prologue(const struct graph *graph, uint32_t tensor, const void *values, const double *cpu)
{
    const uint32_t n = graph->tensors[tensor].dims[3];
    const float *rows = (const float *)values + BN_ROW_PROLOGUE * n;
    const bool half = graph->options.dtype == DTYPE_F16;
    for (uint32_t c = 0; c < n; c++) {
        const double scale = value_of(half ? DTYPE_F16 : DTYPE_F32, rows, c);
        const double bias = value_of(half ? DTYPE_F16 : DTYPE_F32, rows, n + c);
        const double wanted = cpu[n + c] - cpu[2 * n + c] * cpu[c], step = half ? 0x1p-10 : 1e-5;
        cr_expect(fabs(scale - cpu[c]) <= step * fabs(cpu[c]) && fabs(bias - wanted) <= step * (1 + fabs(wanted)),
                  "prologue of channel %u: %g, %g", (unsigned)c, scale, bias);
    }
}

/* What normalises in the BN whose gradient sums these are: both ops that read them have it as the same operand. */
static uint32_t norm_beside(const struct graph *graph, uint32_t sums)
{
    for (uint32_t k = 0; k < graph->op_count; k++) {
        const struct op *op = &graph->ops[k];
        const bool applies = op->kind == OP_BN_BWD_APPLY && !op->attr.bn.whole && op->in[3] == sums;
        if (applies || (op->kind == OP_BN_BWD_FINALIZE && op->in[0] == sums)) return op->in[2];
    }
    cr_assert_fail("nobody reads tensor %u", (unsigned)sums);
    return NO_TENSOR;
}

/* The inverse deviation of the BN whose gradient sums these are, on the CPU. */
static double inverse_of(struct graph_run *slow, uint32_t sums, uint32_t c)
{
    const uint32_t norm = norm_beside(slow->graph, sums);
    const double epsilon = (double)maker_of(slow->graph, norm)->attr.bn.epsilon;
    double *rows = as_doubles(slow, norm);
    const double inverse = 1 / sqrt(rows[3 * slow->graph->tensors[norm].dims[3] + c] + epsilon);
    free(rows);
    return inverse;
}

static void *gradient_sums_from_cpu(struct graph_run *slow, uint32_t tensor, const double *cpu)
{
    const uint32_t n = slow->graph->tensors[tensor].dims[3];
    double second[MOST_CHANNELS];
    void *out = calloc(1, slow->graph->tensors[tensor].bytes);
    for (uint32_t c = 0; c < n; c++) second[c] = cpu[n + c] * inverse_of(slow, tensor, c);
    put_sums(slow->graph, tensor, cpu, second, out);
    return out;
}

static void gradient_sums_to_cpu(struct graph_run *slow, uint32_t tensor, const void *values, double *cpu)
{
    const uint32_t n = slow->graph->tensors[tensor].dims[3];
    for (uint32_t c = 0; c < n; c++) {
        cpu[c] = sum_at(slow->graph, tensor, values, c);
        cpu[n + c] = sum_at(slow->graph, tensor, values, n + c) / inverse_of(slow, tensor, c);
    }
}

/* ---- One op on both ---- */

static void give_input(struct graph_run *kernels, struct graph_run *slow, uint32_t tensor)
{
    const struct graph *graph = slow->graph;
    double *cpu = as_doubles(slow, tensor);
    void *bytes;
    switch (graph->tensors[tensor].role) {
    case ROLE_SUMS: bytes = sums_from_cpu(graph, tensor, cpu); break;
    case ROLE_NORM: bytes = norm_from_cpu(graph, tensor, cpu); break;
    case ROLE_GRADIENT_SUMS: bytes = gradient_sums_from_cpu(slow, tensor, cpu); break;
    default: bytes = read_bytes(slow, tensor);
    }
    write_bytes(kernels, tensor, bytes);
    free(bytes);
    free(cpu);
}

/* The kernels' result, in the CPU's rows. */
static double *take_output(struct graph_run *kernels, struct graph_run *slow, uint32_t tensor, const double *wanted)
{
    const struct graph *graph = slow->graph;
    double *found = as_doubles(kernels, tensor);
    void *bytes = read_bytes(kernels, tensor);
    switch (graph->tensors[tensor].role) {
    case ROLE_SUMS: sums_to_cpu(graph, tensor, bytes, found); break;
    case ROLE_NORM:
        norm_to_cpu(graph, tensor, bytes, found);
        check_prologue(graph, tensor, bytes, wanted);
        break;
    case ROLE_GRADIENT_SUMS: gradient_sums_to_cpu(slow, tensor, bytes, found); break;
    default: break;
    }
    free(bytes);
    return found;
}

#define LEAST_SCALE 0.02 /* values that small are what is left of sums that cancel */

#define LOSS_SCALE 256.0f

/* Gradients are larger where the loss is scaled. */
static double least_scale(const struct graph *graph, const struct tensor *t)
{
    const bool backward = t->gradient || t->role == ROLE_GRADIENT_SUMS || t->role == ROLE_COEFFICIENTS;
    return backward && graph->loss_scale != NO_TENSOR ? LEAST_SCALE * (double)LOSS_SCALE : LEAST_SCALE;
}

static double difference(const struct graph *graph, const struct tensor *t, const double *a, const double *b)
{
    const uint64_t rows = t->role == ROLE_NORM ? 4 : t->dims[2], count = tensor_elements(t);
    const uint64_t row = t->class == CLASS_STATISTIC ? t->dims[3] : count;
    const uint64_t end = t->class == CLASS_STATISTIC ? rows * row : count;
    double worst = 0;
    for (uint64_t first = 0; first < end; first += row) {
        double scale = least_scale(graph, t), most = 0;
        for (uint64_t i = first; i < first + row; i++) {
            const double d = fabs(a[i] - b[i]);
            if (!(d <= most)) most = d;
            if (fabs(b[i]) > scale) scale = fabs(b[i]);
        }
        if (!(most / scale <= worst)) worst = most / scale;
    }
    return worst;
}

static double tolerance(const struct graph *graph, const struct tensor *t)
{
    const double step = graph->options.dtype == DTYPE_F16 ? 0x1p-10 : graph->options.dtype == DTYPE_BF16 ? 0x1p-7 : 0;
    if (t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16) return step;
    if (t->role == ROLE_SUMS || t->role == ROLE_GRADIENT_SUMS) return 4 * step + 2e-4;
    return t->role == ROLE_BIAS ? 2e-4 : 2e-5;
}

static void compare_output(struct graph_run *kernels, struct graph_run *slow, const struct op *op, unsigned k)
{
    const struct tensor *t = &slow->graph->tensors[op->out[k]];
    if (op->kind == OP_INPUT || op->kind == OP_WEIGHTS_COPY) { /* bit by bit */
        void *a = read_bytes(kernels, op->out[k]), *b = read_bytes(slow, op->out[k]);
        cr_expect_arr_eq(a, b, t->bytes, "%s in %s", op_kind_name(op->kind), dtype_name(t->dtype));
        free(a);
        free(b);
        return;
    }
    if (t->dtype == DTYPE_I32 || t->dtype == DTYPE_BIT) return;
    double *wanted = as_doubles(slow, op->out[k]), *found = take_output(kernels, slow, op->out[k], wanted);
    const double worst = difference(slow->graph, t, found, wanted);
    cr_expect(worst <= tolerance(slow->graph, t), "%s in %s, fused %u, output %u: %g", op_kind_name(op->kind),
              dtype_name(slow->graph->options.dtype), op->attr.conv.fused, k, worst);
    free(wanted);
    free(found);
}

static void compare_op(struct graph_run *kernels, struct graph_run *slow, uint32_t index, enum op_pass pass)
{
    const struct op *op = &slow->graph->ops[index];
    const bool evaluates = pass == PASS_EVALUATE;
    for (unsigned k = 0; k < op->inputs; k++)
        if (!evaluates || slow->graph->tensors[op->in[k]].role != ROLE_SUMS) give_input(kernels, slow, op->in[k]);
    graph_run_op(kernels, index, pass);
    graph_run_op(slow, index, pass);
    if (evaluates && op->kind == OP_BN_SUMS) return;
    for (unsigned k = 0; k < (evaluates ? 1 : op->outputs); k++) compare_output(kernels, slow, op, k);
    if (op->kind != OP_BN_FINALIZE || evaluates) return;
    for (unsigned k = 3; k < 5; k++) {
        double *a = as_doubles(kernels, op->in[k]), *b = as_doubles(slow, op->in[k]);
        cr_expect(difference(slow->graph, &slow->graph->tensors[op->in[k]], a, b) < 2e-5,
                  "running statistics, input %u", k);
        free(a);
        free(b);
    }
}

/* ---- Graphs ---- */

static void set_loss_scale(struct graph_run *run)
{
    const struct loss_scale scale = {.scale = LOSS_SCALE};
    if (run->graph->loss_scale != NO_TENSOR) write_bytes(run, run->graph->loss_scale, &scale);
}

static void compare_ops(const struct backend *backend, const struct graph *logical, uint32_t lowering,
                        bool seen[OP_KINDS])
{
    struct graph *graph = NULL;
    struct error err = {0};
    cr_assert(graph_lower(logical, lowering, &graph, &err), "%s", err.text);
    struct graph_run kernels = graph_run_begin(backend, graph), slow = graph_run_begin(&cpu_reference_backend, graph);
    graph_run_set_step(&kernels, 0);
    graph_run_set_step(&slow, 0);
    set_loss_scale(&kernels);
    set_loss_scale(&slow);
    for (uint32_t i = 0; i < graph->op_count; i++) {
        compare_op(&kernels, &slow, i, graph->ops[i].pass);
        seen[graph->ops[i].kind] = true;
    }
    for (uint32_t i = 0; i < graph->forward_end; i++) compare_op(&kernels, &slow, i, PASS_EVALUATE);
    graph_run_finish(&kernels);
    graph_run_finish(&slow);
    graph_destroy(graph);
}

static void compare_random_graphs(enum dtype dtype, uint64_t first, uint64_t last)
{
    bool seen[OP_KINDS] = {false};
    for (uint64_t seed = first; seed < last; seed++) {
        struct graph *logical = random_graph(seed, (struct graph_options){.batch = 3, .dtype = dtype});
        host_backend_seed = seed;
        compare_ops(&host_backend, logical, LOWER_ALL, seen);
        compare_ops(&host_reference_backend, logical, 1 + (uint32_t)(seed * 37 % LOWER_ALL), seen);
        graph_destroy(logical);
    }
    cr_expect(seen[OP_INPUT] && seen[OP_WEIGHTS_COPY] == (dtype != DTYPE_F32));
    cr_expect_eq(seen[OP_GRADIENTS_WIDEN], dtype != DTYPE_F32);
    for (int kind = OP_BN_SUMS; kind <= OP_BN_BWD_APPLY; kind++)
        cr_expect(seen[kind], "%s was never met", op_kind_name((enum op_kind)kind));
}

Test(kernels_lowered, agree_with_the_reference_in_f32) { compare_random_graphs(DTYPE_F32, 1000, 1012); }
Test(kernels_lowered, agree_with_the_reference_in_f16) { compare_random_graphs(DTYPE_F16, 1012, 1024); }
Test(kernels_lowered, agree_with_the_reference_in_bf16) { compare_random_graphs(DTYPE_BF16, 1024, 1036); }

/* ---- Whole trainings ---- */

#define STEPS 2

/* Two steps and an evaluation; ends with all values that stay, which the caller frees. */
static double *train(const struct backend *backend, const struct graph *graph, uint64_t *count)
{
    struct graph_run run = graph_run_begin(backend, graph);
    double *all = NULL;
    *count = 0;
    for (uint64_t step = 0; step <= STEPS; step++) {
        const bool evaluates = step == STEPS;
        graph_run_set_step(&run, step);
        for (uint32_t i = 0; i < (evaluates ? graph->forward_end : graph->op_count); i++)
            graph_run_op(&run, i, evaluates ? PASS_EVALUATE : graph->ops[i].pass);
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        const struct tensor *tensor = &graph->tensors[t];
        const uint64_t more = tensor_elements(tensor);
        if (!tensor->persistent || tensor->role == ROLE_BUCKET) continue;
        double *values = as_doubles(&run, t);
        all = realloc(all, (*count + more) * sizeof *all);
        memcpy(all + *count, values, more * sizeof *all);
        *count += more;
        free(values);
    }
    graph_run_finish(&run);
    return all;
}

/* Weights, momenta, running statistics and metrics of a graph in f32. */
static void compare_training(const struct backend *backend, const struct graph *logical, uint32_t lowering)
{
    struct graph *lowered = NULL;
    struct error err = {0};
    uint64_t count = 0, other = 0;
    double worst = 0, *wanted = train(&cpu_reference_backend, logical, &count);
    cr_assert(graph_lower(logical, lowering, &lowered, &err), "%s", err.text);
    double *found = train(backend, lowered, &other);
    cr_assert_eq(count, other);
    for (uint64_t i = 0; i < count; i++) {
        const double error = fabs(found[i] - wanted[i]) / (1 + fabs(wanted[i]));
        if (!(error <= worst)) worst = error;
    }
    cr_expect(worst < 1e-4, "lowering %u: they differ by %g", (unsigned)lowering, worst);
    free(wanted);
    free(found);
    graph_destroy(lowered);
}

Test(kernels_lowered, trainings_agree_with_the_reference)
{
    for (uint64_t seed = 2000; seed < 2000 + rounds(16); seed++) {
        struct graph *logical = random_graph(seed, (struct graph_options){.batch = 2, .micro_batches = 1 + seed % 2});
        host_backend_seed = seed;
        compare_training(&host_backend, logical, 0);
        compare_training(&host_reference_backend, logical, LOWER_ALL);
        compare_training(&host_backend, logical, 1 + (uint32_t)(seed * 37 % LOWER_ALL));
        graph_destroy(logical);
    }
}

Test(kernels_lowered, forms_of_the_papers_tables_agree_with_the_reference)
{
    for (size_t i = 0; i < FORMS; i++) {
        struct model_spec spec = form_spec(i, 8);
        struct error err = {0};
        struct graph *logical = graph_build(&spec, &(struct graph_options){.batch = 2}, &err);
        cr_assert_not_null(logical, "%s", err.text);
        host_backend_seed = i;
        compare_training(&host_backend, logical, LOWER_ALL);
        graph_destroy(logical);
    }
}

/* Running statistics that stay: whole, lowered, and with parts of the fusions. */
Test(kernels_lowered, frozen_normalisations_agree_with_the_reference)
{
    for (uint64_t seed = 3000; seed < 3000 + rounds(16); seed++) {
        struct graph *logical = random_graph(seed, (struct graph_options){.batch = 2, .freeze_bn = 1 + seed % 2});
        host_backend_seed = seed;
        compare_training(&host_backend, logical, 0);
        compare_training(&host_reference_backend, logical, LOWER_ALL);
        compare_training(&host_backend, logical, 1 + (uint32_t)(seed * 37 % LOWER_ALL));
        graph_destroy(logical);
    }
}

/* Statistics of groups of images, with what else is fused. */
Test(kernels_lowered, normalisations_of_groups_agree_with_the_reference)
{
    for (uint64_t seed = 4000; seed < 4000 + rounds(10); seed++) {
        struct graph *logical = random_graph(seed, (struct graph_options){.batch = 4, .bn_group = 1 + seed % 2});
        host_backend_seed = seed;
        compare_training(&host_backend, logical, 0);
        compare_training(&host_backend, logical, LOWER_ALL & ~(uint32_t)LOWER_GROUPS_LACK);
        graph_destroy(logical);
    }
}
