/* The queue between a run's threads and the trace's writer. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "mem.h"
#include "queue.h"
#include "trace_samples.h"

static struct queue queue;

static struct trace_event event_of(uint64_t number)
{
    return (struct trace_event){.type = TRACE_STEP_END, .step = number};
}

static void take(void *context, const struct trace_event *event)
{
    uint64_t *expected = context;
    cr_assert_eq(event->step, (*expected)++);
}

static void drain(uint64_t *expected)
{
    struct queue_view view;
    queue_look(&queue, &view);
    queue_drain(&queue, &view, take, expected);
}

Test(trace_queue, what_does_not_fit_is_counted_and_what_fits_stays_in_order)
{
    queue_init(&queue, 100 * sizeof(struct trace_event));
    cr_assert_eq(queue.capacity, 64);
    uint64_t taken = 0;
    for (uint64_t i = 0; i < 70; i++) {
        struct trace_event event = event_of(i);
        enum queue_result result = queue_put(&queue, &event);
        cr_assert_eq(result, i == 32 ? QUEUE_HALF_FULL : i < 64 ? QUEUE_TAKEN : QUEUE_DROPPED, "%d", (int)i);
    }
    cr_assert_eq(queue.dropped, 6);
    drain(&taken);
    cr_assert_eq(taken, 64);
    struct trace_event event = event_of(64);
    cr_assert_eq(queue_put(&queue, &event), QUEUE_TAKEN);
    drain(&taken);
    cr_assert_eq(taken, 65);
    queue_finish(&queue);
}

static void *fill(void *argument)
{
    for (uint64_t i = 0; i < 64; i++) {
        struct trace_event event = event_of(i);
        queue_put(&queue, &event);
    }
    return argument;
}

/* Also with every ring but its own full, a thread loses nothing: there are as many as devices, and more. */
Test(trace_queue, each_thread_of_many_has_room_of_its_own)
{
    queue_init(&queue, 1);
    pthread_t threads[TRACE_MOST_DEVICES];
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) cr_assert_eq(pthread_create(&threads[i], NULL, fill, NULL), 0);
    for (size_t i = 0; i < TRACE_MOST_DEVICES; i++) pthread_join(threads[i], NULL);
    cr_assert_eq(queue.dropped, 0);
    queue_finish(&queue);
}

/* The run's user hears of it, and what to do. */
Test(trace_queue, a_trace_that_lost_reports_says_what_would_help)
{
    struct error err = {0};
    struct trace_writer *writer;
    char path[SAMPLE_PATH], command[SAMPLE_PATH + 200], line[500], page[4000] = "";
    sample_path(path);
    cr_assert(trace_writer_open(path, &(struct trace_writer_options){.queue_bytes = 1}, &writer, &err), "%s", err.text);
    struct trace_sink *sink = trace_writer_sink(writer);
    sample_tables(sink, 1, 30);
    struct trace_writer_stats stats = {0};
    for (uint64_t step = 0; step < 1000000 && stats.queue_dropped == 0; step += 100) {
        sample_steps(sink, 0, 30, step, 100);
        trace_writer_stats(writer, &stats);
    }
    cr_assert_gt(stats.queue_dropped, 0);
    cr_assert_eq(stats.queue_bytes, 64 * sizeof(struct trace_event));
    trace_writer_close(writer);
    snprintf(command, sizeof command, "%s trace stats %s", getenv("FATHOM_BIN"), path);
    FILE *pipe = popen(command, "r");
    cr_assert(pipe);
    while (fgets(line, sizeof line, pipe)) strncat(page, line, sizeof page - strlen(page) - 1);
    cr_assert_eq(pclose(pipe), 0);
    cr_expect(strstr(page, " lost (a larger --trace-queue of `fathom train` holds more)"), "%s", page);
    unlink(path);
}
