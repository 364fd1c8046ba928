/* Logs in few numbers, and their pictures. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "curves_draw.h"
#include "files.h"
#include "mem.h"

static struct train_status step_of(uint64_t step)
{
    return (struct train_status){.step = step, .loss = 1000.0 / (double)step, .train_error = 0.5};
}

static void add_steps(struct curves *c, uint64_t count)
{
    struct error err = {0};
    for (uint64_t i = 1; i <= count; i++) {
        struct train_status s = step_of(i);
        s.evaluated = i % 1000 == 0;
        s.test_loss = 2;
        s.top1_error = 1 - (double)(i % 3000) * 1e-4; /* the best comes before the last */
        cr_assert(curves_add(c, &s, &err), "%s", err.text);
    }
}

static char *write_log(char path[64], const char *text)
{
    struct error err = {0};
    snprintf(path, 64, "/tmp/fathom-curves-%d.jsonl", (int)getpid());
    cr_assert(files_write(path, text, strlen(text), &err), "%s", err.text);
    return path;
}

Test(curves, bins_hold_every_step_once)
{
    for (uint64_t steps = 1; steps < 20000; steps = steps * 3 + 1) {
        struct curves c = {0};
        uint64_t covered = 0, next = 1;
        double loss = 0, right = 0;
        add_steps(&c, steps);
        for (size_t i = 0; i < c.bin_count; i++) {
            cr_assert_eq(c.bins[i].first, next);
            next = c.bins[i].last + 1;
            covered += c.bins[i].count;
            loss += c.bins[i].loss;
        }
        for (uint64_t i = 1; i <= steps; i++) right += 1000.0 / (double)i;
        cr_expect_eq(covered, steps);
        cr_expect_float_eq(loss, right, 1e-6 * right);
        cr_expect(steps <= CURVES_BINS ? c.bin_count == steps : c.bin_count > CURVES_BINS / 2 - 2);
        cr_expect_eq(c.last_step, steps);
        cr_expect_float_eq(c.best_loss, 1000.0 / (double)steps, 1e-12);
        curves_finish(&c);
    }
}

Test(curves, tests_are_kept_and_the_best_found)
{
    struct curves c = {0};
    cr_expect_null(curves_best_test(&c));
    add_steps(&c, 9500);
    cr_assert_eq(c.test_count, 9);
    cr_expect_eq(curves_best_test(&c)->step, 2000);
    cr_expect_eq(curves_last_test(&c)->step, 9000);
    curves_finish(&c);
}

Test(curves, a_log_is_read_as_it_was_written)
{
    struct curves c = {0};
    struct error err = {0};
    char path[64];
    write_log(path,
              "{\"step\": 1, \"loss\": 2.5, \"learning_rate\": 0.1, \"images_per_second\": 10, \"train_error\": 0.75}\n"
              "{\"step\": 2, \"loss\": null, \"images_per_second\": 30, \"train_error\": null}\n"
              "{\"step\": 3, \"loss\": 1.5, \"images_per_second\": 20, \"train_error\": 0.25, \"test_loss\": 3, "
              "\"top1_error\": "
              "0.5, \"top5_error\": 0.125}\n"
              "{\"step\": 4, \"lo");
    cr_assert(curves_read(path, UINT64_MAX, &c, &err), "%s", err.text);
    cr_expect_eq(c.last_step, 3);
    cr_expect_eq(c.bin_count, 3);
    cr_expect_eq(c.bins[1].count, 0);
    cr_expect_float_eq(c.images_per_second, 20, 0);
    cr_expect_float_eq(c.last_loss, 1.5, 0);
    cr_expect_float_eq(curves_last_test(&c)->top5_error, 0.125, 0);
    curves_finish(&c);
    cr_assert(curves_read(path, 1, &c, &err));
    cr_expect_eq(c.last_step, 1);
    curves_finish(&c);
    unlink(path);
}

