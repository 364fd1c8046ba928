/* A device by itself: what there is of groups in a build without NCCL. */
#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "cuda_group.h"
#include "cuda_slots.h"
#include "mem.h"

struct group {
    uint32_t rank, size;
};

bool cuda_group_name(struct group_id *id, struct error *err)
{
    (void)err;
    uint64_t now = clock_wall_ns();
    *id = (struct group_id){0};
    memcpy(id->bytes, &now, sizeof now);
    return true;
}

bool cuda_group_create(const struct group_id *id, uint32_t rank, uint32_t size, struct ranks *ranks,
                       struct group **group, struct error *err)
{
    (void)ranks; /* the id leads NCCL's processes together */
    (void)id;
    if (size > 1)
        return error_set(err, ERROR_INPUT,
                         "the plan has %" PRIu32 " GPUs: several in one step need NCCL, which was not there when "
                         "this was built; plan again with one",
                         size);
    struct group *made = mem_zalloc(MEM_GENERAL, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a group");
    made->rank = rank;
    made->size = size;
    *group = made;
    return true;
}

bool cuda_group_join(struct group *group, struct device *device, struct error *err)
{
    TRY(device_usable(device, err));
    device->group = group;
    return true;
}

/* It waits for nobody. */
void cuda_group_abort(struct group *group) { (void)group; }

void cuda_group_destroy(struct group *group) { mem_free(group); }

static bool refuse(struct error *err) { return error_set(err, ERROR_FAILED, "this build has no NCCL"); }

bool group_prepare(struct group *group, enum group_purpose purpose, struct error *err)
{
    (void)group;
    (void)purpose;
    return refuse(err);
}

bool group_total(struct group *group, uint64_t own, uint64_t *total, struct error *err)
{
    (void)group;
    (void)own;
    (void)total;
    return refuse(err);
}

bool group_sum(struct group *group, enum group_purpose purpose, const void *in, void *out, uint64_t count,
               enum dtype dtype, struct stream *stream, struct error *err)
{
    (void)group;
    (void)purpose;
    (void)in;
    (void)out;
    (void)count;
    (void)dtype;
    (void)stream;
    return refuse(err);
}

bool group_is_well(struct group *group, struct error *err)
{
    (void)group;
    (void)err;
    return true;
}

bool group_take_memory(struct device *device, uint64_t bytes, struct error *err)
{
    void *block = NULL;
    TRY(cuda_check(device->vendor, device->vendor->cuda.Malloc(&block, bytes), err, "the gradients' %" PRIu64 " bytes",
                   bytes));
    device->apart = block;
    return true;
}

void group_give_memory(struct device *device) { device->vendor->cuda.Free(device->apart); }

bool group_leave(struct group *group, bool lost)
{
    (void)group;
    (void)lost;
    return true;
}
