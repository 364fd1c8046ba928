#include <string.h>

#include "import_private.h"
#include "mem.h"

/* ---- Which launches are of runs ---- */

static int by_thread(const void *a, const void *b)
{
    const struct import_launch *x = a, *y = b;
    if (x->thread != y->thread) return import_compare(x->thread, y->thread);
    return x->begin_ns != y->begin_ns ? import_compare(x->begin_ns, y->begin_ns) : import_compare(x->key, y->key);
}

static int by_run_external(const void *a, const void *b)
{
    const struct import_run *x = a, *y = b;
    return x->external != y->external ? import_compare(x->external, y->external)
                                      : import_compare(x->begin_ns, y->begin_ns);
}

/* Launches that nothing came of go, of several with one correlation all but the first. */
static bool match_launches(struct import *import, struct error *err)
{
    const void *next, *found;
    uint64_t taken = 0; /* the key of the last one that was kept */
    spill_begin(&import->used_launches, sizeof(struct import_launch), by_thread, import->out, 0);
    spill_begin(&import->orphans, sizeof(struct import_run), by_run_external, import->out, 0);
    TRY(spill_rewind(&import->runs, err) && spill_rewind(&import->launches, err));
    TRY(spill_next(&import->runs, &next, err) && spill_next(&import->launches, &found, err));
    while (next) {
        const struct import_run *run = next;
        const struct import_launch *launch = found;
        if (import_is_stopped(import, err)) return false;
        if (launch && launch->key < run->key) {
            TRY(spill_next(&import->launches, &found, err));
            continue;
        }
        bool matched = launch && launch->key == run->key;
        if (matched && taken != run->key) TRY(spill_add(&import->used_launches, launch, err));
        if (matched) taken = run->key;
        if (!matched && run->external) TRY(spill_add(&import->orphans, run, err));
        TRY(spill_next(&import->runs, &next, err));
    }
    spill_finish(&import->launches);
    return true;
}

/* ---- What stands around a moment of a thread ---- */

struct open_module {
    uint64_t end_ns;
    uint32_t name, path; /* path: a name; NONE = not made yet */
    bool optimizer;
};

struct open_op {
    uint64_t end_ns;
    uint64_t backward; /* sequence number + 1, of it or the op around it; 0 = none */
    uint32_t name;
};

/* Walks the threads one after the other, each in time. */
struct walk {
    struct import *import;
    uint32_t thread;
    uint64_t outer_end_ns;                   /* of the last op that no other is around */
    IMPORT_LIST(struct open_module) modules; /* each in the one before */
    IMPORT_LIST(struct open_op) ops;
};

static void go_to(struct walk *walk, uint32_t thread)
{
    if (walk->thread == thread) return;
    walk->thread = thread;
    walk->outer_end_ns = 0;
    walk->modules.count = walk->ops.count = 0;
}

static bool enter_module(struct walk *walk, const struct import_module *module, struct error *err)
{
    struct import *import = walk->import;
    struct open_module open = {.end_ns = module->end_ns, .name = module->name, .path = NONE};
    open.optimizer = strncmp(import->names.names[module->name], "Optimizer.", 10) == 0;
    go_to(walk, module->thread);
    while (walk->modules.count > 0 && walk->modules.items[walk->modules.count - 1].end_ns < open.end_ns)
        walk->modules.count--;
    if (walk->modules.count == 0 && !open.optimizer && import->model == NONE) import->model = open.name;
    IMPORT_ADD(walk->modules, open, err);
    return true;
}

/* "layer1/BasicBlock_0/Conv2d_0": without the outermost module, which all are in, unless it is the only one. */
static bool make_path(struct walk *walk, uint32_t *path, struct error *err)
{
    char text[TRACE_TEXT_MOST + 1];
    size_t at = sizeof text - 1, count = walk->modules.count, first = count > 1;
    text[at] = '\0';
    for (size_t m = count; m-- > first;) {
        const char *name = walk->import->names.names[walk->modules.items[m].name];
        size_t length = strlen(name), slash = m + 1 != count;
        if (length + slash > at) break;
        if (slash) text[--at] = '/';
        at -= length;
        memcpy(text + at, name, length);
    }
    return import_add_name(walk->import, text + at, path, err);
}

