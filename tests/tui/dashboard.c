#include <stdlib.h>

#include <criterion/criterion.h>

#include "dashboard.h"
#include "mem.h"
#include "screen_layout.h"
#include "tui_rollup.h"

static struct dashboard ready(const struct rollup *rollup)
{
    struct dashboard dashboard;
    struct error err = {0};
    dashboard_init(&dashboard);
    cr_assert(dashboard_update(&dashboard, rollup, &err), "%s", err.text);
    return dashboard;
}

static void press(struct dashboard *dashboard, const struct rollup *rollup, const char *keys)
{
    for (; *keys; keys++) dashboard_key(dashboard, rollup, (uint32_t)*keys);
    struct error err = {0};
    cr_assert(dashboard_update(dashboard, rollup, &err), "%s", err.text);
}

Test(dashboard, sorts_by_time_first)
{
    const struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    cr_assert_eq(dashboard.row_count, 7);
    cr_assert_str_eq(dashboard.rows[0].kind, "conv_bwd_weights");
    cr_assert_str_eq(dashboard.rows[6].kind, "sgd_update");
    for (enum op_sort sort = SORT_TOTAL; sort != SORT_ORDER; sort = (sort + 1) % OP_SORTS)
        press(&dashboard, rollup, "s");
    cr_assert_eq(dashboard.sort, SORT_ORDER);
    for (uint32_t i = 0; i < 7; i++) cr_assert_eq(dashboard.rows[i].first, i);
    dashboard_finish(&dashboard);
}

Test(dashboard, every_pass_has_its_colour_and_its_whole_name)
{
    static const char *const passes[] = {"forward", "recompute", "backward",    "comm",
                                         "update",  "offload",   "reconstruct", "fetch"};
    const struct rollup *rollup = example_rollup();
    for (size_t i = 0; i < 8; i++) {
        struct canvas canvas;
        struct error err = {0};
        struct text text = {0};
        cr_assert_neq(pass_ink(passes[i]), INK_PLAIN, "%s", passes[i]);
        example_ops[0].pass = passes[i];
        struct dashboard dashboard = ready(rollup);
        cr_assert(canvas_init(&canvas, 50, 200, false, &err), "%s", err.text);
        dashboard_draw(&dashboard, rollup, &canvas);
        canvas_print(&canvas, &text);
        cr_assert(strstr(text.bytes, passes[i]), "%s", passes[i]);
        text_finish(&text);
        canvas_finish(&canvas);
        dashboard_finish(&dashboard);
    }
}

Test(dashboard, filters_whatever_the_case)
{
    const struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, "/BN1");
    cr_assert(dashboard.filter_open);
    cr_assert_eq(dashboard.row_count, 2);
    dashboard_key(&dashboard, rollup, DASHBOARD_ERASE);
    press(&dashboard, rollup, "\n");
    cr_assert_not(dashboard.filter_open);
    cr_assert_str_eq(dashboard.filter, "BN");
    press(&dashboard, rollup, "/q");
    cr_assert_not(dashboard.quit, "a letter in the filter is not a command");
    dashboard_key(&dashboard, rollup, DASHBOARD_ESCAPE);
    press(&dashboard, rollup, "");
    cr_assert_eq(dashboard.row_count, 7);
    dashboard_finish(&dashboard);
}

Test(dashboard, groups_add_up)
{
    const struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, "g");
    cr_assert_eq(dashboard.row_count, 6, "two forward convolutions are one line");
    uint64_t total = 0;
    for (size_t i = 0; i < dashboard.row_count; i++) total += dashboard.rows[i].total_ns;
    cr_assert_eq(total, rollup_total_ns(rollup));
    dashboard_finish(&dashboard);
}

Test(dashboard, paused_shows_what_was)
{
    struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, " ");
    rollup->op_count = 3;
    press(&dashboard, rollup, "");
    cr_assert_eq(dashboard.row_count, 7);
    press(&dashboard, rollup, " ");
    cr_assert_eq(dashboard.row_count, 3);
    dashboard_finish(&dashboard);
}

