#include "onednn.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_threads.h"
#include "loops.h"
#include "mem.h"
#include "onednn_private.h"
#include "parallel.h"
#include "system_limits.h"
#include "weights.h"

#define ALIGN 64u /* of everything in a workspace: a cache line, and a vector */

enum role { ROLE_FORWARD, ROLE_BACKWARD_DATA, ROLE_BACKWARD_WEIGHTS };

static enum role role_of(uint32_t primitive)
{
    switch (primitive) {
    case ONEDNN_CONV_BWD_WEIGHTS:
    case ONEDNN_FC_BWD_WEIGHTS: return ROLE_BACKWARD_WEIGHTS;
    case ONEDNN_CONV_BWD_DATA:
    case ONEDNN_FC_BWD_DATA:
    case ONEDNN_MAXPOOL_BWD:
    case ONEDNN_AVGPOOL_BWD: return ROLE_BACKWARD_DATA;
    default: return ROLE_FORWARD;
    }
}

static bool has_weights(uint32_t primitive) { return primitive <= ONEDNN_FC_BWD_WEIGHTS; }

static bool check(dnnl_status_t status, const char *what, struct error *err)
{
    if (status == dnnl_success) return true;
    if (status == dnnl_out_of_memory) return error_set(err, ERROR_MEMORY, "oneDNN: out of memory for %s", what);
    return error_set(err, ERROR_FAILED, "oneDNN refuses %s (status %d)", what, (int)status);
}

/* oneDNN is written in C++ and does not expect that memory may be missing when it makes things: an exception ends the
 * process. A kernel, its code and its tables take less than this. */
#define ROOM_FOR_A_KERNEL (12u << 20)

static bool check_room(struct error *err)
{
    struct limit room;
    limits_room(ROOM_FOR_A_KERNEL, &room);
    if (room.amount == ROOM_FOR_A_KERNEL) return true;
    return error_set(err, ERROR_MEMORY, "oneDNN: out of memory: %u MiB for a kernel, limited by %s",
                     ROOM_FOR_A_KERNEL >> 20, room.source);
}

