#include <stdlib.h>

#include <criterion/criterion.h>

#include "dashboard.h"
#include "mem.h"
#include "screen_layout.h"
#include "summary.h"
#include "tui_rollup.h"

static struct dashboard ready(const struct rollup *rollup)
{
    struct dashboard dashboard;
    struct error err = {0};
    dashboard_init(&dashboard);
    cr_assert(dashboard_update(&dashboard, rollup, &err), "%s", err.text);
    return dashboard;
}

static const struct op_row *lines_of(struct row_list *list, const struct rollup *rollup)
{
    const struct op_row *lines = row_list_show(list, rollup, 0, list->count);
    cr_assert(lines);
    return lines;
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
    cr_assert_eq(dashboard.ops.count, 7);
    cr_assert_str_eq(lines_of(&dashboard.ops, rollup)[0].kind, "conv_bwd_weights");
    cr_assert_str_eq(lines_of(&dashboard.ops, rollup)[6].kind, "sgd_update");
    for (enum op_sort sort = SORT_TOTAL; sort != SORT_ORDER; sort = (sort + 1) % OP_SORTS)
        press(&dashboard, rollup, "s");
    cr_assert_eq(dashboard.sort, SORT_ORDER);
    for (uint32_t i = 0; i < 7; i++) cr_assert_eq(lines_of(&dashboard.ops, rollup)[i].first, i);
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
    cr_assert_eq(dashboard.ops.count, 2);
    dashboard_key(&dashboard, rollup, DASHBOARD_ERASE);
    press(&dashboard, rollup, "\n");
    cr_assert_not(dashboard.filter_open);
    cr_assert_str_eq(dashboard.filter, "BN");
    press(&dashboard, rollup, "/q");
    cr_assert_not(dashboard.quit, "a letter in the filter is not a command");
    dashboard_key(&dashboard, rollup, DASHBOARD_ESCAPE);
    press(&dashboard, rollup, "");
    cr_assert_eq(dashboard.ops.count, 7);
    dashboard_finish(&dashboard);
}

Test(dashboard, groups_add_up)
{
    const struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, "g");
    cr_assert_eq(dashboard.ops.count, 5, "two convolutions are one line, and so are bn forward and again");
    uint64_t total = 0;
    for (size_t i = 0; i < dashboard.ops.count; i++) total += lines_of(&dashboard.ops, rollup)[i].total_ns;
    cr_assert_eq(total, rollup_total_ns(rollup));
    dashboard_finish(&dashboard);
}

static const struct op_row *find_row(struct dashboard *dashboard, const struct rollup *rollup, const char *name)
{
    const struct op_row *lines = lines_of(&dashboard->ops, rollup);
    for (size_t i = 0; i < dashboard->ops.count; i++) {
        const struct op_row *row = &lines[i];
        const char *names[] = {NULL, row->kind, row->layer, row->pass};
        if (names[dashboard->group] && strcmp(names[dashboard->group], name) == 0) return row;
    }
    return NULL;
}

Test(dashboard, groups_are_those_of_trace_stats_to_the_digit)
{
    static const enum summary_by by[GROUPS] = {SUMMARY_OP, SUMMARY_KIND, SUMMARY_LAYER, SUMMARY_PASS};
    struct rollup *rollup = example_rollup();
    for (size_t i = 0; i < rollup->op_count; i++) { /* uneven ones: a long tail, some on the other device */
        struct rollup_op *op = &rollup->ops[i];
        op->device = i % 2;
        op->histogram.buckets[0] += 90 * (uint32_t)i;
        op->histogram.buckets[40] = 3;
        op->count = op->histogram.buckets[0] + 3;
        op->most_ns *= 3;
        op->total_ns = op->count * op->least_ns + 6 * op->least_ns;
    }
    struct dashboard dashboard = ready(rollup);
    for (enum row_group group = GROUP_KIND; group < GROUPS; group++) {
        struct summary summary = {0};
        struct error err = {0};
        press(&dashboard, rollup, "g");
        cr_assert_eq(dashboard.group, group);
        cr_assert(summary_make(rollup, by[group], SUMMARY_TOTAL, &summary, &err));
        cr_assert_eq(dashboard.ops.count, summary.count);
        for (size_t i = 0; i < summary.count; i++) {
            const struct summary_row *told = &summary.rows[i];
            const struct op_row *shown = find_row(&dashboard, rollup, told->name);
            cr_assert(shown, "%s", told->name);
            cr_expect_eq(shown->total_ns, told->total_ns);
            cr_expect_eq(shown->count, told->instances);
            cr_expect_eq((double)shown->p50_ns, told->median_ns, "%s", told->name);
            cr_expect(shown->p50_ns <= shown->p99_ns && shown->p99_ns <= told->most_ns);
        }
        summary_finish(&summary);
    }
    dashboard_finish(&dashboard);
}

Test(dashboard, percentiles_of_a_group_are_of_all_its_times)
{
    struct rollup *rollup = example_rollup();
    example_ops[0] = example_op(0, "stem/conv", "conv", "forward", 1000000);
    example_ops[0].count = example_ops[0].histogram.buckets[0] = 990;
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, "g");
    const struct op_row *conv = find_row(&dashboard, rollup, "conv"); /* 990 times 1 ms, 10 times 3 ms */
    cr_assert(conv);
    cr_expect(conv->p50_ns >= 1000000 && conv->p50_ns < 1030000, "%lu", (unsigned long)conv->p50_ns);
    cr_expect(conv->p99_ns >= 1000000 && conv->p99_ns <= 3000000, "%lu", (unsigned long)conv->p99_ns);
    dashboard_finish(&dashboard);
}

/* The example's ops once more, on a second device. */
static void run_on_two_devices(struct rollup *rollup)
{
    static struct rollup_op ops[14];
    for (uint32_t i = 0; i < 14; i++) {
        ops[i] = example_ops[i % 7];
        ops[i].device = i / 7;
    }
    rollup->ops = ops;
    rollup->op_count = 14;
}

