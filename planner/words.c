#include "words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "units.h"

const char *words_memory_class(enum memory_class class_)
{
    static const char *const labels[MEMORY_CLASSES] = {[MEMORY_WEIGHTS] = "weights",
                                                       [MEMORY_GRADIENTS] = "gradients",
                                                       [MEMORY_MOMENTUM] = "momentum",
                                                       [MEMORY_KEPT] = "kept activations",
                                                       [MEMORY_TRANSIENT] = "transients",
                                                       [MEMORY_WORKSPACE] = "workspace",
                                                       [MEMORY_INPUT] = "input",
                                                       [MEMORY_COMMUNICATION] = "communication",
                                                       [MEMORY_CONTEXT] = "context, libraries",
                                                       [MEMORY_RESERVE] = "reserve"};
    return labels[class_];
}

static bool alike(const struct plan_device *a, const struct plan_device *b)
{
    return strcmp(a->spec.name, b->spec.name) == 0 && a->spec.memory_bytes == b->spec.memory_bytes;
}

/* Adds to a text that may be full already: then it ends in "...". */
__attribute__((format(printf, 3, 4))) static void append(char *out, size_t size, const char *format, ...)
{
    size_t used = strlen(out);
    va_list args;
    va_start(args, format);
    int length = vsnprintf(out + used, size - used, format, args);
    va_end(args);
    if (length > 0 && (size_t)length >= size - used && size > 4) memcpy(out + size - 4, "...", 4);
}

static size_t run_length(const struct plan *plan, size_t first)
{
    size_t count = 1;
    while (first + count < plan->device_count && alike(&plan->devices[first], &plan->devices[first + count])) count++;
    return count;
}

char *words_devices(const struct plan *plan, char *out, size_t size)
{
    out[0] = '\0';
    for (size_t i = 0; i < plan->device_count;) {
        size_t count = run_length(plan, i);
        if (i > 0) append(out, size, " + ");
        if (count > 1) append(out, size, "%zu x ", count);
        append(out, size, "%s", plan->devices[i].spec.name);
        i += count;
    }
    return out;
}

/* "7.40 of 12.0 GiB": in the memory's unit. */
static void append_peak(char *out, size_t size, const struct plan_device *device)
{
    char memory[UNITS_TEXT];
    units_format_bytes(device->spec.memory_bytes, memory);
    double unit = device->spec.memory_bytes >= 1ull << 30 ? 1ull << 30 : 1ull << 20;
    double peak = (double)device->peak_bytes / unit;
    append(out, size, "%.*f of %s", peak < 10 ? 2 : 1, peak, memory);
}

static const struct plan_device *largest_peak(const struct plan *plan, size_t first, size_t count)
{
    const struct plan_device *largest = &plan->devices[first];
    for (size_t i = 1; i < count; i++)
        if (plan->devices[first + i].peak_bytes > largest->peak_bytes) largest = &plan->devices[first + i];
    return largest;
}

static void append_recomputed(char *out, size_t size, const struct plan *plan)
{
    double extra = 0;
    for (size_t v = 0; v < plan->variant_count; v++)
        if (plan->variants[v].extra_flops_fraction > extra) extra = plan->variants[v].extra_flops_fraction;
    if (extra > 0)
        append(out, size, "; %.1f %% more computation", 100 * extra);
    else
        append(out, size, "; nothing recomputed");
}

char *words_verdict(const struct plan *plan, char *out, size_t size)
{
    char devices[160];
    out[0] = '\0';
    append(out, size, "%s %s %s at batch %u", plan->spec.name, plan->fits ? "fits" : "does not fit",
           words_devices(plan, devices, sizeof devices), plan->batch);
    if (plan->devices[0].micro_batches > 1) append(out, size, " in %u micro-batches", plan->devices[0].micro_batches);
    append(out, size, ": peak ");
    for (size_t i = 0; i < plan->device_count;) {
        size_t count = run_length(plan, i);
        if (i > 0) append(out, size, ", ");
        append_peak(out, size, largest_peak(plan, i, count));
        if (count < plan->device_count) append(out, size, " on %s", plan->devices[i].spec.name);
        if (count > 1) append(out, size, count == plan->device_count ? " on each" : " each");
        i += count;
    }
    if (plan->fits) append_recomputed(out, size, plan);
    return out;
}
