/* The rows and the tree, what keys and clicks do to them, and what a look costs. */
#include <criterion/criterion.h>

#include "mem.h"
#include "summary.h"
#include "tui_dashboard.h"

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

/* Clicks on the first place where a word of the footer stands. */
static void click_word(struct dashboard *dashboard, const struct rollup *rollup, const char *word)
{
    char line[400];
    struct text text = draw_text(dashboard, rollup, 24, 120);
    const char *at = strstr(line_of(&text, 23, line, sizeof line), word);
    cr_assert(at, "%s is not in %s", word, line);
    dashboard->click_row = 23;
    dashboard->click_column = (uint32_t)(at - line);
    dashboard_key(dashboard, rollup, DASHBOARD_CLICK);
    text_finish(&text);
}

Test(dashboard, a_click_on_a_word_of_the_footer_is_its_key)
{
    const struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    click_word(&dashboard, rollup, "4 memory");
    cr_expect_eq(dashboard.view, VIEW_MEMORY);
    click_word(&dashboard, rollup, "ops");
    cr_expect_eq(dashboard.view, VIEW_OPS);
    click_word(&dashboard, rollup, "pause");
    cr_expect(dashboard.paused);
    dashboard.click_column = 119;
    dashboard_key(&dashboard, rollup, DASHBOARD_CLICK);
    cr_expect(dashboard.view == VIEW_OPS && dashboard.ops.selected == 0 && !dashboard.quit, "nothing stands there");
    strcpy(dashboard.filter, "conv");
    click_word(&dashboard, rollup, "Esc all");
    cr_expect_str_eq(dashboard.filter, "");
    click_word(&dashboard, rollup, "q quit");
    cr_expect(dashboard.quit);
    dashboard_finish(&dashboard);
}

Test(dashboard, the_wheel_moves_the_selection)
{
    const struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    dashboard_key(&dashboard, rollup, DASHBOARD_WHEEL_DOWN);
    cr_expect_eq(dashboard.ops.selected, 3);
    dashboard_key(&dashboard, rollup, DASHBOARD_WHEEL_UP);
    dashboard_key(&dashboard, rollup, DASHBOARD_WHEEL_UP);
    cr_expect_eq(dashboard.ops.selected, 0);
    dashboard_finish(&dashboard);
}

Test(dashboard, keys_of_a_replay_are_for_a_replay)
{
    const struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    press(&dashboard, rollup, "n>>");
    cr_expect(dashboard.asks_steps == 0 && dashboard.speed == 1);
    dashboard.replay = true;
    press(&dashboard, rollup, "nnp>>>><");
    cr_expect(dashboard.asks_steps == 1 && dashboard.speed == 8);
    for (int i = 0; i < 40; i++) press(&dashboard, rollup, "<");
    cr_expect_eq(dashboard.speed, DASHBOARD_LEAST_SPEED);
    dashboard_finish(&dashboard);
}

Test(dashboard, what_is_open_stays_so_when_the_trace_is_read_anew)
{
    const struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready_in(VIEW_LAYERS, rollup);
    dashboard_key(&dashboard, rollup, DASHBOARD_RETURN);
    press(&dashboard, rollup, "");
    const size_t lines = dashboard.tree.visible_count, ops = dashboard.ops.count;
    dashboard.ops.selected = 1;
    dashboard_forget(&dashboard);
    cr_assert(dashboard.tree.visible_count == 0 && dashboard.ops.count == 0);
    press(&dashboard, rollup, "");
    cr_expect(dashboard.tree.visible_count == lines && dashboard.ops.count == ops && dashboard.ops.selected == 1);
    dashboard_finish(&dashboard);
}

static void check_peak(double flops, double bandwidth, enum roofline_bound bound, double share)
{
    const struct rollup *rollup = example_peaks(flops, bandwidth);
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
