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

void chain_relax(float *restrict best, const float *restrict x, const float *restrict y, float constant, size_t n)
{
    if (x && y)
        relax_both(best, x, y, constant, n);
    else if (x || y)
        relax_one(best, x ? x : y, constant, n);
    else
        relax_constant(best, constant, n);
}
