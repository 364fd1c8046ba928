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

/* What becomes of another spelling: where its name is a flag, one that has a value means something else. */
enum spelt { SUGGESTED, TAKEN, TAKEN_WITH_VALUE };

static const struct {
    const char *word, *name;
    enum spelt spelt;
} spellings[] = {
    {"minimize", "minimise", TAKEN},
    {"lr", "learning-rate", TAKEN},
    {"batch-size", "batch", TAKEN},
    {"batchsize", "batch", TAKEN},
    {"bs", "batch", TAKEN},
    {"out", "output", TAKEN},
    {"output-file", "output", TAKEN},
    {"gpu", "gpus", TAKEN},
    {"epoch", "epochs", TAKEN},
    {"iters", "iterations", TAKEN},
    {"iteration", "iterations", TAKEN},
    {"microbatches", "micro-batches", TAKEN},
    {"micro-batch", "micro-batches", TAKEN},
    {"num-classes", "classes", TAKEN},
    {"sync-batchnorm", "sync-bn", TAKEN},
    {"warmup", "warm-up", TAKEN},
    {"wd", "weight-decay", TAKEN},
    {"alpha", "beta2", TAKEN},
    {"rho", "beta2", TAKEN},
    {"eps", "epsilon", TAKEN},
    {"clip", "clip-norm", TAKEN},
    {"clip-grad", "clip-norm", TAKEN},
    {"ema", "average-weights", TAKEN},
    {"model-ema", "average-weights", SUGGESTED},
    {"opt", "optimizer", TAKEN},
    {"img-size", "image-size", TAKEN},
    {"data-dir", "data", TAKEN},
    {"workers", "loader-threads", TAKEN},
    {"num-workers", "loader-threads", TAKEN},
    {"smoothing", "label-smoothing", TAKEN},
    {"topk", "top", TAKEN_WITH_VALUE},
    {"thread", "threads", TAKEN},
    {"steps", "iterations", SUGGESTED},
    {"max-steps", "iterations", SUGGESTED},
    {"device", "gpus", SUGGESTED},
    {"devices", "gpus", SUGGESTED},
    {"machine", "gpus", SUGGESTED},
    {"file", "output", SUGGESTED},
    {"precision", "dtype", SUGGESTED},
    {"type", "dtype", SUGGESTED},
    {"fp16", "dtype", SUGGESTED},
    {"half", "dtype", SUGGESTED},
    {"bf16", "dtype", SUGGESTED},
    {"amp", "dtype", SUGGESTED},
    {"workers", "threads", SUGGESTED},
    {"num-workers", "threads", SUGGESTED},
    {"jobs", "threads", SUGGESTED},
    {"resolution", "image-size", SUGGESTED},
    {"checkpoint", "save", SUGGESTED},
    {"save-dir", "save", SUGGESTED},
    {"pretrained", "weights", SUGGESTED},
    {"initial-checkpoint", "weights", SUGGESTED},
    {"output-dir", "run", SUGGESTED},
    {"checkpoint-hist", "keep", SUGGESTED},
    {"sched", "schedule", SUGGESTED},
    {"load", "resume", SUGGESTED},
    {"continue", "resume", SUGGESTED},
    {"from", "resume", SUGGESTED},
    {"memory-limit", "budget", SUGGESTED},
    {"limit", "capacity", SUGGESTED},
    {"memory", "budget", SUGGESTED},
    {"timeout", "time", SUGGESTED},
    {"seconds", "time", SUGGESTED},
    {"scheduler", "schedule", SUGGESTED},
    {"lr-schedule", "schedule", SUGGESTED},
    {"decay", "weight-decay", SUGGESTED},
    {"checkpointing", "recompute", SUGGESTED},
    {"remat", "recompute", SUGGESTED},
    {"gradient-checkpointing", "recompute", SUGGESTED},
    {"accumulate", "micro-batches", SUGGESTED},
    {"gradient-accumulation", "micro-batches", SUGGESTED},
    {"picture", "svg", SUGGESTED},
    {"image", "svg", SUGGESTED},
    {"draw", "svg", SUGGESTED},
    {"plot", "svg", SUGGESTED},
    {"verbose", "explain", SUGGESTED},
    {"why", "explain", SUGGESTED},
    {"details", "explain", SUGGESTED},
    {"format", "json", SUGGESTED},
    {"dashboard", "top", SUGGESTED},
    {"watch", "top", SUGGESTED},
    {"ui", "top", SUGGESTED},
    {"eval-every", "evaluate-every", SUGGESTED},
    {"val-every", "evaluate-every", SUGGESTED},
    {"no-eval", "no-evaluate", SUGGESTED},
    {"logfile", "log", SUGGESTED},
    {"cost", "price", SUGGESTED},
    {"nodes", "per-node", SUGGESTED},
    {"bandwidth", "network", SUGGESTED},
    {"model", "unit", SUGGESTED},
    {"group-by", "by", SUGGESTED},
    {"order", "sort", SUGGESTED},
    {"top", "limit", SUGGESTED},
    {"profile", "trace", SUGGESTED},
    {"cpu-offload", "offload", SUGGESTED},
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
        if (spellings[s].spelt == SUGGESTED || !of || find_option(specs, count, spellings[s].word)) continue;
        if (spellings[s].spelt == TAKEN_WITH_VALUE && of->type == OPTION_FLAG) continue;
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
