#include "colour.h"

#include "random.h"

static const double gray_weights[3] = {0.299, 0.587, 0.114};

/* Of ImageNet's training images, pixels as 0..1; vectors are columns (fb.resnet.torch, datasets/imagenet.lua). */
static const double eigenvalues[3] = {0.2175, 0.0188, 0.0045};
static const double eigenvectors[3][3] = {
    {-0.5675, 0.7192, 0.4009}, {-0.5808, -0.0045, -0.8140}, {-0.5836, -0.6948, 0.4203}};

/* ---- Drawing ---- */

/* All numbers are drawn whatever the amounts, so that one does not change what the other does. */
struct colour_choice colour_choose(struct colour_amounts amounts, uint64_t seed, uint64_t epoch, uint64_t image)
{
    struct random random = random_begin(seed, RANDOM_COLOUR, epoch, image);
    struct colour_choice choice = {.order = {COLOUR_BRIGHTNESS, COLOUR_CONTRAST, COLOUR_SATURATION}};
    for (uint32_t left = COLOUR_STEPS; left > 1; left--) { /* Fisher and Yates */
        uint32_t at = random_below(&random, left);
        enum colour_step step = choice.order[at];
        choice.order[at] = choice.order[left - 1];
        choice.order[left - 1] = step;
    }
    for (int step = 0; step < COLOUR_STEPS; step++)
        choice.factor[step] = 1 + amounts.jitter * (2 * random_real(&random) - 1);
    for (int component = 0; component < 3; component++) {
        double multiple = amounts.lighting * random_normal(&random) * eigenvalues[component];
        for (int channel = 0; channel < 3; channel++)
            choice.light[channel] += multiple * eigenvectors[channel][component];
    }
    return choice;
}

/* ---- Changing ---- */

/* x becomes matrix x + offset, pixels as 0..255. */
struct affine {
    double matrix[3][3], offset[3];
    double gray; /* its mean over the picture, once changed so far */
};

static void scale(struct affine *affine, double factor)
{
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++) affine->matrix[i][k] *= factor;
        affine->offset[i] *= factor;
    }
}

/* The gray of what comes out is a sum over what goes in, too. */
static void blend_gray(struct affine *affine, double share)
{
    double row[3] = {0}, offset = 0;
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++) row[k] += gray_weights[i] * affine->matrix[i][k];
        offset += gray_weights[i] * affine->offset[i];
    }
    scale(affine, 1 - share);
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++) affine->matrix[i][k] += share * row[k];
        affine->offset[i] += share * offset;
    }
}

/* Weights of gray sum to 1, so contrast and saturation leave its mean as it is. */
static void add_step(struct affine *affine, enum colour_step step, double factor)
{
    switch (step) {
    case COLOUR_BRIGHTNESS:
        scale(affine, factor);
        affine->gray *= factor;
        break;
    case COLOUR_CONTRAST:
        scale(affine, factor);
        for (int i = 0; i < 3; i++) affine->offset[i] += (1 - factor) * affine->gray;
        break;
    case COLOUR_SATURATION: blend_gray(affine, 1 - factor); break;
    case COLOUR_STEPS: break;
    }
}

static double mean_gray(const uint8_t *pixels, size_t count)
{
    uint64_t sums[3] = {0};
    double mean = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t channel = 0; channel < 3; channel++) sums[channel] += pixels[3 * i + channel];
    for (int channel = 0; channel < 3; channel++) mean += gray_weights[channel] * (double)sums[channel] / (double)count;
    return mean;
}

static uint8_t to_byte(float value) { return value <= 0 ? 0 : value >= 255 ? 255 : (uint8_t)(value + 0.5f); }

void colour_change(const struct colour_choice *choice, uint8_t *pixels, size_t count)
{
    struct affine affine = {.matrix = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}, .gray = mean_gray(pixels, count)};
    float m[3][3], offset[3];
    for (int i = 0; i < COLOUR_STEPS; i++) add_step(&affine, choice->order[i], choice->factor[choice->order[i]]);
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++) m[i][k] = (float)affine.matrix[i][k];
        offset[i] = (float)(affine.offset[i] + 255 * choice->light[i]);
    }
    for (uint8_t *pixel = pixels; pixel < pixels + 3 * count; pixel += 3) {
        const float red = pixel[0], green = pixel[1], blue = pixel[2];
        for (int i = 0; i < 3; i++) pixel[i] = to_byte(m[i][0] * red + m[i][1] * green + m[i][2] * blue + offset[i]);
    }
}
