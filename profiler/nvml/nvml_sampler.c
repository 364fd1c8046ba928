#define _GNU_SOURCE
#include "nvml_sampler.h"

#include <pthread.h>
#include <string.h>

#include "clock.h"
#include "mem.h"
#include "nvml_calls.h"
#include "nvml_gpm.h"
#include "thread.h"

#define MOST_GPUS  64
#define SLOW_EVERY 4 /* the bus's traffic is measured over 20 ms in the call: in one look of so many */
/* Reasons why clocks are low, without those that say that nothing is to be done (1) or that somebody asked for it (2).
 */
#define HOLDS_BACK  (~0x3ull)
#define TEMPERATURE 0 /* the one sensor that there is: of the GPU itself */

struct nvml_sampler {
    struct trace_sink *sink;
    struct nvml_calls calls;
    nvml_device gpus[MOST_GPUS]; /* NULL: not known to NVML */
    size_t count;
    struct nvml_gpm gpm[MOST_GPUS];
    struct nvml_sampler_options options;
    uint64_t looks;
    pthread_t thread;
    pthread_mutex_t lock; /* with `wake`, of `stop` alone */
    pthread_cond_t wake;
    bool stop;
};

static const struct trace_counter counters[] = {
    {COUNTER_GPU_BUSY, "GPU busy", "%"},
    {COUNTER_GPU_MEMORY_BUSY, "memory busy", "%"},
    {COUNTER_GPU_MEMORY_USED, "memory in use, by all", "bytes"},
    {COUNTER_GPU_POWER, "power", "W"},
    {COUNTER_GPU_POWER_LIMIT, "power limit", "W"},
    {COUNTER_GPU_TEMPERATURE, "temperature", "C"},
    {COUNTER_GPU_CLOCK, "SM clock", "Hz"},
    {COUNTER_GPU_MEMORY_CLOCK, "memory clock", "Hz"},
    {COUNTER_GPU_THROTTLED, "held back by", "bits"},
    {COUNTER_GPU_SENT, "sent over PCIe", "bytes/s"},
    {COUNTER_GPU_RECEIVED, "received over PCIe", "bytes/s"},
    {COUNTER_GPU_SM_ACTIVE, "SMs active", "%"},
    {COUNTER_GPU_OCCUPANCY, "SM occupancy", "%"},
    {COUNTER_GPU_TENSOR_ACTIVE, "tensor cores active", "%"},
    {COUNTER_GPU_DRAM_ACTIVE, "DRAM active", "%"},
    {COUNTER_GPU_LINKS_SENT, "sent over NVLink", "bytes/s"},
    {COUNTER_GPU_LINKS_RECEIVED, "received over NVLink", "bytes/s"},
};

/* ---- One look ---- */

static void tell(const struct nvml_sampler *s, uint32_t gpu, enum trace_gpu_counter counter, double value)
{
    if (s->sink->counter)
        s->sink->counter(s->sink->context, s->options.first_device + gpu, counter, value, clock_now_ns());
}

static void look_at_use(const struct nvml_sampler *s, uint32_t gpu)
{
    const struct nvml_calls *calls = &s->calls;
    struct nvml_utilization rates;
    struct nvml_memory_info memory;
    if (calls->utilization && calls->utilization(s->gpus[gpu], &rates) == NVML_OK) {
        tell(s, gpu, COUNTER_GPU_BUSY, rates.gpu);
        tell(s, gpu, COUNTER_GPU_MEMORY_BUSY, rates.memory);
    }
    if (calls->memory && calls->memory(s->gpus[gpu], &memory) == NVML_OK)
        tell(s, gpu, COUNTER_GPU_MEMORY_USED, (double)memory.used);
}

static void look_at_power(const struct nvml_sampler *s, uint32_t gpu)
{
    const struct nvml_calls *calls = &s->calls;
    unsigned value;
    if (calls->power && calls->power(s->gpus[gpu], &value) == NVML_OK) tell(s, gpu, COUNTER_GPU_POWER, value * 1e-3);
    if (calls->power_limit && calls->power_limit(s->gpus[gpu], &value) == NVML_OK)
        tell(s, gpu, COUNTER_GPU_POWER_LIMIT, value * 1e-3);
    if (calls->temperature && calls->temperature(s->gpus[gpu], TEMPERATURE, &value) == NVML_OK)
        tell(s, gpu, COUNTER_GPU_TEMPERATURE, value);
}

static void look_at_clocks(const struct nvml_sampler *s, uint32_t gpu)
{
    const struct nvml_calls *calls = &s->calls;
    unsigned value;
    unsigned long long reasons;
    if (calls->clock && calls->clock(s->gpus[gpu], NVML_CLOCK_SM, &value) == NVML_OK)
        tell(s, gpu, COUNTER_GPU_CLOCK, value * 1e6);
    if (calls->clock && calls->clock(s->gpus[gpu], NVML_CLOCK_MEMORY, &value) == NVML_OK)
        tell(s, gpu, COUNTER_GPU_MEMORY_CLOCK, value * 1e6);
    if (calls->throttled && calls->throttled(s->gpus[gpu], &reasons) == NVML_OK)
        tell(s, gpu, COUNTER_GPU_THROTTLED, (double)(reasons & HOLDS_BACK));
}

