/* Memory of a device that is none: copies, fills, parameters, and what is pinned. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "standin_private.h"

static bool is_pinned(const struct device *d, const void *memory)
{
    for (size_t i = 0; i < 64; i++) {
        const char *from = d->pinned[i];
        if (from && (const char *)memory >= from && (const char *)memory < from + d->pinned_bytes[i]) return true;
    }
    return false;
}

/* A copy of so many bytes of host memory to the device. */
static bool put_copy(struct stream *s, struct command c, const void *host, uint64_t bytes, struct error *err)
{
    struct device *d = s->device;
    c.host = (void *)(uintptr_t)host;
    if (s->capture && !is_pinned(d, host))
        return standin_forbid(d, "a recording copies from memory that is not pinned", err);
    if (!is_pinned(d, host)) c.owned = memcpy(standin_need(malloc(bytes + 1)), host, bytes);
    return standin_put(s, c, err);
}

static bool copy_in(struct device *d, struct stream *s, uint64_t offset, const void *host, uint64_t bytes,
                    struct error *err)
{
    return standin_enter(d, "copy_in", err) &&
           put_copy(s, (struct command){.kind = COPY_IN, .offset = offset, .bytes = bytes}, host, bytes, err);
}

static bool image_in(struct device *d, struct stream *s, const struct tensor *tensor, uint64_t offset,
                     const float *host, struct error *err)
{
    struct command c = {.kind = IMAGE_IN, .offset = offset, .bytes = tensor->bytes, .tensor = tensor};
    return standin_enter(d, "image_in", err) && put_copy(s, c, host, tensor_elements(tensor) * sizeof *host, err);
}

/* Waits until the stream is empty. */
static bool finish_stream(struct stream *s, struct error *err)
{
    struct device *d = s->device;
    pthread_mutex_lock(&d->lock);
    d->waiting++;
    pthread_cond_broadcast(&d->changed);
    while (!d->lost && (s->queue.count > 0 || d->busy)) pthread_cond_wait(&d->changed, &d->lock);
    d->waiting--;
    bool lost = d->lost;
    if (lost) standin_tell(d, err);
    pthread_mutex_unlock(&d->lock);
    if (!lost) clock_learn(&d->clock, &s->clock);
    return !lost;
}

static bool copy_out(struct device *d, struct stream *s, void *host, uint64_t offset, uint64_t bytes, struct error *err)
{
    if (!standin_enter(d, "copy_out", err)) return false;
    struct command c = {.kind = COPY_OUT, .offset = offset, .bytes = bytes, .host = host};
    if (s->capture && !is_pinned(d, host))
        return standin_forbid(d, "a recording copies to memory that is not pinned", err);
    return standin_put(s, c, err) && (is_pinned(d, host) || finish_stream(s, err));
}

/* To pinned memory alone, when the stream comes to it. */
static bool add_squares(struct device *d, struct stream *s, uint64_t offset, enum dtype dtype, uint64_t count,
                        double *sum, struct error *err)
{
    if (!standin_enter(d, "add_squares", err)) return false;
    struct command c = {
        .kind = SQUARES, .offset = offset, .bytes = dtype_bytes(dtype, count), .host = sum, .dtype = dtype};
    if (!is_pinned(d, sum)) return standin_forbid(d, "a sum of squares goes to memory that is not pinned", err);
    return standin_put(s, c, err);
}

static bool fill(struct device *d, struct stream *s, uint64_t offset, uint64_t bytes, uint8_t byte, struct error *err)
{
    return standin_enter(d, "fill", err) &&
           standin_put(s, (struct command){.kind = FILL, .offset = offset, .bytes = bytes, .byte = byte}, err);
}

static bool host_fill(struct device *d, struct stream *s, uint64_t offset, uint64_t bytes, uint8_t byte,
                      struct error *err)
{
    return standin_enter(d, "host_fill", err) &&
           standin_put(s, (struct command){.kind = HOST_FILL, .offset = offset, .bytes = bytes, .byte = byte}, err);
}

static bool host_create(struct device *d, uint64_t bytes, struct error *err)
{
    if (!standin_enter(d, "host_create", err)) return false;
    d->host = standin_memory_of(bytes);
    return REAL->host_create(d->real, bytes, err);
}

static void touch_by_host(struct device *d, uint64_t offset, uint64_t bytes, bool writes)
{
    d->clock.at[HOST_LANE]++;
    standin_touch(&d->arena, &d->clock, HOST_LANE, offset, bytes, writes, "a parameter's move");
    pthread_mutex_lock(&d->lock);
    if (d->queued > 0) standin_violate("a parameter moves while the device works");
    pthread_mutex_unlock(&d->lock);
}

static bool parameter_in(struct device *d, const struct tensor *tensor, uint64_t offset, const float *host,
                         struct error *err)
{
    if (!standin_enter(d, "parameter_in", err)) return false;
    touch_by_host(d, offset, tensor->bytes, true);
    return REAL->parameter_in(d->real, tensor, offset, host, err);
}

static bool parameter_out(struct device *d, const struct tensor *tensor, uint64_t offset, float *host,
                          struct error *err)
{
    if (!standin_enter(d, "parameter_out", err)) return false;
    touch_by_host(d, offset, tensor->bytes, false);
    return REAL->parameter_out(d->real, tensor, offset, host, err);
}

static bool pinned_create(struct device *d, uint64_t bytes, void **memory, struct error *err)
{
    if (!standin_enter(d, "pinned_create", err)) return false;
    size_t i = 0;
    while (d->pinned[i]) i++;
    d->pinned[i] = *memory = standin_need(malloc(bytes + 1));
    memset(*memory, 0xFF, bytes);
    d->pinned_bytes[i] = bytes;
    atomic_fetch_add(&standin.live, 1);
    return true;
}

static void pinned_destroy(struct device *d, void *memory) { standin_bury(d, free, memory); }

void standin_set_memory(struct backend *made)
{
    made->copy_in = copy_in;
    made->image_in = image_in;
    made->copy_out = copy_out;
    made->fill = fill;
    made->host_fill = host_fill;
    made->host_create = host_create;
    made->parameter_in = parameter_in;
    made->parameter_out = parameter_out;
    if (!standin.options.pinned) return;
    made->add_squares = add_squares;
    made->pinned_create = pinned_create;
    made->pinned_destroy = pinned_destroy;
}
