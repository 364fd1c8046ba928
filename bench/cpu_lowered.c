/* What fusing is worth on the cpu backend: `cpu_lowered [model] [batch] [rounds] [threads] [fusions ...]` runs training
 * steps of the logical graph and of lowered ones in turn, op by op, and prints by stage the median time of the logical
 * ops and the medians of the rounds' ratios to it, for machines that others use too; with one thread by the time that
 * it had a processor. A set of fusions is "all" or names with commas
 * ("bn,sums"), or with a minus before them: all but those. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_step.h"
#include "lower.h"
#include "mem.h"

#define MOST_SETS   8u
#define MOST_ROUNDS 400u
#define MOST_STAGES 8u
#define PARTS       (2 * MOST_STAGES + 1) /* each stage's forward and backward ops, and all */

struct way {
    const char *name;
    struct cpu_step step;
    double *seconds;         /* of the last round's ops */
    double (*rounds)[PARTS]; /* seconds by part */
    double *least;           /* seconds of each op in its best round */
};

static bool parse_set(const char *text, uint32_t *bits)
{
    bool without = *text == '-';
    char words[160], *rest = words;
    snprintf(words, sizeof words, "%s", text + without);
    *bits = 0;
    if (strcmp(words, "all") == 0) *bits = LOWER_ALL;
    for (char *word; *bits != LOWER_ALL && (word = strtok_r(rest, ",", &rest));) {
        unsigned bit = 0;
        while (bit < LOWERINGS && strcmp(word, graph_lowering_name(bit)) != 0) bit++;
        if (bit == LOWERINGS) return false;
        *bits |= 1u << bit;
    }
    if (without) *bits ^= LOWER_ALL;
    return true;
}

static bool way_init(struct way *w, const char *name, const char *model, uint32_t batch, uint32_t rounds,
                     uint32_t threads, struct error *err)
{
    uint32_t bits = 0;
    w->name = name;
    if (name && !parse_set(name, &bits)) return error_set(err, ERROR_INPUT, "'%s': no such fusions", name);
    const struct graph_options options = {.batch = batch, .micro_batches = 1, .lowering = bits};
    TRY(cpu_step_init(&w->step, model, &options, threads, err));
    w->seconds = mem_zalloc(MEM_GENERAL, w->step.graph->op_count, sizeof *w->seconds);
    w->rounds = mem_zalloc(MEM_GENERAL, rounds, sizeof *w->rounds);
    w->least = mem_zalloc(MEM_GENERAL, w->step.graph->op_count, sizeof *w->least);
    return (w->seconds && w->rounds && w->least) || error_memory(err, rounds * sizeof *w->rounds, "times");
}

static void way_finish(struct way *w)
{
    cpu_step_finish(&w->step);
    mem_free(w->seconds);
    mem_free(w->rounds);
    mem_free(w->least);
}

static bool run_round(struct way *w, uint32_t round, struct error *err)
{
    const struct graph *graph = w->step.graph;
    TRY(cpu_step_run(&w->step, w->seconds, err));
    for (size_t i = 0; i < graph->op_count; i++) {
        uint32_t stage = graph->layers[graph->ops[i].layer].stage;
        if (i < graph->backward_end && stage < MOST_STAGES)
            w->rounds[round][2 * stage + (i >= graph->forward_end)] += w->seconds[i];
        w->rounds[round][PARTS - 1] += w->seconds[i];
    }
    return true;
}

