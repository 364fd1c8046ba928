/* PyTorch's memory snapshots as placement problems: dumps by Python's own pickle (the fuzz corpus) and pickles written
 * here opcode by opcode. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "files.h"
#include "mem.h"
#include "place_import.h"
#include "place_pickle.h"
#include "text.h"

static void put_text(struct text *out, const char *text)
{
    uint8_t head[] = {0x8c, (uint8_t)strlen(text)};
    text_add_bytes(out, head, 2);
    text_add_bytes(out, text, strlen(text));
}

static void put_number(struct text *out, int32_t number)
{
    uint32_t bits = (uint32_t)number;
    uint8_t bytes[] = {'J', (uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16), (uint8_t)(bits >> 24)};
    text_add_bytes(out, bytes, 5);
}

static void put_ops(struct text *out, const char *ops) { text_add_bytes(out, ops, strlen(ops)); }

static void put_event(struct text *out, const char *action, int32_t address, int32_t size)
{
    put_ops(out, "}(");
    put_text(out, "action");
    put_text(out, action);
    put_text(out, "addr");
    put_number(out, address);
    put_text(out, "size");
    put_number(out, size);
    put_ops(out, "ua");
}

/* {"device_traces": [[EVENTS]], "segments": [one with an active block of 90 bytes at 9000, in 4096]}: without its end.
 */
static struct text begin_dump(void)
{
    struct text out = {0};
    text_add_bytes(&out, "\x80\x04", 2);
    put_ops(&out, "}(");
    put_text(&out, "segments");
    put_ops(&out, "]}(");
    put_text(&out, "total_size");
    put_number(&out, 4096);
    put_text(&out, "blocks");
    put_ops(&out, "]}(");
    put_text(&out, "address");
    put_number(&out, 9000);
    put_text(&out, "size");
    put_number(&out, 512);
    put_text(&out, "requested_size");
    put_number(&out, 90);
    put_text(&out, "state");
    put_text(&out, "active_allocated");
    put_ops(&out, "uaua");
    put_text(&out, "device_traces");
    put_ops(&out, "]]");
    return out;
}

static bool parse(struct text *dump, struct place_table *table, struct place_source *source, struct error *err)
{
    return place_snapshot_parse(table, source, "s", dump->bytes, dump->length, err);
}

static void expect(const struct place_table *table, size_t i, uint64_t lower, uint64_t upper, uint64_t size)
{
    const struct place_buffer *buffer = &table->buffers[i];
    cr_expect(buffer->lower == lower && buffer->upper == upper && buffer->size == size && buffer->align == 512,
              "buffer %zu: [%llu, %llu) %llu", i, (unsigned long long)buffer->lower, (unsigned long long)buffer->upper,
              (unsigned long long)buffer->size);
}

Test(place_snapshot, allocations_live_until_their_free_completes)
{
    struct text dump = begin_dump();
    put_event(&dump, "segment_alloc", 100, 2048);
    put_event(&dump, "alloc", 100, 300);
    put_event(&dump, "free_completed", 700, 50); /* there before the first event */
    put_event(&dump, "free_requested", 100, 300);
    put_event(&dump, "free_completed", 100, 300);
    put_event(&dump, "segment_free", 100, 2048);
    put_event(&dump, "alloc", 100, 20);
    put_event(&dump, "alloc", 100, 30); /* its free was lost */
    put_ops(&dump, "au.");
    struct error err = {0};
    struct place_table table;
    struct place_source source;
    cr_assert(parse(&dump, &table, &source, &err), "%s", err.text);
    cr_assert_eq(table.count, 5);
    expect(&table, 0, 2, 5, 300);
    expect(&table, 1, 0, 3, 50);
    expect(&table, 2, 7, 8, 20);
    expect(&table, 3, 8, 9, 30);
    expect(&table, 4, 0, 9, 90);
    cr_expect_str_eq(table.ids[4], "before4");
    cr_expect(source.snapshot && source.device == 0 && source.events == 8);
    cr_expect_eq(source.peak_bytes, 440);
    cr_expect_eq(source.reserved_bytes, 4096 + 2048);
    place_table_finish(&table);
    text_finish(&dump);
}

static void read_corpus(const char *name, char **bytes, size_t *length)
{
    char path[512];
    struct error err = {0};
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/place_snapshot/%s", getenv("FATHOM_SOURCE"), name);
    cr_assert(files_read(path, 1 << 20, bytes, length, &err), "%s", err.text);
}

