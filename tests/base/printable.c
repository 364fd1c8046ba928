/* Text from outside on its way out: nothing that a terminal obeys gets through, and what is readable stays as it was.
 */
#include <locale.h>
#include <string.h>

#include <criterion/criterion.h>

#include "errors.h"
#include "files.h"
#include "json.h"
#include "mem.h"
#include "printable.h"

static const struct {
    const char *plain, *shown;
} rows[] = {
    {"stage1/unit2", "stage1/unit2"},
    {"naïve — 猫 🐈 ±×", "naïve — 猫 🐈 ±×"},
    {"a\x1b[2Jb", "a\\x1b[2Jb"},
    {"\n\r\t\b\x7f", "\\n\\r\\t\\x08\\x7f"},
    {"\xc2\x9b"
     "31m",
     "\\u009b31m"}, /* C1's CSI as UTF-8 */
    {"\xc2\x80\xc2\x9f\xc2\xa0", "\\u0080\\u009f\xc2\xa0"},
    {"\x9b"
     "31m",
     "\\x9b31m"},               /* and as a byte */
    {"\xc0\x9b", "\\xc0\\x9b"}, /* ESC, overlong */
    {"\xe0\x80\x9b", "\\xe0\\x80\\x9b"},
    {"\xf0\x80\x80\x9b", "\\xf0\\x80\\x80\\x9b"},
    {"\xc1\xbf", "\\xc1\\xbf"},
    {"\xed\xa0\x80", "\\xed\\xa0\\x80"},          /* a surrogate */
    {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* past U+10FFFF */
    {"\xf8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80"},
    {"\xe2\x80", "\\xe2\\x80"}, /* cut off */
    {"\xe2\x80\xae"
     "gpj.exe",
     "\\u202egpj.exe"}, /* right to left */
    {"\xe2\x80\xaa\xe2\x81\xa6\xe2\x81\xa9\xe2\x80\x8f\xd8\x9c", "\\u202a\\u2066\\u2069\\u200f\\u061c"},
    {"\xe2\x80\xa8", "\\u2028"},
    {"\xef\xbf\xbe", "\\ufffe"},
    {"", ""},
};
#define ROWS (sizeof rows / sizeof rows[0])

Test(printable, escapes_what_a_terminal_obeys_and_nothing_else)
{
    for (size_t i = 0; i < ROWS; i++) {
        struct text text = {0};
        cr_expect_str_eq(PRINTABLE(rows[i].plain), rows[i].shown);
        cr_expect_str_eq(PRINTABLE(rows[i].shown), rows[i].shown, "what is shown can be shown");
        cr_expect_eq(is_printable(rows[i].plain), strcmp(rows[i].plain, rows[i].shown) == 0, "%s", rows[i].shown);
        text_add(&text, "%s", "");
        text_add_printable(&text, rows[i].plain);
        cr_expect_str_eq(text.bytes, rows[i].shown);
        text_finish(&text);
    }
    cr_expect_str_eq(PRINTABLE(NULL), "");
}

/* Every byte pair, so that nothing depends on the rows above. */
Test(printable, lets_no_control_character_through)
{
    for (unsigned first = 1; first < 256; first++)
        for (unsigned second = 0; second < 256; second++) {
            const char plain[] = {(char)first, (char)second, 'x', '\0'};
            const char *shown = PRINTABLE(plain);
            uint32_t point;
            for (size_t at = 0, width; shown[at]; at += width) {
                width = utf8_character(shown + at, strlen(shown + at), &point);
                cr_assert(width > 0 && printable_point(point), "bytes %02x %02x", first, second);
            }
        }
}

Test(printable, cuts_at_characters)
{
    struct printable room;
    cr_expect_str_eq(printable_cut("猫猫猫", 3, &room), "猫猫猫");
    cr_expect_str_eq(printable_cut("猫猫猫猫", 3, &room), "猫猫…");
    cr_expect_str_eq(printable_cut("ab\x1b", 5, &room), "ab…", "no part of an escape");
    cr_expect_str_eq(printable_cut("ab\x1b", 6, &room), "ab\\x1b");
    cr_expect_str_eq(printable_fit("é", 3, false, &room), "é  ");
    cr_expect_str_eq(printable_fit("é", 3, true, &room), "  é");
    cr_expect_str_eq(printable_fit("éééé", 3, true, &room), "éé…");
    static char name[5000];
    for (size_t i = 0; i + 2 < sizeof name; i += 2) memcpy(name + i, "é", 2);
    printable(name, &room);
    size_t length = strlen(room.text);
    cr_expect_geq(length, sizeof room - 6);
    cr_expect_str_eq(room.text + length - 5, "é…");
    cr_expect_eq(utf8_whole_length(room.text, length), length);
}

/* Two cells each of the first, and none of the accent after the letter. */
Test(printable, tables_count_cells)
{
    struct printable room;
    if (!setlocale(LC_CTYPE, "C.UTF-8")) cr_skip_test("no locale with Unicode");
    cr_expect_str_eq(printable_fit("猫猫", 6, false, &room), "猫猫  ");
    cr_expect_str_eq(printable_fit("猫猫", 5, true, &room), " 猫猫");
    cr_expect_str_eq(printable_fit("猫猫猫", 5, false, &room), "猫猫…");
    cr_expect_str_eq(printable_fit("猫猫猫", 4, false, &room), "猫… ", "half a character is a blank");
    cr_expect_str_eq(printable_fit("e\u0301x", 4, false, &room), "e\u0301x  ");
    cr_expect_eq(printable_width("a猫e\u0301", strlen("a猫e\u0301")), 4);
    cr_expect(is_printable("猫e\u0301"));
    cr_expect_not(is_printable("猫\x1b"));
}

Test(printable, an_error_that_is_too_long_ends_at_a_character)
{
    static char name[3000];
    for (size_t i = 0; i + 2 < sizeof name; i += 2) memcpy(name + i, "é", 2);
    for (size_t shift = 0; shift < 2; shift++) {
        struct error err = {0};
        error_set(&err, ERROR_INPUT, "%s%s", shift ? "x" : "", name);
        cr_expect(is_printable(err.text));
        error_prefix(&err, "%s", "y");
        cr_expect(is_printable(err.text));
        cr_expect_geq(strlen(err.text), sizeof err.text - 3);
    }
}

/* What `write` makes of a text, in memory. */
static char *written(void (*write)(FILE *out, const char *text), const char *plain)
{
    static char buffer[4096];
    memset(buffer, 0, sizeof buffer);
    FILE *out = fmemopen(buffer, sizeof buffer - 1, "w");
    cr_assert(out);
    write(out, plain);
    fclose(out);
    return buffer;
}

static void write_json(FILE *out, const char *text) { printable_write_json(out, text, strlen(text)); }

static void write_jansson(FILE *out, const char *text)
{
    json_t *string = json_text(text);
    cr_assert(string);
    cr_expect(json_write(string, out, JSON_ENCODE_ANY));
    json_decref(string);
}

Test(printable, json_gives_back_every_character)
{
    for (size_t i = 0; i < 2 * ROWS; i++) {
        const char *plain = rows[i / 2].plain;
        const char *json = written(i % 2 ? write_json : write_jansson, plain);
        json_t *read = json_loads(json, JSON_DECODE_ANY, NULL);
        cr_assert(read, "%s", json);
        for (const char *c = json; *c; c++) cr_expect((unsigned char)*c >= 0x20 && *c != 0x7F, "%s", json);
        cr_expect(is_printable(json), "%s", json);
        json_t *whole = json_string(plain); /* NULL when it is no UTF-8 */
        cr_expect(!whole || json_equal(whole, read), "%s", json);
        json_decref(whole);
        json_decref(read);
    }
    cr_expect_str_eq(written(write_json, "\xc0\x9b\"\\\x1b🐈\xe2\x80\xae"), "\"??\\\"\\\\\\u001b🐈\\u202e\"");
}

Test(printable, csv_is_quoted_where_it_must_be)
{
    cr_expect_str_eq(written(printable_write_csv, "stage1/unit1 conv"), "stage1/unit1 conv");
    cr_expect_str_eq(written(printable_write_csv, "a,b"), "\"a,b\"");
    cr_expect_str_eq(written(printable_write_csv, "say \"a\""), "\"say \"\"a\"\"\"");
    cr_expect_str_eq(written(printable_write_csv, "a\nb\r"), "\"a\nb\r\"");
    cr_expect_str_eq(written(printable_write_csv, " a"), "\" a\"");
    cr_expect_str_eq(written(printable_write_csv, "\x1b[m"), "\"\x1b[m\"", "a file keeps every byte");
    cr_expect_str_eq(written(printable_write_csv_report, "\x1b[m\xc2\x9b,\r\n"), "\"\\x1b[m\\u009b,\\r\n\"");
}

Test(printable, xml_has_no_forbidden_character)
{
    struct text text = {0};
    text_add_xml(&text, "<a & \"b\" 'c'>\x01\x1b\xc0\x9b\xef\xbf\xbf猫\n");
    cr_assert_str_eq(text.bytes, "&lt;a &amp; &quot;b&quot; &apos;c&apos;&gt;\\x01\\x1b\\xc0\\x9b\\uffff猫\\n");
    text_finish(&text);
}

Test(printable, survives_any_failing_allocation)
{
    for (uint64_t n = 1; n < 20; n++) {
        mem_fail_at(n);
        json_t *string = json_text("a long enough name of a layer\xff");
        bool fired = mem_fail_at(0);
        cr_assert(string || fired);
        json_decref(string);
        if (!fired) break;
    }
    cr_assert_eq(mem_current_bytes(MEM_GENERAL), 0);
}
