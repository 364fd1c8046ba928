/* Plans beside plans: the largest batch, the deepest net, the frontier, and two or more compared. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plan_kit.h"

Test(cli_plan, the_largest_batch_is_the_largest)
{
    static const char *const machines[] = {"12GiB", "2xtitan-x", "h100,12GiB"};
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        char arguments[160];
        snprintf(arguments, sizeof arguments,
                 "plan resnet-50 --gpus %s --batch 64 --micro-batches 1 --json --max-batch", machines[i]);
        json_t *root = run_json(arguments, 0);
        unsigned batch = (unsigned)number(root, "largest_batch");
        json_decref(root);
        cr_assert_gt(batch, 64);
        for (unsigned more = 0; more < 2; more++) {
            snprintf(arguments, sizeof arguments, "plan resnet-50 --gpus %s --batch %u --micro-batches 1 --json",
                     machines[i], batch + more);
            cr_expect_eq(cli_run(arguments)->code, (int)more, "%s", arguments);
        }
    }
}

/* The deepest fits and the next of its form does not; both are planned again by name. */
Test(cli_plan, the_deepest_is_the_deepest)
{
    static const struct {
        const char *model, *flags;
        unsigned step; /* between depths of the form; 0 = ImageNet's table */
    } rows[] = {
        {"resnet-164", "--gpus 2GiB --recompute none", 9},
        {"resnet-1001", "--gpus 2xtitan-x --recompute elementwise", 9},
        {"resnet-20", "--gpus 1GiB --batch 256 --recompute none", 6},
        {"resnet-50", "--gpus 12GiB --batch 32", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char arguments[160];
        snprintf(arguments, sizeof arguments, "plan %s %s --json --max-depth", rows[i].model, rows[i].flags);
        json_t *root = run_json(arguments, 0), *next = json_object_get(root, "deepest_unfit_depth");
        unsigned depth = (unsigned)number(root, "deepest_depth");
        unsigned unfit = json_is_null(next) ? 0 : (unsigned)number(root, "deepest_unfit_depth");
        json_decref(root);
        if (rows[i].step == 0) {
            cr_expect_eq(depth, 200);
            cr_expect_eq(unfit, 0);
            continue;
        }
        cr_expect_eq(depth % rows[i].step, 2, "%u", depth);
        cr_expect_eq(unfit % rows[i].step, 2, "%u", unfit);
        cr_expect_leq(unfit - depth, 2 * rows[i].step, "some depths name another form");
        for (int k = 0; k < 2; k++) {
            snprintf(arguments, sizeof arguments, "plan resnet-%u %s --json --micro-batches 1", k ? unfit : depth,
                     rows[i].flags);
            cr_expect_eq(cli_run(arguments)->code, k, "%s", arguments);
        }
    }
}

/* More memory is never slower along the frontier, and each point is a plan that its own arena as the budget gives
 * again, or a smaller one. */
Test(cli_plan, the_frontier_only_falls)
{
    static const char *const rows[] = {"resnet-47 --gpus titan-x", "resnet-56 --gpus 12GiB --batch 256"};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        char arguments[160];
        snprintf(arguments, sizeof arguments, "plan %s --search --json", rows[r]);
        json_t *root = run_json(arguments, 0), *points = json_object_get(root, "frontier"), *point;
        size_t i, count = json_array_size(points);
        cr_assert_geq(count, 6, "%s: %zu points", rows[r], count);
        uint64_t arena = 0;
        double cost = 1e300;
        const char *key = json_is_null(json_object_get(root, "step_seconds")) ? "recompute_fraction" : "step_seconds";
        json_array_foreach(points, i, point)
        {
            double next = json_real_value(json_object_get(point, key));
            cr_expect_gt(number(point, "arena_bytes"), arena);
            cr_expect_lt(next, cost);
            arena = number(point, "arena_bytes");
            cost = next;
            snprintf(arguments, sizeof arguments, "plan %s --json --budget %llu", rows[r], (unsigned long long)arena);
            json_t *again = run_json(arguments, 0);
            cr_expect_leq(number(again, "arena_bytes"), arena);
            json_decref(again);
        }
        cr_expect_eq(json_real_value(json_object_get(json_array_get(points, count - 1), "recompute_fraction")), 0);
        json_decref(root);
    }
}

