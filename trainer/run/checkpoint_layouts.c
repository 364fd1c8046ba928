/* How numbers lie in memory, and how in a file. */
#include <string.h>

#include "checkpoint_private.h"
#include "mem.h"

static uint64_t kernel_elements(const struct checkpoint_tensor *t)
{
    return (uint64_t)t->kernel[1] * t->kernel[2] * t->kernel[3];
}

float *checkpoint_kernel_room(const struct checkpoint_tensors *tensors)
{
    uint64_t most = 1;
    for (size_t i = 0; i < tensors->count; i++) {
        struct checkpoint_tensor tensor;
        tensors->describe(tensors->context, i, &tensor);
        if (kernel_elements(&tensor) > most) most = kernel_elements(&tensor);
    }
    return mem_alloc(MEM_GENERAL, most, sizeof(float));
}

/* Turns each of `count` matrices of rows x columns in place. */
static void transpose(float *values, uint64_t count, uint64_t rows, uint64_t columns, float *room)
{
    uint64_t elements = rows * columns;
    for (uint64_t k = 0; k < count && rows > 1 && columns > 1; k++, values += elements) {
        memcpy(room, values, elements * sizeof *room);
        for (uint64_t r = 0; r < rows; r++)
            for (uint64_t c = 0; c < columns; c++) values[c * rows + r] = room[r * columns + c];
    }
}

void checkpoint_swap_floats(float *values, uint64_t count)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits = __builtin_bswap32(bits);
        memcpy(&values[i], &bits, sizeof bits);
    }
#else
    (void)values;
    (void)count;
#endif
}

void checkpoint_to_file(const struct checkpoint_tensor *t, float *values, float *kernel)
{
    transpose(values, t->kernel[0], (uint64_t)t->kernel[1] * t->kernel[2], t->kernel[3], kernel);
    checkpoint_swap_floats(values, checkpoint_elements(t));
}

void checkpoint_from_file(const struct checkpoint_tensor *t, float *values, float *kernel)
{
    checkpoint_swap_floats(values, checkpoint_elements(t));
    transpose(values, t->kernel[0], t->kernel[3], (uint64_t)t->kernel[1] * t->kernel[2], kernel);
}
