#include <stdio.h>
#include <string.h>

#include "import_private.h"
#include "mem.h"

static int by_begin(const void *a, const void *b)
{
    const struct import_placed *x = a, *y = b;
    if (x->begin_ns != y->begin_ns) return import_compare(x->begin_ns, y->begin_ns);
    return x->device != y->device ? import_compare(x->device, y->device) : import_compare(x->stream, y->stream);
}

static bool too_many(const struct import *import, const char *what, struct error *err)
{
    return error_set(err, ERROR_INPUT, "%s: has more than %u different %s, the most that a trace can have", import->path,
                     TRACE_MOST_OPS, what);
}

/* ---- Ops ---- */

static const char *pass_of(const struct import_owner *owner, const char *kernel)
{
    if (kernel && strncmp(kernel, "nccl", 4) == 0) return "comm";
    if (owner->sequence) return "backward";
    return owner->place.part == PART_NOWHERE ? "" : owner->place.part == PART_OPTIMIZER ? "update" : "forward";
}

/* Of a layer, a name and a pass. */
static bool find_op(struct import *import, const struct import_owner *owner, const char *kernel, uint32_t *op,
                    struct error *err)
{
    char key[64];
    struct import_op made = {.layer = owner->place.layer, .kind = owner->op};
    TRY(import_add_name(import, pass_of(owner, kernel), &made.pass, err));
    snprintf(key, sizeof key, "%u %u %u", (unsigned)made.layer, (unsigned)made.kind, (unsigned)made.pass);
    if (!tables_add_name(&import->op_keys, key, op)) return error_memory(err, sizeof key, "a trace's ops");
    if (--*op < import->ops.count) return true; /* number 0 is that of the empty text */
    if (*op == TRACE_MOST_OPS) return too_many(import, "ops", err);
    IMPORT_ADD(import->ops, made, err);
    return true;
}

/* ---- Runs ---- */

static bool place(struct import *import, const struct import_placed *placed, struct error *err)
{
    struct import_device *device = &import->devices[placed->device];
    if (!device->used || placed->begin_ns < device->first_ns) device->first_ns = placed->begin_ns;
    if (placed->end_ns > device->last_ns) device->last_ns = placed->end_ns;
    device->used = true;
    return spill_add(&import->placed, placed, err);
}

bool import_place_itself(struct import *import, const struct import_owner *owner, struct error *err)
{
    struct import_placed placed = {
        .begin_ns = owner->begin_ns, .end_ns = owner->end_ns, .stream = (uint32_t)owner->key};
    if (import->placed.size == 0) spill_begin(&import->placed, sizeof placed, by_begin, import->out, 0);
    return find_op(import, owner, NULL, &placed.id, err) && place(import, &placed, err);
}

static void take_kernel_entry(void *context, const struct trace_kernel *kernels, size_t count)
{
    struct import *import = context;
    if (!tables_set_kernels(&import->tables, kernels, count)) import->broken = true;
}

static bool find_kernel(struct import *import, const struct import_run *run, uint32_t op, uint32_t *id,
                        struct error *err)
{
    const struct import_shape *shape = &import->shapes.items[run->shape];
    struct trace_kernel kernel = {.device = run->device,
                                  .op = op == NONE ? TRACE_NO_OWNER : op,
                                  .work = shape->work,
                                  .name = import->names.names[shape->name],
                                  .registers = shape->registers,
                                  .bytes = shape->bytes};
    memcpy(kernel.grid, shape->grid, sizeof kernel.grid);
    memcpy(kernel.block, shape->block, sizeof kernel.block);
    bool found = kernel_ids_find(import->kernels, &kernel, run->shape, id);
    if (found && *id == TRACE_MOST_OPS) return too_many(import, "kernels on a GPU", err);
    return (found && !import->broken) || error_memory(err, sizeof kernel, "a trace's kernels");
}

/* owner may be NULL. */
static bool place_run(struct import *import, const struct import_run *run, const struct import_owner *owner,
                      struct error *err)
{
    const struct import_shape *shape = &import->shapes.items[run->shape];
    struct import_placed placed = {.begin_ns = run->begin_ns,
                                   .end_ns = run->end_ns,
                                   .launched_ns = owner ? owner->end_ns : 0,
                                   .stream = run->stream,
                                   .device = run->device};
    uint32_t op = NONE;
    if (owner && owner->op != NONE) TRY(find_op(import, owner, import->names.names[shape->name], &op, err));
    TRY(find_kernel(import, run, op, &placed.id, err));
    import->stats->kernels += shape->work == WORK_KERNEL;
    import->stats->copies += shape->work != WORK_KERNEL;
    import->stats->owned += op != NONE;
    return place(import, &placed, err);
}

/* Those with a launch, and those that nothing is known of. */
static bool place_launched(struct import *import, struct error *err)
{
    const void *next, *found;
    TRY(spill_rewind(&import->runs, err) && spill_rewind(&import->by_key, err));
    TRY(spill_next(&import->runs, &next, err) && spill_next(&import->by_key, &found, err));
    while (next) {
        const struct import_run *run = next;
        const struct import_owner *owner = found;
        if (import_is_stopped(import, err)) return false;
        if (owner && owner->key < run->key) {
            TRY(spill_next(&import->by_key, &found, err));
            continue;
        }
        bool matched = owner && owner->key == run->key;
        if (matched || run->external == 0) TRY(place_run(import, run, matched ? owner : NULL, err));
        TRY(spill_next(&import->runs, &next, err));
    }
    return true;
}

/* Runs whose launch is not in the trace, by their External id: of several ops of one the last. */
static bool place_orphans(struct import *import, struct error *err)
{
    const void *next, *found;
    struct import_owner last = {0};
    TRY(spill_rewind(&import->orphans, err) && spill_rewind(&import->by_external, err));
    TRY(spill_next(&import->orphans, &next, err) && spill_next(&import->by_external, &found, err));
    while (next) {
        const struct import_run *run = next;
        const struct import_owner *owner = found;
        if (import_is_stopped(import, err)) return false;
        if (owner && owner->key <= run->external) {
            last = *owner;
            TRY(spill_next(&import->by_external, &found, err));
            continue;
        }
        TRY(place_run(import, run, last.key == run->external ? &last : NULL, err));
        TRY(spill_next(&import->orphans, &next, err));
    }
    return true;
}

bool import_place_runs(struct import *import, struct error *err)
{
    struct trace_sink sink = {.context = import, .kernel_table = take_kernel_entry};
    if (import->placed.size == 0) spill_begin(&import->placed, sizeof(struct import_placed), by_begin, import->out, 0);
    import->kernels = kernel_ids_create(&sink);
    if (!import->kernels) return error_memory(err, sizeof sink, "a trace's kernels");
    bool ok = place_launched(import, err) && place_orphans(import, err);
    kernel_ids_destroy(import->kernels);
    import->kernels = NULL;
    spill_finish(&import->runs);
    spill_finish(&import->orphans);
    spill_finish(&import->by_key);
    spill_finish(&import->by_external);
    return ok;
}