/* Whether a row of a table begins with the label, and what it ends with. */
static bool row_ends(const char *table, const char *label, const char *end)
{
    char start[64];
    snprintf(start, sizeof start, "\n  %s ", label);
    const char *row = strstr(table, start), *stop = row ? strchr(row + 1, '\n') : NULL;
    cr_assert(stop, "no row %s in %s", label, table);
    size_t length = strlen(end);
    return (size_t)(stop - row) > length && strncmp(stop - length, end, length) == 0;
}

/* Where lines break depends on the figures: here they do not. In place. */
static char *unbroken(char *text)
{
    char *to = text;
    for (const char *at = text; *at; at++)
        if (!(*at == '\n' || *at == ' ') || (to > text && to[-1] != ' ')) *to++ = *at == '\n' ? ' ' : *at;
    *to = '\0';
    return text;
}

/* Memory of the host and rounding are prices that neither memory nor time shows. */
Test(cli_plan, compares_what_waits_and_what_is_rounded)
{
    char folder[] = "/tmp/fathom-prices-XXXXXX", arguments[256];
    static const char *const flags[] = {"", "--offload auto", "--reconstruct"};
    cr_assert(mkdtemp(folder));
    for (int i = 0; i < 3; i++) {
        snprintf(arguments, sizeof arguments,
                 "plan resnet-29 --batch 32 --gpus titan-x --budget 60MiB %s -o %s/%d.json", flags[i], folder, i);
        cr_assert_eq(cli_run(arguments)->code, 0);
    }
    snprintf(arguments, sizeof arguments, "plan --compare %s/0.json %s/1.json", folder, folder);
    const struct cli_run *run = cli_run(arguments);
    cr_expect_not(strstr(run->out, "rounding"), "%s", run->out);
    char words[8192];
    snprintf(words, sizeof words, "%.8000s", run->out);
    cr_expect(strstr(unbroken(words), "b takes ") && strstr(words, " more of host memory."), "%s", run->out);
    cr_expect(strstr(words, " MiB in host memory "), "%s", run->out);
    snprintf(arguments, sizeof arguments, "plan --compare %s/2.json %s/0.json", folder, folder);
    run = cli_run(arguments);
    cr_expect(strstr(run->out, "a is exact only to rounding."), "%s", run->out);
    cr_expect(row_ends(run->out, "inputs made again", "-100.0 %"), "%s", run->out);
    snprintf(arguments, sizeof arguments, "rm -r %s", folder);
    cr_expect_eq(system(arguments), 0);
}

Test(cli_plan, compares_plan_files)
{
    char folder[] = "/tmp/fathom-compare-XXXXXX", arguments[256];
    cr_assert(mkdtemp(folder));
    snprintf(arguments, sizeof arguments, "plan resnet-20 --gpus titan-x --json -o %s/a.json", folder);
    json_t *a = run_json(arguments, 0);
    snprintf(arguments, sizeof arguments, "plan resnet-20 --gpus titan-x --recompute elementwise --json -o %s/b.json",
             folder);
    json_t *b = run_json(arguments, 0);
    snprintf(arguments, sizeof arguments, "plan --compare %s/a.json %s/b.json", folder, folder);
    const struct cli_run *run = cli_run(arguments);
    cr_assert_eq(run->code, 0, "%s", run->err);
    char change[32];
    snprintf(change, sizeof change, "   %+.1f %%",
             100 * ((double)number(b, "arena_bytes") / (double)number(a, "arena_bytes") - 1));
    cr_expect(row_ends(run->out, "arena", change), "%s", run->out);
    cr_expect(row_ends(run->out, "model", "resnet-20"), "%s", run->out);
    cr_expect(row_ends(run->out, "recompute", "differs"), "%s", run->out);
    cr_expect(row_ends(run->out, "batch", "128"), "%s", run->out);
    snprintf(arguments, sizeof arguments, "plan --compare %s/a.json %s/b.json --json", folder, folder);
    char compared[256];
    snprintf(compared, sizeof compared, "plan --compare %s/a.json %s/b.json", folder, folder);
    expect_narrow(compared);
    json_t *both = run_json(arguments, 0), *differs = json_object_get(both, "differs"), *name;
    cr_expect_eq(number(json_object_get(both, "a"), "arena_bytes"), number(a, "arena_bytes"));
    cr_expect_eq(number(json_object_get(both, "b"), "arena_bytes"), number(b, "arena_bytes"));
    size_t i;
    bool arena = false;
    json_array_foreach(differs, i, name)
    {
        arena |= strcmp(json_string_value(name), "arena_bytes") == 0;
        cr_expect_str_neq(json_string_value(name), "model");
        cr_expect_str_neq(json_string_value(name), "plan_seconds");
    }
    cr_expect(arena, "the arena differs");
    json_decref(both);
    snprintf(arguments, sizeof arguments, "plan --compare %s/a.json %s/a.json --json", folder, folder);
    both = run_json(arguments, 0);
    cr_expect_eq(json_array_size(json_object_get(both, "differs")), 0, "a plan is like itself");
    json_decref(both);
    json_decref(a);
    json_decref(b);
    snprintf(arguments, sizeof arguments, "rm %s/a.json %s/b.json", folder, folder);
    cr_assert_eq(system(arguments), 0);
    cr_assert_eq(rmdir(folder), 0);
}

