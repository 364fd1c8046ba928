#include <string.h>

#include <criterion/criterion.h>

#include "random.h"
#include "split_estimate.h"

#define GIB (1ull << 30)

static uint64_t sum(const uint32_t *images, size_t count)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) total += images[i];
    return total;
}

Test(split, equal_devices_differ_by_one_at_most)
{
    struct split_device devices[4];
    uint32_t images[4];
    struct error err = {0};
    for (int i = 0; i < 4; i++) devices[i] = (struct split_device){12 * GIB, GIB, 76 << 20, 0};
    cr_assert(split_estimate(devices, 2, 128, images, &err));
    cr_assert_eq(images[0], 64);
    cr_assert_eq(images[1], 64);
    cr_assert(split_estimate(devices, 4, 130, images, &err));
    const uint32_t wanted[] = {33, 33, 32, 32};
    cr_assert_eq(memcmp(images, wanted, sizeof wanted), 0);
}

Test(split, a_smaller_card_gets_a_smaller_share)
{
    const struct split_device devices[] = {{12 * GIB, GIB, 76 << 20, 0}, {24 * GIB, GIB, 76 << 20, 0}};
    uint32_t images[2];
    struct error err = {0};
    cr_assert(split_estimate(devices, 2, 102, images, &err));
    cr_assert_eq(images[0], 33, "%u", images[0]);
    cr_assert_eq(images[1], 69);
    cr_assert(split_estimate(devices, 2, 10000, images, &err));
    cr_assert_eq(sum(images, 2), 10000);
    cr_assert_lt(images[0], images[1]);
}

Test(split, known_speeds_balance_time_within_memory)
{
    struct split_device devices[] = {{12 * GIB, GIB, 100 << 20, 0.003}, {12 * GIB, GIB, 100 << 20, 0.001}};
    uint32_t images[2];
    struct error err = {0};
    cr_assert(split_estimate(devices, 2, 100, images, &err));
    cr_assert_eq(images[0], 25);
    cr_assert_eq(images[1], 75);
    devices[1].memory_bytes = 5 * GIB; /* 40 images at most */
    cr_assert(split_estimate(devices, 2, 100, images, &err));
    cr_assert_eq(images[1], 40);
    cr_assert_eq(images[0], 60);
}

Test(split, refuses_fewer_images_than_devices)
{
    const struct split_device devices[3] = {{GIB, 0, 1, 0}, {GIB, 0, 1, 0}, {GIB, 0, 1, 0}};
    uint32_t images[3] = {7, 7, 7};
    struct error err = {0};
    cr_assert_not(split_estimate(devices, 3, 2, images, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert_eq(images[0], 7);
}

/* The least largest time by trying every common limit that some device can have. */
static double best_time(const struct split_device *devices, size_t count, uint32_t batch)
{
    double best = 1e300;
    for (size_t d = 0; d < count; d++)
        for (uint32_t n = 1; n <= batch; n++) {
            double limit = n * devices[d].seconds_per_image;
            uint64_t total = 0;
            for (size_t i = 0; i < count; i++) {
                uint64_t most = (devices[i].memory_bytes - devices[i].fixed_bytes) / devices[i].bytes_per_image;
                uint64_t fast = (uint64_t)(limit / devices[i].seconds_per_image + 1e-9);
                total += fast < most ? fast : most;
                if (fast < 1) total = 0, i = count;
            }
            if (total >= batch && limit < best) best = limit;
        }
    return best;
}

Test(split, property_sums_bounds_and_least_time)
{
    struct random random = random_begin(1, RANDOM_SEARCH, 0, 0);
    for (int round = 0; round < 400; round++) {
        struct split_device devices[6];
        uint32_t images[6], again[6];
        struct error err = {0};
        size_t count = 1 + random_below(&random, 6);
        uint64_t room = 0;
        for (size_t i = 0; i < count; i++) {
            devices[i] =
                (struct split_device){(4 + random_below(&random, 40)) * GIB, GIB,
                                      (1 + random_below(&random, 200)) << 20, 0.001 * (1 + random_below(&random, 9))};
            room += (devices[i].memory_bytes - GIB) / devices[i].bytes_per_image;
        }
        uint32_t batch = (uint32_t)count + random_below(&random, 200);
        cr_assert(split_estimate(devices, count, batch, images, &err));
        cr_assert(split_estimate(devices, count, batch, again, &err));
        cr_assert_eq(memcmp(images, again, count * sizeof *images), 0);
        cr_assert_eq(sum(images, count), batch);
        double slowest = 0;
        for (size_t i = 0; i < count; i++) {
            cr_assert_geq(images[i], 1);
            double seconds = images[i] * devices[i].seconds_per_image;
            if (seconds > slowest) slowest = seconds;
            if (room >= batch) cr_assert_leq(images[i] * devices[i].bytes_per_image, devices[i].memory_bytes - GIB);
        }
        if (room >= batch) cr_assert_float_eq(slowest, best_time(devices, count, batch), 1e-9, "round %d", round);
    }
}

Test(split, property_more_memory_never_means_fewer_images)
{
    struct random random = random_begin(2, RANDOM_SEARCH, 0, 0);
    for (int round = 0; round < 100; round++) {
        struct split_device devices[3];
        uint32_t images[3], last = 0;
        struct error err = {0};
        for (int i = 0; i < 3; i++)
            devices[i] = (struct split_device){(6 + random_below(&random, 20)) * GIB, GIB, 90 << 20,
                                               round % 2 ? 0.001 * (1 + random_below(&random, 9)) : 0};
        uint32_t batch = 3 + random_below(&random, 300);
        for (uint64_t gib = 2; gib < 64; gib += 2) {
            devices[1].memory_bytes = gib * GIB;
            cr_assert(split_estimate(devices, 3, batch, images, &err));
            /* Where the memories together become large enough the rule changes from room to time. */
            if (round % 2 == 0) cr_assert_geq(images[1], last, "round %d, %zu GiB", round, (size_t)gib);
            last = images[1];
        }
    }
}
