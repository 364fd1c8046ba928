#include "onednn_method.h"

#include <string.h>

#include "weights.h"

#define ALIGN 64u /* of everything in a workspace: a cache line, and a vector */

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

bool onednn_check(dnnl_status_t status, const char *what, struct error *err)
{
    if (status == dnnl_success) return true;
    if (status == dnnl_out_of_memory) return error_set(err, ERROR_MEMORY, "oneDNN: out of memory for %s", what);
    return error_set(err, ERROR_FAILED, "oneDNN refuses %s (status %d)", what, (int)status);
}

static uint64_t round_up(uint64_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

/* ---- Weights ---- */

/* {K, R, S, C} of the op's weights. */
static void weight_dims(const struct onednn_shape *s, uint32_t dims[4])
{
    bool conv = s->primitive <= ONEDNN_CONV_BWD_WEIGHTS;
    dims[0] = s->y[3];
    dims[1] = conv ? s->kernel[0] : 1;
    dims[2] = conv ? s->kernel[1] : 1;
    dims[3] = s->x[3];
}

static uint64_t weight_count(const struct onednn_shape *s)
{
    uint32_t d[4];
    weight_dims(s, d);
    return (uint64_t)d[0] * d[1] * d[2] * d[3];
}

static bool is_pointwise(const struct onednn_shape *s) { return s->kernel[0] == 1 && s->kernel[1] == 1; }

static struct weight_layout stored_order(const struct onednn_shape *s)
{
    uint32_t dims[4];
    weight_dims(s, dims);
    return weight_layout(dims);
}

/* oneDNN's name of the order in which the weights are stored. */
static dnnl_format_tag_t stored_tag(const struct onednn_shape *s)
{
    struct weight_layout order = stored_order(s);
    bool wide = order.block == 16, one_column = s->x[3] == 16 || is_pointwise(s);
    switch (order.order) {
    case WEIGHT_BLOCKED:
        /* Both names mean the same bytes then, and the kernel for 16 outputs goes by the second. */
        if (wide && s->y[3] == 16 && one_column && s->primitive == ONEDNN_CONV) return dnnl_Ohwi16o;
        return wide ? dnnl_OIhw16i16o : dnnl_OIhw8i8o;
    case WEIGHT_OUTPUTS: return wide ? dnnl_Ohwi16o : dnnl_Ohwi8o;
    case WEIGHT_PLAIN: break;
    }
    return dnnl_ohwi;
}

/* ---- Descriptions ---- */

void method_recipe_finish(struct recipe *r)
{
    layout_destroy(&r->x);
    layout_destroy(&r->w);
    layout_destroy(&r->bias);
    layout_destroy(&r->y);
    if (r->attr) dnnl.primitive_attr_destroy(r->attr);
}

static dnnl_status_t set_layouts(struct recipe *r, const struct onednn_shape *s, dnnl_format_tag_t weights)
{
    uint32_t d[4];
    weight_dims(s, d);
    const dnnl_dims_t x = {s->x[0], s->x[3], s->x[1], s->x[2]}, y = {s->y[0], s->y[3], s->y[1], s->y[2]};
    const dnnl_dims_t y_matrix = {s->y[0], s->y[3]}, w = {d[0], d[3], d[1], d[2]}, bias = {s->y[3]};
    bool fc = s->primitive >= ONEDNN_FC && s->primitive <= ONEDNN_FC_BWD_WEIGHTS;
    dnnl_data_type_t type = s->bf16 ? dnnl_bf16 : dnnl_f32;
    dnnl_status_t status = layout_create(&r->x, x, 4, type, dnnl_nhwc);
    if (status == dnnl_success)
        status = fc ? layout_create(&r->y, y_matrix, 2, type, dnnl_nc) : layout_create(&r->y, y, 4, type, dnnl_nhwc);
    if (status == dnnl_success && has_weights(s->primitive)) status = layout_create(&r->w, w, 4, type, weights);
    if (status == dnnl_success && s->bias) status = layout_create(&r->bias, bias, 1, dnnl_f32, dnnl_x);
    return status;
}

static dnnl_status_t recipe_init(struct recipe *r, dnnl_engine_t engine, const struct onednn_shape *s,
                                 dnnl_format_tag_t weights)
{
    *r = (struct recipe){.engine = engine, .primitive = (enum onednn_primitive)s->primitive};
    r->forward_kind = s->inference ? dnnl_forward_inference : dnnl_forward_training;
    for (int i = 0; i < 2; i++) {
        uint32_t kernel = s->kernel[i] ? s->kernel[i] : s->x[1 + i];
        r->stride[i] = s->stride ? s->stride : 1;
        r->kernel[i] = kernel;
        r->before[i] = s->padding[i];
        /* What the last window needs: less than before[i] where the stride leaves rows over. */
        r->after[i] = (int64_t)(s->y[1 + i] - 1) * r->stride[i] + kernel - s->x[1 + i] - s->padding[i];
    }
    dnnl_status_t status = set_layouts(r, s, weights);
    if (status == dnnl_success) status = dnnl.primitive_attr_create(&r->attr);
    if (status == dnnl_success) status = dnnl.primitive_attr_set_scratchpad_mode(r->attr, dnnl_scratchpad_mode_user);
    return status;
}

dnnl_status_t method_recipe_init(struct recipe *r, const struct method *m, dnnl_engine_t engine)
{
    return recipe_init(r, engine, &m->shape, dnnl_format_tag_any);
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
        dnnl.primitive_desc_destroy(forward);
    } else if (status == dnnl_success) {
        *pd = forward;
    }
    method_recipe_finish(&r);
    return status;
}

