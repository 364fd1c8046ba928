#include "onednn.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_threads.h"
#include "mem.h"
#include "onednn_method.h"
#include "crew.h"
#include "weights.h"

/* ---- Measuring ---- */

/* Of a kernel for one thread: what each of its threads has for itself, and what they share. */
static uint64_t own_bytes(const struct method *m)
{
    return m->role == ROLE_BACKWARD_WEIGHTS ? m->bytes : m->bytes - m->weights_bytes;
}

static uint64_t alone_bytes(const struct method *m, uint64_t threads)
{
    return m->bytes + (threads - 1) * own_bytes(m);
}

static bool measure(const struct onednn_shape *s, uint64_t *bytes, struct error *err)
{
    dnnl_engine_t engine = NULL;
    TRY(onednn_load(err) && onednn_check_room(err));
    TRY(onednn_check(dnnl.engine_create(&engine, dnnl_cpu, 0), "an engine", err));
    struct method m;
    bool ok = method_init(&m, engine, s, err);
    if (ok) *bytes = s->alone ? alone_bytes(&m, cpu_threads_allowed(0)) : m.bytes;
    if (ok) method_finish(&m);
    dnnl.engine_destroy(engine);
    return ok;
}

/* Scratch grows with the threads that share the work. */
static bool measure_all_threads(const struct onednn_shape *s, uint64_t *bytes, struct error *err)
{
    uint32_t before = crew_threads(), all = cpu_threads_allowed(0), last = 0;
    uint64_t most = 0;
    bool ok = true;
    for (uint32_t devices = 1; ok && devices <= 8; devices++) {
        uint32_t threads = all / devices > 0 && !s->alone ? all / devices : 1;
        if (threads == last) continue;
        last = threads;
        crew_use(threads);
        uint64_t now = 0;
        ok = measure(s, &now, err);
        if (now > most) most = now;
    }
    crew_use(before);
    if (ok) *bytes = most;
    return ok;
}

/* Deep nets ask for the same shapes a thousand times, and describing one takes oneDNN up to a millisecond. */
#define REMEMBERED 1024u
static struct {
    struct onednn_shape shape;
    uint64_t bytes;
    bool used;
} remembered[REMEMBERED];
static pthread_mutex_t remembered_lock = PTHREAD_MUTEX_INITIALIZER;

static uint32_t shape_slot(const struct onednn_shape *s)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    const unsigned char *bytes = (const unsigned char *)s;
    for (size_t i = 0; i < sizeof *s; i++) hash = (hash ^ bytes[i]) * 16777619u;
    return (hash ^ hash >> 16) % REMEMBERED;
}

bool onednn_workspace(const struct onednn_shape *shape, uint64_t *bytes, struct error *err)
{
    uint32_t slot = shape_slot(shape);
    pthread_mutex_lock(&remembered_lock);
    bool known = remembered[slot].used && memcmp(&remembered[slot].shape, shape, sizeof *shape) == 0;
    if (known) *bytes = remembered[slot].bytes;
    pthread_mutex_unlock(&remembered_lock);
    if (known) return true;
    TRY(measure_all_threads(shape, bytes, err));
    pthread_mutex_lock(&remembered_lock);
    remembered[slot].shape = *shape;
    remembered[slot].bytes = *bytes;
    remembered[slot].used = true;
    pthread_mutex_unlock(&remembered_lock);
    return true;
}

/* ---- Running ---- */

enum argument { ARG_X, ARG_W, ARG_BIAS, ARG_Y, ARG_MASK, ARG_SCRATCH, ARGUMENTS };

struct onednn_kernel {
    struct onednn_kernel *next;
    struct onednn_shape shape; /* as asked for; the method's may be another */
    dnnl_stream_t stream;
    dnnl_primitive_t primitive, reorder; /* reorder NULL where weights are used as stored */
    dnnl_memory_t memory[ARGUMENTS];     /* NULL where the primitive has no such argument */
    dnnl_memory_t stored, reorder_scratch;
    dnnl_exec_arg_t args[ARGUMENTS];
    int arg_count;
    uint64_t weights_bytes, bytes;
    const char *name;
    struct method method; /* keeps `name` alive */
    /* Of a kernel for one thread: the same once more for each thread, this one first. */
    struct onednn_kernel **alone;
    uint32_t threads;
};

