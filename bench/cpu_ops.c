/* Times every op of a training step on the cpu backend, in the step's order and from memory (each tensor has its own
 * bytes), and sums them by kind: `cpu_ops [model] [batch] [steps] [f32|f16|bf16]`. Medians and least times of the steps
 * after the first; rates are of the least, for machines that others use too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "cpu_step.h"
#include "mem.h"

struct run {
    struct cpu_step step;
    const struct graph *graph;
    double *seconds; /* steps x ops */
    uint32_t steps;
};

static bool run_steps(struct run *r, struct error *err)
{
    r->seconds = mem_zalloc(MEM_GENERAL, r->steps * r->graph->op_count, sizeof *r->seconds);
    if (!r->seconds) return error_memory(err, r->steps * r->graph->op_count * sizeof *r->seconds, "times");
    for (uint32_t s = 0; s < r->steps; s++) TRY(cpu_step_run(&r->step, r->seconds + s * r->graph->op_count, err));
    return true;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct time {
    double median, least;
};

static struct time time_of(const struct run *r, size_t op)
{
    double values[64];
    uint32_t count = 0;
    for (uint32_t s = r->steps > 1; s < r->steps && count < 64; s++)
        values[count++] = r->seconds[s * r->graph->op_count + op];
    qsort(values, count, sizeof *values, compare);
    return (struct time){values[count / 2], values[0]};
}

struct line { /* ops of one kind, implementation and result shape */
    const char *kind, *implementation;
    const struct tensor *out;
    uint64_t count, flops, bytes;
    struct time time;
};

static bool same_line(const struct line *line, const char *kind, const char *implementation, const struct tensor *out)
{
    return line->kind == kind && strcmp(line->implementation, implementation) == 0 &&
           (!out || memcmp(line->out->dims, out->dims, sizeof out->dims) == 0);
}

static void add_line(struct line *lines, size_t *count, const struct run *r, size_t op, bool by_shape)
{
    const struct op *o = &r->graph->ops[op];
    const struct tensor *out = &r->graph->tensors[o->out[0]];
    const char *kind = op_kind_name(o->kind), *name = cpu_implementation(r->step.ops[op]);
    size_t i = 0;
    while (i < *count && !same_line(&lines[i], kind, name, by_shape ? out : NULL)) i++;
    if (i == *count) lines[(*count)++] = (struct line){.kind = kind, .implementation = name, .out = out};
    lines[i].count++;
    lines[i].flops += o->flops;
    lines[i].bytes += o->bytes_moved;
    struct time time = time_of(r, op);
    lines[i].time.median += time.median;
    lines[i].time.least += time.least;
}

static void print_line(const struct line *l, bool by_shape)
{
    char dims[64] = "";
    const uint32_t *d = l->out->dims;
    if (by_shape) snprintf(dims, sizeof dims, "%ux%ux%ux%u", d[0], d[1], d[2], d[3]);
    printf("%-18s %-28s %-17s %5llu %9.3f %9.3f %9.1f %8.1f %7.1f\n", l->kind, l->implementation, dims,
           (unsigned long long)l->count, 1e3 * l->time.median, 1e3 * l->time.least,
           1e6 * l->time.least / (double)l->count, 1e-9 * (double)l->flops / l->time.least,
           1e-9 * (double)l->bytes / l->time.least);
}

static void print_lines(const struct run *r, struct line *lines, bool by_shape)
{
    size_t count = 0;
    struct time total = {0, 0};
    for (size_t i = 0; i < r->graph->op_count; i++) add_line(lines, &count, r, i, by_shape);
    printf("%-18s %-28s %-17s %5s %9s %9s %9s %8s %7s\n", "kind", "implementation", by_shape ? "result" : "", "ops",
           "median ms", "least ms", "us/op", "GFLOP/s", "GB/s");
    for (size_t i = 0; i < count; i++) {
        print_line(&lines[i], by_shape);
        total.median += lines[i].time.median;
        total.least += lines[i].time.least;
    }
    printf("total %.3f ms, least %.3f ms: %.0f images/s, most %.0f\n\n", 1e3 * total.median, 1e3 * total.least,
           r->graph->options.batch / total.median, r->graph->options.batch / total.least);
}

static enum dtype dtype_of(const char *name)
{
    static const enum dtype dtypes[] = {DTYPE_F16, DTYPE_BF16};
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(name, dtype_name(dtypes[i])) == 0) return dtypes[i];
    return DTYPE_F32;
}

static bool run_all(struct run *r, const char *model, uint32_t batch, enum dtype dtype, struct error *err)
{
    uint64_t before = mem_current_bytes(MEM_KERNEL), begin = clock_now_ns();
    const struct graph_options options = {.batch = batch, .micro_batches = 1, .dtype = dtype};
    TRY(cpu_step_init(&r->step, model, &options, 0, err));
    r->graph = r->step.graph;
    printf("%s, batch %u: %zu ops, arena %.1f MB, workspace %llu bytes; prepared in %.3f s, %.0f bytes an op\n", model,
           batch, r->graph->op_count, 1e-6 * (double)r->step.arena_bytes, (unsigned long long)r->step.workspace_bytes,
           1e-9 * (double)(clock_now_ns() - begin),
           (double)(mem_current_bytes(MEM_KERNEL) - before) / (double)r->graph->op_count);
    TRY(run_steps(r, err));
    struct line *lines = mem_zalloc(MEM_GENERAL, r->graph->op_count, sizeof *lines);
    if (!lines) return error_memory(err, r->graph->op_count * sizeof *lines, "a table");
    print_lines(r, lines, true);
    memset(lines, 0, r->graph->op_count * sizeof *lines);
    print_lines(r, lines, false);
    mem_free(lines);
    return true;
}

int main(int argc, char **argv)
{
    struct run r = {.steps = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 5};
    struct error err = {0};
    bool ok = run_all(&r, argc > 1 ? argv[1] : "resnet-20", argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 128,
                      dtype_of(argc > 4 ? argv[4] : ""), &err);
    if (!ok) fprintf(stderr, "cpu_ops: %s\n", err.text);
    cpu_step_finish(&r.step);
    mem_free(r.seconds);
    return ok ? 0 : error_exit_code(&err);
}
