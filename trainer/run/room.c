/* Is there room for a run? Asked before anything is taken or written: a block that the kernel promises and does not
 * have ends the process, and libraries do not survive a lack of address space. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "process.h"
#include "system_limits.h"
#include "train.h"
#include "units.h"

#define OTHER_THREADS 3u         /* the main one, the loader's, the trace's */
#define ROOM_TO_SPARE (24 << 20) /* address space for what libraries map and give back: generated code, heaps */

/* The blocks that are taken whole when a device is made. */
static uint64_t block_bytes(const struct plan *plan, const struct train_part *part, bool arenas)
{
    uint64_t bytes = 0;
    for (size_t i = part->first; i < part->first + part->count; i++) {
        const struct plan_variant *variant = &plan->variants[plan->devices[i].variant];
        bytes += variant->host_bytes + (arenas ? variant->arena_bytes : 0);
    }
    return bytes;
}

/* What the process will hold beyond what it holds now. */
static uint64_t missing_bytes(const struct plan *plan, const struct backend *backend, const struct train_part *part)
{
    uint64_t blocks = block_bytes(plan, part, backend->in_host_memory),
             planned = train_planned_bytes(plan, backend, part);
    uint64_t held, peak;
    if (!backend->in_host_memory || plan->devices[0].spec.kind != DEVICE_CPU) return blocks;
    if (!process_memory_read(&held, &peak)) held = 0;
    return planned > held && planned - held > blocks ? planned - held : blocks;
}

static uint64_t stack_bytes(const struct train_part *part)
{
    pthread_attr_t attributes;
    size_t each = 0;
    if (pthread_attr_init(&attributes) != 0) return 0;
    pthread_attr_getstacksize(&attributes, &each);
    pthread_attr_destroy(&attributes);
    return (uint64_t)each * (part->count * train_device_threads(part) + OTHER_THREADS);
}

/* `needed` and `found` count alike: more than is held now. */
static bool say_short(const struct plan *plan, const struct train_part *part, uint64_t needed,
                      const struct limit *found, struct error *err)
{
    char need[UNITS_TEXT], have[UNITS_TEXT], with[UNITS_TEXT + 64] = "a smaller batch";
    uint64_t blocks = block_bytes(plan, part, true), rest = needed > blocks ? needed - blocks : 0;
    uint64_t budget = found->amount > rest ? (found->amount - rest) / part->count >> 20 : 0;
    if (budget > 0) snprintf(with, sizeof with, "--budget %" PRIu64 "MiB or a smaller batch", budget);
    return error_set(err, ERROR_UNFIT,
                     "%s at batch %u needs %s more memory than the process holds now, and %s can be had%s%s; "
                     "`fathom plan` with %s may fit",
                     plan->spec.name, plan->batch, units_format_bytes(needed, need),
                     units_format_bytes(found->amount, have), *found->source ? ", limited by " : "", found->source,
                     with);
}

bool train_check_memory(const struct plan *plan, const struct backend *backend, const struct train_part *part,
                        struct error *err)
{
    struct limits limits;
    struct limit room;
    uint64_t needed = missing_bytes(plan, backend, part), mapped = needed + stack_bytes(part) + ROOM_TO_SPARE;
    if (needed == 0) return true;
    limits_read("", &limits);
    limits_room(mapped, &room);
    if (room.amount < mapped) return say_short(plan, part, mapped, &room, err);
    return needed <= limits.available.amount || say_short(plan, part, needed, &limits.available, err);
}
