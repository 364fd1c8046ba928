/* `fathom top` of several traces: the ranks of one run. */
#ifndef FATHOM_TOP_RANKS_H
#define FATHOM_TOP_RANKS_H

#include "canvas.h"
#include "errors.h"

#define TOP_MOST_RANKS 64u

struct top_ranks_options {
    const char *const *paths; /* in any order */
    size_t count;
    bool once, json, ascii; /* one screen as text; one object; else a dashboard until q */
    uint32_t rows, columns, interval_ms;
};

bool top_ranks_show(const struct top_ranks_options *options, struct error *err);

#endif
