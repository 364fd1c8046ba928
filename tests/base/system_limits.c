#define _GNU_SOURCE
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "files.h"
#include "system_limits.h"
#include "sanitizers.h"

#define MIB   (1ull << 20)
#define TOTAL (16ull << 30)
#define MEMINFO                                                                                                        \
    {                                                                                                                  \
        "proc/meminfo", "MemTotal:       16777216 kB\nMemFree:  1 kB\nMemAvailable:    8388608 kB\n"                   \
    }
#define MOST     16
#define MOUNT_V2 "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"

/* What a machine's /proc and /sys hold, as far as it matters. */
struct tree {
    const char *name;
    const char *files[MOST][2];
    uint64_t memory, available, processors; /* processors 0: not limited */
    const char *memory_source, *processor_source;
};

static const struct tree trees[] = {
    {"a machine without control groups", {MEMINFO}, TOTAL, TOTAL / 2, 0, "", ""},
    {"version 2, an ancestor has the least",
     {MEMINFO,
      {"proc/self/cgroup", "0::/user.slice/job/step\n"},
      {"proc/self/mountinfo", MOUNT_V2},
      {"sys/fs/cgroup/user.slice/memory.max", "157286400\n"},
      {"sys/fs/cgroup/user.slice/memory.current", "62914560\n"},
      {"sys/fs/cgroup/user.slice/memory.stat",
       "anon 31457280\nfile 31457280\ninactive_file 20971520\nactive_file 10485760\n"},
      {"sys/fs/cgroup/user.slice/job/memory.max", "max\n"},
      {"sys/fs/cgroup/user.slice/job/step/memory.max", "1073741824\n"},
      {"sys/fs/cgroup/user.slice/job/step/cpu.max", "max 100000\n"},
      {"sys/fs/cgroup/user.slice/job/cpu.max", "50000 100000\n"}},
     150 * MIB,
     120 * MIB,
     1,
     "/sys/fs/cgroup/user.slice/memory.max",
     "/sys/fs/cgroup/user.slice/job/cpu.max"},
    {"version 2, memory.high throttles before memory.max kills",
     {MEMINFO,
      {"proc/self/cgroup", "0::/a\n"},
      {"proc/self/mountinfo", MOUNT_V2},
      {"sys/fs/cgroup/a/memory.max", "2147483648\n"},
      {"sys/fs/cgroup/a/memory.high", "1073741824\n"}},
     1024 * MIB,
     1024 * MIB,
     0,
     "/sys/fs/cgroup/a/memory.high",
     ""},
    {"version 2, a namespace of its own, nothing above it visible",
     {MEMINFO,
      {"proc/self/cgroup", "0::/\n"},
      {"proc/self/mountinfo", MOUNT_V2},
      {"sys/fs/cgroup/memory.max", "536870912\n"}},
     512 * MIB,
     512 * MIB,
     0,
     "/sys/fs/cgroup/memory.max",
     ""},
    {"version 2, the process left the namespace's root",
     {MEMINFO,
      {"proc/self/cgroup", "0::/../other\n"},
      {"proc/self/mountinfo", MOUNT_V2},
      {"sys/fs/cgroup/memory.max", "536870912\n"}},
     512 * MIB,
     512 * MIB,
     0,
     "/sys/fs/cgroup/memory.max",
     ""},
    {"version 1 in a container without a namespace: the mount begins at the group",
     {MEMINFO,
      {"proc/self/cgroup", "5:memory:/docker/abc/inner\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"},
      {"proc/self/mountinfo", "33 31 0:32 /docker/abc /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory\n"
                              "34 31 0:33 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
                              "35 31 0:34 /docker/abc /sys/fs/cgroup/systemd ro - cgroup cgroup rw,name=systemd\n"},
      {"sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"},
      {"sys/fs/cgroup/memory/memory.usage_in_bytes", "134217728\n"},
      {"sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 67108864\ntotal_active_file 0\n"},
      {"sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "9223372036854771712\n"},
      {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n"},
      {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "200000\n"}},
     256 * MIB,
     192 * MIB,
     1,
     "/sys/fs/cgroup/memory/memory.limit_in_bytes",
     "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us"},
    {"hybrid: version 1 limits, version 2 only counts",
     {MEMINFO,
      {"proc/self/cgroup", "4:memory:/batch\n1:cpu:/\n0::/batch\n"},
      {"proc/self/mountinfo", "33 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                              "36 31 0:35 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
                              "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
      {"sys/fs/cgroup/memory/batch/memory.limit_in_bytes", "157286400\n"},
      {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"},
      {"sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}},
     150 * MIB,
     150 * MIB,
     0,
     "/sys/fs/cgroup/memory/batch/memory.limit_in_bytes",
     ""},
    {"names with colons and blanks, optional fields, another mount point",
     {MEMINFO,
      {"proc/self/cgroup", "0::/a b:c/d\n"},
      {"proc/self/mountinfo", "22 1 0:2 / / rw - ext4 /dev/root rw\n"
                              "30 23 0:26 / /mnt/my\\040groups rw shared:9 master:1 - cgroup2 none rw\n"},
      {"mnt/my groups/a b:c/memory.max", "1048576000\n"},
      {"mnt/my groups/a b:c/d/memory.max", "max\n"}},
     1000 * MIB,
     1000 * MIB,
     0,
     "/mnt/my groups/a b:c/memory.max",
     ""},
    {"more is allowed than there is",
     {MEMINFO,
      {"proc/self/cgroup", "0::/a\n"},
      {"proc/self/mountinfo", MOUNT_V2},
      {"sys/fs/cgroup/a/memory.max", "1099511627776\n"},
      {"sys/fs/cgroup/a/cpu.max", "1000000000 100000\n"}},
     TOTAL,
     TOTAL / 2,
     0,
     "",
     ""},
    {"more is held than the limit, which was lowered",
     {MEMINFO,
      {"proc/self/cgroup", "0::/a\n"},
      {"proc/self/mountinfo", MOUNT_V2},
      {"sys/fs/cgroup/a/memory.max", "1048576\n"},
      {"sys/fs/cgroup/a/memory.current", "2097152\n"}},
     MIB,
     0,
     0,
     "/sys/fs/cgroup/a/memory.max",
     ""},
    {"broken files limit nothing",
     {MEMINFO,
      {"proc/self/cgroup", "\n:\n0:\n0::a\n0::/a\n"},
      {"proc/self/mountinfo", "- - -\n - cgroup2\n1 2 - cgroup2 cgroup2 rw\n" MOUNT_V2},
      {"sys/fs/cgroup/a/memory.max", "\n"},
      {"sys/fs/cgroup/a/cpu.max", "5\n"},
      {"sys/fs/cgroup/memory.max", "many\n"}},
     TOTAL,
     TOTAL / 2,
     0,
     "",
     ""},
};

static void write_below(const char *root, const char *path, const char *content)
{
    char full[512];
    struct error err = {0};
    snprintf(full, sizeof full, "%s/%s", root, path);
    *strrchr(full, '/') = '\0';
    cr_assert(files_make_folder(full, &err), "%s", err.text);
    snprintf(full, sizeof full, "%s/%s", root, path);
    cr_assert(files_write(full, content, strlen(content), &err), "%s", err.text);
}

static void remove_tree(const char *root)
{
    char command[600];
    snprintf(command, sizeof command, "rm -rf %s", root);
    cr_assert_eq(system(command), 0);
}

Test(limits, the_least_of_all_that_the_kernel_says)
{
    for (size_t i = 0; i < sizeof trees / sizeof trees[0]; i++) {
        char root[] = "/tmp/fathom-limits-XXXXXX";
        const struct tree *tree = &trees[i];
        struct limits own, found;
        cr_assert(mkdtemp(root));
        for (size_t f = 0; f < MOST && tree->files[f][0]; f++) write_below(root, tree->files[f][0], tree->files[f][1]);
        limits_read(root, &found);
        limits_read("", &own);
        cr_expect_eq(found.memory.amount, tree->memory, "%s: %" PRIu64, tree->name, found.memory.amount);
        cr_expect_str_eq(found.memory.source, tree->memory_source, "%s", tree->name);
        cr_expect_eq(found.available.amount, tree->available, "%s: %" PRIu64, tree->name, found.available.amount);
        if (tree->processors > 0 && own.processors.amount > tree->processors)
            cr_expect_str_eq(found.processors.source, tree->processor_source, "%s", tree->name);
        if (tree->processors > 0) cr_expect_eq(found.processors.amount, tree->processors, "%s", tree->name);
        cr_expect_geq(found.processors.amount, 1, "%s", tree->name);
        remove_tree(root);
    }
}

Test(limits, without_proc_the_kernel_is_asked)
{
    char root[] = "/tmp/fathom-limits-XXXXXX";
    struct limits found;
    struct sysinfo info;
    cr_assert(mkdtemp(root) && sysinfo(&info) == 0);
    limits_read(root, &found);
    cr_expect_eq(found.memory.amount, (uint64_t)info.totalram * info.mem_unit);
    cr_expect(found.available.amount > 0 && found.available.amount <= found.memory.amount);
    write_below(root, "sys/fs/cgroup/memory.max", "157286400\n");
    limits_read(root, &found);
    cr_expect_eq(found.memory.amount, 150 * MIB, "a container's own group is where it is mounted as a rule");
    remove_tree(root);
}

Test(limits, resource_limits_and_affinity_are_this_process_s)
{
    struct limits found;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    limits_read("", &found);
    cr_expect_eq(found.processors.amount, 1);
    cr_expect_eq(limits_processors(), 1);
    if (UNDER_SANITIZER) return;
    cr_assert_eq(setrlimit(RLIMIT_DATA, &(struct rlimit){900 * MIB, 900 * MIB}), 0);
    limits_read("", &found);
    cr_expect(found.memory.amount <= 900 * MIB);
    cr_expect(found.available.amount <= found.memory.amount);
    struct limit room;
    limits_room(1ull << 40, &room);
    cr_expect(room.amount > 100 * MIB && room.amount <= 900 * MIB, "%" PRIu64, room.amount);
    cr_expect_str_eq(room.source, "ulimit -d");
    limits_room(MIB, &room);
    cr_expect_eq(room.amount, MIB);
    cr_expect_str_eq(room.source, "");
    cr_expect(limits_has_addresses(1000 * MIB), "which hold nothing");
    cr_assert_eq(setrlimit(RLIMIT_AS, &(struct rlimit){900 * MIB, 900 * MIB}), 0);
    cr_expect(limits_has_addresses(MIB));
    cr_expect_not(limits_has_addresses(1000 * MIB));
}
