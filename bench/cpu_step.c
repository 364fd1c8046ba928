#include "cpu_step.h"

#include <time.h>

#include "build.h"
#include "clock.h"
#include "mem.h"

static uint64_t align(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

static bool lay_out(struct cpu_step *r, struct error *err)
{
    for (size_t i = 0; i < r->graph->op_count; i++) {
        uint64_t bytes = 0;
        const struct op *op = &r->graph->ops[i];
        TRY(cpu_backend.op_workspace(r->graph, op, op->pass, &bytes, err));
        if (bytes > r->workspace_bytes) r->workspace_bytes = bytes;
    }
    r->offsets = mem_zalloc(MEM_GENERAL, r->graph->tensor_count, sizeof *r->offsets);
    if (!r->offsets) return error_memory(err, r->graph->tensor_count * sizeof *r->offsets, "offsets");
    uint64_t end = align(r->workspace_bytes);
    for (size_t i = 0; i < r->graph->tensor_count; i++) {
        const struct tensor *t = &r->graph->tensors[i];
        if (t->view_of != NO_TENSOR) continue;
        r->offsets[i] = end;
        end += align(t->bytes);
    }
    for (size_t i = 0; i < r->graph->tensor_count; i++) {
        const struct tensor *t = &r->graph->tensors[i];
        if (t->view_of != NO_TENSOR) r->offsets[i] = r->offsets[t->view_of] + t->view_offset;
    }
    r->arena_bytes = end;
    return true;
}

static bool prepare(struct cpu_step *r, struct error *err)
{
    r->ops = mem_zalloc(MEM_GENERAL, r->graph->op_count, sizeof(struct prepared *));
    if (!r->ops) return error_memory(err, r->graph->op_count * sizeof(struct prepared *), "ops");
    for (size_t i = 0; i < r->graph->op_count; i++) {
        const struct op *op = &r->graph->ops[i];
        struct op_call call = {.graph = r->graph, .op = op, .op_index = (uint32_t)i, .pass = op->pass};
        for (int k = 0; k < op->inputs; k++) {
            call.in[k] = r->offsets[op->in[k]];
            call.in_tensor[k] = &r->graph->tensors[op->in[k]];
        }
        for (int k = 0; k < op->outputs; k++) {
            call.out[k] = r->offsets[op->out[k]];
            call.out_tensor[k] = &r->graph->tensors[op->out[k]];
        }
        call.workspace_bytes = r->workspace_bytes;
        TRY(cpu_backend.op_prepare(r->device, &call, &r->ops[i], err));
    }
    return true;
}

/* Weights and images that keep the numbers in a sane range. */
static bool fill(struct cpu_step *r, struct error *err)
{
    float *values = mem_alloc(MEM_GENERAL, 1, r->arena_bytes);
    if (!values) return error_memory(err, r->arena_bytes, "values");
    for (uint64_t i = 0; i < r->arena_bytes / sizeof *values; i++)
        values[i] = (float)((i * 2654435761u >> 7) % 2001) * 1e-4f - 0.1f;
    bool ok = true;
    for (size_t i = 0; ok && i < r->graph->tensor_count; i++) {
        const struct tensor *t = &r->graph->tensors[i];
        if (t->role == ROLE_IMAGE && t->class == CLASS_INPUT)
            ok = cpu_backend.image_in(r->device, r->stream, t, r->offsets[i], values, err);
        else if (t->view_of == NO_TENSOR && (t->dtype == DTYPE_F32 || t->role == ROLE_PIXELS))
            ok = cpu_backend.copy_in(r->device, r->stream, r->offsets[i], values, t->bytes, err);
    }
    mem_free(values);
    const struct loss_scale scale = {.scale = LOSS_SCALE_FIRST};
    if (!ok || r->graph->loss_scale == NO_TENSOR) return ok;
    return cpu_backend.copy_in(r->device, r->stream, r->offsets[r->graph->loss_scale], &scale, sizeof scale, err);
}

static uint64_t now_ns(const struct cpu_step *r)
{
    struct timespec now;
    if (r->threads != 1) return clock_now_ns();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return 1000000000ull * (uint64_t)now.tv_sec + (uint64_t)now.tv_nsec;
}

bool cpu_step_run(struct cpu_step *r, double *seconds, struct error *err)
{
    struct step step = {
        .number = r->done++, .learning_rate = 1e-3f, .momentum = 0.9f, .bn_momentum = 0.1f, .deviation = {1, 1, 1}};
    TRY(cpu_backend.set_step(r->device, r->stream, &step, err));
    for (size_t i = 0; i < r->graph->op_count; i++) {
        uint64_t begin = now_ns(r);
        TRY(cpu_backend.op_launch(r->ops[i], r->stream, err));
        seconds[i] = 1e-9 * (double)(now_ns(r) - begin);
    }
    return true;
}

bool cpu_step_init(struct cpu_step *r, const char *model, const struct graph_options *options, uint32_t threads,
                   struct error *err)
{
    struct model_spec spec;
    struct model_options defaults = MODEL_OPTIONS_DEFAULT;
    *r = (struct cpu_step){.threads = threads};
    TRY(model_parse(model, &defaults, &spec, err));
    r->graph = graph_build(&spec, options, err);
    if (!r->graph) return false;
    TRY(lay_out(r, err));
    TRY(cpu_backend.device_create(&(struct device_options){.threads = threads}, r->arena_bytes, &r->device, err));
    TRY(cpu_backend.stream_create(r->device, &r->stream, err));
    TRY(prepare(r, err));
    return fill(r, err);
}

void cpu_step_finish(struct cpu_step *r)
{
    for (size_t i = 0; r->ops && i < r->graph->op_count; i++)
        if (r->ops[i]) cpu_backend.op_release(r->ops[i]);
    cpu_backend.stream_destroy(r->stream);
    cpu_backend.device_destroy(r->device);
    mem_free(r->ops);
    mem_free(r->offsets);
    graph_destroy(r->graph);
}
