/* Placement on the problems of CSV files, each with the given limit, beside what others reach on those that are
 * published; "mixes" on random mixes of them, whose bounds can be met (place_mixes.h), counting how many are, by seed;
 * "million" on large problems that placers find hard; without arguments on instances shaped like training steps of deep
 * residual networks.
 *
 * usage: bench_placement [million | [mixes COUNT | mixes FIRST-LAST] SECONDS FILE...] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "place.h"
#include "place_check.h"
#include "place_csv.h"
#include "place_mixes.h"
#include "random.h"

#define REPEATS 5

/* One training step of `depth` layers: outputs kept until their backward op, workspaces and gradients that live for a
 * step or three, weight gradients that live to the update, and a shortcut's gradient every third layer. */
static size_t make_step(struct place_buffer *buffers, uint64_t depth, struct random *random)
{
    static const uint64_t stage_bytes[] = {4u << 20, 2u << 20, 1u << 20};
    size_t count = 0;
    uint64_t end = 2 * depth + 2;
    for (uint64_t k = 0; k < depth; k++) {
        uint64_t bytes = stage_bytes[k * 3 / depth] << (k % 3 == 2 ? 2 : 0), back = end - 1 - k;
        uint64_t workspace = 256 * (uint64_t)random_below(random, 8192), weights = bytes / 64 + 4096;
        buffers[count++] = (struct place_buffer){k, back, bytes, 256, PLACE_UNPLACED, 0};
        buffers[count++] = (struct place_buffer){k, k + 1, workspace, 256, PLACE_UNPLACED, 0};
        buffers[count++] = (struct place_buffer){back - 1, back + 1, bytes, 256, PLACE_UNPLACED, 0};
        buffers[count++] = (struct place_buffer){back, back + 1, workspace, 256, PLACE_UNPLACED, 0};
        buffers[count++] = (struct place_buffer){back, end, weights, 256, PLACE_UNPLACED, 0};
        buffers[count++] = (struct place_buffer){k, back, 512 + 256 * (k % 3), 256, PLACE_UNPLACED, 0};
        if (k % 3 == 0) buffers[count++] = (struct place_buffer){back - 3, back + 1, bytes * 4, 256, PLACE_UNPLACED, 0};
    }
    return count;
}

static int compare_reals(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

static void report_times(const char *name, struct place_buffer *buffers, size_t count,
                         const struct place_options *options, int repeats)
{
    double seconds[REPEATS];
    struct place_result result;
    struct error err = {0};
    uint64_t start = clock_process_cpu_ns();
    for (int i = 0; i < repeats; i++) {
        if (!place_solve(buffers, count, options, &result, &err) ||
            !place_check(buffers, count, result.arena_bytes, &err)) {
            fprintf(stderr, "%s: %s\n", name, err.text);
            exit(1);
        }
        seconds[i] = result.seconds;
    }
    double cpu = (double)(clock_process_cpu_ns() - start) * 1e-9 / repeats;
    qsort(seconds, (size_t)repeats, sizeof *seconds, compare_reals);
    printf("%-14s %7zu buffers  arena %12llu  bound %12llu  ratio %.5f  %s  median %9.4f s  cpu %9.4f s  nodes %llu  "
           "at most %llu MB\n",
           name, count, (unsigned long long)result.arena_bytes, (unsigned long long)result.lower_bound_bytes,
           (double)result.arena_bytes / (double)result.lower_bound_bytes, result.proved_optimal ? "optimal" : "       ",
           seconds[repeats / 2], cpu, (unsigned long long)result.nodes,
           (unsigned long long)(mem_peak_bytes(MEM_SEARCH) >> 20));
}

static void report(const char *name, struct place_buffer *buffers, size_t count, const struct place_options *options)
{
    report_times(name, buffers, count, options, REPEATS);
}

static void bench_steps(void)
{
    static const uint64_t depths[] = {1100, 1300, 1600, 2050, 4000, 15000};
    struct place_options options = {.threads = 0};
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        struct random random = random_begin(1, RANDOM_SEARCH, i, 0);
        struct place_buffer *buffers = mem_zalloc(MEM_GENERAL, depths[i] * 7, sizeof *buffers);
        if (!buffers) return;
        size_t count = make_step(buffers, depths[i], &random);
        char name[32];
        snprintf(name, sizeof name, "step-%llu", (unsigned long long)depths[i]);
        report(name, buffers, count, &options);
        mem_free(buffers);
    }
}