Test(dashboard, selection_stays_inside)
{
    const struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, "kkk");
    cr_assert_eq(dashboard.selected, 0);
    dashboard_key(&dashboard, rollup, DASHBOARD_LAST);
    press(&dashboard, rollup, "jjjjjjjjj");
    cr_assert_eq(dashboard.selected, 6);
    press(&dashboard, rollup, "/stem\n");
    cr_assert_eq(dashboard.selected, 0);
    dashboard_finish(&dashboard);
}

Test(tree, adds_up_by_pass)
{
    const struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    const struct tree_node *root = &dashboard.tree.nodes[0];
    cr_assert_eq(root->total_ns, rollup_total_ns(rollup));
    cr_assert_eq(root->ns[TREE_RECOMPUTE], 4000000);
    cr_assert_eq(root->ns[TREE_BACKWARD], 90000000);
    cr_assert_eq(dashboard.tree.visible_count, 3, "stem, stage1, update");
    dashboard_finish(&dashboard);
}

Test(tree, enter_on_an_op_opens_its_layer)
{
    const struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, "\n");
    cr_assert_eq(dashboard.view, VIEW_LAYERS);
    const struct tree_node *node = &dashboard.tree.nodes[dashboard.tree.visible[dashboard.tree_selected]];
    cr_assert_eq(node->op, 5);
    size_t opened = dashboard.tree.visible_count;
    dashboard_key(&dashboard, rollup, DASHBOARD_LEFT);
    dashboard_key(&dashboard, rollup, DASHBOARD_LEFT);
    cr_assert_lt(dashboard.tree.visible_count, opened);
    dashboard_finish(&dashboard);
}

Test(layout, nothing_overlaps_and_nothing_sticks_out)
{
    for (uint32_t rows = 1; rows < 60; rows++)
        for (uint32_t columns = 20; columns < 220; columns += 7)
            for (int view = 0; view < VIEWS; view++) {
                struct layout layout = layout_for((enum view)view, rows, columns);
                const struct rect areas[] = {layout.header, layout.ops,  layout.layers,
                                             layout.memory, layout.loss, layout.footer};
                uint32_t cells = 0;
                for (size_t i = 0; i < 6; i++) {
                    cr_assert(areas[i].rows == 0 || areas[i].row + areas[i].rows <= rows, "%u x %u", rows, columns);
                    cr_assert(areas[i].rows == 0 || areas[i].column + areas[i].columns <= columns);
                    cells += areas[i].rows * areas[i].columns;
                }
                cr_assert_leq(cells, rows * columns, "areas overlap at %u x %u", rows, columns);
            }
}

Test(dashboard, a_click_selects_and_a_second_opens)
{
    const struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    struct canvas canvas;
    struct error err = {0};
    cr_assert(canvas_init(&canvas, 24, 80, false, &err));
    dashboard_draw(&dashboard, rollup, &canvas);
    dashboard.click_row = 6 + 2; /* header, frame and titles above the first line */
    dashboard_key(&dashboard, rollup, DASHBOARD_CLICK);
    cr_assert_eq(dashboard.selected, 2);
    dashboard.click_row = 6 + 30;
    dashboard_key(&dashboard, rollup, DASHBOARD_CLICK);
    cr_assert_eq(dashboard.selected, 2, "below the list nothing happens");
    dashboard.click_row = 6 + 2;
    dashboard_key(&dashboard, rollup, DASHBOARD_CLICK);
    cr_assert_eq(dashboard.view, VIEW_LAYERS);
    canvas_finish(&canvas);
    dashboard_finish(&dashboard);
}