static bool find_place(struct walk *walk, uint64_t ns, struct import_place *place, struct error *err)
{
    while (walk->modules.count > 0 && walk->modules.items[walk->modules.count - 1].end_ns < ns) walk->modules.count--;
    *place = (struct import_place){.part = PART_NOWHERE};
    if (walk->modules.count == 0) return import_add_name(walk->import, "(no module)", &place->layer, err);
    struct open_module *inner = &walk->modules.items[walk->modules.count - 1];
    if (inner->path == NONE) TRY(make_path(walk, &inner->path, err));
    *place = (struct import_place){inner->path, inner->optimizer ? PART_OPTIMIZER : PART_FORWARD};
    return true;
}

/* ---- Owners ---- */

/* What runs in the backward pass waits until the forward op is known. */
static bool hand_over(struct import *import, const struct import_owner *owner, bool placed, struct error *err)
{
    if (owner->sequence && !placed) return spill_add(&import->by_sequence, owner, err);
    if (owner->kind == OWNER_ITSELF) return import_place_itself(import, owner, err);
    return spill_add(owner->kind == OWNER_LAUNCH ? &import->by_key : &import->by_external, owner, err);
}

/* The innermost op around it owns what came of it; where there is none but a module is, as around the replay of a graph
 * or a kernel of Triton's, the call itself. */
static bool pass_launch(struct walk *walk, const struct import_launch *launch, struct error *err)
{
    struct import_owner owner = {
        .end_ns = launch->end_ns, .begin_ns = launch->begin_ns, .key = launch->key, .op = NONE, .kind = OWNER_LAUNCH};
    go_to(walk, launch->thread);
    while (walk->ops.count > 0 && walk->ops.items[walk->ops.count - 1].end_ns < launch->begin_ns) walk->ops.count--;
    if (walk->ops.count > 0) {
        const struct open_op *inner = &walk->ops.items[walk->ops.count - 1];
        owner.op = inner->name;
        owner.sequence = inner->backward;
        TRY(find_place(walk, launch->begin_ns, &owner.place, err));
    } else if (walk->modules.count > 0) {
        TRY(find_place(walk, launch->begin_ns, &owner.place, err));
        if (owner.place.part != PART_NOWHERE) owner.op = launch->name;
    }
    return hand_over(walk->import, &owner, false, err);
}

/* An op that ends later than those around it is around all that comes: they go. */
static bool enter_op(struct walk *walk, const struct import_cpu_op *op, uint64_t backward, struct error *err)
{
    struct open_op open = {.end_ns = op->end_ns, .backward = backward, .name = op->name};
    while (walk->ops.count > 0 && walk->ops.items[walk->ops.count - 1].end_ns < op->begin_ns) walk->ops.count--;
    if (!backward && walk->ops.count > 0) open.backward = walk->ops.items[walk->ops.count - 1].backward;
    while (walk->ops.count > 0 && walk->ops.items[walk->ops.count - 1].end_ns <= op->end_ns) walk->ops.count--;
    IMPORT_ADD(walk->ops, open, err);
    return true;
}

static bool pass_op(struct walk *walk, const struct import_cpu_op *op, struct error *err)
{
    struct import *import = walk->import;
    go_to(walk, op->thread);
    bool outer = op->end_ns > walk->outer_end_ns || walk->outer_end_ns == 0;
    if (outer) walk->outer_end_ns = op->end_ns;
    struct import_owner owner = {.begin_ns = op->begin_ns,
                                 .end_ns = op->end_ns,
                                 .key = op->thread,
                                 .op = op->name,
                                 .sequence = op->backward ? op->sequence : 0,
                                 .kind = OWNER_ITSELF};
    TRY(find_place(walk, op->begin_ns, &owner.place, err));
    struct import_forward forward = {op->begin_ns, op->sequence, owner.place};
    if (op->sequence && !op->backward) TRY(spill_add(&import->forwards, &forward, err));
    if (!import->gpu) return !outer || hand_over(import, &owner, false, err);
    if (op->external && import->orphans.total > 0) {
        owner.kind = OWNER_EXTERNAL;
        owner.key = op->external;
        owner.end_ns = 0; /* when it was launched is unknown */
        TRY(hand_over(import, &owner, false, err));
    }
    return enter_op(walk, op, owner.sequence, err);
}

/* ---- The walk ---- */