static void note_least(struct way *w)
{
    for (size_t i = 0; i < w->step.graph->op_count; i++)
        if (w->least[i] <= 0 || w->seconds[i] < w->least[i]) w->least[i] = w->seconds[i];
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of one way's seconds, or of their ratio to another's. */
static double median(const struct way *w, const struct way *to, uint32_t part, uint32_t rounds)
{
    double values[MOST_ROUNDS];
    for (uint32_t i = 0; i < rounds; i++) values[i] = w->rounds[i][part] / (to ? to->rounds[i][part] : 1);
    qsort(values, rounds, sizeof *values, compare);
    return values[rounds / 2];
}

static void print_part(const struct way *ways, uint32_t count, const char *name, uint32_t part, uint32_t rounds)
{
    if (ways[0].rounds[0][part] <= 0) return;
    printf("%-18s %10.2f", name, 1e3 * median(&ways[0], NULL, part, rounds));
    for (uint32_t i = 1; i < count; i++) printf("  %14.3f", median(&ways[i], &ways[0], part, rounds));
    printf("\n");
}

static void print_table(const struct way *ways, uint32_t count, uint32_t rounds)
{
    printf("%-18s %10s", "", "logical ms");
    for (uint32_t i = 1; i < count; i++) printf("  %14.14s", ways[i].name);
    printf("\n");
    for (uint32_t part = 0; part + 1 < PARTS; part++) {
        char name[32];
        snprintf(name, sizeof name, "stage %u %s", part / 2, part % 2 ? "backward" : "forward");
        print_part(ways, count, name, part, rounds);
    }
    print_part(ways, count, "all", PARTS - 1, rounds);
}

/* Sums of the ops' least seconds by stage and kind. */
static void sum_kinds(const struct way *w, double kinds[MOST_STAGES][OP_KINDS])
{
    const struct graph *graph = w->step.graph;
    for (size_t i = 0; i < graph->op_count; i++) {
        uint32_t stage = graph->layers[graph->ops[i].layer].stage;
        if (stage < MOST_STAGES) kinds[stage][graph->ops[i].kind] += w->least[i];
    }
}

static void print_kinds(const struct way *ways, uint32_t count)
{
    static double kinds[MOST_SETS][MOST_STAGES][OP_KINDS];
    double all[MOST_SETS] = {0};
    for (uint32_t i = 0; i < count; i++) sum_kinds(&ways[i], kinds[i]);
    printf("\nsums of the ops' least ms\n");
    for (uint32_t stage = 0; stage < MOST_STAGES; stage++)
        for (uint32_t kind = 0; kind < OP_KINDS; kind++) {
            double most = 0;
            for (uint32_t i = 0; i < count; i++) {
                all[i] += kinds[i][stage][kind];
                if (kinds[i][stage][kind] > most) most = kinds[i][stage][kind];
            }
            if (most < 1e-4) continue;
            printf("stage %u %-18s", stage, op_kind_name(kind));
            for (uint32_t i = 0; i < count; i++) printf("  %10.3f", 1e3 * kinds[i][stage][kind]);
            printf("\n");
        }
    printf("%-26s", "all");
    for (uint32_t i = 0; i < count; i++) printf("  %10.3f", 1e3 * all[i]);
    printf("\n");
}

/* In turn, each round in the other order; the first one warms up. */
static bool run_all(struct way *ways, uint32_t count, uint32_t rounds, struct error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        TRY(run_round(&ways[i], 0, err));
        memset(ways[i].rounds[0], 0, sizeof ways[i].rounds[0]);
    }
    for (uint32_t r = 0; r < rounds; r++)
        for (uint32_t i = 0; i < count; i++) {
            struct way *w = &ways[r % 2 ? count - 1 - i : i];
            TRY(run_round(w, r, err));
            note_least(w);
        }
    return true;
}

int main(int argc, char **argv)
{
    static const char *all[] = {"all"};
    const char *model = argc > 1 ? argv[1] : "resnet-29", **names = argc > 5 ? (const char **)argv + 5 : all;
    uint32_t batch = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 64;
    uint32_t rounds = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 15;
    uint32_t threads = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 1;
    uint32_t count = 1 + (argc > 5 ? (uint32_t)argc - 5 : 1);
    struct way ways[MOST_SETS] = {{0}};
    struct error err = {0};
    if (rounds == 0 || rounds > MOST_ROUNDS || count > MOST_SETS) return 2;
    bool ok = way_init(&ways[0], NULL, model, batch, rounds, threads, &err);
    for (uint32_t i = 1; ok && i < count; i++)
        ok = way_init(&ways[i], names[i - 1], model, batch, rounds, threads, &err);
    ok = ok && run_all(ways, count, rounds, &err);
    if (ok) printf("%s, batch %u, %u rounds: ratios to the logical step\n", model, batch, rounds);
    if (ok) print_table(ways, count, rounds);
    if (ok) print_kinds(ways, count);
    if (!ok) fprintf(stderr, "cpu_lowered: %s\n", err.text);
    for (uint32_t i = 0; i < count; i++) way_finish(&ways[i]);
    return ok ? 0 : error_exit_code(&err);
}
