/* The profiler over the stand-in's GPU: a run that starts fills, and a sink that remembers whose kernels came. */
#ifndef FATHOM_TEST_PROFILED_GPU_H
#define FATHOM_TEST_PROFILED_GPU_H

#include "gpu_help.h"

#ifdef FATHOM_CUDA
#include <cupti.h>

#include "cupti_profiler.h"

#define MOST_IDS 64
#define OP_A     3
#define OP_B     9

/* A sink that remembers whose kernels came. */
static struct seen {
    struct trace_kernel table[MOST_IDS];
    uint64_t times[MOST_IDS], timeless, unordered;
    uint32_t stream[MOST_IDS];
    char mark[512];
    bool timed;
    uint64_t lost;
} seen;

static inline void see_table(void *c, const struct trace_kernel *kernels, size_t count)
{
    struct seen *s = c;
    for (size_t i = 0; i < count; i++) {
        cr_assert_lt(kernels[i].id, MOST_IDS);
        s->table[kernels[i].id] = kernels[i];
        s->table[kernels[i].id].name = NULL; /* not ours to keep */
    }
}

static inline void see_times(void *c, uint32_t device, const struct trace_kernel_time *times, size_t count)
{
    struct seen *s = c;
    cr_expect_eq(device, 0);
    for (size_t i = 0; i < count; i++) {
        s->times[times[i].id]++;
        s->timeless += times[i].begin_ns == 0;
        s->unordered += i > 0 && times[i].end_ns < times[i - 1].end_ns;
        cr_expect(times[i].begin_ns <= times[i].end_ns);
    }
}

static inline void see_mark(void *c, uint64_t ns, const char *text)
{
    cr_expect(ns > 0);
    snprintf(((struct seen *)c)->mark, sizeof seen.mark, "%s", text);
}

static inline bool wants(void *c, uint64_t step)
{
    (void)step;
    return ((struct seen *)c)->timed;
}

static inline void see_lost(void *c, uint32_t device, enum trace_loss what, uint64_t count, uint64_t ns)
{
    (void)device, (void)what, (void)ns;
    ((struct seen *)c)->lost += count;
}

static struct trace_sink sink = {.context = &seen,
                                 .kernel_table = see_table,
                                 .kernels = see_times,
                                 .mark = see_mark,
                                 .wants_ops = wants,
                                 .lost = see_lost};

/* Records of an op, over all of its kernels; *ids of them. */
static inline uint64_t records_of(uint32_t op, uint32_t *ids)
{
    uint64_t records = 0;
    *ids = 0;
    for (uint32_t i = 0; i < MOST_IDS; i++) {
        if (seen.times[i] == 0 || seen.table[i].op != op) continue;
        records += seen.times[i];
        ++*ids;
    }
    return records;
}

struct profiled {
    struct gpu gpu;
    struct cupti_profiler *profiler;
    struct trace_sink *sink; /* the run's */
};

static inline struct profiled profiled_begin(const char *options)
{
    struct profiled p = {0};
    struct error err = {0};
    seen = (struct seen){.timed = true};
    gpu_choose(options);
    cr_assert(cupti_profiler_open(&sink, &p.profiler, &err), "%s", err.text);
    p.sink = cupti_profiler_sink(p.profiler);
    p.gpu = gpu_begin(options, 1 << 20);
    return p;
}

static inline struct cupti_profiler_report profiled_end(struct profiled *p)
{
    struct cupti_profiler_report report;
    gpu_wait(&p->gpu, p->gpu.stream);
    cupti_profiler_close(p->profiler, &report);
    gpu_end(&p->gpu);
    return report;
}

/* An op that starts so many fills. */
static inline void launch(struct profiled *p, uint32_t op, const char *pass, struct stream *stream, unsigned fills)
{
    p->sink->launch_begin(p->sink->context, 0, op, pass);
    for (unsigned i = 0; i < fills; i++)
        GPU_OK(&p->gpu, p->gpu.backend->fill(p->gpu.device, stream, 4096 * (i + 8 * op), 512, 1, &p->gpu.err));
    p->sink->launch_end(p->sink->context, 0);
}

static inline struct recording *record(struct profiled *p)
{
    struct recording *recording;
    struct gpu *g = &p->gpu;
    GPU_OK(g, g->backend->record_begin(g->device, g->stream, &recording, &g->err));
    launch(p, OP_A, "forward", g->stream, 2);
    launch(p, OP_B, "backward", g->stream, 3);
    GPU_OK(g, g->backend->record_end(recording, &g->err));
    return recording;
}

static inline void replay(struct profiled *p, struct recording *recording, uint64_t step)
{
    struct gpu *g = &p->gpu;
    p->sink->step_submit(p->sink->context, step);
    GPU_OK(g, g->backend->replay(recording, g->stream, &g->err));
    gpu_wait(g, g->stream);
}
#endif
#endif
