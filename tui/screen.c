#define _GNU_SOURCE
#define NCURSES_WIDECHAR 1
#include "screen.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include <curses.h>

#include "dashboard.h"

/* The one terminal of the process. */
static struct {
    SCREEN *screen;
    bool color;
    struct canvas shown; /* what stands on it; no cells = unknown */
} terminal;

struct color {
    short rich, plain; /* of 256 and of 8 */
};

/* Okabe and Ito's palette (jfly.uni-koeln.de/color), nearest of 256: told apart with any colour vision. */
static const struct color ink_colors[INKS] = {
    [INK_PLAIN] = {-1, -1},
    [INK_DIM] = {245, -1},
    [INK_TITLE] = {45, COLOR_CYAN},
    [INK_GOOD] = {35, COLOR_GREEN},
    [INK_WARN] = {214, COLOR_YELLOW},
    [INK_BAD] = {196, COLOR_RED},
    [INK_FORWARD] = {75, COLOR_BLUE},
    [INK_RECOMPUTE] = {220, COLOR_YELLOW},
    [INK_BACKWARD] = {208, COLOR_MAGENTA},
    [INK_COMM] = {175, COLOR_RED},
    [INK_UPDATE] = {36, COLOR_GREEN},
    [INK_CLASS + 0] = {25, COLOR_BLUE},
    [INK_CLASS + 1] = {208, COLOR_RED},
    [INK_CLASS + 2] = {36, COLOR_GREEN},
    [INK_CLASS + 3] = {75, COLOR_CYAN},
    [INK_CLASS + 4] = {220, COLOR_YELLOW},
    [INK_CLASS + 5] = {175, COLOR_MAGENTA},
    [INK_CLASS + 6] = {252, COLOR_WHITE},
    [INK_CLASS + 7] = {130, COLOR_RED},
    [INK_CLASS + 8] = {240, COLOR_BLUE},
    [INK_CLASS + 9] = {236, COLOR_BLACK},
};

static void start_colors(void)
{
    const char *none = getenv("NO_COLOR");
    terminal.color = has_colors() && !(none && *none);
    if (!terminal.color) return;
    start_color();
    use_default_colors();
    for (short ink = 1; ink < INKS; ink++)
        init_pair(ink, COLORS >= 256 ? ink_colors[ink].rich : ink_colors[ink].plain, -1);
}

bool screen_has_utf8(void)
{
    setlocale(LC_CTYPE, "");
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

bool screen_open(struct error *err)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return error_set(err, ERROR_INPUT, "the dashboard needs a terminal; use --once or --batch here");
    setlocale(LC_CTYPE, "");
    terminal.screen = newterm(NULL, stdout, stdin);
    if (!terminal.screen) {
        const char *term = getenv("TERM");
        return error_set(err, ERROR_INPUT, "TERM: the terminal type '%s' is unknown; set TERM, or use --once",
                         term ? term : "");
    }
    set_term(terminal.screen);
    if (!tigetstr("cup")) {
        screen_close();
        return error_set(err, ERROR_INPUT,
                         "TERM: in a terminal of the type '%s' nothing can be drawn where it belongs; set TERM, or use "
                         "--once",
                         getenv("TERM"));
    }
    cbreak();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    set_escdelay(25);
    curs_set(0);
    mousemask(BUTTON1_CLICKED | BUTTON1_PRESSED | BUTTON4_PRESSED | BUTTON5_PRESSED, NULL);
    mouseinterval(0);
    start_colors();
    /* Until a refresh comes back from an endwin, ncurses writes out each move of the cursor by itself. So the alternate
     * screen, which newterm has entered, is left here; the first refresh enters it again and clears it. Keys that are
     * typed before that, while a long trace is first read, wait and are not echoed. */
    endwin();
    reset_prog_mode();
    typeahead(-1); /* else a refresh looks for keys every few lines */
    return true;
}

void screen_close(void)
{
    if (!terminal.screen) return;
    endwin();
    delscreen(terminal.screen);
    terminal.screen = NULL;
    canvas_finish(&terminal.shown);
}

