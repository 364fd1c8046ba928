/* Lowered convolutions by kernels of our own (conv_tiles.h) beside oneDNN's by pieces (conv_pieces.h):
 * `cpu_units [model] [batch] [rounds] [threads]` runs the ops of training steps of both ways in turn and prints by
 * shape each way's least time, the ratio, and what the faster way makes of the processor: its multiplications against
 * the peak of fused multiply-adds, its bytes against the bandwidth of memory, both measured in the same run and by the
 * same clock. With one thread times are those that it had a processor, for machines that others use too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conv_tiles_cut.h"
#include "cpu_peak.h"
#include "cpu_step.h"
#include "lower.h"
#include "mem.h"

#define WAYS       2u
#define MOST_LINES 128u

static const enum conv_tiles_rule rules[WAYS] = {CONV_TILES_NEVER, CONV_TILES_ALWAYS};

struct way {
    struct cpu_step step;
    double *seconds; /* of the last round's ops */
    double *least;   /* of each op */
};

static bool way_init(struct way *w, enum conv_tiles_rule rule, const char *model, uint32_t batch, uint32_t threads,
                     struct error *err)
{
    const struct graph_options options = {.batch = batch, .micro_batches = 1, .lowering = LOWER_ALL};
    conv_tiles_rule = rule;
    TRY(cpu_step_init(&w->step, model, &options, threads, err));
    w->seconds = mem_zalloc(MEM_GENERAL, w->step.graph->op_count, sizeof *w->seconds);
    w->least = mem_zalloc(MEM_GENERAL, w->step.graph->op_count, sizeof *w->least);
    return (w->seconds && w->least) || error_memory(err, w->step.graph->op_count * sizeof *w->least, "times");
}

static void way_finish(struct way *w)
{
    cpu_step_finish(&w->step);
    mem_free(w->seconds);
    mem_free(w->least);
}

static bool run_round(struct way *w, enum conv_tiles_rule rule, struct error *err)
{
    conv_tiles_rule = rule;
    TRY(cpu_step_run(&w->step, w->seconds, err));
    for (size_t i = 0; i < w->step.graph->op_count; i++)
        if (w->least[i] <= 0 || w->seconds[i] < w->least[i]) w->least[i] = w->seconds[i];
    return true;
}

/* ---- Lines: ops of one kind and shape ---- */

struct line {
    const struct op *op;
    const uint32_t *x, *y; /* dims */
    bool tiles;            /* the rule takes them */
    uint64_t count, bytes;
    double macs;
    double least[WAYS];
};

static bool is_conv(const struct op *op)
{
    return (op->kind == OP_CONV || op->kind == OP_CONV_BWD_DATA || op->kind == OP_CONV_BWD_WEIGHTS) &&
           op->attr.conv.fused;
}

static struct line line_of(const struct graph *graph, const struct op *op)
{
    struct line l = {.op = op, .x = graph->tensors[op->in[0]].dims, .y = graph->tensors[op->out[0]].dims};
    if (op->kind == OP_CONV_BWD_DATA) l.y = graph->tensors[op->in[0]].dims, l.x = graph->tensors[op->out[0]].dims;
    if (op->kind == OP_CONV_BWD_WEIGHTS) l.y = graph->tensors[op->in[1]].dims;
    uint64_t pixels = (uint64_t)l.y[0] * l.y[1] * l.y[2],
             taps = (uint64_t)op->attr.conv.kernel[0] * op->attr.conv.kernel[1];
    l.macs = (double)(pixels * taps * l.x[3] * l.y[3]);
    l.bytes = op->bytes_moved;
    return l;
}

static bool same_line(const struct line *a, const struct line *b)
{
    return a->op->kind == b->op->kind &&
           memcmp(a->op->attr.conv.kernel, b->op->attr.conv.kernel, sizeof a->op->attr.conv.kernel) == 0 &&
           a->op->attr.conv.fused == b->op->attr.conv.fused && memcmp(a->x, b->x, sizeof(uint32_t[4])) == 0 &&
           memcmp(a->y, b->y, sizeof(uint32_t[4])) == 0;
}

