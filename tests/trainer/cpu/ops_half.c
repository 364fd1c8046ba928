/* 16-bit floats: every value and every rounding, in every instruction set; and the loss scale of f16. */
#include <criterion/criterion.h>

#include "convert.h"
#include "ops_world.h"

#define HALVES 65536u

/* Criterion's own take a microsecond each, and here are millions. */
#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) cr_assert(false, __VA_ARGS__);                                                               \
    } while (0)

struct format {
    const char *name;
    enum dtype dtype;
    int exponent_bits, fraction_bits;
};
static const struct format formats[] = {{"f16", DTYPE_F16, 5, 10}, {"bf16", DTYPE_BF16, 8, 7}};

static uint16_t infinity_of(const struct format *f)
{
    return (uint16_t)(((1u << f->exponent_bits) - 1) << f->fraction_bits);
}

/* What the bits mean, by the definition. */
static double meaning(const struct format *f, uint16_t bits)
{
    int bias = (1 << (f->exponent_bits - 1)) - 1, exponent = bits >> f->fraction_bits & ((1 << f->exponent_bits) - 1);
    int fraction = bits & ((1 << f->fraction_bits) - 1);
    double size = exponent == 0 ? ldexp(fraction, 1 - bias - f->fraction_bits)
                                : ldexp((1 << f->fraction_bits) + fraction, exponent - bias - f->fraction_bits);
    if ((bits & 0x7fff) == infinity_of(f)) size = INFINITY;
    if ((bits & 0x7fff) > infinity_of(f)) size = NAN;
    return bits & 0x8000 ? -size : size;
}

static void widen(const struct conversions *set, const struct format *f, float *out, const uint16_t *in, size_t n)
{
    (f->dtype == DTYPE_F16 ? set->from_f16 : set->from_bf16)(out, in, n);
}

static void narrow(const struct conversions *set, const struct format *f, uint16_t *out, const float *in, size_t n)
{
    (f->dtype == DTYPE_F16 ? set->to_f16 : set->to_bf16)(out, in, n);
}

static uint16_t bits_in[HALVES], bits_out[HALVES];
static float floats[HALVES];

static void check_values(const struct conversions *set, const struct format *f)
{
    for (uint32_t i = 0; i < HALVES; i++) bits_in[i] = (uint16_t)i;
    widen(set, f, floats, bits_in, HALVES);
    narrow(set, f, bits_out, floats, HALVES);
    for (uint32_t i = 0; i < HALVES; i++) {
        double wanted = meaning(f, (uint16_t)i), found = (double)floats[i];
        bool none = isnan(wanted);
        CHECK(none ? isnan(found) : found == wanted, "%s %04x is %g, not %g", f->name, i, found, wanted);
        CHECK((signbit(floats[i]) != 0) == i >> 15, "%s %04x loses its sign", f->name, i);
        CHECK(float_bits(floats[i]) == float_bits(half_value(f->dtype, (uint16_t)i)), "%s %04x", f->name, i);
        CHECK(none || bits_out[i] == i, "%s %04x comes back as %04x", f->name, i, bits_out[i]);
        CHECK(!none || (isnan(meaning(f, bits_out[i])) && bits_out[i] >> 15 == i >> 15), "%s %04x", f->name, i);
    }
}

/* Between each value and the next (of sign `sign`): the middle goes to the even one, all else to the nearer one. */
static void check_roundings(const struct conversions *set, const struct format *f, uint16_t sign)
{
    uint16_t count = infinity_of(f);
    static float middle[HALVES];
    for (uint16_t i = 0; i < count; i++) {
        uint32_t a = float_bits(half_value(f->dtype, i)), b = float_bits(half_value(f->dtype, (uint16_t)(i + 1)));
        middle[i] = (float)((meaning(f, i) + meaning(f, (uint16_t)(i + 1))) / 2);
        if (i + 1 == count)
            middle[i] = float_from_bits(a + (a - float_bits(half_value(f->dtype, (uint16_t)(i - 1)))) / 2);
        CHECK(float_bits(middle[i]) > a && float_bits(middle[i]) < b, "%s %04x", f->name, i);
    }
    for (int step = -1; step <= 1; step++) {
        for (uint16_t i = 0; i < count; i++)
            floats[i] = float_from_bits((float_bits(middle[i]) + (uint32_t)step) | (uint32_t)sign << 16);
        narrow(set, f, bits_out, floats, count);
        for (uint16_t i = 0; i < count; i++) {
            uint16_t up = step > 0 || (step == 0 && i % 2 == 1), wanted = (uint16_t)((i + up) | sign);
            CHECK(bits_out[i] == wanted, "%s: %a becomes %04x, not %04x", f->name, (double)floats[i], bits_out[i],
                  wanted);
            CHECK(half_bits(f->dtype, floats[i]) == wanted, "%s: %a", f->name, (double)floats[i]);
        }
    }
}

