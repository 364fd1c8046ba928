/* The subcommands of the one binary, and how they take their options. */
#ifndef FATHOM_COMMAND_H
#define FATHOM_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

struct command {
    const char *name;
    const char *summary; /* one line for `fathom help` */
    /* Man-style page for `fathom help NAME`: SYNOPSIS, DESCRIPTION, OPTIONS, EXIT STATUS, EXAMPLES. In as many sections as
     * one likes, printed one after the other, up to NULL: C promises no string literal above 4095 bytes. */
    const char *const *manual;
    int (*run)(int argc, char **argv, struct error *err); /* argv[0] is the name. Exit code; with *err filled its own */
};

extern const struct command command_plan, command_train, command_top, command_trace, command_place, command_devices,
    command_data, command_recipes, command_eval, command_classify, command_features, command_runs, command_speed,
    command_sweep;

enum option_type {
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_OUTPUT, /* a file to write; "-" is standard output, and what is said goes to standard error then */
    OPTION_COUNT,
    OPTION_BYTES,
    OPTION_REAL
};

struct option_spec {
    const char *name;      /* "batch" for --batch */
    char letter;           /* 'o' for -o, 0 = none */
    enum option_type type;
    void *value;           /* bool, const char *, const char *, uint64_t, uint64_t, double */
    double least, most;    /* of COUNT, BYTES and REAL; both 0 = any that the type holds */
};

/* Takes --name VALUE, --name=VALUE, -o VALUE in any order; other words go to words[], at most most_words. Unknown options
 * are ERROR_INPUT and name the one that is meant or the nearest. Other spellings that are plain (--lr, --minimize) are
 * taken where the option is there. "--" ends options. */
bool options_parse(int argc, char **argv, const struct option_spec *specs, size_t count, const char **words,
                   size_t most_words, size_t *word_count, struct error *err);

/* The descriptor that leads to where standard output went, also when an OPTION_OUTPUT took it. */
int options_output(void);
/* Whether whoever read it has had enough (`fathom ... | head`): no fault, and nobody to tell. */
bool options_reader_is_gone(void);
/* The path of a file to read: "-" is standard input. */
const char *options_input(const char *word);

#endif
