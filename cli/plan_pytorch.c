#include "plan_pytorch.h"

#include <inttypes.h>

#include "mem.h"
#include "page.h"
#include "plan_words.h"
#include "printable.h"
#include "torch_workspace.h"
#include "units.h"

bool plan_pytorch_serves(const struct machine *machine)
{
    return machine->device_count == 1 && machine->devices[0].kind == DEVICE_GPU;
}

bool plan_pytorch_check(const struct machine *machine, struct error *err)
{
    if (plan_pytorch_serves(machine)) return true;
    if (machine->devices[0].kind != DEVICE_GPU)
        return error_set(err, ERROR_INPUT,
                         "--strategy pytorch: found for the cpu; it tells of one GPU, like --gpus a100-40gb");
    return error_set(err, ERROR_INPUT,
                     "--strategy pytorch: found for %zu devices; it tells of one GPU with its share of the batch",
                     machine->device_count);
}

/* ---- Workspaces ---- */

struct source {
    struct plan_engines *engines;
    const struct device_spec *device;
    bool asked; /* for all of the graph's convolutions */
};

static bool question_of(const struct graph *graph, const struct op *op, enum torch_pass pass, enum dtype dtype,
                        struct engine_question *question)
{
    static const enum engine_pass passes[] = {ENGINE_FORWARD, ENGINE_BACKWARD_DATA, ENGINE_BACKWARD_WEIGHTS};
    if (op->kind != OP_CONV || (pass == TORCH_BACKWARD_DATA && op->in[0] == graph->images)) return false;
    const uint32_t *image = graph->tensors[op->in[0]].dims, *kernel = op->attr.conv.kernel,
                   *padding = op->attr.conv.padding;
    *question = (struct engine_question){.pass = passes[pass],
                                         .dtype = dtype,
                                         .fused = ENGINE_CHANNELS_FIRST,
                                         .weights = dtype,
                                         .images = image[0],
                                         .height = image[1],
                                         .width = image[2],
                                         .channels = image[3],
                                         .filters = graph->tensors[op->in[1]].dims[0],
                                         .kernel = {kernel[0], kernel[1]},
                                         .stride = op->attr.conv.stride,
                                         .padding = {padding[0], padding[1]}};
    return true;
}

static bool ask_all(struct source *source, const struct graph *graph, enum dtype dtype, struct error *err)
{
    struct engine_question *questions = mem_alloc(MEM_PLAN, 3 * (size_t)graph->forward_end, sizeof *questions);
    struct engine_answer answer;
    size_t count = 0;
    if (!questions) return error_memory(err, 3 * (size_t)graph->forward_end * sizeof *questions, "questions");
    for (uint32_t i = 0; i < graph->forward_end; i++)
        for (int pass = TORCH_FORWARD; pass <= TORCH_BACKWARD_WEIGHTS; pass++)
            count += question_of(graph, &graph->ops[i], (enum torch_pass)pass, dtype, &questions[count]);
    if (count > 0) engines_answer_questions(source->engines->engines, questions, count, &answer);
    mem_free(questions);
    source->asked = true;
    return true;
}

/* PyTorch takes the first engine of cuDNN's heuristics, with TF32 and without a cap, deterministic or not. */
static bool workspace(void *context, const struct graph *graph, const struct op *op, enum torch_pass pass,
                      enum dtype dtype, uint64_t *bytes, struct error *err)
{
    struct source *source = context;
    struct engine_question question;
    struct engine_answer answer;
    const struct engine *engine = NULL;
    if (source->engines->engines && question_of(graph, op, pass, dtype, &question)) {
        if (!source->asked) TRY(ask_all(source, graph, dtype, err));
        if (engines_answer_questions(source->engines->engines, &question, 1, &answer))
            engine = engines_choose(&answer, &(struct engine_rules){.tf32 = true});
    }
    if (!engine) return torch_workspace_estimate((void *)(uintptr_t)source->device, graph, op, pass, dtype, bytes, err);
    *bytes = engine->workspace_bytes;
    return true;
}

bool plan_pytorch_make(const struct plan_request *request, struct plan_engines *engines,
                       struct torch_forecast *forecast, uint32_t *cudnn, struct error *err)
{
    struct source source = {.engines = engines, .device = &request->machine->devices[0]};
    TRY(torch_forecast_make(&request->spec, request->batch, request->dtype, source.device, workspace, &source, forecast,
                            err));
    *cudnn = engines->engines && !engines_fault(engines->engines) ? engines_cudnn(engines->engines) : 0;
    return true;
}

/* ---- Words ---- */

static const char *verdict_word(enum torch_verdict verdict)
{
    static const char *const words[] = {"fits", WORDS_CLOSE, "does not fit"};
    return words[verdict];
}

char *plan_pytorch_verdict(const struct plan *plan, const struct torch_forecast *f, char *out, size_t size)
{
    char shown[UNITS_TEXT], usable[UNITS_TEXT];
    units_format_bytes(f->shown_bytes, shown);
    units_format_bytes(f->usable_bytes, usable);
    int used = snprintf(out, size, "%s in PyTorch %s %s at batch %" PRIu32 ": ", plan->spec.name,
                        verdict_word(f->verdict), plan->devices[0].spec.name, plan->batch);
    if (used < 0 || (size_t)used >= size) return out;
    out += used;
    size -= (size_t)used;
    if (f->fits)
        snprintf(out, size, "nvidia-smi would show %s of %s", shown, usable);
    else
        snprintf(out, size, "it wants %s, and %s are there", shown, usable);
    return out - used;
}

