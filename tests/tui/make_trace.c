/* Writes a believable trace of a ResNet-20 training run that never was, for trying out whatever reads traces.
 *
 *   make_trace FILE [steps] [devices] [live | hostile]
 *
 * With `live`, it reports in real time, as a run would, until the steps are done. With `hostile`, its names are full of
 * what a terminal obeys. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "random.h"
#include "sink.h"
#include "writer.h"

#define MOST_OPS     512
#define MOST_DEVICES 8
#define TIMED_EVERY  2

struct fiction {
    struct trace_op ops[MOST_OPS];
    char layers[MOST_OPS][80];
    uint64_t usual_ns[MOST_OPS];
    uint32_t count;
    struct trace_sink *sink;
    struct random random;
    uint64_t steps, now_ns;
    uint32_t devices;
    bool live, hostile;
};

/* An escape sequence, the same overlong, C1 as a character and as a byte, right-to-left, and what CSV has to quote. */
#define HOSTILE "\x1b[31m\xc0\x9b\xc2\x9b\x9b\xe2\x80\xae\x7f,\"\r\n"

static const char *name_of(const struct fiction *f, const char *name)
{
    static char names[4][64];
    static unsigned next;
    if (!f->hostile) return name;
    char *out = names[next++ % 4];
    snprintf(out, sizeof names[0], "%s%s", name, HOSTILE);
    return out;
}

static void add_op(struct fiction *f, const char *layer, const char *kind, const char *pass, double flops, double bytes)
{
    uint32_t id = f->count++;
    snprintf(f->layers[id], sizeof f->layers[id], "%s%s", layer, f->hostile ? HOSTILE : "");
    f->ops[id] = (struct trace_op){.id = id,
                                   .layer = f->layers[id],
                                   .kind = f->hostile && id == 0 ? "conv" HOSTILE : kind,
                                   .pass = f->hostile && id == 0 ? "pass" HOSTILE : pass,
                                   .flops = (uint64_t)flops,
                                   .bytes_moved = (uint64_t)bytes};
    double compute = flops / 90e9, move = bytes / 12e9; /* of a laptop's cores */
    f->usual_ns[id] = (uint64_t)(1e9 * (compute > move ? compute : move)) + 3000;
}

static void add_layer(struct fiction *f, const char *unit, const char *name, const char *kind, bool backward,
                      double macs, double bytes)
{
    char layer[48], backward_kind[24];
    snprintf(layer, sizeof layer, "%s%s", unit, name);
    if (!backward) {
        add_op(f, layer, kind, "forward", 2 * macs, bytes);
    } else if (strcmp(kind, "conv") == 0) {
        add_op(f, layer, "conv_bwd_weights", "backward", 2 * macs, bytes);
        add_op(f, layer, "conv_bwd_data", "backward", 2 * macs, bytes);
    } else {
        static char kinds[8][24] = {"bn_bwd", "relu_bwd", "add_bwd"};
        snprintf(backward_kind, sizeof backward_kind, "%s_bwd", kind);
        for (int i = 0; i < 3; i++)
            if (strcmp(kinds[i], backward_kind) == 0) add_op(f, layer, kinds[i], "backward", 2 * macs, 1.5 * bytes);
    }
}

static void add_unit(struct fiction *f, int stage, int unit, bool backward)
{
    static const char *const names[] = {"conv1", "bn1", "relu1", "conv2", "bn2", "add", "relu2"};
    static const char *const kinds[] = {"conv", "bn", "relu", "conv", "bn", "add", "relu"};
    char path[48];
    snprintf(path, sizeof path, "stage%d/unit%d/", stage, unit);
    double channels = 8 << stage, pixels = 1024 >> (2 * (stage - 1)), images = 128;
    double bytes = 2 * 4 * images * pixels * channels, macs = images * pixels * channels * channels * 9;
    for (int i = 0; i < 7; i++) {
        int k = backward ? 6 - i : i;
        add_layer(f, path, names[k], kinds[k], backward, strcmp(kinds[k], "conv") == 0 ? macs : bytes / 4, bytes);
    }
}

