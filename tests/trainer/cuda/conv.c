/* Convolutions of the CUDA backend, over a cuDNN that interprets their graphs (tests/standin), against the CPU's
 * readable loops: every pass, type and fusion. That real engines compute the same no GPU has confirmed. */
#include "conv_help.h"

#ifdef FATHOM_CUDA

/* By type: a result is rounded once, and reads numbers that were; f16 reads a BN's scale in f16. */
static const double tolerance[] = {[DTYPE_F32] = 2e-5, [DTYPE_F16] = 4e-3, [DTYPE_BF16] = 2e-2};

/* Largest difference over the largest value of a row of channels, where tensors have rows. */
static double difference(const struct tensor *t, const double *a, const double *b)
{
    uint64_t count = tensor_elements(t), row = t->class == CLASS_STATISTIC ? t->dims[3] : count;
    double worst = 0;
    for (uint64_t first = 0; first < count; first += row) {
        double scale = 0.02, most = 0;
        for (uint64_t i = first; i < first + row; i++) {
            if (!(fabs(a[i] - b[i]) <= most)) most = fabs(a[i] - b[i]);
            if (fabs(b[i]) > scale) scale = fabs(b[i]);
        }
        if (!(most / scale <= worst)) worst = most / scale;
    }
    return worst;
}

/* The CPU's sums are the mean and the sum of squared differences from it. */
static void sum_up(double *sums, const struct tensor *y, uint32_t channels)
{
    double rows = (double)y->dims[0] * y->dims[1] * y->dims[2];
    for (uint32_t c = 0; c < channels; c++) {
        double mean = sums[c];
        sums[c] = mean * rows;
        sums[channels + c] += rows * mean * mean;
    }
}

/* The CPU's second sums of a gradient are of dy (x - mean): without the division by the deviation. */
static void divide_by_deviation(double *sums, uint32_t channels, uint64_t seed)
{
    for (uint32_t c = 0; c < channels; c++) sums[channels + c] *= (double)conv_channel(seed, c).inverse;
}

static void compare(struct conv_side *fast, struct conv_side *slow, const struct graph *graph, uint32_t index,
                    enum op_pass pass, uint64_t workspace_bytes, uint64_t seed)
{
    const struct op *op = &graph->ops[index];
    struct error err = {0};
    cr_assert(conv_run(fast, graph, index, pass, workspace_bytes, seed, &err), "%s", err.text);
    cr_assert(conv_run(slow, graph, index, pass, 0, seed, &err), "%s", err.text);
    for (unsigned k = 0; k < op->outputs; k++) {
        const struct tensor *t = &graph->tensors[op->out[k]];
        if (k == 1 && op->kind == OP_CONV && pass != PASS_FORWARD) continue;
        double *a = conv_read(fast, t, fast->out[k]), *b = conv_read(slow, t, slow->out[k]);
        if (t->role == ROLE_SUMS) sum_up(b, &graph->tensors[op->out[0]], t->dims[3]);
        if (t->role == ROLE_GRADIENT_SUMS) divide_by_deviation(b, t->dims[3], seed);
        double d = difference(t, a, b);
        cr_expect(d < tolerance[graph->options.dtype], "%s of %s, %s, fused %u, output %u: %g", op_kind_name(op->kind),
                  graph->layers[op->layer].path, dtype_name(graph->options.dtype), (unsigned)op->attr.conv.fused, k, d);
        free(a);
        free(b);
    }
}

/* Which kinds of convolutions were met: by kind and fused bits. */
static uint32_t met[3];
static uint32_t kind_of(enum op_kind kind) { return kind == OP_CONV ? 0 : kind == OP_CONV_BWD_DATA ? 1 : 2; }

struct pair {
    struct conv_side fast, slow;
};

static bool unkept; /* neither plans nor failures: there is no folder for them */

static void begin_cache(void)
{
    static char cache[] = "/tmp/fathom-conv-XXXXXX";
    unsetenv("HOME");
    unsetenv("XDG_CACHE_HOME");
    if (unkept) return;
    snprintf(cache, sizeof cache, "/tmp/fathom-conv-XXXXXX");
    cr_assert(mkdtemp(cache));
    setenv("XDG_CACHE_HOME", cache, 1);
}

static struct pair begin(const char *options, const struct device_options *device)
{
    gpu_choose(options);
    gpu_restart(options);
    begin_cache();
    return (struct pair){conv_side_begin(&cuda_backend, device), conv_side_begin(&cpu_reference_backend, device)};
}

static void remove_cache(void)
{
    char command[256];
    if (unkept) return;
    snprintf(command, sizeof command, "rm -rf %s", getenv("XDG_CACHE_HOME"));
    cr_assert_eq(system(command), 0);
}