enum million { TINY, CHAIN, LONG, POWERS, SKEWED, LAYERED, NESTED, MILLIONS };

static struct place_buffer make_one(struct random *random, enum million family, uint32_t i, uint32_t count)
{
    uint64_t lower = random_below(random, count), length = 1 + random_below(random, 100);
    uint64_t size = 1 + random_below(random, 64), layers = count / 5, layer = i / 5, base;
    switch (family) {
    case CHAIN: lower = i, length = 8; break;
    case LONG: length = 1 + random_below(random, count / 10); break;
    case POWERS: size = UINT64_C(1) << random_below(random, 20); break;
    case SKEWED: /* lifetimes and sizes of every magnitude */
        length = (uint64_t)pow(10, 5 * random_real(random));
        size = (uint64_t)pow(10, 6 * random_real(random));
        break;
    case LAYERED: /* a step of a network: results, workspaces, what is kept for the way back, and what lives there */
        base = 256 * (uint64_t)(1 + random_below(random, 4096));
        lower = i % 5 == 3 ? 2 * layers - layer : layer;
        length = i % 5 == 2 ? 2 * (layers - layer) : i % 5 == 4 ? 1 + length * 2 : 1 + length % 4;
        size = i % 5 == 2 ? base / 64 + 256 : i % 5 == 0 || i % 5 == 3 ? 4 * base : base;
        break;
    case NESTED: lower = i, length = 2 * (uint64_t)(count - i), size = 1 + random_below(random, 1000000); break;
    default: break;
    }
    return (struct place_buffer){lower, lower + length, size, 1, PLACE_UNPLACED, 0, 0};
}

/* A million buffers at once that placers find hard, each with the time limits that are to be kept. */
static void bench_million(void)
{
    static const char *const names[MILLIONS] = {
        [TINY] = "million-tiny",     [CHAIN] = "million-chain",   [LONG] = "million-long",
        [POWERS] = "million-powers", [SKEWED] = "million-skewed", [LAYERED] = "million-layered",
        [NESTED] = "million-nested"};
    static const double limits[] = {0, 0.01, 1, 2, 5};
    uint32_t count = 1000000;
    struct place_buffer *buffers = mem_alloc(MEM_GENERAL, count, sizeof *buffers);
    for (enum million family = 0; buffers && family < MILLIONS; family++) {
        struct random random = random_begin(1, RANDOM_SEARCH, 9, family);
        for (uint32_t i = 0; i < count; i++) buffers[i] = make_one(&random, family, i, count);
        for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
            struct place_options options = {.seconds = limits[i], .brief = true};
            printf("%g s: ", limits[i]);
            report_times(names[family], buffers, count, &options, 1);
        }
    }
    mem_free(buffers);
}

/* What others reach on published instances, known by their size and bound: measured on two cores of an EPYC, but
 * SuperMalloc's, which are its own with six threads or more. */
static const struct {
    size_t buffers;
    uint64_t bound;
    const char *figure;
} peers[] = {{154, 1048576, "MiniMalloc 3.30 s, SuperMalloc 0.36 s, idealloc 1.288"},
             {170, 1048576, "MiniMalloc 2.42 s, SuperMalloc 0.24 s, idealloc 1.337"},
             {203, 1039360, "MiniMalloc 0.016 s, SuperMalloc 0.018 s, idealloc 1.364"},
             {213, 986112, "MiniMalloc 1.0529 in 1.0 s, SuperMalloc not, idealloc 1.275"},
             {215, 1048576, "MiniMalloc 2.58 s, SuperMalloc 0.43 s, idealloc 1.368"},
             {296, 1048576, "MiniMalloc 3.91 s, SuperMalloc 0.23 s, idealloc 1.339"},
             {18692, 5530099775, "1.0076 in 1.1 s; MiniMalloc not in 600 s"},
             {28526, 1498635932, "1.0139 in 3.3 s; MiniMalloc not in 600 s"}};

