#include "place_lanes.h"

#include "thread.h"

void lanes_run(void *(*body)(void *lane), void *lanes, size_t bytes, uint32_t count, size_t stack_bytes, bool here)
{
    pthread_t threads[MOST_LANES];
    bool started[MOST_LANES] = {false};
    for (uint32_t i = here; i < count; i++)
        started[i] = thread_start(&threads[i], stack_bytes, "place", body, (char *)lanes + i * bytes) == 0;
    for (uint32_t i = 0; i < count; i++)
        if (!started[i] && here) body((char *)lanes + i * bytes);
    for (uint32_t i = 0; i < count; i++)
        if (started[i]) pthread_join(threads[i], NULL);
}

void lanes_lower_stop(_Atomic uint64_t *stop, uint64_t steps)
{
    uint64_t now = atomic_load(stop);
    while (steps < now && !atomic_compare_exchange_weak(stop, &now, steps)) {
    }
}