static void check_extremes(const struct conversions *set, const struct format *f)
{
    const float large[] = {INFINITY, 3.4e38f, 1e-45f, 0, float_from_bits(0x7f800001u)};
    const uint16_t infinite = infinity_of(f);
    uint16_t out[10];
    for (int i = 0; i < 5; i++) floats[2 * i] = large[i], floats[2 * i + 1] = -large[i];
    narrow(set, f, out, floats, 10);
    cr_expect_eq(out[0], infinite);
    cr_expect_eq(out[1], infinite | 0x8000);
    cr_expect_eq(out[3], out[2] | 0x8000);
    if (f->dtype == DTYPE_F16) cr_expect_eq(out[2], infinite);
    cr_expect(out[4] == 0 && out[5] == 0x8000 && out[6] == 0 && out[7] == 0x8000);
    cr_expect(isnan(meaning(f, out[8])) && isnan(meaning(f, out[9])), "%s: NaN becomes %04x", f->name, out[8]);
}

/* Vectors and what is left over give the same, wherever a range begins. */
static void check_lengths(const struct conversions *set, const struct format *f)
{
    struct random r = random_begin(4, RANDOM_SYNTHETIC, 0, 0);
    float values[80], back[80];
    uint16_t bits[81];
    for (int i = 0; i < 80; i++) values[i] = (float)random_normal(&r);
    for (size_t n = 0; n <= 67; n++) {
        size_t first = n % 7;
        memset(bits, 0xA5, sizeof bits);
        narrow(set, f, bits, values + first, n);
        cr_assert_eq(bits[n], 0xA5A5, "%s writes more than %d", f->name, (int)n);
        widen(set, f, back, bits, n);
        for (size_t i = 0; i < n; i++) {
            cr_assert_eq(bits[i], half_bits(f->dtype, values[first + i]));
            cr_assert(back[i] == half_value(f->dtype, bits[i]));
        }
    }
}

Test(half, converts_every_value_and_rounds_to_nearest_even)
{
    const struct conversions *sets[CONVERSION_SETS];
    conversions_all(sets);
    cr_assert_eq(sets[0], conversions_best());
    for (size_t i = 0; sets[i]; i++)
        for (size_t k = 0; k < 2; k++) {
            check_values(sets[i], &formats[k]);
            check_roundings(sets[i], &formats[k], 0);
            check_roundings(sets[i], &formats[k], 0x8000);
            check_extremes(sets[i], &formats[k]);
            check_lengths(sets[i], &formats[k]);
        }
}

/* ---- The loss scale ---- */

static const struct backend *const backends[] = {&cpu_backend, &cpu_reference_backend};

static struct loss_scale *scale_of(struct world *w) { return w->values[LOSS_SCALE]; }

static void begin(struct world *w, const struct backend *backend, const struct ops_case *c)
{
    world_init(w, backend, c);
    world_randomize(w, 9);
    w->scaled = true;
    w->step.scale_streak = 3;
    *scale_of(w) = (struct loss_scale){.scale = 1024};
}

static void run(struct world *w, enum op_kind kind)
{
    struct error err = {0};
    cr_assert(world_run(w, kind, PASS_UPDATE, &err), "%s: %s", op_kind_name(kind), err.text);
    cr_expect(w->canaries_held, "%s", op_kind_name(kind));
}

/* A bucket of 20,001 gradients: two parameters with a gap, whose bytes mean nothing. */
static void check_found(const struct backend *backend, uint64_t at, float value, bool first, bool before, bool wanted)
{
    const struct ops_case c = {.name = "bucket", .kind = OP_UPDATE, .x = {1, 1, 1, 20001}};
    struct world w;
    begin(&w, backend, &c);
    w.tensors[DW].of = w.tensors[W].view_of = w.tensors[BIAS].view_of = 77;
    w.tensors[W].dims[3] = 12000;
    w.tensors[BIAS].view_offset = 12016 * sizeof(float);
    w.tensors[BIAS].dims[3] = 20001 - 12016;
    w.sync = !first;
    world_f32(&w, DW)[at] = value;
    scale_of(&w)->found = before;
    run(&w, OP_GRADIENT_CHECK);
    cr_expect_eq(scale_of(&w)->found != 0, wanted, "%s: %g at %d", backend->name, (double)value, (int)at);
    cr_expect_eq(scale_of(&w)->scale, 1024);
    world_finish(&w);
}

