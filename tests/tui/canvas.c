#include <locale.h>
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

Test(canvas, a_character_has_one_cell_whatever_its_width)
{
    struct canvas canvas = make(5, 12);
    struct rect area = {0, 0, 5, 12};
    const char *name = "a\u7573\u307fe\u0301\u00b7z"; /* a, two wide ones, e with an accent of its own, and two more */
    if (!setlocale(LC_CTYPE, "C.UTF-8")) cr_skip_test("no locale with Unicode");
    cr_expect_eq(canvas_text(&canvas, area, 0, 0, INK_PLAIN, "%s", name), 6);
    canvas_text_right(&canvas, area, 1, 12, INK_PLAIN, "%s", name);
    cr_expect_eq(canvas_text_cut(&canvas, area, 2, 0, 4, false, INK_PLAIN, name), 4);
    cr_expect_eq(canvas_text_cut(&canvas, area, 3, 0, 4, true, INK_PLAIN, name), 4);
    canvas_text(&canvas, area, 4, 0, INK_PLAIN, "%s", "\u0301\u0301x\u200d");
    expect_lines(&canvas, "a??e·z\n      a??e·z\na??…\n…e·z\n?x\n");
    cr_expect_eq(canvas_width(name), 6);
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

/* Cells that differ, in order; the last of them in *row and *column. */
static uint32_t count_changes(const struct canvas *canvas, const struct canvas *shown, uint32_t *row, uint32_t *column)
{
    uint32_t count = 0;
    for (uint32_t r = 0, c = 0; canvas_next_change(canvas, shown, &r, &c); c++) {
        count++;
        *row = r;
        *column = c;
    }
    return count;
}

Test(canvas, finds_the_cells_that_have_changed)
{
    struct canvas canvas = make(3, 10), shown = make(3, 10), unknown = {0};
    uint32_t row, column;
    canvas_text(&canvas, (struct rect){0, 0, 3, 10}, 1, 2, INK_PLAIN, "ab");
    cr_expect_eq(count_changes(&canvas, &shown, &row, &column), 2);
    cr_expect(row == 1 && column == 3);
    cr_expect_eq(count_changes(&canvas, &unknown, &row, &column), 30);
    canvas_copy(&shown, &canvas);
    cr_expect_eq(count_changes(&canvas, &shown, &row, &column), 0);
    canvas_style(&canvas, (struct rect){2, 9, 1, 1}, 0, true, false);
    cr_expect_eq(count_changes(&canvas, &shown, &row, &column), 1);
    cr_expect(row == 2 && column == 9);
    canvas_finish(&canvas);
    canvas_finish(&shown);
}

Test(canvas, means_of_a_curve_are_plotted_as_it_is)
{
    static double values[1000], means[40];
    struct canvas all = make(5, 20), few = make(5, 20);
    uint32_t row, column;
    for (size_t i = 0; i < 1000; i++) values[i] = i % 7 == 0 ? NAN : sin((double)i / 50) + (double)(i % 5);
    size_t count = canvas_plot_means(values, 1000, 20, means);
    cr_expect_eq(count, 40);
    canvas_plot(&all, (struct rect){0, 0, 5, 20}, values, 1000, 0, 5, INK_PLAIN);
    canvas_plot(&few, (struct rect){0, 0, 5, 20}, means, count, 0, 5, INK_PLAIN);
    cr_expect_eq(count_changes(&all, &few, &row, &column), 0);
    cr_expect_eq(canvas_plot_means(values, 30, 20, means), 30, "each is a dot of its own");
    canvas_finish(&all);
    canvas_finish(&few);
}

/* Rows of the lowest dot of each column of dots; -1 = none. */
static int dot_of(const struct canvas *canvas, uint32_t x)
{
    static const uint32_t bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    int found = -1;
    for (uint32_t y = 0; y < canvas->rows * 4; y++)
        if (canvas->cells[y / 4 * canvas->columns + x / 2].glyph & bits[y % 4][x % 2]) found = (int)y;
    return found;
}

Test(canvas, few_values_are_joined_by_lines)
{
    struct canvas canvas = make(5, 11);
    const double values[] = {0, 1, (double)NAN, 1};
    canvas_plot(&canvas, (struct rect){0, 0, 5, 11}, values, 4, 0, 1, INK_PLAIN);
    for (uint32_t x = 0; x < 22; x++) {
        bool known = x <= 7 || x == 21; /* seven dots from one value to the next, and none to what is unknown */
        cr_expect_eq(dot_of(&canvas, x) >= 0, known, "%u", x);
        if (x > 0 && x <= 7) cr_expect_lt(dot_of(&canvas, x), dot_of(&canvas, x - 1), "it rises at %u", x);
    }
    canvas_finish(&canvas);
}

Test(canvas, items_are_where_they_were_said_to_be)
{
    struct canvas canvas = make(1, 12);
    const struct canvas_item items[] = {
        {.rank = 0, .text = "one"}, {.rank = 2, .text = "two two"}, {.rank = 1, .label = "a", .text = "b"}};
    uint32_t columns[3];
    canvas_place_items(items, 3, 1, 12, 2, columns);
    cr_expect(columns[0] == 1 && columns[1] == CANVAS_NOWHERE && columns[2] == 6);
    canvas_items(&canvas, (struct rect){0, 0, 1, 12}, 0, 1, 12, 2, items, 3);
    expect_lines(&canvas, " one  a b\n");
    canvas_finish(&canvas);
}
