#include "dashboard.h"

#include "mem.h"
#include "panels.h"
#include "rows.h"
#include "screen_layout.h"

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