static void build_ops(struct fiction *f)
{
    add_layer(f, "stem/", "conv", "conv", false, 56.6e6, 18e6);
    add_layer(f, "stem/", "bn", "bn", false, 2e6, 16e6);
    for (int s = 1; s <= 3; s++)
        for (int u = 1; u <= 3; u++) add_unit(f, s, u, false);
    add_op(f, "head/pool", "avgpool", "forward", 0.5e6, 2e6);
    add_op(f, "head/fc", "fc", "forward", 0.2e6, 0.1e6);
    add_op(f, "head/loss", "softmax_loss", "forward", 0.1e6, 0.05e6);
    add_op(f, "head/loss", "softmax_loss_bwd", "backward", 0.1e6, 0.05e6);
    add_op(f, "head/fc", "fc_bwd_weights", "backward", 0.2e6, 0.1e6);
    add_op(f, "head/pool", "avgpool_bwd", "backward", 0.5e6, 2e6);
    for (int s = 3; s >= 1; s--)
        for (int u = 3; u >= 1; u--) add_unit(f, s, u, true);
    add_layer(f, "stem/", "bn", "bn", true, 2e6, 16e6);
    add_layer(f, "stem/", "conv", "conv", true, 56.6e6, 18e6);
    if (f->devices > 1) add_op(f, "gradients", "all_reduce", "comm", 0.3e6, 2.2e6);
    add_op(f, "weights", "sgd_update", "update", 1.1e6, 4.3e6);
    uint64_t forward = f->count * 2 / 5;
    for (uint64_t i = 0; i < f->count; i++) {
        uint64_t depth = i < forward ? i : f->count - i; /* memory rises through forward and falls through backward */
        f->ops[i].live_bytes = (8u << 20) + depth * (3u << 19);
    }
}

static void report_start(struct fiction *f)
{
    const char *const classes[] = {name_of(f, "weight"), "gradient", "optimizer", "statistic",
                                   "activation",         "input",    "workspace"};
    static const uint64_t bytes[] = {1078888, 1078888, 1078888, 11008, 141557760, 1573376, 8388608};
    f->sink->run(f->sink->context,
                 &(struct trace_run){.model = name_of(f, "resnet-20"),
                                     .dataset = name_of(f, "cifar10"),
                                     .backend = name_of(f, "cpu"),
                                     .host = name_of(f, "example"),
                                     .command = "fathom train plan.json --data cifar-10-batches-bin --trace run.trace",
                                     .batch = 128,
                                     .iterations = f->steps,
                                     .parameters = 269722,
                                     .devices = f->devices});
    for (uint32_t d = 0; d < f->devices; d++) {
        f->sink->device(f->sink->context, &(struct trace_device){.device = d,
                                                                 .name = name_of(f, "cpu"),
                                                                 .memory_bytes = 2ull << 30,
                                                                 .planned_bytes = 172ull << 20,
                                                                 .arena_bytes = 154ull << 20,
                                                                 .images = 128 / f->devices,
                                                                 .class_names = classes,
                                                                 .class_bytes = bytes,
                                                                 .classes = 7});
        for (uint32_t i = 0; i < f->count; i++) f->ops[i].device = d;
        f->sink->op_table(f->sink->context, f->ops, f->count);
    }
}

/* In real time when live; else slow enough for the writer to keep up. */
static void wait_until(const struct fiction *f, uint64_t ns)
{
    uint64_t now = clock_now_ns();
    uint64_t wait = !f->live ? 300000 : ns > now ? ns - now : 0;
    nanosleep(&(struct timespec){(time_t)(wait / 1000000000), (long)(wait % 1000000000)}, NULL);
}

static uint64_t run_ops(struct fiction *f, uint32_t device, uint64_t step)
{
    uint64_t at = f->now_ns + random_below(&f->random, 20000);
    bool timed = step % TIMED_EVERY == 0;
    f->sink->step_begin(f->sink->context, device, step, at);
    for (uint32_t i = 0; i < f->count; i++) {
        double noise = 1 + 0.02 * random_normal(&f->random);
        if (random_below(&f->random, 2000) == 0) noise += 3; /* the scheduler took the core */
        uint64_t begin = at + 400 + random_below(&f->random, 200);
        at = begin + (uint64_t)((double)f->usual_ns[i] * (noise > 0.5 ? noise : 0.5));
        if (timed) f->sink->op_time(f->sink->context, device, i, begin, at);
    }
    f->sink->step_end(f->sink->context, device, step, at);
    return at;
}