static bool is_first(uint32_t thread, uint64_t ns, const uint32_t *other_thread, const uint64_t *other_ns)
{
    return !other_thread || thread < *other_thread || (thread == *other_thread && ns <= *other_ns);
}

/* Of what begins together the module is outermost, then the op. */
static bool walk_threads(struct walk *walk, struct error *err)
{
    struct import *import = walk->import;
    const void *a, *b, *c;
    TRY(spill_rewind(&import->modules, err) && spill_rewind(&import->cpu_ops, err) &&
        spill_rewind(&import->used_launches, err));
    TRY(spill_next(&import->modules, &a, err) && spill_next(&import->cpu_ops, &b, err) &&
        spill_next(&import->used_launches, &c, err));
    while (a || b || c) {
        const struct import_module *module = a;
        const struct import_cpu_op *op = b;
        const struct import_launch *launch = c;
        const uint32_t *op_thread = op ? &op->thread : NULL, *launch_thread = launch ? &launch->thread : NULL;
        const uint64_t *op_ns = op ? &op->begin_ns : NULL, *launch_ns = launch ? &launch->begin_ns : NULL;
        if (import_is_stopped(import, err)) return false;
        if (module && is_first(module->thread, module->begin_ns, op_thread, op_ns) &&
            is_first(module->thread, module->begin_ns, launch_thread, launch_ns))
            TRY(enter_module(walk, module, err) && spill_next(&import->modules, &a, err));
        else if (op && is_first(op->thread, op->begin_ns, launch_thread, launch_ns))
            TRY(pass_op(walk, op, err) && spill_next(&import->cpu_ops, &b, err));
        else
            TRY(pass_launch(walk, launch, err) && spill_next(&import->used_launches, &c, err));
    }
    spill_finish(&import->modules);
    spill_finish(&import->cpu_ops);
    spill_finish(&import->used_launches);
    return true;
}

/* ---- The backward pass ---- */

static int by_owner_key(const void *a, const void *b)
{
    const struct import_owner *x = a, *y = b;
    return x->key != y->key ? import_compare(x->key, y->key) : import_compare(x->begin_ns, y->begin_ns);
}

static int by_owner_sequence(const void *a, const void *b)
{
    const struct import_owner *x = a, *y = b;
    return x->sequence != y->sequence ? import_compare(x->sequence, y->sequence)
                                      : import_compare(x->begin_ns, y->begin_ns);
}

static int by_forward_sequence(const void *a, const void *b)
{
    const struct import_forward *x = a, *y = b;
    return x->sequence != y->sequence ? import_compare(x->sequence, y->sequence)
                                      : import_compare(x->begin_ns, y->begin_ns);
}

/* Of several ops of one number the last one made the node of the graph that runs backward. */
static bool place_backward(struct import *import, struct error *err)
{
    const void *next, *found;
    struct import_forward last = {0};
    TRY(spill_rewind(&import->by_sequence, err) && spill_rewind(&import->forwards, err));
    TRY(spill_next(&import->by_sequence, &next, err) && spill_next(&import->forwards, &found, err));
    while (next) {
        struct import_owner owner = *(const struct import_owner *)next;
        const struct import_forward *forward = found;
        if (import_is_stopped(import, err)) return false;
        if (forward && forward->sequence <= owner.sequence) {
            last = *forward;
            TRY(spill_next(&import->forwards, &found, err));
            continue;
        }
        if (last.sequence == owner.sequence) owner.place = last.place;
        TRY(hand_over(import, &owner, true, err) && spill_next(&import->by_sequence, &next, err));
    }
    spill_finish(&import->by_sequence);
    spill_finish(&import->forwards);
    return true;
}

bool import_find_owners(struct import *import, struct error *err)
{
    struct walk walk = {.import = import, .thread = NONE};
    spill_begin(&import->by_key, sizeof(struct import_owner), by_owner_key, import->out, 0);
    spill_begin(&import->by_external, sizeof(struct import_owner), by_owner_key, import->out, 0);
    spill_begin(&import->by_sequence, sizeof(struct import_owner), by_owner_sequence, import->out, 0);
    spill_begin(&import->forwards, sizeof(struct import_forward), by_forward_sequence, import->out, 0);
    TRY(match_launches(import, err));
    bool ok = walk_threads(&walk, err);
    mem_free(walk.modules.items);
    mem_free(walk.ops.items);
    return ok && place_backward(import, err);
}
