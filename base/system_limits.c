#define _GNU_SOURCE
#include "system_limits.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define PATH      1024
#define LINE      4096
#define MOST_CPUS 65536u
#define ROOM_STEP (1ull << 20)

/* ---- Files ---- */

/* A whole number at the start of a file; false where there is none, as in "max". */
static bool read_number(const char *folder, const char *name, uint64_t *value)
{
    char path[2 * PATH], text[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *stream = fopen(path, "re");
    if (!stream) return false;
    char *end = text;
    if (fgets(text, sizeof text, stream) && text[0] >= '0' && text[0] <= '9') *value = strtoull(text, &end, 10);
    fclose(stream);
    return end > text;
}

/* A line without its newline; what does not fit is passed over. */
static bool read_line(FILE *stream, char line[LINE])
{
    if (!fgets(line, LINE, stream)) return false;
    size_t length = strcspn(line, "\n");
    if (line[length] == '\0')
        for (int c = getc(stream); c != EOF && c != '\n';) c = getc(stream);
    line[length] = '\0';
    return true;
}

/* The sum of those fields of a "NAME VALUE" or "NAME: VALUE" file that are named; false when there is none of them. */
static bool sum_fields(const char *path, const char *const *names, uint64_t *sum)
{
    char line[LINE];
    bool found = false;
    FILE *stream = fopen(path, "re");
    if (!stream) return false;
    *sum = 0;
    while (read_line(stream, line)) {
        size_t length = strcspn(line, ": ");
        for (const char *const *name = names; *name; name++) {
            if (strlen(*name) != length || strncmp(line, *name, length) != 0) continue;
            *sum += strtoull(line + length + strspn(line + length, ": "), NULL, 10);
            found = true;
        }
    }
    fclose(stream);
    return found;
}

/* ---- Bounds ---- */

static void lower(struct limit *limit, uint64_t amount, const char *source)
{
    if (amount >= limit->amount) return;
    limit->amount = amount;
    snprintf(limit->source, sizeof limit->source, "%.*s", (int)sizeof limit->source - 1, source);
}

/* The machine itself. Without /proc the kernel is asked, which does not say how much of the cache it would give up. */
static void read_machine(const char *root, struct limits *limits)
{
    char path[PATH];
    uint64_t kib;
    struct sysinfo info;
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    bool known = sysinfo(&info) == 0;
    uint64_t unit = known ? info.mem_unit : 0;
    if (sum_fields(path, (const char *const[]){"MemTotal", NULL}, &kib))
        lower(&limits->memory, kib * 1024, "");
    else if (known)
        lower(&limits->memory, info.totalram * unit, "");
    if (sum_fields(path, (const char *const[]){"MemAvailable", NULL}, &kib))
        lower(&limits->available, kib * 1024, "");
    else if (known)
        lower(&limits->available, (info.freeram + info.bufferram) * unit, "");
}

/* On a process's mappings. */
static void lower_to_ulimits(struct limit *limit)
{
    struct rlimit found;
    if (getrlimit(RLIMIT_AS, &found) == 0 && found.rlim_cur != RLIM_INFINITY) lower(limit, found.rlim_cur, "ulimit -v");
    if (getrlimit(RLIMIT_DATA, &found) == 0 && found.rlim_cur != RLIM_INFINITY)
        lower(limit, found.rlim_cur, "ulimit -d");
}

static void read_resource_limits(struct limits *limits)
{
    struct limit most = {UINT64_MAX, ""}, room;
    lower_to_ulimits(&most);
    if (most.amount == UINT64_MAX) return;
    lower(&limits->memory, most.amount, most.source);
    limits_room(most.amount, &room);
    lower(&limits->available, room.amount, most.source);
}

/* A set of fixed size does not do: the call fails where the kernel knows more processors than the set holds. */
static bool count_affinity(uint64_t *count)
{
    for (uint32_t most = 1024; most <= MOST_CPUS; most *= 2) {
        _Alignas(cpu_set_t) char room[CPU_ALLOC_SIZE(MOST_CPUS)];
        cpu_set_t *set = (cpu_set_t *)(void *)room;
        if (sched_getaffinity(0, CPU_ALLOC_SIZE(most), set) != 0) continue;
        *count = (uint64_t)CPU_COUNT_S(CPU_ALLOC_SIZE(most), set);
        return *count > 0;
    }
    return false;
}

static void read_affinity(struct limits *limits)
{
    uint64_t count;
    long online = sysconf(_SC_NPROCESSORS_CONF);
    if (count_affinity(&count))
        lower(&limits->processors, count, online > 0 && count < (uint64_t)online ? "the affinity mask (taskset)" : "");
    else
        lower(&limits->processors, online > 0 ? (uint64_t)online : 1, "");
}

/* ---- Control groups ---- */

static const struct {
    const char *limits[3], *used, *given_up[4]; /* given_up: fields of memory.stat, what the kernel takes back */
} memory_files[] = {
    {{"memory.max", "memory.high"}, "memory.current", {"inactive_file", "active_file", "slab_reclaimable"}},
    {{"memory.limit_in_bytes"}, "memory.usage_in_bytes", {"total_inactive_file", "total_active_file"}}};

static uint64_t least_memory(const char *folder, const char *const *files, const char **file)
{
    uint64_t least = UINT64_MAX, found;
    for (; *files; files++) {
        if (!read_number(folder, *files, &found) || found >= least) continue;
        least = found;
        *file = *files;
    }
    return least;
}

static void read_group_memory(const char *folder, size_t root, struct limits *limits)
{
    for (size_t v = 0; v < sizeof memory_files / sizeof memory_files[0]; v++) {
        char source[2 * PATH], stat[2 * PATH];
        const char *file = NULL;
        uint64_t most = least_memory(folder, memory_files[v].limits, &file), used = 0, cache = 0;
        if (!file) continue;
        snprintf(source, sizeof source, "%s/%s", folder + root, file);
        snprintf(stat, sizeof stat, "%s/memory.stat", folder);
        lower(&limits->memory, most, source);
        if (!read_number(folder, memory_files[v].used, &used)) used = 0;
        if (!sum_fields(stat, memory_files[v].given_up, &cache) || cache > used) cache = 0;
        used -= cache;
        lower(&limits->available, most > used ? most - used : 0, source);
    }
}

static void lower_to_quota(struct limits *limits, uint64_t quota, uint64_t period, const char *source)
{
    if (quota == 0 || period == 0) return;
    lower(&limits->processors, quota / period + (quota % period > 0), source);
}

/* "50000 100000" (version 2; "max 100000" is no limit), or a file for each (version 1; -1 is no limit). */
static void read_group_quota(const char *folder, size_t root, struct limits *limits)
{
    char path[2 * PATH];
    uint64_t quota = 0, period = 0;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    FILE *stream = fopen(path, "re");
    char line[LINE] = "";
    if (stream && read_line(stream, line) && line[0] >= '0' && line[0] <= '9') {
        char *end;
        quota = strtoull(line, &end, 10);
        period = strtoull(end, NULL, 10);
    }
    if (stream) fclose(stream);
    lower_to_quota(limits, quota, period, path + root);
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (read_number(folder, "cpu.cfs_quota_us", &quota) && read_number(folder, "cpu.cfs_period_us", &period))
        lower_to_quota(limits, quota, period, path + root);
}

/* From the process's group up to the root of what is mounted: each may set a limit, and all of them hold. */
static void read_groups(const char *root, const char *point, const char *group, struct limits *limits)
{
    char folder[PATH];
    int length = snprintf(folder, sizeof folder, "%s%s%s", root, strcmp(point, "/") == 0 ? "" : point,
                          strcmp(group, "/") == 0 ? "" : group);
    if (length < 0 || (size_t)length >= sizeof folder) return;
    size_t top = strlen(root) + strlen(point);
    for (;;) {
        read_group_memory(folder, strlen(root), limits);
        read_group_quota(folder, strlen(root), limits);
        char *last = strrchr(folder, '/');
        if (strlen(folder) <= top || !last) return;
        *last = '\0';
    }
}

static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (; *list; list += strcspn(list, ","), list += *list == ',')
        if (strncmp(list, word, length) == 0 && (list[length] == ',' || list[length] == '\0')) return true;
    return false;
}

