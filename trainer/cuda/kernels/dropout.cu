// Dropout with the masks that base/random.h draws: Philox4x32-10 (Salmon et al., SC 2011), a word for each element.
#include "types.cuh"

#define RANDOM_DROPOUT 4 // of enum random_purpose

__device__ inline uint64_t fold(uint64_t a, uint64_t b) { return a * b ^ __umul64hi(a, b); }

// XXH3 (github.com/Cyan4973/xxHash) of three words: the name of a stream of random numbers.
__device__ inline uint64_t hash_words(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t hash = 24 * 0x9E3779B185EBCA87u;
    hash += fold(a ^ 0xbe4ba423396cfeb8u, b ^ 0x1cad21f72c81017cu);
    hash += fold(b ^ 0xdb979083e96dd4deu, c ^ 0x1f67b3b7a4a44072u);
    hash = (hash ^ hash >> 37) * 0x165667919E3779F9u;
    return hash ^ hash >> 32;
}

struct words { uint32_t at[4]; };

__device__ inline words random_block(uint64_t seed, uint64_t stream, uint64_t block)
{
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const uint32_t n0 = __umulhi(0xCD9E8D57u, c2) ^ c1 ^ k0, n2 = __umulhi(0xD2511F53u, c0) ^ c3 ^ k1;
        c1 = 0xCD9E8D57u * c2;
        c3 = 0xD2511F53u * c0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

template <class T, int V>
__device__ inline void drop_some(const struct dropout_arguments &a, uint64_t element, const uint32_t random[V])
{
    float x[V];
    load<T, V>(a.x, element, x);
#pragma unroll
    for (int k = 0; k < V; k++) x[k] = random[k] < a.threshold ? 0 : x[k] * a.keep;
    store<T, V>(a.y, element, x);
}

// Four elements share a block of random words.
template <class T> __device__ inline void dropout(const struct dropout_arguments &a)
{
    const struct step_block &s = *a.step;
    const uint64_t stream = hash_words(RANDOM_DROPOUT, s.number << 24 | s.micro_batch, a.source);
    for (uint64_t block = grid_first(); block * 4 < a.count; block += grid_step()) {
        const words random = random_block(s.seed, stream, block);
        if (block < a.vectors)
            drop_some<T, 4>(a, block * 4, random.at);
        else
            for (uint64_t i = block * 4; i < a.count && i < block * 4 + 4; i++) drop_some<T, 1>(a, i, &random.at[i % 4]);
    }
}

KERNEL_OF_EACH(dropout, dropout_arguments)