static void show_peers(size_t count, uint64_t bound)
{
    for (size_t i = 0; i < sizeof peers / sizeof peers[0]; i++)
        if (peers[i].buffers == count && peers[i].bound == bound) printf("%15sothers: %s\n", "", peers[i].figure);
}

static bool bench_file(const char *path, double seconds)
{
    struct place_options options = {.seconds = seconds};
    struct place_table table;
    struct error err = {0};
    const char *slash = strrchr(path, '/');
    uint64_t bound, instant;
    bool ok = place_table_read(&table, path, &err);
    if (ok) ok = place_lower_bound(table.buffers, table.count, &bound, &instant, &err);
    if (ok) {
        report(slash ? slash + 1 : path, table.buffers, table.count, &options);
        show_peers(table.count, bound);
    } else {
        fprintf(stderr, "%s\n", err.text);
    }
    place_table_finish(&table);
    return ok;
}

static const char *const mix_names[MIX_KINDS] = {
    [MIX_SEQUENCE] = "sequence", [MIX_BESIDE] = "beside", [MIX_INTERLEAVED] = "interleaved"};

/* Random mixes of the files' problems by their seeds, "COUNT" of them or "FIRST-LAST", each with its time, and how many
 * of each kind are at their bound. */
static bool bench_mixes(const char *seeds, double seconds, char **paths, uint32_t path_count, struct error *err)
{
    const char *dash = strchr(seeds, '-');
    uint32_t first = dash ? (uint32_t)atoi(seeds) : 0,
             end = dash ? (uint32_t)atoi(dash + 1) + 1 : (uint32_t)atoi(seeds);
    struct place_table tables[MIX_SOURCES] = {{0}};
    struct mix_part parts[MIX_SOURCES];
    uint32_t met[MIX_KINDS] = {0}, made[MIX_KINDS] = {0};
    if (path_count > MIX_SOURCES) path_count = MIX_SOURCES;
    for (uint32_t i = 0; i < path_count; i++) {
        TRY(place_table_read(&tables[i], paths[i], err));
        parts[i] = (struct mix_part){.buffers = tables[i].buffers, .count = tables[i].count};
        TRY(mix_measure(&parts[i], err));
    }
    for (uint32_t seed = first; seed < end; seed++) {
        struct mix mix;
        struct place_result result;
        uint64_t start = clock_process_cpu_ns();
        TRY(mix_make(&mix, parts, path_count, seed, err));
        TRY(place_solve(mix.buffers, mix.count, &(struct place_options){.seconds = seconds}, &result, err));
        TRY(place_check(mix.buffers, mix.count, result.arena_bytes, err));
        printf("%3u %-11s %5zu buffers  bound %9llu  ratio %.5f  %.3f s  cpu %.3f s\n", seed, mix_names[mix.kind],
               mix.count, (unsigned long long)mix.bound, (double)result.arena_bytes / (double)mix.bound, result.seconds,
               (double)(clock_process_cpu_ns() - start) * 1e-9);
        made[mix.kind]++;
        met[mix.kind] += result.arena_bytes == mix.bound;
        mem_free(mix.buffers);
    }
    for (int kind = 0; kind < MIX_KINDS; kind++)
        printf("%-11s %u of %u at their bound within %g s\n", mix_names[kind], met[kind], made[kind], seconds);
    for (uint32_t i = 0; i < path_count; i++) place_table_finish(&tables[i]);
    return true;
}

int main(int argc, char **argv)
{
    if (argc > 4 && strcmp(argv[1], "mixes") == 0) {
        struct error err = {0};
        if (bench_mixes(argv[2], atof(argv[3]), argv + 4, (uint32_t)argc - 4, &err)) return 0;
        fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    if (argc == 2 && strcmp(argv[1], "million") == 0) {
        bench_million();
        return 0;
    }
    double seconds = argc > 1 ? atof(argv[1]) : 0;
    if (argc > 1 && seconds <= 0) {
        fprintf(stderr, "usage: bench_placement [million | [mixes COUNT | mixes FIRST-LAST] SECONDS FILE...]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++)
        if (!bench_file(argv[i], seconds)) return 2;
    if (argc <= 2) bench_steps();
    return 0;
}
