#include "place_pickle.h"

#include <inttypes.h>
#include <string.h>

#include "mem.h"

#define MOST_VALUES (UINT32_MAX - 2)

struct reader {
    const char *path;
    const uint8_t *first, *at, *end;
    struct pickle *pickle;
    uint32_t *stack, *marks, *memo;
    size_t depth, stack_capacity, mark_count, mark_capacity, memo_count, memo_capacity;
};

static bool malformed(const struct reader *reader, const char *what, struct error *err)
{
    return error_set(err, ERROR_INPUT, "%s: not a readable pickle: %s before byte %zu", reader->path, what,
                     (size_t)(reader->at - reader->first));
}

/* Unsigned, little-endian. */
static bool read_number(struct reader *reader, size_t bytes, uint64_t *value, struct error *err)
{
    if (bytes > (size_t)(reader->end - reader->at)) return malformed(reader, "the end in an argument", err);
    *value = 0;
    for (size_t i = 0; i < bytes; i++) *value |= (uint64_t)reader->at[i] << (8 * i);
    reader->at += bytes;
    return true;
}

static bool push_index(uint32_t **array, size_t *count, size_t *capacity, uint32_t index, struct error *err)
{
    void *grown = *array;
    if (!mem_grow(MEM_GENERAL, &grown, capacity, *count + 1, sizeof **array))
        return error_memory(err, *count * sizeof **array, "a pickle's stack");
    *array = grown;
    (*array)[(*count)++] = index;
    return true;
}

static bool push(struct reader *reader, uint32_t index, struct error *err)
{
    return push_index(&reader->stack, &reader->depth, &reader->stack_capacity, index, err);
}

static bool push_value(struct reader *reader, struct pickle_value value, struct error *err)
{
    struct pickle *pickle = reader->pickle;
    void *values = pickle->values;
    if (pickle->value_count >= MOST_VALUES) return malformed(reader, "more than 4 billion values", err);
    if (!mem_grow(MEM_GENERAL, &values, &pickle->value_capacity, pickle->value_count + 1, sizeof value))
        return error_memory(err, pickle->value_count * sizeof value, "a pickle's values");
    pickle->values = values;
    pickle->values[pickle->value_count++] = value;
    return push(reader, (uint32_t)pickle->value_count - 1, err);
}

static bool push_integer(struct reader *reader, uint64_t number, bool negative, struct error *err)
{
    return push_value(reader, (struct pickle_value){.kind = PICKLE_INTEGER, .number = number, .negative = negative},
                      err);
}

static bool push_no_integer(struct reader *reader, struct error *err)
{
    return push_value(reader, (struct pickle_value){.kind = PICKLE_REAL}, err);
}

/* Two's complement of any length, little-endian; what 64 bits do not hold, signed or not, becomes a real. */
static bool push_long(struct reader *reader, uint64_t length, struct error *err)
{
    if (length > (uint64_t)(reader->end - reader->at)) return malformed(reader, "the end in a number", err);
    const uint8_t *bytes = reader->at;
    reader->at += length;
    bool negative = length > 0 && bytes[length - 1] & 0x80, fits = true;
    uint64_t number = negative ? UINT64_MAX : 0;
    for (uint64_t i = length; i-- > 0;) {
        if (i < 8)
            number = number << 8 | bytes[i];
        else
            fits &= bytes[i] == (negative ? 0xff : 0);
    }
    if (negative && number <= INT64_MAX) fits = false;
    return fits ? push_integer(reader, number, negative, err) : push_no_integer(reader, err);
}

/* What text opcodes have up to the end of their line. */
static bool read_line(struct reader *reader, const char **line, size_t *length, struct error *err)
{
    size_t left = (size_t)(reader->end - reader->at);
    const uint8_t *end = left > 0 ? memchr(reader->at, '\n', left) : NULL;
    if (!end) return malformed(reader, "the end in a line", err);
    *line = (const char *)reader->at;
    *length = (size_t)(end - reader->at);
    reader->at = end + 1;
    return true;
}

/* Decimal digits; *fits is false where 64 bits do not hold them. */
static bool read_digits(const struct reader *reader, const char *line, size_t length, uint64_t *value, bool *fits,
                        struct error *err)
{
    *value = 0;
    *fits = true;
    for (size_t i = 0; i < length; i++) {
        if (line[i] < '0' || line[i] > '9') return malformed(reader, "a number that is none", err);
        if (__builtin_mul_overflow(*value, 10, value) || __builtin_add_overflow(*value, line[i] - '0', value))
            *fits = false;
    }
    return length > 0 || malformed(reader, "a number that is none", err);
}

