/* The list of kernels: what a step takes of each, and the way from ops to them and on. */
#include "tui_dashboard.h"

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

/* Lines that are of one device each say which, also where there is little room. */
Test(kernels, tell_their_device_at_80_columns)
{
    struct rollup *rollup = example_gpu_rollup();
    struct dashboard dashboard = ready(rollup);
    char line[600];
    press(&dashboard, rollup, "6");
    struct text text = draw_text(&dashboard, rollup, 24, 80);
    cr_expect(strstr(line_of(&text, 5, line, sizeof line), " Dev "), "%s", line);
    text_finish(&text);
    press(&dashboard, rollup, "D");
    text = draw_text(&dashboard, rollup, 24, 80);
    cr_expect_not(strstr(line_of(&text, 5, line, sizeof line), " Dev "), "%s", line);
    text_finish(&text);
    dashboard_finish(&dashboard);
}
