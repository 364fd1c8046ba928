/* Recomputation schedules of ResNet-1001's chain: one quantum is 4096 floats for each image, forward 1, backward 2,
 * redoing BN-ReLU 0.06 more. Prints time relative to keeping everything, and how long the exact program takes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chain_blocks.h"
#include "clock.h"
#include "mem.h"

#define UNITS_PER_STAGE 111

int main(int argc, char **argv)
{
    static struct chain_block blocks[3 * UNITS_PER_STAGE];
    struct chain chain = {.input = 4, .blocks = blocks, .count = 3 * UNITS_PER_STAGE};
    for (size_t i = 0; i < chain.count; i++) blocks[i] = resnet_block(16u >> i / UNITS_PER_STAGE);
    static const uint64_t limits[] = {150, 300, 1000, 2000, 3000, 4800, 6000, 9000};
    printf("least limit %llu quanta\n", (unsigned long long)chain_least_limit(&chain));
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        uint64_t limit = argc > 1 ? strtoull(argv[1], NULL, 10) : limits[i], peak = 0;
        struct chain_schedule schedule;
        struct error err = {0};
        double seconds = 0;
        uint64_t begin = clock_now_ns();
        bool ok = chain_solve(&chain, limit, 0, &schedule, &err);
        double took = (double)(clock_now_ns() - begin) * 1e-9;
        if (!ok || !chain_simulate(&chain, &schedule, &seconds, &peak, &err)) {
            printf("%6llu quanta: %s\n", (unsigned long long)limit, err.text);
        } else {
            printf("%6llu quanta: time %.4f, peak %llu, %s, %.2f s, tables %.0f MB\n", (unsigned long long)limit,
                   seconds / (3 * (double)chain.count), (unsigned long long)peak,
                   schedule.optimal ? "exact" : "coarser", took, (double)mem_peak_bytes(MEM_SEARCH) / 1e6);
            chain_schedule_finish(&schedule);
        }
        if (argc > 1) break;
    }
    return 0;
}
