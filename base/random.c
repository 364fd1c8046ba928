#include "random.h"

#include <math.h>

#include "hash.h"

struct random random_begin(uint64_t seed, enum random_purpose purpose, uint64_t a, uint64_t b)
{
    uint64_t words[3] = {(uint64_t)purpose, a, b};
    return (struct random){.seed = seed, .stream = hash_bytes(words, sizeof words, 0)};
}

void random_block(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint32_t random_next(struct random *random)
{
    uint32_t words[4];
    random_block(random->seed, random->stream, random->counter / 4, words);
    return words[random->counter++ % 4];
}

uint32_t random_below(struct random *random, uint32_t n)
{
    /* Lemire's multiply-and-reject (ACM TOMACS 2019). */
    uint64_t product = (uint64_t)random_next(random) * n;
    if ((uint32_t)product < n) {
        uint32_t threshold = (uint32_t)(-n) % n;
        while ((uint32_t)product < threshold) product = (uint64_t)random_next(random) * n;
    }
    return (uint32_t)(product >> 32);
}

double random_real(struct random *random)
{
    uint64_t high = random_next(random) >> 5, low = random_next(random) >> 6;
    return (double)((high << 26) | low) * 0x1p-53;
}

double random_normal(struct random *random)
{
    const double two_pi = 6.283185307179586476925;
    double u = 1.0 - random_real(random), v = random_real(random);
    return sqrt(-2.0 * log(u)) * cos(two_pi * v);
}
