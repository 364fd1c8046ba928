#define _GNU_SOURCE
#include "place_csv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ascii.h"
#include "files.h"
#include "hash.h"
#include "mem.h"
#include "printable.h"

#define MOST_FILE_BYTES ((uint64_t)1 << 30)
#define MOST_ROWS       10000000
#define MOST_COLUMNS    16

enum column {
    COLUMN_ID,
    COLUMN_LOWER,
    COLUMN_UPPER,
    COLUMN_SIZE,
    COLUMN_ALIGNMENT,
    COLUMN_OFFSET,
    COLUMN_CHUNK,
    COLUMN_ALIAS,
    COLUMNS
};

static const char *const column_names[COLUMNS] = {"id",        "lower",  "upper", "size",
                                                  "alignment", "offset", "chunk", "alias"};

struct reader {
    const char *path;
    struct place_table *table;
    size_t line, row_lines; /* where the row begins, and how many lines it takes */
    size_t place[COLUMNS];  /* the field of each column, or COLUMN_ABSENT */
    size_t fields;
    size_t chunk_capacity;
};
#define COLUMN_ABSENT SIZE_MAX

/* The closing quote of a field that begins with one, else the end of the text; two quotes stand for one inside it. */
static char *closing_quote(char *field)
{
    char *at = field + 1;
    while (*at && (*at != '"' || at[1] == '"')) at += *at == '"' ? 2 : 1;
    return at;
}

/* The comma, line end or end of the text behind a field: inside quotes they stand for themselves (RFC 4180). */
static char *field_end(char *field)
{
    field += strspn(field, " \t");
    if (*field == '"') field = closing_quote(field);
    return field + strcspn(field, ",\n");
}

/* Ends the row at *next, which goes to the row after it, or to NULL. Counts the lines. */
static char *take_row(struct reader *reader, char **next)
{
    char *row = *next, *end = field_end(row);
    while (*end == ',') end = field_end(end + 1);
    *next = *end ? end + 1 : NULL;
    *end = '\0';
    reader->line += reader->row_lines;
    reader->row_lines = 1;
    for (const char *at = row; (at = strchr(at, '\n')); at++) reader->row_lines++;
    return row;
}

static bool unquote(struct reader *reader, char *field, struct error *err)
{
    if (*field != '"') return true;
    char *end = closing_quote(field), *to = field;
    if (*end == '\0')
        return error_set(err, ERROR_INPUT, "%s:%zu: the quote before '%s' is not closed", reader->path, reader->line,
                         PRINTABLE_CUT(field + 1, 40));
    if (end[1])
        return error_set(err, ERROR_INPUT, "%s:%zu: '%s' follows a closing quote; a comma is wanted", reader->path,
                         reader->line, PRINTABLE_CUT(end + 1, 40));
    for (const char *from = field + 1; from < end; from += *from == '"' ? 2 : 1) *to++ = *from;
    *to = '\0';
    return true;
}

/* Cuts a row at its commas; blanks around a field do not count. *count becomes the number of fields, most + 1 if more.
 */
static bool split_fields(struct reader *reader, char *row, char **fields, size_t most, size_t *count, struct error *err)
{
    *count = 0;
    for (char *next = row; next;) {
        char *field = next, *end = field_end(field);
        next = *end == ',' ? end + 1 : NULL;
        *end = '\0';
        field += strspn(field, " \t");
        size_t length = strlen(field);
        while (length > 0 && strchr(" \t\r", field[length - 1])) field[--length] = '\0';
        TRY(unquote(reader, field, err));
        if (*count < most) fields[*count] = field;
        if (++*count > most) return true;
    }
    return true;
}

static bool find_column(struct reader *reader, const char *name, size_t field, struct error *err)
{
    for (size_t c = 0; c < COLUMNS; c++) {
        if (!ascii_same(name, column_names[c])) continue;
        if (reader->place[c] != COLUMN_ABSENT)
            return error_set(err, ERROR_INPUT, "%s:%zu: column '%s' appears twice", reader->path, reader->line, name);
        reader->place[c] = field;
        return true;
    }
    return error_set(err, ERROR_INPUT,
                     "%s:%zu: column '%s' is not known; id, lower, upper, size, alignment, offset, chunk and alias are",
                     reader->path, reader->line, PRINTABLE_CUT(name, 40));
}

