#include "cuda_ops.h"

_Static_assert(DTYPE_F32 == 0 && DTYPE_F16 == 1 && DTYPE_BF16 == 2, "kernels of a family are in the order of dtypes");

static bool see_dtype(const struct prepared *p, const struct tensor *tensor, bool *seen, enum dtype *dtype,
                      struct error *err)
{
    if (!tensor) return true;
    if (tensor->dtype > DTYPE_BF16)
        return error_set(err, ERROR_FAILED, "op %s: the cuda backend has no kernel for %s",
                         op_kind_name(p->call.op->kind), dtype_name(tensor->dtype));
    if (*seen && tensor->dtype != *dtype)
        return error_set(err, ERROR_FAILED, "op %s: operands of %s and of %s; the cuda backend wants one type",
                         op_kind_name(p->call.op->kind), dtype_name(*dtype), dtype_name(tensor->dtype));
    *seen = true;
    *dtype = tensor->dtype;
    return true;
}

bool cuda_op_dtype(const struct prepared *p, unsigned inputs, unsigned outputs, enum dtype *dtype, struct error *err)
{
    bool seen = false;
    *dtype = DTYPE_F32;
    for (unsigned i = 0; i < p->call.op->inputs; i++)
        if (inputs >> i & 1) TRY(see_dtype(p, p->call.in_tensor[i], &seen, dtype, err));
    for (unsigned i = 0; i < p->call.op->outputs; i++)
        if (outputs >> i & 1) TRY(see_dtype(p, p->call.out_tensor[i], &seen, dtype, err));
    return true;
}

struct launch_shape cuda_grid(const struct prepared *p, uint64_t items)
{
    const uint64_t most = 8u * (uint64_t)p->device->properties.multiProcessorCount; /* 2,048 threads each */
    uint64_t blocks = (items + KERNEL_THREADS - 1) / KERNEL_THREADS;
    if (blocks == 0) blocks = 1;
    return (struct launch_shape){.blocks = (uint32_t)(blocks < most ? blocks : most), .threads = KERNEL_THREADS};
}

uint64_t cuda_vectors(uint64_t elements, uint64_t element_bytes, const void *a, const void *b, const void *c)
{
    const bool aligned = ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) % 16 == 0;
    return aligned ? elements * element_bytes / 16 : 0;
}