static uint64_t round_up(uint64_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

/* {K, R, S, C} of the op's weights. */
static void weight_dims(const struct onednn_shape *s, uint32_t dims[4])
{
    bool conv = s->primitive <= ONEDNN_CONV_BWD_WEIGHTS;
    dims[0] = s->y[3];
    dims[1] = dims[2] = conv ? s->kernel : 1;
    dims[3] = s->x[3];
}

/* oneDNN's name of the order in which the weights are stored. */
static dnnl_format_tag_t stored_tag(const struct onednn_shape *s)
{
    uint32_t dims[4];
    weight_dims(s, dims);
    struct weight_layout order = weight_layout(dims);
    bool wide = order.block == 16;
    switch (order.order) {
    case WEIGHT_BLOCKED:
        /* With one block of inputs both names mean the same bytes, and the kernel for 16 outputs goes by the second. */
        if (wide && dims[0] == 16 && dims[3] == 16 && s->primitive == ONEDNN_CONV) return dnnl_Ohwi16o;
        return wide ? dnnl_OIhw16i16o : dnnl_OIhw8i8o;
    case WEIGHT_OUTPUTS: return wide ? dnnl_Ohwi16o : dnnl_Ohwi8o;
    case WEIGHT_PLAIN: break;
    }
    return dnnl_ohwi;
}

static void recipe_finish(struct recipe *r)
{
    layout_destroy(&r->x);
    layout_destroy(&r->w);
    layout_destroy(&r->bias);
    layout_destroy(&r->y);
    if (r->attr) dnnl_primitive_attr_destroy(r->attr);
}

static dnnl_status_t set_layouts(struct recipe *r, const struct onednn_shape *s, dnnl_format_tag_t weights)
{
    uint32_t d[4];
    weight_dims(s, d);
    const dnnl_dims_t x = {s->x[0], s->x[3], s->x[1], s->x[2]}, y = {s->y[0], s->y[3], s->y[1], s->y[2]};
    const dnnl_dims_t y_matrix = {s->y[0], s->y[3]}, w = {d[0], d[3], d[1], d[2]}, bias = {s->y[3]};
    bool fc = s->primitive >= ONEDNN_FC && s->primitive <= ONEDNN_FC_BWD_WEIGHTS;
    dnnl_status_t status = layout_create(&r->x, x, 4, dnnl_nhwc);
    if (status == dnnl_success)
        status = fc ? layout_create(&r->y, y_matrix, 2, dnnl_nc) : layout_create(&r->y, y, 4, dnnl_nhwc);
    if (status == dnnl_success && has_weights(s->primitive)) status = layout_create(&r->w, w, 4, weights);
    if (status == dnnl_success && s->bias) status = layout_create(&r->bias, bias, 1, dnnl_x);
    return status;
}

static dnnl_status_t recipe_init(struct recipe *r, dnnl_engine_t engine, const struct onednn_shape *s,
                                 dnnl_format_tag_t weights)
{
    *r = (struct recipe){.engine = engine, .primitive = (enum onednn_primitive)s->primitive};
    r->forward_kind = s->inference ? dnnl_forward_inference : dnnl_forward_training;
    for (int i = 0; i < 2; i++) {
        uint32_t kernel = s->kernel ? s->kernel : s->x[1 + i];
        r->stride[i] = s->stride ? s->stride : 1;
        r->kernel[i] = kernel;
        r->before[i] = s->padding;
        /* What the last window needs: less than before[i] where the stride leaves rows over. */
        r->after[i] = (int64_t)(s->y[1 + i] - 1) * r->stride[i] + kernel - s->x[1 + i] - s->padding;
    }
    dnnl_status_t status = set_layouts(r, s, weights);
    if (status == dnnl_success) status = dnnl_primitive_attr_create(&r->attr);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_scratchpad_mode(r->attr, dnnl_scratchpad_mode_user);
    return status;
}

/* The primitive descriptor for a shape with weights in the given order. */
static dnnl_status_t describe(dnnl_engine_t engine, const struct onednn_shape *s, dnnl_format_tag_t weights,
                              dnnl_primitive_desc_t *pd)
{
    struct recipe r;
    dnnl_primitive_desc_t forward = NULL;
    dnnl_status_t status = recipe_init(&r, engine, s, weights);
    if (status == dnnl_success) status = create_forward(&r, &forward);
    if (status == dnnl_success && role_of(s->primitive) != ROLE_FORWARD) {
        status = create_backward(&r, forward, pd);
        dnnl_primitive_desc_destroy(forward);
    } else if (status == dnnl_success) {
        *pd = forward;
    }
    recipe_finish(&r);
    return status;
}

static const char *implementation(const_dnnl_primitive_desc_t pd)
{
    const char *name = "";
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&name);
    return name;
}

