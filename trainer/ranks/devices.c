/* Which devices a rank has, and how ranks and devices are named. */
#include <stdio.h>

#include "ranks_private.h"

static uint32_t first_device(uint32_t devices, uint32_t rank, uint32_t size)
{
    uint32_t each = devices / size, more = devices % size;
    return rank * each + (rank < more ? rank : more);
}

bool ranks_divide(uint32_t devices, uint32_t rank, uint32_t size, uint32_t *first, uint32_t *count, struct error *err)
{
    if (devices < size)
        return error_set(err, ERROR_INPUT, "the plan is for %u device%s, and there are %u ranks; %u at most have one",
                         devices, devices == 1 ? "" : "s", size, devices);
    *first = first_device(devices, rank, size);
    *count = first_device(devices, rank + 1, size) - *first;
    return true;
}

bool ranks_take_devices(struct ranks *ranks, uint32_t devices, uint32_t *first, uint32_t *count, struct error *err)
{
    if (!ranks) return ranks_divide(devices, 0, 1, first, count, err);
    TRY(ranks_divide(devices, ranks->place.rank, ranks->place.size, first, count, err));
    ranks->devices = devices;
    return true;
}

/* Devices of the ranks first..last-1 that are on this host. */
static uint32_t count_here(const struct ranks *ranks, uint32_t last)
{
    uint32_t count = 0, size = ranks->place.size;
    for (uint32_t i = 0; i < last; i++)
        if (ranks->places[i].machine == ranks->place.machine)
            count += first_device(ranks->devices, i + 1, size) - first_device(ranks->devices, i, size);
    return count;
}

uint32_t ranks_devices_before(const struct ranks *ranks) { return ranks ? count_here(ranks, ranks->place.rank) : 0; }

uint32_t ranks_devices_here(const struct ranks *ranks) { return ranks ? count_here(ranks, ranks->place.size) : 0; }

uint32_t ranks_first_device(const struct ranks *ranks, uint32_t rank)
{
    return first_device(ranks->devices, rank, ranks->place.size);
}

void ranks_devices_of(const struct ranks *ranks, uint32_t rank, uint32_t *first, uint32_t *count)
{
    *first = first_device(ranks->devices, rank, ranks->place.size);
    *count = first_device(ranks->devices, rank + 1, ranks->place.size) - *first;
}

uint32_t ranks_of_device(const struct ranks *ranks, uint32_t device)
{
    uint32_t rank = 0;
    while (ranks && first_device(ranks->devices, rank + 1, ranks->place.size) <= device) rank++;
    return rank;
}

char *ranks_name_device(const struct ranks *ranks, uint32_t device, char out[RANKS_DEVICE_NAME])
{
    int used = snprintf(out, RANKS_DEVICE_NAME, "device %u", device);
    uint32_t rank = ranks_of_device(ranks, device);
    if (ranks)
        snprintf(out + used, RANKS_DEVICE_NAME - (size_t)used, " of rank %u on host %s", rank,
                 ranks->places[rank].host);
    return out;
}

char *ranks_name(const struct ranks *ranks, uint32_t rank, char out[RANKS_NAME])
{
    uint32_t first, count;
    char devices[48] = "";
    const char *host = rank < ranks->place.size ? ranks->places[rank].host : "";
    if (ranks->devices && ranks_divide(ranks->devices, rank, ranks->place.size, &first, &count, NULL))
        snprintf(devices, sizeof devices, count == 1 ? ", device %u" : ", devices %u to %u", first, first + count - 1);
    int used = snprintf(out, RANKS_NAME, "rank %u of %u", rank, ranks->place.size);
    if (*host) snprintf(out + used, RANKS_NAME - (size_t)used, " (host %s%s)", host, devices);
    return out;
}