/* Golden screens: tests/tui/golden/NAME.txt; FATHOM_UPDATE_GOLDEN=1 writes them anew. */
static void compare_golden(const char *name, const struct text *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/tui/golden/%s.txt", getenv("FATHOM_SOURCE"), name);
    if (getenv("FATHOM_UPDATE_GOLDEN")) {
        FILE *file = fopen(path, "w");
        cr_assert(file);
        fwrite(text->bytes, 1, text->length, file);
        fclose(file);
    }
    FILE *file = fopen(path, "r");
    cr_assert(file, "%s is missing", path);
    static char expected[100000];
    size_t length = fread(expected, 1, sizeof expected - 1, file);
    fclose(file);
    expected[length] = '\0';
    cr_assert_str_eq(text->bytes, expected, "%s differs; the screen is now\n%s", name, text->bytes);
}

static void check_screen(const char *name, enum view view, uint32_t rows, uint32_t columns, bool ascii, bool help)
{
    const struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    struct canvas canvas;
    struct error err = {0};
    struct text text = {0};
    dashboard.view = view;
    dashboard.help = help;
    cr_assert(canvas_init(&canvas, rows, columns, ascii, &err));
    dashboard_draw(&dashboard, rollup, &canvas);
    canvas_print(&canvas, &text);
    compare_golden(name, &text);
    text_finish(&text);
    canvas_finish(&canvas);
    dashboard_finish(&dashboard);
}

Test(screens, overview_80x24) { check_screen("top-overview-80x24", VIEW_OVERVIEW, 24, 80, false, false); }
Test(screens, overview_200x50) { check_screen("top-overview-200x50", VIEW_OVERVIEW, 50, 200, false, false); }
Test(screens, overview_ascii) { check_screen("top-overview-ascii", VIEW_OVERVIEW, 24, 80, true, false); }
Test(screens, ops) { check_screen("top-ops", VIEW_OPS, 24, 120, false, false); }
Test(screens, layers) { check_screen("top-layers", VIEW_LAYERS, 24, 100, false, false); }
Test(screens, memory) { check_screen("top-memory", VIEW_MEMORY, 24, 100, false, false); }
Test(screens, loss) { check_screen("top-loss", VIEW_LOSS, 24, 100, false, false); }
Test(screens, help) { check_screen("top-help", VIEW_OVERVIEW, 24, 80, false, true); }

Test(screens, any_size_and_an_empty_run_are_survived)
{
    static struct rollup empty;
    for (int filled = 0; filled < 2; filled++)
        for (uint32_t rows = 1; rows < 40; rows += 3)
            for (uint32_t columns = 1; columns < 130; columns += 9)
                for (int view = 0; view < VIEWS; view++) {
                    const struct rollup *rollup = filled ? example_rollup() : &empty;
                    struct dashboard dashboard = ready(rollup);
                    struct canvas canvas;
                    struct error err = {0};
                    dashboard.view = (enum view)view;
                    dashboard.help = rows % 2;
                    cr_assert(canvas_init(&canvas, rows, columns, false, &err));
                    dashboard_draw(&dashboard, rollup, &canvas);
                    canvas_finish(&canvas);
                    dashboard_finish(&dashboard);
                }
}

Test(dashboard, survives_any_failing_allocation)
{
    const struct rollup *rollup = example_rollup();
    uint64_t before = mem_current_bytes(MEM_SCREEN);
    bool ok = false;
    for (uint64_t n = 1; !ok && n < 1000; n++) {
        struct dashboard dashboard;
        struct error err = {0};
        dashboard_init(&dashboard);
        mem_fail_at(n);
        ok = dashboard_update(&dashboard, rollup, &err);
        bool fired = mem_fail_at(0);
        cr_assert_neq(ok, fired, "allocation %lu", (unsigned long)n);
        if (!ok) cr_assert_eq(err.kind, ERROR_MEMORY);
        dashboard_finish(&dashboard);
        cr_assert_eq(mem_current_bytes(MEM_SCREEN), before);
    }
    cr_assert(ok);
}
