/* What the driver said last of each GPU: a line each. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "panels.h"
#include "units.h"

#define MOST_VALUE 1e18                  /* more, or less than nothing, is damage */
#define STALE_NS   UINT64_C(10000000000) /* what was read so long before the trace's end says nothing of now */

bool dashboard_has_gpus(const struct rollup *rollup) { return rollup->has_run && strcmp(rollup->backend, "cpu") != 0; }

bool dashboard_gpu_now(const struct rollup *rollup, uint32_t device, enum trace_gpu_counter counter, double *value)
{
    if ((size_t)counter >= rollup->counter_count || device >= ROLLUP_MOST_DEVICES) return false;
    const struct rollup_value *now = &rollup->counters[counter].devices[device];
    if (!rollup->counters[counter].name || now->count == 0 || now->last_ns + STALE_NS < rollup->last_ns) return false;
    *value = now->last;
    return now->last >= 0 && now->last < MOST_VALUE;
}

static bool is_known(const struct rollup *rollup, uint32_t device)
{
    double value;
    for (int counter = COUNTER_GPU_BUSY; counter < COUNTER_GPU_END; counter++)
        if (dashboard_gpu_now(rollup, device, (enum trace_gpu_counter)counter, &value)) return true;
    return false;
}

size_t dashboard_gpus(const struct rollup *rollup, uint32_t devices[ROLLUP_MOST_DEVICES])
{
    size_t count = 0;
    for (uint32_t d = 0; d < rollup->device_count && d < ROLLUP_MOST_DEVICES; d++)
        if (is_known(rollup, d)) devices[count++] = d;
    return count;
}

/* NVML's reasons for low clocks (nvmlClocksEventReasons). */
static const struct {
    uint64_t bit;
    const char *words;
} reasons[] = {{0x04, "power cap"}, {0x08, "hardware slowdown"}, {0x10, "sync boost"},    {0x20, "heat"},
               {0x40, "heat"},      {0x80, "power brake"},       {0x100, "display clock"}};
#define REASONS (sizeof reasons / sizeof reasons[0])

size_t dashboard_held_back(double bits, const char *words[DASHBOARD_REASONS])
{
    uint64_t left = (uint64_t)bits;
    size_t count = 0;
    for (size_t i = 0; i < REASONS; i++) {
        if (!(left & reasons[i].bit)) continue;
        left &= ~reasons[i].bit;
        if (count == 0 || words[count - 1] != reasons[i].words) words[count++] = reasons[i].words;
    }
    if (left) words[count++] = "a reason of its own";
    return count;
}

/* ---- A line ---- */

/* Rank 0 goes last. */
static struct canvas_item *next_item(struct canvas_item *items, size_t *count, uint8_t rank, enum ink ink)
{
    items[*count] = (struct canvas_item){.rank = rank, .ink = ink};
    return &items[(*count)++];
}

static void add_memory(const struct rollup *rollup, uint32_t device, struct canvas_item *items, size_t *count)
{
    double used;
    char text[2][UNITS_TEXT];
    uint64_t all = rollup->devices[device].memory_bytes;
    if (!dashboard_gpu_now(rollup, device, COUNTER_GPU_MEMORY_USED, &used)) return;
    struct canvas_item *item = next_item(items, count, 2, INK_PLAIN);
    units_format_bytes((uint64_t)used, text[0]);
    if (all)
        snprintf(item->text, CANVAS_ITEM, "%s of %s", text[0], units_format_bytes(all, text[1]));
    else
        snprintf(item->text, CANVAS_ITEM, "%s used", text[0]);
}

static void add_power(const struct rollup *rollup, uint32_t device, struct canvas_item *items, size_t *count)
{
    double power, limit;
    if (!dashboard_gpu_now(rollup, device, COUNTER_GPU_POWER, &power)) return;
    struct canvas_item *item = next_item(items, count, 3, INK_PLAIN);
    if (dashboard_gpu_now(rollup, device, COUNTER_GPU_POWER_LIMIT, &limit))
        snprintf(item->text, CANVAS_ITEM, "%.0f of %.0f W", power, limit);
    else
        snprintf(item->text, CANVAS_ITEM, "%.0f W", power);
}

static void add_number(const struct rollup *rollup, uint32_t device, enum trace_gpu_counter counter, uint8_t rank,
                       double factor, const char *label, const char *unit, struct canvas_item *items, size_t *count)
{
    double value;
    if (!dashboard_gpu_now(rollup, device, counter, &value)) return;
    struct canvas_item *item = next_item(items, count, rank, INK_PLAIN);
    item->label = label;
    snprintf(item->text, CANVAS_ITEM, "%.0f %s", factor * value, unit);
}

/* What holds it back comes first of all that is dropped last. */
static void add_reasons(const struct rollup *rollup, uint32_t device, struct canvas_item *items, size_t *count)
{
    double bits;
    const char *words[DASHBOARD_REASONS];
    if (!dashboard_gpu_now(rollup, device, COUNTER_GPU_THROTTLED, &bits)) return;
    size_t found = dashboard_held_back(bits, words);
    if (found == 0) {
        snprintf(next_item(items, count, 8, INK_GOOD)->text, CANVAS_ITEM, "not held back");
        return;
    }
    struct canvas_item *item = next_item(items, count, 0, INK_WARN);
    size_t length = (size_t)snprintf(item->text, CANVAS_ITEM, "held back: ");
    for (size_t i = 0; i < found && length < CANVAS_ITEM; i++)
        length += (size_t)snprintf(item->text + length, CANVAS_ITEM - length, "%s%s", i ? ", " : "", words[i]);
}

static void draw_gpu(const struct rollup *rollup, uint32_t device, struct canvas *canvas, struct rect area,
                     uint32_t row)
{
    struct canvas_item items[14];
    size_t count = 0;
    struct canvas_item *name = next_item(items, &count, 0, INK_TITLE);
    name->label = "gpu";
    snprintf(name->text, CANVAS_ITEM, "%" PRIu32, device);
    add_number(rollup, device, COUNTER_GPU_BUSY, 1, 1, "busy", "%", items, &count);
    add_number(rollup, device, COUNTER_GPU_SM_ACTIVE, 6, 1, "SM", "%", items, &count);
    add_number(rollup, device, COUNTER_GPU_TENSOR_ACTIVE, 5, 1, "tensor", "%", items, &count);
    add_number(rollup, device, COUNTER_GPU_DRAM_ACTIVE, 5, 1, "DRAM", "%", items, &count);
    add_memory(rollup, device, items, &count);
    add_power(rollup, device, items, &count);
    add_number(rollup, device, COUNTER_GPU_TEMPERATURE, 4, 1, NULL, "°C", items, &count);
    add_number(rollup, device, COUNTER_GPU_CLOCK, 7, 1e-6, NULL, "MHz", items, &count);
    add_number(rollup, device, COUNTER_GPU_MEMORY_CLOCK, 9, 1e-6, "memory", "MHz", items, &count);
    add_reasons(rollup, device, items, &count);
    canvas_items(canvas, area, row, 1, area.columns, 2, items, count);
}

/* Where they do not all fit, those from the chosen device on. */
void panel_gpus(const struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area)
{
    uint32_t devices[ROLLUP_MOST_DEVICES];
    size_t count = dashboard_gpus(rollup, devices), first = 0;
    while (first + area.rows < count && devices[first] < dashboard->device) first++;
    for (uint32_t row = 0; row < area.rows && first + row < count; row++)
        draw_gpu(rollup, devices[first + row], canvas, area, row);
}