Test(place_snapshot, pythons_protocols_2_to_5_say_the_same)
{
    static const char *const names[] = {"protocol2", "protocol3", "protocol4", "protocol5"};
    for (size_t i = 0; i < 4; i++) {
        char *bytes;
        size_t length;
        struct error err = {0};
        struct place_table table;
        struct place_source source;
        read_corpus(names[i], &bytes, &length);
        cr_assert(place_snapshot_parse(&table, &source, names[i], bytes, length, &err), "%s", err.text);
        cr_expect(table.count == 7 && source.events == 22, "%s", names[i]);
        cr_expect(source.peak_bytes == 11050403 && source.reserved_bytes == 20971520, "%s", names[i]);
        place_table_finish(&table);
        mem_free(bytes);
    }
}

Test(place_snapshot, addresses_above_2_63_are_read_signed_and_unsigned)
{
    static const char *const names[] = {"high_unsigned0", "high_unsigned1", "high_unsigned2",
                                        "high_unsigned4", "high_signed0",   "high_signed1",
                                        "high_signed2",   "high_signed4",   "high_mixed4"};
    static const struct {
        uint64_t lower, upper, size;
    } wanted[] = {{2, 4, 512}, {3, 7, 300000}, {5, 9, 1024}, {0, 6, 512}, {8, 9, 7}, {0, 9, 4000}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[512];
        struct error err = {0};
        struct place_table table;
        struct place_source source;
        snprintf(path, sizeof path, "%s/tests/fuzz/corpus/place_snapshot/%s", getenv("FATHOM_SOURCE"), names[i]);
        cr_assert(place_import(&table, &source, path, &err), "%s", err.text);
        cr_assert_eq(table.count, 6, "%s", names[i]);
        for (size_t b = 0; b < 6; b++) expect(&table, b, wanted[b].lower, wanted[b].upper, wanted[b].size);
        cr_expect_eq(source.reserved_bytes, 2097152);
        place_table_finish(&table);
    }
}

/* What tests/fuzz/corpus/place_snapshot/numbersN holds: Python's own pickle of a list, in protocol N. */
static const struct {
    uint64_t bits;
    bool negative, integer;
} numbers[] = {{0, false, true},
               {1, false, true},
               {UINT64_MAX, true, true},
               {255, false, true},
               {256, false, true},
               {65535, false, true},
               {65536, false, true},
               {INT32_MAX, false, true},
               {(uint64_t)INT32_MAX + 1, false, true},
               {UINT64_MAX << 31, true, true},
               {(UINT64_MAX << 31) - 1, true, true},
               {INT64_MAX, false, true},
               {(uint64_t)1 << 63, true, true},
               {(uint64_t)1 << 63, false, true},
               {UINT64_MAX, false, true},
               {0, false, false}, /* -2^63 - 1, 2^64, and further off */
               {0, false, false},
               {0, false, false},
               {0, false, false},
               {0, false, false},
               {0, false, false},
               {0, false, false},
               {0, false, false}, /* 1.5 */
               {1, false, true},  /* True */
               {0, false, true}};

Test(place_snapshot, integers_of_64_bits_are_read_in_every_protocol)
{
    for (int protocol = 0; protocol <= 5; protocol++) {
        char name[16], *bytes;
        size_t length, i = 0;
        struct error err = {0};
        struct pickle pickle;
        snprintf(name, sizeof name, "numbers%d", protocol);
        read_corpus(name, &bytes, &length);
        cr_assert(pickle_read(&pickle, name, bytes, length, &err), "%s", err.text);
        const struct pickle_value *value;
        for (uint32_t cell = 0; (value = pickle_next(&pickle, &pickle.values[pickle.root], &cell)); i++) {
            uint64_t word = 77, count = 77;
            cr_assert_lt(i, sizeof numbers / sizeof numbers[0]);
            cr_expect_eq(pickle_word(value, &word), numbers[i].integer, "%s, number %zu", name, i);
            cr_expect_eq(word, numbers[i].integer ? numbers[i].bits : 77, "%s, number %zu", name, i);
            bool counts = numbers[i].integer && !numbers[i].negative;
            cr_expect_eq(pickle_count(value, &count), counts, "%s, number %zu", name, i);
            cr_expect_eq(count, counts ? numbers[i].bits : 77, "%s, number %zu", name, i);
        }
        cr_expect_eq(i, sizeof numbers / sizeof numbers[0], "%s", name);
        pickle_finish(&pickle);
        mem_free(bytes);
    }
}

