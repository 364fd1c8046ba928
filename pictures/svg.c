#include "svg.h"

#include <stdio.h>
#include <string.h>

#include "printable.h"

void svg_begin(struct text *svg, double width, double height, const char *title)
{
    text_add(svg,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
             "font-family=\"Inter, 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif\" font-size=\"15\" "
             "fill=\"" SVG_INK "\">\n<title>",
             width, height, width, height);
    text_add_xml(svg, title);
    text_add(svg, "</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n");
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