static void end(struct pair *pair)
{
    conv_side_end(&pair->fast);
    conv_side_end(&pair->slow);
    remove_cache();
    gpu_expect_clean();
    cr_expect_eq(gpu_report().descriptors + gpu_report().handles, 0);
}

/* Every `step`-th of the distinct (kind, fusion, layer) of a graph. */
static void compare_graph(struct pair *pair, const struct graph *graph, uint32_t step, uint64_t workspace_bytes)
{
    uint32_t seen = 0;
    for (uint32_t i = 0; i < graph->backward_end; i++) {
        const struct op *op = &graph->ops[i];
        if (!conv_is_one(op) || seen++ % step != 0) continue;
        if (op->attr.conv.fused & CONV_GRADIENT) continue;
        met[kind_of(op->kind)] |= op->attr.conv.fused;
        compare(&pair->fast, &pair->slow, graph, i, op->pass, workspace_bytes, 10 + i);
        if (op->attr.conv.fused & CONV_SUMS)
            compare(&pair->fast, &pair->slow, graph, i, PASS_EVALUATE, workspace_bytes, 10 + i);
    }
}

/* How many were taken apart. */
static uint64_t compare_model_on(const char *standin, const char *model, enum dtype dtype, uint32_t lowering,
                                 uint32_t step)
{
    struct pair pair = begin(standin, &(struct device_options){.fill = 0xFF});
    struct graph *graph = conv_graph(model, 2, 8, dtype, lowering);
    const char *why;
    compare_graph(&pair, graph, step, 2u << 20);
    cr_expect_eq(cuda_naive_convolutions(pair.fast.device, &why), 0, "%s", why);
    cr_expect_gt(gpu_report().executes, 0);
    const uint64_t apart = cuda_apart_convolutions(pair.fast.device, &why);
    graph_destroy(graph);
    end(&pair);
    return apart;
}

static void compare_model(const char *model, enum dtype dtype, uint32_t lowering, uint32_t step)
{
    cr_expect_eq(compare_model_on("gpus=1", model, dtype, lowering, step), 0);
}

#define HALF_FUSED (LOWER_SUMS | LOWER_NORMALIZE | LOWER_NORMALIZE_WEIGHTS | LOWER_GRADIENT_SUMS)

Test(conv, plain_convolutions_agree_with_the_reference)
{
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) compare_model("resnet-11", dtype, 0, 2);
}

Test(conv, fused_convolutions_agree_with_the_reference_in_f32)
{
    compare_model("resnet-11", DTYPE_F32, LOWER_SUMS | LOWER_NORMALIZE | LOWER_ADD, 1);
    cr_expect_eq(met[0], CONV_NORMALIZED | CONV_RECTIFIED | CONV_ADDS | CONV_SUMS, "%u", met[0]);
}

Test(conv, fused_convolutions_agree_with_the_reference_in_bf16)
{
    compare_model("resnet-11", DTYPE_BF16, LOWER_SUMS | LOWER_NORMALIZE | LOWER_ADD | LOWER_WEIGHTS, 1);
    cr_expect_eq(met[0], CONV_NORMALIZED | CONV_RECTIFIED | CONV_ADDS | CONV_SUMS, "%u", met[0]);
}

Test(conv, fused_convolutions_agree_with_the_reference_in_f16)
{
    compare_model("resnet-11", DTYPE_F16, HALF_FUSED | LOWER_ADD, 1);
    cr_expect_eq(met[0], CONV_NORMALIZED | CONV_RECTIFIED | CONV_ADDS | CONV_SUMS, "%u", met[0]);
    cr_expect_eq(met[1], CONV_GRADIENT_SUMS | CONV_SHUTS, "%u", met[1]);
    cr_expect_eq(met[2], CONV_NORMALIZED | CONV_RECTIFIED, "%u", met[2]);
}

/* Refused by the heuristics, when a plan is built, or when it first runs: what is fused is taken apart, in every type,
 * and nothing is left to plain loops. */