Test(half, the_gradient_check_finds_what_is_no_number)
{
    for (int b = 0; b < 2; b++) {
        const uint64_t places[] = {0, 11999, 12016, 20000, 7777};
        for (size_t i = 0; i < 5; i++) {
            check_found(backends[b], places[i], INFINITY, true, false, true);
            check_found(backends[b], places[i], NAN, false, false, true);
            check_found(backends[b], places[i], 3e38f, true, false, false);
        }
        check_found(backends[b], 12000, NAN, true, false, false);
        check_found(backends[b], 12015, INFINITY, true, false, false);
        check_found(backends[b], 5, 0, false, true, true);
        check_found(backends[b], 5, 0, true, true, false);
    }
}

Test(half, the_scale_grows_after_a_streak_and_halves_on_overflow)
{
    const struct ops_case c = {.name = "scale", .kind = OP_RELU, .x = {1, 1, 1, 4}};
    for (int b = 0; b < 2; b++) {
        struct world w;
        begin(&w, backends[b], &c);
        struct loss_scale *s = scale_of(&w);
        static const float scales[] = {1024, 1024, 2048, 2048, 1024, 1024, 1024, 2048},
                           streaks[] = {1, 2, 0, 1, 0, 1, 2, 0};
        for (int i = 0; i < 8; i++) {
            s->found = i == 4;
            run(&w, OP_LOSS_SCALE_UPDATE);
            cr_expect_eq(s->scale, scales[i], "step %d", i);
            cr_expect_eq(s->streak, streaks[i], "step %d", i);
            cr_expect_eq(s->skipped, i >= 4);
        }
        *s = (struct loss_scale){.scale = LOSS_SCALE_MOST, .streak = 2};
        run(&w, OP_LOSS_SCALE_UPDATE);
        cr_expect_eq(s->scale, LOSS_SCALE_MOST);
        *s = (struct loss_scale){.scale = LOSS_SCALE_LEAST, .found = 1};
        run(&w, OP_LOSS_SCALE_UPDATE);
        cr_expect_eq(s->scale, LOSS_SCALE_LEAST);
        world_finish(&w);
    }
}

/* Gradients that are as many times too large change parameters by the same bits; overflow changes nothing. */
Test(half, the_update_divides_by_the_scale_or_is_skipped)
{
    const struct ops_case c = {.name = "bucket", .kind = OP_UPDATE, .x = {1, 1, 1, 20001}, .relu = true};
    for (int b = 0; b < 2; b++) {
        struct world plain, scaled;
        begin(&plain, backends[b], &c);
        begin(&scaled, backends[b], &c);
        plain.scaled = false;
        uint64_t bytes = plain.tensors[W].bytes;
        for (uint64_t i = 0; i < 20001; i++) world_f32(&scaled, DW)[i] *= 1024;
        run(&plain, OP_UPDATE);
        run(&scaled, OP_UPDATE);
        for (uint64_t i = 0; i < 20001; i++)
            cr_assert_float_eq(world_f32(&plain, W)[i], world_f32(&scaled, W)[i], 1e-6);
        memcpy(plain.values[W], scaled.values[W], bytes);
        memcpy(plain.values[MOMENTUM], scaled.values[MOMENTUM], bytes);
        scale_of(&scaled)->found = 1;
        world_f32(&scaled, DW)[7] = NAN;
        run(&scaled, OP_UPDATE);
        cr_expect(memcmp(plain.values[W], scaled.values[W], bytes) == 0, "a skipped step changes parameters");
        cr_expect(memcmp(plain.values[MOMENTUM], scaled.values[MOMENTUM], bytes) == 0);
        world_finish(&plain);
        world_finish(&scaled);
    }
}

/* The loss's gradient is so many times as large. */
Test(half, the_loss_is_multiplied_by_the_scale)
{
    const struct ops_case c = {.name = "ten classes", .kind = OP_SOFTMAX_LOSS, .x = {16, 1, 1, 10}};
    for (int b = 0; b < 2; b++) {
        struct world plain, scaled;
        begin(&plain, backends[b], &c);
        begin(&scaled, backends[b], &c);
        plain.scaled = false;
        run(&plain, OP_SOFTMAX_LOSS_BWD);
        run(&scaled, OP_SOFTMAX_LOSS_BWD);
        for (uint64_t i = 0; i < 160; i++) cr_assert_eq(world_f32(&plain, DX)[i] * 1024, world_f32(&scaled, DX)[i]);
        world_finish(&plain);
        world_finish(&scaled);
    }
}