/* Ten steps: an op of four micro-batches runs four times in each. */
Test(dashboard, times_are_those_of_a_step)
{
    struct rollup *rollup = example_rollup();
    struct rollup_op *op = &rollup->ops[2];
    op->count *= 4;
    op->total_ns *= 4;
    struct dashboard dashboard = ready(rollup);
    double ops_ns = (double)rollup_total_ns(rollup);
    for (size_t i = 0; i < dashboard.ops.count; i++) {
        const struct op_row *row = &lines_of(&dashboard.ops, rollup)[i];
        cr_expect_eq(row->timed_steps, 10);
        cr_expect_float_eq(row->step_share, (double)row->total_ns / ops_ns, 1e-9, "how long a step takes is unknown");
    }
    rollup->parts = (struct rollup_parts){.steps = 3, .ns = 20e6};
    press(&dashboard, rollup, "g");
    const struct op_row *row = find_row(&dashboard, rollup, rollup->ops[6].kind);
    cr_assert(row);
    cr_expect_float_eq(row->step_share, (double)row->total_ns / 10 / 20e6, 1e-9);
    op->count += 4; /* the eleventh step has begun */
    op->total_ns = op->total_ns * 11 / 10;
    press(&dashboard, rollup, "G");
    for (size_t i = 0; i < dashboard.ops.count; i++) {
        row = &lines_of(&dashboard.ops, rollup)[i];
        cr_expect_float_eq(row->step_count, row->first == 2 ? 4 : 1, 1e-9);
        cr_expect_float_eq(row->step_ns, row->step_count * (double)row->total_ns / (double)row->count, 1e-6);
    }
    const struct tree_node *root = &dashboard.tree.nodes[0];
    double all = 0;
    for (size_t i = 0; i < dashboard.ops.count; i++) all += lines_of(&dashboard.ops, rollup)[i].step_ns;
    cr_expect_float_eq(tree_step_ns(root), all, 1);
    dashboard_finish(&dashboard);
}

/* Two devices that do the same in as many steps: a step of one of them is what the dashboard tells. */
Test(dashboard, devices_together_are_told_as_one)
{
    struct rollup *rollup = example_rollup();
    run_on_two_devices(rollup);
    rollup->parts = (struct rollup_parts){.steps = 3, .ns = 20e6};
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, "D");
    const struct op_row *row = &lines_of(&dashboard.ops, rollup)[0];
    cr_expect_eq(row->timed_steps, 20);
    cr_expect_float_eq(row->step_share, 5e6 / 20e6, 1e-9);
    cr_expect_float_eq(tree_step_ns(&dashboard.tree.nodes[0]), (double)rollup_total_ns(rollup) / 20, 1);
    dashboard_finish(&dashboard);
}

/* What is there on one device alone may have less time in all than what two devices do. */
Test(dashboard, time_is_sorted_as_it_is_told)
{
    struct rollup *rollup = example_rollup();
    run_on_two_devices(rollup);
    rollup->op_count = 13;
    for (int group = GROUP_OP; group < GROUPS; group++) {
        struct dashboard dashboard;
        struct error err = {0};
        dashboard_init(&dashboard);
        dashboard.group = (enum row_group)group;
        dashboard.devices_toggled = group == GROUP_OP;
        rollup->ops[5].total_ns = 120000000; /* 12 ms a step, 120 ms in all */
        rollup->ops[12] = example_op(6, "head/fc", "fc", "comm", 7000000);
        rollup->ops[12].device = 1;
        cr_assert(dashboard_update(&dashboard, rollup, &err), "%s", err.text);
        const struct op_row *lines = lines_of(&dashboard.ops, rollup);
        for (size_t i = 1; i < dashboard.ops.count; i++)
            cr_expect_geq(lines[i - 1].step_ns, lines[i].step_ns, "line %zu of groups %d", i, group);
        dashboard_finish(&dashboard);
    }
}

/* A screen of another size shows other lines before tables are made anew. */
Test(dashboard, lines_that_are_made_late_are_of_one_moment)
{
    struct rollup *rollup = example_gpu_rollup();
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, "6");
    const double op_ns = row_list_show(&dashboard.ops, rollup, 0, 3)->step_ns;
    const double kernel_ns = row_list_show(&dashboard.kernels, rollup, 0, 3)->step_ns;
    for (size_t i = 0; i < rollup->op_count; i++) {
        rollup->ops[i].count *= 3;
        rollup->ops[i].total_ns *= 3;
    }
    for (size_t i = 0; i < rollup->kernel_count; i++) {
        rollup->kernels[i].times.count *= 3;
        rollup->kernels[i].times.total_ns *= 3;
    }
    rollup->events *= 3;
    cr_expect_float_eq(row_list_show(&dashboard.ops, rollup, 0, 4)->step_ns, op_ns, 1);
    cr_expect_float_eq(row_list_show(&dashboard.kernels, rollup, 0, 4)->step_ns, kernel_ns, 1);
    dashboard_finish(&dashboard);
}

Test(dashboard, what_a_step_takes_is_unknown_before_one_is_whole)
{
    struct rollup *rollup = example_rollup();
    rollup->devices[0].ops_timed = true;
    struct dashboard dashboard = ready(rollup);
    for (size_t i = 0; i < dashboard.ops.count; i++)
        cr_expect(isnan(lines_of(&dashboard.ops, rollup)[i].step_ns), "line %zu", i);
    cr_expect(isnan(tree_step_ns(&dashboard.tree.nodes[0])));
    rollup->devices[0].micro_batches = 2;
    rollup->devices[0].body_ops = 6;
    press(&dashboard, rollup, "");
    for (size_t i = 0; i < dashboard.ops.count; i++) {
        const struct op_row *row = &lines_of(&dashboard.ops, rollup)[i];
        cr_expect_float_eq(row->step_count, row->first < 6 ? 2 : 1, 1e-9);
    }
    dashboard_finish(&dashboard);
}

Test(dashboard, devices_are_apart_or_together_as_chosen)
{
    struct rollup *rollup = example_rollup();
    run_on_two_devices(rollup);
    struct dashboard dashboard = ready(rollup);
    cr_expect_eq(dashboard.ops.count, 14);
    press(&dashboard, rollup, "D");
    cr_expect_eq(dashboard.ops.count, 7);
    cr_expect_eq(lines_of(&dashboard.ops, rollup)[0].device, ROW_DEVICES);
    cr_expect_eq(lines_of(&dashboard.ops, rollup)[0].count, 20);
    press(&dashboard, rollup, "Dg");
    cr_expect_eq(dashboard.ops.count, 5);
    press(&dashboard, rollup, "D");
    cr_expect_eq(dashboard.ops.count, 10);
    dashboard_finish(&dashboard);
}