/* What one side fuses and the other does not is named, in JSON too, where the key may lack on either side. */
Test(cli_plan, compares_what_is_fused)
{
    char folder[] = "/tmp/fathom-compare-XXXXXX", arguments[256];
    cr_assert(mkdtemp(folder));
    snprintf(arguments, sizeof arguments, "plan resnet-20 --gpus cpu -o %s/a.json", folder);
    cr_assert_eq(cli_run(arguments)->code, 0);
    snprintf(arguments, sizeof arguments, "plan resnet-20 --gpus cpu --fuse none -o %s/b.json", folder);
    cr_assert_eq(cli_run(arguments)->code, 0);
    for (int turned = 0; turned < 2; turned++) {
        snprintf(arguments, sizeof arguments, "plan --compare %s/%s %s/%s", folder, turned ? "b.json" : "a.json",
                 folder, turned ? "a.json" : "b.json");
        const struct cli_run *run = cli_run(arguments);
        cr_expect(row_ends(run->out, "ways of fusing ops", "differs"), "%s", run->out);
        cr_expect(strstr(run->out, turned ? "    b alone: " : "    a alone: "), "%s", run->out);
        expect_narrow(arguments);
        strcat(arguments, " --json");
        json_t *both = run_json(arguments, 0), *name;
        size_t i, found = 0;
        json_array_foreach(json_object_get(both, "differs"), i, name) found +=
            strcmp(json_string_value(name), "fused") == 0;
        cr_expect_eq(found, 1);
        json_decref(both);
    }
    snprintf(arguments, sizeof arguments, "rm -r %s", folder);
    cr_assert_eq(system(arguments), 0);
}

Test(cli_plan, its_own_plan_is_on_the_frontier)
{
    static const char *const rows[] = {"resnet-50 --gpus titan-x --batch 64",
                                       "resnet-56 --gpus titan-x,h100 --batch 512",
                                       "resnet-29 --gpus titan-x --budget 200MiB"};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        char arguments[128];
        snprintf(arguments, sizeof arguments, "plan %s --search --json", rows[r]);
        json_t *root = run_json(arguments, 0), *point;
        size_t i, own = 0;
        json_array_foreach(json_object_get(root, "frontier"), i, point)
        {
            if (!json_is_true(json_object_get(point, "own"))) continue;
            own++;
            cr_expect(json_is_true(json_object_get(point, "fits")));
            cr_expect_float_eq(json_number_value(json_object_get(point, "step_seconds")),
                               json_number_value(json_object_get(root, "step_seconds")), 1e-12);
        }
        cr_expect_eq(own, 1, "%s: %zu", rows[r], own);
        json_decref(root);
    }
}

Test(cli_plan, the_largest_batch_that_it_looks_for_is_no_answer)
{
    const struct cli_run *run = cli_run("plan resnet-8 --gpus 64xh200");
    cr_expect(strstr(run->out, "1,048,576 or more: fathom plans no larger"), "%s", run->out);
}
