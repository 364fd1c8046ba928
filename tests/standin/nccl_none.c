/* Where there is no header of NCCL. */
#include "vendor.h"

bool nccl_is_used;

bool nccl_sum_run(struct nccl_sum *sum, const struct clock *clock, uint8_t lane)
{
    (void)sum;
    (void)clock;
    (void)lane;
    return true;
}
