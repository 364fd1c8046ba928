/* The picture of memory against time. */
#ifndef FATHOM_FRONTIER_DRAW_H
#define FATHOM_FRONTIER_DRAW_H

#include "frontier.h"

/* Draws it as SVG under the title, written atomically. ERROR_MEMORY, or the file's error. */
bool frontier_draw(const struct frontier *frontier, const char *title, const char *path, struct error *err);

#endif
