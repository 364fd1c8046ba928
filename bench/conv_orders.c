/* What moving weights for oneDNN's brgemm engine gains: `conv_orders [model] [batch] [rounds]`. Every convolution of a
 * training step in two ways, on weights as stored and as onednn_method.c chooses, in turn; medians and least times in
 * microseconds, moving included, of processor time: other programs do not lengthen it, so OMP_NUM_THREADS=1 gives the
 * steadiest figures. Only where the ways differ; then the sums over the whole step. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "build.h"
#include "mem.h"
#include "onednn.h"

#define MOST_SHAPES 256u
#define MOST_ROUNDS 64u
enum way { STORED, CHOSEN, WAYS };

struct conv {
    struct onednn_shape shape;
    uint64_t ops;
    struct onednn_kernel *kernels[WAYS];
    double seconds[WAYS][MOST_ROUNDS];
};

struct bench {
    struct conv convs[MOST_SHAPES];
    size_t count;
    uint32_t rounds;
    uint64_t operand_bytes, workspace_bytes;
    uint8_t *x, *w, *y, *workspace;
};

static bool find_shape(const struct graph *graph, const struct op *op, struct onednn_shape *shape)
{
    const struct tensor *first = &graph->tensors[op->in[0]], *made = &graph->tensors[op->out[0]], *x = first, *y = made;
    const uint32_t *kernel = op->attr.conv.kernel, *padding = op->attr.conv.padding;
    *shape = (struct onednn_shape){
        .kernel = {kernel[0], kernel[1]}, .padding = {padding[0], padding[1]}, .stride = op->attr.conv.stride};
    switch (op->kind) {
    case OP_CONV: shape->primitive = ONEDNN_CONV; break;
    case OP_CONV_BWD_DATA:
        shape->primitive = ONEDNN_CONV_BWD_DATA;
        x = made;
        y = first;
        break;
    case OP_CONV_BWD_WEIGHTS:
        shape->primitive = ONEDNN_CONV_BWD_WEIGHTS;
        y = &graph->tensors[op->in[1]];
        break;
    default: return false;
    }
    memcpy(shape->x, x->dims, sizeof shape->x);
    memcpy(shape->y, y->dims, sizeof shape->y);
    return true;
}

static uint64_t bytes_of(const uint32_t dims[4])
{
    return (uint64_t)dims[0] * dims[1] * dims[2] * dims[3] * sizeof(float);
}

static void count_op(struct bench *b, const struct graph *graph, const struct op *op)
{
    struct onednn_shape shape;
    size_t i = 0;
    if (!find_shape(graph, op, &shape)) return;
    while (i < b->count && memcmp(&b->convs[i].shape, &shape, sizeof shape) != 0) i++;
    if (i == MOST_SHAPES) return;
    if (i == b->count) b->convs[b->count++].shape = shape;
    b->convs[i].ops++;
    if (bytes_of(shape.x) > b->operand_bytes) b->operand_bytes = bytes_of(shape.x);
    if (bytes_of(shape.y) > b->operand_bytes) b->operand_bytes = bytes_of(shape.y);
}

static bool make_kernels(struct bench *b, struct onednn *onednn, struct error *err)
{
    for (size_t i = 0; i < b->count; i++)
        for (int way = 0; way < WAYS; way++) {
            struct onednn_shape shape = b->convs[i].shape;
            shape.as_stored = way == STORED;
            struct onednn_kernel *kernel = onednn_kernel(onednn, &shape, err);
            if (!kernel) return false;
            b->convs[i].kernels[way] = kernel;
            uint64_t bytes = onednn_kernel_workspace(kernel);
            if (bytes > b->workspace_bytes) b->workspace_bytes = bytes;
        }
    return true;
}

static void fill(uint8_t *bytes, uint64_t count)
{
    float *values = (float *)(void *)bytes;
    for (uint64_t i = 0; i < count / sizeof *values; i++)
        values[i] = (float)((i * 2654435761u >> 7) % 2001) * 1e-4f - 0.1f;
}

static bool make_room(struct bench *b, struct error *err)
{
    const uint64_t weights = 64u << 20;
    b->x = mem_map(MEM_GENERAL, b->operand_bytes);
    b->y = mem_map(MEM_GENERAL, b->operand_bytes);
    b->w = mem_map(MEM_GENERAL, weights);
    b->workspace = mem_map(MEM_GENERAL, b->workspace_bytes);
    if (!b->x || !b->y || !b->w || !b->workspace) return error_memory(err, b->operand_bytes, "operands");
    fill(b->x, b->operand_bytes);
    fill(b->y, b->operand_bytes);
    fill(b->w, weights);
    return true;
}

static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static bool run_rounds(struct bench *b, struct conv *conv, struct error *err)
{
    struct onednn_call call = {.x = b->x, .w = b->w, .y = b->y, .workspace = b->workspace};
    for (uint32_t round = 0; round <= b->rounds; round++)
        for (int way = 0; way < WAYS; way++) {
            double begin = processor_seconds();
            TRY(onednn_run(conv->kernels[way], &call, err));
            if (round > 0) conv->seconds[way][round - 1] = processor_seconds() - begin;
        }
    return true;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_conv(const struct conv *c, double median[WAYS])
{
    static const char *const passes[] = {"forward", "data", "weights"};
    const struct onednn_shape *s = &c->shape;
    const char *names[WAYS] = {onednn_kernel_name(c->kernels[STORED]), onednn_kernel_name(c->kernels[CHOSEN])};
    if (strcmp(names[STORED], names[CHOSEN]) == 0) return;
    printf("%3ux%-3u %4u > %-4u %ux%u/%u %-7s %4llu  %-20s %9.1f %9.1f   %-23s %9.1f %9.1f   %5.2f\n", s->x[1], s->x[2],
           s->x[3], s->y[3], s->kernel[0], s->kernel[1], s->stride, passes[s->primitive], (unsigned long long)c->ops,
           names[STORED], 1e6 * median[STORED], 1e6 * c->seconds[STORED][0], names[CHOSEN], 1e6 * median[CHOSEN],
           1e6 * c->seconds[CHOSEN][0], median[CHOSEN] / median[STORED]);
}

static bool run_all(struct bench *b, const char *model, uint32_t batch, struct error *err)
{
    double sums[WAYS] = {0}, least[WAYS] = {0};
    printf("%s, batch %u: us, medians of %u and least\n", model, batch, b->rounds);
    for (size_t i = 0; i < b->count; i++) {
        struct conv *c = &b->convs[i];
        double median[WAYS];
        TRY(run_rounds(b, c, err));
        for (int way = 0; way < WAYS; way++) {
            qsort(c->seconds[way], b->rounds, sizeof(double), compare);
            median[way] = c->seconds[way][b->rounds / 2];
            sums[way] += median[way] * (double)c->ops;
            least[way] += c->seconds[way][0] * (double)c->ops;
        }
        print_conv(c, median);
    }
    printf("all convolutions of a step: %.1f ms as stored, %.1f as chosen: %.3f; least %.1f, %.1f: %.3f\n\n",
           1e3 * sums[STORED], 1e3 * sums[CHOSEN], sums[CHOSEN] / sums[STORED], 1e3 * least[STORED],
           1e3 * least[CHOSEN], least[CHOSEN] / least[STORED]);
    return true;
}

static bool bench_model(struct bench *b, const char *model, uint32_t batch, struct onednn *onednn, struct error *err)
{
    struct model_spec spec;
    struct model_options defaults = MODEL_OPTIONS_DEFAULT;
    struct graph_options options = {.batch = batch, .micro_batches = 1};
    TRY(model_parse(model, &defaults, &spec, err));
    struct graph *graph = graph_build(&spec, &options, err);
    if (!graph) return false;
    for (size_t i = 0; i < graph->op_count; i++) count_op(b, graph, &graph->ops[i]);
    graph_destroy(graph);
    return make_kernels(b, onednn, err) && make_room(b, err) && run_all(b, model, batch, err);
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct error err = {0};
    struct onednn *onednn = NULL;
    const char *model = argc > 1 ? argv[1] : "resnet-164";
    uint32_t batch = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 64;
    b.rounds = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 15;
    if (b.rounds == 0 || b.rounds > MOST_ROUNDS) b.rounds = MOST_ROUNDS;
    bool ok = onednn_create(&onednn, &err) && bench_model(&b, model, batch, onednn, &err);
    if (!ok) fprintf(stderr, "conv_orders: %s\n", err.text);
    onednn_destroy(onednn);
    return ok ? 0 : error_exit_code(&err);
}
