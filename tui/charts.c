/* The memory and loss panels. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ascii.h"
#include "mem.h"
#include "panels.h"
#include "units.h"

static double part_of(uint64_t bytes, uint64_t whole) { return whole ? (double)bytes / (double)whole : 0; }

/* ---- Curves ---- */

#define FEW_VALUES 1024 /* so many are looked at each time */

/* Whether a curve has to be made of its values; it remembers of what. */
static bool begin_curve(struct dashboard_curve *curve, size_t of, const uint64_t asked[4])
{
    bool same = curve->made && memcmp(curve->asked, asked, sizeof curve->asked) == 0;
    if (same && of > FEW_VALUES) return false;
    memcpy(curve->asked, asked, sizeof curve->asked);
    curve->made = true;
    curve->count = 0;
    return true;
}

/* Range of the finite values. */
static bool value_range(const double *values, size_t count, double *low, double *high)
{
    double least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) continue;
        if (values[i] < least) least = values[i];
        if (values[i] > most) most = values[i];
    }
    *low = least;
    *high = most;
    return least <= most;
}

/* Of values that the caller keeps. Where memory is short there is none. */
static void make_curve(struct dashboard_curve *curve, const double *values, size_t count, uint32_t columns)
{
    void *means = curve->values;
    curve->of = count;
    curve->high_at = 0;
    if (!value_range(values, count, &curve->low, &curve->high)) return;
    if (!mem_grow(MEM_SCREEN, &means, &curve->capacity, (size_t)columns * 2, sizeof *curve->values)) return;
    curve->values = means;
    while (!(values[curve->high_at] >= curve->high)) curve->high_at++;
    curve->count = canvas_plot_means(values, count, columns, curve->values);
}

/* ---- Memory ---- */

/* A planned class, and the letter that stands for it in the bar: colour alone would say nothing without colours. */
struct memory_class {
    const char *name;
    uint64_t bytes;
    char letter;
    enum ink ink;
};
#define MOST_CLASSES 16