static void print_pair(const char *label, uint64_t torch, uint64_t ours, FILE *to)
{
    char left[UNITS_TEXT], right[UNITS_TEXT];
    fprintf(to, "  %-*s %13s %13s\n", PAGE_LABEL, label, units_format_bytes(torch, left),
            units_format_bytes(ours, right));
}

static void print_sides(const struct plan *plan, const struct torch_forecast *f, FILE *to)
{
    const struct plan_device *device = &plan->devices[0];
    const struct torch_memory *torch = &f->memory;
    uint64_t arena = plan->variants[device->variant].arena_bytes;
    fprintf(to, "  %-*s %13s %13s\n", PAGE_LABEL, "", "PyTorch", "fathom");
    print_pair("kept until backward", torch->saved_bytes, device->classes[MEMORY_KEPT], to);
    print_pair("tensors at the peak", torch->peak_allocated_bytes, plan->variants[device->variant].lower_bound_bytes,
               to);
    print_pair("segments; arena", torch->peak_reserved_bytes, arena, to);
    print_pair("context, libraries", TORCH_CONTEXT_BYTES, device->peak_bytes - arena, to);
    print_pair("peak", f->shown_bytes, device->peak_bytes, to);
}

/* Why more is reserved than tensors ever take. */
static void print_unused(const struct torch_memory *torch, FILE *to)
{
    char unused[UNITS_TEXT], workspace[UNITS_TEXT];
    uint64_t bytes = torch->peak_reserved_bytes - torch->peak_allocated_bytes;
    struct text text = {0};
    text_add(&text, "%s of the segments (%.0f %%), which are never joined", units_format_bytes(bytes, unused),
             100 * (double)bytes / (double)torch->peak_reserved_bytes);
    if (torch->workspace_bytes > 0)
        text_add(&text, "; convolutions copy their operands into workspaces of up to %s",
                 units_format_bytes(torch->workspace_bytes, workspace));
    page_row_text(to, "unused at the peak", &text);
}

void plan_pytorch_print(const struct plan *plan, const struct torch_forecast *f, uint32_t cudnn, FILE *to)
{
    char lazy[UNITS_TEXT], version[ENGINE_VERSION_TEXT];
    fputc('\n', to);
    print_sides(plan, f, to);
    fputc('\n', to);
    page_row(to, "of its memory", "fathom's plan takes %.0f %%",
             100 * (double)plan->devices[0].peak_bytes / (double)f->shown_bytes);
    page_row(to, "kernels as used", "%s in PyTorch with CUDA from 11.7 on, which does not load all kernels at once",
             units_format_bytes(f->lazy_shown_bytes, lazy));
    print_unused(&f->memory, to);
    if (cudnn)
        page_row(to, "workspaces", "of cuDNN %s's engines for NCHW tensors", engine_version_words(cudnn, version));
    else
        page_row(to, "workspaces", "estimated; --engines auto asks cuDNN");
    page_row(to, "error",
             "3.0 %% at most against 15 peaks measured on an A100%s; to be told to fit it has to with %.0f %% more",
             plan->spec.family == FAMILY_RESNET ? "" : ", all of ResNets", 100 * TORCH_ERROR);
    if (f->verdict == TORCH_CLOSE)
        page_row(to, "close", "%s; cached memory that goes back in time may do",
                 f->fits ? "it fits, by less than the error" : "it does not fit, by less than what is not known");
}

void plan_pytorch_explain(const struct plan *plan, const struct torch_forecast *f, FILE *to)
{
    char sentence[WORDS_VERDICT];
    fputc('\n', to);
    page_say(to, 0, 2, "%s", PRINTABLE(plan_pytorch_verdict(plan, f, sentence, sizeof sentence)));
    print_sides(plan, f, to);
    page_say(to, 2, 2, "--strategy pytorch says more");
}

json_t *plan_pytorch_json(const struct plan *plan, const struct torch_forecast *f, uint32_t cudnn)
{
    static const char *const verdicts[] = {"fits", "close", "does-not-fit"};
    const struct torch_memory *torch = &f->memory;
    char sentence[WORDS_VERDICT], version[ENGINE_VERSION_TEXT];
    json_t *asked = cudnn ? json_string(engine_version_words(cudnn, version)) : json_null();
    return json_pack("{s:o, s:o, s:s, s:b, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
                     "sentence", json_text(plan_pytorch_verdict(plan, f, sentence, sizeof sentence)), "cudnn", asked,
                     "verdict", verdicts[f->verdict], "fits", f->fits, "error", TORCH_ERROR, "shown_bytes",
                     (json_int_t)f->shown_bytes, "lazy_shown_bytes", (json_int_t)f->lazy_shown_bytes, "usable_bytes",
                     (json_int_t)f->usable_bytes, "peak_tensor_bytes", (json_int_t)torch->peak_tensor_bytes,
                     "peak_allocated_bytes", (json_int_t)torch->peak_allocated_bytes, "peak_reserved_bytes",
                     (json_int_t)torch->peak_reserved_bytes, "context_bytes", (json_int_t)TORCH_CONTEXT_BYTES,
                     "lazy_context_bytes", (json_int_t)TORCH_LAZY_CONTEXT_BYTES, "saved_bytes",
                     (json_int_t)torch->saved_bytes, "parameter_bytes", (json_int_t)torch->parameter_bytes,
                     "workspace_bytes", (json_int_t)torch->workspace_bytes, "steps", (json_int_t)torch->steps);
}
