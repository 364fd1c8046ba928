#include "kineto_read.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "files.h"
#include "mem.h"

#define WINDOW_BYTES (4u << 20)
#define EVENT_BYTES  (1u << 20) /* of one event at most: so much is always in the window, or all that is left */
#define GZIP_BYTES   (256u << 10)

/* ---- Bytes ---- */

struct json {
    gzFile file;
    const char *path;
    char *window;
    char *at, *end;  /* what is left of the window; two quotes stand behind it */
    uint64_t before; /* bytes of the file in front of the window */
    bool ended;
};

static bool json_fail(const struct json *json, const char *what, struct error *err)
{
    uint64_t byte = json->before + (uint64_t)(json->at - json->window);
    if (json->ended && json->at >= json->end) what = "ends in the middle";
    return error_set(err, ERROR_INPUT, "%s: byte %" PRIu64 ": %s; a trace of PyTorch's profiler in JSON is wanted",
                     json->path, byte, what);
}

static bool json_fill(struct json *json, struct error *err)
{
    size_t left = (size_t)(json->end - json->at);
    if (json->ended || left >= EVENT_BYTES) return true;
    json->before += (uint64_t)(json->at - json->window);
    memmove(json->window, json->at, left);
    json->at = json->window;
    while (left < WINDOW_BYTES && !json->ended) {
        int got = gzread(json->file, json->window + left, (unsigned)(WINDOW_BYTES - left));
        if (got < 0) {
            int code;
            return error_set(err, ERROR_INPUT, "%s: cannot be read: %s", json->path, gzerror(json->file, &code));
        }
        if (got == 0) json->ended = true;
        left += (size_t)got;
    }
    json->end = json->window + left;
    json->end[0] = json->end[1] = '"';
    return true;
}

static void json_close(struct json *json)
{
    gzclose(json->file);
    mem_free(json->window);
}

static bool json_open(struct json *json, const char *path, struct error *err)
{
    int fd;
    *json = (struct json){.path = path};
    TRY(files_open(path, FILES_REGULAR, &fd, err));
    json->window = mem_alloc(MEM_TRACE, WINDOW_BYTES + 2, 1);
    json->file = json->window ? gzdopen(fd, "rb") : NULL;
    if (!json->file) {
        close(fd);
        mem_free(json->window);
        return error_memory(err, WINDOW_BYTES, path);
    }
    gzbuffer(json->file, GZIP_BYTES);
    json->at = json->end = json->window;
    if (json_fill(json, err)) return true;
    json_close(json);
    return false;
}

/* ---- Values ---- */

static void skip_space(struct json *json)
{
    while (json->at < json->end && (unsigned char)*json->at <= ' ') json->at++;
}

/* The byte there, which is passed over; 0 at the end. */
static char next_char(struct json *json)
{
    skip_space(json);
    return json->at < json->end ? *json->at++ : '\0';
}

static bool at_char(struct json *json, char wanted)
{
    skip_space(json);
    if (json->at >= json->end || *json->at != wanted) return false;
    json->at++;
    return true;
}

/* Behind the closing quote, from behind the opening one. */
static const char *end_of_string(const char *at)
{
    for (;; at++) {
        if (*at == '"') return at;
        if (*at == '\\') at++;
    }
}

static bool take_string(struct json *json, struct kineto_text *text, struct error *err)
{
    if (!at_char(json, '"')) return json_fail(json, "a string is wanted here", err);
    const char *end = end_of_string(json->at);
    if (end >= json->end) {
        json->at = json->end;
        return json_fail(json, "a string is longer than 1 MiB", err);
    }
    *text = (struct kineto_text){json->at, (size_t)(end - json->at)};
    json->at += end + 1 - json->at;
    return true;
}

/* An object or a list, from its first byte. */
static bool skip_nested(struct json *json, struct error *err)
{
    const char *at = json->at;
    for (int depth = 0; at < json->end;) {
        switch (*at++) {
        case '"': at = end_of_string(at) + 1; break;
        case '{':
        case '[': depth++; break;
        case '}':
        case ']':
            if (--depth > 0) break;
            if (at > json->end) break;
            json->at += at - json->at;
            return true;
        default: break;
        }
    }
    json->at = json->end;
    return json_fail(json, "an event is longer than 1 MiB", err);
}

static bool is_of_word(char byte) { return isalnum((unsigned char)byte) || byte == '+' || byte == '-' || byte == '.'; }