/* A mounted hierarchy of control groups. */
struct hierarchy {
    const char *root, *point; /* which of its folders is mounted, and where */
    const char *controllers;  /* version 1's, among other words; NULL = version 2 */
};

static bool same_hierarchy(const struct hierarchy *mounted, const char *controllers)
{
    if (!mounted->controllers || !*controllers) return !mounted->controllers && !*controllers;
    return (has_word(controllers, "memory") && has_word(mounted->controllers, "memory")) ||
           (has_word(controllers, "cpu") && has_word(mounted->controllers, "cpu"));
}

/* The group's path below the mount; "" where it lies outside of what is mounted: then that folder's limits are known at
 * least. */
static const char *below_mount(const char *group, const char *root)
{
    size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);
    bool below = strncmp(group, root, length) == 0 && (group[length] == '/' || group[length] == '\0');
    return below && strncmp(group, "/..", 3) != 0 ? group + length : "";
}

/* "4:memory:/a/b" in /proc/self/cgroup: the process's group in a hierarchy. */
static void read_hierarchy(const char *root, const struct hierarchy *mounted, struct limits *limits)
{
    char path[PATH], line[LINE];
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *stream = fopen(path, "re");
    while (stream && read_line(stream, line)) {
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = '\0';
        if (same_hierarchy(mounted, controllers + 1))
            read_groups(root, mounted->point, below_mount(group, mounted->root), limits);
    }
    if (stream) fclose(stream);
}

