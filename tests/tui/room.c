/* Who gets the room of a screen: nothing stands empty for what is not known, and nothing is lost on a small one. */
#include <string.h>

#include "screen_layout.h"
#include "tui_dashboard.h"

/* ---- What is not known takes no room ---- */

/* As an imported profile is: no plan, no samples, no losses. */
static struct rollup *imported_rollup(void)
{
    struct rollup *rollup = example_rollup();
    rollup->ended = true;
    rollup->device_count = 1;
    rollup->unreported = 1u << METRIC_LOSS;
    rollup->devices[0] = (struct rollup_device){.name = "NVIDIA A100", .memory_bytes = 80ull << 30};
    for (size_t i = 0; i < rollup->step_count; i++) rollup->steps[i].metric[METRIC_LOSS] = NAN;
    return rollup;
}

Test(room, a_trace_without_plan_and_losses_is_its_ops)
{
    struct dashboard dashboard = ready(imported_rollup());
    struct text text = draw_text(&dashboard, imported_rollup(), 24, 80);
    cr_expect(!strstr(text.bytes, "Memory") && !strstr(text.bytes, "Loss"), "%s", text.bytes);
    cr_expect(strstr(text.bytes, "Ops: 7"), "%s", text.bytes);
    text_finish(&text);
    dashboard_finish(&dashboard);
}

Test(room, what_is_known_of_the_two_has_all_of_it)
{
    struct rollup *rollup = imported_rollup();
    rollup->devices[0].planned_bytes = 300 << 20;
    struct dashboard dashboard = ready(rollup);
    struct text text = draw_text(&dashboard, rollup, 24, 80);
    char line[500];
    cr_expect(strstr(text.bytes, "Memory") && !strstr(text.bytes, "Loss"), "%s", text.bytes);
    line_of(&text, 15, line, sizeof line);
    cr_expect(strstr(line, "Memory") && !strstr(line, "╮╭"), "%s", line);
    text_finish(&text);
    dashboard_finish(&dashboard);
}

/* A run's first loss comes when its first step ends: its panel does not jump in. */
Test(room, a_run_that_goes_on_keeps_room_for_its_losses)
{
    struct rollup *rollup = imported_rollup();
    rollup->ended = false;
    struct dashboard dashboard = ready(rollup);
    struct text text = draw_text(&dashboard, rollup, 24, 80);
    cr_expect(strstr(text.bytes, "Loss") && strstr(text.bytes, "no loss has been reported"), "%s", text.bytes);
    text_finish(&text);
    dashboard_finish(&dashboard);
}

Test(room, that_there_are_no_losses_is_said_in_their_view)
{
    struct rollup *rollup = imported_rollup();
    struct dashboard dashboard = ready_in(VIEW_LOSS, rollup);
    for (int i = 0; i < 2; i++) {
        struct text text = draw_text(&dashboard, rollup, 24, 80);
        cr_expect(strstr(text.bytes, "no loss has been reported"), "%zu steps: %s", rollup->step_count, text.bytes);
        text_finish(&text);
        rollup->step_count = 0;
    }
    dashboard_finish(&dashboard);
}

/* ---- Planned memory ---- */

Test(room, planned_memory_is_called_so_where_there_is_room)
{
    struct dashboard dashboard = ready_in(VIEW_MEMORY, example_rollup());
    struct text wide = draw_text(&dashboard, example_rollup(), 24, 80);
    struct text narrow = draw_text(&dashboard, example_rollup(), 24, 40);
    cr_expect(strstr(wide.bytes, "606 MiB of 600 MiB planned"), "%s", wide.bytes);
    cr_expect(strstr(narrow.bytes, "606 MiB of 600 MiB ") && !strstr(narrow.bytes, "600 MiB planned"), "%s",
              narrow.bytes);
    text_finish(&wide);
    text_finish(&narrow);
    dashboard_finish(&dashboard);
}

/* They end where the furthest of them does: they may share bytes. */
Test(room, host_memory_of_offloaded_tensors_is_told_where_there_is_any)
{
    struct rollup_tensor tensors[] = {
        {.layer = "a", .role = "output", .class_name = "kept", .bytes = 8 << 20},
        {.layer = "b", .role = "output", .class_name = "kept", .host = true, .bytes = 3 << 20},
        {.layer = "c", .role = "output", .class_name = "kept", .host = true, .offset = 2 << 20, .bytes = 4 << 20}};
    struct rollup *rollup = example_rollup();
    struct rollup_device *device = &rollup->devices[0];
    struct dashboard without = ready_in(VIEW_MEMORY, rollup);
    struct text text = draw_text(&without, rollup, 24, 80);
    cr_expect(!strstr(text.bytes, "offload"), "%s", text.bytes);
    text_finish(&text);
    device->tensors = tensors;
    device->tensor_count = device->tensor_total = 3;
    device->tensors_like = 1;
    struct dashboard with = ready_in(VIEW_MEMORY, rollup);
    text = draw_text(&with, rollup, 24, 80);
    cr_expect(strstr(text.bytes, "offload 6.00 MiB  of host memory planned"), "%s", text.bytes);
    text_finish(&text);
    dashboard_finish(&without);
    dashboard_finish(&with);
}