/* Of a string what is between the quotes, of a number or word all of it, of anything nested nothing. */
static bool take_value(struct json *json, struct kineto_text *text, struct error *err)
{
    skip_space(json);
    *text = (struct kineto_text){"", 0};
    if (json->at >= json->end) return json_fail(json, "a value is wanted here", err);
    if (*json->at == '"') return take_string(json, text, err);
    if (*json->at == '{' || *json->at == '[') return skip_nested(json, err);
    const char *begin = json->at;
    while (json->at < json->end && is_of_word(*json->at)) json->at++;
    *text = (struct kineto_text){begin, (size_t)(json->at - begin)};
    return text->length > 0 || json_fail(json, "a value is wanted here", err);
}

/* The next key of an object whose brace has been passed; *more is false behind its end. */
static bool next_key(struct json *json, bool *first, struct kineto_text *key, bool *more, struct error *err)
{
    *more = false;
    if (at_char(json, '}')) return true;
    if (!*first && !at_char(json, ',')) return json_fail(json, "a comma or } is wanted here", err);
    *first = false;
    TRY(take_string(json, key, err));
    *more = true;
    return at_char(json, ':') || json_fail(json, "a colon is wanted here", err);
}

bool kineto_is(struct kineto_text text, const char *word)
{
    return strlen(word) == text.length && memcmp(text.at, word, text.length) == 0;
}

bool kineto_begins(struct kineto_text text, const char *word)
{
    size_t length = strlen(word);
    return length <= text.length && memcmp(text.at, word, length) == 0;
}

uint64_t kineto_number(struct kineto_text text)
{
    uint64_t number = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (!isdigit((unsigned char)text.at[i]) || number > UINT64_MAX / 10 - 1) return 0;
        number = number * 10 + (uint64_t)(text.at[i] - '0');
    }
    return number;
}

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

static size_t put_utf8(unsigned code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 63));
        return 2;
    }
    out[0] = (char)(0xE0 | code >> 12);
    out[1] = (char)(0x80 | (code >> 6 & 63));
    out[2] = (char)(0x80 | (code & 63));
    return 3;
}

/* Of what follows a backslash; *used says how much of it was taken. Halves of pairs become question marks. */
static size_t undo_escape(const char *at, size_t left, size_t *used, char out[4])
{
    static const char from[] = "nrtbf", to[] = "\n\r\t\b\f";
    const char *known = *at ? strchr(from, *at) : NULL;
    char digits[5] = "";
    *used = 1;
    if (*at == 'u' && left >= 5) {
        memcpy(digits, at + 1, 4);
        unsigned code = (unsigned)strtoul(digits, NULL, 16);
        *used = 5;
        return put_utf8(code >= 0xD800 && code < 0xE000 ? '?' : code, out);
    }
    out[0] = known ? to[known - from] : *at;
    return 1;
}

void kineto_copy(struct kineto_text text, char *out, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < text.length && length + 4 < size; i++) {
        size_t used;
        if (text.at[i] != '\\' || i + 1 == text.length) {
            out[length++] = text.at[i];
            continue;
        }
        length += undo_escape(text.at + i + 1, text.length - i - 1, &used, out + length);
        i += used;
    }
    out[length] = '\0';
}

/* ---- Events ---- */

