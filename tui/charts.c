/* The memory and loss panels. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "mem.h"
#include "panels.h"
#include "units.h"

static double part_of(uint64_t bytes, uint64_t whole) { return whole ? (double)bytes / (double)whole : 0; }

/* One bar of all planned classes, over the device's memory (or its plan, where memory is unknown or far larger). */
static void draw_class_bar(const struct rollup_device *device, struct canvas *canvas, struct rect area, uint32_t row)
{
    uint64_t whole = device->planned_bytes, before = 0;
    for (uint32_t i = 0; i < device->classes && i < INK_CLASSES; i++) {
        uint32_t from = (uint32_t)(part_of(before, whole) * area.columns);
        before += device->class_bytes[i];
        uint32_t to = (uint32_t)(part_of(before, whole) * area.columns);
        for (uint32_t column = from; column < to; column++)
            canvas_glyph(canvas, area, row, column, 0x2588, (enum ink)(INK_CLASS + (int)i));
    }
}

static uint32_t draw_classes(const struct rollup_device *device, struct canvas *canvas, struct rect area, uint32_t row)
{
    char text[UNITS_TEXT];
    uint32_t shown = 0, columns = area.columns >= 60 ? 2 : 1, width = area.columns / columns;
    for (uint32_t i = 0; i < device->classes && i < INK_CLASSES; i++) {
        if (device->class_bytes[i] == 0) continue;
        uint32_t line = row + shown / columns, column = shown % columns * width;
        struct rect half = {area.row, area.column + column, area.rows, width > 2 ? width - 2 : width};
        canvas_glyph(canvas, half, line, 0, 0x2588, (enum ink)(INK_CLASS + (int)i));
        canvas_text(canvas, half, line, 2, INK_PLAIN, "%s", device->class_names[i]);
        canvas_text_right(canvas, half, line, half.columns, INK_PLAIN, "%s",
                          units_format_bytes(device->class_bytes[i], text));
        shown++;
    }
    return row + (shown + columns - 1) / columns;
}

static void draw_used(const struct rollup_device *device, struct canvas *canvas, struct rect area, uint32_t row,
                      enum trace_sample sample, const char *name, uint64_t planned)
{
    char used[UNITS_TEXT], plan[UNITS_TEXT];
    canvas_text(canvas, area, row, 0, INK_DIM, "%s", name);
    if (!device->used_known[sample]) {
        canvas_text(canvas, area, row, 9, INK_DIM, "plan %s", units_format_bytes(planned, plan));
        return;
    }
    double part = part_of(device->peak_bytes[sample], planned);
    enum ink ink = part > 1.03 ? INK_BAD : INK_GOOD;
    uint32_t column = canvas_text(canvas, area, row, 9, ink, "%+.1f %%  ", 100 * (part - 1));
    canvas_text(canvas, area, row, column, INK_PLAIN, "%s of %s", units_format_bytes(device->peak_bytes[sample], used),
                units_format_bytes(planned, plan));
}

/* Live bytes of the arena over the ops of a step, as planned. */
static void draw_live_curve(const struct rollup *rollup, uint32_t device, struct canvas *canvas, struct rect area)
{
    if (area.rows < 2 || rollup->op_count == 0) return;
    double *live = mem_alloc(MEM_SCREEN, rollup->op_count, sizeof *live);
    if (!live) return;
    size_t count = 0, peak = 0;
    for (size_t i = 0; i < rollup->op_count; i++) {
        if (rollup->ops[i].device != device) continue;
        live[count] = (double)rollup->ops[i].live_bytes;
        if (live[count] > live[peak]) peak = count;
        count++;
    }
    if (count > 0 && live[peak] > 0) {
        char text[UNITS_TEXT];
        struct rect plot = {area.row + 1, area.column, area.rows - 1, area.columns};
        canvas_text(canvas, area, 0, 0, INK_DIM, "live bytes over the ops of a step, peak %s at op %zu of %zu",
                    units_format_bytes((uint64_t)live[peak], text), peak, count);
        canvas_plot(canvas, plot, live, count, 0, live[peak], INK_FORWARD);
    }
    mem_free(live);
}

/* The process is one, whatever the number of its devices: the first one's samples against the plans of all. */
static void draw_process(const struct rollup *rollup, struct canvas *canvas, struct rect area, uint32_t row)
{
    uint64_t planned = 0;
    for (uint32_t i = 0; i < rollup->device_count && i < ROLLUP_MOST_DEVICES; i++)
        planned += rollup->devices[i].planned_bytes;
    draw_used(&rollup->devices[0], canvas, area, row, SAMPLE_PROCESS, "process", planned);
}

