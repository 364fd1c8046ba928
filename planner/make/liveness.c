#include "liveness.h"

#include "mem.h"
#include "sharing.h"

static const struct tensor *origin_of(const struct graph *graph, const struct plan_tensor *tensor)
{
    return tensor->origin == NO_TENSOR ? NULL : &graph->tensors[tensor->origin];
}

static bool lives_throughout(const struct tensor *origin)
{
    return origin && (origin->persistent || origin->apart || origin->role == ROLE_METRICS);
}

static void touch(struct plan_tensor *tensors, uint32_t index, uint32_t op)
{
    if (index == NO_TENSOR) return;
    struct plan_tensor *t = &tensors[index];
    if (op < t->first) t->first = op;
    if (op > t->last) t->last = op;
}

static void touch_all(struct plan_tensor *tensors, const struct plan_op *op, uint32_t instant)
{
    for (uint32_t k = 0; k < OP_MOST_INPUTS; k++) touch(tensors, op->in[k], instant);
    for (uint32_t k = 0; k < OP_MOST_OUTPUTS; k++) touch(tensors, op->out[k], instant);
    touch(tensors, op->workspace, instant);
}

static void find_uses(struct plan_program *program)
{
    for (size_t t = 0; t < program->tensor_count; t++) {
        program->tensors[t].first = UINT32_MAX;
        program->tensors[t].last = 0;
    }
    for (uint32_t i = 0; i < program->op_count; i++) touch_all(program->tensors, &program->ops[i], i);
}

/* Bases of views have one instance each: views[] gives it by graph tensor. A base lives over all its views' uses. */
static void join_views(const struct graph *graph, struct plan_program *program, const uint32_t *base, uint32_t *home)
{
    for (uint32_t t = 0; t < program->tensor_count; t++) {
        const struct tensor *origin = origin_of(graph, &program->tensors[t]);
        if (!origin || origin->view_of == NO_TENSOR) continue;
        home[t] = base[origin->view_of];
        touch(program->tensors, home[t], program->tensors[t].first);
        touch(program->tensors, home[t], program->tensors[t].last);
    }
}

static void widen_given(const struct graph *graph, struct plan_program *program)
{
    uint32_t end = (uint32_t)program->op_count - 1, body = (uint32_t)program->body_count;
    bool repeats = graph->options.micro_batches > 1;
    for (size_t t = 0; t < program->tensor_count; t++) {
        struct plan_tensor *tensor = &program->tensors[t];
        const struct tensor *origin = origin_of(graph, tensor);
        bool given = origin && origin->class == CLASS_INPUT;
        if (tensor->first == UINT32_MAX) tensor->first = tensor->last = 0;
        if (given || (repeats && tensor->first < body && tensor->last >= body)) tensor->first = 0;
        if (!lives_throughout(origin)) continue;
        tensor->first = 0;
        tensor->last = end;
    }
}

static uint32_t operand(const struct plan_op *op, uint32_t k)
{
    return k < OP_MOST_INPUTS ? op->in[k] : op->out[k - OP_MOST_INPUTS];
}

/* An op on the communication stream may still run while later compute ops do: its tensors stay until the compute stream
 * touches one of them again, which makes it wait. Backwards, next[t] is the next compute op that touches t. */
static void widen_communication(struct plan_program *program, uint32_t *next)
{
    uint32_t end = (uint32_t)program->op_count - 1;
    for (size_t t = 0; t < program->tensor_count; t++) next[t] = end;
    for (uint32_t i = end + 1; i-- > 0;) {
        const struct plan_op *op = &program->ops[i];
        uint32_t join = end;
        for (uint32_t k = 0; k < OP_MOST_INPUTS + OP_MOST_OUTPUTS; k++) {
            uint32_t t = operand(op, k);
            if (t == NO_TENSOR) continue;
            if (op->stream == STREAM_COMPUTE) next[t] = i;
            if (next[t] < join) join = next[t];
        }
        if (op->stream == STREAM_COMMUNICATION) touch_all(program->tensors, op, join);
    }
}

/* Views live as long as their base: its bytes hold their value until then. */
static void widen_views(struct plan_program *program, const uint32_t *home)
{
    for (size_t t = 0; t < program->tensor_count; t++) {
        program->tensors[t].first = program->tensors[home[t]].first;
        program->tensors[t].last = program->tensors[home[t]].last;
    }
}

static bool may_move(const struct graph *graph, const struct plan_program *program, uint32_t t, const bool *is_base)
{
    const struct tensor *origin = origin_of(graph, &program->tensors[t]);
    return origin && !origin->persistent && origin->view_of == NO_TENSOR && origin->class != CLASS_INPUT &&
           origin->role != ROLE_METRICS && !is_base[t];
}