Test(conv, fusions_that_are_refused_are_taken_apart)
{
    static const char *const ways[] = {"engines=plain", "engines=fusions_unbuilt", "engines=fusions_stop"};
    const uint32_t lowering = HALF_FUSED | LOWER_ADD | LOWER_WEIGHTS | LOWER_HALF_GRADIENTS;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        cr_expect_gt(compare_model_on(ways[i], "resnet-11", DTYPE_F16, lowering, i == 0 ? 1 : 2), 5, "%s", ways[i]);
        if (i > 0) continue;
        cr_expect_eq(met[0], CONV_NORMALIZED | CONV_RECTIFIED | CONV_ADDS | CONV_SUMS, "%u", met[0]);
        cr_expect_eq(met[1], CONV_GRADIENT_SUMS | CONV_SHUTS, "%u", met[1]);
        cr_expect_eq(met[2], CONV_NORMALIZED | CONV_RECTIFIED, "%u", met[2]);
    }
    cr_expect_gt(compare_model_on(ways[0], "resnet-11", DTYPE_F32, HALF_FUSED | LOWER_ADD, 3), 3);
    cr_expect_gt(compare_model_on(ways[1], "resnet-11", DTYPE_BF16, HALF_FUSED | LOWER_ADD | LOWER_WEIGHTS, 3), 3);
}

/* cuDNN reads at multiples of 16 bytes alone: what cannot be read there is done by kernels around it. */
Test(conv, rows_that_cudnn_cannot_read_are_taken_apart)
{
    struct pair pair = begin("gpus=1", &(struct device_options){.fill = 0xFF});
    struct graph *graph = conv_graph("resnet-11", 2, 8, DTYPE_F16, HALF_FUSED);
    const char *why;
    pair.fast.norm_shift = 8;
    compare_graph(&pair, graph, 2, 2u << 20);
    cr_expect_eq(cuda_naive_convolutions(pair.fast.device, &why), 0, "%s", why);
    cr_expect_gt(cuda_apart_convolutions(pair.fast.device, &why), 3);
    graph_destroy(graph);
    end(&pair);
}

/* Units that are normalised after their convolutions, and weights that were rounded before. */
Test(conv, weights_in_16_bits_are_read_as_they_lie)
{
    compare_model("resnet-8", DTYPE_F16, HALF_FUSED | LOWER_WEIGHTS, 1);
}

/* Without workspace for a copy of 16-bit weights it lies beside the arena; with just that it does not. */
Test(conv, a_copy_of_weights_takes_its_part_of_the_workspace)
{
    struct pair pair = begin("gpus=1", &(struct device_options){.fill = 0xFF});
    struct graph *graph = conv_graph("resnet-8", 2, 8, DTYPE_F16, 0);
    const char *why;
    for (uint32_t i = 0; i < graph->forward_end; i++) {
        const struct op *op = &graph->ops[i];
        if (!conv_is_one(op)) continue;
        uint64_t copy = (2 * tensor_elements(&graph->tensors[op->in[1]]) + 255) / 256 * 256;
        uint64_t copied = cuda_copied_convolutions(pair.fast.device);
        compare(&pair.fast, &pair.slow, graph, i, op->pass, copy - 256, i);
        cr_expect_eq(cuda_copied_convolutions(pair.fast.device), copied + 1);
        compare(&pair.fast, &pair.slow, graph, i, op->pass, copy, i);
        cr_expect_eq(cuda_copied_convolutions(pair.fast.device), copied + 1);
    }
    cr_expect_eq(cuda_apart_convolutions(pair.fast.device, &why), 0, "%s", why);
    cr_expect_eq(cuda_naive_convolutions(pair.fast.device, &why), 0, "%s", why);
    graph_destroy(graph);
    end(&pair);
}

static uint64_t normalized_bytes(const struct graph *graph, uint32_t index)
{
    const struct op *op = &graph->ops[index];
    return conv_is_one(op) && op->kind == OP_CONV && op->attr.conv.fused & CONV_NORMALIZED
               ? graph->tensors[op->in[0]].bytes
               : 0;
}

/* Memory beside the arena: more where an op wants more than there is, and none where another has it already. */
Test(conv, what_is_taken_apart_shares_its_scratch)
{
    struct pair pair = begin("engines=plain", &(struct device_options){.fill = 0xFF});
    struct graph *graph = conv_graph("resnet-11", 2, 8, DTYPE_F16, HALF_FUSED);
    uint32_t small = 0, large = 0;
    for (uint32_t i = 0; i < graph->forward_end; i++) {
        const uint64_t bytes = normalized_bytes(graph, i);
        if (bytes > normalized_bytes(graph, large)) large = i;
        if (bytes > 0 && (small == 0 || bytes < normalized_bytes(graph, small))) small = i;
    }
    const uint32_t order[] = {small, large, small, large};
    uint64_t taken[5] = {gpu_report().device_bytes};
    for (size_t i = 0; i < 4; i++) {
        compare(&pair.fast, &pair.slow, graph, order[i], PASS_FORWARD, 2u << 20, i);
        taken[i + 1] = gpu_report().device_bytes;
    }
    cr_expect_geq(taken[1] - taken[0], normalized_bytes(graph, small));
    cr_expect_geq(taken[2] - taken[1], normalized_bytes(graph, large));
    cr_expect_eq(taken[4], taken[2]);
    graph_destroy(graph);
    end(&pair);
}