Test(dashboard, paused_shows_what_was)
{
    struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, " ");
    rollup->op_count = 3;
    press(&dashboard, rollup, "");
    cr_assert_eq(dashboard.ops.count, 7);
    press(&dashboard, rollup, " ");
    cr_assert_eq(dashboard.ops.count, 3);
    dashboard_finish(&dashboard);
}

Test(dashboard, selection_stays_inside)
{
    const struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, "kkk");
    cr_assert_eq(dashboard.ops.selected, 0);
    dashboard_key(&dashboard, rollup, DASHBOARD_LAST);
    press(&dashboard, rollup, "jjjjjjjjj");
    cr_assert_eq(dashboard.ops.selected, 6);
    press(&dashboard, rollup, "/stem\n");
    cr_assert_eq(dashboard.ops.selected, 0);
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
                struct layout layout = layout_for((enum view)view, rows, columns, rows % 10);
                const struct rect areas[] = {layout.header, layout.ops,     layout.layers, layout.memory,
                                             layout.loss,   layout.kernels, layout.footer, layout.gpus};
                uint32_t cells = 0;
                for (size_t i = 0; i < 8; i++) {
                    cr_assert(areas[i].rows == 0 || areas[i].row + areas[i].rows <= rows, "%u x %u", rows, columns);
                    cr_assert(areas[i].rows == 0 || areas[i].column + areas[i].columns <= columns);
                    cells += areas[i].rows * areas[i].columns;
                }
                cr_assert_leq(cells, rows * columns, "areas overlap at %u x %u", rows, columns);
            }
}

Test(dashboard, a_layer_has_a_line_for_all_devices_together)
{
    struct rollup *rollup = example_rollup();
    struct dashboard one = ready(rollup);
    run_on_two_devices(rollup);
    struct dashboard two = ready(rollup);
    cr_expect_eq(two.tree.node_count, one.tree.node_count);
    cr_expect_eq(two.tree.nodes[0].total_ns, 2 * one.tree.nodes[0].total_ns);
    for (size_t i = 0; i < two.tree.node_count; i++) cr_expect_eq(two.tree.nodes[i].count, 2 * one.tree.nodes[i].count);
    two.ops.selected = 1;
    dashboard_key(&two, rollup, DASHBOARD_RETURN);
    cr_expect_eq(two.view, VIEW_LAYERS, "an op of the second device has a line, too");
    dashboard_finish(&one);
    dashboard_finish(&two);
}

