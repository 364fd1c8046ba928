#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vendor.h"

struct vendor_options options;

static void refuse(const char *what, const char *found)
{
    fprintf(stderr, "FATHOM_STANDIN: %s: %s\n", what, found);
    exit(70);
}

static uint64_t read_number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 0);
    if (end == text) refuse("not a number", text);
    return value;
}

static uint64_t read_bytes(const char *text)
{
    static const char *const units[] = {"KiB", "MiB", "GiB"};
    uint64_t value = read_number(text);
    for (unsigned i = 0; i < 3; i++)
        if (strstr(text, units[i])) value <<= 10 * (i + 1);
    return value;
}

static void read_failure(const char *text)
{
    if (options.failure_count == sizeof options.failures / sizeof options.failures[0]) refuse("too many", text);
    struct failure *f = &options.failures[options.failure_count++];
    unsigned long long number;
    if (sscanf(text, "%63[^:]:%llu:%d", f->call, &number, &f->code) != 3) refuse("not CALL:N:CODE", text);
    f->number = number;
}

static void read_engines(const char *text)
{
    options.build_fails = strstr(text, "build_fails");
    options.run_fails = strstr(text, "run_fails");
    options.all_fail = strstr(text, "all_fail");
    options.nondeterministic = strstr(text, "nondeterministic");
    options.no_engines = strstr(text, "none");
    options.plain_engines = strstr(text, "plain");
    options.fusions_unbuilt = strstr(text, "fusions_unbuilt");
    options.fusions_stop = strstr(text, "fusions_stop");
    options.capture_fails = strstr(text, "capture_fails");
}

static void read_cupti(const char *text)
{
    options.cupti_taken = strstr(text, "taken");
    options.cupti_silent = strstr(text, "silent");
    options.cupti_lost = strstr(text, "lost");
    options.cupti_fails = strstr(text, "fails");
    options.cupti_misjoins = strstr(text, "misjoins");
    options.cupti_disorder = strstr(text, "disorder");
    options.cupti_nulls = strstr(text, "nulls");
    options.cupti_tails = strstr(text, "tails");
    options.cupti_late = strstr(text, "late");
    options.cupti_grows = strstr(text, "grows");
    options.cupti_pool = strstr(text, "pool");
    options.cupti_jumps = strstr(text, "jumps");
    options.cupti_drops = strstr(text, "drops");
}

static void read_nccl(const char *text)
{
    options.nccl_absent = strstr(text, "absent");
    options.nccl_async = strstr(text, "async");
    options.nccl_stuck = strstr(text, "stuck");
    options.nccl_sockets = strstr(text, "sockets");
    options.nccl_processes = options.nccl_sockets || strstr(text, "processes");
}

static void read_capability(const char *text)
{
    if (sscanf(text, "%u.%u", &options.major, &options.minor) != 2) refuse("not a capability", text);
}

/* How many, or the file that says so when a process starts: gpus=@FILE. */
static unsigned read_gpus(const char *text)
{
    char line[16] = "";
    if (*text != '@') return (unsigned)read_number(text);
    FILE *file = fopen(text + 1, "r");
    if (!file || !fgets(line, sizeof line, file)) refuse("cannot be read", text + 1);
    fclose(file);
    return (unsigned)read_number(line);
}

/* What CUDA shows of them. */
static void hide_gpus(void)
{
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    unsigned shown = 1;
    if (!list || !*list) return;
    for (; *list; list++) shown += *list == ',';
    if (shown < options.gpus) options.gpus = shown;
}

static bool read_count(const char *key, const char *value)
{
    const struct {
        const char *key;
        uint64_t *count;
    } known[] = {{"seed", &options.seed},           {"hang", &options.hang},
                 {"illegal", &options.illegal},     {"drop_record", &options.drop_record},
                 {"drop_wait", &options.drop_wait}, {"pace", &options.pace},
                 {"build", &options.build_ms},      {"times", &options.times},
                 {"cudnn", &options.cudnn}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(key, known[i].key) != 0) continue;
        *known[i].count = read_number(value);
        return true;
    }
    return false;
}

static void read_option(const char *key, const char *value)
{
    if (read_count(key, value)) return;
    if (strcmp(key, "gpus") == 0)
        options.gpus = read_gpus(value);
    else if (strcmp(key, "name") == 0)
        snprintf(options.name, sizeof options.name, "%s", value);
    else if (strcmp(key, "capability") == 0)
        read_capability(value);
    else if (strcmp(key, "memory") == 0)
        options.memory_bytes = read_bytes(value);
    else if (strcmp(key, "processors") == 0)
        options.processors = (unsigned)read_number(value);
    else if (strcmp(key, "driver") == 0)
        options.driver = (int)read_number(value);
    else if (strcmp(key, "fail") == 0)
        read_failure(value);
    else if (strcmp(key, "refuse") == 0 && strcmp(value, "graph") == 0)
        options.refuse_after_graph = true;
    else if (strcmp(key, "refuse") == 0)
        options.refuse_after_call = read_number(value);
    else if (strcmp(key, "engines") == 0)
        read_engines(value);
    else if (strcmp(key, "cupti") == 0)
        read_cupti(value);
    else if (strcmp(key, "nccl") == 0)
        read_nccl(value);
    else
        refuse("no such option", key);
}

void options_parse(const char *text)
{
    char copy[2048], *rest = copy, *item;
    options = (struct vendor_options){.gpus = 1,
                                      .major = 9,
                                      .processors = 132,
                                      .name = "NVIDIA H200",
                                      .memory_bytes = UINT64_C(8) << 30,
                                      .driver = 13000,
                                      .seed = 1};
    if ((size_t)snprintf(copy, sizeof copy, "%s", text ? text : "") >= sizeof copy) refuse("too long", text);
    while ((item = strtok_r(rest, ",", &rest))) {
        char *value = strchr(item, '=');
        if (!value) refuse("not key=value", item);
        *value = '\0';
        read_option(item, value + 1);
    }
    hide_gpus();
    if (options.gpus > MOST_DEVICES) refuse("more GPUs than it can be", "gpus");
}