static bool read_header(struct reader *reader, char *line, struct error *err)
{
    char *fields[MOST_COLUMNS];
    TRY(split_fields(reader, line, fields, MOST_COLUMNS, &reader->fields, err));
    if (reader->fields > MOST_COLUMNS)
        return error_set(err, ERROR_INPUT, "%s:%zu: more than %d columns; the header is id,lower,upper,size",
                         reader->path, reader->line, MOST_COLUMNS);
    for (size_t c = 0; c < COLUMNS; c++) reader->place[c] = COLUMN_ABSENT;
    for (size_t i = 0; i < reader->fields; i++) TRY(find_column(reader, fields[i], i, err));
    for (size_t c = 0; c <= COLUMN_SIZE; c++)
        if (reader->place[c] == COLUMN_ABSENT)
            return error_set(err, ERROR_INPUT,
                             "%s:%zu: column '%s' is missing from the header; it is id,lower,upper,size", reader->path,
                             reader->line, column_names[c]);
    reader->table->has_alias = reader->place[COLUMN_ALIAS] != COLUMN_ABSENT;
    reader->table->has_alignment = reader->place[COLUMN_ALIGNMENT] != COLUMN_ABSENT;
    return true;
}

static bool read_number_of(const struct reader *reader, const char *text, const char *name, uint64_t *value,
                           struct error *err)
{
    char *end;
    if (text[0] == '-')
        return error_set(err, ERROR_INPUT, "%s:%zu: %s '%s' is negative; a whole number from 0 is wanted", reader->path,
                         reader->line, name, PRINTABLE_CUT(text, 40));
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0')
        return error_set(err, ERROR_INPUT, "%s:%zu: %s '%s' is not a whole number", reader->path, reader->line, name,
                         PRINTABLE_CUT(text, 40));
    if (errno == ERANGE)
        return error_set(err, ERROR_INPUT, "%s:%zu: %s '%s' is above %" PRIu64, reader->path, reader->line, name,
                         PRINTABLE_CUT(text, 40), UINT64_MAX);
    *value = parsed;
    return true;
}

static bool read_number(const struct reader *reader, char **fields, enum column column, uint64_t *value,
                        struct error *err)
{
    return read_number_of(reader, fields[reader->place[column]], column_names[column], value, err);
}

/* A clock's components; *sum of them is an order of events that keeps to that of clocks. */
static bool read_clock(struct reader *reader, char *text, enum column column, uint64_t *time, uint64_t *sum,
                       struct error *err)
{
    const struct place_clocks *clocks = &reader->table->clocks;
    size_t s = 0;
    *sum = 0;
    for (char *next = text; next; s++) {
        char *part = next, *end = strchr(part, ':');
        next = end ? end + 1 : NULL;
        if (end) *end = '\0';
        if (s == clocks->streams) {
            s++;
            break;
        }
        TRY(read_number_of(reader, part, column_names[column], &time[s], err));
        if (time[s] > CLOCKS_MOST_TIME)
            return error_set(err, ERROR_INPUT, "%s:%zu: %s '%s' is above %" PRIu64 ", the most with several streams",
                             reader->path, reader->line, column_names[column], PRINTABLE_CUT(part, 40),
                             CLOCKS_MOST_TIME);
        *sum += time[s];
    }
    if (s == clocks->streams) return true;
    return error_set(err, ERROR_INPUT, "%s:%zu: %s has not the %zu streams of the first row", reader->path,
                     reader->line, column_names[column], clocks->streams);
}