static layout_view query(const_dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

static uint64_t scratch_bytes(const_dnnl_primitive_desc_t pd)
{
    layout_view scratch = pd ? query(pd, dnnl_query_scratchpad_md) : NULL;
    return scratch ? round_up(dnnl_memory_desc_get_size(scratch)) : 0;
}

static layout_view weights_of(const_dnnl_primitive_desc_t pd, enum role role)
{
    return query(pd, role == ROLE_BACKWARD_WEIGHTS ? dnnl_query_diff_weights_md : dnnl_query_weights_md);
}

/* How a shape will be computed: the primitive, and a reorder of the weights before or after it where the primitive
 * wants them in another order than stored. */
struct method {
    dnnl_primitive_desc_t pd, reorder;
    bool transpose;         /* the reorder only turns the innermost blocks round, which loops.h does faster */
    layout stored;          /* of the weights */
    uint64_t weights_bytes; /* of the reordered weights, at the start of the workspace */
    uint64_t bytes;         /* of workspace in all */
};

static void method_finish(struct method *m)
{
    if (m->pd) dnnl_primitive_desc_destroy(m->pd);
    if (m->reorder) dnnl_primitive_desc_destroy(m->reorder);
    layout_destroy(&m->stored);
    *m = (struct method){0};
}

/* Stored are blocks of 16 inputs x 16 outputs, wanted 16 outputs x 16 inputs? */
static dnnl_status_t find_transpose(struct method *m, const dnnl_dims_t dims, dnnl_format_tag_t stored_tag,
                                    enum role role)
{
    layout turned = {0};
    if (stored_tag != dnnl_OIhw16i16o || role != ROLE_BACKWARD_DATA) return dnnl_success;
    dnnl_status_t status = layout_create(&turned, dims, 4, dnnl_OIhw16o16i);
    m->transpose = status == dnnl_success && dnnl_memory_desc_equal(weights_of(m->pd, role), view(&turned));
    layout_destroy(&turned);
    return status;
}

static dnnl_status_t add_reorder(struct method *m, dnnl_engine_t engine, enum role role)
{
    layout_view wanted = weights_of(m->pd, role), stored = view(&m->stored);
    if (dnnl_memory_desc_equal(wanted, stored)) return dnnl_success;
    m->weights_bytes = round_up(dnnl_memory_desc_get_size(wanted));
    if (m->transpose) return dnnl_success;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(&attr);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    bool after = role == ROLE_BACKWARD_WEIGHTS;
    if (status == dnnl_success)
        status = dnnl_reorder_primitive_desc_create(&m->reorder, after ? wanted : stored, engine,
                                                    after ? stored : wanted, engine, attr);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return status;
}

/* Weights as stored when oneDNN has a fast kernel for that, else whichever order it likes best and a reorder. */
static dnnl_status_t choose_weights(struct method *m, dnnl_engine_t engine, const struct onednn_shape *s)
{
    uint32_t d[4];
    weight_dims(s, d);
    const dnnl_dims_t dims = {d[0], d[3], d[1], d[2]};
    dnnl_format_tag_t tag = stored_tag(s);
    dnnl_status_t status = layout_create(&m->stored, dims, 4, tag);
    if (status != dnnl_success) return status;
    if (describe(engine, s, tag, &m->pd) == dnnl_success) {
        if (strncmp(implementation(m->pd), "ref", 3) != 0) return dnnl_success;
        dnnl_primitive_desc_destroy(m->pd);
        m->pd = NULL;
    }
    status = describe(engine, s, dnnl_format_tag_any, &m->pd);
    if (status == dnnl_success) status = find_transpose(m, dims, tag, role_of(s->primitive));
    return status == dnnl_success ? add_reorder(m, engine, role_of(s->primitive)) : status;
}

static bool is_maxpool_with_mask(const struct onednn_shape *s)
{
    return s->primitive == ONEDNN_MAXPOOL_BWD || (s->primitive == ONEDNN_MAXPOOL && !s->inference);
}

/* The graph plans one byte per output for the position of a maximum. */
static bool check_mask(const struct method *m, const struct onednn_shape *s, struct error *err)
{
    if (!is_maxpool_with_mask(s)) return true;
    layout_view mask = query(m->pd, dnnl_query_workspace_md);
    uint64_t planned = (uint64_t)s->y[0] * s->y[1] * s->y[2] * s->y[3];
    uint64_t found = mask ? dnnl_memory_desc_get_size(mask) : 0;
    if (found == planned) return true;
    return error_set(err, ERROR_FAILED,
                     "oneDNN wants a mask of %llu bytes for a max pool of %ux%u windows: planned were %llu",
                     (unsigned long long)found, (unsigned)s->kernel, (unsigned)s->kernel, (unsigned long long)planned);
}

static bool method_init(struct method *m, dnnl_engine_t engine, const struct onednn_shape *s, struct error *err)
{
    *m = (struct method){0};
    TRY(check_room(err));
    dnnl_status_t status =
        has_weights(s->primitive) ? choose_weights(m, engine, s) : describe(engine, s, dnnl_format_tag_any, &m->pd);
    if (!check(status, "a primitive's description", err) || !check_mask(m, s, err)) {
        method_finish(m);
        return false;
    }
    uint64_t own = scratch_bytes(m->pd), reorder = scratch_bytes(m->reorder);
    m->bytes = m->weights_bytes + (own > reorder ? own : reorder);
    return true;
}

/* ---- Measuring ---- */

static bool measure(const struct onednn_shape *s, uint64_t *bytes, struct error *err)
{
    dnnl_engine_t engine = NULL;
    TRY(check_room(err));
    TRY(check(dnnl_engine_create(&engine, dnnl_cpu, 0), "an engine", err));
    struct method m;
    bool ok = method_init(&m, engine, s, err);
    if (ok) *bytes = m.bytes;
    if (ok) method_finish(&m);
    dnnl_engine_destroy(engine);
    return ok;
}

/* Scratch grows with the threads that share the work. */
static bool measure_all_threads(const struct onednn_shape *s, uint64_t *bytes, struct error *err)
{
    int before = omp_get_max_threads(), all = (int)cpu_threads_allowed(0), last = 0;
    uint64_t most = 0;
    bool ok = true;
    for (int devices = 1; ok && devices <= 8; devices++) {
        int threads = all / devices > 0 ? all / devices : 1;
        if (threads == last) continue;
        last = threads;
        omp_set_num_threads(threads);
        uint64_t now = 0;
        ok = measure(s, &now, err);
        if (now > most) most = now;
    }
    omp_set_num_threads(before);
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
    struct onednn_shape shape;
    enum role role;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive, reorder; /* reorder NULL where weights are used as stored */
    dnnl_memory_t memory[ARGUMENTS];     /* NULL where the primitive has no such argument */
    dnnl_memory_t stored, reorder_scratch;
    dnnl_exec_arg_t args[ARGUMENTS];
    int arg_count;
    uint64_t weights_bytes, bytes;
    const char *name;
    struct method method; /* keeps `name` alive */
};

struct onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct onednn_kernel *kernels;
};