/* INT and LONG: a sign, digits, and an L behind the second. */
static bool push_decimal(struct reader *reader, bool has_suffix, struct error *err)
{
    const char *line = NULL;
    size_t length = 0;
    uint64_t value = 0;
    bool fits = true;
    TRY(read_line(reader, &line, &length, err));
    if (has_suffix && length > 0 && line[length - 1] == 'L') length--;
    bool negative = length > 0 && line[0] == '-';
    TRY(read_digits(reader, line + negative, length - negative, &value, &fits, err));
    if (negative && value > (uint64_t)1 << 63) fits = false;
    negative &= value > 0;
    return fits ? push_integer(reader, negative ? -value : value, negative, err) : push_no_integer(reader, err);
}

/* A line of text, or a real number that nobody reads. */
static bool push_line(struct reader *reader, enum pickle_kind kind, struct error *err)
{
    struct pickle_value value = {.kind = kind};
    size_t length = 0;
    TRY(read_line(reader, &value.text, &length, err));
    value.number = length;
    return push_value(reader, value, err);
}

static bool push_text(struct reader *reader, size_t length_bytes, struct error *err)
{
    uint64_t length = 0;
    TRY(read_number(reader, length_bytes, &length, err));
    if (length > (uint64_t)(reader->end - reader->at)) return malformed(reader, "the end in a string", err);
    struct pickle_value value = {.kind = PICKLE_TEXT, .number = length, .text = (const char *)reader->at};
    reader->at += length;
    return push_value(reader, value, err);
}

static bool append(struct reader *reader, uint32_t container, uint32_t item, struct error *err)
{
    struct pickle *pickle = reader->pickle;
    void *cells = pickle->cells;
    if (pickle->cell_count >= MOST_VALUES) return malformed(reader, "more than 4 billion items", err);
    if (!mem_grow(MEM_GENERAL, &cells, &pickle->cell_capacity, pickle->cell_count + 1, sizeof *pickle->cells))
        return error_memory(err, pickle->cell_count * sizeof *pickle->cells, "a pickle's lists");
    pickle->cells = cells;
    pickle->cells[pickle->cell_count++] = (struct pickle_cell){item, 0};
    struct pickle_value *value = &pickle->values[container];
    uint32_t cell = (uint32_t)pickle->cell_count;
    if (value->tail)
        pickle->cells[value->tail - 1].next = cell;
    else
        value->head = cell;
    value->tail = cell;
    return true;
}

/* Moves the stack from `from` up into the container under it, which must be of that kind. */
static bool append_from(struct reader *reader, size_t from, enum pickle_kind kind, struct error *err)
{
    size_t floor = reader->mark_count ? reader->marks[reader->mark_count - 1] : 0;
    if (from <= floor || reader->pickle->values[reader->stack[from - 1]].kind != kind)
        return malformed(reader, "items without their container", err);
    if (kind == PICKLE_DICT && (reader->depth - from) % 2 != 0) return malformed(reader, "a key without a value", err);
    for (size_t i = from; i < reader->depth; i++) TRY(append(reader, reader->stack[from - 1], reader->stack[i], err));
    reader->depth = from;
    return true;
}

/* The stack's height at the last mark, which is taken away. */
static bool pop_mark(struct reader *reader, size_t *height, struct error *err)
{
    if (reader->mark_count == 0) return malformed(reader, "items without a mark", err);
    *height = reader->marks[--reader->mark_count];
    return true;
}

static bool append_marked(struct reader *reader, enum pickle_kind kind, struct error *err)
{
    size_t height = 0;
    TRY(pop_mark(reader, &height, err));
    return append_from(reader, height, kind, err);
}

static bool append_last(struct reader *reader, size_t count, enum pickle_kind kind, struct error *err)
{
    if (reader->depth < count) return malformed(reader, "items without a container", err);
    return append_from(reader, reader->depth - count, kind, err);
}

/* The stack from `height` up becomes one list or dict. */
static bool make_container(struct reader *reader, size_t height, enum pickle_kind kind, struct error *err)
{
    size_t count = reader->depth - height;
    if (kind == PICKLE_DICT && count % 2 != 0) return malformed(reader, "a key without a value", err);
    TRY(push_value(reader, (struct pickle_value){.kind = kind}, err));
    uint32_t made = reader->stack[reader->depth - 1];
    for (size_t i = 0; i < count; i++) TRY(append(reader, made, reader->stack[height + i], err));
    reader->depth = height;
    return push(reader, made, err);
}

static bool make_short_tuple(struct reader *reader, size_t count, struct error *err)
{
    size_t floor = reader->mark_count ? reader->marks[reader->mark_count - 1] : 0;
    if (reader->depth - floor < count) return malformed(reader, "a tuple of more than there is", err);
    return make_container(reader, reader->depth - count, PICKLE_LIST, err);
}

