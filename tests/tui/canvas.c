#include <math.h>

#include <criterion/criterion.h>

#include "canvas.h"

static struct canvas make(uint32_t rows, uint32_t columns)
{
    struct canvas canvas;
    struct error err = {0};
    cr_assert(canvas_init(&canvas, rows, columns, false, &err));
    return canvas;
}

static void expect_lines(const struct canvas *canvas, const char *lines)
{
    struct text text = {0};
    canvas_print(canvas, &text);
    cr_assert_str_eq(text.bytes, lines);
    text_finish(&text);
}

Test(canvas, cuts_text_at_its_area)
{
    struct canvas canvas = make(2, 10);
    struct rect area = {0, 2, 1, 4};
    canvas_text(&canvas, area, 0, 1, INK_PLAIN, "%s", "abcdefgh");
    canvas_text(&canvas, area, 1, 0, INK_PLAIN, "below");
    expect_lines(&canvas, "   abc\n\n");
    canvas_finish(&canvas);
}

Test(canvas, counts_code_points_not_bytes)
{
    struct canvas canvas = make(1, 10);
    struct rect area = {0, 0, 1, 10};
    canvas_text_right(&canvas, area, 0, 10, INK_PLAIN, "%s", "é·×");
    expect_lines(&canvas, "       é·×\n");
    canvas.ascii = true;
    expect_lines(&canvas, "       ?.x\n");
    canvas_finish(&canvas);
}

Test(canvas, shows_no_control_characters)
{
    struct canvas canvas = make(1, 10);
    struct rect area = {0, 0, 1, 10};
    canvas_text(&canvas, area, 0, 0, INK_PLAIN, "%s", "a\x1b[2J\xff\n");
    expect_lines(&canvas, "a?[2J??\n");
    canvas_finish(&canvas);
}

Test(canvas, bar_is_drawn_in_eighths)
{
    struct canvas canvas = make(1, 8);
    struct rect area = {0, 0, 1, 8};
    canvas_bar(&canvas, area, 0, 0, 4, 0.40625, INK_PLAIN); /* 13 of 32 eighths */
    expect_lines(&canvas, "█▋\n");
    canvas_clear(&canvas);
    canvas_bar(&canvas, area, 0, 0, 4, 7, INK_PLAIN);
    expect_lines(&canvas, "████\n");
    canvas_clear(&canvas);
    canvas_bar(&canvas, area, 0, 0, 4, (double)NAN, INK_PLAIN);
    expect_lines(&canvas, "\n");
    canvas_finish(&canvas);
}

Test(canvas, plot_rises_from_the_lower_left)
{
    struct canvas canvas = make(1, 2);
    struct rect area = {0, 0, 1, 2};
    const double values[] = {0, 1, 2, 3};
    canvas_plot(&canvas, area, values, 4, 0, 3, INK_PLAIN);
    expect_lines(&canvas, "⡠⠊\n");
    canvas_finish(&canvas);
}

Test(canvas, plot_leaves_gaps_for_unknown_values)
{
    struct canvas canvas = make(1, 3);
    struct rect area = {0, 0, 1, 3};
    const double values[] = {1, 1, (double)NAN, (double)NAN, 1, 1};
    canvas_plot(&canvas, area, values, 6, 0, 1, INK_PLAIN);
    cr_assert_eq(canvas.cells[1].glyph, 0);
    cr_assert_neq(canvas.cells[2].glyph, 0);
    canvas_finish(&canvas);
}
