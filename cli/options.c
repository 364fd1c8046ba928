#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <getopt.h>

#include "choice.h"
#include "command.h"
#include "units.h"

#define MOST_OPTIONS 128

/* ---- Standard input and output as files ---- */

const char *options_input(const char *word) { return word && strcmp(word, "-") == 0 ? "/dev/stdin" : word; }

static int output = STDOUT_FILENO;

int options_output(void) { return output; }

bool options_reader_is_gone(void)
{
    struct pollfd reader = {.fd = output, .events = POLLOUT};
    return poll(&reader, 1, 0) == 1 && (reader.revents & POLLERR);
}

/* The file goes where standard output went, by a descriptor of its own; what is said goes to standard error from now
 * on. */
static bool take_standard_output(const char *flag, const char **path, struct error *err)
{
    static char taken[32]; /* there is one standard output */
    if (taken[0])
        return error_set(err, ERROR_INPUT, "%s: standard output is taken by another option; write to a file", flag);
    fflush(stdout);
    int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    if (fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return error_errno(err, ERROR_FAILED, errno, "%s: standard output cannot be written to", flag);
    output = fd;
    snprintf(taken, sizeof taken, "/dev/fd/%d", fd);
    *path = taken;
    return true;
}

static bool store_output(const char *flag, const char *text, const char **path, struct error *err)
{
    *path = text;
    if (strcmp(text, "-") != 0 && strcmp(text, "/dev/stdout") != 0) return true;
    return take_standard_output(flag, path, err);
}

/* ---- Values ---- */

static bool store_value(const struct option_spec *spec, const char *text, struct error *err)
{
    char flag[64];
    snprintf(flag, sizeof flag, "--%s", spec->name);
    bool any = spec->least == 0 && spec->most == 0;
    uint64_t least = any ? 0 : (uint64_t)spec->least, most = any ? UINT64_MAX / 2 : (uint64_t)spec->most;
    switch (spec->type) {
    case OPTION_FLAG: *(bool *)spec->value = true; return true;
    case OPTION_TEXT: *(const char **)spec->value = text; return true;
    case OPTION_OUTPUT: return store_output(flag, text, spec->value, err);
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

/* ---- Names ---- */

/* Other spellings of options: plain ones are taken, the others suggested. */
static const struct {
    const char *word, *name;
    bool plain;
} spellings[] = {
    {"minimize", "minimise", true},
    {"lr", "learning-rate", true},
    {"batch-size", "batch", true},
    {"batchsize", "batch", true},
    {"bs", "batch", true},
    {"out", "output", true},
    {"output-file", "output", true},
    {"gpu", "gpus", true},
    {"epoch", "epochs", true},
    {"iters", "iterations", true},
    {"iteration", "iterations", true},
    {"microbatches", "micro-batches", true},
    {"micro-batch", "micro-batches", true},
    {"num-classes", "classes", true},
    {"sync-batchnorm", "sync-bn", true},
    {"warmup", "warm-up", true},
    {"wd", "weight-decay", true},
    {"alpha", "beta2", true},
    {"rho", "beta2", true},
    {"eps", "epsilon", true},
    {"clip", "clip-norm", true},
    {"clip-grad", "clip-norm", true},
    {"ema", "average-weights", true},
    {"model-ema", "average-weights", false},
    {"opt", "optimizer", true},
    {"img-size", "image-size", true},
    {"data-dir", "data", true},
    {"workers", "loader-threads", true},
    {"num-workers", "loader-threads", true},
    {"smoothing", "label-smoothing", true},
    {"topk", "top", true},
    {"thread", "threads", true},
    {"steps", "iterations", false},
    {"max-steps", "iterations", false},
    {"device", "gpus", false},
    {"devices", "gpus", false},
    {"machine", "gpus", false},
    {"file", "output", false},
    {"precision", "dtype", false},
    {"type", "dtype", false},
    {"fp16", "dtype", false},
    {"half", "dtype", false},
    {"bf16", "dtype", false},
    {"amp", "dtype", false},
    {"workers", "threads", false},
    {"num-workers", "threads", false},
    {"jobs", "threads", false},
    {"resolution", "image-size", false},
    {"checkpoint", "save", false},
    {"save-dir", "save", false},
    {"pretrained", "weights", false},
    {"initial-checkpoint", "weights", false},
    {"output-dir", "run", false},
    {"checkpoint-hist", "keep", false},
    {"sched", "schedule", false},
    {"load", "resume", false},
    {"continue", "resume", false},
    {"from", "resume", false},
    {"memory-limit", "budget", false},
    {"limit", "capacity", false},
    {"memory", "budget", false},
    {"timeout", "time", false},
    {"seconds", "time", false},
    {"scheduler", "schedule", false},
    {"lr-schedule", "schedule", false},
    {"decay", "weight-decay", false},
    {"checkpointing", "recompute", false},
    {"remat", "recompute", false},
    {"gradient-checkpointing", "recompute", false},
    {"accumulate", "micro-batches", false},
    {"gradient-accumulation", "micro-batches", false},
    {"picture", "svg", false},
    {"image", "svg", false},
    {"draw", "svg", false},
    {"plot", "svg", false},
    {"verbose", "explain", false},
    {"why", "explain", false},
    {"details", "explain", false},
    {"format", "json", false},
    {"dashboard", "top", false},
    {"watch", "top", false},
    {"ui", "top", false},
    {"eval-every", "evaluate-every", false},
    {"val-every", "evaluate-every", false},
    {"no-eval", "no-evaluate", false},
    {"logfile", "log", false},
    {"cost", "price", false},
    {"nodes", "per-node", false},
    {"bandwidth", "network", false},
    {"model", "unit", false},
    {"group-by", "by", false},
    {"order", "sort", false},
    {"top", "limit", false},
    {"profile", "trace", false},
    {"cpu-offload", "offload", false},
};
#define SPELLINGS (sizeof spellings / sizeof spellings[0])

static const struct option_spec *find_option(const struct option_spec *specs, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(specs[i].name, name) == 0) return &specs[i];
    return NULL;
}

/* By meaning, then by letters; NULL when nothing is near. */
static const char *find_meant(const char *word, const struct option_spec *specs, size_t count)
{
    const char *nearest = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < SPELLINGS; i++)
        if (choice_same(word, spellings[i].word) && find_option(specs, count, spellings[i].name))
            return spellings[i].name;
    for (size_t i = 0; i < count; i++) {
        size_t distance = choice_distance(word, specs[i].name, SIZE_MAX);
        if (distance >= least) continue;
        least = distance;
        nearest = specs[i].name;
    }
    return nearest;
}

/* "--eva": all that begin with it; how many. */
static size_t list_beginnings(const char *word, const struct option_spec *specs, size_t count, char *out, size_t size)
{
    size_t found = 0, length = strlen(word), used = 0;
    out[0] = '\0';
    for (size_t i = 0; length > 0 && i < count && used < size; i++) {
        if (strncmp(specs[i].name, word, length) != 0) continue;
        used += (size_t)snprintf(out + used, size - used, "%s--%s", found++ ? ", " : "", specs[i].name);
    }
    return found;
}

static bool unknown_option(const char *word, const struct option_spec *specs, size_t count, struct error *err)
{
    char name[64], list[200];
    snprintf(name, sizeof name, "%.*s", (int)(strcspn(word, "=") < 60 ? strcspn(word, "=") : 60), word);
    const char *letters = name + strspn(name, "-");
    const char *meant = find_meant(letters, specs, count);
    const struct option_spec *flag = find_option(specs, count, letters);
    if (flag && strchr(word, '='))
        return error_set(err, ERROR_INPUT, "--%s: '%s' gives it a value, and it takes none", letters, word);
    if (flag) return error_set(err, ERROR_INPUT, "there is no option %s; did you mean --%s?", name, letters);
    if (list_beginnings(letters, specs, count, list, sizeof list) > 1)
        return error_set(err, ERROR_INPUT, "there is no option %s; did you mean one of %s?", name, list);
    if (meant) return error_set(err, ERROR_INPUT, "there is no option %s; did you mean --%s?", name, meant);
    return error_set(err, ERROR_INPUT, "there is no option %s; --help lists them", name);
}

/* The options under their names and plain spellings, for getopt_long. Codes from 256 on are positions in specs. */
static void fill_table(const struct option_spec *specs, size_t count, struct option *table)
{
    for (size_t i = 0; i < count; i++) {
        int value = specs[i].type != OPTION_FLAG ? required_argument : no_argument;
        *table++ = (struct option){specs[i].name, value, NULL, (int)(256 + i)};
    }
    for (size_t s = 0; s < SPELLINGS; s++) {
        const struct option_spec *of = find_option(specs, count, spellings[s].name);
        if (!spellings[s].plain || !of || find_option(specs, count, spellings[s].word)) continue;
        int value = of->type != OPTION_FLAG ? required_argument : no_argument;
        *table++ = (struct option){spellings[s].word, value, NULL, (int)(256 + (of - specs))};
    }
}

static const struct option_spec *find_letter(const struct option_spec *specs, size_t count, int letter)
{
    for (size_t i = 0; i < count; i++)
        if (specs[i].letter && specs[i].letter == letter) return &specs[i];
    return NULL;
}

/* "-batch" would be taken for -b with the value "atch". */
static bool check_dashes(int argc, char **argv, const struct option_spec *specs, size_t count, struct error *err)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        char name[64];
        size_t length = strcspn(argv[i], "=");
        if (argv[i][0] != '-' || argv[i][1] == '-' || length < 3 || length >= sizeof name) continue;
        snprintf(name, sizeof name, "%.*s", (int)length - 1, argv[i] + 1);
        if (find_option(specs, count, name))
            return error_set(err, ERROR_INPUT, "there is no option -%s; did you mean --%s, with two dashes?", name,
                             name);
    }
    return true;
}

bool options_parse(int argc, char **argv, const struct option_spec *specs, size_t count, const char **words,
                   size_t most_words, size_t *word_count, struct error *err)
{
    struct option table[MOST_OPTIONS + SPELLINGS + 1] = {0};
    char letters[2 * MOST_OPTIONS + 3] = "-:"; /* '-': words in order as code 1; ':': missing values reported as ':' */
    char *letter = letters + 2;
    if (count > MOST_OPTIONS) count = MOST_OPTIONS;
    fill_table(specs, count, table);
    for (size_t i = 0; i < count; i++) {
        if (!specs[i].letter) continue;
        *letter++ = specs[i].letter;
        if (specs[i].type != OPTION_FLAG) *letter++ = ':';
    }
    TRY(check_dashes(argc, argv, specs, count, err));
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
