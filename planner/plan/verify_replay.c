/* The program run over byte ranges: each range remembers which value of which tensor was written there last, and every
 * read must find its own. A body that repeats is run twice, so that what one micro-batch leaves behind meets the next.
 */
#include <inttypes.h>

#include "mem.h"
#include "verify_private.h"

#define ALWAYS UINT32_MAX

struct replay {
    struct proof *proof;
    uint32_t *stamp; /* per plan tensor: how often it was written */
    uint32_t
        *written; /* per plan tensor: the round in which it was written last, ALWAYS for persistent ones, 0 never */
    bool *whole;  /* per bucket: its last write was of all of it, not of a view */
    uint32_t *first_view; /* per bucket: a list of its views */
    uint32_t *next_view;
    uint32_t round; /* from 1: micro-batches */
    uint32_t op;    /* the one that runs; NO_OP before and after */
};

static bool is_persistent(const struct replay *r, uint32_t tensor)
{
    uint32_t origin = r->proof->program->tensors[tensor].origin;
    return origin != NO_TENSOR && r->proof->graph->tensors[origin].persistent;
}

static const char *at_op(const struct replay *r, char out[VERIFY_NAME])
{
    return r->op == NO_OP ? "the end of the step" : verify_op_name(r->proof, r->op, out);
}

static bool stale(const struct replay *r, uint32_t tensor, uint32_t by)
{
    char name[VERIFY_NAME], read[VERIFY_NAME], found[VERIFY_NAME];
    return verify_fail(r->proof, VERIFY_STALE, "%s reads %s, but finds bytes of %s", at_op(r, name),
                       verify_tensor_name(r->proof, tensor, read),
                       by == NO_TENSOR ? "nobody" : verify_tensor_name(r->proof, by, found));
}

/* All bytes of `tensor` must hold the last value of `owner`: the tensor itself, or the bucket it is part of. */
static bool expect(const struct replay *r, uint32_t tensor, uint32_t owner)
{
    char name[VERIFY_NAME], read[VERIFY_NAME];
    if (r->written[owner] != ALWAYS && r->written[owner] != r->round)
        return verify_fail(r->proof, VERIFY_MISSING, "%s reads %s, which was not computed", at_op(r, name),
                           verify_tensor_name(r->proof, tensor, read));
    uint32_t cursor = r->proof->ranges.begin[tensor];
    struct range_owner found;
    while (ranges_next(&r->proof->ranges, tensor, &cursor, &found))
        if (found.tensor != owner || found.stamp != r->stamp[owner]) return stale(r, tensor, found.tensor);
    return true;
}

static bool read_tensor(const struct replay *r, uint32_t tensor)
{
    uint32_t base = r->proof->base[tensor];
    if (base != NO_TENSOR) return expect(r, tensor, r->whole[base] ? base : tensor);
    if (r->whole[tensor] || r->first_view[tensor] == NO_TENSOR) return expect(r, tensor, tensor);
    for (uint32_t view = r->first_view[tensor]; view != NO_TENSOR; view = r->next_view[view])
        TRY(expect(r, view, view));
    return true;
}

static bool check_alive(const struct replay *r, uint32_t tensor)
{
    const struct plan_tensor *t = &r->proof->program->tensors[tensor];
    char name[VERIFY_NAME], touched[VERIFY_NAME];
    if (t->first <= r->op && r->op <= t->last) return true;
    return verify_fail(r->proof, VERIFY_RANGE,
                       "%s touches %s, which is declared to live from op %" PRIu32 " to %" PRIu32, at_op(r, name),
                       verify_tensor_name(r->proof, tensor, touched), t->first, t->last);
}

static void write_tensor(struct replay *r, uint32_t tensor)
{
    uint32_t base = r->proof->base[tensor];
    r->stamp[tensor]++;
    r->written[tensor] = is_persistent(r, tensor) ? ALWAYS : r->round;
    r->whole[tensor] = true;
    if (base != NO_TENSOR) r->whole[base] = false;
    ranges_assign(&r->proof->ranges, tensor, (struct range_owner){tensor, r->stamp[tensor]});
}