static void refuse(const char *bytes, size_t length, const char *says)
{
    struct error err = {0};
    struct place_table table;
    struct place_source source;
    cr_expect_not(place_snapshot_parse(&table, &source, "s", bytes, length, &err), "%s", says);
    cr_expect_eq(err.kind, ERROR_INPUT);
    cr_expect(strstr(err.text, says), "'%s' does not say '%s'", err.text, says);
    cr_expect_null(table.buffers);
}

Test(place_snapshot, what_is_not_plain_data_is_refused_by_name)
{
    char *bytes;
    size_t length;
    read_corpus("called", &bytes, &length);
    refuse(bytes, length, "0x93 (STACK_GLOBAL)");
    mem_free(bytes);
    static const struct {
        const char *bytes, *says;
    } rows[] = {{"cos\nsystem\n", "0x63 (GLOBAL) at byte 0"},
                {"}.", "without a list 'device_traces'"},
                {"]", "no STOP"},
                {".", "more or less than one value"},
                {"]].", "more or less than one value"},
                {"u", "items without a mark"},
                {"a", "items without a container"},
                {"N(Nu", "items without their container"},
                {"}(Nu", "a key without a value"},
                {"]NNs", "items without their container"},
                {"N\x86", "a tuple of more than there is"},
                {"Nq\x05", "a memo out of order"},
                {"h\x01", "a memo that was never put"},
                {"X\xff\xff\xff\xff", "the end in a string"},
                {"J\x01", "the end in an argument"},
                {"\x8a\xff", "the end in a number"},
                {"\x8b\xff\xff\xff\xff", "a number of negative length"},
                {"L12", "the end in a line"},
                {"I1x\n", "a number that is none"},
                {"L-L\n", "a number that is none"},
                {"Np7\n", "a memo out of order"},
                {"g0\n", "a memo that was never put"},
                {"(Nd", "a key without a value"},
                {"l", "items without a mark"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        refuse(rows[i].bytes, strlen(rows[i].bytes), rows[i].says);
}

Test(place_snapshot, events_without_their_fields_are_named)
{
    struct text dump = begin_dump();
    put_ops(&dump, "au.");
    refuse(dump.bytes, dump.length, "no device has events");
    text_finish(&dump);
    dump = begin_dump();
    put_ops(&dump, "Naau.");
    refuse(dump.bytes, dump.length, "event 0 of device 0 has no action");
    text_finish(&dump);
    dump = begin_dump();
    put_event(&dump, "alloc", 8, -1);
    put_ops(&dump, "au.");
    refuse(dump.bytes, dump.length, "event 0 of device 0 (alloc): addr and size");
    text_finish(&dump);
}

Test(place_snapshot, each_failed_allocation_is_survived)
{
    char *bytes;
    size_t length;
    read_corpus("protocol4", &bytes, &length);
    uint64_t before = mem_current_bytes(MEM_GENERAL);
    for (uint64_t n = 1;; n++) {
        struct error err = {0};
        struct place_table table;
        struct place_source source;
        mem_fail_at(n);
        bool ok = place_snapshot_parse(&table, &source, "s", bytes, length, &err);
        mem_fail_at(0);
        place_table_finish(&table);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), before, "allocation %llu leaks", (unsigned long long)n);
        if (ok) break;
        cr_assert_eq(err.kind, ERROR_MEMORY);
        cr_assert_lt(n, 1000);
    }
    mem_free(bytes);
}

Test(place_snapshot, the_command_says_what_was_reserved_and_what_is_saved)
{
    char command[512], line[512];
    snprintf(command, sizeof command, "%s place %s/tests/fuzz/corpus/place_snapshot/protocol4 --minimise",
             getenv("FATHOM_BIN"), getenv("FATHOM_SOURCE"));
    FILE *said = popen(command, "r");
    cr_assert(said);
    bool reserved = false, saved = false;
    while (fgets(line, sizeof line, said)) {
        reserved |= strstr(line, "reserved   at most 20,971,520 bytes (20.0 MiB)") != NULL;
        saved |= strstr(line, "saved      9,920,512 bytes") != NULL;
    }
    cr_assert_eq(pclose(said), 0);
    cr_assert(reserved && saved);
}
