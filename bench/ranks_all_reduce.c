/* Sums over ranks against MPI's own: `mpirun -n 2 bench_ranks_all_reduce [MB] [rounds]`. The all-reduce of the virtual
 * devices, one for each rank, whose sums are in rank order, and MPI_Allreduce, whose are not, over the same buffers in
 * turn; medians of the slowest rank's times, and their ratio. As the benchmarks of OSU and IMB do, all ranks begin
 * together. ResNet-1001 has 41 MB of gradients. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include "clock.h"
#include "cpu_group.h"
#include "ranks.h"

#define MOST_ROUNDS 1024

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *seconds, int count)
{
    qsort(seconds, (size_t)count, sizeof *seconds, compare);
    return seconds[count / 2];
}

static void check(bool ok, const struct error *err)
{
    if (ok) return;
    fprintf(stderr, "bench: %s\n", err->text);
    exit(1);
}

static double slowest(uint64_t begin_ns)
{
    double own = (double)(clock_now_ns() - begin_ns) * 1e-9, most;
    MPI_Allreduce(&own, &most, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return most;
}

int main(int argc, char **argv)
{
    size_t count = (size_t)((argc > 1 ? atof(argv[1]) : 41.3) * 1e6 / sizeof(float));
    int rounds = argc > 2 ? atoi(argv[2]) : 30;
    struct error err = {0};
    struct ranks *ranks;
    struct group *group;
    struct group_id id = {{1}};
    uint32_t first, devices;
    static double own[MOST_ROUNDS], mpi[MOST_ROUNDS];
    check(ranks_open(&(struct ranks_options){0}, &ranks, &err), &err);
    struct ranks_place place = ranks_place(ranks);
    if (rounds < 1 || rounds > MOST_ROUNDS || place.size < 2) {
        fprintf(stderr, "usage: mpirun -n 2 bench_ranks_all_reduce [MB] [rounds up to %d]\n", MOST_ROUNDS);
        return 2;
    }
    check(ranks_take_devices(ranks, place.size, &first, &devices, &err), &err);
    check(cpu_group_create(&id, place.rank, place.size, ranks, &group, &err) && cpu_group_join(group, 0, &err), &err);
    float *in = malloc(count * sizeof *in), *out = malloc(count * sizeof *out);
    if (!in || !out) return 1;
    for (size_t i = 0; i < count; i++) in[i] = (float)(i % 1000) + (float)place.rank;
    for (int i = -2; i < rounds; i++) { /* two to warm up */
        MPI_Barrier(MPI_COMM_WORLD);
        uint64_t begin = clock_now_ns();
        check(group_sum_f32(group, in, out, count, &err), &err);
        double seconds = slowest(begin);
        if (i >= 0) own[i] = seconds;
        MPI_Barrier(MPI_COMM_WORLD);
        begin = clock_now_ns();
        MPI_Allreduce(in, out, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        seconds = slowest(begin);
        if (i >= 0) mpi[i] = seconds;
    }
    double ours = median(own, rounds), theirs = median(mpi, rounds);
    if (place.rank == 0)
        printf("%u ranks, %.1f MB: in rank order %.2f ms, MPI_Allreduce %.2f ms: %.0f %% of its speed\n", place.size,
               (double)(count * sizeof *in) * 1e-6, ours * 1e3, theirs * 1e3, 100 * theirs / ours);
    free(in);
    free(out);
    cpu_group_destroy(group);
    ranks_close(ranks);
    return 0;
}
