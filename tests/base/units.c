#include <criterion/criterion.h>

#include "units.h"

Test(units, reads_sizes)
{
    const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {{"12GiB", 12ull << 30},
                {"12GB", 12000000000ull},
                {"1.5GiB", 3ull << 29},
                {"4096", 4096},
                {"512 MiB", 512ull << 20},
                {"9007199254740993", 9007199254740993}, /* no double is that */
                {"9007199254740993 B", 9007199254740993},
                {"9223372036854775807", INT64_MAX}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error err = {0};
        uint64_t bytes = 0;
        cr_assert(units_parse_bytes(rows[i].text, "--x", &bytes, &err), "%s", err.text);
        cr_assert_eq(bytes, rows[i].bytes, "%s", rows[i].text);
    }
}

Test(units, refuses_what_is_not_a_size)
{
    const char *const texts[] = {"", "GiB", "-1GiB", "12GiBs", "1e30GiB", "nan", "12 12", "0x10", "0X1pGiB",
                                 "9223372036854775808", "99999999999GiB", "99999999999999999999", "1e400"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct error err = {0};
        uint64_t bytes = 77;
        cr_expect_not(units_parse_bytes(texts[i], "--memory", &bytes, &err), "%s", texts[i]);
        cr_expect_eq(err.kind, ERROR_INPUT);
        cr_expect_eq(bytes, 77);
    }
}

Test(units, writes_for_people)
{
    char out[UNITS_TEXT];
    cr_assert_str_eq(units_format_bytes(9847111680, out), "9.17 GiB");
    cr_assert_str_eq(units_format_bytes(512, out), "512 B");
    cr_assert_str_eq(units_format_count(10327706, out), "10,327,706");
    cr_assert_str_eq(units_format_si(1487849984.0, out), "1.49 G");
    cr_assert_str_eq(units_format_seconds(0.0123, out), "12.3 ms");
    cr_assert_str_eq(units_format_seconds(250, out), "4 min 10 s");
    cr_assert_str_eq(units_format_seconds(27.1 * 3600, out), "27.1 h");
    cr_assert_str_eq(units_format_seconds(15469.9 * 3600, out), "645 days");
    cr_assert_str_eq(units_format_rate(2.758, out), "2.76");
    cr_assert_str_eq(units_format_rate(99.96, out), "100");
    cr_assert_str_eq(units_format_rate(1296784.6, out), "1,296,785");
}
