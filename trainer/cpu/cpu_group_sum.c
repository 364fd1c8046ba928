/* Sums of devices' numbers, in the devices' order, a block at a time: so the sums may go where some of the numbers are.
 */
#include <string.h>

#include "convert.h"
#include "cpu_group_private.h"

#define BLOCK 512u /* numbers, on the stack */

#define DEFINE_SUM(name, type)                                                                                         \
    static void name(const struct meeting *m, uint64_t first, uint64_t count, uint32_t receivers)                      \
    {                                                                                                                  \
        type block[BLOCK];                                                                                             \
        memcpy(block, (const type *)m->numbers[0] + first, count * sizeof(type));                                      \
        for (uint32_t k = 1; k < m->size; k++) {                                                                       \
            const type *more = (const type *)m->numbers[k] + first;                                                    \
            for (uint64_t i = 0; i < count; i++) block[i] += more[i];                                                  \
        }                                                                                                              \
        for (uint32_t k = 0; k < receivers; k++) memcpy((type *)m->sums[k] + first, block, count * sizeof(type));      \
    }
DEFINE_SUM(sum_f32, float)
DEFINE_SUM(sum_f64, double)

/* f16 and bf16: in f32. */
static void sum_half(const struct meeting *m, uint64_t first, uint64_t count, uint32_t receivers)
{
    const struct conversions *convert = conversions_best();
    bool f16 = m->members[0].type == SUM_F16;
    float block[BLOCK] = {0}, more[BLOCK];
    for (uint32_t k = 0; k < m->size; k++) {
        (f16 ? convert->from_f16 : convert->from_bf16)(more, (const uint16_t *)m->numbers[k] + first, count);
        for (uint64_t i = 0; i < count; i++) block[i] += more[i];
    }
    for (uint32_t k = 0; k < receivers; k++)
        (f16 ? convert->to_f16 : convert->to_bf16)((uint16_t *)m->sums[k] + first, block, count);
}

void meeting_sum(const struct meeting *m, uint64_t first, uint64_t last, uint32_t receivers)
{
    for (uint64_t count; first < last; first += count) {
        count = last - first < BLOCK ? last - first : BLOCK;
        switch (m->members[0].type) {
        case SUM_F32: sum_f32(m, first, count, receivers); break;
        case SUM_F64: sum_f64(m, first, count, receivers); break;
        case SUM_F16:
        case SUM_BF16: sum_half(m, first, count, receivers); break;
        }
    }
}
