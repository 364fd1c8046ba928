#include "augment.h"

#include <math.h>
#include <string.h>

#include "random.h"

#define ORDER_ROUNDS     8 /* even, so that the halves' widths return to their places */
#define ORDER_LEAST_BITS 6 /* narrower halves would mix badly; the walk stays short */

/* A Feistel network over `bits` bits with Philox as its round function. The halves may differ by a bit; they change
 * places, widths included, in each round. */
static uint64_t mix_order(const struct random *stream, unsigned bits, uint64_t value)
{
    unsigned low = bits / 2, high = bits - low;
    uint64_t right = value & ((UINT64_C(1) << low) - 1), left = value >> low;
    for (uint64_t round = 0; round < ORDER_ROUNDS; round++) {
        uint32_t words[4];
        random_block(stream->seed, stream->stream, round << 48 | right, words);
        unsigned left_bits = round % 2 == 0 ? high : low;
        uint64_t mixed = left ^ (words[0] & ((UINT64_C(1) << left_bits) - 1));
        left = right;
        right = mixed;
    }
    return left << low | right;
}

/* Cycle walking (Black and Rogaway, CT-RSA 2002) restricts the permutation of a power of two to [0, count): no table,
 * and any position of any epoch is found at once when a run resumes. */
uint64_t augment_order(uint64_t seed, uint64_t epoch, uint64_t count, uint64_t index)
{
    struct random stream = random_begin(seed, RANDOM_ORDER, epoch, count);
    unsigned bits = ORDER_LEAST_BITS;
    while (bits < 62 && (UINT64_C(1) << bits) < count) bits++;
    do {
        index = mix_order(&stream, bits, index);
    } while (index >= count);
    return index;
}

uint64_t augment_sample(uint64_t count, uint64_t wanted, uint64_t index)
{
    uint64_t begin = index * count / wanted, end = (index + 1) * count / wanted;
    struct random random = random_begin(count, RANDOM_SAMPLE, wanted, index);
    return begin + random_below(&random, (uint32_t)(end - begin));
}

struct augment_shift augment_choose_shift(uint64_t seed, uint64_t epoch, uint64_t image, uint32_t pad)
{
    struct random random = random_begin(seed, RANDOM_AUGMENT, epoch, image);
    struct augment_shift shift = {0};
    shift.dx = (int32_t)random_below(&random, 2 * pad + 1) - (int32_t)pad;
    shift.dy = (int32_t)random_below(&random, 2 * pad + 1) - (int32_t)pad;
    shift.flip = random_below(&random, 2) == 1;
    return shift;
}

void augment_flip_row(float *row, uint32_t side)
{
    for (uint32_t left = 0, right = side - 1; left < right; left++, right--) {
        float pixel[3];
        memcpy(pixel, row + 3 * left, sizeof pixel);
        memcpy(row + 3 * left, row + 3 * right, sizeof pixel);
        memcpy(row + 3 * right, pixel, sizeof pixel);
    }
}

void augment_apply_shift(const float *from, uint32_t side, struct augment_shift shift, float *to)
{
    const size_t row_bytes = 3 * side * sizeof(float);
    int64_t length = side; /* signed, for columns and rows left of and above the image */
    int64_t begin = shift.dx < 0 ? -shift.dx : 0, end = shift.dx > 0 ? length - shift.dx : length;
    for (int64_t y = 0; y < length; y++) {
        float *row = to + 3 * y * length;
        int64_t source = y + shift.dy;
        memset(row, 0, row_bytes);
        if (source < 0 || source >= length || begin >= end) continue;
        memcpy(row + 3 * begin, from + 3 * (source * length + begin + shift.dx),
               (size_t)(end - begin) * 3 * sizeof(float));
        if (shift.flip) augment_flip_row(row, side);
    }
}

struct augment_view augment_choose_view(uint64_t seed, uint64_t epoch, uint64_t image, uint32_t width, uint32_t height,
                                        uint32_t size)
{
    struct random random = random_begin(seed, RANDOM_AUGMENT, epoch, image);
    double shorter = width < height ? width : height;
    double scaled = size * (256.0 + (480.0 - 256.0) * random_real(&random)) / 224.0;
    struct augment_view view = {.side = shorter * size / scaled};
    view.x = random_real(&random) * (width - view.side);
    view.y = random_real(&random) * (height - view.side);
    view.flip = random_below(&random, 2) == 1;
    return view;
}

/* The largest part of the middle whose aspect is not too far from a square's. */
static struct augment_view middle_area(double width, double height)
{
    struct augment_view view = {.side = fmin(width, height * AUGMENT_MOST_ASPECT)};
    view.down = fmin(height, width * AUGMENT_MOST_ASPECT);
    view.x = floor((width - view.side) / 2);
    view.y = floor((height - view.down) / 2);
    return view;
}

/* torchvision's, number by number: whole pixels, and ten tries. */
static bool try_area(struct random *random, uint32_t width, uint32_t height, struct augment_view *view)
{
    double area = (AUGMENT_LEAST_AREA + (1 - AUGMENT_LEAST_AREA) * random_real(random)) * width * height;
    double aspect = exp(log(AUGMENT_MOST_ASPECT) * (2 * random_real(random) - 1));
    double across = round(sqrt(area * aspect)), down = round(sqrt(area / aspect));
    if (across < 1 || down < 1 || across > width || down > height) return false;
    *view = (struct augment_view){.side = across, .down = down};
    view->x = random_below(random, width - (uint32_t)across + 1);
    view->y = random_below(random, height - (uint32_t)down + 1);
    return true;
}

struct augment_view augment_choose_area(uint64_t seed, uint64_t epoch, uint64_t image, uint32_t width, uint32_t height)
{
    struct random random = random_begin(seed, RANDOM_AUGMENT, epoch, image);
    struct augment_view view;
    bool found = false;
    for (int tries = 0; tries < 10 && !found; tries++) found = try_area(&random, width, height, &view);
    if (!found) view = middle_area(width, height);
    view.flip = random_below(&random, 2) == 1;
    return view;
}

struct augment_view augment_centre_view(uint32_t width, uint32_t height, double margin)
{
    double side = (width < height ? width : height) / margin;
    return (struct augment_view){.x = (width - side) / 2, .y = (height - side) / 2, .side = side};
}

/* Where one side of a crop begins and how long it is, in pixels of the picture: `place` -1 first, 0 middle, 1 last. Halves are
 * rounded to even, as Python does. */
static void cut_side(uint32_t side, uint32_t other, uint32_t size, uint32_t shorter, int place, double *begin,
                     double *length)
{
    uint32_t scaled = side <= other ? shorter : (uint32_t)((uint64_t)shorter * side / other);
    double pixel = (double)side / scaled;
    *length = scaled == size ? side : size * pixel;
    *begin = place < 0 ? 0 : place > 0 ? side - *length : rint((scaled - size) / 2.0) * pixel;
}

struct augment_view augment_crop_view(uint32_t width, uint32_t height, uint32_t size, uint32_t shorter, uint32_t crop)
{
    uint32_t place = crop % 5;
    struct augment_view view = {.flip = crop >= 5};
    cut_side(width, height, size, shorter, place == 0 ? 0 : place % 2 == 1 ? -1 : 1, &view.x, &view.side);
    cut_side(height, width, size, shorter, place == 0 ? 0 : place <= 2 ? -1 : 1, &view.y, &view.down);
    return view;
}
