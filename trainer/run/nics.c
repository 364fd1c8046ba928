#define _GNU_SOURCE
#include "nics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "mem.h"

#define MOST_SETTINGS (1u << 20)

/* ---- What the user says ---- */

static bool file_names_cards(const char *path)
{
    char *text = NULL;
    size_t length;
    if (!files_read(path, MOST_SETTINGS, &text, &length, NULL)) return false;
    bool named = strstr(text, NICS_VARIABLE "=") != NULL;
    mem_free(text);
    return named;
}

bool nics_are_named(void)
{
    char own[FILES_PATH];
    const char *home = getenv("HOME"), *file = getenv("NCCL_CONF_FILE");
    if (getenv(NICS_VARIABLE)) return true;
    if (!file && home && snprintf(own, sizeof own, "%s/.nccl.conf", home) < (int)sizeof own) file = own;
    return (file && file_names_cards(file)) || file_names_cards("/etc/nccl.conf");
}

/* ---- What all ranks tell ---- */

struct told_gpu {
    uint64_t machine;
    char bus_id[32];
    bool named;
};

/* Of this host's GPUs; 0 where one of them is not in the topology. */
static uint32_t find_near(const struct told_gpu *gpus, uint32_t devices, uint64_t machine, char list[TOPOLOGY_FABRICS])
{
    struct topology topology = {0};
    uint32_t numbers[HOST_MOST_GPUS], count = 0, near = 0;
    bool known = topology_read(&topology, NULL);
    for (uint32_t i = 0; known && i < devices && count < HOST_MOST_GPUS; i++) {
        if (gpus[i].machine != machine) continue;
        numbers[count] = topology_gpu(&topology, gpus[i].bus_id);
        known = numbers[count++] != TOPOLOGY_NONE;
    }
    if (known) near = topology_near_fabrics(&topology, numbers, count, list);
    topology_finish(&topology);
    return near;
}

static bool has_one_host(const struct ranks *ranks)
{
    uint32_t size = ranks_place(ranks).size, same = 0;
    for (uint32_t i = 0; i < size; i++) same += ranks_place_of(ranks, i)->machine == ranks_place_of(ranks, 0)->machine;
    return same == size;
}

static bool gather_gpus(struct ranks *ranks, const char *const *near, struct told_gpu *gpus, struct error *err)
{
    uint32_t first, count;
    struct ranks_place place = ranks_place(ranks);
    ranks_devices_of(ranks, place.rank, &first, &count);
    for (uint32_t i = 0; i < count; i++) {
        gpus[first + i] = (struct told_gpu){.machine = place.machine, .named = nics_are_named()};
        snprintf(gpus[first + i].bus_id, sizeof gpus[0].bus_id, "%s", near[i]);
    }
    return ranks_gather_devices(ranks, gpus, sizeof *gpus, err);
}

/* As many on all hosts, or none anywhere. */
static bool agree(struct ranks *ranks, uint32_t near, bool *same, struct error *err)
{
    uint32_t size = ranks_place(ranks).size, *counts = mem_zalloc(MEM_GENERAL, size, sizeof *counts);
    if (!counts) return error_memory(err, size * sizeof *counts, "network cards of ranks");
    counts[ranks_place(ranks).rank] = near;
    bool ok = ranks_gather(ranks, counts, sizeof *counts, err);
    *same = ok && near > 0;
    for (uint32_t i = 0; i < size; i++) *same = *same && counts[i] == near;
    mem_free(counts);
    return ok;
}

bool nics_choose(struct ranks *ranks, uint32_t devices, const char *const *near, char list[TOPOLOGY_FABRICS],
                 struct error *err)
{
    *list = '\0';
    if (!ranks || has_one_host(ranks)) return true;
    struct told_gpu *gpus = mem_zalloc(MEM_GENERAL, devices, sizeof *gpus);
    bool named = false, same = false;
    if (!gpus) return error_memory(err, devices * sizeof *gpus, "GPUs of ranks");
    bool ok = gather_gpus(ranks, near, gpus, err);
    for (uint32_t i = 0; ok && i < devices; i++) named |= gpus[i].named;
    if (ok && !named) ok = agree(ranks, find_near(gpus, devices, ranks_place(ranks).machine, list), &same, err);
    if (same)
        setenv(NICS_VARIABLE, list, 1);
    else
        *list = '\0';
    mem_free(gpus);
    return ok;
}