/* Frames alone would be all that a table, a plan and a curve have on ten rows. */
Test(layout, a_low_screen_is_the_tables)
{
    struct layout low = layout_for(VIEW_OVERVIEW, 10, 40, 0), high = layout_for(VIEW_OVERVIEW, 24, 80, 0);
    cr_expect(low.ops.rows == 5 && low.memory.rows == 0 && low.loss.rows == 0);
    cr_expect(high.ops.rows > 5 && high.memory.rows > 5 && high.loss.rows > 5);
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
    cr_assert_eq(dashboard.ops.selected, 2);
    dashboard.click_row = 6 + 30;
    dashboard_key(&dashboard, rollup, DASHBOARD_CLICK);
    cr_assert_eq(dashboard.ops.selected, 2, "below the list nothing happens");
    dashboard.click_row = 6 + 2;
    dashboard_key(&dashboard, rollup, DASHBOARD_CLICK);
    cr_assert_eq(dashboard.view, VIEW_LAYERS);
    dashboard_draw(&dashboard, rollup, &canvas);
    dashboard.click_row = 6 + 1;
    dashboard_key(&dashboard, rollup, DASHBOARD_CLICK);
    cr_assert_eq(dashboard.tree_selected, 1, "their list has titles too");
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

static void check_screen_of(const struct rollup *rollup, const char *name, enum view view, uint32_t rows,
                            uint32_t columns, bool ascii, bool help)
{
    struct dashboard dashboard;
    struct canvas canvas;
    struct error err = {0};
    struct text text = {0};
    dashboard_init(&dashboard);
    dashboard.view = view;
    cr_assert(dashboard_update(&dashboard, rollup, &err), "%s", err.text);
    dashboard.help = help;
    cr_assert(canvas_init(&canvas, rows, columns, ascii, &err));
    dashboard_draw(&dashboard, rollup, &canvas);
    canvas_print(&canvas, &text);
    compare_golden(name, &text);
    text_finish(&text);
    canvas_finish(&canvas);
    dashboard_finish(&dashboard);
}

static void check_screen(const char *name, enum view view, uint32_t rows, uint32_t columns, bool ascii, bool help)
{
    check_screen_of(example_rollup(), name, view, rows, columns, ascii, help);
}

static void check_gpu_screen(const char *name, enum view view, uint32_t rows, uint32_t columns)
{
    struct rollup *rollup = example_gpu_rollup();
    example_gpu_counters(rollup);
    check_screen_of(rollup, name, view, rows, columns, false, false);
}

Test(screens, kernels_80x24) { check_gpu_screen("top-kernels-80x24", VIEW_KERNELS, 24, 80); }
Test(screens, kernels_120x40) { check_gpu_screen("top-kernels-120x40", VIEW_KERNELS, 40, 120); }
Test(screens, kernels_200x50) { check_gpu_screen("top-kernels-200x50", VIEW_KERNELS, 50, 200); }
Test(screens, gpu_overview_80x24) { check_gpu_screen("top-gpu-overview-80x24", VIEW_OVERVIEW, 24, 80); }
Test(screens, gpu_overview_120x40) { check_gpu_screen("top-gpu-overview-120x40", VIEW_OVERVIEW, 40, 120); }
Test(screens, gpu_overview_200x50) { check_gpu_screen("top-gpu-overview-200x50", VIEW_OVERVIEW, 50, 200); }

/* The example's ops do 1 TFLOP/s and move 10 GB/s. */
static struct rollup *with_peaks(double flops, double bandwidth)
{
    struct rollup *rollup = example_rollup();
    for (size_t d = 0; d < 2; d++) {
        rollup->devices[d].peak_flops = flops;
        rollup->devices[d].peak_bandwidth = bandwidth;
    }
    return rollup;
}

static void check_peak(double flops, double bandwidth, enum roofline_bound bound, double share)
{
    const struct rollup *rollup = with_peaks(flops, bandwidth);
    struct dashboard dashboard = ready(rollup);
    const struct op_row *row = &lines_of(&dashboard.ops, rollup)[0];
    cr_expect_eq(row->bound, bound);
    if (bound != ROOFLINE_UNKNOWN) cr_expect_float_eq(row->peak_share, share, 1e-6);
    dashboard_finish(&dashboard);
}

Test(dashboard, ops_are_compared_with_what_the_device_does_at_most)
{
    check_peak(2e12, 40e9, ROOFLINE_FLOPS, 0.5);
    check_peak(4e12, 5e9, ROOFLINE_BYTES, 2);
    check_peak(0, 5e9, ROOFLINE_UNKNOWN, 0);
    check_peak(0, 0, ROOFLINE_UNKNOWN, 0);
}

Test(screens, peaks_80x24)
{
    check_screen_of(with_peaks(2e12, 40e9), "top-peaks-80x24", VIEW_OPS, 24, 80, false, false);
}
Test(screens, peaks_120x40)
{
    check_screen_of(with_peaks(2e12, 4e9), "top-peaks-120x40", VIEW_OPS, 40, 120, false, false);
}
Test(screens, overview_80x24) { check_screen("top-overview-80x24", VIEW_OVERVIEW, 24, 80, false, false); }
Test(screens, overview_200x50) { check_screen("top-overview-200x50", VIEW_OVERVIEW, 50, 200, false, false); }
Test(screens, overview_ascii) { check_screen("top-overview-ascii", VIEW_OVERVIEW, 24, 80, true, false); }
Test(screens, ops) { check_screen("top-ops", VIEW_OPS, 24, 120, false, false); }
Test(screens, layers) { check_screen("top-layers", VIEW_LAYERS, 24, 100, false, false); }
Test(screens, memory) { check_screen("top-memory", VIEW_MEMORY, 24, 100, false, false); }
Test(screens, loss) { check_screen("top-loss", VIEW_LOSS, 24, 100, false, false); }
Test(screens, help) { check_screen("top-help", VIEW_OVERVIEW, 24, 80, false, true); }

/* ---- Kernels ---- */

Test(kernels, are_listed_with_what_a_step_takes_of_them)
{
    const struct rollup *rollup = example_gpu_rollup();
    struct dashboard dashboard = ready(rollup);
    cr_assert_eq(dashboard.kernels.count, 0, "nobody looks at them");
    press(&dashboard, rollup, "6");
    cr_assert_eq(dashboard.view, VIEW_KERNELS);
    cr_assert_eq(dashboard.kernels.count, EXAMPLE_KERNELS);
    const struct op_row *rows = lines_of(&dashboard.kernels, rollup);
    cr_assert_str_eq(rows[0].kind, "conv", "twice a step, it takes more than the longest one");
    cr_assert(rows[0].timed_steps == 10 && rows[0].count == 20 && rows[0].total_ns == 20 * 2900000ull);
    cr_assert_str_eq(rows[1].name, "conv_wgrad");
    cr_assert(rows[1].most_ns == 10000000 && rows[1].grid[0] == 128 && rows[1].stream == 7);
    uint64_t total = 0;
    for (size_t i = 0; i < EXAMPLE_KERNELS; i++) total += rows[i].total_ns;
    cr_assert_eq(total, rollup_kernels_ns(rollup));
    dashboard_finish(&dashboard);
}

Test(kernels, of_one_name_are_put_together)
{
    const struct rollup *rollup = example_gpu_rollup();
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, "6g");
    cr_assert_eq(dashboard.kernels.count, 8, "two gemms, two bn_apply");
    const struct op_row *gemm = &lines_of(&dashboard.kernels, rollup)[0];
    cr_assert(gemm->ops == 2 && gemm->count == 30 && gemm->grid[0] == 0 && gemm->stream == 7 && !gemm->layer);
    press(&dashboard, rollup, "\n");
    cr_assert_eq(dashboard.kernels.count, 2, "Enter opens the group");
    cr_assert_str_eq(lines_of(&dashboard.kernels, rollup)[1].layer, "stem/conv");
    dashboard_finish(&dashboard);
}

Test(kernels, are_sorted_and_filtered_with_the_same_keys)
{
    const struct rollup *rollup = example_gpu_rollup();
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, "6/BN_APPLY\n");
    cr_assert_eq(dashboard.kernels.count, 2, "a kernel's name counts");
    dashboard_key(&dashboard, rollup, DASHBOARD_ESCAPE);
    press(&dashboard, rollup, "/run\n");
    cr_assert_eq(dashboard.kernels.count, 2, "what the run itself starts");
    dashboard_key(&dashboard, rollup, DASHBOARD_ESCAPE);
    press(&dashboard, rollup, "s");
    cr_assert_eq(dashboard.sort, SORT_MEAN);
    cr_assert_str_eq(lines_of(&dashboard.kernels, rollup)[0].name, "conv_wgrad");
    while (dashboard.sort != SORT_NAME) press(&dashboard, rollup, "s");
    cr_assert_str_eq(lines_of(&dashboard.kernels, rollup)[0].name, "bn_apply_f32");
    dashboard_finish(&dashboard);
}

Test(kernels, enter_goes_from_an_op_to_its_kernels_and_on_to_its_layer)
{
    const struct rollup *rollup = example_gpu_rollup();
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, "2/bn\n");
    cr_assert_str_eq(lines_of(&dashboard.ops, rollup)[0].pass, "forward");
    press(&dashboard, rollup, "\n");
    cr_assert_eq(dashboard.view, VIEW_KERNELS);
    cr_assert_eq(dashboard.kernels.count, 2);
    cr_assert_str_eq(lines_of(&dashboard.kernels, rollup)[0].name, "bn_sums_f32");
    cr_assert_str_eq(lines_of(&dashboard.kernels, rollup)[1].name, "bn_apply_f32");
    press(&dashboard, rollup, "j\n");
    cr_assert_eq(dashboard.view, VIEW_LAYERS);
    cr_assert_eq(dashboard.tree.nodes[dashboard.tree.visible[dashboard.tree_selected]].op, 2);
    press(&dashboard, rollup, "2\n");
    dashboard_key(&dashboard, rollup, DASHBOARD_ESCAPE);
    cr_assert_eq(dashboard.view, VIEW_OPS, "back to where it came from");
    press(&dashboard, rollup, "6");
    cr_assert_eq(dashboard.kernels.count, EXAMPLE_KERNELS);
    dashboard_finish(&dashboard);
}