/* What a convolution takes beside the arena that has no room in its workspace for a copy of its weights. */
static uint64_t taken_by_copied(const char *standin, uint64_t norm_shift)
{
    struct pair pair = begin(standin, &(struct device_options){.fill = 0xFF});
    struct graph *graph = conv_graph("resnet-11", 2, 8, DTYPE_F16, HALF_FUSED);
    const char *why;
    uint32_t at = 0;
    while (normalized_bytes(graph, at) == 0) at++;
    const uint64_t before = gpu_report().device_bytes, elements = tensor_elements(&graph->tensors[graph->ops[at].in[1]]);
    pair.fast.norm_shift = norm_shift;
    compare(&pair.fast, &pair.slow, graph, at, PASS_FORWARD, 2 * elements - 256, 1);
    const uint64_t taken = gpu_report().device_bytes - before;
    cr_expect_eq(cuda_apart_convolutions(pair.fast.device, &why), 1, "%s", why);
    graph_destroy(graph);
    end(&pair);
    return taken;
}

/* Before it is taken apart it is asked for as a whole, which cuDNN cannot read. */
Test(conv, what_cudnn_cannot_read_takes_no_scratch)
{
    cr_expect_eq(taken_by_copied("gpus=1", 8), taken_by_copied("engines=plain", 0));
}

static uint64_t compare_biased(const char *standin)
{
    struct pair pair = begin(standin, &(struct device_options){.fill = 0xFF});
    const char *why;
    struct graph *graph = conv_graph("vgg-a", 1, 32, DTYPE_F32, 0);
    uint32_t done[3] = {0};
    for (uint32_t i = 0; i < graph->backward_end; i++) {
        const struct op *op = &graph->ops[i];
        if (!conv_is_one(op) || done[kind_of(op->kind)]++ > 0) continue;
        compare(&pair.fast, &pair.slow, graph, i, op->pass, 2u << 20, i);
    }
    cr_expect_eq(cuda_naive_convolutions(pair.fast.device, &why), 0, "%s", why);
    const uint64_t apart = cuda_apart_convolutions(pair.fast.device, &why);
    graph_destroy(graph);
    end(&pair);
    return apart;
}

Test(conv, a_bias_and_its_gradient)
{
    cr_expect_eq(compare_biased("gpus=1"), 0);
    cr_expect_eq(compare_biased("engines=plain"), 1);
}

/* Each of a graph's, its engine the only one, which is found again: all of the op is done anew, and what comes after
 * its convolution not twice. */
static void compare_failing(const char *model, uint32_t side, enum dtype dtype, uint32_t lowering, uint32_t step)
{
    struct pair pair = begin("engines=plain+run_fails", &(struct device_options){.fill = 0xFF});
    struct graph *graph = conv_graph(model, 1, side, dtype, lowering);
    const char *why;
    compare_graph(&pair, graph, step, 2u << 20);
    cr_expect_gt(cuda_naive_convolutions(pair.fast.device, &why), 0);
    cr_expect_gt(cuda_apart_convolutions(pair.fast.device, &why), 0);
    graph_destroy(graph);
    end(&pair);
}

Test(conv, what_comes_after_an_engine_that_fails_is_done_once)
{
    unkept = true;
    compare_failing("resnet-11", 8, DTYPE_F16, HALF_FUSED | LOWER_ADD, 1);
    compare_failing("vgg-a", 32, DTYPE_F32, 0, 1000); /* its first alone, with a bias */
}

/* Inception-v3's windows of one row or column: every third, in each of the three passes. */
Test(conv, windows_of_unequal_sides)
{
    struct pair pair = begin("gpus=1", &(struct device_options){.fill = 0xFF});
    struct graph *graph = conv_graph("inception-v3", 1, 75, DTYPE_F32, 0);
    uint32_t done[3] = {0};
    const char *why;
    for (uint32_t i = 0; i < graph->backward_end; i++) {
        const struct op *op = &graph->ops[i];
        if (!conv_is_one(op) || op->attr.conv.kernel[0] == op->attr.conv.kernel[1]) continue;
        if (done[kind_of(op->kind)]++ % 3 == 0) compare(&pair.fast, &pair.slow, graph, i, op->pass, 2u << 20, i);
    }
    cr_expect_gt(done[0], 25);
    cr_expect_eq(cuda_naive_convolutions(pair.fast.device, &why), 0, "%s", why);
    graph_destroy(graph);
    end(&pair);
}

#else
Test(conv, cuda_is_not_built) { cr_skip_test("this build has no CUDA"); }
#endif