static int compare_classes(const void *a, const void *b)
{
    const struct memory_class *x = a, *y = b;
    return (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

/* The first letter of its name that no larger class has, else a digit. */
static char choose_letter(const struct memory_class *classes, size_t before, const char *name)
{
    char letters[64];
    snprintf(letters, sizeof letters, "%.40s0123456789", name);
    for (const char *c = letters; *c; c++) {
        bool taken = !ascii_is_alnum(*c);
        for (size_t i = 0; i < before; i++) taken = taken || classes[i].letter == *c;
        if (!taken) return *c;
    }
    return '*';
}

/* Those that hold anything, the largest first. Each keeps its colour whatever the order. */
static size_t sort_classes(const struct rollup_device *device, struct memory_class classes[MOST_CLASSES])
{
    size_t count = 0;
    for (uint32_t i = 0; i < device->classes && i < MOST_CLASSES; i++)
        if (device->class_bytes[i] > 0)
            classes[count++] = (struct memory_class){.name = device->class_names[i],
                                                     .bytes = device->class_bytes[i],
                                                     .ink = (enum ink)(INK_CLASS + (int)(i % INK_CLASSES))};
    qsort(classes, count, sizeof *classes, compare_classes);
    for (size_t i = 0; i < count; i++) classes[i].letter = choose_letter(classes, i, classes[i].name);
    return count;
}

static void draw_swatch(struct canvas *canvas, struct rect area, uint32_t row, uint32_t column, uint32_t columns,
                        const struct memory_class *class)
{
    for (uint32_t i = 0; i < columns; i++)
        canvas_glyph(canvas, area, row, column + i, (unsigned char)class->letter, class->ink);
    canvas_style(canvas, (struct rect){area.row, area.column + column, area.rows, columns}, row, false, true);
}

/* One bar of all planned classes, over the plan. */
static void draw_class_bar(const struct memory_class *classes, size_t count, uint64_t planned, struct canvas *canvas,
                           struct rect area, uint32_t row)
{
    uint64_t whole = 0, before = 0;
    for (size_t i = 0; i < count; i++) whole += classes[i].bytes;
    if (planned > whole) whole = planned;
    for (size_t i = 0; i < count; i++) {
        uint32_t from = (uint32_t)(part_of(before, whole) * area.columns);
        before += classes[i].bytes;
        uint32_t to = (uint32_t)(part_of(before, whole) * area.columns);
        draw_swatch(canvas, area, row, from, to - from, &classes[i]);
    }
}

#define CLASS_BYTES 9 /* cells, with a blank before them */

static uint32_t class_columns(const struct memory_class *classes, size_t count, uint32_t width)
{
    uint32_t longest = 8;
    for (size_t i = 0; i < count; i++)
        if (canvas_width(classes[i].name) > longest) longest = canvas_width(classes[i].name);
    uint32_t columns = width / (2 + longest + CLASS_BYTES + 2);
    return columns < 1 ? 1 : columns > 3 ? 3 : columns;
}

/* The smallest classes that have no room are told together in the last place. Returns the row after them. */
static uint32_t draw_classes(const struct memory_class *classes, size_t count, struct canvas *canvas, struct rect area,
                             uint32_t row)
{
    char text[UNITS_TEXT], others[40];
    uint32_t columns = class_columns(classes, count, area.columns), width = area.columns / columns;
    size_t room = area.rows > row ? (size_t)(area.rows - row) * columns : 0;
    size_t shown = count <= room ? count : room > 1 ? room - 1 : room;
    uint64_t rest = 0;
    for (size_t i = shown; i < count; i++) rest += classes[i].bytes;
    snprintf(others, sizeof others, "%zu smaller", count - shown);
    for (size_t i = 0; i < shown + (shown < count && room > 1); i++) {
        uint32_t line = row + (uint32_t)i / columns, column = (uint32_t)i % columns * width;
        struct rect half = {area.row, area.column + column, area.rows, columns > 1 && width > 2 ? width - 2 : width};
        if (i < shown) draw_swatch(canvas, half, line, 0, 1, &classes[i]);
        canvas_text_cut(canvas, half, line, 2, half.columns > CLASS_BYTES + 2 ? half.columns - CLASS_BYTES - 2 : 0,
                        false, INK_PLAIN, i < shown ? classes[i].name : others);
        canvas_text_right(canvas, half, line, half.columns, INK_PLAIN, "%s",
                          units_format_bytes(i < shown ? classes[i].bytes : rest, text));
    }
    return row + (uint32_t)((shown + columns - 1) / columns);
}

/* What is used against the plan; either may be unknown, and no process uses nothing. */
static void draw_used(const struct rollup_device *device, struct canvas *canvas, struct rect area, uint32_t row,
                      enum trace_sample sample, const char *name, uint64_t planned)
{
    char used[UNITS_TEXT], plan[UNITS_TEXT];
    uint64_t peak = device->used_known[sample] ? device->peak_bytes[sample] : 0;
    struct canvas_item items[4] = {
        {.label = name, .ink = INK_DIM, .text = "–"}, {.rank = 1}, {.rank = 2}, {.rank = 3, .text = "planned"}};
    if (peak && planned) {
        double part = part_of(peak, planned);
        items[0].ink = part > 1.03 ? INK_BAD : INK_GOOD;
        snprintf(items[0].text, CANVAS_ITEM, "%+.1f %%", 100 * (part - 1));
    }
    if (peak) snprintf(items[1].text, CANVAS_ITEM, "%s", units_format_bytes(peak, used));
    if (planned)
        snprintf(items[2].text, CANVAS_ITEM, "%s%s", peak ? "of " : "plan ", units_format_bytes(planned, plan));
    uint32_t column = canvas_items(canvas, area, row, 0, area.columns, 2, items, peak ? 2 : 1);
    if (planned) canvas_items(canvas, area, row, column + (peak ? 1 : 2), area.columns, 1, &items[2], peak ? 2 : 1);
}

/* A GPU's, of which the plan has the context too: where that is not known there is nothing to compare. */
static void draw_device_used(const struct rollup_device *device, struct canvas *canvas, struct rect area, uint32_t row)
{
    char used[UNITS_TEXT], plan[UNITS_TEXT];
    if (device->used_known[SAMPLE_DEVICE] || !device->used_known[SAMPLE_BUT_CONTEXT]) {
        draw_used(device, canvas, area, row, SAMPLE_DEVICE, "device ", device->planned_bytes);
        return;
    }
    struct canvas_item items[3] = {{.label = "device ", .ink = INK_PLAIN},
                                   {.rank = 1, .ink = INK_DIM, .text = "without its context"},
                                   {.rank = 2, .ink = INK_DIM}};
    snprintf(items[0].text, CANVAS_ITEM, "%s", units_format_bytes(device->peak_bytes[SAMPLE_BUT_CONTEXT], used));
    snprintf(items[2].text, CANVAS_ITEM, "plan %s", units_format_bytes(device->planned_bytes, plan));
    canvas_items(canvas, area, row, 0, area.columns, 2, items, 3);
}

static void make_live_curve(struct dashboard_curve *curve, const struct rollup *rollup, uint32_t device,
                            uint32_t columns)
{
    size_t ops = 0, count = 0;
    for (size_t i = 0; i < rollup->op_count; i++) ops += rollup->ops[i].device == device;
    double *live = ops ? mem_alloc(MEM_SCREEN, ops, sizeof *live) : NULL;
    for (size_t i = 0; live && i < rollup->op_count; i++)
        if (rollup->ops[i].device == device) live[count++] = (double)rollup->ops[i].live_bytes;
    if (live) make_curve(curve, live, count, columns);
    mem_free(live);
}

/* Live bytes of the arena over the ops of a step, as planned. */
static void draw_live_curve(struct dashboard *dashboard, const struct rollup *rollup, uint32_t device,
                            struct canvas *canvas, struct rect area)
{
    char text[UNITS_TEXT];
    struct dashboard_curve *curve = &dashboard->live;
    const uint64_t asked[4] = {dashboard->renewals, device, area.columns, rollup->op_count};
    if (area.rows < 2 || rollup->op_count == 0) return;
    if (begin_curve(curve, rollup->op_count, asked)) make_live_curve(curve, rollup, device, area.columns);
    if (curve->count == 0 || !(curve->high > 0)) return;
    struct rect plot = {area.row + 1, area.column, area.rows - 1, area.columns};
    struct canvas_item items[] = {{.rank = 0, .ink = INK_DIM, .text = "live bytes over the ops of a step"},
                                  {.rank = 1, .ink = INK_DIM}};
    snprintf(items[1].text, CANVAS_ITEM, "peak %s at op %zu of %zu", units_format_bytes((uint64_t)curve->high, text),
             curve->high_at, curve->of);
    canvas_items(canvas, area, 0, 0, area.columns, 2, items, 2);
    canvas_plot(canvas, plot, curve->values, curve->count, 0, curve->high, INK_FORWARD);
}

/* Of one process for all its devices. No plan says what it takes beside a GPU: nothing to compare it with. */
static void draw_host_memory(const struct rollup *rollup, struct canvas *canvas, struct rect area, uint32_t row)
{
    const struct rollup_device *device = &rollup->devices[0];
    char peak[UNITS_TEXT];
    struct canvas_item items[2] = {{.label = "host   ", .ink = INK_DIM, .text = "–"},
                                   {.rank = 1, .ink = INK_DIM, .text = "taken by the process"}};
    bool known = device->used_known[SAMPLE_PROCESS] && device->peak_bytes[SAMPLE_PROCESS] > 0;
    if (known) {
        items[0].ink = INK_PLAIN;
        snprintf(items[0].text, CANVAS_ITEM, "%s", units_format_bytes(device->peak_bytes[SAMPLE_PROCESS], peak));
    }
    canvas_items(canvas, area, row, 0, area.columns, 2, items, known ? 2 : 1);
}

/* The process is one, whatever the number of its devices: the first one's samples against the plans of all. One of
 * several ranks also holds what they exchange through, which its trace does not tell: there is nothing to compare it
 * with. */
static void draw_process(const struct rollup *rollup, struct canvas *canvas, struct rect area, uint32_t row)
{
    uint64_t planned = 0;
    for (uint32_t i = 0; rollup->ranks <= 1 && i < rollup->device_count && i < ROLLUP_MOST_DEVICES; i++)
        planned += rollup->devices[i].planned_bytes;
    draw_used(&rollup->devices[0], canvas, area, row, SAMPLE_PROCESS, "process", planned);
}

/* A long name is cut by the frame. */
static void write_memory_title(const struct rollup *rollup, uint32_t index, char *out, size_t size)
{
    const struct rollup_device *device = &rollup->devices[index];
    char memory[UNITS_TEXT] = "", of[24] = "";
    if (rollup->device_count > 1) snprintf(of, sizeof of, " of %u", rollup->device_count);
    if (device->memory_bytes) units_format_bytes(device->memory_bytes, memory);
    snprintf(out, size, "Memory: device %u%s%s%s%s%s", index, of, memory[0] ? ", " : "", memory,
             device->name[0] ? " " : "", device->name);
}

static void make_tensors(struct dashboard_tensors *tensors, const struct rollup *rollup, uint32_t device)
{
    const struct rollup_tensor *largest[DASHBOARD_TENSORS];
    uint32_t op;
    size_t all;
    const struct rollup_tensor *table = rollup_tensors(rollup, device, &all);
    uint64_t peak = table ? rollup_arena_peak(rollup, device, &op) : 0;
    tensors->count = peak ? rollup_tensors_at(rollup, device, op, largest, DASHBOARD_TENSORS) : 0;
    for (size_t i = 0; i < tensors->count; i++) tensors->largest[i] = (uint32_t)(largest[i] - table);
}

/* Of tens of thousands: looked through once, as the table is whole when it is there. */
static uint64_t offloaded_bytes(struct dashboard *dashboard, const struct rollup *rollup, uint32_t device)
{
    struct dashboard_offload *offload = &dashboard->offload;
    size_t count;
    const struct rollup_tensor *table = rollup_tensors(rollup, device, &count);
    if (!table) return 0;
    if (offload->of == table && offload->count == count) return offload->bytes;
    *offload = (struct dashboard_offload){.of = table, .count = count};
    for (size_t i = 0; i < count; i++)
        if (table[i].host && table[i].offset + table[i].bytes > offload->bytes)
            offload->bytes = table[i].offset + table[i].bytes;
    return offload->bytes;
}

/* What the plan puts into the host's memory for a device; returns the row after it. */
static uint32_t draw_offloaded(uint64_t bytes, struct canvas *canvas, struct rect area, uint32_t row)
{
    char text[UNITS_TEXT];
    if (bytes == 0) return row;
    struct canvas_item items[] = {{.label = "offload", .ink = INK_PLAIN},
                                  {.rank = 1, .ink = INK_DIM, .text = "of host memory planned"}};
    snprintf(items[0].text, CANVAS_ITEM, "%s", units_format_bytes(bytes, text));
    canvas_items(canvas, area, row, 0, area.columns, 2, items, 2);
    return row + 1;
}

static void draw_tensor(const struct rollup_tensor *t, struct canvas *canvas, struct rect area, uint32_t row)
{
    char text[UNITS_TEXT];
    struct canvas_item items[] = {
        {.rank = 0, .ink = INK_PLAIN}, {.rank = 0, .ink = INK_PLAIN}, {.rank = 1, .ink = INK_DIM}};
    snprintf(items[0].text, CANVAS_ITEM, "%9s", units_format_bytes(t->bytes, text));
    snprintf(items[1].text, CANVAS_ITEM, "%.50s.%.40s", t->layer, t->role);
    snprintf(items[2].text, CANVAS_ITEM, "%s, ops %u to %u, at %s", t->class_name, t->first, t->last,
             units_format_bytes(t->offset, text));
    canvas_items(canvas, area, row, 0, area.columns, 2, items, 3);
}

/* What fills the arena at the fullest op: half of the room, the rest is the curve's. Returns the row after it. */
static uint32_t draw_tensors(struct dashboard *dashboard, const struct rollup *rollup, uint32_t device,
                             struct canvas *canvas, struct rect area, uint32_t row)
{
    struct dashboard_tensors *tensors = &dashboard->tensors;
    const uint64_t asked[2] = {dashboard->renewals, device};
    size_t all, room = area.rows > row + 2 ? (area.rows - row - 2) / 2 : 0;
    const struct rollup_tensor *table = rollup_tensors(rollup, device, &all);
    if (room < 3 || !table) return row;
    if (!tensors->made || memcmp(tensors->asked, asked, sizeof asked) != 0) make_tensors(tensors, rollup, device);
    memcpy(tensors->asked, asked, sizeof asked);
    tensors->made = true;
    if (tensors->count == 0) return row;
    canvas_text_cut(canvas, area, ++row, 0, area.columns, false, INK_DIM, "largest at the fullest op");
    for (size_t i = 0; i < tensors->count && i + 1 < room; i++)
        if (tensors->largest[i] < all) draw_tensor(&table[tensors->largest[i]], canvas, area, ++row);
    return row + 1;
}

static void draw_memory(struct dashboard *dashboard, const struct rollup *rollup, uint32_t index, struct canvas *canvas,
                        struct rect area)
{
    const struct rollup_device *device = &rollup->devices[index];
    struct memory_class classes[MOST_CLASSES];
    size_t count = sort_classes(device, classes);
    uint32_t row = 0;
    draw_used(device, canvas, area, row++, SAMPLE_ARENA, "arena  ", device->arena_bytes);
    if (dashboard_has_gpus(rollup)) {
        draw_device_used(device, canvas, area, row++);
        draw_host_memory(rollup, canvas, area, row++);
    } else {
        draw_process(rollup, canvas, area, row++);
    }
    row = draw_offloaded(offloaded_bytes(dashboard, rollup, index), canvas, area, row);
    draw_class_bar(classes, count, device->planned_bytes, canvas, area, row++);
    row = draw_classes(classes, count, canvas, area, row);
    row = draw_tensors(dashboard, rollup, index, canvas, area, row);
    if (area.rows > row + 2)
        draw_live_curve(dashboard, rollup, index, canvas,
                        (struct rect){area.row + row + 1, area.column, area.rows - row - 1, area.columns});
}

void panel_memory(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    if (area.rows == 0) return;
    char title[160] = "Memory";
    uint32_t index = dashboard->device < rollup->device_count ? dashboard->device : 0;
    if (index >= ROLLUP_MOST_DEVICES) index = 0;
    if (rollup->device_count > 0) write_memory_title(rollup, index, title, sizeof title);
    struct rect inside = canvas_frame(canvas, area, title, dashboard->view == VIEW_MEMORY);
    if (inside.rows > 0 && rollup->device_count > 0) draw_memory(dashboard, rollup, index, canvas, inside);
}

/* ---- Loss ---- */

struct window {
    size_t first, count;
};

static struct window zoomed_window(const struct dashboard *dashboard, const struct rollup *rollup)
{
    size_t end =
        rollup->step_count - (dashboard->cursor < rollup->step_count ? dashboard->cursor : rollup->step_count - 1);
    size_t count = rollup->step_count >> dashboard->zoom;
    if (count < 2) count = rollup->step_count < 2 ? rollup->step_count : 2;
    if (count > end) count = end;
    return (struct window){end - count, count};
}

static void draw_step(const struct rollup_step *step, struct canvas *canvas, struct rect area, uint32_t row)
{
    char took[16];
    struct canvas_item items[4];
    size_t count = 0;
    items[count] = (struct canvas_item){.rank = 0, .ink = INK_PLAIN};
    snprintf(items[count++].text, CANVAS_ITEM, "step %" PRIu64, step->step);
    items[count] = (struct canvas_item){.rank = 1, .ink = INK_PLAIN};
    if (isfinite(step->metric[METRIC_LOSS]))
        snprintf(items[count++].text, CANVAS_ITEM, "loss %.4f", (double)step->metric[METRIC_LOSS]);
    items[count] = (struct canvas_item){.rank = 3, .ink = INK_PLAIN};
    if (step->end_ns > step->begin_ns)
        snprintf(items[count++].text, CANVAS_ITEM, "in %s", format_ns(step->end_ns - step->begin_ns, took));
    items[count] = (struct canvas_item){.rank = 2, .ink = INK_TITLE};
    if (isfinite(step->metric[METRIC_TOP1_ERROR]))
        snprintf(items[count++].text, CANVAS_ITEM, "top-1 error %.2f %%",
                 100 * (double)step->metric[METRIC_TOP1_ERROR]);
    canvas_items(canvas, area, row, 0, area.columns, 2, items, count);
}

/* The last step that has reported its loss: the newest one is still running. */
static const struct rollup_step *newest_known(const struct rollup_step *steps, size_t count)
{
    for (size_t i = count; i-- > 0;)
        if (isfinite(steps[i].metric[METRIC_LOSS])) return &steps[i];
    return &steps[count - 1];
}

static void make_loss_curve(struct dashboard_curve *curve, const struct rollup *rollup, struct window window,
                            uint32_t columns)
{
    double *values = mem_alloc(MEM_SCREEN, window.count, sizeof *values);
    for (size_t i = 0; values && i < window.count; i++)
        values[i] = (double)rollup->steps[window.first + i].metric[METRIC_LOSS];
    if (values) make_curve(curve, values, window.count, columns);
    mem_free(values);
}

static void draw_no_loss(struct canvas *canvas, struct rect area)
{
    canvas_text_cut(canvas, area, 0, 1, area.columns > 1 ? area.columns - 1 : 0, false, INK_DIM,
                    "no loss has been reported");
}

#define ROWS_WITH_MIDDLE 7u /* of a curve that has a number between its highest and its lowest, too */

static void draw_curve(struct dashboard *dashboard, const struct rollup *rollup, struct window window,
                       struct canvas *canvas, struct rect area)
{
    const uint32_t labels = 8;
    struct dashboard_curve *curve = &dashboard->loss;
    if (area.columns <= labels) return;
    struct rect plot = {area.row, area.column + labels, area.rows, area.columns - labels};
    const uint64_t asked[4] = {dashboard->renewals, dashboard->cursor, dashboard->zoom, plot.columns};
    if (begin_curve(curve, window.count, asked)) make_loss_curve(curve, rollup, window, plot.columns);
    if (curve->count == 0) {
        draw_no_loss(canvas, area);
        return;
    }
    canvas_text(canvas, area, 0, 0, INK_DIM, "%7.3f", curve->high);
    if (area.rows >= ROWS_WITH_MIDDLE)
        canvas_text(canvas, area, area.rows / 2, 0, INK_DIM, "%7.3f",
                    curve->high - (curve->high - curve->low) * (area.rows / 2) / (area.rows - 1));
    canvas_text(canvas, area, area.rows - 1, 0, INK_DIM, "%7.3f", curve->low);
    canvas_plot(canvas, plot, curve->values, curve->count, curve->low, curve->high, INK_BACKWARD);
}

void panel_loss(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    if (area.rows == 0) return;
    char title[96] = "Loss";
    if (rollup->step_count == 0) {
        draw_no_loss(canvas, canvas_frame(canvas, area, title, dashboard->view == VIEW_LOSS));
        return;
    }
    struct window window = zoomed_window(dashboard, rollup);
    const struct rollup_step *steps = &rollup->steps[window.first];
    snprintf(title, sizeof title, "Loss: steps %" PRIu64 " to %" PRIu64, steps[0].step, steps[window.count - 1].step);
    struct rect inside = canvas_frame(canvas, area, title, dashboard->view == VIEW_LOSS);
    if (inside.rows < 2) return;
    draw_step(newest_known(steps, window.count), canvas, inside, inside.rows - 1);
    draw_curve(dashboard, rollup, window, canvas,
               (struct rect){inside.row, inside.column, inside.rows - 1, inside.columns});
}