Test(kernels, are_still_there_when_paused)
{
    const struct rollup *rollup = example_gpu_rollup();
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, " 6");
    cr_assert_eq(dashboard.kernels.count, EXAMPLE_KERNELS);
    dashboard_finish(&dashboard);
}

/* ---- What a screen says ---- */

/* The screen of a dashboard as text, which the caller finishes. */
static struct text draw(struct dashboard *dashboard, const struct rollup *rollup, uint32_t rows, uint32_t columns)
{
    struct canvas canvas;
    struct error err = {0};
    struct text text = {0};
    cr_assert(canvas_init(&canvas, rows, columns, false, &err));
    dashboard_draw(dashboard, rollup, &canvas);
    canvas_print(&canvas, &text);
    cr_assert(!text.failed);
    canvas_finish(&canvas);
    return text;
}

static const char *line_of(const struct text *text, uint32_t row, char *out, size_t size)
{
    const char *line = text->bytes;
    while (row-- > 0) line = strchr(line, '\n') + 1;
    snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
    return out;
}

static size_t count_numbers(const char *head)
{
    static const char *const titles[] = {"Time %", "A step", "Mean", "p50", "p99", "Count", "FLOP/s", "B/s"};
    size_t count = 0;
    while (count < 8 && strstr(head, titles[count])) count++;
    for (size_t i = count; i < 8; i++) cr_assert(!strstr(head, titles[i]), "out of order: %s", head);
    return count;
}

Test(screens, a_wider_one_never_shows_fewer_numbers)
{
    for (uint32_t devices = 1; devices <= 2; devices++)
        for (int view = VIEW_OVERVIEW; view <= VIEW_OPS; view++) {
            struct rollup *rollup = example_rollup();
            size_t before = 0;
            rollup->device_count = devices;
            for (uint32_t columns = 20; columns < 260; columns++) {
                struct dashboard dashboard = ready(rollup);
                char head[2000];
                dashboard.view = (enum view)view;
                struct text text = draw(&dashboard, rollup, 40, columns);
                size_t numbers = count_numbers(line_of(&text, 5, head, sizeof head));
                cr_assert_geq(numbers, before, "%u columns: %s", columns, head);
                if (columns >= 45) cr_expect_geq(numbers, 3, "%u columns: %s", columns, head);
                if (columns >= 80) cr_expect_geq(numbers, devices == 1 ? 5 : 4, "%u columns: %s", columns, head);
                before = numbers;
                text_finish(&text);
                dashboard_finish(&dashboard);
            }
            cr_expect_eq(before, 8);
        }
}

/* Whether each word of a line is a word of the whole line. */
static bool has_whole_words(const char *line, const char *whole)
{
    char padded[2100], word[300], copy[2000];
    snprintf(padded, sizeof padded, " %s ", whole);
    snprintf(copy, sizeof copy, "%s", line);
    for (char *next = strtok(copy, " "); next; next = strtok(NULL, " ")) {
        snprintf(word, sizeof word, " %s ", next);
        if (!strstr(padded, word)) return false;
    }
    return true;
}

Test(screens, header_and_footer_drop_whole_items)
{
    static const uint32_t lines[] = {0, 2, 3, 23};
    struct rollup *rollup = example_rollup();
    example_steps[9].metric[METRIC_TOP1_ERROR] = 0.4787f;
    example_steps[9].metric[METRIC_TOP5_ERROR] = 0.0586f;
    example_steps[9].metric[METRIC_TRAIN_ERROR] = 0.5078f;
    rollup->devices[0].gap_ns[GAP_DATA] = 50000000;
    rollup->devices[0].gap_ns[GAP_EVALUATE] = 500000000;
    rollup->dropped = 51;
    struct dashboard dashboard = ready(rollup);
    struct text widest = draw(&dashboard, rollup, 24, 300);
    for (uint32_t columns = 30; columns < 200; columns++) {
        struct text text = draw(&dashboard, rollup, 24, columns);
        for (size_t i = 0; i < 4; i++) {
            char line[2000], whole[2000];
            line_of(&text, lines[i], line, sizeof line);
            line_of(&widest, lines[i], whole, sizeof whole);
            cr_expect(has_whole_words(line, whole), "%u columns: %s", columns, line);
        }
        char line[2000];
        cr_expect(strstr(line_of(&text, 0, line, sizeof line), "LIVE"), "%s", line);
        cr_expect(strstr(line_of(&text, 3, line, sizeof line), "51 lost"), "%s", line);
        if (columns >= 36) cr_expect(strstr(line_of(&text, 23, line, sizeof line), "q quit"), "%s", line);
        text_finish(&text);
    }
    text_finish(&widest);
    dashboard_finish(&dashboard);
}

Test(screens, memory_lists_the_largest_classes_first_and_tells_the_rest)
{
    static const char *const names[] = {"weights", "gradients", "momentum", "kept", "transient", "input"};
    static const uint64_t bytes[] = {1 << 20, 1 << 20, 1 << 20, 184 << 20, 4 << 20, 0};
    struct rollup *rollup = example_rollup();
    struct rollup_device *device = &rollup->devices[0];
    device->classes = 6;
    for (int i = 0; i < 6; i++) {
        snprintf(device->class_names[i], sizeof device->class_names[i], "%s", names[i]);
        device->class_bytes[i] = bytes[i];
    }
    struct dashboard dashboard = ready(rollup);
    struct text text = draw(&dashboard, rollup, 24, 80);
    const char *kept = strstr(text.bytes, "k kept "), *transient = strstr(text.bytes, "t transient ");
    cr_assert(kept && transient && kept < transient, "%s", text.bytes);
    cr_expect(strstr(kept, "184 MiB"));
    cr_expect(strstr(text.bytes, "3 smaller"), "%s", text.bytes);
    cr_expect(strstr(text.bytes, "3.00 MiB"), "%s", text.bytes);
    cr_expect(strstr(text.bytes, "│kkkkkkkkkkkkkkkkkkkkk"), "the bar can be read without colours: %s", text.bytes);
    text_finish(&text);
    dashboard.view = VIEW_MEMORY;
    text = draw(&dashboard, rollup, 24, 80);
    for (int i = 0; i < 5; i++) cr_expect(strstr(text.bytes, names[i]), "%s", names[i]);
    cr_expect_not(strstr(text.bytes, "smaller"), "%s", text.bytes);
    cr_expect(strstr(text.bytes, "m momentum"), "%s", text.bytes);
    text_finish(&text);
    dashboard_finish(&dashboard);
}