bool method_has_weights(const struct method *m) { return has_weights(m->shape.primitive); }

const char *method_implementation(const struct method *m)
{
    const char *name = "";
    dnnl.primitive_desc_query(m->pd, dnnl_query_impl_info_str, 0, (void *)&name);
    return name;
}

static bool is_named(const struct method *m, const char *beginning)
{
    return strncmp(method_implementation(m), beginning, strlen(beginning)) == 0;
}

layout_view method_query(const_dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    return dnnl.primitive_desc_query_md(pd, what, 0);
}

uint64_t method_scratch_bytes(const_dnnl_primitive_desc_t pd)
{
    layout_view scratch = pd ? method_query(pd, dnnl_query_scratchpad_md) : NULL;
    return scratch ? round_up(dnnl.memory_desc_get_size(scratch)) : 0;
}

layout_view method_weights(const struct method *m)
{
    return method_query(m->pd, m->role == ROLE_BACKWARD_WEIGHTS ? dnnl_query_diff_weights_md : dnnl_query_weights_md);
}

static void drop_description(struct method *m)
{
    if (m->pd) dnnl.primitive_desc_destroy(m->pd);
    m->pd = NULL;
}

void method_finish(struct method *m)
{
    drop_description(m);
    if (m->reorder) dnnl.primitive_desc_destroy(m->reorder);
    layout_destroy(&m->stored);
    *m = (struct method){0};
}

/* Whether the primitive wants its weights in the order of that name. */
static bool wants(const struct method *m, dnnl_format_tag_t tag)
{
    uint32_t d[4];
    weight_dims(&m->shape, d);
    const dnnl_dims_t dims = {d[0], d[3], d[1], d[2]};
    layout named = {0};
    bool same = layout_create(&named, dims, 4, dnnl_f32, tag) == dnnl_success &&
                dnnl.memory_desc_equal(method_weights(m), view(&named)) != 0;
    layout_destroy(&named);
    return same;
}

/* ---- Moving weights ---- */

static dnnl_status_t add_reorder(struct method *m, dnnl_engine_t engine)
{
    layout_view wanted = method_weights(m), stored = view(&m->stored);
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status = dnnl.primitive_attr_create(&attr);
    if (status == dnnl_success) status = dnnl.primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    bool after = m->role == ROLE_BACKWARD_WEIGHTS;
    if (status == dnnl_success)
        status = dnnl.reorder_primitive_desc_create(&m->reorder, after ? wanted : stored, engine,
                                                    after ? stored : wanted, engine, attr);
    if (attr) dnnl.primitive_attr_destroy(attr);
    return status;
}

