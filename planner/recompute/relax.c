/* The inner loop of the program, for the vector units at hand. */
#include "chain_private.h"
#include "vector_units.h"

FOR_VECTOR_UNITS
static void relax_both(float *restrict best, const float *restrict x, const float *restrict y, float constant, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float value = constant + (x[i] + y[i]);
        best[i] = value < best[i] ? value : best[i];
    }
}

FOR_VECTOR_UNITS
static void relax_one(float *restrict best, const float *restrict x, float constant, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float value = constant + x[i];
        best[i] = value < best[i] ? value : best[i];
    }
}

FOR_VECTOR_UNITS
static void relax_constant(float *restrict best, float constant, size_t n)
{
    for (size_t i = 0; i < n; i++) best[i] = constant < best[i] ? constant : best[i];
}

FOR_VECTOR_UNITS
static void relax_four(float *restrict best, const float *a, const float *b, const float *c, const float *d,
                       const float *constants, size_t n)
{
    const float of_a = constants[0], of_b = constants[1], of_c = constants[2], of_d = constants[3];
    for (size_t i = 0; i < n; i++) {
        float by_a = of_a + a[i], by_b = of_b + b[i], by_c = of_c + c[i], by_d = of_d + d[i];
        float least = by_a < by_b ? by_a : by_b, other = by_c < by_d ? by_c : by_d;
        least = other < least ? other : least;
        best[i] = least < best[i] ? least : best[i];
    }
}

void chain_relax(float *restrict best, const float *restrict x, const float *restrict y, float constant, size_t n)
{
    if (x && y)
        relax_both(best, x, y, constant, n);
    else if (x || y)
        relax_one(best, x ? x : y, constant, n);
    else
        relax_constant(best, constant, n);
}

void chain_relax_together(float *restrict best, const float *const rows[CHAIN_TOGETHER],
                          const float constants[CHAIN_TOGETHER], size_t n)
{
    relax_four(best, rows[0], rows[1], rows[2], rows[3], constants, n);
}
