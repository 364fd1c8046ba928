#include "cupti_buffers.h"

#include <pthread.h>

#include "mem.h"
#include "thread.h"

enum state { BUFFER_FREE, BUFFER_LENT, BUFFER_FULL };

struct cupti_buffers {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    uint8_t *memory;
    size_t bytes; /* of each */
    enum state states[CUPTI_BUFFERS];
    struct full_buffer queue[CUPTI_BUFFERS]; /* full ones in their order, as a ring */
    uint32_t first, count;
    bool stopped;
};

struct cupti_buffers *cupti_buffers_create(size_t bytes)
{
    struct cupti_buffers *buffers = mem_zalloc(MEM_TRACE, 1, sizeof *buffers);
    if (!buffers) return NULL;
    buffers->bytes = bytes;
    buffers->memory = mem_map(MEM_TRACE, CUPTI_BUFFERS * buffers->bytes);
    if (!buffers->memory) {
        mem_free(buffers);
        return NULL;
    }
    pthread_mutex_init(&buffers->lock, NULL);
    thread_cond_init(&buffers->filled);
    return buffers;
}

void cupti_buffers_destroy(struct cupti_buffers *buffers)
{
    if (!buffers) return;
    bool lent = cupti_buffers_lent(buffers) > 0;
    pthread_cond_destroy(&buffers->filled);
    pthread_mutex_destroy(&buffers->lock);
    if (!lent) mem_unmap(MEM_TRACE, buffers->memory, CUPTI_BUFFERS * buffers->bytes);
    mem_free(buffers);
}

/* CUPTI_BUFFERS or more: not of this session. */
static size_t index_of(const struct cupti_buffers *buffers, const uint8_t *bytes)
{
    return ((uintptr_t)bytes - (uintptr_t)buffers->memory) / buffers->bytes;
}

uint8_t *cupti_buffers_request(struct cupti_buffers *buffers)
{
    uint8_t *found = NULL;
    pthread_mutex_lock(&buffers->lock);
    for (uint32_t i = 0; i < CUPTI_BUFFERS && !found; i++) {
        if (buffers->states[i] != BUFFER_FREE) continue;
        buffers->states[i] = BUFFER_LENT;
        found = buffers->memory + i * buffers->bytes;
    }
    pthread_mutex_unlock(&buffers->lock);
    return found;
}

void cupti_buffers_complete(struct cupti_buffers *buffers, struct full_buffer full)
{
    pthread_mutex_lock(&buffers->lock);
    size_t i = index_of(buffers, full.bytes);
    if (i < CUPTI_BUFFERS && buffers->states[i] == BUFFER_LENT) {
        buffers->states[i] = BUFFER_FULL;
        buffers->queue[(buffers->first + buffers->count++) % CUPTI_BUFFERS] = full;
        pthread_cond_signal(&buffers->filled);
    }
    pthread_mutex_unlock(&buffers->lock);
}

bool cupti_buffers_take(struct cupti_buffers *buffers, uint64_t wait_ns, struct full_buffer *full)
{
    struct timespec until = thread_deadline(wait_ns);
    pthread_mutex_lock(&buffers->lock);
    while (buffers->count == 0 && !buffers->stopped && wait_ns > 0 &&
           pthread_cond_timedwait(&buffers->filled, &buffers->lock, &until) == 0) {
    }
    bool found = buffers->count > 0;
    if (found) {
        *full = buffers->queue[buffers->first];
        buffers->first = (buffers->first + 1) % CUPTI_BUFFERS;
        buffers->count--;
    }
    pthread_mutex_unlock(&buffers->lock);
    return found;
}

void cupti_buffers_release(struct cupti_buffers *buffers, uint8_t *bytes)
{
    pthread_mutex_lock(&buffers->lock);
    buffers->states[index_of(buffers, bytes)] = BUFFER_FREE;
    pthread_mutex_unlock(&buffers->lock);
}

uint32_t cupti_buffers_lent(struct cupti_buffers *buffers)
{
    uint32_t lent = 0;
    pthread_mutex_lock(&buffers->lock);
    for (uint32_t i = 0; i < CUPTI_BUFFERS; i++) lent += buffers->states[i] == BUFFER_LENT;
    pthread_mutex_unlock(&buffers->lock);
    return lent;
}

void cupti_buffers_stop(struct cupti_buffers *buffers)
{
    pthread_mutex_lock(&buffers->lock);
    buffers->stopped = true;
    pthread_cond_broadcast(&buffers->filled);
    pthread_mutex_unlock(&buffers->lock);
}