struct onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct onednn_kernel *kernels;
};

static void kernel_destroy(struct onednn_kernel *k)
{
    for (uint32_t t = 1; k->alone && t < k->threads; t++)
        if (k->alone[t]) kernel_destroy(k->alone[t]);
    mem_free(k->alone);
    if (k->shape.alone && k->stream) dnnl.stream_destroy(k->stream);
    for (int i = 0; i < ARGUMENTS; i++)
        if (k->memory[i]) dnnl.memory_destroy(k->memory[i]);
    if (k->stored) dnnl.memory_destroy(k->stored);
    if (k->reorder_scratch) dnnl.memory_destroy(k->reorder_scratch);
    if (k->primitive) dnnl.primitive_destroy(k->primitive);
    if (k->reorder) dnnl.primitive_destroy(k->reorder);
    method_finish(&k->method);
    mem_free(k);
}

/* Names of the arguments in oneDNN, by role. */
static int argument_name(enum argument argument, enum role role)
{
    static const int names[ARGUMENTS][3] = {
        [ARG_X] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_SRC, DNNL_ARG_SRC},
        [ARG_W] = {DNNL_ARG_WEIGHTS, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_WEIGHTS},
        [ARG_BIAS] = {DNNL_ARG_BIAS, DNNL_ARG_BIAS, DNNL_ARG_DIFF_BIAS},
        [ARG_Y] = {DNNL_ARG_DST, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_DST},
        [ARG_MASK] = {DNNL_ARG_WORKSPACE, DNNL_ARG_WORKSPACE, DNNL_ARG_WORKSPACE},
        [ARG_SCRATCH] = {DNNL_ARG_SCRATCHPAD, DNNL_ARG_SCRATCHPAD, DNNL_ARG_SCRATCHPAD},
    };
    return names[argument][role];
}

static bool add_argument(struct onednn_kernel *k, dnnl_engine_t engine, enum argument argument, layout_view md,
                         struct error *err)
{
    TRY(onednn_check(dnnl.memory_create(&k->memory[argument], md, engine, DNNL_MEMORY_NONE), "an argument", err));
    k->args[k->arg_count++] = (dnnl_exec_arg_t){argument_name(argument, k->method.role), k->memory[argument]};
    return true;
}

static bool add_arguments(struct onednn_kernel *k, dnnl_engine_t engine, const struct recipe *r, struct error *err)
{
    const struct method *m = &k->method;
    TRY(add_argument(k, engine, ARG_X, view(&r->x), err));
    TRY(add_argument(k, engine, ARG_Y, view(&r->y), err));
    if (method_has_weights(m)) TRY(add_argument(k, engine, ARG_W, method_weights(m), err));
    if (m->shape.bias && m->role != ROLE_BACKWARD_DATA) TRY(add_argument(k, engine, ARG_BIAS, view(&r->bias), err));
    if (method_has_mask(m)) TRY(add_argument(k, engine, ARG_MASK, method_query(m->pd, dnnl_query_workspace_md), err));
    if (method_scratch_bytes(m->pd))
        TRY(add_argument(k, engine, ARG_SCRATCH, method_query(m->pd, dnnl_query_scratchpad_md), err));
    if (!m->reorder) return true;
    TRY(onednn_check(dnnl.primitive_create(&k->reorder, m->reorder), "a reorder", err));
    TRY(onednn_check(dnnl.memory_create(&k->stored, view(&m->stored), engine, DNNL_MEMORY_NONE), "an argument", err));
    layout_view scratch = method_query(m->reorder, dnnl_query_scratchpad_md);
    return !method_scratch_bytes(m->reorder) ||
           onednn_check(dnnl.memory_create(&k->reorder_scratch, scratch, engine, DNNL_MEMORY_NONE), "an argument", err);
}

