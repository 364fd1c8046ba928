/* What things are called on the screen, their colours, and times in few cells. */
#include <stdio.h>
#include <string.h>

#include "dashboard.h"
#include "units.h"

const char *view_name(enum view view)
{
    static const char *const names[VIEWS] = {"overview", "ops", "layers", "memory", "loss", "kernels"};
    return names[view];
}

const char *op_sort_name(enum op_sort sort)
{
    static const char *const names[OP_SORTS] = {"time", "mean", "p99", "count", "FLOP/s", "order", "name"};
    return names[sort];
}

const char *row_group_name(enum row_group group)
{
    static const char *const names[GROUPS] = {"op", "kind", "layer", "pass"};
    return names[group];
}

enum ink pass_ink(const char *pass)
{
    static const struct {
        const char *pass;
        enum ink ink;
    } inks[] = {{"forward", INK_FORWARD},   {"recompute", INK_RECOMPUTE}, {"reconstruct", INK_RECOMPUTE},
                {"backward", INK_BACKWARD}, {"comm", INK_COMM},           {"offload", INK_COMM},
                {"fetch", INK_COMM},        {"update", INK_UPDATE}};
    for (size_t i = 0; i < sizeof inks / sizeof inks[0]; i++)
        if (strcmp(pass, inks[i].pass) == 0) return inks[i].ink;
    return INK_PLAIN;
}

char *format_ns(uint64_t ns, char out[16])
{
    char text[UNITS_TEXT];
    double seconds = (double)ns * 1e-9;
    if (seconds < 90)
        snprintf(out, 16, "%s", units_format_seconds(seconds, text));
    else if (seconds < 9999.5)
        snprintf(out, 16, "%.0f s", seconds);
    else
        snprintf(out, 16, "%.*f h", seconds < 360000 ? 1 : 0, seconds / 3600);
    return out;
}
