#define _GNU_SOURCE
/* A training run's speed, and what the executor adds to its ops: bench_train MODEL BATCH STEPS DATA
 *
 * Prints the median step over the steps after the first two: all of it, the sum of its ops' times, and that sum by kind
 * of op. DATA is a folder that train takes; with "-" a procedural set is made and removed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_backend.h"
#include "make.h"
#include "mem.h"
#include "train.h"

#define MOST_STEPS 1000
#define WARM_STEPS 2

struct bench {
    const char **kinds; /* of each op; static strings of the graph */
    size_t op_count;
    uint64_t begin_ns;
    double step[MOST_STEPS], ops[MOST_STEPS];
    double by_kind[OP_KINDS][MOST_STEPS];
    size_t steps;
};

static void take_table(void *context, const struct trace_op *ops, size_t count)
{
    struct bench *bench = context;
    bench->kinds = mem_alloc(MEM_GENERAL, count, sizeof *bench->kinds);
    if (!bench->kinds) abort();
    for (size_t i = 0; i < count; i++) bench->kinds[i] = ops[i].kind;
    bench->op_count = count;
}

static void take_begin(void *context, uint32_t device, uint64_t step, uint64_t ns)
{
    (void)device;
    (void)step;
    ((struct bench *)context)->begin_ns = ns;
}

static void take_end(void *context, uint32_t device, uint64_t step, uint64_t ns)
{
    (void)device;
    (void)step;
    struct bench *bench = context;
    bench->step[bench->steps] = (double)(ns - bench->begin_ns) * 1e-9;
    if (bench->steps + 1 < MOST_STEPS) bench->steps++;
}

static enum op_kind kind_of(const char *name)
{
    int kind = 0;
    while (kind < OP_KINDS - 1 && strcmp(op_kind_name((enum op_kind)kind), name) != 0) kind++;
    return (enum op_kind)kind;
}

static void take_op_time(void *context, uint32_t device, uint32_t id, uint64_t begin_ns, uint64_t end_ns)
{
    (void)device;
    struct bench *bench = context;
    double seconds = (double)(end_ns - begin_ns) * 1e-9;
    bench->ops[bench->steps] += seconds;
    bench->by_kind[kind_of(bench->kinds[id])][bench->steps] += seconds;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const struct bench *bench, const double *values)
{
    double sorted[MOST_STEPS];
    size_t count = bench->steps > WARM_STEPS ? bench->steps - WARM_STEPS : 0;
    if (count == 0) return 0;
    memcpy(sorted, values + WARM_STEPS, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare);
    return sorted[count / 2];
}

static void report(const struct bench *bench, const struct plan *plan, const struct train_result *result)
{
    double step = median(bench, bench->step), ops = median(bench, bench->ops);
    printf("%s batch %u: step %.3f s, %.1f images/s, ops %.3f s, step / ops %.3f\n", plan->spec.name, plan->batch, step,
           plan->batch / step, ops, step / ops);
    for (int kind = 0; kind < OP_KINDS; kind++) {
        double seconds = median(bench, bench->by_kind[kind]);
        if (seconds > 0)
            printf("  %-20s %9.3f ms %5.1f %%\n", op_kind_name((enum op_kind)kind), 1e3 * seconds, 100 * seconds / ops);
    }
    printf("  planned %.1f MiB, peak ", (double)result->planned_bytes / 0x1p20);
    if (result->peak_bytes == 0)
        puts("unknown");
    else
        printf("%.1f MiB\n", (double)result->peak_bytes / 0x1p20);
}

static bool ask_workspace(void *context, const struct graph *graph, const struct op *op, enum op_pass pass,
                          uint64_t *bytes, struct error *err)
{
    (void)context;
    return cpu_backend.op_workspace(graph, op, pass, bytes, err);
}

static struct plan *make_plan(const char *model, uint32_t batch, struct error *err)
{
    struct machine machine = {0};
    struct model_options options = MODEL_OPTIONS_DEFAULT;
    struct plan_request request = {.batch = batch, .machine = &machine, .workspace_bytes = ask_workspace};
    struct plan *plan = NULL;
    if (model_parse(model, &options, &request.spec, err) && machine_parse("cpu", &machine, err))
        plan = plan_make(&request, err);
    machine_finish(&machine);
    return plan;
}

static bool run(const char *model, uint32_t batch, uint64_t steps, const char *data, struct error *err)
{
    static struct bench bench;
    struct trace_sink sink = {.context = &bench,
                              .op_table = take_table,
                              .step_begin = take_begin,
                              .step_end = take_end,
                              .op_time = take_op_time};
    struct plan *plan = make_plan(model, batch, err);
    if (!plan) return false;
    struct train_options options = {.data_path = data,
                                    .iterations = steps,
                                    .schedule = schedule_for(recipe_for(&plan->spec), 0, batch),
                                    .momentum = 0.9,
                                    .weight_decay = 1e-4,
                                    .augment = true,
                                    .skip_evaluation = true,
                                    .time_ops = true};
    struct train_result result;
    bool ok = train_run(plan, &cpu_backend, &options, &sink, NULL, NULL, &result, err);
    if (ok) report(&bench, plan, &result);
    mem_free(bench.kinds);
    plan_destroy(plan);
    return ok;
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/fathom-bench-XXXXXX", command[64];
    struct error err = {0};
    uint64_t steps = argc > 3 ? strtoull(argv[3], NULL, 10) : 20;
    const char *data = argc > 4 ? argv[4] : "-";
    bool made = strcmp(data, "-") == 0;
    if (steps >= MOST_STEPS) steps = MOST_STEPS - 1;
    bool ok = !made || (mkdtemp(folder) && data_synthesize(folder, 2000, 100, 1, NULL, NULL, &err));
    ok = ok && run(argc > 1 ? argv[1] : "resnet-20", argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 128, steps,
                   made ? folder : data, &err);
    if (!ok) fprintf(stderr, "bench_train: %s\n", err.text);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (made && system(command) != 0) return 1;
    return ok ? 0 : 1;
}
