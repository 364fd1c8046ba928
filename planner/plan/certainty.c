#include "certainty.h"

const char *certainty_name(enum certainty_verdict verdict)
{
    static const char *const names[] = {"fits", "close", "does-not-fit"};
    return names[verdict];
}

static uint64_t error_of(const struct plan_device *device)
{
    if (device->spec.kind == DEVICE_CPU) return (uint64_t)(CERTAINTY_CPU_ERROR * (double)device->peak_bytes);
    return (uint64_t)(CERTAINTY_CONTEXT_ERROR * (double)device->classes[MEMORY_CONTEXT] +
                      CERTAINTY_COMM_ERROR * (double)device->classes[MEMORY_COMMUNICATION]);
}

static enum certainty_verdict judge(uint64_t peak, uint64_t error, uint64_t usable)
{
    if (peak + error <= usable) return CERTAINTY_FITS;
    return peak - error <= usable ? CERTAINTY_CLOSE : CERTAINTY_UNFIT;
}

struct certainty certainty_of_device(const struct plan *plan, size_t index)
{
    const struct plan_device *device = &plan->devices[index];
    uint64_t arena = plan->variants[device->variant].arena_bytes, error = error_of(device);
    return (struct certainty){.exact_bytes = arena,
                              .modelled_bytes = device->peak_bytes - arena,
                              .error_bytes = error,
                              .measured = device->spec.kind == DEVICE_CPU,
                              .verdict = judge(device->peak_bytes, error, device_usable_bytes(&device->spec))};
}

static int64_t bytes_left(const struct plan *plan, size_t device)
{
    const struct plan_device *d = &plan->devices[device];
    return (int64_t)device_usable_bytes(&d->spec) - (int64_t)d->peak_bytes;
}

struct certainty certainty_of(const struct plan *plan)
{
    struct certainty worst = certainty_of_device(plan, 0);
    size_t of = 0;
    for (size_t d = 1; d < plan->device_count; d++) {
        struct certainty other = certainty_of_device(plan, d);
        bool tighter = other.verdict == worst.verdict && bytes_left(plan, d) < bytes_left(plan, of);
        if (other.verdict <= worst.verdict && !tighter) continue;
        worst = other;
        of = d;
    }
    return worst;
}
