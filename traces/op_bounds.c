#include "op_bounds.h"

#include <math.h>

static double rate(uint64_t amount, double seconds)
{
    return amount > 0 && seconds > 0 ? (double)amount / seconds : NAN;
}

static double least_seconds(uint64_t amount, double peak)
{
    return amount > 0 && peak > 0 ? (double)amount / peak : NAN;
}

struct roofline roofline_of(const struct rollup *rollup, const struct summary_row *row, double step_ns)
{
    const struct rollup_device *device = &rollup->devices[0];
    const double seconds = step_ns * 1e-9;
    struct roofline r = {rate(row->flops, seconds), rate(row->bytes_moved, seconds), ROOFLINE_UNKNOWN, NAN};
    const double computing = least_seconds(row->flops, device->peak_flops);
    const double moving = least_seconds(row->bytes_moved, device->peak_bandwidth);
    /* What has operations may be bound by them where their peak is not known. */
    if (!(seconds > 0) || isnan(moving) || (row->flops > 0 && isnan(computing))) return r;
    r.bound = computing > moving ? ROOFLINE_FLOPS : ROOFLINE_BYTES;
    r.share = (r.bound == ROOFLINE_FLOPS ? computing : moving) / seconds;
    return r;
}