/* Blanks and the like are written as \040 in mountinfo. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; to++) {
        bool octal = from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
                     from[3] >= '0' && from[3] <= '7';
        *to = octal ? (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0')) : *from;
        from += octal ? 4 : 1;
    }
    *to = '\0';
}

/* "33 31 0:32 ROOT POINT OPTIONS ... - TYPE SOURCE SUPER_OPTIONS" */
static bool parse_mount(char *line, struct hierarchy *mounted)
{
    char *fields[5], *rest = strstr(line, " - "), *save;
    if (!rest) return false;
    *rest = '\0';
    char *type = strtok_r(rest + 3, " ", &save);
    strtok_r(NULL, " ", &save);
    char *options = strtok_r(NULL, " ", &save);
    if (!type || strncmp(type, "cgroup", 6) != 0) return false;
    for (int i = 0; i < 5; i++)
        if (!(fields[i] = strtok_r(i == 0 ? line : NULL, " ", &save))) return false;
    unescape(fields[3]);
    unescape(fields[4]);
    bool second = strcmp(type, "cgroup2") == 0;
    *mounted = (struct hierarchy){fields[3], fields[4], second ? NULL : options ? options : ""};
    return true;
}

static void read_control_groups(const char *root, struct limits *limits)
{
    char path[PATH], line[LINE];
    snprintf(path, sizeof path, "%s/proc/self/mountinfo", root);
    FILE *stream = fopen(path, "re");
    if (!stream) { /* without /proc: where they are mounted as a rule, and the namespace's own root */
        read_groups(root, "/sys/fs/cgroup", "", limits);
        read_groups(root, "/sys/fs/cgroup/memory", "", limits);
        read_groups(root, "/sys/fs/cgroup/cpu", "", limits);
        return;
    }
    while (read_line(stream, line)) {
        struct hierarchy mounted;
        if (parse_mount(line, &mounted)) read_hierarchy(root, &mounted, limits);
    }
    fclose(stream);
}

/* ---- All of them ---- */

void limits_read(const char *root, struct limits *limits)
{
    *limits = (struct limits){{UINT64_MAX, ""}, {UINT64_MAX, ""}, {UINT64_MAX, ""}};
    read_machine(root, limits);
    read_control_groups(root, limits);
    read_resource_limits(limits);
    read_affinity(limits);
}

static uint32_t processors;

static void read_processors(void)
{
    struct limits limits;
    limits_read("", &limits);
    processors = limits.processors.amount < MOST_CPUS ? (uint32_t)limits.processors.amount : MOST_CPUS;
}

uint32_t limits_processors(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_processors);
    return processors;
}

static bool can_map(uint64_t bytes, int protection)
{
    if (bytes > SIZE_MAX) return false;
    void *block = mmap(NULL, (size_t)bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED) return false;
    munmap(block, (size_t)bytes);
    return true;
}

void limits_room(uint64_t most, struct limit *room)
{
    *room = (struct limit){UINT64_MAX, ""};
    uint64_t found = 0, over = most / ROOM_STEP + 1; /* in steps: what can be mapped, and what cannot */
    if (most == 0 || can_map(most, PROT_READ | PROT_WRITE)) {
        room->amount = most;
        return;
    }
    while (over - found > 1) {
        uint64_t middle = found + (over - found) / 2;
        *(can_map(middle * ROOM_STEP, PROT_READ | PROT_WRITE) ? &found : &over) = middle;
    }
    lower_to_ulimits(room);
    if (!*room->source)
        snprintf(room->source, sizeof room->source, "the kernel's limit on mappings (vm.overcommit_memory)");
    room->amount = found * ROOM_STEP;
}

bool limits_has_addresses(uint64_t bytes) { return can_map(bytes, PROT_NONE); }
