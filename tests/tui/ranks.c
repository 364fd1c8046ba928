/* The view of a run's ranks: every column is there at 80 columns, whoever matters is there at any height, unknown is no
 * zero. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ranks_view.h"

#define MOST 300

static struct rank_row rows[MOST];
static struct ranks_view view;

/* Ranks of one host; the third is waited for. */
static void begin(size_t count)
{
    view = (struct ranks_view){.rows = rows,
                               .count = count,
                               .iterations = 1000000,
                               .steps = 14,
                               .step_ns = 3.5e8,
                               .spread_ns = 1.76e6,
                               .worst_ns = 1.35e7,
                               .waited_known = true,
                               .waited_for = 2};
    for (size_t i = 0; i < count; i++)
        rows[i] = (struct rank_row){.rank = (uint32_t)i,
                                    .host = "a-host-with-a-long-name.example",
                                    .devices = 8,
                                    .step = 123456,
                                    .steps_known = true,
                                    .sums_known = true,
                                    .step_ns = 3.5e8,
                                    .late_ns = 1.02e6,
                                    .sums_ns = 2.94e7 + (i == 2 ? 0 : 1.75e8),
                                    .waits_ns = i == 2 ? 0 : 1.75e8};
}

/* The screen; the caller frees it with text_finish. */
static struct text draw(uint32_t height, uint32_t width)
{
    struct canvas canvas;
    struct text text = {0};
    struct error err = {0};
    cr_assert(canvas_init(&canvas, height, width, true, &err));
    ranks_view_draw(&view, &canvas);
    canvas_print(&canvas, &text);
    canvas_finish(&canvas);
    cr_assert_not(text.failed);
    return text;
}

static const char *line_of(const struct text *text, size_t number)
{
    static char line[512];
    const char *at = text->bytes;
    for (size_t i = 0; i < number; i++) at = strchr(at, '\n') + 1;
    snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
    return line;
}

Test(ranks_view, all_columns_are_there_at_any_width)
{
    static const uint32_t widths[] = {80, 90, 100, 120, 200};
    begin(4);
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        struct text text = draw(24, widths[i]);
        const char *titles = line_of(&text, 4);
        cr_expect(strstr(titles, "IN SUMS") && strstr(titles, "WAITS"), "%u: %s", (unsigned)widths[i], titles);
        const char *row = line_of(&text, 5);
        cr_expect(strstr(row, "123456") && strstr(row, "350 ms") && strstr(row, "1.02 ms") && strstr(row, "204 ms") &&
                      strstr(row, "175 ms"),
                  "%u: %s", (unsigned)widths[i], row);
        cr_expect(strstr(row, "350 ms")[6] == ' ', "%s", row);
        text_finish(&text);
    }
}

Test(ranks_view, who_is_gone_is_seen_on_a_low_screen)
{
    begin(MOST);
    rows[271].crashed = true;
    struct text text = draw(24, 80);
    cr_expect(strstr(text.bytes, "\n271 ") && strstr(text.bytes, "process gone"), "%s", text.bytes);
    cr_expect(strstr(text.bytes, "\n2    "), "who is waited for: %s", text.bytes);
    cr_expect(strstr(text.bytes, "283 more ranks"), "%s", text.bytes);
    cr_expect(strstr(line_of(&text, 23), "q quit"), "%s", text.bytes);
    text_finish(&text);
}

/* The one that is waited for comes before those that are gone. */
Test(ranks_view, who_is_waited_for_is_seen_before_who_is_gone)
{
    begin(MOST);
    view.waited_for = 299;
    for (size_t i = 0; i < 40; i++) rows[i].crashed = true;
    struct text text = draw(24, 80);
    cr_expect(strstr(text.bytes, "\n299 "), "%s", text.bytes);
    cr_expect(strstr(text.bytes, "\n15 ") && !strstr(text.bytes, "\n16 "), "%s", text.bytes);
    cr_expect(strstr(line_of(&text, 22), "283 more ranks"), "%s", text.bytes);
    text_finish(&text);
}

Test(ranks_view, what_has_no_row_is_not_drawn_over_another)
{
    begin(MOST);
    for (uint32_t height = 1; height <= 8; height++) {
        struct text text = draw(height, 80);
        cr_expect(strstr(line_of(&text, 0), "300 ranks"), "%s", text.bytes);
        if (height >= 5) cr_expect(strncmp(line_of(&text, 4), "RANK", 4) == 0, "%s", text.bytes);
        bool keys = strstr(text.bytes, "q quit"), more = strstr(text.bytes, "more ranks");
        cr_expect_eq(keys, height >= 6, "%u: %s", (unsigned)height, text.bytes);
        cr_expect_eq(more, height >= 7, "%u: %s", (unsigned)height, text.bytes);
        if (keys) cr_expect(strncmp(line_of(&text, height - 1), " q quit", 7) == 0, "%s", text.bytes);
        if (more) cr_expect(strstr(line_of(&text, height - 2), "more ranks"), "%s", text.bytes);
        text_finish(&text);
    }
}

Test(ranks_view, how_far_reading_has_come_is_told)
{
    begin(3);
    view.reading = true;
    view.read_part = 0.374;
    struct text text = draw(24, 80);
    cr_expect(strstr(line_of(&text, 0), "READING 37 %"), "%s", text.bytes);
    text_finish(&text);
}

Test(ranks_view, unknown_is_a_dash)
{
    begin(2);
    view.steps = 0;
    view.waited_known = false;
    rows[0].steps_known = rows[0].sums_known = false;
    rows[1].silent_seconds = 12;
    struct text text = draw(24, 80);
    const char *row = line_of(&text, 5);
    cr_expect(!strstr(row, "ns") && !strstr(row, "ms") && strstr(row, " - "), "%s", row);
    cr_expect(strstr(line_of(&text, 6), "silent 12 s"), "%s", text.bytes);
    text_finish(&text);
}

/* Half a number would be another one. */
Test(ranks_view, what_does_not_fit_is_left_out_or_cut_with_a_sign)
{
    begin(3);
    rows[1].silent_seconds = 12;
    struct text text = draw(10, 40);
    const char *titles = line_of(&text, 4);
    cr_expect(strstr(titles, "STEP") && !strstr(titles, "TI"), "%s", titles);
    const char *row = line_of(&text, 5);
    cr_expect(strcmp(row + strlen(row) - 6, "123456") == 0, "%s", row);
    row = line_of(&text, 6);
    cr_expect(strstr(row, "silent 12 s"), "%s", row);
    row = line_of(&text, 1);
    cr_expect(row[strlen(row) - 1] == '~', "%s", row);
    text_finish(&text);
}

Test(ranks_view, whether_the_run_goes_on_is_told)
{
    begin(3);
    struct text text = draw(24, 80);
    cr_expect(strstr(line_of(&text, 0), " LIVE"), "%s", text.bytes);
    text_finish(&text);
    rows[0].ended = true;
    text = draw(24, 80);
    cr_expect(strstr(line_of(&text, 0), " 1 ENDED"), "%s", text.bytes);
    text_finish(&text);
    rows[1].ended = rows[2].ended = true;
    text = draw(24, 80);
    cr_expect(strstr(line_of(&text, 0), "  ENDED"), "%s", text.bytes);
    text_finish(&text);
    rows[1].ended = false;
    rows[1].crashed = true;
    text = draw(24, 80);
    cr_expect(strstr(line_of(&text, 0), " 1 GONE"), "%s", text.bytes);
    text_finish(&text);
}
