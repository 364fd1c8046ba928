/* The panels: each draws one part of the dashboard into its area. */
#ifndef FATHOM_PANELS_H
#define FATHOM_PANELS_H

#include "dashboard.h"

void panel_header(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area);
void panel_footer(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area);
void panel_ops(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area);
void panel_layers(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area);
void panel_memory(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area);
void panel_loss(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area);
void panel_kernels(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area);
void panel_gpus(const struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas, struct rect area);
/* First line to show so that the selected one is inside a window of `rows`; of the last page no line is left blank. */
size_t panel_scroll(size_t scroll, size_t selected, size_t count, size_t rows);
/* Scrolls a list to what is selected in it, below the heading inside its frame; returns how many lines there are to show. */
size_t panel_show_lines(struct dashboard *dashboard, struct row_list *list, struct rect inside);
/* What row_list_share is of. */
const char *panel_share_title(const struct row_list *list);
/* Over all other panels; scrolled where it does not fit. */
void panel_help(struct dashboard *dashboard, struct canvas *canvas);

#endif