/* Lines that are of one device each say which, also where there is little room. */
Test(kernels, tell_their_device_at_80_columns)
{
    struct rollup *rollup = example_gpu_rollup();
    struct dashboard dashboard = ready(rollup);
    char line[600];
    press(&dashboard, rollup, "6");
    struct text text = draw(&dashboard, rollup, 24, 80);
    cr_expect(strstr(line_of(&text, 5, line, sizeof line), " Dev "), "%s", line);
    text_finish(&text);
    press(&dashboard, rollup, "D");
    text = draw(&dashboard, rollup, 24, 80);
    cr_expect_not(strstr(line_of(&text, 5, line, sizeof line), " Dev "), "%s", line);
    text_finish(&text);
    dashboard_finish(&dashboard);
}

Test(screens, a_kernels_name_is_cut_in_the_middle_and_what_is_unknown_is_no_number)
{
    struct rollup *rollup = example_gpu_rollup();
    for (int i = 8; i < 10; i++) rollup->kernels[i].op = TRACE_NO_OWNER, rollup->kernels[i].times.pass = "";
    for (size_t i = 0; i < rollup->op_count; i++) rollup->ops[i].count = 0;
    struct dashboard dashboard;
    struct error err = {0};
    char line[600];
    dashboard_init(&dashboard);
    dashboard.view = VIEW_KERNELS;
    cr_assert(dashboard_update(&dashboard, rollup, &err));
    struct text text = draw(&dashboard, rollup, 24, 120);
    line_of(&text, 6, line, sizeof line);
    cr_expect(strstr(line, "sm90_xmma") && strstr(line, "kernel ") && strstr(line, "…"), "%s", line);
    cr_expect(strstr(line, " – "), "nothing tells how many steps were timed: %s", line);
    cr_expect(strstr(text.bytes, "no op"), "%s", text.bytes);
    text_finish(&text);
    dashboard_finish(&dashboard);
}

Test(screens, a_gpus_memory_is_not_compared_with_the_hosts)
{
    struct rollup *rollup = example_gpu_rollup();
    struct dashboard dashboard = ready(rollup);
    struct text text = draw(&dashboard, rollup, 24, 80);
    cr_expect(strstr(text.bytes, "device  -1.0 %  297 MiB of 300 MiB"), "%s", text.bytes);
    cr_expect(strstr(text.bytes, "host    606 MiB"), "%s", text.bytes);
    text_finish(&text);
    rollup->devices[0].used_known[SAMPLE_DEVICE] = rollup->devices[0].used_known[SAMPLE_PROCESS] = false;
    text = draw(&dashboard, rollup, 24, 80);
    cr_expect(strstr(text.bytes, "device  –  plan 300 MiB"), "%s", text.bytes);
    cr_expect(strstr(text.bytes, "host    –"), "%s", text.bytes);
    text_finish(&text);
    rollup->devices[0].used_known[SAMPLE_BUT_CONTEXT] = true;
    rollup->devices[0].peak_bytes[SAMPLE_BUT_CONTEXT] = 23 << 20;
    text = draw(&dashboard, rollup, 24, 120);
    cr_expect(strstr(text.bytes, "device  23.0 MiB  without its context  plan 300 MiB"), "%s", text.bytes);
    text_finish(&text);
    text = draw(&dashboard, rollup, 24, 80);
    cr_expect(strstr(text.bytes, "device  23.0 MiB  without its context"), "%s", text.bytes);
    text_finish(&text);
    dashboard_finish(&dashboard);
}

Test(screens, a_ranks_memory_is_not_compared_with_its_devices_plans)
{
    struct rollup *rollup = example_rollup();
    rollup->has_origin = true;
    rollup->ranks = 1;
    struct dashboard dashboard = ready(rollup);
    struct text text = draw(&dashboard, rollup, 24, 80);
    cr_expect(strstr(text.bytes, "process +1.0 %  606 MiB of 600 MiB"), "%s", text.bytes);
    text_finish(&text);
    rollup->ranks = 2;
    text = draw(&dashboard, rollup, 24, 80);
    cr_expect(strstr(text.bytes, "process –  606 MiB ") && !strstr(text.bytes, "of 600"), "%s", text.bytes);
    text_finish(&text);
    dashboard_finish(&dashboard);
}

Test(screens, gpus_are_told_as_far_as_they_are_known)
{
    struct rollup *rollup = example_gpu_rollup();
    example_gpu_counters(rollup);
    struct dashboard dashboard = ready(rollup);
    struct text text = draw(&dashboard, rollup, 40, 120);
    char line[600];
    line_of(&text, 4, line, sizeof line);
    cr_expect_str_eq(line, " gpu 0  busy 97 %  61.2 GiB of 80.0 GiB  612 of 700 W  71 °C  1755 MHz  memory 2619 MHz  "
                           "not held back");
    line_of(&text, 5, line, sizeof line);
    cr_expect_str_eq(line, " gpu 1  83 °C  1410 MHz  held back: power cap, heat", "what is unknown is left out");
    text_finish(&text);
    text = draw(&dashboard, rollup, 24, 80);
    line_of(&text, 4, line, sizeof line);
    cr_expect(strstr(line, "gpu 0  busy 97 %"), "%s", line);
    cr_expect_not(strstr(text.bytes, "gpu 1"), "%s", text.bytes);
    text_finish(&text);
    press(&dashboard, rollup, "d");
    text = draw(&dashboard, rollup, 24, 80);
    cr_expect(strstr(text.bytes, "gpu 1  83 °C"), "the one that was chosen: %s", text.bytes);
    text_finish(&text);
    for (size_t i = 0; i < rollup->counter_count; i++)
        for (int d = 0; d < 2; d++) rollup->counters[i].devices[d].last_ns = 0;
    rollup->last_ns = 20000000000ull;
    text = draw(&dashboard, rollup, 40, 120);
    cr_expect_not(strstr(text.bytes, " gpu "), "read long ago: %s", text.bytes);
    text_finish(&text);
    dashboard_finish(&dashboard);
}

