/* On which stream each buffer lives, told from its clocks (place_clocks.h). */
#ifndef FATHOM_PLACE_STREAMS_H
#define FATHOM_PLACE_STREAMS_H

#include "place_clocks.h"

/* A guess, on which nothing depends but how good a placement is: stream[] is of each buffer. */
bool streams_find(const struct place_clocks *clocks, size_t count, uint32_t *stream, struct error *err);

#endif
