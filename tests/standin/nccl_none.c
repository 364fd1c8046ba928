/* Where there is no header of NCCL. */
#include "vendor.h"

bool nccl_is_used;

bool nccl_sums_on(const struct device *device)
{
    (void)device;
    return false;
}

bool nccl_sum_run(struct nccl_sum *sum, const struct clock *clock, uint8_t lane)
{
    (void)sum;
    (void)clock;
    (void)lane;
    return true;
}

void nccl_sum_free(struct nccl_sum *sum) { (void)sum; }
