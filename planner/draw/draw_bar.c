#include <stdio.h>

#include "draw_private.h"
#include "plan_words.h"
#include "units.h"

/* Okabe and Ito's palette, told apart by colour-blind readers; greys for what is not tensors. */
static const char *const colours[MEMORY_CLASSES] = {
    [MEMORY_WEIGHTS] = "#0072b2", [MEMORY_GRADIENTS] = "#d55e00",     [MEMORY_OPTIMIZER] = "#cc79a7",
    [MEMORY_KEPT] = "#009e73",    [MEMORY_TRANSIENT] = "#e69f00",     [MEMORY_WORKSPACE] = "#7a6a53",
    [MEMORY_INPUT] = "#56b4e9",   [MEMORY_COMMUNICATION] = "#f0e442", [MEMORY_CONTEXT] = "#a3adba"};

const char *draw_class_colour(enum memory_class class) { return colours[class]; }

struct bar_label {
    double wanted, y;
    const char *name, *colour;
    uint64_t bytes;
};

/* Labels at their segments' middles, pushed apart to a line's height and kept inside the bar. */
static void spread_labels(struct bar_label *labels, size_t count)
{
    const double line = 25;
    for (size_t i = 0; i < count; i++) { /* from the floor upward: y falls */
        labels[i].y = labels[i].wanted;
        if (i > 0 && labels[i].y > labels[i - 1].y - line) labels[i].y = labels[i - 1].y - line;
    }
    double highest = MAP_TOP + 8;
    for (size_t i = count; i-- > 0; highest = labels[i].y + line)
        if (labels[i].y < highest) labels[i].y = highest;
}

static void draw_bar_labels(struct drawing *d, struct bar_label *labels, size_t count)
{
    spread_labels(labels, count);
    for (size_t i = 0; i < count; i++) {
        char bytes[UNITS_TEXT], attributes[64];
        double x = BAR_LEFT + BAR_WIDTH;
        text_add(&d->svg,
                 "<path d=\"M%.1f %.1fh6L%.1f %.1fh5\" fill=\"none\" stroke=\"" SVG_SOFT "\" stroke-width=\"0.8\"/>\n",
                 x + 2, labels[i].wanted, x + 22, labels[i].y);
        snprintf(attributes, sizeof attributes, "rx=\"2\" fill=\"%s\" stroke=\"" SVG_HAIR "\"", labels[i].colour);
        svg_rect(&d->svg, x + 30, labels[i].y - 6, 12, 12, attributes);
        svg_label(&d->svg, x + 50, labels[i].y + 5, "font-size=\"14\"", labels[i].name);
        svg_label(&d->svg, PAGE_WIDTH - 24, labels[i].y + 5, "font-size=\"14\" text-anchor=\"end\"",
                  units_format_bytes(labels[i].bytes, bytes));
    }
}

#define RESERVE_COLOUR "#d3d9e0"

/* A part of the bar with its title, upward from *y; its label is what it returns. */
static struct bar_label draw_part(struct drawing *d, const char *name, const char *colour, uint64_t bytes, double high,
                                  double *y)
{
    double height = MAP_HEIGHT * (double)bytes / high, middle = *y - height / 2;
    char attributes[64], title[96], size[UNITS_TEXT];
    snprintf(attributes, sizeof attributes, "fill=\"%s\"", colour);
    snprintf(title, sizeof title, "%s: %s", name, units_format_bytes(bytes, size));
    svg_titled_rect(&d->svg, BAR_LEFT, *y - height, BAR_WIDTH, height, attributes, title);
    *y -= height;
    return (struct bar_label){middle, 0, name, colour, bytes};
}

void draw_bar(struct drawing *d)
{
    const struct plan_device *device = d->device;
    uint64_t memory = device->spec.memory_bytes, taken = device->peak_bytes + device->spec.reserve_bytes;
    double high = (double)(taken > memory ? taken : memory), y = MAP_BOTTOM;
    struct bar_label labels[MEMORY_CLASSES + 2];
    size_t count = 0;
    for (int i = 0; i < MEMORY_CLASSES; i++)
        if (device->classes[i] > 0)
            labels[count++] = draw_part(d, words_memory_class(&d->variant->graph->options.update, (enum memory_class)i),
                                        draw_class_colour((enum memory_class)i), device->classes[i], high, &y);
    if (device->spec.reserve_bytes > 0)
        labels[count++] = draw_part(d, "reserve, kept free", RESERVE_COLOUR, device->spec.reserve_bytes, high, &y);
    if (taken < memory) labels[count++] = (struct bar_label){(y + MAP_TOP) / 2, 0, "free", "#ffffff", memory - taken};
    double capacity = MAP_BOTTOM - MAP_HEIGHT * (double)memory / high;
    svg_rect(&d->svg, BAR_LEFT, MAP_TOP, BAR_WIDTH, MAP_HEIGHT, "fill=\"none\" stroke=\"" SVG_SOFT "\"");
    if (taken > memory)
        svg_line(&d->svg, BAR_LEFT - 12, capacity, BAR_LEFT + BAR_WIDTH + 12, capacity,
                 "stroke=\"" SVG_DANGER "\" stroke-width=\"3\"");
    draw_bar_labels(d, labels, count);
    char label[128], bytes[UNITS_TEXT];
    snprintf(label, sizeof label, "device memory, %s", units_format_bytes(memory, bytes));
    svg_label(&d->svg, BAR_LEFT, MAP_TOP - 12, "font-weight=\"600\"", label);
}
