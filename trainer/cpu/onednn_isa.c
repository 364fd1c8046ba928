#include "onednn_isa.h"

#include "onednn_calls.h"

uint32_t onednn_vector_floats(void)
{
    if (!onednn_load(NULL)) return 0; /* whoever makes a kernel says why */
    dnnl_cpu_isa_t isa = dnnl.get_effective_cpu_isa();
    if ((isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core) return 16;
    return (isa & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2 ? 8 : 0;
}
