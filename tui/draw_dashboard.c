#include "dashboard.h"

#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "panels.h"
#include "rows.h"
#include "screen_layout.h"
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

bool dashboard_devices_apart(const struct dashboard *dashboard)
{
    return (dashboard->group == GROUP_OP) != dashboard->devices_toggled;
}

bool dashboard_has_gpus(const struct rollup *rollup) { return rollup->has_run && strcmp(rollup->backend, "cpu") != 0; }

void dashboard_init(struct dashboard *dashboard) { *dashboard = (struct dashboard){0}; }

void dashboard_finish(struct dashboard *dashboard)
{
    rows_finish(&dashboard->ops);
    rows_finish(&dashboard->kernels);
    tree_finish(&dashboard->tree);
    mem_free(dashboard->live.values);
    mem_free(dashboard->loss.values);
    *dashboard = (struct dashboard){0};
}

static void keep_inside(struct row_list *list)
{
    if (list->selected >= list->count) list->selected = list->count ? list->count - 1 : 0;
}

bool dashboard_update_kernels(struct dashboard *dashboard, const struct rollup *rollup, struct error *err)
{
    TRY(rows_update_kernels(dashboard, rollup, err));
    keep_inside(&dashboard->kernels);
    return true;
}

bool dashboard_update(struct dashboard *dashboard, const struct rollup *rollup, struct error *err)
{
    bool kernels = dashboard->view == VIEW_KERNELS;
    if (dashboard->paused)
        return !kernels || dashboard->kernels.count > 0 || dashboard_update_kernels(dashboard, rollup, err);
    dashboard->kernels.count = 0;
    dashboard->renewals++;
    if (kernels) TRY(dashboard_update_kernels(dashboard, rollup, err));
    TRY(rows_update(dashboard, rollup, err));
    TRY(tree_update(&dashboard->tree, rollup, err));
    keep_inside(&dashboard->ops);
    return true;
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

void dashboard_draw(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas)
{
    uint32_t gpus[ROLLUP_MOST_DEVICES];
    canvas_clear(canvas);
    struct layout layout = layout_for(dashboard->view, canvas->rows, canvas->columns, dashboard_gpus(rollup, gpus));
    panel_gpus(dashboard, rollup, canvas, layout.gpus);
    panel_header(dashboard, rollup, canvas, layout.header);
    panel_ops(dashboard, rollup, canvas, layout.ops);
    panel_layers(dashboard, rollup, canvas, layout.layers);
    panel_memory(dashboard, rollup, canvas, layout.memory);
    panel_loss(dashboard, rollup, canvas, layout.loss);
    panel_kernels(dashboard, rollup, canvas, layout.kernels);
    panel_footer(dashboard, rollup, canvas, layout.footer);
    if (dashboard->help) panel_help(canvas);
}