/* The first row says how many streams there are. */
static bool begin_clocks(struct reader *reader, const char *lower, struct error *err)
{
    struct place_clocks *clocks = &reader->table->clocks;
    if (reader->table->count > 0 || !strchr(lower, ':')) return true;
    clocks->streams = 1;
    for (const char *at = lower; (at = strchr(at, ':')); at++) clocks->streams++;
    if (clocks->streams > CLOCKS_MOST_STREAMS)
        return error_set(err, ERROR_INPUT, "%s:%zu: lower has %zu streams; the most is %d", reader->path, reader->line,
                         clocks->streams, CLOCKS_MOST_STREAMS);
    clocks->start = mem_alloc(MEM_GENERAL, CLOCKS_MOST_BUFFERS * clocks->streams, sizeof *clocks->start);
    clocks->end = mem_alloc(MEM_GENERAL, CLOCKS_MOST_BUFFERS * clocks->streams, sizeof *clocks->end);
    return (clocks->start && clocks->end) ||
           error_memory(err, CLOCKS_MOST_BUFFERS * clocks->streams * 16, "the clocks of a placement problem");
}

static bool check_clock(const struct reader *reader, const uint64_t *start, const uint64_t *end, struct error *err)
{
    bool later = false;
    for (size_t s = 0; s < reader->table->clocks.streams; s++) {
        if (end[s] < start[s])
            return error_set(err, ERROR_INPUT,
                             "%s:%zu: upper is %" PRIu64 " and lower %" PRIu64
                             " of stream %zu, counted from 0; no clock goes back",
                             reader->path, reader->line, end[s], start[s], s);
        later |= end[s] > start[s];
    }
    return later || error_set(err, ERROR_INPUT, "%s:%zu: upper is lower in every stream; it must be later in one",
                              reader->path, reader->line);
}

static bool read_life(struct reader *reader, char **fields, struct place_buffer *buffer, struct error *err)
{
    struct place_clocks *clocks = &reader->table->clocks;
    char *lower = fields[reader->place[COLUMN_LOWER]], *upper = fields[reader->place[COLUMN_UPPER]];
    TRY(begin_clocks(reader, lower, err));
    if (clocks->streams == 0) {
        TRY(read_number(reader, fields, COLUMN_LOWER, &buffer->lower, err));
        return read_number(reader, fields, COLUMN_UPPER, &buffer->upper, err);
    }
    if (reader->table->count == CLOCKS_MOST_BUFFERS)
        return error_set(err, ERROR_INPUT, "%s:%zu: more than %d rows with clocks of several streams", reader->path,
                         reader->line, CLOCKS_MOST_BUFFERS);
    uint64_t *start = clocks->start + reader->table->count * clocks->streams;
    uint64_t *end = clocks->end + reader->table->count * clocks->streams;
    TRY(read_clock(reader, lower, COLUMN_LOWER, start, &buffer->lower, err));
    TRY(read_clock(reader, upper, COLUMN_UPPER, end, &buffer->upper, err));
    return check_clock(reader, start, end, err);
}

static bool read_optional(const struct reader *reader, char **fields, enum column column, uint64_t *value,
                          struct error *err)
{
    if (reader->place[column] == COLUMN_ABSENT) return true;
    const char *text = fields[reader->place[column]];
    if (text[0] == '\0' || strcmp(text, "-1") == 0) return true;
    return read_number(reader, fields, column, value, err);
}

static bool check_row(const struct reader *reader, const struct place_buffer *buffer, const char *id, struct error *err)
{
    if (id[0] == '\0') return error_set(err, ERROR_INPUT, "%s:%zu: the id is empty", reader->path, reader->line);
    if (buffer->lower >= buffer->upper)
        return error_set(err, ERROR_INPUT, "%s:%zu: upper %" PRIu64 " is not above lower %" PRIu64, reader->path,
                         reader->line, buffer->upper, buffer->lower);
    if (buffer->fixed != PLACE_UNPLACED && buffer->align > 1 && buffer->fixed % buffer->align != 0)
        return error_set(err, ERROR_INPUT, "%s:%zu: offset %" PRIu64 " is not a multiple of alignment %" PRIu64,
                         reader->path, reader->line, buffer->fixed, buffer->align);
    return true;
}

