/* A use of a GPU: whether it can be had, how it went, whether it is still wanted, and who hears of it. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "cuda_slots.h"

bool device_usable(const struct device *device, struct error *err)
{
    if (device->lost && err) *err = device->first;
    return !device->lost;
}

bool device_settle(struct device *device, bool ok, struct error *err)
{
    if (ok) return true;
    if (device->spoilt && !device->lost) {
        if (err) *err = device->first;
        device->first = (struct error){0};
        return false;
    }
    if (device->recording && !device->lost) error_prefix(&device->first, "while a step was recorded");
    device->lost = true;
    if (device->has_peers) device->busy = true; /* its sums may wait for others until they are given up */
    if (err) *err = device->first;
    return false;
}

bool device_is_stopped(const struct device *device)
{
    const struct stopping *stopping = device->options.stopping;
    return stopping && stopping->asked(stopping->context);
}

char *device_name(const struct device *device, char out[CUDA_DEVICE_NAME])
{
    snprintf(out, CUDA_DEVICE_NAME, "device %" PRIu32 ", %.*s", device->options.number,
             (int)sizeof device->properties.name, device->properties.name);
    return out;
}

void device_tell(const struct device *device, bool passing, const char *format, ...)
{
    const struct device_options *options = &device->options;
    char text[512];
    va_list arguments;
    if (!options->teller) return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    options->teller->tell(options->teller->context, options->number, text, passing);
}
