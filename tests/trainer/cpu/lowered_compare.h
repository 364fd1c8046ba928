/* Ops of lowered graphs on the same operands: one backend beside another, or one number of threads beside another. */
#ifndef FATHOM_LOWERED_COMPARE_H
#define FATHOM_LOWERED_COMPARE_H

#include <math.h>

#include "graph_run.h"

/* Convolutions' weights and their gradients are kept in the backend's own order. */
static inline bool is_permuted(const struct tensor *t) { return t->role == ROLE_WEIGHT; }

static inline void *read_tensor(struct graph_run *run, uint32_t index)
{
    const struct tensor *t = &run->graph->tensors[index];
    struct error err = {0};
    void *values = calloc(1, t->bytes + 8);
    cr_assert(is_permuted(t) ? run->backend->parameter_out(run->device, t, run->offsets[index], values, &err)
                             : run->backend->copy_out(run->device, NULL, values, run->offsets[index], t->bytes, &err));
    return values;
}

static inline void write_tensor(struct graph_run *run, uint32_t index, const void *values)
{
    const struct tensor *t = &run->graph->tensors[index];
    struct error err = {0};
    cr_assert(is_permuted(t) ? run->backend->parameter_in(run->device, t, run->offsets[index], values, &err)
                             : run->backend->copy_in(run->device, NULL, run->offsets[index], values, t->bytes, &err));
}

static inline double value_at(const struct tensor *t, const void *values, uint64_t i)
{
    return t->dtype == DTYPE_F64 ? ((const double *)values)[i] : (double)((const float *)values)[i];
}

/* Largest difference over the largest value of its row of channels: tables have rows of different sizes. Values that
 * small are what is left of sums that cancel, as of a bias before a BN. */
#define LEAST_SCALE 0.02

static inline double difference(const struct tensor *t, const void *a, const void *b)
{
    uint64_t count = tensor_elements(t), row = t->class == CLASS_STATISTIC ? t->dims[3] : count;
    double worst = 0;
    for (uint64_t first = 0; first < count; first += row) {
        double scale = LEAST_SCALE, most = 0;
        for (uint64_t i = first; i < first + row; i++) {
            double d = fabs(value_at(t, a, i) - value_at(t, b, i));
            if (!(d <= most)) most = d;
            if (fabs(value_at(t, b, i)) > scale) scale = fabs(value_at(t, b, i));
        }
        if (!(most / scale <= worst)) worst = most / scale;
    }
    return worst;
}

static inline void compare_op(struct graph_run *fast, struct graph_run *slow, uint32_t index, bool seen[OP_KINDS])
{
    const struct graph *graph = slow->graph;
    const struct op *op = &graph->ops[index];
    for (uint32_t k = 0; k < op->inputs; k++) {
        void *values = read_tensor(slow, op->in[k]);
        write_tensor(fast, op->in[k], values);
        free(values);
    }
    graph_run_op(fast, index, op->pass);
    graph_run_op(slow, index, op->pass);
    seen[op->kind] = true;
    for (uint32_t k = 0; k < op->outputs; k++) {
        const struct tensor *t = &graph->tensors[op->out[k]];
        if (t->dtype != DTYPE_F32 && t->dtype != DTYPE_F64) continue;
        void *a = read_tensor(fast, op->out[k]), *b = read_tensor(slow, op->out[k]);
        cr_expect(difference(t, a, b) < 2e-5, "%s, fused %u, output %u: %g", op_kind_name(op->kind),
                  op->attr.conv.fused, k, difference(t, a, b));
        free(a);
        free(b);
    }
}

static inline void check_same_bits(struct graph_run *one, struct graph_run *other, uint32_t index)
{
    const struct op *op = &one->graph->ops[index];
    for (uint32_t k = 0; k < op->inputs; k++) {
        void *values = read_tensor(one, op->in[k]);
        write_tensor(other, op->in[k], values);
        free(values);
    }
    graph_run_op(other, index, op->pass);
    for (uint32_t k = 0; k < op->outputs; k++) {
        void *a = read_tensor(one, op->out[k]), *b = read_tensor(other, op->out[k]);
        cr_expect_arr_eq(a, b, one->graph->tensors[op->out[k]].bytes, "%s, output %u", op_kind_name(op->kind), k);
        free(a);
        free(b);
    }
}

#endif
