#include "kineto_read.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static uint32_t short_number(struct kineto_text text)
{
    uint64_t number = kineto_number(text);
    return number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
}

/* ---- Times ---- */

/* A decimal number as it is written: its digits, of which the first `point` stand before the point. */
struct decimal {
    const char *at, *end; /* with the point, without the sign */
    int64_t point;
    bool minus;
};

#define MOST_EXPONENT ((int64_t)1 << 30) /* a value has 1 MiB of digits at most */

/* Of what follows an e. */
static bool read_exponent(const char *at, const char *end, int64_t *exponent)
{
    bool minus = at < end && *at == '-';
    int64_t value = 0;
    if (at < end && (*at == '-' || *at == '+')) at++;
    if (at == end) return false;
    for (; at < end; at++) {
        if (!isdigit((unsigned char)*at)) return false;
        if (value < MOST_EXPONENT) value = value * 10 + (*at - '0');
    }
    *exponent = minus ? -value : value;
    return true;
}

static bool read_decimal(struct kineto_text text, struct decimal *decimal)
{
    const char *at = text.at, *end = text.at + text.length, *dot = NULL;
    int64_t exponent = 0;
    decimal->minus = at < end && *at == '-';
    decimal->at = at += decimal->minus;
    for (; at < end && (isdigit((unsigned char)*at) || (*at == '.' && !dot)); at++)
        if (*at == '.') dot = at;
    decimal->end = at;
    if (at - decimal->at == (dot ? 1 : 0)) return false; /* no digit */
    if (at < end && ((*at != 'e' && *at != 'E') || !read_exponent(at + 1, end, &exponent))) return false;
    decimal->point = (dot ? dot : decimal->end) - decimal->at + exponent;
    return true;
}

/* Of microseconds, by their digits: exactly. False where it is no number or beyond 63 bits. */
static bool nanoseconds(struct kineto_text text, int64_t *ns)
{
    struct decimal decimal;
    int64_t value = 0;
    if (!read_decimal(text, &decimal)) return false;
    const char *at = decimal.at;
    for (int64_t left = decimal.point + 3; left > 0 && (at < decimal.end || value > 0); at++) {
        if (at < decimal.end && *at == '.') continue;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, at < decimal.end ? *at - '0' : 0, &value))
            return false;
        left--;
    }
    *ns = decimal.minus ? -value : value;
    return true;
}

/* ---- Events ---- */

/* [80, 2, 1] */
static bool take_three(struct kineto_json *json, uint32_t out[3], struct error *err)
{
    struct kineto_text value;
    kineto_json_space(json);
    if (json->at >= json->end || *json->at != '[') return kineto_json_value(json, &value, err);
    json->at++;
    for (size_t i = 0; i < 3; i++) {
        if (kineto_json_pass(json, ']')) return true;
        if (i > 0 && !kineto_json_pass(json, ',')) return kineto_json_fail(json, "a comma is wanted here", err);
        TRY(kineto_json_value(json, &value, err));
        out[i] = short_number(value);
    }
    return kineto_json_pass(json, ']') || kineto_json_fail(json, "] is wanted here", err);
}

static void set_argument(struct kineto_event *event, struct kineto_text key, struct kineto_text value)
{
    uint64_t number = kineto_number(value);
    if (kineto_is(key, "External id")) {
        event->external = number;
        event->has_external = true;
    } else if (kineto_is(key, "correlation")) {
        event->correlation = number;
        event->has_correlation = true;
    } else if (kineto_is(key, "Sequence number")) {
        event->sequence = number;
        event->has_sequence = true;
    } else if (kineto_is(key, "Fwd thread id")) {
        event->forward_thread = number;
    } else if (kineto_is(key, "bytes")) {
        event->bytes = number;
    } else if (kineto_is(key, "registers per thread")) {
        event->registers = number;
    } else if (kineto_is(key, "shared memory")) {
        event->shared_bytes = number;
    } else if (kineto_is(key, "device")) {
        event->has_device = kineto_whole(value, &event->device);
    } else if (kineto_is(key, "stream")) {
        event->has_stream = kineto_whole(value, &event->stream);
    }
}

static bool take_arguments(struct kineto_json *json, struct kineto_event *event, struct error *err)
{
    struct kineto_text key, value;
    bool first = true, more;
    if (!kineto_json_pass(json, '{')) return kineto_json_value(json, &value, err);
    for (;;) {
        TRY(kineto_json_key(json, &first, &key, &more, err));
        if (!more) return true;
        if (kineto_is(key, "grid")) {
            TRY(take_three(json, event->grid, err));
        } else if (kineto_is(key, "block")) {
            TRY(take_three(json, event->block, err));
        } else {
            TRY(kineto_json_value(json, &value, err));
            set_argument(event, key, value);
        }
    }
}

struct event_reader {
    struct kineto_json json;
    struct kineto_head *head;
    kineto_wants wants;
    kineto_take take;
    void *context;
};

/* From the file's base on. */
static bool read_begin(const struct kineto_head *head, struct kineto_text text, uint64_t *begin_ns)
{
    int64_t ns, begin;
    if (!nanoseconds(text, &ns) || __builtin_add_overflow(head->base_ns, ns, &begin) || begin < 0) return false;
    *begin_ns = (uint64_t)begin;
    return true;
}

static bool read_duration(struct kineto_text text, uint64_t *duration_ns)
{
    int64_t ns;
    if (!nanoseconds(text, &ns) || ns < 0) return false;
    *duration_ns = (uint64_t)ns;
    return true;
}

