/* NCCL among ranks that are processes (nccl=processes): a file in shared memory for each communicator. A rank brings
 * its numbers there, and sums for itself when all have. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nccl_far.h"

#define SLOT_BYTES ((size_t)64 << 20)

static void name_file(uint64_t id, char name[64])
{
    snprintf(name, 64, "/fathom-standin-%016llx", (unsigned long long)id);
}

static size_t far_bytes(int size) { return sizeof(struct far) + (size_t)size * SLOT_BYTES; }

struct far *far_join(uint64_t id, int rank, int size)
{
    char name[64];
    name_file(id, name);
    int fd = shm_open(name, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)far_bytes(size)) != 0) return NULL;
    struct far *far = mmap(NULL, far_bytes(size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (far == MAP_FAILED) return NULL;
    far->id = id;
    atomic_store(&far->slots[rank].process, (int)getpid());
    return far;
}

static uint8_t *numbers(struct far *far, int rank) { return (uint8_t *)(far + 1) + (size_t)rank * SLOT_BYTES; }

bool far_is_whole(struct far *far, int size)
{
    char name[64];
    for (int r = 0; r < size; r++)
        if (atomic_load(&far->slots[r].process) == 0) return false;
    name_file(far->id, name);
    shm_unlink(name); /* all have it open */
    return true;
}

bool far_have_left(struct far *far, int size)
{
    for (int r = 0; r < size; r++)
        if (!atomic_load(&far->slots[r].leaves)) return false;
    return true;
}

/* Everybody has the sums of the turn before. */
static bool is_free(struct far *far, int size, uint64_t turn)
{
    for (int r = 0; r < size; r++)
        if (atomic_load(&far->slots[r].summed) < turn) return false;
    return true;
}

bool far_bring(struct far *far, int rank, int size, uint64_t turn, const struct far_sum *sum)
{
    struct far_slot *slot = &far->slots[rank];
    size_t bytes = sum->count * (sum->doubles ? sizeof(double) : sizeof(float));
    if (!is_free(far, size, turn)) return false;
    if (bytes > SLOT_BYTES) {
        violate("a sum over ranks of %zu bytes, more than the stand-in carries between processes", bytes);
        return false;
    }
    memcpy(numbers(far, rank), sum->in, bytes);
    slot->count = sum->count;
    slot->doubles = sum->doubles;
    atomic_store(&slot->brought, turn + 1);
    return true;
}

static bool all_have_brought(struct far *far, int size, uint64_t turn)
{
    for (int r = 0; r < size; r++)
        if (atomic_load(&far->slots[r].brought) <= turn || atomic_load(&far->slots[r].gone)) return false;
    return true;
}

/* As rings do, each part of the elements begins with another rank. */
static void add_up(struct far *far, int size, const struct far_sum *sum)
{
    for (size_t i = 0; i < sum->count; i++) {
        int first = (int)(i * (size_t)size / sum->count);
        float single = 0;
        double twice = 0;
        for (int r = 0; r < size; r++) {
            const void *of = numbers(far, (first + 1 + r) % size);
            if (sum->doubles)
                twice += ((const double *)of)[i];
            else
                single += ((const float *)of)[i];
        }
        if (sum->doubles)
            ((double *)sum->out)[i] = twice;
        else
            ((float *)sum->out)[i] = single;
    }
}

bool far_sum_up(struct far *far, int rank, int size, uint64_t turn, const struct far_sum *sum)
{
    if (!all_have_brought(far, size, turn)) return false;
    for (int r = 0; r < size; r++)
        if (far->slots[r].count != sum->count || far->slots[r].doubles != sum->doubles)
            violate("rank %d sums %zu elements where rank %d sums %zu", r, far->slots[r].count, rank, sum->count);
    add_up(far, size, sum);
    atomic_store(&far->slots[rank].summed, turn + 1);
    return true;
}
