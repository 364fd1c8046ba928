#include "torch_step.h"

#include <string.h>

#include "mem.h"
#include "torch_step_private.h"

/* Segments come in the first steps: gradients and momenta lie between activations then. */
#define MOST_STEPS    8
#define QUIET_STEPS   2
#define COUNTER_BYTES 8 /* num_batches_tracked */
#define LABEL_BYTES   8

/* ---- Beginning and end ---- */

static bool make_table(struct torch_step *s, uint32_t **table)
{
    *table = mem_alloc(MEM_PLAN, s->graph->tensor_count, sizeof **table);
    if (!*table) return error_memory(s->err, s->graph->tensor_count * sizeof **table, "tensors");
    memset(*table, 0xff, s->graph->tensor_count * sizeof **table); /* NO_STORAGE, NO_OP */
    return true;
}

static void count_readers(struct torch_step *s)
{
    memset(s->readers, 0, s->graph->tensor_count * sizeof *s->readers);
    for (uint32_t i = 0; i < s->graph->forward_end; i++)
        for (unsigned k = 0; k < s->graph->ops[i].inputs; k++) {
            s->last_reader[s->graph->ops[i].in[k]] = i;
            s->readers[s->graph->ops[i].in[k]]++;
        }
}

static bool begin(struct torch_step *s)
{
    s->labels = s->output = s->loss = s->cublas = NO_STORAGE;
    TRY(make_table(s, &s->values) && make_table(s, &s->halves) && make_table(s, &s->gradients) &&
        make_table(s, &s->momenta) && make_table(s, &s->last_reader) && make_table(s, &s->readers));
    s->kept = mem_alloc(MEM_PLAN, s->graph->forward_end, sizeof *s->kept);
    if (!s->kept) return error_memory(s->err, s->graph->forward_end * sizeof *s->kept, "tensors");
    memset(s->kept, 0xff, s->graph->forward_end * sizeof *s->kept);
    count_readers(s);
    return true;
}

static void end(struct torch_step *s)
{
    torch_tensors_finish(&s->tensors);
    mem_free(s->values);
    mem_free(s->halves);
    mem_free(s->gradients);
    mem_free(s->momenta);
    mem_free(s->last_reader);
    mem_free(s->readers);
    mem_free(s->kept);
}

/* ---- The script ---- */

/* model.to("cuda"): module by module its parameters, running statistics and, of a batch normalisation, a counter. */
static bool move_model(struct torch_step *s)
{
    for (uint32_t i = 0; i < s->graph->forward_end; i++) {
        const struct op *op = &s->graph->ops[i];
        uint32_t counter;
        for (unsigned k = 0; k < op->inputs; k++) {
            enum tensor_class class = s->graph->tensors[op->in[k]].class;
            if (class == CLASS_WEIGHT || class == CLASS_STATISTIC)
                TRY(torch_make(s, torch_bytes(s, op->in[k], DTYPE_F32), &s->values[op->in[k]]));
        }
        if (op->kind == OP_BN) TRY(torch_make(s, COUNTER_BYTES, &counter));
    }
    return true;
}

/* The next batch is there before the last one's name is bound to it. */
static bool load_batch(struct torch_step *s)
{
    uint32_t images, labels, *old = &s->values[s->graph->images];
    TRY(torch_make(s, torch_bytes(s, s->graph->images, DTYPE_F32), &images) &&
        torch_make(s, LABEL_BYTES * (uint64_t)s->graph->options.batch, &labels) && torch_drop(s, old) &&
        torch_drop(s, &s->labels));
    *old = images;
    s->labels = labels;
    return true;
}

static bool forward(struct torch_step *s)
{
    for (uint32_t i = 0; i < s->graph->forward_end; i++) TRY(torch_forward(s, i));
    for (size_t i = 0; torch_is_half(s) && i < s->graph->tensor_count; i++) TRY(torch_drop(s, &s->halves[i]));
    return true;
}

static bool zero_gradients(struct torch_step *s)
{
    for (size_t i = 0; i < s->graph->parameter_count; i++) TRY(torch_drop(s, &s->gradients[s->graph->parameters[i]]));
    return true;
}

static bool backward(struct torch_step *s)
{
    for (uint32_t i = s->graph->forward_end; i-- > 0;) TRY(torch_backward(s, i));
    return true;
}

/* _multi_tensor_sgd: gradients with the decay are all there at once; momenta begin as copies of them. */
static bool update(struct torch_step *s)
{
    const struct graph *graph = s->graph;
    uint32_t *decayed = mem_alloc(MEM_PLAN, graph->parameter_count, sizeof *decayed);
    bool ok = decayed || error_memory(s->err, graph->parameter_count * sizeof *decayed, "tensors");
    size_t made = 0;
    for (; ok && made < graph->parameter_count; made++)
        TRY_CONTINUE(ok, torch_make(s, torch_bytes(s, graph->parameters[made], DTYPE_F32), &decayed[made]));
    for (size_t i = 0; ok && i < graph->parameter_count; i++) {
        uint32_t *momentum = &s->momenta[graph->parameters[i]];
        if (*momentum == NO_STORAGE) ok = torch_make(s, torch_bytes(s, graph->parameters[i], DTYPE_F32), momentum);
    }
    for (size_t i = 0; ok && i < graph->parameter_count; i++) ok = torch_drop(s, &decayed[i]);
    mem_free(decayed);
    return ok;
}

static bool take_step(struct torch_step *s, struct torch_memory *memory)
{
    TRY(load_batch(s) && forward(s));
    memory->saved_bytes = s->tensors.saved_bytes;
    return zero_gradients(s) && backward(s) && update(s);
}

/* Steps until some of them reserve nothing more. */
static bool train(struct torch_step *s, struct torch_memory *memory)
{
    uint32_t quiet = 0;
    TRY(move_model(s));
    while (quiet < QUIET_STEPS && memory->steps < MOST_STEPS) {
        uint64_t before = s->tensors.allocator.peak_reserved_bytes;
        TRY(take_step(s, memory));
        memory->steps++;
        quiet = s->tensors.allocator.peak_reserved_bytes > before ? 0 : quiet + 1;
    }
    return true;
}

bool torch_step_memory(const struct graph *graph, const struct torch_options *options, struct torch_memory *memory,
                       struct error *err)
{
    struct torch_step step = {.graph = graph, .options = options, .err = err};
    *memory = (struct torch_memory){.parameter_bytes = 4 * graph->parameter_elements};
    step.tensors.allocator.most_bytes = options->most_bytes;
    bool ok = begin(&step) && (train(&step, memory) || step.tensors.out_of_memory);
    memory->out_of_memory = step.tensors.out_of_memory;
    memory->peak_tensor_bytes = step.tensors.peak_live_bytes;
    memory->peak_allocated_bytes = step.tensors.allocator.peak_allocated_bytes;
    memory->peak_reserved_bytes = step.tensors.allocator.peak_reserved_bytes;
    memory->given_back = step.tensors.allocator.given_back;
    memory->workspace_bytes = step.workspace_bytes;
    end(&step);
    return ok;
}
