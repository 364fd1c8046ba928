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

bool parallel_each(uint64_t count, parallel_work work, const void *context, struct error *err)
{
    bool ok = true;
    int threads = count < (uint64_t)omp_get_max_threads() ? (int)count : omp_get_max_threads();
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (uint64_t i = 0; i < count; i++) {
        struct error own = {0};
        if (work(context, (unsigned)omp_get_thread_num(), i, &own)) continue;
#pragma omp critical(parallel_each_failed)
        {
            if (ok && err) *err = own;
            ok = false;
        }
    }
    return ok;
}
