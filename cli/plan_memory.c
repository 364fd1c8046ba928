#include "plan_memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "page.h"
#include "plan_words.h"
#include "printable.h"
#include "units.h"

#define COLUMN 13

struct column {
    const struct plan_device *device;
    size_t count;
};

static bool same_column(const struct plan_device *a, const struct plan_device *b)
{
    return strcmp(a->spec.name, b->spec.name) == 0 && a->spec.memory_bytes == b->spec.memory_bytes &&
           a->images == b->images && a->micro_batches == b->micro_batches && a->peak_bytes == b->peak_bytes;
}

/* Returns how many columns there are; those beyond PLAN_MEMORY_COLUMNS are counted, not kept. */
static size_t find_columns(const struct plan *plan, struct column columns[PLAN_MEMORY_COLUMNS])
{
    size_t count = 0;
    const struct plan_device *last = NULL;
    for (size_t i = 0; i < plan->device_count; i++) {
        if (!last || !same_column(last, &plan->devices[i])) {
            last = &plan->devices[i];
            if (count < PLAN_MEMORY_COLUMNS) columns[count] = (struct column){last, 0};
            count++;
        }
        if (count <= PLAN_MEMORY_COLUMNS) columns[count - 1].count++;
    }
    return count;
}

static bool terminal_is_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value && *value) return strstr(value, "UTF-8") || strstr(value, "utf8") || strstr(value, "utf-8");
    }
    return false;
}

/* A class's share of the memory, to scale. What is more than there is ends with the page. */
#define BAR_CELLS 28
#define BAR_MOST  40

static void print_bar(uint64_t bytes, uint64_t memory, FILE *to)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    double cells = memory ? BAR_CELLS * (double)bytes / (double)memory : 0;
    if (cells > BAR_MOST) cells = BAR_MOST;
    if (cells * 8 < 1) return;
    fputs("  ", to);
    if (!terminal_is_utf8()) {
        for (double i = 0; i + 0.5 <= cells; i++) fputc('#', to);
        return;
    }
    for (double i = 0; i + 1 <= cells; i++) fputs("█", to);
    fputs(eighths[(int)((cells - (int)cells) * 8)], to);
}

/* Rows of the table of memory that are no class of it. */
enum { ROW_PEAK = -1, ROW_RESERVE = -2, ROW_MEMORY = -3 };

static uint64_t row_bytes(const struct plan_device *device, int row)
{
    switch (row) {
    case ROW_PEAK: return device->peak_bytes;
    case ROW_RESERVE: return device->spec.reserve_bytes;
    case ROW_MEMORY: return device->spec.memory_bytes;
    default: return device->classes[row];
    }
}

static void print_row(const char *name, const struct column *columns, size_t count, int row, bool bar, FILE *to)
{
    fprintf(to, "  %-*s", PAGE_LABEL, name);
    for (size_t i = 0; i < count; i++) {
        char bytes[UNITS_TEXT];
        fprintf(to, " %*s", COLUMN, units_format_bytes(row_bytes(columns[i].device, row), bytes));
    }
    if (bar) print_bar(row_bytes(columns[0].device, row), columns[0].device->spec.memory_bytes, to);
    fputc('\n', to);
}

static void print_heads(const struct column *columns, size_t count, FILE *to)
{
    char text[DEVICE_NAME + 32];
    fprintf(to, "  %-*s", PAGE_LABEL, "");
    for (size_t i = 0; i < count; i++) {
        const char *name = columns[i].device->spec.name;
        struct printable head;
        snprintf(text, sizeof text, "%zu x %s", columns[i].count, PRINTABLE_CUT(name, 10));
        fprintf(to, " %s", printable_fit(columns[i].count > 1 ? text : name, COLUMN, true, &head));
    }
    fprintf(to, "\n  %-*s", PAGE_LABEL, "images");
    for (size_t i = 0; i < count; i++) {
        const struct plan_device *device = columns[i].device;
        snprintf(text, sizeof text, "%" PRIu32, device->images);
        if (device->micro_batches > 1)
            snprintf(text, sizeof text, "%" PRIu32 " x %" PRIu32, device->micro_batches,
                     device->images / device->micro_batches);
        fprintf(to, " %*s", COLUMN, text);
    }
    fputc('\n', to);
}

void plan_memory_print(const struct plan *plan, FILE *to)
{
    struct column columns[PLAN_MEMORY_COLUMNS];
    size_t all = find_columns(plan, columns), count = all < PLAN_MEMORY_COLUMNS ? all : PLAN_MEMORY_COLUMNS;
    print_heads(columns, count, to);
    for (int class = 0; class < MEMORY_CLASSES; class ++) {
        uint64_t most = 0;
        for (size_t i = 0; i < count; i++)
            if (columns[i].device->classes[class] > most) most = columns[i].device->classes[class];
        if (most > 0)
            print_row(words_memory_class(&plan->update, (enum memory_class) class), columns, count, class, count == 1,
                      to);
    }
    print_row("peak", columns, count, ROW_PEAK, false, to);
    print_row("reserve, kept free", columns, count, ROW_RESERVE, count == 1, to);
    print_row("memory", columns, count, ROW_MEMORY, false, to);
    if (all > count) fprintf(to, "  and %zu further kinds of device or share (--json has all)\n", all - count);
}