static bool make_marked(struct reader *reader, enum pickle_kind kind, struct error *err)
{
    size_t height = 0;
    TRY(pop_mark(reader, &height, err));
    return make_container(reader, height, kind, err);
}

/* Picklers count their memos up from 0, so that no sparse table is needed. */
static bool put_memo(struct reader *reader, uint64_t at, struct error *err)
{
    if (reader->depth == 0 || at > reader->memo_count) return malformed(reader, "a memo out of order", err);
    uint32_t top = reader->stack[reader->depth - 1];
    if (at == reader->memo_count)
        return push_index(&reader->memo, &reader->memo_count, &reader->memo_capacity, top, err);
    reader->memo[at] = top;
    return true;
}

/* The number of a memo: so many bytes, or with 0 a line of digits. */
static bool read_memo(struct reader *reader, size_t bytes, uint64_t *at, struct error *err)
{
    const char *line = NULL;
    size_t length = 0;
    bool fits = true;
    if (bytes > 0) return read_number(reader, bytes, at, err);
    TRY(read_line(reader, &line, &length, err));
    TRY(read_digits(reader, line, length, at, &fits, err));
    return fits || malformed(reader, "a memo out of order", err);
}

static bool put_numbered(struct reader *reader, size_t bytes, struct error *err)
{
    uint64_t at = 0;
    TRY(read_memo(reader, bytes, &at, err));
    return put_memo(reader, at, err);
}

static bool get_memo(struct reader *reader, size_t bytes, struct error *err)
{
    uint64_t at = 0;
    TRY(read_memo(reader, bytes, &at, err));
    if (at >= reader->memo_count) return malformed(reader, "a memo that was never put", err);
    return push(reader, reader->memo[at], err);
}

static bool push_small(struct reader *reader, size_t bytes, struct error *err)
{
    uint64_t number = 0;
    TRY(read_number(reader, bytes, &number, err));
    bool negative = bytes == 4 && number > INT32_MAX;
    return push_integer(reader, negative ? number | UINT64_MAX << 32 : number, negative, err);
}

/* LONG1 and LONG4, whose length is signed. */
static bool push_sized_long(struct reader *reader, size_t bytes, struct error *err)
{
    uint64_t length = 0;
    TRY(read_number(reader, bytes, &length, err));
    if (length > INT32_MAX) return malformed(reader, "a number of negative length", err);
    return push_long(reader, length, err);
}

static bool skip_number(struct reader *reader, size_t bytes, struct error *err)
{
    uint64_t ignored;
    return read_number(reader, bytes, &ignored, err);
}

static bool push_real(struct reader *reader, struct error *err)
{
    TRY(skip_number(reader, 8, err));
    return push_no_integer(reader, err);
}

static bool push_mark(struct reader *reader, struct error *err)
{
    if (reader->depth > UINT32_MAX - 1) return malformed(reader, "a stack too deep", err);
    return push_index(&reader->marks, &reader->mark_count, &reader->mark_capacity, (uint32_t)reader->depth, err);
}

static const char *name_opcode(uint8_t opcode)
{
    switch (opcode) {
    case 'c': return "GLOBAL";
    case 0x93: return "STACK_GLOBAL";
    case 'R': return "REDUCE";
    case 'b': return "BUILD";
    case 'i': return "INST";
    case 'o': return "OBJ";
    case 0x81: return "NEWOBJ";
    case 0x92: return "NEWOBJ_EX";
    case 'P': return "PERSID";
    case 'Q': return "BINPERSID";
    case 0x82:
    case 0x83:
    case 0x84: return "EXT";
    default: return "of another kind";
    }
}

static bool refuse(const struct reader *reader, uint8_t opcode, struct error *err)
{
    return error_set(err, ERROR_INPUT,
                     "%s: the pickle has opcode 0x%02x (%s) at byte %zu; only dictionaries, lists, strings and numbers "
                     "are read, and nothing is executed",
                     reader->path, opcode, name_opcode(opcode), (size_t)(reader->at - reader->first) - 1);
}

