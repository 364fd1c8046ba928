#include "split_estimate.h"

/* What one more image costs a device: seconds, or the share of its room. The largest images * cost is made least. */
enum split_rule { SPLIT_BY_TIME, SPLIT_BY_MEMORY };

static uint64_t room_bytes(const struct split_device *device)
{
    return device->memory_bytes > device->fixed_bytes ? device->memory_bytes - device->fixed_bytes : 0;
}

static uint32_t most_images(const struct split_device *device, uint32_t batch)
{
    uint64_t room = room_bytes(device);
    uint64_t most = device->bytes_per_image ? room / device->bytes_per_image : room ? batch : 0;
    if (most < 1) return 1;
    return most > batch ? batch : (uint32_t)most;
}

static double image_cost(const struct split_device *device, enum split_rule rule)
{
    if (rule == SPLIT_BY_TIME) return device->seconds_per_image;
    double room = (double)room_bytes(device), bytes = (double)device->bytes_per_image;
    return (bytes > 0 ? bytes : 1) / (room > 0 ? room : 1);
}

static uint32_t images_within(const struct split_device *device, enum split_rule rule, bool bounded, double limit,
                              uint32_t batch)
{
    uint32_t most = bounded ? most_images(device, batch) : batch;
    double images = limit / image_cost(device, rule);
    if (images < 1) return 1;
    return images >= (double)most ? most : (uint32_t)images;
}

static uint64_t fill(const struct split_device *devices, size_t count, enum split_rule rule, bool bounded, double limit,
                     uint32_t batch, uint32_t *images)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        images[i] = images_within(&devices[i], rule, bounded, limit, batch);
        total += images[i];
    }
    return total;
}

/* The device that ends first with one image more; the first of equals; count when all are full. */
static size_t cheapest_device(const struct split_device *devices, size_t count, enum split_rule rule, bool bounded,
                              uint32_t batch, const uint32_t *images)
{
    size_t best = count;
    double least = 0;
    for (size_t i = 0; i < count; i++) {
        if (bounded && images[i] >= most_images(&devices[i], batch)) continue;
        double cost = ((double)images[i] + 1) * image_cost(&devices[i], rule);
        if (best < count && cost >= least) continue;
        best = i;
        least = cost;
    }
    return best;
}

/* Bisects the common limit to the largest one at which no more than the batch is given out: what is left is less than
 * an image per device, and goes out one by one. */
static void share(const struct split_device *devices, size_t count, enum split_rule rule, bool bounded, uint32_t batch,
                  uint32_t *images)
{
    double low = 0, high = 0;
    for (size_t i = 0; i < count; i++) {
        double all = image_cost(&devices[i], rule) * ((double)batch + 1);
        if (all > high) high = all;
    }
    for (int i = 0; i < 100; i++) {
        double middle = (low + high) / 2;
        if (fill(devices, count, rule, bounded, middle, batch, images) <= batch)
            low = middle;
        else
            high = middle;
    }
    uint64_t given = fill(devices, count, rule, bounded, low, batch, images);
    for (; given < batch; given++) images[cheapest_device(devices, count, rule, bounded, batch, images)]++;
}

bool split_estimate(const struct split_device *devices, size_t count, uint32_t batch, uint32_t *images,
                    struct error *err)
{
    if (batch < count)
        return error_set(err, ERROR_INPUT,
                         "--batch: %u images cannot be shared by %zu devices; at least %zu are wanted", batch, count,
                         count);
    uint64_t room = 0;
    bool timed = true;
    for (size_t i = 0; i < count; i++) {
        room += most_images(&devices[i], batch);
        timed = timed && devices[i].seconds_per_image > 0;
    }
    bool bounded = room >= batch;
    share(devices, count, timed && bounded ? SPLIT_BY_TIME : SPLIT_BY_MEMORY, bounded, batch, images);
    return true;
}