void screen_size(uint32_t *rows, uint32_t *columns)
{
    *rows = LINES > 0 ? (uint32_t)LINES : 24;
    *columns = COLS > 0 ? (uint32_t)COLS : 80;
}

static attr_t cell_attributes(const struct cell *cell)
{
    attr_t attributes = A_NORMAL;
    if (cell->bold) attributes |= A_BOLD;
    if (cell->reverse) attributes |= A_REVERSE;
    if (!terminal.color && cell->ink == INK_TITLE) attributes |= A_BOLD;
    if (!terminal.color && cell->ink == INK_DIM) attributes |= A_DIM;
    return attributes;
}

static void show_cell(const struct canvas *canvas, uint32_t row, uint32_t column)
{
    const struct cell *cell = &canvas->cells[(size_t)row * canvas->columns + column];
    uint32_t glyph = cell->glyph ? cell->glyph : ' ';
    wchar_t text[2] = {(wchar_t)(canvas->ascii ? canvas_ascii(glyph) : glyph), 0};
    cchar_t shown;
    setcchar(&shown, text, cell_attributes(cell), terminal.color ? (short)cell->ink : 0, NULL);
    mvadd_wch((int)row, (int)column, &shown);
}

/* Where memory is short nothing is known of what is shown, and all of it is drawn each time. */
static void begin_shown(const struct canvas *canvas)
{
    struct canvas *shown = &terminal.shown;
    if (shown->cells && shown->rows == canvas->rows && shown->columns == canvas->columns) return;
    canvas_finish(shown);
    if (!canvas_init(shown, canvas->rows, canvas->columns, canvas->ascii, NULL)) *shown = (struct canvas){0};
    erase();
}

void screen_show(const struct canvas *canvas)
{
    uint32_t row = 0, column = 0;
    begin_shown(canvas);
    for (; canvas_next_change(canvas, &terminal.shown, &row, &column); column++) show_cell(canvas, row, column);
    canvas_copy(&terminal.shown, canvas);
    refresh();
}

static struct screen_key translate_mouse(void)
{
    MEVENT event;
    if (getmouse(&event) != OK) return (struct screen_key){0};
    uint32_t key = event.bstate & BUTTON4_PRESSED   ? DASHBOARD_WHEEL_UP
                   : event.bstate & BUTTON5_PRESSED ? DASHBOARD_WHEEL_DOWN
                                                    : DASHBOARD_CLICK;
    return (struct screen_key){key, (uint32_t)event.y, (uint32_t)event.x};
}

struct screen_key screen_wait_key(uint32_t milliseconds)
{
    static const struct {
        int theirs;
        uint32_t ours;
    } keys[] = {{KEY_UP, DASHBOARD_UP},
                {KEY_DOWN, DASHBOARD_DOWN},
                {KEY_LEFT, DASHBOARD_LEFT},
                {KEY_RIGHT, DASHBOARD_RIGHT},
                {KEY_PPAGE, DASHBOARD_PAGE_UP},
                {KEY_NPAGE, DASHBOARD_PAGE_DOWN},
                {KEY_HOME, DASHBOARD_FIRST},
                {KEY_END, DASHBOARD_LAST},
                {KEY_F(1), DASHBOARD_F1},
                {KEY_ENTER, DASHBOARD_RETURN},
                {KEY_BACKSPACE, DASHBOARD_ERASE},
                {'\r', DASHBOARD_RETURN},
                {'\t', DASHBOARD_TAB},
                {8, DASHBOARD_ERASE}};
    timeout((int)milliseconds);
    wint_t code;
    int kind = get_wch(&code);
    if (kind == ERR) return (struct screen_key){0};
    if (kind == KEY_CODE_YES && code == KEY_MOUSE) return translate_mouse();
    if (kind == KEY_CODE_YES && code == KEY_RESIZE) return (struct screen_key){0};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if ((wint_t)keys[i].theirs == code && (kind == KEY_CODE_YES) == (keys[i].theirs > 255))
            return (struct screen_key){.key = keys[i].ours};
    return (struct screen_key){.key = kind == KEY_CODE_YES ? 0 : (uint32_t)code};
}