/* Outputs that persist are added to, so they are read as well. */
static bool run_op(struct replay *r)
{
    const struct plan_op *op = &r->proof->program->ops[r->op];
    uint32_t inputs = plan_op_inputs(r->proof->graph, op), outputs = plan_op_outputs(r->proof->graph, op);
    for (uint32_t k = 0; k < inputs; k++) TRY(read_tensor(r, op->in[k]) && check_alive(r, op->in[k]));
    for (uint32_t k = 0; k < outputs; k++) {
        if (verify_only_reads(r->proof, op, k) || is_persistent(r, op->out[k])) TRY(read_tensor(r, op->out[k]));
        TRY(check_alive(r, op->out[k]));
    }
    if (op->workspace != NO_TENSOR) {
        TRY(check_alive(r, op->workspace));
        write_tensor(r, op->workspace);
    }
    for (uint32_t k = 0; k < outputs; k++)
        if (!verify_only_reads(r->proof, op, k)) write_tensor(r, op->out[k]);
    return true;
}

/* The trainer puts images and labels in place before each micro-batch. */
static void give_input(struct replay *r)
{
    const struct plan_program *program = r->proof->program;
    for (uint32_t t = 0; t < program->tensor_count; t++)
        if (program->tensors[t].origin != NO_TENSOR &&
            r->proof->graph->tensors[program->tensors[t].origin].class == CLASS_INPUT)
            write_tensor(r, t);
}

static bool run_ops(struct replay *r, size_t from, size_t to)
{
    for (r->op = (uint32_t)from; r->op < to; r->op++) TRY(run_op(r));
    r->op = NO_OP;
    return true;
}

static void begin(struct replay *r)
{
    const struct proof *proof = r->proof;
    ranges_clear(&r->proof->ranges);
    for (uint32_t t = 0; t < proof->program->tensor_count; t++) r->first_view[t] = r->next_view[t] = NO_TENSOR;
    for (uint32_t t = 0; t < proof->program->tensor_count; t++) {
        uint32_t base = proof->base[t];
        if (base != NO_TENSOR) {
            r->next_view[t] = r->first_view[base];
            r->first_view[base] = t;
        } else if (is_persistent(r, t)) {
            write_tensor(r, t);
        }
    }
}

static bool run(struct replay *r)
{
    const struct plan_program *program = r->proof->program;
    uint32_t rounds = r->proof->graph->options.micro_batches > 1 && !r->proof->evaluate ? 2 : 1;
    begin(r);
    for (r->round = 1; r->round <= rounds; r->round++) {
        give_input(r);
        TRY(run_ops(r, 0, program->body_count));
    }
    r->round = rounds;
    TRY(run_ops(r, program->body_count, program->op_count));
    for (uint32_t t = 0; t < program->tensor_count; t++)
        if (r->proof->base[t] == NO_TENSOR && is_persistent(r, t)) TRY(read_tensor(r, t));
    return true;
}

bool verify_replay(struct proof *proof)
{
    size_t tensors = proof->program->tensor_count;
    struct replay r = {.proof = proof, .op = NO_OP};
    r.stamp = mem_zalloc(MEM_PLAN, tensors, sizeof *r.stamp);
    r.written = mem_zalloc(MEM_PLAN, tensors, sizeof *r.written);
    r.whole = mem_zalloc(MEM_PLAN, tensors, sizeof *r.whole);
    r.first_view = mem_alloc(MEM_PLAN, tensors, sizeof *r.first_view);
    r.next_view = mem_alloc(MEM_PLAN, tensors, sizeof *r.next_view);
    bool ok = r.stamp && r.written && r.whole && r.first_view && r.next_view;
    ok = ok ? run(&r) : error_memory(proof->err, tensors * sizeof *r.next_view, "verifying a plan");
    mem_free(r.stamp);
    mem_free(r.written);
    mem_free(r.whole);
    mem_free(r.first_view);
    mem_free(r.next_view);
    return ok;
}