static void kernel_destroy(struct onednn_kernel *k)
{
    for (int i = 0; i < ARGUMENTS; i++)
        if (k->memory[i]) dnnl_memory_destroy(k->memory[i]);
    if (k->stored) dnnl_memory_destroy(k->stored);
    if (k->reorder_scratch) dnnl_memory_destroy(k->reorder_scratch);
    if (k->primitive) dnnl_primitive_destroy(k->primitive);
    if (k->reorder) dnnl_primitive_destroy(k->reorder);
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
    TRY(check(dnnl_memory_create(&k->memory[argument], md, engine, DNNL_MEMORY_NONE), "an argument", err));
    k->args[k->arg_count++] = (dnnl_exec_arg_t){argument_name(argument, k->role), k->memory[argument]};
    return true;
}

static bool add_arguments(struct onednn_kernel *k, dnnl_engine_t engine, const struct recipe *r, struct error *err)
{
    const struct method *m = &k->method;
    TRY(add_argument(k, engine, ARG_X, view(&r->x), err));
    TRY(add_argument(k, engine, ARG_Y, view(&r->y), err));
    if (has_weights(k->shape.primitive)) TRY(add_argument(k, engine, ARG_W, weights_of(m->pd, k->role), err));
    if (k->shape.bias && k->role != ROLE_BACKWARD_DATA) TRY(add_argument(k, engine, ARG_BIAS, view(&r->bias), err));
    if (is_maxpool_with_mask(&k->shape))
        TRY(add_argument(k, engine, ARG_MASK, query(m->pd, dnnl_query_workspace_md), err));
    if (scratch_bytes(m->pd)) TRY(add_argument(k, engine, ARG_SCRATCH, query(m->pd, dnnl_query_scratchpad_md), err));
    if (!m->reorder) return true;
    TRY(check(dnnl_primitive_create(&k->reorder, m->reorder), "a reorder", err));
    TRY(check(dnnl_memory_create(&k->stored, view(&m->stored), engine, DNNL_MEMORY_NONE), "an argument", err));
    layout_view scratch = query(m->reorder, dnnl_query_scratchpad_md);
    return !scratch_bytes(m->reorder) ||
           check(dnnl_memory_create(&k->reorder_scratch, scratch, engine, DNNL_MEMORY_NONE), "an argument", err);
}

