/* One op of a program, with all that must have run before it and what follows from it. */
#include "program_private.h"

bool program_need(struct emitter *e, uint32_t tensor)
{
    if (e->latest[tensor] != NO_TENSOR) return true;
    if (e->on_host[tensor] != NO_TENSOR) return program_recall(e, tensor);
    const struct tensor *t = emitter_tensor(e, tensor);
    if (t->view_of != NO_TENSOR) {
        TRY(program_need(e, t->view_of));
        return emitter_add_latest(e, tensor);
    }
    uint32_t producer = e->producer[tensor];
    if (producer == NO_OP) return emitter_add_latest(e, tensor);
    if (!e->ran[producer])
        return error_set(e->err, ERROR_INPUT, "the schedule runs an op of %s before its input was computed",
                         e->graph->layers[t->layer].path);
    return program_run_op(e, producer, PASS_RECOMPUTE);
}

/* Whether writing this output goes to the instance that is there rather than to a fresh one. */
static bool writes_existing(const struct emitter *e, const struct op *op, uint32_t output, enum op_pass pass)
{
    const struct tensor *t = emitter_tensor(e, output);
    bool statistic = t->role == ROLE_MEAN || t->role == ROLE_VARIANCE;
    return t->persistent || t->view_of != NO_TENSOR || t->role == ROLE_BUCKET || op_reads(op, output) ||
           (pass == PASS_RECOMPUTE && statistic);
}

/* A bucket that has one in 16 bits is complete when both are and that is widened; NO_TENSOR until then. */
static bool widen_bucket(struct emitter *e, uint32_t *bucket)
{
    uint32_t widen = e->widener[*bucket];
    if (widen == NO_OP) return true;
    const struct op *op = &e->graph->ops[widen];
    *bucket = e->unwritten[op->in[0]] || e->unwritten[op->out[0]] ? NO_TENSOR : op->out[0];
    return *bucket == NO_TENSOR || program_run_op(e, widen, op->pass);
}

/* After an op wrote into a bucket's view: the bucket's follower runs when no writer is left. */
static bool note_bucket(struct emitter *e, uint32_t output)
{
    uint32_t bucket = emitter_tensor(e, output)->view_of;
    if (bucket == NO_TENSOR || e->unwritten[bucket] == 0 || --e->unwritten[bucket] > 0) return true;
    TRY(widen_bucket(e, &bucket));
    if (bucket == NO_TENSOR || e->follower[bucket] == NO_OP) return true;
    return program_run_op(e, e->follower[bucket], e->graph->ops[e->follower[bucket]].pass);
}

bool program_run_op(struct emitter *e, uint32_t index, enum op_pass pass)
{
    const struct op *op = &e->graph->ops[index];
    struct plan_op made = emitter_op(index, pass, op->kind == OP_ALL_REDUCE);
    made.lean = e->lean;
    for (uint32_t i = 0; i < op->inputs; i++) TRY(program_need(e, op->in[i]));
    for (uint32_t i = 0; i < op->inputs; i++) made.in[i] = e->latest[op->in[i]];
    uint32_t outputs = plan_op_outputs(e->graph, &made);
    for (uint32_t i = 0; i < outputs; i++) {
        TRY(writes_existing(e, op, op->out[i], pass) ? program_need(e, op->out[i]) : emitter_add_latest(e, op->out[i]));
        made.out[i] = e->latest[op->out[i]];
    }
    e->ran[index] = true;
    TRY(emitter_append(e, &made));
    if (op->pass != PASS_BACKWARD) return true;
    for (uint32_t i = 0; i < op->outputs; i++) TRY(note_bucket(e, op->out[i]));
    return true;
}
