#define _GNU_SOURCE
#include "printable.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

size_t utf8_character(const char *text, size_t left, uint32_t *point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (left == 0) return 0;
    unsigned char first = (unsigned char)text[0];
    size_t length = first < 0x80 ? 1 : first < 0xC0 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF8 ? 4 : 0;
    if (length == 0 || length > left) return 0;
    uint32_t value = length == 1 ? first : first & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        unsigned char next = (unsigned char)text[i];
        if ((next & 0xC0) != 0x80) return 0;
        value = value << 6 | (next & 0x3Fu);
    }
    if (value < least[length] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return 0;
    *point = value;
    return length;
}

size_t utf8_whole_length(const char *text, size_t length)
{
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        unsigned char byte = (unsigned char)text[length - back];
        if ((byte & 0xC0) == 0x80) continue;
        size_t wanted = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
        return wanted > back ? length - back : length;
    }
    return length;
}

bool printable_point(uint32_t point)
{
    if (point < 0x20 || (point >= 0x7F && point <= 0x9F)) return false;
    if (point == 0x61C || point == 0x200E || point == 0x200F) return false;
    if (point >= 0x2028 && point <= 0x202E) return false; /* line and paragraph separators, then bidi controls */
    if (point >= 0x2066 && point <= 0x2069) return false;
    return (point & 0xFFFE) != 0xFFFE;
}

int printable_cells(uint32_t point)
{
    if (point < 0x80 || MB_CUR_MAX == 1) return 1;
    return wcwidth((wchar_t)point);
}

static size_t likely_cells(uint32_t point)
{
    int cells = printable_cells(point);
    return cells < 0 ? 1 : (size_t)cells;
}

size_t printable_width(const char *text, size_t length)
{
    size_t cells = 0;
    for (size_t at = 0, bytes; at < length; at += bytes ? bytes : 1) {
        uint32_t point = '?';
        bytes = utf8_character(text + at, length - at, &point);
        cells += likely_cells(point);
    }
    return cells;
}

/* One character of a text as it is shown. */
struct shown {
    char text[8];
    size_t bytes, cells; /* of it */
    size_t taken;        /* bytes of the plain text */
    bool escaped;
};

static const char *short_escape(uint32_t point)
{
    return point == '\n' ? "\\n" : point == '\r' ? "\\r" : point == '\t' ? "\\t" : NULL;
}

static struct shown show_character(const char *plain, size_t left)
{
    struct shown shown = {.taken = 1};
    uint32_t point = 0;
    size_t length = utf8_character(plain, left, &point);
    if (length > 0) shown.taken = length;
    if (length > 0 && printable_point(point)) {
        memcpy(shown.text, plain, length);
        shown.bytes = length;
        shown.cells = likely_cells(point);
        return shown;
    }
    const char *escape = length > 0 ? short_escape(point) : NULL;
    const char *format = length > 1 ? "\\u%04x" : "\\x%02x";
    shown.bytes = (size_t)(escape ? snprintf(shown.text, sizeof shown.text, "%s", escape)
                                  : snprintf(shown.text, sizeof shown.text, format,
                                             length > 1 ? (unsigned)point : (unsigned)(unsigned char)*plain));
    shown.cells = shown.bytes;
    shown.escaped = true;
    return shown;
}

/* Where a cut may be made, so that an ellipsis still fits behind it. */
struct cut {
    size_t bytes, cells;
};

/* Returns the cells of what is written. */
static size_t fill(const char *plain, size_t most_cells, char *out, size_t most_bytes)
{
    static const char ellipsis[] = "…";
    const size_t room = most_bytes - sizeof ellipsis; /* and the end */
    struct cut now = {0}, cut = {0};
    size_t left = strlen(plain);
    while (left > 0) {
        struct shown shown = show_character(plain, left);
        if (now.cells + 1 <= most_cells && now.bytes <= room) cut = now;
        if (now.cells + shown.cells > most_cells || now.bytes + shown.bytes > room) break;
        memcpy(out + now.bytes, shown.text, shown.bytes);
        now.bytes += shown.bytes;
        now.cells += shown.cells;
        plain += shown.taken;
        left -= shown.taken;
    }
    if (left > 0) {
        now = cut;
        memcpy(out + now.bytes, ellipsis, sizeof ellipsis - 1);
        now.bytes += sizeof ellipsis - 1;
        now.cells++;
    }
    out[now.bytes] = '\0';
    return now.cells;
}

