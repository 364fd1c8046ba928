#include "kineto_json.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "ascii.h"
#include "files.h"
#include "mem.h"

#define WINDOW_BYTES (4u << 20)
#define EVENT_BYTES  (1u << 20) /* of one event at most: so much is always in the window, or all that is left */
#define GZIP_BYTES   (256u << 10)

/* ---- Bytes ---- */

bool kineto_json_fail(const struct kineto_json *json, const char *what, struct error *err)
{
    uint64_t byte = json->before + (uint64_t)(json->at - json->window);
    if (json->ended && json->at >= json->end) what = "ends in the middle";
    return error_set(err, ERROR_INPUT, "%s: byte %" PRIu64 ": %s; a trace of PyTorch's profiler in JSON is wanted",
                     json->path, byte, what);
}

bool kineto_json_fill(struct kineto_json *json, struct error *err)
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

void kineto_json_close(struct kineto_json *json)
{
    gzclose(json->file);
    mem_free(json->window);
}

bool kineto_json_open(struct kineto_json *json, const char *path, struct error *err)
{
    int fd;
    *json = (struct kineto_json){.path = path};
    TRY(files_open(path, FILES_OR_STREAM, &fd, err));
    json->window = mem_alloc(MEM_TRACE, WINDOW_BYTES + 2, 1);
    json->file = json->window ? gzdopen(fd, "rb") : NULL;
    if (!json->file) {
        close(fd);
        mem_free(json->window);
        return error_memory(err, WINDOW_BYTES, path);
    }
    gzbuffer(json->file, GZIP_BYTES);
    json->at = json->end = json->window;
    if (kineto_json_fill(json, err)) return true;
    kineto_json_close(json);
    return false;
}

/* ---- Values ---- */

/* Behind the closing quote, from behind the opening one. */
static const char *end_of_string(const char *at)
{
    for (;; at++) {
        if (*at == '"') return at;
        if (*at == '\\') at++;
    }
}

static bool take_string(struct kineto_json *json, struct kineto_text *text, struct error *err)
{
    if (!kineto_json_pass(json, '"')) return kineto_json_fail(json, "a string is wanted here", err);
    const char *end = end_of_string(json->at);
    if (end >= json->end) {
        json->at = json->end;
        return kineto_json_fail(json, "a string is longer than 1 MiB", err);
    }
    *text = (struct kineto_text){json->at, (size_t)(end - json->at)};
    json->at += end + 1 - json->at;
    return true;
}

/* An object or a list, from its first byte. */
static bool skip_nested(struct kineto_json *json, struct error *err)
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
    return kineto_json_fail(json, "an event is longer than 1 MiB", err);
}

static bool is_of_word(char byte) { return ascii_is_alnum(byte) || byte == '+' || byte == '-' || byte == '.'; }

/* Of a string what is between the quotes, of a number or word all of it, of anything nested nothing. */
bool kineto_json_value(struct kineto_json *json, struct kineto_text *text, struct error *err)
{
    kineto_json_space(json);
    *text = (struct kineto_text){"", 0};
    if (json->at >= json->end) return kineto_json_fail(json, "a value is wanted here", err);
    if (*json->at == '"') return take_string(json, text, err);
    if (*json->at == '{' || *json->at == '[') return skip_nested(json, err);
    const char *begin = json->at;
    while (json->at < json->end && is_of_word(*json->at)) json->at++;
    *text = (struct kineto_text){begin, (size_t)(json->at - begin)};
    return text->length > 0 || kineto_json_fail(json, "a value is wanted here", err);
}

/* The next key of an object whose brace has been passed; *more is false behind its end. */
bool kineto_json_key(struct kineto_json *json, bool *first, struct kineto_text *key, bool *more, struct error *err)
{
    *more = false;
    if (kineto_json_pass(json, '}')) return true;
    if (!*first && !kineto_json_pass(json, ',')) return kineto_json_fail(json, "a comma or } is wanted here", err);
    *first = false;
    TRY(take_string(json, key, err));
    *more = true;
    return kineto_json_pass(json, ':') || kineto_json_fail(json, "a colon is wanted here", err);
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

bool kineto_whole(struct kineto_text text, uint64_t *number)
{
    uint64_t read = 0;
    for (size_t i = 0; i < text.length; i++) {
        unsigned char byte = (unsigned char)text.at[i];
        if (!isdigit(byte) || __builtin_mul_overflow(read, 10, &read) ||
            __builtin_add_overflow(read, (uint64_t)(byte - '0'), &read))
            return false;
    }
    if (text.length > 0) *number = read;
    return text.length > 0;
}

uint64_t kineto_number(struct kineto_text text)
{
    uint64_t number = 0;
    kineto_whole(text, &number);
    return number;
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
