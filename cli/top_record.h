/* The dashboard's way to its run: that somebody looks, and the wish to have steps recorded. */
#ifndef FATHOM_TOP_RECORD_H
#define FATHOM_TOP_RECORD_H

#include "dashboard.h"
#include "viewer.h"

struct top_record {
    struct trace_viewer *viewer; /* NULL: the run cannot be told anything */
    uint64_t asked_ns, notice_ns; /* 0 = not now */
};

/* That somebody looks holds until top_record_end. A file that cannot be locked is looked at all the same. */
void top_record_begin(struct top_record *record, const char *path);
/* Answers the key, and puts back what stood long enough. Between two draws. */
void top_record_look(struct top_record *record, struct dashboard *dashboard, const struct rollup *rollup, uint64_t now_ns);
void top_record_end(struct top_record *record);

#endif
