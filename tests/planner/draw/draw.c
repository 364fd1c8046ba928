#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "advise.h"
#include "block_grid.h"
#include "boxes.h"
#include "draw.h"
#include "mem.h"
#include "plan_words.h"
#include "planner_kit.h"
#include "random.h"

static struct machine machine;

static void finish(void) { machine_finish(&machine); }

Test(words, verdicts, .fini = finish)
{
    char text[WORDS_VERDICT];
    struct plan_request request = kit_request("resnet-20", "2xtitan-x,12GiB", 96, &machine);
    struct plan *plan = kit_plan(&request);
    words_devices(plan, text, sizeof text);
    cr_assert_str_eq(text, "2 x titan-x + 12GiB");
    words_verdict(plan, text, sizeof text);
    cr_assert_eq(strncmp(text, "resnet-20 fits 2 x titan-x + 12GiB at batch 96: peak ", 53), 0, "%s", text);
    cr_assert(strstr(text, " of 12.0 GiB on titan-x each, "), "%s", text);
    cr_assert(strstr(text, " of 12.0 GiB on 12GiB; "), "%s", text);
    plan->devices[2].peak_bytes = 12ull << 30; /* what would fit without the reserve says so */
    words_verdict(plan, text, sizeof text);
    cr_assert(strstr(text, "12.0 of 12.0 GiB less 384 MiB kept free on 12GiB"), "%s", text);
    plan->devices[2].peak_bytes = 211ull << 20;
    words_verdict(plan, text, sizeof text);
    cr_assert(strstr(text, "211 MiB of 12.0 GiB on 12GiB"), "%s", text);
    char tiny[24];
    words_verdict(plan, tiny, sizeof tiny);
    cr_assert_eq(strlen(tiny), sizeof tiny - 1);
    cr_assert_str_eq(tiny + 20, "...", "%s", tiny);
    plan_destroy(plan);
}

/* Boxes keep the area that they draw, whatever the grid, and never touch one another. */
Test(boxes, property_area_and_limits, .fini = finish)
{
    struct plan_request request = kit_request("resnet-56", "titan-x", 64, &machine);
    struct plan *plan = kit_plan(&request);
    const struct plan_variant *variant = &plan->variants[0];
    const size_t limits[] = {100000, 1000, 200, 50};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct boxes boxes;
        struct error err = {0};
        cr_assert(
            boxes_make(variant->graph, &variant->train, variant->arena_bytes, 1000, 600, limits[i], &boxes, &err));
        cr_expect_leq(boxes.count, limits[i]);
        cr_expect_gt(boxes.count, 0);
        for (size_t b = 0; b < boxes.count; b++) {
            const struct box *box = &boxes.items[b];
            cr_expect_lt(box->left, box->right);
            cr_expect_lt(box->bottom, box->top);
            cr_expect_leq(box->right * boxes.pixels, 1000);
            cr_expect_leq(box->top * boxes.pixels, 600);
        }
        boxes_finish(&boxes);
    }
    plan_destroy(plan);
}

static size_t count_cells(const struct block_grid *grid, size_t row, enum block_state state)
{
    size_t count = 0;
    for (size_t c = 0; c < grid->columns; c++) count += grid->cells[row * grid->columns + c] == (uint8_t)state;
    return count;
}

/* Every block runs forward, then backward; only what is dropped in between runs again. */
static void check_lanes(const struct plan *plan, size_t most_rows, bool again)
{
    const struct plan_variant *variant = &plan->variants[0];
    struct block_grid grid;
    struct error err = {0};
    size_t all = 0, reruns = 0;
    cr_assert(block_grid_make(variant->graph, &variant->train, 720, most_rows, &grid, &err));
    cr_assert_leq(grid.rows, most_rows);
    cr_assert_geq(grid.rows * grid.group, variant->graph->block_count);
    cr_assert_lt((grid.rows - 1) * grid.group, variant->graph->block_count);
    for (size_t r = 0; r < grid.rows; r++) {
        cr_expect_gt(count_cells(&grid, r, BLOCK_FORWARD), 0, "row %zu", r);
        cr_expect_gt(count_cells(&grid, r, BLOCK_BACKWARD), 0, "row %zu", r);
        all += count_cells(&grid, r, BLOCK_ALL);
        reruns += count_cells(&grid, r, BLOCK_AGAIN);
        cr_expect_eq(count_cells(&grid, r, BLOCK_HOST), 0);
    }
    cr_expect_gt(all, 0);
    cr_expect_eq(reruns > 0, again);
    cr_expect_eq(grid.cells[0], BLOCK_FORWARD, "the first block begins");
    block_grid_finish(&grid);
}

