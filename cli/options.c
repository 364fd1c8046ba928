#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <getopt.h>

#include "command.h"
#include "text.h"
#include "units.h"

#define MOST_OPTIONS 64

static bool store_value(const struct option_spec *spec, const char *text, struct error *err)
{
    char flag[64];
    snprintf(flag, sizeof flag, "--%s", spec->name);
    bool any = spec->least == 0 && spec->most == 0;
    uint64_t least = any ? 0 : (uint64_t)spec->least, most = any ? UINT64_MAX / 2 : (uint64_t)spec->most;
    switch (spec->type) {
    case OPTION_FLAG: *(bool *)spec->value = true; return true;
    case OPTION_TEXT: *(const char **)spec->value = text; return true;
    case OPTION_COUNT: return units_parse_count(text, flag, least, most, spec->value, err);
    case OPTION_REAL:
        return units_parse_real(text, flag, any ? -1e300 : spec->least, any ? 1e300 : spec->most, spec->value, err);
    case OPTION_BYTES: {
        uint64_t bytes;
        TRY(units_parse_bytes(text, flag, &bytes, err));
        if (bytes < least || bytes > most)
            return error_set(err, ERROR_INPUT, "%s: '%s' is outside %llu to %llu bytes", flag, text,
                             (unsigned long long)least, (unsigned long long)most);
        *(uint64_t *)spec->value = bytes;
        return true;
    }
    }
    return false;
}

static bool unknown_option(const char *word, const struct option_spec *specs, size_t count, struct error *err)
{
    const char *nearest = NULL;
    size_t least = 4;
    size_t length = strcspn(word, "=");
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(length < 60 ? length : 60), word);
    for (size_t i = 0; i < count; i++) {
        size_t distance = text_distance(name[0] == '-' && name[1] == '-' ? name + 2 : name, specs[i].name);
        if (distance < least) {
            least = distance;
            nearest = specs[i].name;
        }
    }
    if (nearest) return error_set(err, ERROR_INPUT, "there is no option %s; did you mean --%s?", name, nearest);
    return error_set(err, ERROR_INPUT, "there is no option %s; --help lists them", name);
}

static const struct option_spec *find_letter(const struct option_spec *specs, size_t count, int letter)
{
    for (size_t i = 0; i < count; i++)
        if (specs[i].letter && specs[i].letter == letter) return &specs[i];
    return NULL;
}

bool options_parse(int argc, char **argv, const struct option_spec *specs, size_t count, const char **words,
                   size_t most_words, size_t *word_count, struct error *err)
{
    struct option table[MOST_OPTIONS + 1] = {0};
    char letters[2 * MOST_OPTIONS + 3] = "-:"; /* '-': words in order as code 1; ':': missing values reported as ':' */
    char *letter = letters + 2;
    if (count > MOST_OPTIONS) count = MOST_OPTIONS;
    for (size_t i = 0; i < count; i++) {
        bool value = specs[i].type != OPTION_FLAG;
        table[i] = (struct option){specs[i].name, value ? required_argument : no_argument, NULL, (int)(256 + i)};
        if (!specs[i].letter) continue;
        *letter++ = specs[i].letter;
        if (value) *letter++ = ':';
    }
    *word_count = 0;
    optind = 0; /* glibc: start over, whatever was parsed before */
    opterr = 0;
    int code;
    while ((code = getopt_long(argc, argv, letters, table, NULL)) != -1) {
        if (code == '?') return unknown_option(argv[optind - 1], specs, count, err);
        if (code == ':') return error_set(err, ERROR_INPUT, "%s: a value is wanted after it", argv[optind - 1]);
        if (code == 1) {
            if (*word_count == most_words)
                return error_set(err, ERROR_INPUT, "'%s' is one word too many; --help shows the usage", optarg);
            words[(*word_count)++] = optarg;
            continue;
        }
        const struct option_spec *spec = code >= 256 ? &specs[code - 256] : find_letter(specs, count, code);
        TRY(store_value(spec, optarg, err));
    }
    for (; optind < argc; optind++) {
        if (*word_count == most_words)
            return error_set(err, ERROR_INPUT, "'%s' is one word too many; --help shows the usage", argv[optind]);
        words[(*word_count)++] = argv[optind];
    }
    return true;
}