/* Blocks of 16 inputs x 16 outputs are stored: loops.h turns them into 16 outputs x 16 inputs faster than oneDNN. */
static dnnl_status_t move_weights(struct method *m, dnnl_engine_t engine)
{
    layout_view wanted = method_weights(m);
    if (dnnl.memory_desc_equal(wanted, view(&m->stored))) return dnnl_success;
    m->weights_bytes = round_up(dnnl.memory_desc_get_size(wanted));
    bool blocks = m->role == ROLE_BACKWARD_DATA && stored_tag(&m->shape) == dnnl_OIhw16i16o;
    m->move = blocks && wants(m, dnnl_OIhw16o16i) ? MOVE_TRANSPOSE : MOVE_REORDER;
    return m->move == MOVE_REORDER ? add_reorder(m, engine) : dnnl_success;
}

/* ---- The brgemm engine
 *
 * oneDNN's newest kernels for forward convolutions with 16 floats in a vector read weights in an order that depends on
 * the batch and the threads: blocks of 16, 32, 48 or 64 outputs by all inputs. No stored order could serve them and the
 * gradients of weights, but moving the weights takes microseconds. bench/conv_orders says what it gains. With
 * oneDNN 2.6 on a Xeon with AVX-512, of the time of all convolutions: 2 % in ResNet-164, 3 % in ResNet-20 and 18, 6 %
 * in ResNet-50, most where many channels meet (a third in 512 > 2048 on 7 x 7). Gradients of inputs gain as much: with
 * a stride of 1 they are a forward convolution too. ---- */

#define BRGEMM "brg"
/* Larger kernels with more weights than this (512 x 512, 3 x 3) do few sums with each: moving costs what is gained. */
#define MOST_MOVED_WEIGHTS (1u << 20)
/* Larger kernels over fewer inputs run as fast, or faster, on the older engine: forward, and turned round. */
#define LEAST_INPUTS        64u
#define LEAST_TURNED_INPUTS 32u

static bool is_worth_moving(const struct onednn_shape *s, bool many_inputs)
{
    if (s->as_stored || stored_order(s).block != 16) return false;
    return is_pointwise(s) || (many_inputs && weight_count(s) <= MOST_MOVED_WEIGHTS);
}

static bool suits_forward(const struct onednn_shape *s)
{
    bool stem = stored_order(s).order == WEIGHT_OUTPUTS;
    return s->primitive == ONEDNN_CONV && is_worth_moving(s, stem || s->x[3] >= LEAST_INPUTS);
}

static bool suits_turning(const struct onednn_shape *s)
{
    return s->primitive == ONEDNN_CONV_BWD_DATA && s->stride == 1 && s->padding[0] < s->kernel[0] &&
           s->padding[1] < s->kernel[1] && is_worth_moving(s, s->y[3] >= LEAST_TURNED_INPUTS) &&
           stored_order(s).order == WEIGHT_BLOCKED;
}

/* The convolution that computes the gradient of x from that of y: it steps by 1, so each x gathers from its windows. */
static struct onednn_shape turn_shape(const struct onednn_shape *s)
{
    struct onednn_shape turned = {.primitive = ONEDNN_CONV, .stride = 1};
    memcpy(turned.x, s->y, sizeof turned.x);
    memcpy(turned.y, s->x, sizeof turned.y);
    for (size_t i = 0; i < 2; i++) {
        turned.kernel[i] = s->kernel[i];
        turned.padding[i] = s->kernel[i] - 1 - s->padding[i];
    }
    return turned;
}

static bool find_block(struct method *m)
{
    static const struct {
        dnnl_format_tag_t tag;
        uint32_t block;
    } orders[] = {{dnnl_Ohwi64o, 64}, {dnnl_Ohwi48o, 48}, {dnnl_Ohwi32o, 32}, {dnnl_Ohwi16o, 16}};
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++)
        if (wants(m, orders[i].tag)) m->block = orders[i].block;
    return m->block != 0;
}