static void look_at_bus(const struct nvml_sampler *s, uint32_t gpu)
{
    const struct nvml_calls *calls = &s->calls;
    unsigned value;
    if (calls->pcie && calls->pcie(s->gpus[gpu], NVML_PCIE_SENT, &value) == NVML_OK)
        tell(s, gpu, COUNTER_GPU_SENT, value * 1e3);
    if (calls->pcie && calls->pcie(s->gpus[gpu], NVML_PCIE_RECEIVED, &value) == NVML_OK)
        tell(s, gpu, COUNTER_GPU_RECEIVED, value * 1e3);
}

static void look_at_work(struct nvml_sampler *s, uint32_t gpu)
{
    static const enum trace_gpu_counter told[GPM_VALUES] = {
        [GPM_SM] = COUNTER_GPU_SM_ACTIVE,          [GPM_OCCUPANCY] = COUNTER_GPU_OCCUPANCY,
        [GPM_TENSOR] = COUNTER_GPU_TENSOR_ACTIVE,  [GPM_DRAM] = COUNTER_GPU_DRAM_ACTIVE,
        [GPM_LINKS_SENT] = COUNTER_GPU_LINKS_SENT, [GPM_LINKS_RECEIVED] = COUNTER_GPU_LINKS_RECEIVED,
    };
    double values[GPM_VALUES];
    bool known[GPM_VALUES];
    if (!nvml_gpm_look(&s->gpm[gpu], &s->calls, s->gpus[gpu], values, known)) return;
    for (int i = 0; i < GPM_VALUES; i++)
        if (known[i]) tell(s, gpu, told[i], values[i]);
}

static void look(struct nvml_sampler *s)
{
    bool watched = s->options.watched && s->options.watched(s->options.watched_context);
    for (uint32_t gpu = 0; gpu < s->count; gpu++) {
        if (!s->gpus[gpu]) continue;
        look_at_use(s, gpu);
        look_at_power(s, gpu);
        look_at_clocks(s, gpu);
        if (s->looks % SLOW_EVERY == 0) look_at_bus(s, gpu);
        if (watched)
            look_at_work(s, gpu);
        else
            nvml_gpm_rest(&s->gpm[gpu], &s->calls);
    }
    s->looks++;
}

/* ---- The thread ---- */

static bool wait_for_next(struct nvml_sampler *s)
{
    struct timespec until = thread_deadline(s->options.every_ns);
    pthread_mutex_lock(&s->lock);
    while (!s->stop && pthread_cond_timedwait(&s->wake, &s->lock, &until) == 0) {
    }
    bool stop = s->stop;
    pthread_mutex_unlock(&s->lock);
    return !stop;
}

static void *sample(void *context)
{
    struct nvml_sampler *s = context;
    do look(s);
    while (wait_for_next(s));
    look(s);
    for (size_t gpu = 0; gpu < s->count; gpu++) nvml_gpm_rest(&s->gpm[gpu], &s->calls);
    return NULL;
}

/* ---- Opening and closing ---- */

static bool find_gpus(struct nvml_sampler *s, const char *const bus_ids[], size_t count)
{
    bool any = false;
    s->count = count < MOST_GPUS ? count : MOST_GPUS;
    for (size_t i = 0; i < s->count; i++) {
        if (!bus_ids[i] || !s->calls.by_bus_id || s->calls.by_bus_id(bus_ids[i], &s->gpus[i]) != NVML_OK)
            s->gpus[i] = NULL;
        any = any || s->gpus[i];
    }
    return any;
}

static void destroy(struct nvml_sampler *s)
{
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    nvml_unload(&s->calls);
    mem_free(s);
}

bool nvml_sampler_open(struct trace_sink *sink, const char *const bus_ids[], size_t count,
                       const struct nvml_sampler_options *options, struct nvml_sampler **sampler, struct error *err)
{
    struct nvml_sampler *s = mem_zalloc(MEM_TRACE, 1, sizeof *s);
    *sampler = NULL;
    if (!s) return error_memory(err, sizeof *s, "what GPUs tell of themselves");
    s->sink = sink;
    if (options) s->options = *options;
    if (s->options.every_ns == 0) s->options.every_ns = NVML_EVERY_NS;
    thread_cond_init(&s->wake);
    pthread_mutex_init(&s->lock, NULL);
    for (size_t i = 0; i < count; i++)
        if (sink->hardware && bus_ids[i])
            sink->hardware(sink->context, s->options.first_device + (uint32_t)i, bus_ids[i]);
    if (!nvml_load(&s->calls) || !find_gpus(s, bus_ids, count)) {
        destroy(s);
        return true;
    }
    if (sink->counter_table) sink->counter_table(sink->context, counters, sizeof counters / sizeof *counters);
    int failed = thread_start(&s->thread, 0, "nvml", sample, s);
    if (failed) {
        destroy(s);
        return error_set(err, ERROR_FAILED, "no thread to ask GPUs how they are: %s", strerror(failed));
    }
    *sampler = s;
    return true;
}

void nvml_sampler_close(struct nvml_sampler *s)
{
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    destroy(s);
}
