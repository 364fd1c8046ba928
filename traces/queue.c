#include "queue.h"

#include "clock.h"
#include "mem.h"

#define LEAST_EVENTS 64

void queue_init(struct queue *queue, uint64_t bytes)
{
    *queue = (struct queue){.capacity = LEAST_EVENTS};
    if (bytes == 0) bytes = QUEUE_BYTES;
    while (queue->capacity * 2 * sizeof(struct trace_event) <= bytes) queue->capacity *= 2;
    for (size_t i = 0; i < QUEUE_RINGS; i++) atomic_flag_clear(&queue->rings[i].taken);
}

/* Marks that were never taken out own their text, batches their kernels, norms themselves. */
static void free_owned(struct queue_ring *ring, uint64_t capacity)
{
    uint64_t head = atomic_load(&ring->head);
    for (uint64_t at = atomic_load(&ring->tail); at != head; at++) {
        const struct trace_event *event = &ring->events[at % capacity];
        if (event->type == TRACE_MARK) mem_free((void *)(uintptr_t)event->text);
        if (event->type == TRACE_BATCH) mem_free(event->kernels);
        if (event->type == TRACE_UNIT_NORMS) mem_free(event->norms);
    }
}

void queue_finish(struct queue *queue)
{
    for (size_t i = 0; i < QUEUE_RINGS; i++) {
        free_owned(&queue->rings[i], queue->capacity);
        mem_free(queue->rings[i].events);
    }
}

/* Threads are numbered as they come; the first QUEUE_RINGS of them never meet. */
static struct queue_ring *take_ring(struct queue *queue)
{
    static _Atomic unsigned threads;
    static _Thread_local unsigned number;
    if (number == 0) number = atomic_fetch_add(&threads, 1) + 1;
    for (unsigned i = 0; i < QUEUE_RINGS; i++) {
        struct queue_ring *ring = &queue->rings[(number - 1 + i) % QUEUE_RINGS];
        if (!atomic_flag_test_and_set_explicit(&ring->taken, memory_order_acquire)) return ring;
    }
    return NULL;
}

#define COST_SAMPLE  64
#define COST_MOST_NS 10000 /* more is the scheduler's doing */

static enum queue_result put_in_ring(struct queue *queue, struct queue_ring *ring, const struct trace_event *event)
{
    bool sampled = ring->calls++ % COST_SAMPLE == 0;
    uint64_t start = sampled ? clock_now_ns() : 0;
    if (!ring->events) ring->events = mem_alloc(MEM_TRACE, queue->capacity, sizeof *ring->events);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint64_t used = head - atomic_load_explicit(&ring->tail, memory_order_acquire);
    if (!ring->events || used >= queue->capacity) {
        atomic_fetch_add(&queue->dropped, 1);
        return QUEUE_DROPPED;
    }
    ring->events[head % queue->capacity] = *event;
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    if (sampled) {
        uint64_t cost = clock_now_ns() - start;
        atomic_fetch_add(&queue->cost_ns, (cost > COST_MOST_NS ? COST_MOST_NS : cost) * COST_SAMPLE);
    }
    return used == queue->capacity / 2 ? QUEUE_HALF_FULL : QUEUE_TAKEN;
}

enum queue_result queue_put(struct queue *queue, const struct trace_event *event)
{
    struct queue_ring *ring = take_ring(queue);
    if (!ring) {
        atomic_fetch_add(&queue->dropped, 1);
        return QUEUE_DROPPED;
    }
    enum queue_result result = put_in_ring(queue, ring, event);
    atomic_flag_clear_explicit(&ring->taken, memory_order_release);
    return result;
}

void queue_look(struct queue *queue, struct queue_view *view)
{
    for (size_t i = 0; i < QUEUE_RINGS; i++)
        view->head[i] = atomic_load_explicit(&queue->rings[i].head, memory_order_acquire);
}

void queue_drain(struct queue *queue, const struct queue_view *view,
                 void (*take)(void *context, const struct trace_event *event), void *context)
{
    for (size_t i = 0; i < QUEUE_RINGS; i++) {
        struct queue_ring *ring = &queue->rings[i];
        uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
        while (tail != view->head[i]) {
            take(context, &ring->events[tail % queue->capacity]);
            if (++tail % 1024 == 0) atomic_store_explicit(&ring->tail, tail, memory_order_release);
        }
        atomic_store_explicit(&ring->tail, tail, memory_order_release);
    }
}
