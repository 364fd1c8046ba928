/* NCCL among ranks that are processes: a rank brings its numbers, and sums for itself when all have. For each
 * communicator there is a file in shared memory (nccl=processes), or in each process a mirror of what ranks tell each
 * other over sockets (nccl=sockets). */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dnn.h"
#include "nccl_net.h"

#define SLOT_BYTES ((size_t)64 << 20)

static void name_file(uint64_t id, char name[64])
{
    snprintf(name, 64, "/fathom-standin-%016llx", (unsigned long long)id);
}

size_t far_bytes(int size) { return sizeof(struct far) + (size_t)size * SLOT_BYTES; }

static struct far *join_network(struct net *net, uint64_t id, int rank)
{
    struct far *far = net_follow(net, id);
    atomic_store(&far->slots[rank].process, (int)getpid());
    net_tell(far, NET_JOINED, NULL, 0);
    return far;
}

struct far *far_join(struct net *net, uint64_t id, int rank, int size)
{
    char name[64];
    if (net) return join_network(net, id, rank);
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

/* ---- Numbers ---- */

enum number_type number_type(ncclDataType_t type)
{
    switch (type) {
    case ncclFloat64: return NUMBER_F64;
    case ncclFloat16: return NUMBER_F16;
    case ncclBfloat16: return NUMBER_BF16;
    default: return NUMBER_F32;
    }
}

size_t number_bytes(enum number_type type) { return type == NUMBER_F64 ? 8 : type == NUMBER_F32 ? 4 : 2; }

double number_add(enum number_type type, double sum, const void *numbers, size_t i)
{
    switch (type) {
    case NUMBER_F64: return sum + ((const double *)numbers)[i];
    case NUMBER_F32: return (double)((float)sum + ((const float *)numbers)[i]);
    case NUMBER_F16:
    case NUMBER_BF16: break;
    }
    float number;
    const cudnnDataType_t half = type == NUMBER_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_BFLOAT16;
    dnn_load(half, (const uint16_t *)numbers + i, &number, 1);
    return (double)dnn_round(half, (float)sum + number);
}

void number_store(enum number_type type, double value, void *numbers, size_t i)
{
    const float single = (float)value;
    switch (type) {
    case NUMBER_F64: ((double *)numbers)[i] = value; break;
    case NUMBER_F32: ((float *)numbers)[i] = single; break;
    case NUMBER_F16: dnn_store(CUDNN_DATA_HALF, &single, (uint16_t *)numbers + i, 1); break;
    case NUMBER_BF16: dnn_store(CUDNN_DATA_BFLOAT16, &single, (uint16_t *)numbers + i, 1); break;
    }
}

uint8_t *far_numbers(struct far *far, int rank) { return (uint8_t *)(far + 1) + (size_t)rank * SLOT_BYTES; }

bool far_is_whole(struct far *far, int size)
{
    char name[64];
    for (int r = 0; r < size; r++)
        if (atomic_load(&far->slots[r].process) == 0) return false;
    name_file(far->id, name);
    if (!far->net) shm_unlink(name); /* all have it open */
    return true;
}

bool far_have_left(struct far *far, int size)
{
    for (int r = 0; r < size; r++)
        if (!atomic_load(&far->slots[r].leaves)) return false;
    return net_is_flushed(far);
}

void far_leave(struct far *far, int rank)
{
    atomic_store(&far->slots[rank].leaves, true);
    net_tell(far, NET_LEAVES, NULL, 0);
}

void far_give_up(struct far *far, int rank)
{
    atomic_store(&far->slots[rank].gone, true);
    net_tell(far, NET_GONE, NULL, 0);
}

/* Of what is in shared memory nobody is told. */
bool far_has_lost(struct far *far) { return far->net && net_has_lost(far); }

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
    size_t bytes = sum->count * number_bytes(sum->type);
    if (!is_free(far, size, turn)) return false;
    if (bytes > SLOT_BYTES) {
        violate("a sum over ranks of %zu bytes, more than the stand-in carries between processes", bytes);
        return false;
    }
    memcpy(far_numbers(far, rank), sum->in, bytes);
    slot->count = sum->count;
    slot->type = sum->type;
    slot->known = sum->known;
    slot->offset = sum->offset;
    atomic_store(&slot->brought, turn + 1);
    net_tell(far, NET_BROUGHT, sum->in, bytes);
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
        double total = 0;
        for (int r = 0; r < size; r++)
            total = number_add(sum->type, total, far_numbers(far, (first + 1 + r) % size), i);
        number_store(sum->type, total, sum->out, i);
    }
}

bool far_sum_up(struct far *far, int rank, int size, uint64_t turn, const struct far_sum *sum)
{
    if (!all_have_brought(far, size, turn)) return false;
    for (int r = 0; r < size; r++) {
        const struct far_slot *slot = &far->slots[r];
        if (slot->count != sum->count || slot->type != sum->type)
            violate("rank %d sums %zu elements where rank %d sums %zu", r, slot->count, rank, sum->count);
        if (slot->known != sum->known || slot->offset != sum->offset)
            violate("rank %d sums memory at offset %zu where rank %d does at %zu", r, slot->offset, rank, sum->offset);
    }
    add_up(far, size, sum);
    atomic_store(&far->slots[rank].summed, turn + 1);
    net_tell(far, NET_SUMMED, NULL, 0);
    return true;
}
