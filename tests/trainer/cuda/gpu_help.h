/* A GPU that is none: the CUDA backend over the stand-in for CUDA (tests/standin). Where the build has no CUDA, tests that
 * begin here are skipped. */
#ifndef FATHOM_GPU_HELP_H
#define FATHOM_GPU_HELP_H

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "mem.h"
#include "random.h"
#include "standin_vendor.h"

#ifdef FATHOM_CUDA
#include "cuda_backend.h"
#define CUDA_BACKEND (&cuda_backend)
#define CUDA_BUILT true
#else
#define CUDA_BACKEND ((const struct backend *)NULL)
#define CUDA_BUILT false
#endif

struct gpu {
    const struct backend *backend;
    struct device *device;
    struct stream *stream, *other;
    struct error err;
};

/* Before the first call of CUDA: `options` as in standin_vendor.h. */
static inline void gpu_choose(const char *options)
{
    const char *home = getenv("FATHOM_TEST_CUDA_HOME");
    if (!CUDA_BUILT || !home) cr_skip_test("this build has no CUDA");
    setenv("CUDA_HOME", home, 1);
    setenv("FATHOM_STANDIN", options, 1);
    setenv("FATHOM_STANDIN_TESTS", "1", 1);
}

static inline void *standin_symbol(const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/lib/libcudart.so.13", getenv("CUDA_HOME"));
    void *handle = dlopen(path, RTLD_NOW), *found = handle ? dlsym(handle, name) : NULL;
    cr_assert(found, "%s", dlerror());
    return found;
}

static inline struct standin_vendor_report gpu_report(void)
{
    struct standin_vendor_report (*report)(void);
    *(void **)&report = standin_symbol("standin_report");
    return report();
}

/* Other options, with all counts from the beginning. */
static inline void gpu_restart(const char *options)
{
    void (*restart)(const char *);
    *(void **)&restart = standin_symbol("standin_restart");
    restart(options);
}

static inline struct gpu gpu_begin(const char *options, uint64_t arena_bytes)
{
    gpu_choose(options);
    struct gpu g = {.backend = CUDA_BACKEND};
    const struct device_options o = {.fill = 0xFF};
    cr_assert(g.backend->device_create(&o, arena_bytes, &g.device, &g.err), "%s", g.err.text);
    cr_assert(g.backend->stream_create(g.device, &g.stream, &g.err), "%s", g.err.text);
    cr_assert(g.backend->stream_create(g.device, &g.other, &g.err), "%s", g.err.text);
    return g;
}

static inline void gpu_give_back(struct gpu *g)
{
    g->backend->stream_destroy(g->other);
    g->backend->stream_destroy(g->stream);
    g->backend->device_destroy(g->device);
}

/* Nothing is left, and no rule was broken. */
static inline void gpu_expect_clean(void)
{
    struct standin_vendor_report r = gpu_report();
    cr_expect_eq(r.violations, 0, "%s", r.first);
    cr_expect_eq(r.device_bytes + r.pinned_bytes, 0, "%llu bytes of the device, %llu pinned",
                 (unsigned long long)r.device_bytes, (unsigned long long)r.pinned_bytes);
    cr_expect_eq(r.streams + r.events + r.graphs + r.libraries, 0, "%llu streams, %llu events, %llu graphs, %llu libraries",
                 (unsigned long long)r.streams, (unsigned long long)r.events, (unsigned long long)r.graphs,
                 (unsigned long long)r.libraries);
}

static inline void gpu_end(struct gpu *g)
{
    gpu_give_back(g);
    gpu_expect_clean();
}

#define GPU_OK(g, call) cr_assert(call, "%s", (g)->err.text)

/* Waits for all that the stream was given. */
static inline void gpu_wait(struct gpu *g, struct stream *stream)
{
    struct event *event;
    bool done;
    GPU_OK(g, g->backend->event_create(g->device, &event, &g->err));
    GPU_OK(g, g->backend->event_record(event, stream, &g->err));
    GPU_OK(g, g->backend->event_synchronize(event, UINT64_MAX, &done, &g->err));
    cr_assert(done);
    g->backend->event_destroy(event);
}

#define MIB (UINT64_C(1) << 20)

static inline uint8_t *noise(uint64_t bytes, uint64_t seed)
{
    uint8_t *made = mem_alloc(MEM_GENERAL, bytes, 1);
    struct random random = random_begin(seed, RANDOM_SYNTHETIC, 0, 0);
    for (uint64_t i = 0; i < bytes; i++) made[i] = (uint8_t)random_next(&random);
    return made;
}

static inline void expect_words(const char *text, const char *const words[], size_t count)
{
    for (size_t i = 0; i < count; i++) cr_expect(strstr(text, words[i]), "'%s' is not in: %s", words[i], text);
}

#define EXPECT_WORDS(text, ...)                                                                                        \
    expect_words(text, (const char *const[]){__VA_ARGS__},                                                             \
                 sizeof(const char *const[]){__VA_ARGS__} / sizeof(const char *))

#endif