/* Room for as many rows as the text has lines: exactly, because a million rows are common and doubling wastes half. */
static bool reserve_rows(struct reader *reader, const char *text, struct error *err)
{
    struct place_table *table = reader->table;
    size_t lines = 0;
    for (const char *at = text; *at;) {
        size_t length = strcspn(at, "\n");
        lines += length > 1 || (length == 1 && *at != '\r');
        at += length + (at[length] == '\n');
    }
    if (lines > MOST_ROWS + 1)
        return error_set(err, ERROR_INPUT, "%s: %zu rows after the header; the most is %d", reader->path, lines - 1,
                         MOST_ROWS);
    table->buffers = mem_alloc(MEM_GENERAL, lines, sizeof *table->buffers);
    table->ids = mem_alloc(MEM_GENERAL, lines, sizeof *table->ids);
    if (table->buffers && table->ids) return true;
    return error_memory(err, lines * (sizeof *table->buffers + sizeof *table->ids), "the rows of a placement problem");
}

static bool reserve_chunks(struct reader *reader, struct error *err)
{
    void *chunks = reader->table->chunk;
    if (reader->place[COLUMN_CHUNK] == COLUMN_ABSENT) return true;
    bool ok =
        mem_grow(MEM_GENERAL, &chunks, &reader->chunk_capacity, reader->table->count + 1, sizeof *reader->table->chunk);
    reader->table->chunk = chunks;
    return ok || error_memory(err, reader->table->count * sizeof(uint64_t), "the chunks of a placement problem");
}

static bool append_row(struct reader *reader, const struct place_buffer *buffer, uint64_t chunk, const char *id,
                       struct error *err)
{
    struct place_table *table = reader->table;
    TRY(reserve_chunks(reader, err));
    table->buffers[table->count] = *buffer;
    if (table->chunk) table->chunk[table->count] = chunk;
    table->ids[table->count++] = id;
    return true;
}

static bool read_row(struct reader *reader, char *line, struct error *err)
{
    char *fields[MOST_COLUMNS];
    struct place_buffer buffer = {.align = 1, .fixed = PLACE_UNPLACED, .offset = PLACE_UNPLACED};
    size_t count;
    TRY(split_fields(reader, line, fields, MOST_COLUMNS, &count, err));
    if (count != reader->fields)
        return error_set(err, ERROR_INPUT, "%s:%zu: %zu fields where the header has %zu", reader->path, reader->line,
                         count, reader->fields);
    TRY(read_life(reader, fields, &buffer, err));
    TRY(read_number(reader, fields, COLUMN_SIZE, &buffer.size, err));
    TRY(read_optional(reader, fields, COLUMN_ALIGNMENT, &buffer.align, err));
    TRY(read_optional(reader, fields, COLUMN_OFFSET, &buffer.fixed, err));
    TRY(read_optional(reader, fields, COLUMN_ALIAS, &buffer.alias, err));
    uint64_t chunk = PLACE_UNPLACED;
    TRY(read_optional(reader, fields, COLUMN_CHUNK, &chunk, err));
    const char *id = fields[reader->place[COLUMN_ID]];
    TRY(check_row(reader, &buffer, id, err));
    return append_row(reader, &buffer, chunk, id, err);
}

static bool read_lines(struct reader *reader, char *text, struct error *err)
{
    bool header = false;
    for (char *next = text; next;) {
        char *line = take_row(reader, &next);
        if (line[strspn(line, " \t\r")] == '\0') continue;
        TRY(header ? read_row(reader, line, err) : read_header(reader, line, err));
        header = true;
    }
    if (header) return true;
    return error_set(err, ERROR_INPUT,
                     "%s: the file is empty; a header id,lower,upper,size and a row per buffer are wanted",
                     reader->path);
}

/* Open addressing over the ids' hashes. */
static bool check_ids(const struct reader *reader, struct error *err)
{
    const struct place_table *table = reader->table;
    size_t slots = 16;
    while (slots < 2 * table->count) slots *= 2;
    uint32_t *slot = mem_zalloc(MEM_GENERAL, slots, sizeof *slot); /* row + 1 */
    if (!slot) return error_memory(err, slots * sizeof *slot, "comparing ids");
    bool ok = true;
    for (size_t i = 0; ok && i < table->count; i++) {
        size_t at = hash_bytes(table->ids[i], strlen(table->ids[i]), 0) & (slots - 1);
        while (ok && slot[at]) {
            if (strcmp(table->ids[slot[at] - 1], table->ids[i]) == 0)
                ok = error_set(err, ERROR_INPUT,
                               "%s: id '%s' appears twice, in rows %" PRIu32 " and %zu after the header", reader->path,
                               PRINTABLE_CUT(table->ids[i], 40), slot[at], i + 1);
            at = (at + 1) & (slots - 1);
        }
        slot[at] = (uint32_t)i + 1;
    }
    mem_free(slot);
    return ok;
}