/* Whether the gradient of x will be computed so. */
static bool try_turning(struct method *m, dnnl_engine_t engine, const struct onednn_shape *s)
{
    m->shape = turn_shape(s);
    m->role = ROLE_FORWARD;
    if (describe(engine, &m->shape, dnnl_format_tag_any, &m->pd) == dnnl_success && is_named(m, BRGEMM) &&
        find_block(m)) {
        m->move = MOVE_TURN;
        m->weights_bytes = round_up(dnnl.memory_desc_get_size(method_weights(m)));
        return true;
    }
    drop_description(m);
    m->shape = *s;
    m->role = role_of(s->primitive);
    return false;
}

static bool try_brgemm(struct method *m, dnnl_engine_t engine, const struct onednn_shape *s)
{
    if (describe(engine, s, dnnl_format_tag_any, &m->pd) == dnnl_success && is_named(m, BRGEMM)) return true;
    drop_description(m);
    return false;
}

/* ---- Choosing ---- */

/* The brgemm engine where it is faster; else weights as stored when oneDNN has a fast kernel for that, else whichever
 * order it likes best. */
static dnnl_status_t choose_weights(struct method *m, dnnl_engine_t engine, const struct onednn_shape *s)
{
    uint32_t d[4];
    if (!s->bf16 && suits_turning(s) && try_turning(m, engine, s)) return dnnl_success;
    weight_dims(s, d);
    const dnnl_dims_t dims = {d[0], d[3], d[1], d[2]};
    dnnl_status_t status = layout_create(&m->stored, dims, 4, s->bf16_weights ? dnnl_bf16 : dnnl_f32, stored_tag(s));
    if (status != dnnl_success) return status;
    if (s->bf16) {
        status = describe(engine, s, dnnl_format_tag_any, &m->pd);
        return status == dnnl_success ? move_weights(m, engine) : status;
    }
    if (suits_forward(s) && try_brgemm(m, engine, s)) return move_weights(m, engine);
    if (describe(engine, s, stored_tag(s), &m->pd) == dnnl_success) {
        if (!is_named(m, "ref")) return dnnl_success;
        drop_description(m);
    }
    status = describe(engine, s, dnnl_format_tag_any, &m->pd);
    return status == dnnl_success ? move_weights(m, engine) : status;
}

bool method_has_mask(const struct method *m)
{
    return m->shape.primitive == ONEDNN_MAXPOOL_BWD || (m->shape.primitive == ONEDNN_MAXPOOL && !m->shape.inference);
}

/* The graph plans one byte per output for the position of a maximum. */
static bool check_mask(const struct method *m, struct error *err)
{
    const struct onednn_shape *s = &m->shape;
    if (!method_has_mask(m)) return true;
    layout_view mask = method_query(m->pd, dnnl_query_workspace_md);
    uint64_t planned = (uint64_t)s->y[0] * s->y[1] * s->y[2] * s->y[3];
    uint64_t found = mask ? dnnl.memory_desc_get_size(mask) : 0;
    if (found == planned) return true;
    return error_set(
        err, ERROR_FAILED, "oneDNN wants a mask of %llu bytes for a max pool of %ux%u windows: planned were %llu",
        (unsigned long long)found, (unsigned)s->kernel[0], (unsigned)s->kernel[1], (unsigned long long)planned);
}

bool method_init(struct method *m, dnnl_engine_t engine, const struct onednn_shape *s, struct error *err)
{
    *m = (struct method){.shape = *s, .role = role_of(s->primitive)};
    TRY(onednn_check_room(err));
    dnnl_status_t status =
        has_weights(s->primitive) ? choose_weights(m, engine, s) : describe(engine, s, dnnl_format_tag_any, &m->pd);
    if (!onednn_check(status, "a primitive's description", err) || !check_mask(m, err)) {
        method_finish(m);
        return false;
    }
    uint64_t own = method_scratch_bytes(m->pd), reorder = method_scratch_bytes(m->reorder);
    m->bytes = m->weights_bytes + (own > reorder ? own : reorder);
    return true;
}
