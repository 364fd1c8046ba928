#define _GNU_SOURCE
#include "standin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "standin_private.h"

#define GRANULE 64u /* bytes that one clock stands for */

struct standin standin = {.report_lock = PTHREAD_MUTEX_INITIALIZER};
static struct backend made;

void standin_violate(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    pthread_mutex_lock(&standin.report_lock);
    if (!standin.report.violation[0])
        vsnprintf(standin.report.violation, sizeof standin.report.violation, format, list);
    pthread_mutex_unlock(&standin.report_lock);
    va_end(list);
}

void *standin_need(void *memory)
{
    if (!memory) abort();
    return memory;
}

/* ---- Failures ---- */

void standin_lose(struct device *d, const struct error *err)
{
    if (!d->lost) d->first = *err;
    d->lost = true;
    pthread_cond_broadcast(&d->changed);
}

bool standin_tell(struct device *d, struct error *err)
{
    d->told = true;
    if (err) *err = d->first;
    return false;
}

bool standin_enter(struct device *d, const char *slot, struct error *err)
{
    bool fails = atomic_fetch_add(&standin.calls, 1) + 1 == standin.options.fail_call;
    pthread_mutex_lock(&d->lock);
    if (d->told) standin_violate("%s is called on a device that was lost", slot);
    if (fails) standin_lose(d, &(struct error){ERROR_FAILED, "the device is lost", ""});
    bool lost = d->lost;
    if (lost) standin_tell(d, err);
    pthread_mutex_unlock(&d->lock);
    return !lost;
}

bool standin_forbid(struct device *d, const char *what, struct error *err)
{
    standin_violate("%s", what);
    pthread_mutex_lock(&d->lock);
    standin_lose(d, &(struct error){ERROR_FAILED, "what a recording forbids", ""});
    standin_tell(d, err);
    pthread_mutex_unlock(&d->lock);
    return false;
}

/* ---- Devices ---- */

void standin_bury(struct device *d, void (*end)(void *), void *object)
{
    atomic_fetch_sub(&standin.live, 1);
    pthread_mutex_lock(&d->lock);
    if (d->grave_count == d->grave_capacity) {
        d->grave_capacity = d->grave_capacity ? 2 * d->grave_capacity : 64;
        d->graves = standin_need(realloc(d->graves, d->grave_capacity * sizeof *d->graves));
    }
    d->graves[d->grave_count++] = (struct grave){end, object};
    pthread_mutex_unlock(&d->lock);
}

struct memory standin_memory_of(uint64_t bytes)
{
    return (struct memory){{standin_need(calloc(bytes / GRANULE + 1, sizeof(struct granule))), GRANULE}, bytes};
}

static bool device_create(const struct device_options *o, uint64_t arena_bytes, struct device **device,
                          struct error *err)
{
    if (atomic_fetch_add(&standin.calls, 1) + 1 == standin.options.fail_call)
        return error_set(err, ERROR_FAILED, "the device is lost");
    struct device *d = standin_need(calloc(1, sizeof *d));
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->changed, NULL);
    d->random = standin.options.seed * 977 + o->number;
    d->arena = standin_memory_of(arena_bytes);
    if (!REAL->device_create(o, arena_bytes, &d->real, err)) {
        free(d->arena.shadow.granules);
        free(d);
        return false;
    }
    struct error unused = {0};
    if (!REAL->stream_create(d->real, &d->unused, &unused)) abort();
    if (pthread_create(&d->worker, NULL, standin_work, d) != 0) abort();
    atomic_fetch_add(&standin.live, 1);
    *device = d;
    return true;
}

static void device_destroy(struct device *d)
{
    if (!d) return;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->worker, NULL);
    for (size_t i = 0; i < d->grave_count; i++) d->graves[i].end(d->graves[i].object);
    REAL->stream_destroy(d->unused);
    REAL->device_destroy(d->real);
    free(d->graves);
    free(d->arena.shadow.granules);
    free(d->host.shadow.granules);
    free(d);
    atomic_fetch_sub(&standin.live, 1);
}