static bool run_opcode(struct reader *reader, uint8_t opcode, struct error *err)
{
    switch (opcode) {
    case 0x80: return skip_number(reader, 1, err); /* PROTO */
    case 0x95: return skip_number(reader, 8, err); /* FRAME */
    case '(': return push_mark(reader, err);
    case '}': return push_value(reader, (struct pickle_value){.kind = PICKLE_DICT}, err);
    case ']':
    case ')': return push_value(reader, (struct pickle_value){.kind = PICKLE_LIST}, err);
    case 'a': return append_last(reader, 1, PICKLE_LIST, err);
    case 'e': return append_marked(reader, PICKLE_LIST, err);
    case 's': return append_last(reader, 2, PICKLE_DICT, err);
    case 'u': return append_marked(reader, PICKLE_DICT, err);
    case 't':
    case 'l': return make_marked(reader, PICKLE_LIST, err);
    case 'd': return make_marked(reader, PICKLE_DICT, err);
    case 0x85: return make_short_tuple(reader, 1, err);
    case 0x86: return make_short_tuple(reader, 2, err);
    case 0x87: return make_short_tuple(reader, 3, err);
    case 'K': return push_small(reader, 1, err);
    case 'M': return push_small(reader, 2, err);
    case 'J': return push_small(reader, 4, err);
    case 'I': return push_decimal(reader, false, err);
    case 'L': return push_decimal(reader, true, err);
    case 0x8a: return push_sized_long(reader, 1, err);
    case 0x8b: return push_sized_long(reader, 4, err);
    case 'F': return push_line(reader, PICKLE_REAL, err);
    case 'G': return push_real(reader, err);
    case 'N': return push_value(reader, (struct pickle_value){.kind = PICKLE_NONE}, err);
    case 0x88: return push_integer(reader, 1, false, err);
    case 0x89: return push_integer(reader, 0, false, err);
    case 'S':
    case 'V': return push_line(reader, PICKLE_TEXT, err); /* escapes are left as they stand */
    case 'U':
    case 'C':
    case 0x8c: return push_text(reader, 1, err);
    case 'T':
    case 'B':
    case 'X': return push_text(reader, 4, err);
    case 0x8d:
    case 0x8e: return push_text(reader, 8, err);
    case 0x94: return put_memo(reader, reader->memo_count, err);
    case 'p': return put_numbered(reader, 0, err);
    case 'q': return put_numbered(reader, 1, err);
    case 'r': return put_numbered(reader, 4, err);
    case 'g': return get_memo(reader, 0, err);
    case 'h': return get_memo(reader, 1, err);
    case 'j': return get_memo(reader, 4, err);
    default: return refuse(reader, opcode, err);
    }
}

static bool run(struct reader *reader, struct error *err)
{
    while (reader->at < reader->end) {
        uint8_t opcode = *reader->at++;
        if (opcode != '.') {
            TRY(run_opcode(reader, opcode, err));
            continue;
        }
        if (reader->depth != 1 || reader->mark_count != 0) return malformed(reader, "more or less than one value", err);
        reader->pickle->root = reader->stack[0];
        return true;
    }
    return malformed(reader, "no STOP", err);
}

bool pickle_read(struct pickle *pickle, const char *path, const void *bytes, size_t length, struct error *err)
{
    const uint8_t *first = bytes;
    *pickle = (struct pickle){0};
    struct reader reader = {.path = path, .first = first, .at = first, .end = first + length, .pickle = pickle};
    bool ok = run(&reader, err);
    mem_free(reader.stack);
    mem_free(reader.marks);
    mem_free(reader.memo);
    if (!ok) pickle_finish(pickle);
    return ok;
}

void pickle_finish(struct pickle *pickle)
{
    mem_free(pickle->values);
    mem_free(pickle->cells);
    *pickle = (struct pickle){0};
}

const struct pickle_value *pickle_get(const struct pickle *pickle, const struct pickle_value *dict, const char *key)
{
    if (!dict || dict->kind != PICKLE_DICT) return NULL;
    uint32_t cell = dict->head;
    for (int seen = 0; cell && seen < PICKLE_KEYS; seen++) {
        const struct pickle_cell *held = &pickle->cells[cell - 1], *value = &pickle->cells[held->next - 1];
        if (pickle_is(&pickle->values[held->value], key)) return &pickle->values[value->value];
        cell = value->next;
    }
    return NULL;
}

const struct pickle_value *pickle_next(const struct pickle *pickle, const struct pickle_value *list, uint32_t *cell)
{
    if (!list || list->kind != PICKLE_LIST) return NULL;
    *cell = *cell ? pickle->cells[*cell - 1].next : list->head;
    return *cell ? &pickle->values[pickle->cells[*cell - 1].value] : NULL;
}

bool pickle_is(const struct pickle_value *value, const char *text)
{
    return value && value->kind == PICKLE_TEXT && value->number == strlen(text) &&
           memcmp(value->text, text, value->number) == 0;
}

bool pickle_count(const struct pickle_value *value, uint64_t *count)
{
    return value && !value->negative && pickle_word(value, count);
}

bool pickle_word(const struct pickle_value *value, uint64_t *word)
{
    if (!value || value->kind != PICKLE_INTEGER) return false;
    *word = value->number;
    return true;
}