static void report_metrics(struct fiction *f, uint64_t step, uint64_t step_ns)
{
    double progress = (double)step / (double)f->steps;
    double loss = 0.35 + 2.0 * exp(-5 * progress) * (1 + 0.06 * random_normal(&f->random));
    struct trace_sink *s = f->sink;
    s->metric(s->context, METRIC_LOSS, step, loss);
    s->metric(s->context, METRIC_LEARNING_RATE, step, progress < 0.5 ? 0.1 : progress < 0.75 ? 0.01 : 0.001);
    s->metric(s->context, METRIC_IMAGES_PER_SECOND, step, 128e9 / (double)step_ns);
    s->metric(s->context, METRIC_TRAIN_ERROR, step, 0.9 * exp(-3 * progress) + 0.02 * random_real(&f->random));
    if (step % 50 == 10) s->metric(s->context, METRIC_PROFILER_COST, step, 0.0031);
    if (step % 100 != 99) return;
    s->gap(s->context, 0, GAP_EVALUATE, f->now_ns, f->now_ns + 40000000);
    f->now_ns += 40000000;
    s->metric(s->context, METRIC_TEST_LOSS, step, loss + 0.1);
    s->metric(s->context, METRIC_TOP1_ERROR, step, 0.09 + 0.6 * exp(-4 * progress));
    s->metric(s->context, METRIC_TOP5_ERROR, step, 0.01 + 0.2 * exp(-4 * progress));
    char text[64];
    snprintf(text, sizeof text, "checkpoint step %llu", (unsigned long long)step + 1);
    s->mark(s->context, f->now_ns, text);
}

static void run_step(struct fiction *f, uint64_t step)
{
    struct trace_sink *s = f->sink;
    uint64_t begin = f->now_ns, end = begin;
    for (uint32_t d = 0; d < f->devices; d++) {
        uint64_t done = run_ops(f, d, step);
        if (done > end) end = done;
    }
    for (uint32_t d = 0; d < f->devices; d++) s->memory(s->context, d, SAMPLE_ARENA, 154ull << 20, end);
    if (step % 3 == 0)
        s->memory(s->context, 0, SAMPLE_PROCESS, (208ull << 20) + random_below(&f->random, 1 << 20), end);
    uint64_t data = 30000 + random_below(&f->random, 90000);
    s->gap(s->context, 0, GAP_DATA, end, end + data);
    f->now_ns = end + data;
    report_metrics(f, step, end - begin);
    wait_until(f, f->now_ns);
}

int main(int argc, char **argv)
{
    static struct fiction f;
    f.live = argc > 1 && strcmp(argv[argc - 1], "live") == 0;
    f.hostile = argc > 1 && strcmp(argv[argc - 1], "hostile") == 0;
    int words = argc - (f.live || f.hostile);
    f.steps = words > 2 ? strtoull(argv[2], NULL, 10) : 400;
    f.devices = words > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 1;
    if (words < 2 || words > 4 || f.steps == 0 || f.devices == 0 || f.devices > MOST_DEVICES) {
        fprintf(stderr, "usage: make_trace FILE [steps] [devices, at most %d] [live | hostile]\n", MOST_DEVICES);
        return 2;
    }
    struct error err = {0};
    struct trace_writer *writer;
    if (!trace_writer_open(argv[1], NULL, &writer, &err)) {
        fprintf(stderr, "make_trace: %s\n", err.text);
        return 2;
    }
    f.sink = trace_writer_sink(writer);
    f.random = random_begin(20, RANDOM_SYNTHETIC, 0, 0);
    build_ops(&f);
    f.now_ns = clock_now_ns();
    report_start(&f);
    for (uint64_t step = 0; step < f.steps; step++) run_step(&f, step);
    f.sink->mark(f.sink->context, f.now_ns, name_of(&f, "done"));
    trace_writer_close(writer);
    return 0;
}