/* [80, 2, 1] */
static bool take_three(struct json *json, uint32_t out[3], struct error *err)
{
    struct kineto_text value;
    skip_space(json);
    if (json->at >= json->end || *json->at != '[') return take_value(json, &value, err);
    json->at++;
    for (size_t i = 0; i < 3; i++) {
        if (at_char(json, ']')) return true;
        if (i > 0 && !at_char(json, ',')) return json_fail(json, "a comma is wanted here", err);
        TRY(take_value(json, &value, err));
        out[i] = short_number(value);
    }
    return at_char(json, ']') || json_fail(json, "] is wanted here", err);
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

static bool take_arguments(struct json *json, struct kineto_event *event, struct error *err)
{
    struct kineto_text key, value;
    bool first = true, more;
    if (!at_char(json, '{')) return take_value(json, &value, err);
    for (;;) {
        TRY(next_key(json, &first, &key, &more, err));
        if (!more) return true;
        if (kineto_is(key, "grid")) {
            TRY(take_three(json, event->grid, err));
        } else if (kineto_is(key, "block")) {
            TRY(take_three(json, event->block, err));
        } else {
            TRY(take_value(json, &value, err));
            set_argument(event, key, value);
        }
    }
}

struct event_reader {
    struct json json;
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
    struct json *json = &reader->json;
    struct kineto_event event = {.name = {"", 0}, .phase = {"", 0}, .category = {"", 0}};
    struct kineto_text key, value;
    bool first = true, more;
    event.process = event.thread = event.name;
    if (!at_char(json, '{')) return json_fail(json, "an event is wanted here", err);
    for (;;) {
        TRY(next_key(json, &first, &key, &more, err));
        if (!more) break;
        if (kineto_is(key, "args") && reader->wants(reader->context, &event)) {
            TRY(take_arguments(json, &event, err));
        } else {
            TRY(take_value(json, &value, err));
            set_field(reader->head, &event, key, value);
        }
    }
    reader->head->events++;
    return event.name.length == 0 || reader->take(reader->context, &event, err);
}

/* From behind the bracket. */
static bool read_events(struct event_reader *reader, struct error *err)
{
    struct json *json = &reader->json;
    TRY(json_fill(json, err));
    if (at_char(json, ']')) return true;
    for (;;) {
        TRY(read_event(reader, err));
        TRY(json_fill(json, err));
        char next = next_char(json);
        if (next == ']') return true;
        if (next != ',') return json_fail(json, "a comma or ] is wanted here", err);
    }
}

/* ---- What stands around them ---- */

static bool read_device(struct json *json, struct kineto_head *head, struct error *err)
{
    struct kineto_device device = {0};
    struct kineto_text key, value;
    bool first = true, more;
    if (!at_char(json, '{')) return json_fail(json, "a device is wanted here", err);
    for (;;) {
        TRY(next_key(json, &first, &key, &more, err));
        if (!more) break;
        TRY(take_value(json, &value, err));
        if (kineto_is(key, "id")) device.id = short_number(value);
        if (kineto_is(key, "name")) kineto_copy(value, device.name, sizeof device.name);
        if (kineto_is(key, "totalGlobalMem")) device.memory_bytes = kineto_number(value);
    }
    if (head->device_count < KINETO_DEVICES) head->devices[head->device_count++] = device;
    return true;
}

static bool read_devices(struct json *json, struct kineto_head *head, struct error *err)
{
    head->device_count = 0;
    if (!at_char(json, '[')) return json_fail(json, "a list of devices is wanted here", err);
    if (at_char(json, ']')) return true;
    do {
        TRY(read_device(json, head, err));
    } while (at_char(json, ','));
    return at_char(json, ']') || json_fail(json, "] is wanted here", err);
}

/* The base of all times stands before the events. */
static bool read_object(struct event_reader *reader, bool *found, struct error *err)
{
    struct json *json = &reader->json;
    struct kineto_text key, value;
    bool first = true, more;
    for (;;) {
        TRY(json_fill(json, err));
        TRY(next_key(json, &first, &key, &more, err));
        if (!more) return true;
        if (kineto_is(key, "traceEvents")) {
            *found = true;
            if (!at_char(json, '[')) return json_fail(json, "a list of events is wanted here", err);
            TRY(read_events(reader, err));
        } else if (kineto_is(key, "deviceProperties")) {
            TRY(read_devices(json, reader->head, err));
        } else {
            bool base = kineto_is(key, "baseTimeNanoseconds");
            TRY(take_value(json, &value, err));
            if (base) reader->head->base_ns = kineto_number(value);
        }
    }
}

static bool read_all(struct event_reader *reader, struct error *err)
{
    struct json *json = &reader->json;
    bool found = false;
    if (at_char(json, '[')) return read_events(reader, err);
    if (!at_char(json, '{')) return json_fail(json, "is not JSON", err);
    TRY(read_object(reader, &found, err));
    return found ||
           error_set(err, ERROR_INPUT, "%s: has no traceEvents: it is no trace of PyTorch's profiler", json->path);
}

bool kineto_read(const char *path, struct kineto_head *head, kineto_wants wants, kineto_take take, void *context,
                 struct error *err)
{
    struct event_reader reader = {.head = head, .wants = wants, .take = take, .context = context};
    *head = (struct kineto_head){0};
    TRY(json_open(&reader.json, path, err));
    bool ok = read_all(&reader, err);
    head->bytes = reader.json.before + (uint64_t)(reader.json.at - reader.json.window);
    json_close(&reader.json);
    return ok;
}
