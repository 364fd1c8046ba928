/* What ranks tell each other after each step: `mpirun -n N bench_ranks_gather [rounds]`. How long a gather of 64 bytes
 * of each takes, and how much of a processor on one rank. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "clock.h"
#include "mem.h"
#include "ranks.h"

#define RECORD_BYTES 64u

static double processor_seconds(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static bool measure(struct ranks *ranks, void *all, int rounds, struct error *err)
{
    for (int i = 0; i < 10; i++) TRY(ranks_gather(ranks, all, RECORD_BYTES, err)); /* to warm up */
    uint64_t begin = clock_now_ns();
    double busy = processor_seconds();
    for (int i = 0; i < rounds; i++) TRY(ranks_gather(ranks, all, RECORD_BYTES, err));
    double each = (double)(clock_now_ns() - begin) * 1e-3 / rounds;
    busy = (processor_seconds() - busy) * 1e6 / rounds;
    struct ranks_place place = ranks_place(ranks);
    if (place.rank == 0) printf("%u ranks: %.1f us a gather, %.1f us of a processor\n", place.size, each, busy);
    return true;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 1000;
    struct error err = {0};
    struct ranks *ranks = NULL;
    bool ok = rounds > 0 && ranks_open(&(struct ranks_options){0}, &ranks, &err);
    void *all = ok ? mem_zalloc(MEM_GENERAL, ranks_place(ranks).size, RECORD_BYTES) : NULL;
    ok = all && measure(ranks, all, rounds, &err);
    if (!ok) fprintf(stderr, "bench: %s\n", err.text);
    mem_free(all);
    if (ok) ranks_close(ranks);
    return ok ? 0 : 1;
}
