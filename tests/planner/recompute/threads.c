/* The program's threads, for ThreadSanitizer (which crashes inside Criterion): many rows, several times. */
#include <stdio.h>

#include "chain.h"

#define BLOCKS 80

int main(void)
{
    static struct chain_block blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = (struct chain_block){.output = 4,
                                         .gradient = 4,
                                         .run_overhead = 5,
                                         .forward_seconds = 1,
                                         .options = 2,
                                         .option = {{12, 0, 5, 2}, {6, 4, 9, 2.06}}};
    struct chain chain = {.input = 4, .blocks = blocks, .count = BLOCKS};
    double first = 0;
    for (size_t i = 0; i < 8; i++) {
        struct chain_schedule schedule;
        struct error err = {0};
        if (!chain_solve(&chain, 200, 0, &schedule, &err)) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        if (i == 0) first = schedule.seconds;
        if (schedule.seconds < first || schedule.seconds > first) {
            fprintf(stderr, "run %zu: %g seconds, expected %g\n", i, schedule.seconds, first);
            return 1;
        }
        chain_schedule_finish(&schedule);
    }
    return 0;
}
