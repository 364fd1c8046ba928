#include "units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ascii.h"

static const struct {
    const char *suffix;
    uint64_t factor;
} byte_units[] = {
    {"", 1},
    {"B", 1},
    {"K", 1ull << 10},
    {"KiB", 1ull << 10},
    {"kB", 1000},
    {"M", 1ull << 20},
    {"MiB", 1ull << 20},
    {"MB", 1000000},
    {"G", 1ull << 30},
    {"GiB", 1ull << 30},
    {"GB", 1000000000},
    {"T", 1ull << 40},
    {"TiB", 1ull << 40},
    {"TB", 1000000000000},
};

static uint64_t byte_factor(const char *suffix)
{
    while (*suffix == ' ') suffix++;
    for (size_t i = 0; i < sizeof byte_units / sizeof byte_units[0]; i++)
        if (ascii_same(suffix, byte_units[i].suffix)) return byte_units[i].factor;
    return 0;
}

/* Of digits alone, "4096" of "4096 KiB", the number itself: a double holds 53 bits of it. */
static bool read_whole(const char *text, const char *end, uint64_t *value)
{
    char *whole_end;
    errno = 0;
    *value = strtoull(text, &whole_end, 10);
    return whole_end == end && errno == 0;
}

bool units_parse_bytes(const char *text, const char *what, uint64_t *bytes, struct error *err)
{
    char *end;
    double value = strtod(text, &end);
    uint64_t factor = end == text ? 0 : byte_factor(end), whole;
    double scaled = value * (double)factor;
    bool hexadecimal = text[0] == '0' && ascii_lower(text[1]) == 'x';
    bool plain = (isdigit((unsigned char)text[0]) || text[0] == '.') && !hexadecimal;
    if (!plain || factor == 0 || isnan(scaled))
        return error_set(err, ERROR_INPUT, "%s: '%s' is not a size; write one like 12GiB, 512MiB or 1048576", what,
                         text);
    bool exact = read_whole(text, end, &whole) && !__builtin_mul_overflow(whole, factor, &whole);
    if (exact ? whole > UNITS_MOST_BYTES : scaled > 9.0e18)
        return error_set(err, ERROR_INPUT, "%s: '%s' is more than %" PRIu64 " bytes, the most that can be said", what,
                         text, UNITS_MOST_BYTES);
    *bytes = exact ? whole : (uint64_t)(scaled + 0.5);
    return true;
}

bool units_parse_count(const char *text, const char *what, uint64_t least, uint64_t most, uint64_t *value,
                       struct error *err)
{
    char *end;
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    bool plain = isdigit((unsigned char)text[0]) && *end == '\0' && errno == 0;
    if (!plain || parsed < least || parsed > most)
        return error_set(err, ERROR_INPUT, "%s: '%s' is not a whole number from %" PRIu64 " to %" PRIu64, what, text,
                         least, most);
    *value = parsed;
    return true;
}

bool units_parse_real(const char *text, const char *what, double least, double most, double *value, struct error *err)
{
    char *end;
    double parsed = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(parsed) || parsed < least || parsed > most)
        return error_set(err, ERROR_INPUT, "%s: '%s' is not a number from %g to %g", what, text, least, most);
    *value = parsed;
    return true;
}

/* Three significant figures: 9.17, 91.7, 917. */
static int decimals_for(double value) { return value < 10 ? 2 : value < 100 ? 1 : 0; }

char *units_format_bytes(uint64_t bytes, char out[UNITS_TEXT])
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1023.5 && unit + 1 < sizeof names / sizeof names[0]) {
        value /= 1024;
        unit++;
    }
    snprintf(out, UNITS_TEXT, "%.*f %s", unit == 0 ? 0 : decimals_for(value), value, names[unit]);
    return out;
}

char *units_format_count(uint64_t value, char out[UNITS_TEXT])
{
    char digits[UNITS_TEXT];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, value);
    char *to = out;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return out;
}

char *units_format_si(double value, char out[UNITS_TEXT])
{
    static const char *const names[] = {"", " k", " M", " G", " T", " P", " E"};
    size_t unit = 0;
    while (fabs(value) >= 999.5 && unit + 1 < sizeof names / sizeof names[0]) {
        value /= 1000;
        unit++;
    }
    bool whole = unit == 0 && value == floor(value);
    snprintf(out, UNITS_TEXT, "%.*f%s", whole ? 0 : decimals_for(fabs(value)), value, names[unit]);
    return out;
}

char *units_format_rate(double value, char out[UNITS_TEXT])
{
    if (value >= 99.95) return units_format_count((uint64_t)(value + 0.5), out);
    snprintf(out, UNITS_TEXT, "%.*f", decimals_for(value), value);
    return out;
}

char *units_format_seconds(double seconds, char out[UNITS_TEXT])
{
    if (seconds < 1e-6)
        snprintf(out, UNITS_TEXT, "%.0f ns", seconds * 1e9);
    else if (seconds < 1e-3)
        snprintf(out, UNITS_TEXT, "%.*f us", decimals_for(seconds * 1e6), seconds * 1e6);
    else if (seconds < 1)
        snprintf(out, UNITS_TEXT, "%.*f ms", decimals_for(seconds * 1e3), seconds * 1e3);
    else if (seconds < 90)
        snprintf(out, UNITS_TEXT, "%.*f s", decimals_for(seconds), seconds);
    else if (seconds < 5400)
        snprintf(out, UNITS_TEXT, "%d min %d s", (int)seconds / 60, (int)seconds % 60);
    else if (seconds < 360000)
        snprintf(out, UNITS_TEXT, "%.1f h", seconds / 3600);
    else
        snprintf(out, UNITS_TEXT, "%.*f days", decimals_for(seconds / 86400), seconds / 86400);
    return out;
}
