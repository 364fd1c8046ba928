#define _GNU_SOURCE
#include "page.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "printable.h"

#define GOOD "\033[1;32m"
#define BAD  "\033[1;31m"
#define END  "\033[0m"

/* A number and its percent sign stay together. */
static size_t word_length(const char *at)
{
    size_t length = strcspn(at, " ");
    while (strncmp(at + length, " %", 2) == 0) length += 1 + strcspn(at + length + 1, " ");
    return length;
}

/* Goes on in `column`; the first word stays on the line. Names from outside are shown harmless. */
static void wrap_from(FILE *to, size_t column, int hang, const char *plain)
{
    bool begun = false;
    struct text shown = {0};
    text_add_printable(&shown, plain);
    for (const char *at = shown.failed || !shown.bytes ? "" : shown.bytes; *at;) {
        size_t length = word_length(at), columns = printable_width(at, length);
        if (begun && column + 1 + columns > PAGE_COLUMNS) {
            fprintf(to, "\n%*s", hang, "");
            column = (size_t)hang;
        } else if (begun) {
            fputc(' ', to);
            column++;
        }
        fwrite(at, 1, length, to);
        column += columns;
        begun = true;
        at += length;
        at += strspn(at, " ");
    }
    fputc('\n', to);
    text_finish(&shown);
}

void page_wrap(FILE *to, int indent, int hang, const char *plain)
{
    fprintf(to, "%*s", indent, "");
    wrap_from(to, (size_t)indent, hang, plain);
}

void page_text(FILE *to, int indent, int hang, struct text *text)
{
    page_wrap(to, indent, hang, text->failed || !text->bytes ? "" : text->bytes);
    text_finish(text);
}

void page_say(FILE *to, int indent, int hang, const char *format, ...)
{
    struct text text = {0};
    va_list args;
    va_start(args, format);
    text_add_list(&text, format, args);
    va_end(args);
    page_text(to, indent, hang, &text);
}

void page_rest(FILE *to, int column, struct text *text)
{
    wrap_from(to, (size_t)column, column, text->failed || !text->bytes ? "" : text->bytes);
    text_finish(text);
}

void page_row_text(FILE *to, const char *label, struct text *text)
{
    fprintf(to, "  %-*s ", PAGE_LABEL, label);
    page_rest(to, PAGE_LABEL + 3, text);
}

void page_row(FILE *to, const char *label, const char *format, ...)
{
    struct text text = {0};
    va_list args;
    va_start(args, format);
    text_add_list(&text, format, args);
    va_end(args);
    page_row_text(to, label, &text);
}

int page_columns(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return PAGE_COLUMNS;
    return size.ws_col;
}

bool page_has_colours(void)
{
    const char *none = getenv("NO_COLOR"), *terminal = getenv("TERM");
    if (none && *none) return false;
    return isatty(STDOUT_FILENO) == 1 && terminal && *terminal && strcmp(terminal, "dumb") != 0;
}

void page_verdict(FILE *to, const char *verdict, bool good, bool colours)
{
    struct printable shown;
    verdict = printable(verdict, &shown);
    const char *rest = verdict + strcspn(verdict, ":");
    size_t head = (size_t)(rest - verdict);
    if (!colours || *rest == '\0' || printable_width(verdict, head) >= PAGE_COLUMNS) {
        page_wrap(to, 0, 2, verdict);
        return;
    }
    fprintf(to, "%s%.*s%s", good ? GOOD : BAD, (int)head, verdict, END);
    wrap_from(to, printable_width(verdict, head), 2, rest);
}