static void set_field(const struct kineto_head *head, struct kineto_event *event, struct kineto_text key,
                      struct kineto_text value)
{
    if (kineto_is(key, "ph"))
        event->phase = value;
    else if (kineto_is(key, "cat"))
        event->category = value;
    else if (kineto_is(key, "name"))
        event->name = value;
    else if (kineto_is(key, "pid"))
        event->process = value;
    else if (kineto_is(key, "tid"))
        event->thread = value;
    else if (kineto_is(key, "ts"))
        event->has_begin = read_begin(head, value, &event->begin_ns);
    else if (kineto_is(key, "dur"))
        event->has_duration = read_duration(value, &event->duration_ns);
}

static bool read_event(struct event_reader *reader, struct error *err)
{
    struct kineto_json *json = &reader->json;
    struct kineto_event event = {.name = {"", 0}, .phase = {"", 0}, .category = {"", 0}};
    struct kineto_text key, value;
    bool first = true, more;
    event.process = event.thread = event.name;
    if (!kineto_json_pass(json, '{')) return kineto_json_fail(json, "an event is wanted here", err);
    for (;;) {
        TRY(kineto_json_key(json, &first, &key, &more, err));
        if (!more) break;
        if (kineto_is(key, "args") && reader->wants(reader->context, &event)) {
            TRY(take_arguments(json, &event, err));
        } else {
            TRY(kineto_json_value(json, &value, err));
            set_field(reader->head, &event, key, value);
        }
    }
    reader->head->events++;
    return event.name.length == 0 || reader->take(reader->context, &event, err);
}

/* From behind the bracket. */
static bool read_events(struct event_reader *reader, struct error *err)
{
    struct kineto_json *json = &reader->json;
    TRY(kineto_json_fill(json, err));
    if (kineto_json_pass(json, ']')) return true;
    for (;;) {
        TRY(read_event(reader, err));
        TRY(kineto_json_fill(json, err));
        char next = kineto_json_next(json);
        if (next == ']') return true;
        if (next != ',') return kineto_json_fail(json, "a comma or ] is wanted here", err);
    }
}

/* ---- What stands around them ---- */

static bool read_device(struct kineto_json *json, struct kineto_head *head, struct error *err)
{
    struct kineto_device device = {0};
    struct kineto_text key, value;
    bool first = true, more;
    if (!kineto_json_pass(json, '{')) return kineto_json_fail(json, "a device is wanted here", err);
    for (;;) {
        TRY(kineto_json_key(json, &first, &key, &more, err));
        if (!more) break;
        TRY(kineto_json_value(json, &value, err));
        if (kineto_is(key, "id")) device.id = short_number(value);
        if (kineto_is(key, "name")) kineto_copy(value, device.name, sizeof device.name);
        if (kineto_is(key, "totalGlobalMem")) device.memory_bytes = kineto_number(value);
    }
    if (head->device_count < KINETO_DEVICES) head->devices[head->device_count++] = device;
    return true;
}

static bool read_devices(struct kineto_json *json, struct kineto_head *head, struct error *err)
{
    head->device_count = 0;
    if (!kineto_json_pass(json, '[')) return kineto_json_fail(json, "a list of devices is wanted here", err);
    if (kineto_json_pass(json, ']')) return true;
    do {
        TRY(read_device(json, head, err));
    } while (kineto_json_pass(json, ','));
    return kineto_json_pass(json, ']') || kineto_json_fail(json, "] is wanted here", err);
}

/* The base of all times stands before the events. */
static bool read_object(struct event_reader *reader, bool *found, struct error *err)
{
    struct kineto_json *json = &reader->json;
    struct kineto_text key, value;
    bool first = true, more;
    for (;;) {
        TRY(kineto_json_fill(json, err));
        TRY(kineto_json_key(json, &first, &key, &more, err));
        if (!more) return true;
        if (kineto_is(key, "traceEvents")) {
            *found = true;
            if (!kineto_json_pass(json, '[')) return kineto_json_fail(json, "a list of events is wanted here", err);
            TRY(read_events(reader, err));
        } else if (kineto_is(key, "deviceProperties")) {
            TRY(read_devices(json, reader->head, err));
        } else {
            bool base = kineto_is(key, "baseTimeNanoseconds");
            TRY(kineto_json_value(json, &value, err));
            if (base) reader->head->base_ns = kineto_number(value);
        }
    }
}

static bool read_all(struct event_reader *reader, struct error *err)
{
    struct kineto_json *json = &reader->json;
    bool found = false;
    if (kineto_json_pass(json, '[')) return read_events(reader, err);
    if (!kineto_json_pass(json, '{')) return kineto_json_fail(json, "is not JSON", err);
    TRY(read_object(reader, &found, err));
    return found ||
           error_set(err, ERROR_INPUT, "%s: has no traceEvents: it is no trace of PyTorch's profiler", json->path);
}

bool kineto_read(const char *path, struct kineto_head *head, kineto_wants wants, kineto_take take, void *context,
                 struct error *err)
{
    struct event_reader reader = {.head = head, .wants = wants, .take = take, .context = context};
    *head = (struct kineto_head){0};
    TRY(kineto_json_open(&reader.json, path, err));
    bool ok = read_all(&reader, err);
    head->bytes = reader.json.before + (uint64_t)(reader.json.at - reader.json.window);
    kineto_json_close(&reader.json);
    return ok;
}
