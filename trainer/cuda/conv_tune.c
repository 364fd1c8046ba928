/* How long engines take, on the arena's own memory before anything lies there. An engine runs once unheard, then a few
 * times with the GPU's L2 cache filled with something else: its operands come from memory, as most do in a step. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conv.h"
#include "cuda_slots.h"
#include "mem.h"
#include "random.h"

#define RUNS          5 /* the median of them */
#define HOPELESS      2 /* an engine whose first time is so many times the best one's is not timed again */
#define FLUSHES       4 /* caches full: while they are written the host has time to queue what is timed */
#define PATTERN_BYTES (CUDA_SCRATCH_BYTES / 2)

/* ---- Numbers to compute with ---- */

/* Numbers of the graph's type from -1 to 1 in the upper half of the scratch: power, and with it the clock, depends on
 * them. As another type they are finite too. */
static bool make_pattern(const struct conv_timer *t, enum dtype dtype, struct error *err)
{
    const struct device *device = t->all->device;
    const size_t count = PATTERN_BYTES / sizeof(uint32_t);
    struct random random = random_begin(1, RANDOM_SYNTHETIC, 0, 0);
    uint32_t *words = mem_alloc(MEM_KERNEL, count, sizeof *words);
    if (!words) return error_memory(err, PATTERN_BYTES, "numbers for timing");
    for (size_t i = 0; i < count; i++) {
        /* A sign, an exponent of one half or a quarter, and a fraction, twice in 16 bits or once in 32. */
        uint32_t bits = random_next(&random);
        if (dtype == DTYPE_F16)
            words[i] = (bits & 0x87FF87FFu) | 0x30003000u;
        else if (dtype == DTYPE_BF16)
            words[i] = (bits & 0x80FF80FFu) | 0x3E003E00u;
        else
            words[i] = (bits & 0x80FFFFFFu) | 0x3E000000u;
    }
    /* In the order of what reads it: a copy in the legacy stream may be on its way when its call has returned. */
    bool ok = cuda_check(device->vendor,
                         device->vendor->cuda.MemcpyAsync(device->scratch + PATTERN_BYTES, words, PATTERN_BYTES,
                                                          cudaMemcpyHostToDevice, device->own),
                         err, "numbers for timing");
    mem_free(words);
    return ok;
}

static bool fill(const struct conv_timer *t, uint8_t *at, uint64_t bytes, struct error *err)
{
    const struct device *device = t->all->device;
    for (uint64_t done = 0, piece; done < bytes; done += piece) {
        piece = bytes - done < PATTERN_BYTES ? bytes - done : PATTERN_BYTES;
        TRY(cuda_check(device->vendor,
                       device->vendor->cuda.MemcpyAsync(at + done, device->scratch + PATTERN_BYTES, piece,
                                                        cudaMemcpyDeviceToDevice, device->own),
                       err, "numbers for timing"));
    }
    return true;
}

static bool fill_operands(const struct conv_timer *t, const struct op_call *call, struct error *err)
{
    const struct device *device = t->all->device;
    for (unsigned i = 0; i < call->op->inputs; i++)
        if (call->in_tensor[i]) TRY(fill(t, device_at(device, call->in[i]), call->in_tensor[i]->bytes, err));
    return fill(t, device_at(device, call->workspace), call->workspace_bytes, err);
}

/* ---- The cache ---- */

struct gap {
    uint64_t offset, bytes;
};