const char *printable(const char *plain, struct printable *room)
{
    fill(plain ? plain : "", SIZE_MAX, room->text, sizeof room->text);
    return room->text;
}

const char *printable_cut(const char *plain, size_t cells, struct printable *room)
{
    fill(plain ? plain : "", cells, room->text, sizeof room->text);
    return room->text;
}

const char *printable_fit(const char *plain, size_t cells, bool right, struct printable *room)
{
    size_t used = fill(plain ? plain : "", cells, room->text, sizeof room->text);
    size_t blanks = cells > used ? cells - used : 0, bytes = strlen(room->text);
    if (bytes + blanks >= sizeof room->text) return room->text;
    if (right) memmove(room->text + blanks, room->text, bytes);
    memset(room->text + (right ? 0 : bytes), ' ', blanks);
    room->text[bytes + blanks] = '\0';
    return room->text;
}

bool is_printable(const char *plain)
{
    for (size_t left = strlen(plain); left > 0;) {
        struct shown shown = show_character(plain, left);
        if (shown.escaped) return false;
        plain += shown.taken;
        left -= shown.taken;
    }
    return true;
}

void text_add_printable(struct text *text, const char *plain)
{
    for (size_t left = plain ? strlen(plain) : 0; left > 0;) {
        struct shown shown = show_character(plain, left);
        text_add_bytes(text, shown.text, shown.bytes);
        plain += shown.taken;
        left -= shown.taken;
    }
}

static const char *xml_escape(char c)
{
    switch (c) {
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '&': return "&amp;";
    case '"': return "&quot;";
    case '\'': return "&apos;";
    default: return NULL;
    }
}

void text_add_xml(struct text *text, const char *plain)
{
    for (size_t left = strlen(plain); left > 0;) {
        struct shown shown = show_character(plain, left);
        const char *escape = xml_escape(*plain);
        text_add_bytes(text, escape ? escape : shown.text, escape ? strlen(escape) : shown.bytes);
        plain += shown.taken;
        left -= shown.taken;
    }
}

static bool is_plain_json(uint32_t point) { return point != '"' && point != '\\' && printable_point(point); }

static void write_json_escape(FILE *out, uint32_t point)
{
    if (point == '"' || point == '\\')
        fprintf(out, "\\%c", (int)point);
    else if (point < 0x10000)
        fprintf(out, "\\u%04x", point);
    else
        fprintf(out, "\\u%04x\\u%04x", 0xD800 + ((point - 0x10000) >> 10), 0xDC00 + ((point - 0x10000) & 0x3FF));
}

void printable_write_json(FILE *out, const char *text, size_t length)
{
    putc('"', out);
    for (size_t at = 0, begin = 0; at <= length; begin = at) {
        uint32_t point = 0;
        size_t width = 0;
        while (at < length && (width = utf8_character(text + at, length - at, &point)) > 0 && is_plain_json(point))
            at += width;
        fwrite(text + begin, 1, at - begin, out);
        if (at == length) break;
        if (width == 0)
            putc('?', out);
        else
            write_json_escape(out, point);
        at += width ? width : 1;
    }
    putc('"', out);
}

/* Blanks at the ends are kept by most readers only inside quotes. */
static bool needs_quotes(const char *text)
{
    size_t length = strlen(text);
    if (length > 0 && (text[0] == ' ' || text[length - 1] == ' ')) return true;
    return strpbrk(text, ",\"") || !is_printable(text);
}

static void write_csv(FILE *out, const char *text, bool raw)
{
    if (!needs_quotes(text)) {
        fputs(text, out);
        return;
    }
    putc('"', out);
    for (size_t left = strlen(text); left > 0;) {
        struct shown shown = show_character(text, left);
        if (*text == '"') putc('"', out);
        if (raw || *text == '\n')
            fwrite(text, 1, shown.taken, out);
        else
            fwrite(shown.text, 1, shown.bytes, out);
        text += shown.taken;
        left -= shown.taken;
    }
    putc('"', out);
}

void printable_write_csv(FILE *out, const char *text) { write_csv(out, text, true); }

void printable_write_csv_report(FILE *out, const char *text) { write_csv(out, text, false); }