static bool kernel_init(struct onednn_kernel *k, struct onednn *onednn, const struct onednn_shape *s, struct error *err)
{
    k->shape = *s;
    if (s->alone)
        TRY(onednn_check(dnnl.stream_create(&k->stream, onednn->engine, dnnl_stream_default_flags), "a stream", err));
    else
        k->stream = onednn->stream;
    TRY(method_init(&k->method, onednn->engine, s, err));
    k->weights_bytes = k->method.weights_bytes;
    k->bytes = k->method.bytes;
    k->name = method_implementation(&k->method);
    TRY(onednn_check_room(err));
    TRY(onednn_check(dnnl.primitive_create(&k->primitive, k->method.pd), "a primitive", err));
    struct recipe r;
    bool ok = onednn_check(method_recipe_init(&r, &k->method, onednn->engine), "a shape", err) &&
              add_arguments(k, onednn->engine, &r, err);
    method_recipe_finish(&r);
    return ok;
}

static bool alone_init(struct onednn_kernel *k, struct onednn *onednn, struct error *err)
{
    TRY(kernel_init(k, onednn, &k->shape, err));
    k->bytes = alone_bytes(&k->method, k->threads);
    k->alone = mem_zalloc(MEM_KERNEL, k->threads, sizeof(struct onednn_kernel *));
    if (!k->alone) return error_memory(err, k->threads * sizeof(struct onednn_kernel *), "a oneDNN kernel");
    k->alone[0] = k;
    for (uint32_t t = 1; t < k->threads; t++) {
        k->alone[t] = mem_zalloc(MEM_KERNEL, 1, sizeof *k);
        if (!k->alone[t]) return error_memory(err, sizeof *k, "a oneDNN kernel");
        TRY(kernel_init(k->alone[t], onednn, &k->shape, err));
    }
    return true;
}

/* oneDNN makes a primitive for as many threads as it could use now. */
static bool kernel_make(struct onednn_kernel *k, struct onednn *onednn, const struct onednn_shape *s, struct error *err)
{
    if (!s->alone) return kernel_init(k, onednn, s, err);
    uint32_t threads = crew_threads();
    k->shape = *s;
    k->threads = threads;
    crew_use(1);
    bool ok = alone_init(k, onednn, err);
    crew_use(threads);
    return ok;
}

bool onednn_create(struct onednn **onednn, struct error *err)
{
    TRY(onednn_load(err));
    struct onednn *made = mem_zalloc(MEM_KERNEL, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "oneDNN's engine");
    if (!onednn_check_room(err) || !onednn_check(dnnl.engine_create(&made->engine, dnnl_cpu, 0), "an engine", err) ||
        !onednn_check(dnnl.stream_create(&made->stream, made->engine, dnnl_stream_default_flags), "a stream", err)) {
        onednn_destroy(made);
        return false;
    }
    *onednn = made;
    return true;
}

void onednn_destroy(struct onednn *onednn)
{
    if (!onednn) return;
    while (onednn->kernels) {
        struct onednn_kernel *next = onednn->kernels->next;
        kernel_destroy(onednn->kernels);
        onednn->kernels = next;
    }
    if (onednn->stream) dnnl.stream_destroy(onednn->stream);
    if (onednn->engine) dnnl.engine_destroy(onednn->engine);
    mem_free(onednn);
}

struct onednn_kernel *onednn_kernel(struct onednn *onednn, const struct onednn_shape *shape, struct error *err)
{
    for (struct onednn_kernel *k = onednn->kernels; k; k = k->next)
        if (memcmp(&k->shape, shape, sizeof *shape) == 0) return k;
    struct onednn_kernel *made = mem_zalloc(MEM_KERNEL, 1, sizeof *made);
    if (!made) {
        error_memory(err, sizeof *made, "a oneDNN kernel");
        return NULL;
    }
    if (!kernel_make(made, onednn, shape, err)) {
        kernel_destroy(made);
        return NULL;
    }
    made->next = onednn->kernels;
    onednn->kernels = made;
    return made;
}

uint64_t onednn_kernel_workspace(const struct onednn_kernel *kernel) { return kernel->bytes; }

const char *onednn_kernel_name(const struct onednn_kernel *kernel) { return kernel->name; }

const struct onednn_shape *onednn_kernel_shape(const struct onednn_kernel *kernel) { return &kernel->shape; }