static void expect_refused(const char *log, const char *part)
{
    struct curves c = {0};
    struct error err = {0};
    char path[64];
    cr_assert_not(curves_read(write_log(path, log), UINT64_MAX, &c, &err));
    cr_expect_eq(err.kind, ERROR_INPUT);
    cr_expect(strstr(err.text, part), "'%s' does not say '%s'", err.text, part);
    curves_finish(&c);
    unlink(path);
}

Test(curves, what_is_no_log_is_named)
{
    expect_refused("{\"step\": 1}\n{\"loss\": 1}\n", "line 2");
    expect_refused("{\"step\": 2}\n{\"step\": 2}\n", "step 2 after step 2");
    expect_refused("{\"step\": 0}\n", "counted from 1");
    expect_refused("words\n", "line 1");
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) count++;
    return count;
}

Test(curves, pictures_have_both_themes_and_no_number_that_is_none)
{
    struct curves runs[3] = {0};
    struct error err = {0};
    char path[64], *svg;
    size_t length;
    for (int i = 0; i < 3; i++) add_steps(&runs[i], 3000);
    const struct curves *two[] = {&runs[0], &runs[1]}, *one[] = {&runs[2]};
    const struct curves_line lines[] = {{"two <seeds>", two, 2}, {"one", one, 1}, {"none", NULL, 0}};
    write_log(path, "");
    cr_assert(curves_draw_lines(lines, 3, "a & b", path, &err), "%s", err.text);
    cr_assert(files_read(path, 1 << 20, &svg, &length, &err));
    cr_expect(strstr(svg, "prefers-color-scheme: dark") && strstr(svg, "two &lt;seeds&gt;") &&
              strstr(svg, "a &amp; b"));
    cr_expect_eq(count_of(svg, "fill-opacity"), 2); /* a band in each panel, of the line of two runs */
    cr_expect_null(strstr(svg, "nan"));
    cr_expect_null(strstr(svg, "inf"));
    mem_free(svg);
    cr_assert(curves_draw_run(&(struct curves){0}, "nothing yet", path, &err), "%s", err.text);
    for (int i = 0; i < 3; i++) curves_finish(&runs[i]);
    unlink(path);
}

static char *draw_losses(const char *log)
{
    struct curves run = {0};
    struct error err = {0};
    char path[64], *svg;
    size_t length;
    cr_assert(curves_read(write_log(path, log), UINT64_MAX, &run, &err), "%s", err.text);
    const struct curves *one[] = {&run};
    cr_assert(curves_draw_lines(&(struct curves_line){"one", one, 1}, 1, "one", path, &err), "%s", err.text);
    cr_assert(files_read(path, 1 << 20, &svg, &length, &err));
    curves_finish(&run);
    unlink(path);
    return svg;
}

Test(curves, axes_begin_at_0_but_where_all_is_far_above)
{
    char *svg = draw_losses(
        "{\"step\": 1, \"loss\": 2.3}\n{\"step\": 2, \"loss\": 2.2, \"test_loss\": 2, \"top1_error\": 0.85}\n"
        "{\"step\": 3, \"loss\": 2.1, \"test_loss\": 2, \"top1_error\": 0.82}\n");
    cr_expect_null(strstr(svg, ">0 %</text>"));
    cr_expect(strstr(svg, ">82 %</text>") && strstr(svg, ">84 %</text>"), "%s", svg);
    mem_free(svg);
    svg =
        draw_losses("{\"step\": 1, \"loss\": 2.3}\n{\"step\": 2, \"loss\": 1, \"test_loss\": 2, \"top1_error\": 0.85}\n"
                    "{\"step\": 3, \"loss\": 0.5, \"test_loss\": 2, \"top1_error\": 0.32}\n");
    cr_expect(strstr(svg, ">0 %</text>") && strstr(svg, ">20 %</text>"), "%s", svg);
    mem_free(svg);
}