/* Read while somebody looks: what works in a GPU. A zero is one that was read. */
Test(screens, what_works_in_a_gpu_is_told_when_it_is_known)
{
    struct rollup *rollup = example_gpu_rollup();
    example_gpu_counters(rollup);
    struct dashboard dashboard = ready(rollup);
    char line[600];
    struct text text = draw(&dashboard, rollup, 40, 120);
    cr_expect_not(strstr(text.bytes, "tensor "), "%s", text.bytes);
    text_finish(&text);
    const enum trace_gpu_counter told[] = {COUNTER_GPU_SM_ACTIVE, COUNTER_GPU_TENSOR_ACTIVE, COUNTER_GPU_DRAM_ACTIVE};
    for (int i = 0; i < 3; i++) {
        rollup->counters[told[i]].name = rollup->counters[told[i]].unit = "";
        rollup->counters[told[i]].devices[0] =
            (struct rollup_value){.count = 1, .last = 80 - 40 * i, .last_ns = rollup->last_ns};
    }
    text = draw(&dashboard, rollup, 40, 120);
    line_of(&text, 4, line, sizeof line);
    cr_expect(strstr(line, "gpu 0  busy 97 %  SM 80 %  tensor 40 %  DRAM 0 %"), "%s", line);
    text_finish(&text);
    dashboard_finish(&dashboard);
}

Test(screens, what_no_gpu_can_say_is_not_shown)
{
    struct rollup *rollup = example_gpu_rollup();
    const double bad[] = {NAN, INFINITY, -1, 1e300};
    double value;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        example_gpu_counters(rollup);
        for (size_t c = 0; c < rollup->counter_count; c++) rollup->counters[c].devices[0].last = bad[i];
        cr_expect_not(dashboard_gpu_now(rollup, 0, COUNTER_GPU_THROTTLED, &value));
        cr_expect(dashboard_gpu_now(rollup, 1, COUNTER_GPU_THROTTLED, &value));
        struct dashboard dashboard = ready(rollup);
        struct text text = draw(&dashboard, rollup, 40, 120);
        cr_expect_not(strstr(text.bytes, "gpu 0"), "%s", text.bytes);
        text_finish(&text);
        dashboard_finish(&dashboard);
    }
}

Test(screens, reasons_that_hold_a_gpu_back_are_words)
{
    const char *words[DASHBOARD_REASONS];
    cr_assert_eq(dashboard_held_back(0, words), 0);
    cr_assert_eq(dashboard_held_back(0x60, words), 1, "heat, whoever saw it");
    cr_assert_str_eq(words[0], "heat");
    cr_assert_eq(dashboard_held_back(0xFFC, words), 7);
    cr_assert_str_eq(words[6], "a reason of its own");
}

/* r asks, and the header tells as long as asked steps are to come. */
Test(screens, recording_is_asked_for_and_told)
{
    struct dashboard dashboard;
    struct rollup *rollup = example_gpu_rollup();
    uint64_t until;
    dashboard_init(&dashboard);
    example_gpu_counters(rollup);
    dashboard_key(&dashboard, rollup, 'r');
    cr_expect(dashboard.asks_record);
    dashboard.asks_record = false;
    dashboard_key(&dashboard, rollup, '/');
    dashboard_key(&dashboard, rollup, 'r');
    cr_expect_not(dashboard.asks_record, "it is a letter of the filter");
    rollup->counters[COUNTER_RECORDED_UNTIL].host = (struct rollup_value){.count = 1, .last = 74};
    struct text text = draw(&dashboard, rollup, 24, 80);
    cr_expect(strstr(text.bytes, "RECORDING to step 74"), "%s", text.bytes);
    text_finish(&text);
    rollup->counters[COUNTER_RECORDED_UNTIL].host.last = (double)rollup_steps_done(rollup);
    cr_expect_not(dashboard_recording(&dashboard, rollup, &until));
    rollup->counters[COUNTER_RECORDED_UNTIL].host.last = 74;
    rollup->ended = true;
    cr_expect_not(dashboard_recording(&dashboard, rollup, &until), "nothing is to come");
    dashboard_finish(&dashboard);
}

/* What the noise of steps hides is what it is at most; a trace that does not tell that has the number alone. */
Test(screens, the_cost_of_timing_is_told_as_far_as_it_is_known)
{
    const struct {
        double cost, most;
        const char *said;
    } rows[] = {{0.0031, NAN, "cost 0.31 %"},
                {0.0031, 0.42, "cost 0.31 %"},
                {0.0001, 0.42, "cost < 0.42 %"},
                {0, 1.23, "cost < 1.2 %"}};
    struct dashboard dashboard;
    struct rollup *rollup = example_gpu_rollup();
    dashboard_init(&dashboard);
    example_gpu_counters(rollup);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rollup->steps[rollup->step_count - 1].metric[METRIC_PROFILER_COST] = (float)rows[i].cost;
        rollup->counters[COUNTER_COST_MOST].host =
            (struct rollup_value){.count = isfinite(rows[i].most) ? 1 : 0, .last = rows[i].most};
        struct text text = draw(&dashboard, rollup, 40, 120);
        cr_expect(strstr(text.bytes, rows[i].said), "%s: %s", rows[i].said, text.bytes);
        text_finish(&text);
    }
    dashboard_finish(&dashboard);
}

Test(screens, what_is_still_read_is_no_live_run)
{
    struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    char line[600];
    dashboard.reading = true;
    dashboard.read_part = 0.25;
    struct text text = draw(&dashboard, rollup, 24, 80);
    cr_expect(strstr(line_of(&text, 0, line, sizeof line), "READING 25 %") && !strstr(line, "LIVE"), "%s", line);
    text_finish(&text);
    dashboard_finish(&dashboard);
}

