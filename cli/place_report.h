/* What `fathom place` says: plainly, or as one JSON object. */
#ifndef FATHOM_PLACE_REPORT_H
#define FATHOM_PLACE_REPORT_H

#include <stdbool.h>

#include "place_chunks.h"
#include "place_import.h"
#include "place_judge.h"

struct place_request {
    const char *path, *problem, *out, *svg;
    const char *chunk_list; /* --chunks as it was given */
    uint64_t *sizes;        /* of the chunks */
    size_t chunks;
    uint64_t capacity, chunk_bytes, seed, threads, memory;
    double seconds;
    bool minimise, json, check, live;
};

/* One of the two is filled: chunks where --chunks was given. */
struct place_outcome {
    struct place_source source;
    struct place_result arena;
    struct place_chunks_result chunks;
    uint32_t *live; /* the buffers of the peak, the largest first */
    size_t live_count;
};

void place_report(const struct place_request *request, const struct place_table *table,
                  const struct place_outcome *outcome);
void place_report_check(const struct place_request *request, const struct place_table *table,
                        const struct place_judgement *judgement);
/* As JSON; without it the error's sentence is all. */
void place_report_unsound(const struct error *why);

/* Progress of a search on stderr: one line on a terminal, elsewhere a plain line a second at most. */
struct place_progress {
    bool terminal, shown;
    double last;
};
void place_progress_show(void *context, uint64_t bound, uint64_t best, double seconds);
void place_progress_end(struct place_progress *progress);

#endif