static bool kernel_init(struct onednn_kernel *k, struct onednn *onednn, const struct onednn_shape *s, struct error *err)
{
    k->shape = *s;
    k->role = role_of(s->primitive);
    k->stream = onednn->stream;
    TRY(method_init(&k->method, onednn->engine, s, err));
    k->weights_bytes = k->method.weights_bytes;
    k->bytes = k->method.bytes;
    k->name = implementation(k->method.pd);
    TRY(check_room(err));
    TRY(check(dnnl_primitive_create(&k->primitive, k->method.pd), "a primitive", err));
    struct recipe r;
    bool ok = check(recipe_init(&r, onednn->engine, s, dnnl_format_tag_any), "a shape", err) &&
              add_arguments(k, onednn->engine, &r, err);
    recipe_finish(&r);
    return ok;
}

bool onednn_create(struct onednn **onednn, struct error *err)
{
    struct onednn *made = mem_zalloc(MEM_KERNEL, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "oneDNN's engine");
    if (!check_room(err) || !check(dnnl_engine_create(&made->engine, dnnl_cpu, 0), "an engine", err) ||
        !check(dnnl_stream_create(&made->stream, made->engine, dnnl_stream_default_flags), "a stream", err)) {
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
    if (onednn->stream) dnnl_stream_destroy(onednn->stream);
    if (onednn->engine) dnnl_engine_destroy(onednn->engine);
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
    if (!kernel_init(made, onednn, shape, err)) {
        kernel_destroy(made);
        return NULL;
    }
    made->next = onednn->kernels;
    onednn->kernels = made;
    return made;
}

uint64_t onednn_kernel_workspace(const struct onednn_kernel *kernel) { return kernel->bytes; }

const char *onednn_kernel_name(const struct onednn_kernel *kernel) { return kernel->name; }

static dnnl_status_t point(dnnl_memory_t memory, const void *address)
{
    /* oneDNN takes inputs and outputs alike through a pointer that is not const. */
    return memory ? dnnl_memory_set_data_handle(memory, (void *)(uintptr_t)address) : dnnl_success;
}

static bool reorder_weights(struct onednn_kernel *k, dnnl_memory_t from, dnnl_memory_t to, struct error *err)
{
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, k->reorder_scratch}};
    return check(dnnl_primitive_execute(k->reorder, k->stream, k->reorder_scratch ? 3 : 2, args), "a reorder's run",
                 err);
}

struct block_costs {
    float *out;
    const float *in;
};

static void transpose_range(const void *context, uint64_t first, uint64_t last)
{
    const struct block_costs *b = context;
    loops_best()->transpose_blocks(b->out + 256 * first, b->in + 256 * first, last - first);
}

static bool weights_before(struct onednn_kernel *k, const struct onednn_call *call, struct error *err)
{
    if (!k->method.transpose) return reorder_weights(k, k->stored, k->memory[ARG_W], err);
    struct block_costs b = {.out = call->workspace, .in = call->w};
    uint64_t elements = k->weights_bytes / sizeof(float);
    parallel_run(elements / 256, elements, transpose_range, &b);
    return true;
}

bool onednn_run(struct onednn_kernel *k, const struct onednn_call *call, struct error *err)
{
    uint8_t *scratch = (uint8_t *)call->workspace + k->weights_bytes;
    const void *addresses[ARGUMENTS] = {
        [ARG_X] = call->x,       [ARG_W] = k->weights_bytes ? call->workspace : call->w,
        [ARG_BIAS] = call->bias, [ARG_Y] = call->y,
        [ARG_MASK] = call->mask, [ARG_SCRATCH] = scratch,
    };
    dnnl_status_t status = dnnl_success;
    for (int i = 0; i < ARGUMENTS && status == dnnl_success; i++) status = point(k->memory[i], addresses[i]);
    if (status == dnnl_success) status = point(k->stored, call->w);
    if (status == dnnl_success) status = point(k->reorder_scratch, scratch);
    TRY(check(status, "an address", err));
    bool after = k->role == ROLE_BACKWARD_WEIGHTS;
    if (k->weights_bytes && !after) TRY(weights_before(k, call, err));
    TRY(check(dnnl_primitive_execute(k->primitive, k->stream, k->arg_count, k->args), "a primitive's run", err));
    if (k->weights_bytes && after) TRY(reorder_weights(k, k->memory[ARG_W], k->stored, err));
    return check(dnnl_stream_wait(k->stream), "a wait", err);
}
