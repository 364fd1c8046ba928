#include "kineto_read.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static uint32_t short_number(struct kineto_text text)
{
    uint64_t number = kineto_number(text);
    return number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
}

/* Microseconds with up to three decimals that count. */
static uint64_t nanoseconds(struct kineto_text text)
{
    const char *at = text.at, *end = text.at + text.length;
    bool minus = at < end && *at == '-';
    uint64_t ns = 0;
    int decimals = -1;
    for (at += minus; at < end && decimals < 3; at++) {
        if (*at == '.' && decimals < 0) {
            decimals = 0;
        } else if (isdigit((unsigned char)*at) && ns < UINT64_MAX / 10 - 1) {
            ns = ns * 10 + (uint64_t)(*at - '0');
            if (decimals >= 0) decimals++;
        } else {
            break;
        }
    }
    for (int i = decimals < 0 ? 0 : decimals; i < 3; i++) ns *= 10;
    return minus ? 0 - ns : ns;
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
        event->begin_ns = head->base_ns + nanoseconds(value);
    else if (kineto_is(key, "dur"))
        event->duration_ns = nanoseconds(value);
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
