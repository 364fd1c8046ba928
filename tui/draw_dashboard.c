#include "dashboard.h"

#include "mem.h"
#include "panels.h"
#include "rows.h"
#include "screen_layout.h"

void dashboard_init(struct dashboard *dashboard) { *dashboard = (struct dashboard){.speed = 1}; }

void dashboard_finish(struct dashboard *dashboard)
{
    rows_finish(&dashboard->ops);
    rows_finish(&dashboard->kernels);
    tree_finish(&dashboard->tree);
    mem_free(dashboard->live.values);
    mem_free(dashboard->loss.values);
    *dashboard = (struct dashboard){0};
}

static void forget_rows(struct row_list *list)
{
    const size_t selected = list->selected, scroll = list->scroll;
    rows_finish(list);
    list->selected = selected;
    list->scroll = scroll;
}

void dashboard_forget(struct dashboard *dashboard)
{
    forget_rows(&dashboard->ops);
    forget_rows(&dashboard->kernels);
    tree_forget(&dashboard->tree);
    dashboard->offload.of = NULL;
    dashboard->live.made = dashboard->loss.made = dashboard->tensors.made = false;
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
    dashboard->kernels.count = dashboard->kernels.waiting = 0;
    dashboard->renewals++;
    if (kernels) TRY(dashboard_update_kernels(dashboard, rollup, err));
    TRY(rows_update(dashboard, rollup, err));
    TRY(tree_update(&dashboard->tree, rollup, err));
    keep_inside(&dashboard->ops);
    return true;
}

static bool knows_memory(const struct rollup_device *device)
{
    bool known = device->planned_bytes || device->arena_bytes || device->classes;
    for (int sample = 0; sample < TRACE_SAMPLES; sample++) known = known || device->used_known[sample];
    return known;
}

/* An imported trace has neither. While a run goes on its losses may still come. */
static struct layout_below below_table(const struct rollup *rollup)
{
    bool no_loss = rollup->ended && rollup->unreported >> METRIC_LOSS & 1;
    struct layout_below below = {.memory = !rollup->has_run, .loss = !no_loss};
    for (uint32_t i = 0; i < rollup->device_count && i < ROLLUP_MOST_DEVICES; i++)
        below.memory = below.memory || knows_memory(&rollup->devices[i]);
    return below;
}

void dashboard_draw(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas)
{
    uint32_t gpus[ROLLUP_MOST_DEVICES];
    canvas_clear(canvas);
    struct layout layout =
        layout_for(dashboard->view, canvas->rows, canvas->columns, dashboard_gpus(rollup, gpus), below_table(rollup));
    panel_gpus(dashboard, rollup, canvas, layout.gpus);
    panel_header(dashboard, rollup, canvas, layout.header);
    panel_ops(dashboard, rollup, canvas, layout.ops);
    panel_layers(dashboard, rollup, canvas, layout.layers);
    panel_memory(dashboard, rollup, canvas, layout.memory);
    panel_loss(dashboard, rollup, canvas, layout.loss);
    panel_kernels(dashboard, rollup, canvas, layout.kernels);
    panel_footer(dashboard, rollup, canvas, layout.footer);
    if (dashboard->help) panel_help(dashboard, canvas);
}
