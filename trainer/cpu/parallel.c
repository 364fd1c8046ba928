#include "parallel.h"

#include <omp.h>

#define SERIAL_ELEMENTS 8192u /* about what one core does while a team wakes up */

void parallel_run(uint64_t count, uint64_t elements, parallel_task task, const void *context)
{
    if (elements <= SERIAL_ELEMENTS || count == 1 || omp_get_max_threads() == 1) {
        task(context, 0, count);
        return;
    }
#pragma omp parallel
    {
        uint64_t thread = (uint64_t)omp_get_thread_num(), threads = (uint64_t)omp_get_num_threads();
        task(context, count * thread / threads, count * (thread + 1) / threads);
    }
}