/* Every nanosecond of a timed step, where it went. */
Test(screens, a_steps_time_is_told_in_one_line)
{
    struct rollup *rollup = example_gpu_rollup();
    rollup->parts = (struct rollup_parts){.steps = 10, .ns = 31.2e6};
    const double percent[STEP_PARTS] = {[PART_KERNELS] = 93.1,   [PART_COPY] = 0.3, [PART_LAUNCH] = 2.4,
                                        [PART_DEPENDENCY] = 1.9, [PART_SYNC] = 2.3, [PART_DATA] = 0.01};
    for (int part = 0; part < STEP_PARTS; part++) rollup->parts.part_ns[part] = rollup->parts.ns * percent[part] / 100;
    struct dashboard dashboard = ready(rollup);
    char line[600];
    const uint32_t sizes[][2] = {{24, 80}, {40, 120}, {50, 200}};
    for (size_t i = 0; i < 3; i++) {
        struct text text = draw(&dashboard, rollup, sizes[i][0], sizes[i][1]);
        line_of(&text, 3, line, sizeof line);
        cr_expect(strstr(line, "timed step 31.2 ms  kernels 93.1 %  launch 2.4 %  dependency 1.9 %"), "%s", line);
        if (i == 0) cr_expect(strstr(line, "dependency 1.9 %  sync 2.3 %"), "the least goes first: %s", line);
        if (i > 0) cr_expect(strstr(line, "dependency 1.9 %  copy 0.3 %  sync 2.3 %"), "%s", line);
        cr_expect(strstr(line_of(&text, 2, line, sizeof line), "trace 70 events whole"), "%s", line);
        line_of(&text, 3, line, sizeof line);
        cr_expect_not(strstr(line, "data"), "%s", line);
        cr_expect(strstr(text.bytes, "waits none"), "%s", text.bytes);
        text_finish(&text);
    }
    dashboard_finish(&dashboard);
}

/* The run has told itself, its devices have not yet; a sample of nothing is no sample. */
Test(screens, what_is_not_known_yet_is_not_zero)
{
    struct rollup *rollup = example_rollup();
    memset(rollup->devices, 0, sizeof rollup->devices);
    rollup->devices[0].used_known[SAMPLE_PROCESS] = rollup->devices[0].used_known[SAMPLE_ARENA] = true;
    rollup->step_count = 0;
    rollup->iterations = 0;
    for (size_t i = 0; i < rollup->op_count; i++)
        example_ops[i].count = example_ops[i].total_ns = example_ops[i].histogram.buckets[0] = 0;
    for (int view = 0; view < VIEWS; view++) {
        struct dashboard dashboard = ready(rollup);
        dashboard.view = (enum view)view;
        struct text text = draw(&dashboard, rollup, 40, 160);
        cr_expect_not(strstr(text.bytes, "100"), "%s", text.bytes);
        cr_expect_not(strstr(text.bytes, "0 B"), "%s", text.bytes);
        cr_expect_not(strstr(text.bytes, "0 ns"), "%s", text.bytes);
        cr_expect_not(strstr(text.bytes, "nan"), "%s", text.bytes);
        cr_expect_not(strstr(text.bytes, "0.0"), "%s", text.bytes);
        if (view == VIEW_OVERVIEW) cr_expect(strstr(text.bytes, "arena   –"), "%s", text.bytes);
        text_finish(&text);
        dashboard_finish(&dashboard);
    }
}

Test(screens, a_run_that_has_stopped_has_no_time_left)
{
    struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    setenv("TZ", "UTC", 1);
    dashboard.stopped_at = 1700000000; /* 22:13:20 */
    for (int way = 0; way < 4; way++) {
        dashboard.crashed = way == 1 || way == 2;
        dashboard.silent_seconds = way == 2 ? 3 * 86400 : 125;
        rollup->ended = way == 3;
        struct text text = draw(&dashboard, rollup, 24, 120);
        cr_expect_eq(strstr(text.bytes, " left") == NULL, way > 0, "%s", text.bytes);
        static const char *const says[] = {"SILENT FOR 2 min 5 s", "CRASHED at 22:13:20, 2 min 5 s ago",
                                           "CRASHED at 2023-11-14 22:13:20, 72.0 h ago", "ENDED"};
        cr_expect(strstr(text.bytes, says[way]), "%s", text.bytes);
        text_finish(&text);
    }
    dashboard_finish(&dashboard);
}

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

/* ---- What a look costs ---- */

static size_t count_changes(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas,
                            struct canvas *shown)
{
    size_t count = 0;
    dashboard_draw(dashboard, rollup, canvas);
    for (uint32_t row = 0, column = 0; canvas_next_change(canvas, shown, &row, &column); column++) count++;
    canvas_copy(shown, canvas);
    return count;
}

Test(dashboard, a_look_changes_only_cells_that_tell_something_new)
{
    struct rollup *rollup = example_rollup();
    struct canvas canvas, shown;
    struct error err = {0};
    cr_assert(canvas_init(&canvas, 50, 200, false, &err) && canvas_init(&shown, 50, 200, false, &err));
    struct dashboard dashboard = ready(rollup);
    cr_expect_gt(count_changes(&dashboard, rollup, &canvas, &shown), 1000);
    cr_expect_eq(count_changes(&dashboard, rollup, &canvas, &shown), 0, "nothing has come");
    rollup->ops[0].count++;
    rollup->ops[0].total_ns += 1000000;
    press(&dashboard, rollup, "");
    size_t changed = count_changes(&dashboard, rollup, &canvas, &shown);
    cr_expect(changed > 0 && changed < 300, "%zu cells", changed);
    canvas_finish(&canvas);
    canvas_finish(&shown);
    dashboard_finish(&dashboard);
}

/* A curve of many steps is made when rows are, not with each screen. */
Test(dashboard, a_curve_of_many_steps_is_made_with_the_rows)
{
    static struct rollup_step steps[10000];
    struct rollup *rollup = example_rollup();
    struct canvas canvas, shown;
    struct error err = {0};
    for (size_t i = 0; i < 10000; i++) {
        steps[i] = example_steps[0];
        steps[i].step = i + 1;
        steps[i].metric[METRIC_LOSS] = (float)(10000 - i);
    }
    rollup->steps = steps;
    rollup->step_count = 10000;
    cr_assert(canvas_init(&canvas, 24, 80, false, &err) && canvas_init(&shown, 24, 80, false, &err));
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, "5");
    count_changes(&dashboard, rollup, &canvas, &shown);
    for (size_t i = 5000; i < 9999; i++) steps[i].metric[METRIC_LOSS] = 1;
    cr_expect_eq(count_changes(&dashboard, rollup, &canvas, &shown), 0);
    press(&dashboard, rollup, "");
    cr_expect_gt(count_changes(&dashboard, rollup, &canvas, &shown), 0);
    press(&dashboard, rollup, "+");
    cr_expect_gt(count_changes(&dashboard, rollup, &canvas, &shown), 0);
    canvas_finish(&canvas);
    canvas_finish(&shown);
    dashboard_finish(&dashboard);
}
