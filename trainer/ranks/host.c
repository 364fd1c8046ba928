/* Which host this process is on: what ranks that share processors and GPUs have in common, and no others. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hash.h"
#include "ranks_private.h"

/* 0 where there is no such file. */
static uint64_t hash_file(const char *path, uint64_t hash)
{
    char bytes[256];
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    size_t count = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return count > 0 ? hash_bytes(bytes, count, hash) : 0;
}

/* Containers may have one name on several machines, and copies of one disk have one machine-id: a kernel's start has a
 * number of its own (random(4)). Containers of one machine may have one name too, and see other GPUs; what gives them
 * names is their UTS namespace (namespaces(7)), which processes of one container share. Where neither can be read the
 * name alone tells. */
void ranks_find_host(struct ranks_place *place)
{
    struct stat names;
    gethostname(place->host, sizeof place->host - 1);
    uint64_t number = hash_bytes(place->host, strlen(place->host), 0);
    uint64_t kernel = hash_file("/proc/sys/kernel/random/boot_id", number);
    if (kernel == 0) kernel = hash_file("/etc/machine-id", number);
    place->machine = kernel ? kernel : number;
    if (stat("/proc/self/ns/uts", &names) == 0)
        place->machine = hash_bytes(&names.st_ino, sizeof names.st_ino, place->machine);
}