static int by_offset(const void *left, const void *right)
{
    const struct gap *a = left, *b = right;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* The largest part of the arena that the op has nothing to do with, before what lies apart. */
static struct gap find_gap(const struct device *device, const struct op_call *call)
{
    struct gap used[OP_MOST_INPUTS + OP_MOST_OUTPUTS + 2], best = {0, 0};
    size_t count = 0;
    for (unsigned i = 0; i < call->op->inputs; i++)
        if (call->in_tensor[i]) used[count++] = (struct gap){call->in[i], call->in_tensor[i]->bytes};
    for (unsigned i = 0; i < call->op->outputs; i++)
        if (call->out_tensor[i]) used[count++] = (struct gap){call->out[i], call->out_tensor[i]->bytes};
    used[count++] = (struct gap){call->workspace, call->workspace_bytes};
    used[count++] = (struct gap){device->arena_bytes - device->options.apart_bytes, device->options.apart_bytes};
    qsort(used, count, sizeof used[0], by_offset);
    for (uint64_t i = 0, end = 0; i < count; i++) {
        if (used[i].offset > end && used[i].offset - end > best.bytes) best = (struct gap){end, used[i].offset - end};
        if (used[i].offset + used[i].bytes > end) end = used[i].offset + used[i].bytes;
    }
    return best;
}

static bool flush_cache(const struct conv_timer *t, struct gap gap, struct error *err)
{
    const struct device *device = t->all->device;
    const uint64_t cache = (uint64_t)device->properties.l2CacheSize;
    uint64_t left = gap.bytes < cache ? gap.bytes : FLUSHES * cache;
    for (uint64_t piece; left > 0; left -= piece) {
        piece = left < gap.bytes ? left : gap.bytes;
        TRY(cuda_check(device->vendor,
                       device->vendor->cuda.MemsetAsync(device->arena + gap.offset, 0, piece, device->own), err,
                       "a fill of the cache"));
    }
    return true;
}

/* ---- A run ---- */

struct trial {
    struct conv_timer *timer;
    const struct conv_job *job;
    struct gap gap;
    cudnnBackendDescriptor_t arguments;
};

static bool record(const struct conv_timer *t, cudaEvent_t event, struct error *err)
{
    const struct vendor *vendor = t->all->device->vendor;
    return cuda_check(vendor, vendor->cuda.EventRecord(event, t->all->device->own), err, "an event");
}

static bool wait(const struct conv_timer *t, struct error *err)
{
    struct device *device = t->all->device;
    uint64_t limit = device->options.wait_limit_ns ? device->options.wait_limit_ns : UINT64_MAX;
    bool done = false;
    TRY(cuda_wait(device, t->end, limit, &done, err));
    return done || error_set(err, ERROR_FAILED, "it has not finished within %g s", (double)limit * 1e-9);
}

/* *ok: it ran. False: the device is lost. */
static bool run(const struct trial *trial, struct conv_plan *plan, bool flush, double *ms, bool *ok, struct error *err)
{
    const struct conv_timer *t = trial->timer;
    struct device *device = t->all->device;
    cudnnStatus_t status;
    float time = 0;
    if (flush) TRY(flush_cache(t, trial->gap, err));
    TRY(record(t, t->begin, err));
    TRY(conv_execute(t->all, plan, trial->arguments, device->own, &status, err));
    TRY(record(t, t->end, err) && wait(t, err));
    TRY(cuda_check(device->vendor, device->vendor->cuda.EventElapsedTime(&time, t->begin, t->end), err, "a time"));
    *ok = status == CUDNN_STATUS_SUCCESS;
    *ms = (double)time;
    return true;
}

static void note_failed(struct conv_timer *t, const struct conv_plan *plan)
{
    char words[ENGINE_QUESTION_TEXT];
    if (t->failed++ == 0)
        snprintf(t->first_failed, sizeof t->first_failed, "engine %" PRId64 " for %s", plan->engine.id,
                 engine_question_words(&plan->question, words));
    conv_cache_avoid(t->all, plan);
}

/* What a device was lost over is not taken again. */
static bool lost_over(const struct conv_timer *t, const struct conv_plan *plan, struct error *err)
{
    char words[ENGINE_QUESTION_TEXT];
    conv_cache_avoid(t->all, plan);
    return error_prefix(err, "engine %" PRId64 " of cuDNN for %s, which was tried", plan->engine.id,
                        engine_question_words(&plan->question, words));
}

static int by_size(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* *ms: the median; infinity where it did not run. */
static bool time_plan(const struct trial *trial, struct conv_plan *plan, double best_ms, double *ms, struct error *err)
{
    double times[RUNS];
    size_t count = 0;
    bool ok;
    *ms = INFINITY;
    TRY(run(trial, plan, false, &times[0], &ok, err));
    for (; ok && count < RUNS; count++) {
        TRY(run(trial, plan, true, &times[count], &ok, err));
        if (count == 0 && ok && times[0] > HOPELESS * best_ms) {
            *ms = times[0];
            return true;
        }
    }
    if (!ok) {
        note_failed(trial->timer, plan);
        return true;
    }
    qsort(times, RUNS, sizeof times[0], by_size);
    *ms = times[RUNS / 2];
    return true;
}

/* ---- A convolution's engines ---- */

static struct prepared prepared_of(struct device *device, const struct op_call *call)
{
    return (struct prepared){.device = device, .call = *call};
}

/* *aligned: false where cuDNN could not read its operands, or there is no memory for them. */
static bool begin_trial(struct trial *trial, struct conv_timer *timer, const struct conv_job *job, bool *aligned,
                        struct error *err)
{
    struct device *device = timer->all->device;
    const struct prepared p = prepared_of(device, job->call);
    struct conv_way way = {.question = job->plan->question, .plan = job->plan};
    struct error too_little = {0};
    *trial = (struct trial){.timer = timer, .job = job, .gap = find_gap(device, job->call)};
    *aligned = conv_apart_place(timer->all, &p, false, &way, &too_little);
    if (!*aligned) return true;
    if (!timer->ready) TRY(make_pattern(timer, (enum dtype)job->plan->question.dtype, err));
    timer->ready = true;
    if (conv_arguments(&p, &way, &trial->arguments, aligned, err) &&
        (!*aligned || fill_operands(timer, job->call, err)))
        return true;
    if (trial->arguments) timer->all->cudnn->destroy(trial->arguments);
    return false;
}

static void end_trial(const struct trial *trial)
{
    if (trial->arguments) trial->timer->all->cudnn->destroy(trial->arguments);
}

/* Of what was built; a candidate whose text cannot be read, or that fails, is passed over. */
static bool try_all(const struct trial *trial, struct conv_plan *plan, struct error *err)
{
    struct cuda_convolutions *all = trial->timer->all;
    double best_ms = INFINITY, first_ms = INFINITY;
    for (size_t i = 0; i < trial->job->count; i++) {
        const struct conv_candidate *candidate = &trial->job->built[i];
        if (device_is_stopped(all->device)) return error_set(err, ERROR_STOPPED, "stopped while engines were timed");
        struct conv_plan tried = {.question = plan->question, .limit_bytes = plan->limit_bytes};
        double ms;
        if (!conv_load(all, &tried, &candidate->engine, candidate->text ? candidate->text : candidate->carried))
            continue;
        if (!time_plan(trial, &tried, best_ms, &ms, err)) {
            lost_over(trial->timer, &tried, err);
            cudnn_plan_finish(&tried.plan);
            return false;
        }
        if (isinf(first_ms)) first_ms = ms;
        if (ms >= best_ms) {
            cudnn_plan_finish(&tried.plan);
            continue;
        }
        if (plan->there) cudnn_plan_finish(&plan->plan);
        plan->plan = tried.plan;
        plan->engine = tried.engine;
        plan->there = true;
        best_ms = ms;
    }
    plan->best_ns = plan->there ? (uint64_t)(best_ms * 1e6) : 0;
    plan->first_ns = plan->there ? (uint64_t)(first_ms * 1e6) : 0;
    return true;
}

bool conv_tune(struct conv_timer *timer, struct conv_job *job, bool *tuned, struct error *err)
{
    struct trial trial;
    TRY(begin_trial(&trial, timer, job, tuned, err));
    if (*tuned && trial.gap.bytes < (uint64_t)timer->all->device->properties.l2CacheSize) timer->warm++;
    bool ok = !*tuned || try_all(&trial, job->plan, err);
    end_trial(&trial);
    return ok;
}

bool conv_try(struct conv_timer *timer, const struct conv_job *job, bool *runs, struct error *err)
{
    struct trial trial;
    bool aligned;
    double ms;
    *runs = true;
    TRY(begin_trial(&trial, timer, job, &aligned, err));
    bool ok = !aligned || run(&trial, job->plan, false, &ms, runs, err) || lost_over(timer, job->plan, err);
    end_trial(&trial);
    return ok;
}

/* ---- Beginning and end ---- */

bool conv_timer_init(struct conv_timer *timer, struct cuda_convolutions *all, struct error *err)
{
    const struct vendor *vendor = all->device->vendor;
    timer->all = all;
    TRY(cuda_check(vendor, vendor->cuda.SetDevice((int)all->device->options.ordinal), err, "GPU %" PRIu32,
                   all->device->options.ordinal));
    return cuda_check(vendor, vendor->cuda.EventCreateWithFlags(&timer->begin, cudaEventDefault), err, "an event") &&
           cuda_check(vendor, vendor->cuda.EventCreateWithFlags(&timer->end, cudaEventDefault), err, "an event");
}

static bool restore(const struct conv_timer *timer, struct error *err)
{
    const struct device *device = timer->all->device;
    const struct cuda_calls *cuda = &device->vendor->cuda;
    return device_fill(device, err) &&
           cuda_check(device->vendor, cuda->StreamSynchronize(device->own), err, "the arena's fill");
}

bool conv_timer_finish(struct conv_timer *timer, bool ok, struct error *err)
{
    const struct cuda_calls *cuda = &timer->all->device->vendor->cuda;
    if (ok && timer->ready) ok = restore(timer, err);
    if (timer->begin) cuda->EventDestroy(timer->begin);
    if (timer->end) cuda->EventDestroy(timer->end);
    return ok;
}