static bool set_step(struct device *d, struct stream *s, const struct step *step, struct error *err)
{
    if (!standin_enter(d, "set_step", err)) return false;
    if (s->capture) return standin_forbid(d, "a step block is set inside a recording", err);
    pthread_mutex_lock(&d->lock);
    uint64_t ahead = step->number > d->steps_run ? step->number - d->steps_run : 0;
    pthread_mutex_unlock(&d->lock);
    pthread_mutex_lock(&standin.report_lock);
    if (ahead > standin.report.most_ahead) standin.report.most_ahead = ahead;
    pthread_mutex_unlock(&standin.report_lock);
    return standin_put(s, (struct command){.kind = SET_STEP, .step = *step}, err);
}

/* ---- Ops ---- */

static bool op_prepare(struct device *d, const struct op_call *call, struct prepared **prepared, struct error *err)
{
    if (!standin_enter(d, "op_prepare", err)) return false;
    struct prepared *p = standin_need(calloc(1, sizeof *p));
    p->device = d;
    p->call = *call;
    if (!REAL->op_prepare(d->real, call, &p->real, err)) {
        free(p);
        return false;
    }
    atomic_fetch_add(&standin.live, 1);
    *prepared = p;
    return true;
}

static bool is_spoilt(struct recording *r)
{
    pthread_mutex_lock(&standin.report_lock);
    uint64_t *spoilt = &standin.report.spoilt;
    bool now = *spoilt < standin.options.spoil && r->nodes.count > 5 * (*spoilt % 4);
    *spoilt += now;
    pthread_mutex_unlock(&standin.report_lock);
    return r->spoilt = now;
}

static bool op_launch(struct prepared *p, struct stream *s, struct error *err)
{
    TRY(standin_enter(p->device, "op_launch", err));
    if (s->capture && is_spoilt(s->capture)) return error_set(err, ERROR_FAILED, "it cannot be recorded");
    return standin_put(s, (struct command){.kind = LAUNCH, .prepared = p}, err);
}

static void end_prepared(void *object)
{
    struct prepared *p = object;
    REAL->op_release(p->real);
    free(p);
}

static void op_release(struct prepared *p) { standin_bury(p->device, end_prepared, p); }

/* ---- Groups ---- */

static bool group_create(const struct group_id *id, uint32_t rank, uint32_t size, struct ranks *ranks,
                         struct group **group, struct error *err)
{
    if (atomic_fetch_add(&standin.calls, 1) + 1 == standin.options.fail_call)
        return error_set(err, ERROR_FAILED, "the device is lost");
    if (!REAL->group_create(id, rank, size, ranks, group, err)) return false;
    atomic_fetch_add(&standin.live, 1);
    return true;
}

static bool group_join(struct group *group, struct device *d, struct error *err)
{
    return standin_enter(d, "group_join", err) && REAL->group_join(group, d->real, err);
}

static void group_destroy(struct group *group)
{
    REAL->group_destroy(group);
    atomic_fetch_sub(&standin.live, 1);
}

/* ---- Beginning and end ---- */

const struct backend *standin_begin(const struct standin_options *o)
{
    standin.options = *o;
    standin.report = (struct standin_report){0};
    atomic_store(&standin.calls, 0);
    atomic_store(&standin.commands, 0);
    atomic_store(&standin.waits, 0);
    atomic_store(&standin.live, 0);
    made = (struct backend){.name = REAL->name,
                            .in_host_memory = REAL->in_host_memory,
                            .op_workspace = REAL->op_workspace,
                            .device_create = device_create,
                            .device_destroy = device_destroy,
                            .set_step = set_step,
                            .op_prepare = op_prepare,
                            .op_launch = op_launch,
                            .op_release = op_release,
                            .group_name = REAL->group_name,
                            .group_create = group_create,
                            .group_join = group_join,
                            .group_abort = REAL->group_abort,
                            .group_destroy = group_destroy,
                            .activation_dtypes = REAL->activation_dtypes,
                            .lowering = REAL->lowering};
    standin_set_memory(&made);
    standin_set_streams(&made);
    backend_check(&made);
    return &made;
}

struct standin_report standin_end(void)
{
    standin.report.calls = atomic_load(&standin.calls);
    standin.report.commands = atomic_load(&standin.commands);
    standin.report.waits = atomic_load(&standin.waits);
    standin.report.live = atomic_load(&standin.live);
    return standin.report;
}
