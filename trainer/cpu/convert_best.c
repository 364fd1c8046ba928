#include "convert_private.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <stdbool.h>

static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) && __builtin_cpu_supports("avx2") &&
           __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

void conversions_all(const struct conversions *sets[CONVERSION_SETS])
{
    size_t count = 0;
#ifdef __x86_64__
    if (has_avx512()) sets[count++] = &convert_avx512;
    if (has_f16c()) sets[count++] = &convert_avx2;
#endif
    sets[count++] = &convert_plain;
    sets[count] = NULL;
}

const struct conversions *conversions_best(void)
{
    const struct conversions *sets[CONVERSION_SETS];
    conversions_all(sets);
    return sets[0];
}
