/* Memory that PyTorch works in, and which ops do. */
#include "torch_step_private.h"

/* Where there is no room for it PyTorch goes on to the next engine (try_plans in Conv_v8.cpp), down to those without.
 */
bool torch_work(struct torch_step *s, const struct op *op, enum torch_pass pass)
{
    uint64_t bytes = 0;
    if (!s->options->workspace) return true;
    TRY(s->options->workspace(s->options->workspace_context, s->graph, op, pass, s->options->dtype, &bytes, s->err));
    if (torch_tensors_pass(&s->tensors, bytes, s->err)) {
        if (bytes > s->workspace_bytes) s->workspace_bytes = bytes;
        return true;
    }
    bool lean = s->tensors.out_of_memory;
    s->tensors.out_of_memory = false;
    return lean;
}

bool torch_is_hidden(const struct torch_step *s, const struct op *op)
{
    uint32_t reader = s->last_reader[op->out[0]];
    return reader != NO_OP && s->graph->ops[reader].kind == OP_RELU;
}

bool torch_use_cublas(struct torch_step *s)
{
    return s->cublas != NO_STORAGE || s->options->cublas_bytes == 0 ||
           torch_make(s, s->options->cublas_bytes, &s->cublas);
}