static size_t gather(const struct way ways[WAYS], struct line *lines)
{
    const struct graph *graph = ways[0].step.graph;
    size_t count = 0;
    for (size_t i = 0; i < graph->op_count; i++) {
        if (!is_conv(&graph->ops[i])) continue;
        struct line one = line_of(graph, &graph->ops[i]);
        size_t at = 0;
        while (at < count && !same_line(&lines[at], &one)) at++;
        if (at == MOST_LINES) continue;
        if (at == count) lines[count++] = one;
        lines[at].count++;
        for (unsigned w = 0; w < WAYS; w++) lines[at].least[w] += ways[w].least[i];
    }
    return count;
}

static void print_lines(const struct way ways[WAYS], const struct cpu_peak *peak)
{
    static struct line lines[MOST_LINES];
    size_t count = gather(ways, lines);
    double all[WAYS] = {0};
    printf("%-16s %5s %-9s %-10s %6s %4s %9s %9s %6s %8s %5s %6s %5s\n", "kind", "fused", "image", "channels", "kernel",
           "ops", "pieces us", "tiles us", "ratio", "GMAC/s", "peak", "GB/s", "peak");
    for (size_t i = 0; i < count; i++) {
        const struct line *l = &lines[i];
        char image[16], channels[16];
        double n = (double)l->count, least = l->least[l->least[1] < l->least[0]] / n;
        snprintf(image, sizeof image, "%u x %u", l->x[1], l->x[2]);
        snprintf(channels, sizeof channels, "%u > %u", l->x[3], l->y[3]);
        printf("%-16s %5u %-9s %-10s %ux%u/%u %5llu %9.1f %9.1f %6.3f %8.1f %4.0f%% %6.1f %4.0f%%\n",
               op_kind_name(l->op->kind), l->op->attr.conv.fused, image, channels, l->op->attr.conv.kernel[0],
               l->op->attr.conv.kernel[1], l->op->attr.conv.stride, (unsigned long long)l->count, 1e6 * l->least[0] / n,
               1e6 * l->least[1] / n, l->least[1] / l->least[0], 1e-9 * l->macs / least,
               100 * l->macs / least / peak->macs, 1e-9 * (double)l->bytes / least,
               100 * (double)l->bytes / least / peak->bytes);
        for (unsigned w = 0; w < WAYS; w++) all[w] += l->least[w];
    }
    printf("all: %.3f and %.3f ms, ratio %.3f\n", 1e3 * all[0], 1e3 * all[1], all[1] / all[0]);
}

static bool run_all(struct way ways[WAYS], uint32_t rounds, struct error *err)
{
    for (uint32_t r = 0; r < rounds; r++)
        for (uint32_t i = 0; i < WAYS; i++) {
            uint32_t w = r % 2 ? WAYS - 1 - i : i;
            TRY(run_round(&ways[w], rules[w], err));
        }
    return true;
}

int main(int argc, char **argv)
{
    const char *model = argc > 1 ? argv[1] : "resnet-29";
    uint32_t batch = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 64;
    uint32_t rounds = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 15;
    uint32_t threads = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 1;
    struct way ways[WAYS] = {{{0}}};
    struct error err = {0};
    bool ok = true;
    for (uint32_t i = 0; ok && i < WAYS; i++) ok = way_init(&ways[i], rules[i], model, batch, threads, &err);
    struct cpu_peak peak = {0};
    ok = ok && cpu_peak_measure(threads, CPU_PEAK_LONG, &peak, &err) && run_all(ways, rounds, &err);
    if (ok) {
        printf("%s, batch %u, %u threads, %u rounds; peaks: %.1f G multiplications/s, %.1f GB/s\n", model, batch,
               ways[0].step.threads, rounds, 1e-9 * peak.macs, 1e-9 * peak.bytes);
        print_lines(ways, &peak);
    }
    if (!ok) fprintf(stderr, "cpu_units: %s\n", err.text);
    for (uint32_t i = 0; i < WAYS; i++) way_finish(&ways[i]);
    return ok ? 0 : error_exit_code(&err);
}
