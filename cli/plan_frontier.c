#include "plan_frontier.h"

#include <inttypes.h>

#include "page.h"
#include "units.h"

static void print_point(const struct frontier *frontier, const struct frontier_point *point, const char *mark, FILE *to)
{
    char peak[UNITS_TEXT], arena[UNITS_TEXT], host[UNITS_TEXT] = "-", step[UNITS_TEXT] = "unknown";
    units_format_bytes(point->peak_bytes, peak);
    if (frontier->by_share) snprintf(peak, sizeof peak, "%.1f %%", 100 * point->memory_share);
    if (point->offloaded_bytes > 0) units_format_bytes(point->offloaded_bytes, host);
    if (point->step_seconds > 0) units_format_seconds(point->step_seconds, step);
    fprintf(to, "%-2s%9s %9s  %-11s %5" PRIu32 " %14.1f %% %9s %9s%s\n", mark, peak,
            units_format_bytes(point->arena_bytes, arena), recompute_policy_name(point->recompute),
            point->recomputed_convolutions, 100 * point->extra_flops_fraction, host, step,
            point->memory_share > 1 ? " *" : "");
}

/* The first point runs again whatever it can, but for shares, which end where a device is full. */
static void print_least(const struct frontier *frontier, FILE *to)
{
    const struct frontier_point *point = &frontier->points[0];
    char peak[UNITS_TEXT], step[UNITS_TEXT];
    struct text text = {0};
    if (frontier->by_share || frontier->count == 0) return;
    text_add(&text, "least memory: %s a device, with %.1f %% more computation",
             units_format_bytes(point->peak_bytes, peak), 100 * point->extra_flops_fraction);
    if (point->step_seconds > 0)
        text_add(&text, ", %s a step (predicted)", units_format_seconds(point->step_seconds, step));
    page_text(to, 2, 2, &text);
}

void plan_frontier_print(const struct frontier *frontier, FILE *to)
{
    bool beyond = false;
    fprintf(to, "\n  %9s %9s  %-11s %5s %16s %9s %9s\n", frontier->by_share ? "of memory" : "peak", "arena",
            "recompute", "convs", "more computation", "in host", "step");
    for (size_t i = 0; i < frontier->count; i++) {
        print_point(frontier, &frontier->points[i], i == frontier->own_index ? ">" : "", to);
        beyond |= frontier->points[i].memory_share > 1;
    }
    if (frontier->own_index < frontier->count)
        fputs("  > this plan\n", to);
    else if (frontier->own.peak_bytes > 0)
        page_say(to, 2, 2, "this plan, in %" PRIu32 " micro-batch%s, is beaten by one of these",
                 frontier->own.micro_batches, frontier->own.micro_batches == 1 ? "" : "es");
    if (frontier->by_share)
        page_say(to, 2, 2, "memory and arena are the fullest device's; shares of the batch are chosen for each plan");
    if (beyond) fputs("  * more than the device has\n", to);
    print_least(frontier, to);
}
