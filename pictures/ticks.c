#include "ticks.h"

#include <math.h>

double ticks_step(double span, int most)
{
    double raw = span / most, power = pow(10, floor(log10(raw)));
    if (raw <= power) return power;
    return raw <= 2 * power ? 2 * power : raw <= 5 * power ? 5 * power : 10 * power;
}

size_t ticks_list(double low, double high, double step, double ticks[TICKS_MOST])
{
    size_t count = 0;
    for (double n = ceil(low / step - 1e-9); n * step <= high * (1 + 1e-9) && count < TICKS_MOST; n++)
        ticks[count++] = n * step + 0.0; /* no -0 */
    return count;
}