static dnnl_status_t point(dnnl_memory_t memory, const void *address)
{
    /* oneDNN takes inputs and outputs alike through a pointer that is not const. */
    return memory ? dnnl.memory_set_data_handle(memory, (void *)(uintptr_t)address) : dnnl_success;
}

/* From the stored order to the primitive's, which lies at `moved`, or back for a gradient. */
static bool reorder_weights(struct onednn_kernel *k, const struct onednn_call *call, const void *moved, void *scratch,
                            struct error *err)
{
    bool after = k->method.role == ROLE_BACKWARD_WEIGHTS;
    dnnl_memory_t own = k->memory[ARG_W], from = after ? own : k->stored, to = after ? k->stored : own;
    dnnl_status_t status = point(own, moved);
    if (status == dnnl_success) status = point(k->stored, call->w);
    if (status == dnnl_success) status = point(k->reorder_scratch, scratch);
    TRY(onednn_check(status, "an address", err));
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, k->reorder_scratch}};
    return onednn_check(dnnl.primitive_execute(k->reorder, k->stream, k->reorder_scratch ? 3 : 2, args),
                        "a reorder's run", err);
}

static bool weights_before(struct onednn_kernel *k, const struct onednn_call *call, struct error *err)
{
    const uint32_t dims[4] = {k->shape.y[3], k->shape.kernel[0], k->shape.kernel[1], k->shape.x[3]};
    switch (k->method.move) {
    case MOVE_REORDER:
        return reorder_weights(k, call, call->workspace, (uint8_t *)call->workspace + k->weights_bytes, err);
    case MOVE_TRANSPOSE: weights_transpose(dims, call->w, call->workspace); return true;
    case MOVE_TURN: weights_turn(dims, k->method.block, call->w, call->workspace); return true;
    case MOVE_NONE: break;
    }
    return true;
}

/* With weights where the primitive reads or writes them. */
static bool execute(struct onednn_kernel *k, const struct onednn_call *call, const void *weights, uint8_t *scratch,
                    struct error *err)
{
    bool turned = k->method.move == MOVE_TURN;
    const void *addresses[ARGUMENTS] = {
        [ARG_X] = turned ? call->y : call->x, [ARG_W] = weights,       [ARG_BIAS] = call->bias,
        [ARG_Y] = turned ? call->x : call->y, [ARG_MASK] = call->mask, [ARG_SCRATCH] = scratch,
    };
    dnnl_status_t status = dnnl_success;
    for (int i = 0; i < ARGUMENTS && status == dnnl_success; i++) status = point(k->memory[i], addresses[i]);
    TRY(onednn_check(status, "an address", err));
    TRY(onednn_check(dnnl.primitive_execute(k->primitive, k->stream, k->arg_count, k->args), "a primitive's run", err));
    if (k->method.reorder && k->method.role == ROLE_BACKWARD_WEIGHTS)
        TRY(reorder_weights(k, call, weights, scratch, err));
    return onednn_check(dnnl.stream_wait(k->stream), "a wait", err);
}

/* Where the primitive finds them; brought there unless it writes them itself. */
bool onednn_move_weights(struct onednn_kernel *k, const struct onednn_call *call, const void **weights,
                         struct error *err)
{
    *weights = k->weights_bytes ? call->workspace : call->w;
    return k->method.role == ROLE_BACKWARD_WEIGHTS || weights_before(k, call, err);
}

bool onednn_run(struct onednn_kernel *k, const struct onednn_call *call, struct error *err)
{
    const void *weights;
    TRY(onednn_move_weights(k, call, &weights, err));
    return execute(k, call, weights, (uint8_t *)call->workspace + k->weights_bytes, err);
}

bool onednn_run_alone(struct onednn_kernel *k, unsigned thread, const struct onednn_call *call, struct error *err)
{
    uint8_t *own = (uint8_t *)call->workspace + thread * own_bytes(&k->method);
    bool moved = k->weights_bytes && k->method.role == ROLE_BACKWARD_WEIGHTS;
    return execute(k->alone[thread], call, moved ? own : call->w, own + k->weights_bytes, err);
}