void panel_memory(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    if (area.rows == 0) return;
    char title[96], total[UNITS_TEXT];
    if (rollup->device_count == 0) {
        canvas_frame(canvas, area, "Memory", dashboard->view == VIEW_MEMORY);
        return;
    }
    uint32_t index = dashboard->device < rollup->device_count ? dashboard->device : 0;
    if (index >= ROLLUP_MOST_DEVICES) index = 0;
    const struct rollup_device *device = &rollup->devices[index];
    snprintf(title, sizeof title, "Memory: device %u, %s of %s", index, device->name,
             units_format_bytes(device->memory_bytes, total));
    struct rect inside = canvas_frame(canvas, area, title, dashboard->view == VIEW_MEMORY);
    if (inside.rows == 0) return;
    draw_used(device, canvas, inside, 0, SAMPLE_ARENA, "arena", device->arena_bytes);
    if (device->used_known[SAMPLE_DEVICE])
        draw_used(device, canvas, inside, 1, SAMPLE_DEVICE, "device", device->planned_bytes);
    else
        draw_process(rollup, canvas, inside, 1);
    draw_class_bar(device, canvas, inside, 2);
    uint32_t row = draw_classes(device, canvas, inside, 3);
    if (inside.rows > row + 2)
        draw_live_curve(rollup, index, canvas,
                        (struct rect){inside.row + row + 1, inside.column, inside.rows - row - 1, inside.columns});
}

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

/* Range of the finite values. */
static bool value_range(const double *values, size_t count, double *low, double *high)
{
    double least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) continue;
        least = fmin(least, values[i]);
        most = fmax(most, values[i]);
    }
    *low = least;
    *high = most;
    return least <= most;
}

static void draw_step(const struct rollup_step *step, struct canvas *canvas, struct rect area, uint32_t row)
{
    char took[16];
    uint32_t column = canvas_text(canvas, area, row, 0, INK_PLAIN, "step %" PRIu64, step->step);
    if (isfinite(step->metric[METRIC_LOSS]))
        column = canvas_text(canvas, area, row, column, INK_PLAIN, "  loss %.4f", (double)step->metric[METRIC_LOSS]);
    if (step->end_ns > step->begin_ns)
        column = canvas_text(canvas, area, row, column, INK_PLAIN, "  in %s",
                             format_ns(step->end_ns - step->begin_ns, took));
    if (isfinite(step->metric[METRIC_TOP1_ERROR]))
        canvas_text(canvas, area, row, column, INK_TITLE, "  top-1 error %.2f %%",
                    100 * (double)step->metric[METRIC_TOP1_ERROR]);
}

/* The last step that has reported its loss: the newest one is still running. */
static const struct rollup_step *newest_known(const struct rollup_step *steps, size_t count)
{
    for (size_t i = count; i-- > 0;)
        if (isfinite(steps[i].metric[METRIC_LOSS])) return &steps[i];
    return &steps[count - 1];
}

static void draw_curve(const struct rollup *rollup, struct window window, struct canvas *canvas, struct rect area)
{
    const uint32_t labels = 8;
    double *values = mem_alloc(MEM_SCREEN, window.count, sizeof *values);
    if (!values || area.columns <= labels) {
        mem_free(values);
        return;
    }
    for (size_t i = 0; i < window.count; i++) values[i] = (double)rollup->steps[window.first + i].metric[METRIC_LOSS];
    double low, high;
    if (value_range(values, window.count, &low, &high)) {
        struct rect plot = {area.row, area.column + labels, area.rows, area.columns - labels};
        canvas_text(canvas, area, 0, 0, INK_DIM, "%7.3f", high);
        canvas_text(canvas, area, area.rows - 1, 0, INK_DIM, "%7.3f", low);
        canvas_plot(canvas, plot, values, window.count, low, high, INK_BACKWARD);
    }
    mem_free(values);
}

void panel_loss(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    if (area.rows == 0) return;
    char title[96] = "Loss";
    if (rollup->step_count == 0) {
        canvas_frame(canvas, area, title, dashboard->view == VIEW_LOSS);
        return;
    }
    struct window window = zoomed_window(dashboard, rollup);
    const struct rollup_step *steps = &rollup->steps[window.first];
    snprintf(title, sizeof title, "Loss: steps %" PRIu64 " to %" PRIu64, steps[0].step, steps[window.count - 1].step);
    struct rect inside = canvas_frame(canvas, area, title, dashboard->view == VIEW_LOSS);
    if (inside.rows < 2) return;
    draw_step(newest_known(steps, window.count), canvas, inside, inside.rows - 1);
    draw_curve(rollup, window, canvas, (struct rect){inside.row, inside.column, inside.rows - 1, inside.columns});
}