Test(grid, show_what_runs, .fini = finish)
{
    struct plan_request request = kit_request("resnet-56", "12GiB", 64, &machine);
    struct plan *plan = kit_plan(&request);
    check_lanes(plan, 200, false);
    check_lanes(plan, 5, false);
    plan_destroy(plan);
    request.recompute = RECOMPUTE_BUDGET;
    request.recompute_budget_bytes = 100u << 20;
    plan = kit_plan(&request);
    cr_assert_gt(plan->variants[0].recomputed_convolutions, 0);
    check_lanes(plan, 200, true);
    plan_destroy(plan);
}

Test(draw, survives_failing_allocations, .fini = finish)
{
    char folder[] = "/tmp/fathom-draw-XXXXXX", path[64];
    struct plan_request request = kit_request("resnet-8", "2x1GiB", 8, &machine);
    struct plan *plan = kit_plan(&request);
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/map.svg", folder);
    uint64_t plan_bytes = mem_current_bytes(MEM_PLAN), general = mem_current_bytes(MEM_GENERAL);
    for (uint64_t n = 1;; n++) {
        struct error err = {0};
        mem_fail_at(n);
        bool ok = draw_plan(plan, 0, "a < b & c", path, &err);
        bool fired = mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_PLAN), plan_bytes, "n = %lu", (unsigned long)n);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), general, "n = %lu", (unsigned long)n);
        if (!fired) {
            cr_assert(ok, "%s", err.text);
            cr_assert_gt(n, 4);
            break;
        }
        cr_assert_not(ok);
        cr_assert_eq(err.kind, ERROR_MEMORY, "%s", err.text);
        cr_assert_neq(access(path, F_OK), 0, "a failed drawing left a file");
    }
    unlink(path);
    cr_assert_eq(rmdir(folder), 0);
    plan_destroy(plan);
}

Test(advise, survives_failing_allocations, .fini = finish)
{
    struct plan_request request = kit_request("resnet-8", "64MiB", 256, &machine);
    machine.devices[0].context_bytes = machine.devices[0].reserve_bytes = 0;
    request.micro_batches = 1;
    request.recompute = RECOMPUTE_NONE;
    struct plan *plan = kit_plan(&request);
    cr_assert_not(plan->fits);
    uint64_t plan_bytes = mem_current_bytes(MEM_PLAN), graph = mem_current_bytes(MEM_GRAPH);
    uint64_t n = 1;
    for (bool fired = true; fired; n += n < 300 ? 7 : 997) {
        struct advice advice[ADVICE_KINDS];
        size_t count = 77;
        struct error err = {0};
        mem_fail_at(n);
        bool ok = advise_unfit(&request, plan, advice, &count, &err);
        fired = mem_fail_at(0);
        cr_assert_eq(mem_current_bytes(MEM_PLAN), plan_bytes);
        cr_assert_eq(mem_current_bytes(MEM_GRAPH), graph);
        /* The planner may do with less memory than it asked for. */
        cr_assert_eq(err.kind, ok ? ERROR_NONE : ERROR_MEMORY, "%s", err.text);
        if (!fired) cr_assert(ok);
        if (!ok) cr_assert_eq(count, 77);
        if (ok) cr_assert_gt(count, 0);
    }
    plan_destroy(plan);
}

Test(advise, the_largest_batch_needs_few_plans, .fini = finish)
{
    struct plan_request request = kit_request("resnet-110", "12GiB", 128, &machine);
    request.recompute = RECOMPUTE_NONE;
    struct plan *plan = kit_plan(&request);
    uint32_t batch, few;
    bool exact;
    struct error err = {0};
    cr_assert(advise_largest_batch(&request, plan, 0, &batch, &exact, &err));
    cr_assert(exact);
    cr_assert(advise_largest_batch(&request, plan, 8, &few, &exact, &err));
    cr_assert_eq(few, batch, "eight plans are enough when memory grows with images");
    cr_assert(exact);
    cr_assert(advise_largest_batch(&request, plan, 1, &few, &exact, &err));
    cr_assert_leq(few, batch);
    plan_destroy(plan);
}
