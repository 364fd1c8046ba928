/* A placement as a picture: time across, address up, the live sum against the bound, the peak marked. */
#ifndef FATHOM_PLACE_SVG_H
#define FATHOM_PLACE_SVG_H

#include "place.h"
#include "text.h"

/* Adds a whole SVG document to *out. ids may be NULL; title is drawn above the picture. ERROR_MEMORY. */
bool place_svg(struct text *out, const char *title, const struct place_buffer *buffers, const char *const *ids,
               size_t count, const struct place_result *result, struct error *err);

#endif
