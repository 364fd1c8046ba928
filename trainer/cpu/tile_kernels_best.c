#include "tile_kernels_private.h"

const struct tile_kernels *tile_kernels_of(uint32_t lanes)
{
#ifdef __x86_64__
    if (lanes == tile_kernels_avx512.lanes && __builtin_cpu_supports("avx512f")) return &tile_kernels_avx512;
    if (lanes == tile_kernels_avx2.lanes && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &tile_kernels_avx2;
#endif
    return lanes == tile_kernels_plain.lanes ? &tile_kernels_plain : NULL;
}