/* Whether in[i] may hand its bytes to an output at this op: it dies here, and no operand without the permission is the
 * same tensor. */
static bool may_hand_over(const struct op *graph_op, const struct plan_op *op, const struct plan_program *program,
                          uint32_t instant, uint32_t i)
{
    uint32_t from = op->in[i], to = op->out[op_in_place_output(graph_op, i)];
    if (!(graph_op->in_place >> i & 1) || from == to) return false;
    for (uint32_t k = 0; k < graph_op->inputs; k++)
        if (op->in[k] == from && !(graph_op->in_place >> k & 1)) return false;
    const struct plan_tensor *a = &program->tensors[from], *b = &program->tensors[to];
    return a->last == instant && b->first == instant && a->bytes == b->bytes;
}

/* The 2016 release ran ReLU and addition in place, and gave ReLU's gradient the bytes of the one it came from. */
static bool is_in_place(const struct op *op, enum sharing_policy sharing)
{
    if (sharing == SHARING_GRADINPUT)
        return op->kind == OP_RELU || op->kind == OP_ADD || op->kind == OP_RELU_BWD || op->kind == OP_ADD_GRADIENT;
    return op->in_place != 0;
}

static void merge_in_place(const struct graph *graph, const struct plan_program *program, enum sharing_policy sharing,
                           const bool *is_base, uint32_t *home)
{
    for (uint32_t i = 0; i < program->op_count; i++) {
        const struct plan_op *op = &program->ops[i];
        const struct op *graph_op = &graph->ops[op->op];
        if (!is_in_place(graph_op, sharing) || op->stream != STREAM_COMPUTE) continue;
        for (uint32_t k = 0; k < graph_op->inputs; k++) {
            uint32_t to = op->out[op_in_place_output(graph_op, k)];
            if (!may_hand_over(graph_op, op, program, i, k) || home[to] != to) continue;
            if (may_move(graph, program, to, is_base) && may_move(graph, program, op->in[k], is_base))
                home[to] = home[op->in[k]];
        }
    }
}

static enum memory_class class_of(const struct tensor *origin, const struct plan_tensor *tensor,
                                  uint32_t first_backward)
{
    if (!origin) return MEMORY_WORKSPACE;
    switch (origin->class) {
    case CLASS_WEIGHT: return MEMORY_WEIGHTS;
    case CLASS_GRADIENT:
    case CLASS_COMM: return MEMORY_GRADIENTS;
    case CLASS_OPTIMIZER: return MEMORY_OPTIMIZER;
    case CLASS_INPUT: return MEMORY_INPUT;
    case CLASS_WORKSPACE: return MEMORY_WORKSPACE;
    case CLASS_STATISTIC:
        if (lives_throughout(origin)) return MEMORY_WEIGHTS;
        break;
    case CLASS_ACTIVATION:
    case TENSOR_CLASSES: break;
    }
    return tensor->first < first_backward && tensor->last >= first_backward ? MEMORY_KEPT : MEMORY_TRANSIENT;
}

static void assign_classes(const struct graph *graph, struct plan_program *program)
{
    uint32_t first_backward = 0;
    while (first_backward < program->op_count && program->ops[first_backward].pass != PASS_BACKWARD) first_backward++;
    for (size_t t = 0; t < program->tensor_count; t++) {
        struct plan_tensor *tensor = &program->tensors[t];
        tensor->class = class_of(origin_of(graph, tensor), tensor, first_backward);
    }
}

bool liveness_find(const struct graph *graph, struct plan_program *program, enum sharing_policy sharing, uint32_t *home,
                   struct error *err)
{
    uint32_t *base = mem_alloc(MEM_PLAN, graph->tensor_count, sizeof *base);
    bool *is_base = mem_zalloc(MEM_PLAN, program->tensor_count, sizeof *is_base);
    uint32_t *next = mem_alloc(MEM_PLAN, program->tensor_count, sizeof *next);
    bool ok = base && is_base && next;
    if (!ok) error_memory(err, graph->tensor_count * sizeof *base, "lifetimes");
    for (uint32_t t = 0; ok && t < program->tensor_count; t++) {
        home[t] = t;
        if (program->tensors[t].origin != NO_TENSOR) base[program->tensors[t].origin] = t;
    }
    if (ok) {
        find_uses(program);
        join_views(graph, program, base, home);
        widen_given(graph, program);
        widen_communication(program, next);
        widen_views(program, home);
        for (uint32_t t = 0; t < program->tensor_count; t++) is_base[home[t]] |= home[t] != t;
        if (sharing != SHARING_NONE) merge_in_place(graph, program, sharing, is_base, home);
        assign_classes(graph, program);
    }
    mem_free(base);
    mem_free(is_base);
    mem_free(next);
    return ok;
}
