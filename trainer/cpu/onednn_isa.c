#include "onednn_isa.h"

#include <pthread.h>

#include "onednn_calls.h"

static uint32_t vector_floats;
static bool multiplies_bf16;

static void find_vectors(void)
{
    if (!onednn_load(NULL)) return; /* whoever makes a kernel says why */
    dnnl_cpu_isa_t isa = dnnl.get_effective_cpu_isa();
    multiplies_bf16 = (isa & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
    if ((isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core)
        vector_floats = 16;
    else if ((isa & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2)
        vector_floats = 8;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* How weights are stored hangs on it: the first answer stays, should oneDNN find its room later. */
uint32_t onednn_vector_floats(void)
{
    pthread_once(&once, find_vectors);
    return vector_floats;
}

bool onednn_multiplies_bf16(void)
{
    pthread_once(&once, find_vectors);
    return multiplies_bf16;
}
