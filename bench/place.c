/* Placement on MiniMalloc's challenging set and on instances shaped like training steps of deep residual networks.
 *
 * usage: bench_place [DIRECTORY [SECONDS]]. DIRECTORY holds minimalloc-A.csv … F; without it only the nested ones run.
 */
#include <stdio.h>
#include <stdlib.h>

#include "mem.h"
#include "place.h"
#include "place_check.h"
#include "place_csv.h"
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

static void report(const char *name, struct place_buffer *buffers, size_t count, const struct place_options *options)
{
    double seconds[REPEATS];
    struct place_result result;
    struct error err = {0};
    for (int i = 0; i < REPEATS; i++) {
        if (!place_solve(buffers, count, options, &result, &err) ||
            !place_check(buffers, count, result.arena_bytes, &err)) {
            fprintf(stderr, "%s: %s\n", name, err.text);
            exit(1);
        }
        seconds[i] = result.seconds;
    }
    qsort(seconds, REPEATS, sizeof *seconds, compare_reals);
    printf("%-14s %7zu buffers  arena %12llu  bound %12llu  ratio %.5f  %s  median %9.4f s  nodes %llu\n", name, count,
           (unsigned long long)result.arena_bytes, (unsigned long long)result.lower_bound_bytes,
           (double)result.arena_bytes / (double)result.lower_bound_bytes, result.proved_optimal ? "optimal" : "       ",
           seconds[REPEATS / 2], (unsigned long long)result.nodes);
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

static bool bench_set(const char *folder, double seconds)
{
    static const char names[] = "ABCDEF";
    struct place_options options = {.seconds = seconds};
    for (const char *name = names; *name; name++) {
        char path[1024], label[32];
        struct place_table table;
        struct error err = {0};
        snprintf(path, sizeof path, "%s/minimalloc-%c.csv", folder, *name);
        snprintf(label, sizeof label, "minimalloc-%c", *name);
        if (!place_table_read(&table, path, &err)) {
            fprintf(stderr, "%s\n", err.text);
            return false;
        }
        report(label, table.buffers, table.count, &options);
        place_table_finish(&table);
    }
    return true;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !bench_set(argv[1], argc > 2 ? atof(argv[2]) : 10)) return 2;
    bench_steps();
    return 0;
}
