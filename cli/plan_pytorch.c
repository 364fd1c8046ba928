#include "plan_pytorch.h"

#include <inttypes.h>

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

bool plan_pytorch_make(const struct plan_request *request, struct torch_forecast *forecast, struct error *err)
{
    const struct device_spec *device = &request->machine->devices[0];
    return torch_forecast_make(&request->spec, request->batch, request->dtype, device, torch_workspace_estimate,
                               (void *)(uintptr_t)device, forecast, err);
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
    snprintf(out, size, "%s in PyTorch %s %s at batch %" PRIu32 ": nvidia-smi would show %s of %s", plan->spec.name,
             verdict_word(f->verdict), plan->devices[0].spec.name, plan->batch,
             units_format_bytes(f->shown_bytes, shown), units_format_bytes(f->usable_bytes, usable));
    return out;
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
        text_add(&text, "; convolutions work in up to %s, to turn NCHW tensors round",
                 units_format_bytes(torch->workspace_bytes, workspace));
    page_row_text(to, "unused at the peak", &text);
}

void plan_pytorch_print(const struct plan *plan, const struct torch_forecast *f, FILE *to)
{
    char lazy[UNITS_TEXT];
    fputc('\n', to);
    print_sides(plan, f, to);
    fputc('\n', to);
    page_row(to, "of its memory", "fathom's plan takes %.0f %%",
             100 * (double)plan->devices[0].peak_bytes / (double)f->shown_bytes);
    page_row(to, "kernels as used", "%s in PyTorch with CUDA from 11.7 on, which does not load all kernels at once",
             units_format_bytes(f->lazy_shown_bytes, lazy));
    print_unused(&f->memory, to);
    page_row(to, "workspaces", "estimated");
    page_row(to, "error", "3.0 %% at most against 15 peaks measured on an A100; it fits for sure with %.0f %% more",
             100 * TORCH_ERROR);
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

json_t *plan_pytorch_json(const struct plan *plan, const struct torch_forecast *f)
{
    static const char *const verdicts[] = {"fits", "close", "does-not-fit"};
    const struct torch_memory *torch = &f->memory;
    char sentence[WORDS_VERDICT];
    return json_pack(
        "{s:o, s:s, s:b, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "sentence",
        json_text(plan_pytorch_verdict(plan, f, sentence, sizeof sentence)), "verdict", verdicts[f->verdict], "fits",
        f->fits, "error", TORCH_ERROR, "shown_bytes", (json_int_t)f->shown_bytes, "lazy_shown_bytes",
        (json_int_t)f->lazy_shown_bytes, "usable_bytes", (json_int_t)f->usable_bytes, "peak_allocated_bytes",
        (json_int_t)torch->peak_allocated_bytes, "peak_reserved_bytes", (json_int_t)torch->peak_reserved_bytes,
        "context_bytes", (json_int_t)TORCH_CONTEXT_BYTES, "lazy_context_bytes", (json_int_t)TORCH_LAZY_CONTEXT_BYTES,
        "saved_bytes", (json_int_t)torch->saved_bytes, "parameter_bytes", (json_int_t)torch->parameter_bytes,
        "workspace_bytes", (json_int_t)torch->workspace_bytes, "steps", (json_int_t)torch->steps);
}
