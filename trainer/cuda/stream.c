/* Streams and events. */
#include <inttypes.h>
#include <time.h>

#include "clock.h"
#include "cuda_group.h"
#include "cuda_slots.h"
#include "mem.h"

struct event {
    struct device *device;
    cudaEvent_t handle;
    bool recorded;
};

/* ---- Streams ---- */

static bool stream_create(struct device *device, struct stream *made, struct error *err)
{
    const struct cuda_calls *cuda = &device->vendor->cuda;
    TRY(cuda_check(device->vendor, cuda->SetDevice((int)device->options.ordinal), err, "GPU %" PRIu32,
                   device->options.ordinal));
    return cuda_check(device->vendor, cuda->StreamCreateWithFlags(&made->handle, cudaStreamNonBlocking), err,
                      "a stream");
}

bool cuda_stream_create(struct device *device, struct stream **stream, struct error *err)
{
    TRY(device_usable(device, err));
    struct stream *made = mem_zalloc(MEM_GENERAL, 1, sizeof *made);
    if (!made) return device_settle(device, error_memory(&device->first, sizeof *made, "a stream"), err);
    made->device = device;
    if (!stream_create(device, made, &device->first)) {
        mem_free(made);
        return device_settle(device, false, err);
    }
    *stream = made;
    return true;
}

/* Whether a lost device ends by itself what it was given: in the time that short work takes. */
static bool comes_to_an_end(const struct stream *stream)
{
    const struct cuda_calls *cuda = &stream->device->vendor->cuda;
    for (int i = 0; i < 50; i++) {
        if (cuda->StreamQuery(stream->handle) != cudaErrorNotReady) return true;
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    return false;
}

void cuda_stream_destroy(struct stream *stream)
{
    if (!stream) return;
    struct device *device = stream->device;
    if (device->lost && !device->busy && !comes_to_an_end(stream)) device->busy = true;
    device->vendor->cuda.StreamDestroy(stream->handle);
    mem_free(stream);
}

/* ---- Events ---- */

static bool event_create(struct device *device, unsigned flags, struct event **event, struct error *err)
{
    const struct cuda_calls *cuda = &device->vendor->cuda;
    struct event *made = mem_zalloc(MEM_GENERAL, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "an event");
    made->device = device;
    if (!cuda_check(device->vendor, cuda->EventCreateWithFlags(&made->handle, flags), err, "an event")) {
        mem_free(made);
        return false;
    }
    *event = made;
    return true;
}

bool cuda_event_create(struct device *device, struct event **event, struct error *err)
{
    TRY(device_usable(device, err));
    return device_settle(device, event_create(device, cudaEventDisableTiming, event, &device->first), err);
}

bool cuda_event_create_timed(struct device *device, struct event **event, struct error *err)
{
    TRY(device_usable(device, err));
    return device_settle(device, event_create(device, cudaEventDefault, event, &device->first), err);
}

void cuda_event_destroy(struct event *event)
{
    if (!event) return;
    event->device->vendor->cuda.EventDestroy(event->handle);
    mem_free(event);
}

bool cuda_event_record(struct event *event, struct stream *stream, struct error *err)
{
    struct device *device = event->device;
    TRY(device_usable(device, err));
    event->recorded = true;
    cudaError_t status = device->vendor->cuda.EventRecord(event->handle, stream->handle);
    return device_settle(device, cuda_check(device->vendor, status, &device->first, "an event"), err);
}

bool cuda_event_wait(struct event *event, struct stream *stream, struct error *err)
{
    struct device *device = stream->device;
    TRY(device_usable(device, err));
    if (!event->recorded) return true;
    cudaError_t status = device->vendor->cuda.StreamWaitEvent(stream->handle, event->handle, cudaEventWaitDefault);
    return device_settle(device, cuda_check(device->vendor, status, &device->first, "waiting for an event"), err);
}

/* ---- Waiting, at most so long ---- */

#define LONGEST_NAP_NS 100000u

/* "Not ready" is no error, but stays in the thread for whoever asks for the last one. */
static cudaError_t query(const struct vendor *vendor, cudaEvent_t event)
{
    cudaError_t status = vendor->cuda.EventQuery(event);
    if (status == cudaErrorNotReady) vendor->cuda.GetLastError();
    return status;
}

/* A wait of CUDA's own has no limit. */
bool cuda_wait(struct device *device, cudaEvent_t event, uint64_t limit_ns, bool *done, struct error *err)
{
    uint64_t begin = clock_now_ns();
    for (uint64_t nap = 1000;; nap = nap * 2 < LONGEST_NAP_NS ? nap * 2 : LONGEST_NAP_NS) {
        cudaError_t status = query(device->vendor, event);
        *done = status == cudaSuccess;
        if (*done) device->busy = false;
        if (status != cudaErrorNotReady)
            return cuda_check(device->vendor, status, err, "device %" PRIu32, device->options.number);
        TRY(group_is_well(device->group, err));
        if (limit_ns != UINT64_MAX && clock_now_ns() - begin >= limit_ns) break;
        nanosleep(&(struct timespec){.tv_nsec = (long)nap}, NULL);
    }
    if (limit_ns > 0) device->busy = true;
    return true;
}

bool cuda_event_synchronize(struct event *event, uint64_t limit_ns, bool *done, struct error *err)
{
    struct device *device = event->device;
    TRY(device_usable(device, err));
    *done = !event->recorded;
    if (*done) return true;
    return device_settle(device, cuda_wait(device, event->handle, limit_ns, done, &device->first), err);
}

bool cuda_event_elapsed_ns(struct event *from, struct event *to, uint64_t *ns, struct error *err)
{
    struct device *device = from->device;
    float milliseconds = 0;
    TRY(device_usable(device, err));
    cudaError_t status = device->vendor->cuda.EventElapsedTime(&milliseconds, from->handle, to->handle);
    *ns = milliseconds > 0 ? (uint64_t)((double)milliseconds * 1e6) : 0;
    return device_settle(device, cuda_check(device->vendor, status, &device->first, "the time between two events"),
                         err);
}
