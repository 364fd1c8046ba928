#include "dashboard.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "panels.h"
#include "rows.h"
#include "screen_layout.h"

const char *view_name(enum view view)
{
    static const char *const names[VIEWS] = {"overview", "ops", "layers", "memory", "loss"};
    return names[view];
}

const char *op_sort_name(enum op_sort sort)
{
    static const char *const names[OP_SORTS] = {"time", "mean", "p99", "count", "FLOP/s", "order", "name"};
    return names[sort];
}

void dashboard_init(struct dashboard *dashboard) { *dashboard = (struct dashboard){0}; }

void dashboard_finish(struct dashboard *dashboard)
{
    mem_free(dashboard->rows);
    tree_finish(&dashboard->tree);
    *dashboard = (struct dashboard){0};
}

bool dashboard_update(struct dashboard *dashboard, const struct rollup *rollup, struct error *err)
{
    if (dashboard->paused) return true;
    TRY(rows_update(dashboard, rollup, err));
    TRY(tree_update(&dashboard->tree, rollup, err));
    if (dashboard->selected >= dashboard->row_count)
        dashboard->selected = dashboard->row_count ? dashboard->row_count - 1 : 0;
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
    static const struct {
        uint64_t unit;
        const char *name;
    } units[] = {{1000000000, "s"}, {1000000, "ms"}, {1000, "us"}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (ns < units[i].unit) continue;
        double value = (double)ns / (double)units[i].unit;
        snprintf(out, 16, "%.*f %s", value < 10 ? 2 : value < 100 ? 1 : 0, value, units[i].name);
        return out;
    }
    snprintf(out, 16, "%" PRIu64 " ns", ns);
    return out;
}

void dashboard_draw(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas)
{
    canvas_clear(canvas);
    struct layout layout = layout_for(dashboard->view, canvas->rows, canvas->columns);
    panel_header(dashboard, rollup, canvas, layout.header);
    panel_ops(dashboard, rollup, canvas, layout.ops);
    panel_layers(dashboard, rollup, canvas, layout.layers);
    panel_memory(dashboard, rollup, canvas, layout.memory);
    panel_loss(dashboard, rollup, canvas, layout.loss);
    panel_footer(dashboard, rollup, canvas, layout.footer);
    if (dashboard->help) panel_help(canvas);
}