/* Of the text only the ids are still needed: they move together, and the rest is given back. Failing that it stays. */
static void keep_ids(struct place_table *table)
{
    char *to = table->text;
    for (size_t i = 0; i < table->count; i++) {
        size_t bytes = strlen(table->ids[i]) + 1;
        memmove(to, table->ids[i], bytes);
        table->ids[i] = to;
        to += bytes;
    }
    char *text = mem_resize(MEM_GENERAL, table->text, (size_t)(to - table->text) + 1, 1);
    if (text) table->text = text;
    to = table->text;
    for (size_t i = 0; i < table->count; to += strlen(to) + 1) table->ids[i++] = to;
}

bool place_table_parse(struct place_table *table, const char *path, char *text, size_t length, struct error *err)
{
    *table = (struct place_table){.text = text};
    struct reader reader = {.path = path, .row_lines = 1, .table = table};
    bool ok = strlen(text) == length ||
              error_set(err, ERROR_INPUT, "%s: a zero byte after %zu bytes; text is wanted", path, strlen(text));
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0) text += 3; /* spreadsheets write a byte order mark */
    ok = ok && reserve_rows(&reader, text, err) && read_lines(&reader, text, err) && check_ids(&reader, err);
    if (ok)
        keep_ids(table);
    else
        place_table_finish(table);
    return ok;
}

bool place_table_read(struct place_table *table, const char *path, struct error *err)
{
    char *text;
    size_t length;
    *table = (struct place_table){0};
    TRY(files_read(path, MOST_FILE_BYTES, &text, &length, err));
    return place_table_parse(table, path, text, length, err);
}

static void write_times(FILE *stream, const struct place_table *table, size_t row)
{
    const struct place_clocks *clocks = &table->clocks;
    const struct place_buffer *buffer = &table->buffers[row];
    if (clocks->streams == 0) {
        fprintf(stream, ",%" PRIu64 ",%" PRIu64, buffer->lower, buffer->upper);
        return;
    }
    for (size_t s = 0; s < clocks->streams; s++)
        fprintf(stream, "%c%" PRIu64, s == 0 ? ',' : ':', clocks->start[row * clocks->streams + s]);
    for (size_t s = 0; s < clocks->streams; s++)
        fprintf(stream, "%c%" PRIu64, s == 0 ? ',' : ':', clocks->end[row * clocks->streams + s]);
}

bool place_table_write(const struct place_table *table, const char *path, struct error *err)
{
    struct files_writer writer;
    TRY(files_begin(&writer, path, err));
    bool seen = isatty(fileno(writer.stream)) == 1;
    fprintf(writer.stream, "id,lower,upper,size%s%s%s,offset\n", table->has_alignment ? ",alignment" : "",
            table->has_alias ? ",alias" : "", table->chunk ? ",chunk" : "");
    for (size_t i = 0; i < table->count; i++) {
        const struct place_buffer *buffer = &table->buffers[i];
        (seen ? printable_write_csv_report : printable_write_csv)(writer.stream, table->ids[i]);
        write_times(writer.stream, table, i);
        fprintf(writer.stream, ",%" PRIu64, buffer->size);
        if (table->has_alignment) fprintf(writer.stream, ",%" PRIu64, buffer->align);
        if (table->has_alias) fprintf(writer.stream, ",%" PRIu64, buffer->alias);
        if (table->chunk) fprintf(writer.stream, ",%" PRIu64, table->chunk[i]);
        fprintf(writer.stream, ",%" PRIu64 "\n", buffer->offset);
    }
    return files_commit(&writer, err);
}

void place_table_finish(struct place_table *table)
{
    mem_free(table->buffers);
    mem_free(table->ids);
    mem_free(table->chunk);
    mem_free(table->clocks.start);
    mem_free(table->clocks.end);
    mem_free(table->text);
    *table = (struct place_table){0};
}
