/* What a screen says, whatever its size, and what it leaves out. */
#include <criterion/criterion.h>

#include "screen_layout.h"
#include "tui_dashboard.h"

Test(layout, nothing_overlaps_and_nothing_sticks_out)
{
    for (uint32_t rows = 1; rows < 60; rows++)
        for (uint32_t columns = 20; columns < 220; columns += 7)
            for (int view = 0; view < VIEWS; view++) {
                struct layout layout = layout_for((enum view)view, rows, columns, rows % 10,
                                                  (struct layout_below){rows % 2, rows / 2 % 2});
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

/* Frames alone would be all that a table, a plan and a curve have on ten rows. */
Test(layout, a_low_screen_is_the_tables)
{
    const struct layout_below all = {true, true};
    struct layout low = layout_for(VIEW_OVERVIEW, 10, 40, 0, all), high = layout_for(VIEW_OVERVIEW, 24, 80, 0, all);
    cr_expect(low.ops.rows == 5 && low.memory.rows == 0 && low.loss.rows == 0);
    cr_expect(high.ops.rows > 5 && high.memory.rows > 5 && high.loss.rows > 5);
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
                struct text text = draw_text(&dashboard, rollup, 40, columns);
                size_t numbers = count_numbers(line_of(&text, 5, head, sizeof head));
                cr_assert_geq(numbers, before, "%u columns: %s", columns, head);
                if (columns >= 45) cr_expect_geq(numbers, 3, "%u columns: %s", columns, head);
                if (columns >= 80) cr_expect_geq(numbers, 4, "%u columns: %s", columns, head);
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
    struct text widest = draw_text(&dashboard, rollup, 24, 300);
    for (uint32_t columns = 30; columns < 200; columns++) {
        struct text text = draw_text(&dashboard, rollup, 24, columns);
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
    struct text text = draw_text(&dashboard, rollup, 24, 80);
    const char *kept = strstr(text.bytes, "k kept "), *transient = strstr(text.bytes, "t transient ");
    cr_assert(kept && transient && kept < transient, "%s", text.bytes);
    cr_expect(strstr(kept, "184 MiB"));
    cr_expect(strstr(text.bytes, "3 smaller"), "%s", text.bytes);
    cr_expect(strstr(text.bytes, "3.00 MiB"), "%s", text.bytes);
    cr_expect(strstr(text.bytes, "│kkkkkkkkkkkkkkkkkkkkk"), "the bar can be read without colours: %s", text.bytes);
    text_finish(&text);
    dashboard.view = VIEW_MEMORY;
    text = draw_text(&dashboard, rollup, 24, 80);
    for (int i = 0; i < 5; i++) cr_expect(strstr(text.bytes, names[i]), "%s", names[i]);
    cr_expect_not(strstr(text.bytes, "smaller"), "%s", text.bytes);
    cr_expect(strstr(text.bytes, "m momentum"), "%s", text.bytes);
    text_finish(&text);
    dashboard_finish(&dashboard);
}

Test(screens, a_kernels_name_is_cut_in_the_middle_and_what_is_unknown_is_no_number)
{
    struct rollup *rollup = example_gpu_rollup();
    for (int i = 8; i < 10; i++) rollup->kernels[i].op = TRACE_NO_OWNER, rollup->kernels[i].times.pass = "";
    for (size_t i = 0; i < rollup->op_count; i++) rollup->ops[i].count = 0;
    struct dashboard dashboard = ready_in(VIEW_KERNELS, rollup);
    char line[600];
    struct text text = draw_text(&dashboard, rollup, 24, 120);
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
    struct text text = draw_text(&dashboard, rollup, 24, 80);
    cr_expect(strstr(text.bytes, "device  -1.0 %  297 MiB of 300 MiB"), "%s", text.bytes);
    cr_expect(strstr(text.bytes, "host    606 MiB"), "%s", text.bytes);
    text_finish(&text);
    rollup->devices[0].used_known[SAMPLE_DEVICE] = rollup->devices[0].used_known[SAMPLE_PROCESS] = false;
    text = draw_text(&dashboard, rollup, 24, 80);
    cr_expect(strstr(text.bytes, "device  –  plan 300 MiB"), "%s", text.bytes);
    cr_expect(strstr(text.bytes, "host    –"), "%s", text.bytes);
    text_finish(&text);
    rollup->devices[0].used_known[SAMPLE_BUT_CONTEXT] = true;
    rollup->devices[0].peak_bytes[SAMPLE_BUT_CONTEXT] = 23 << 20;
    text = draw_text(&dashboard, rollup, 24, 120);
    cr_expect(strstr(text.bytes, "device  23.0 MiB  without its context  plan 300 MiB"), "%s", text.bytes);
    text_finish(&text);
    text = draw_text(&dashboard, rollup, 24, 80);
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
    struct text text = draw_text(&dashboard, rollup, 24, 80);
    cr_expect(strstr(text.bytes, "process +1.0 %  606 MiB of 600 MiB"), "%s", text.bytes);
    text_finish(&text);
    rollup->ranks = 2;
    text = draw_text(&dashboard, rollup, 24, 80);
    cr_expect(strstr(text.bytes, "process –  606 MiB ") && !strstr(text.bytes, "of 600"), "%s", text.bytes);
    text_finish(&text);
    dashboard_finish(&dashboard);
}

Test(screens, gpus_are_told_as_far_as_they_are_known)
{
    struct rollup *rollup = example_gpu_rollup();
    example_gpu_counters(rollup);
    struct dashboard dashboard = ready(rollup);
    struct text text = draw_text(&dashboard, rollup, 40, 120);
    char line[600];
    line_of(&text, 4, line, sizeof line);
    cr_expect_str_eq(line, " gpu 0  busy 97 %  61.2 GiB of 80.0 GiB  612 of 700 W  71 °C  1755 MHz  memory 2619 MHz  "
                           "not held back");
    line_of(&text, 5, line, sizeof line);
    cr_expect_str_eq(line, " gpu 1  83 °C  1410 MHz  held back: power cap, heat", "what is unknown is left out");
    text_finish(&text);
    text = draw_text(&dashboard, rollup, 24, 80);
    line_of(&text, 4, line, sizeof line);
    cr_expect(strstr(line, "gpu 0  busy 97 %"), "%s", line);
    cr_expect_not(strstr(text.bytes, "gpu 1"), "%s", text.bytes);
    text_finish(&text);
    press(&dashboard, rollup, "d");
    text = draw_text(&dashboard, rollup, 24, 80);
    cr_expect(strstr(text.bytes, "gpu 1  83 °C"), "the one that was chosen: %s", text.bytes);
    text_finish(&text);
    for (size_t i = 0; i < rollup->counter_count; i++)
        for (int d = 0; d < 2; d++) rollup->counters[i].devices[d].last_ns = 0;
    rollup->last_ns = 20000000000ull;
    text = draw_text(&dashboard, rollup, 40, 120);
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
    struct text text = draw_text(&dashboard, rollup, 40, 120);
    cr_expect_not(strstr(text.bytes, "tensor "), "%s", text.bytes);
    text_finish(&text);
    const enum trace_gpu_counter told[] = {COUNTER_GPU_SM_ACTIVE, COUNTER_GPU_TENSOR_ACTIVE, COUNTER_GPU_DRAM_ACTIVE};
    for (int i = 0; i < 3; i++) {
        rollup->counters[told[i]].name = rollup->counters[told[i]].unit = "";
        rollup->counters[told[i]].devices[0] =
            (struct rollup_value){.count = 1, .last = 80 - 40 * i, .last_ns = rollup->last_ns};
    }
    text = draw_text(&dashboard, rollup, 40, 120);
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
        struct text text = draw_text(&dashboard, rollup, 40, 120);
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
    struct text text = draw_text(&dashboard, rollup, 24, 80);
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
        struct text text = draw_text(&dashboard, rollup, 40, 120);
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
    struct text text = draw_text(&dashboard, rollup, 24, 80);
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
        struct text text = draw_text(&dashboard, rollup, sizes[i][0], sizes[i][1]);
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
        struct text text = draw_text(&dashboard, rollup, 40, 160);
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
        struct text text = draw_text(&dashboard, rollup, 24, 120);
        cr_expect_eq(strstr(text.bytes, " left") == NULL, way > 0, "%s", text.bytes);
        static const char *const says[] = {"SILENT FOR 2 min 5 s", "CRASHED at 22:13:20, 2 min 5 s ago",
                                           "CRASHED at 2023-11-14 22:13:20, 72.0 h ago", "ENDED"};
        cr_expect(strstr(text.bytes, says[way]), "%s", text.bytes);
        text_finish(&text);
    }
    dashboard_finish(&dashboard);
}

Test(screens, a_run_of_long_steps_is_not_silent_between_them)
{
    struct rollup *rollup = example_rollup();
    struct dashboard dashboard = ready(rollup);
    struct rollup_step *last = &rollup->steps[rollup->step_count - 1];
    dashboard.silent_seconds = 20;
    for (uint64_t took = 1; took <= 8; took += 7) {
        last->end_ns = last->begin_ns + took * UINT64_C(1000000000);
        struct text text = draw_text(&dashboard, rollup, 24, 120);
        cr_expect(strstr(text.bytes, took == 1 ? "SILENT FOR 20" : "LIVE"), "%s", text.bytes);
        text_finish(&text);
    }
    dashboard_finish(&dashboard);
}

/* An op that runs once in a step takes of it what it takes. */
Test(screens, a_mean_that_another_column_tells_is_left_out)
{
    struct rollup *rollup = example_rollup();
    rollup->parts = (struct rollup_parts){.steps = 1, .ns = 1e9};
    for (uint32_t micro_batches = 0; micro_batches < 3; micro_batches++)
        for (int sorted = 0; sorted < 2; sorted++) {
            struct dashboard dashboard = ready_in(VIEW_OPS, rollup);
            for (uint32_t d = 0; d < rollup->device_count; d++) rollup->devices[d].micro_batches = micro_batches;
            dashboard.sort = sorted ? SORT_MEAN : SORT_TOTAL;
            struct text text = draw_text(&dashboard, rollup, 24, 120);
            cr_expect_eq(strstr(text.bytes, "Mean") == NULL, micro_batches == 1 && !sorted, "%s", text.bytes);
            text_finish(&text);
            dashboard_finish(&dashboard);
        }
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