/* ---- Layers ---- */

static size_t open_nodes(const struct tree *tree)
{
    size_t count = 0;
    for (size_t i = 1; i < tree->node_count; i++) count += tree->nodes[i].open;
    return count;
}

Test(room, layers_are_opened_as_far_as_they_fit)
{
    struct dashboard dashboard = ready(example_rollup());
    struct tree *tree = &dashboard.tree;
    size_t closed = tree->visible_count;
    tree_open_to_fit(tree, closed);
    cr_expect_eq(tree->visible_count, closed, "the next level has no room");
    for (size_t rows = closed; rows < 40; rows++) {
        tree_open_to_fit(tree, rows);
        cr_expect_leq(tree->visible_count, rows);
    }
    cr_expect_gt(tree->visible_count, closed);
    tree_open_to_fit(tree, closed);
    cr_expect_eq(open_nodes(tree), 0, "on a lower screen they are closed again");
    dashboard_finish(&dashboard);
}

Test(room, layers_stay_as_somebody_left_them)
{
    struct dashboard dashboard = ready_in(VIEW_LAYERS, example_rollup());
    struct tree *tree = &dashboard.tree;
    tree_open_to_fit(tree, 40);
    cr_assert(tree_toggle(tree, 0));
    size_t open = open_nodes(tree);
    for (size_t rows = 1; rows < 40; rows++) {
        tree_open_to_fit(tree, rows);
        cr_expect_eq(open_nodes(tree), open);
    }
    dashboard_finish(&dashboard);
}

/* ---- Help ---- */

static const char *const keys[] = {"1-6, Tab", "Enter", "s, S", "g, G", "Peak", "Space", "record"};
#define KEYS (sizeof keys / sizeof keys[0])

/* Whether all are seen on a screen, one after the other, while the help is scrolled to its end. */
static bool all_are_seen(struct dashboard *dashboard, uint32_t rows, uint32_t columns)
{
    size_t seen = 0, next = 0;
    for (int i = 0; i < 100; i++) {
        struct text text = draw_text(dashboard, example_rollup(), rows, columns);
        while (next < KEYS && strstr(text.bytes, keys[next])) next++;
        seen += strstr(text.bytes, "quit (the run goes on)") != NULL;
        text_finish(&text);
        dashboard_key(dashboard, example_rollup(), DASHBOARD_DOWN);
    }
    return next == KEYS && seen > 0;
}

Test(room, all_of_the_help_is_reached_on_a_small_screen)
{
    static const uint32_t sizes[][2] = {{24, 80}, {10, 80}, {24, 40}, {10, 40}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct dashboard dashboard = ready(example_rollup());
        dashboard_key(&dashboard, example_rollup(), '?');
        cr_expect(all_are_seen(&dashboard, sizes[i][0], sizes[i][1]), "%u x %u", sizes[i][0], sizes[i][1]);
        cr_expect_eq(dashboard.ops.selected, 0, "the list behind it does not move");
        dashboard_key(&dashboard, example_rollup(), DASHBOARD_FIRST);
        cr_expect_eq(dashboard.help_scroll, 0);
        dashboard_key(&dashboard, example_rollup(), DASHBOARD_ESCAPE);
        cr_expect(!dashboard.help);
        dashboard_finish(&dashboard);
    }
}

Test(room, no_word_of_the_help_is_cut)
{
    for (uint32_t columns = 30; columns < 120; columns++) {
        struct dashboard dashboard = ready(imported_rollup());
        dashboard.help = true;
        struct text text = draw_text(&dashboard, imported_rollup(), 60, columns);
        const char *from = strstr(text.bytes, "Keys"), *peak = from ? strstr(from, "Peak") : NULL;
        cr_assert(peak, "%u columns: %s", columns, text.bytes);
        cr_expect(strstr(peak, "caches") && strstr(peak, "over") && strstr(peak, "notice"), "%u columns: %s", columns,
                  text.bytes);
        text_finish(&text);
        dashboard_finish(&dashboard);
    }
}
