// Products of matrices, by tiles in shared memory: fully connected layers. A thread has 2 x 2 elements of the result.
#include "types.cuh"

#define TILE PRODUCT_TILE

// Elements [from, from + TILE) by [other, other + TILE) of a matrix to tile[.][.], 0 outside; along_first: neighbours in memory
// go along the first index.
__device__ inline void load_tile(float *tile, const struct kernel_operand &m, uint32_t from, uint32_t firsts,
                                 uint64_t first_step, uint32_t other, uint32_t others, uint64_t other_step)
{
    const bool along_first = first_step < other_step;
    for (uint32_t t = threadIdx.x; t < TILE * TILE; t += KERNEL_THREADS) {
        const uint32_t i = along_first ? t % TILE : t / TILE, j = along_first ? t / TILE : t % TILE;
        const bool inside = from + i < firsts && other + j < others;
        tile[i * (TILE + 1) + j] = inside ? element_at(m, (from + i) * first_step + (other + j) * other_step) : 0;
    }
}

extern "C" __global__ void KERNEL_BOUNDS product(struct product_arguments p)
{
    float *a = static_cast<float *>(shared_memory()), *b = a + TILE * (TILE + 1);
    const uint32_t row = blockIdx.y * TILE, column = blockIdx.x * TILE;
    const uint32_t y = threadIdx.x / (TILE / 2), x = threadIdx.x % (TILE / 2);
    float sum[2][2] = {};
    for (uint32_t k = 0; k < p.depth; k += TILE) {
        float part[2][2] = {}; // long sums of short sums: what they lose grows with neither's length alone
        __syncthreads();
        load_tile(a, p.a, row, p.rows, p.a_i, k, p.depth, p.a_k);
        load_tile(b, p.b, k, p.depth, p.b_k, column, p.columns, p.b_j);
        __syncthreads();
#pragma unroll 8
        for (uint32_t l = 0; l < TILE; l++)
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 2; j++)
                    part[i][j] = fmaf(a[(y + i * TILE / 2) * (TILE + 1) + l], b[l * (TILE + 1) + x + j * TILE / 2], part[i][j]);
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++) sum[i][j] += part[i][j];
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            const uint32_t r = row + y + i * TILE / 2, c = column + x + j * TILE / 2;
            if (r >= p.rows || c >= p.columns) continue;
            set_element(p.out, p.out_type, (uint64_t)r * p.columns + c, sum[i][j] + (p.bias ? p.bias[c] : 0));
        }
}

#undef TILE
