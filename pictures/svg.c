#include "svg.h"

#include <stdio.h>
#include <string.h>

#include "printable.h"

static void begin(struct text *svg, double width, double height, const char *attributes, const char *title)
{
    text_add(svg,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
             "font-family=\"Inter, 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif\" font-size=\"15\" "
             "%s>\n<title>",
             width, height, width, height, attributes);
    text_add_xml(svg, title);
    text_add(svg, "</title>\n");
}

void svg_begin(struct text *svg, double width, double height, const char *title)
{
    begin(svg, width, height, "fill=\"" SVG_INK "\"", title);
    text_add(svg, "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n");
}

/* Told apart by who does not see red and green alike, too, and each against its page. */
static const char *const on_light[SVG_COLOURS] = {"#0b62b8", "#c8500a", "#0d7d5d", "#9a3b8f",
                                                  "#7a6500", "#b3261e", "#2a8aa8", "#6b4a3a"};
static const char *const on_dark[SVG_COLOURS] = {"#6cb2ff", "#ff9d5c", "#4fd0a5", "#e08fd6",
                                                 "#d9c24a", "#ff8a80", "#7fd6ef", "#c9a48f"};

static void add_theme(struct text *svg, const char *ink, const char *soft, const char *hair, const char *page,
                      const char *const colours[SVG_COLOURS])
{
    text_add(svg, ".ink{fill:%s}.soft{fill:%s}.hair{stroke:%s}.page{fill:%s}", ink, soft, hair, page);
    for (int i = 0; i < SVG_COLOURS; i++) text_add(svg, ".s%d{stroke:%s}.f%d{fill:%s}", i, colours[i], i, colours[i]);
}

void svg_begin_themed(struct text *svg, double width, double height, const char *title)
{
    begin(svg, width, height, "class=\"ink\"", title);
    text_add(svg, "<style>");
    add_theme(svg, SVG_INK, SVG_SOFT, SVG_HAIR, "#ffffff", on_light);
    text_add(svg, "\n@media (prefers-color-scheme: dark){");
    add_theme(svg, "#e8ecf1", "#a7b1bd", "#3a434e", "#14181f", on_dark);
    text_add(svg, "}</style>\n<rect width=\"100%%\" height=\"100%%\" class=\"page\"/>\n");
}

void svg_end(struct text *svg) { text_add(svg, "</svg>\n"); }

void svg_label(struct text *svg, double x, double y, const char *attributes, const char *plain)
{
    text_add(svg, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes);
    text_add_xml(svg, plain);
    text_add(svg, "</text>\n");
}

void svg_line(struct text *svg, double x1, double y1, double x2, double y2, const char *attributes)
{
    text_add(svg, "<path d=\"M%.1f %.1fL%.1f %.1f\" %s/>\n", x1, y1, x2, y2, attributes);
}

void svg_rect(struct text *svg, double x, double y, double width, double height, const char *attributes)
{
    text_add(svg, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" %s/>\n", x, y, width, height, attributes);
}

void svg_title(struct text *svg, const char *title)
{
    text_add(svg, "<title>");
    text_add_xml(svg, title);
    text_add(svg, "</title>");
}

void svg_titled_rect(struct text *svg, double x, double y, double width, double height, const char *attributes,
                     const char *title)
{
    text_add(svg, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" %s>", x, y, width, height, attributes);
    svg_title(svg, title);
    text_add(svg, "</rect>\n");
}

double svg_swatch(struct text *svg, double x, double y, const char *colour, const char *plain)
{
    char attributes[96];
    snprintf(attributes, sizeof attributes, "rx=\"2\" fill=\"%s\" stroke=\"" SVG_HAIR "\"", colour);
    svg_rect(svg, x, y - 11, 12, 12, attributes);
    svg_label(svg, x + 18, y, "font-size=\"13\" fill=\"" SVG_SOFT "\"", plain);
    return x + 18 + 6.9 * (double)strlen(plain) + 22; /* about the width of a character at 13 px */
}
