/* Several ranks of one run in one view: how far their steps lie apart, and who is waited for. */
#ifndef FATHOM_RANKS_VIEW_H
#define FATHOM_RANKS_VIEW_H

#include "canvas.h"
#include "rollup.h"

#define RANKS_VIEW_STEPS 32u /* the last so many that all ranks have ended are looked at */

/* Of one rank, over those steps; times in ns, of its first device. */
struct rank_row {
    uint32_t rank;
    const char *host;           /* borrowed */
    uint32_t devices;
    uint64_t step;              /* ended last */
    bool ended, crashed;        /* its trace is closed; its process is gone without that */
    double silent_seconds;      /* since its trace grew */
    bool steps_known, sums_known;
    double step_ns;             /* of a step */
    double late_ns;             /* how long after the first rank it ends a step: by the hosts' clocks */
    double sums_ns;             /* in all-reduces, of the steps whose ops were timed: as long as it waits for others, and more */
    double waits_ns;            /* longer in them than the rank that is so the shortest */
};

struct ranks_view {
    struct rank_row *rows; /* the caller's */
    size_t count;
    bool reading;          /* there is more in the files than has been read yet: of them 0 to 1 */
    double read_part;
    uint64_t iterations;
    uint32_t steps;        /* looked at; 0 = none that all have ended */
    double step_ns;        /* of one, the slowest rank's */
    double spread_ns;      /* from the first rank's end of a step to the last one's, the mean */
    double worst_ns;       /* the most */
    bool waited_known;
    size_t waited_for;     /* the rank that is the shortest in sums: the others wait for it there */
};

/* From what the ranks' traces have so far; what is crashed, for how long rows are silent, and how far
 * reading has come, is the caller's to fill. */
void ranks_view_make(struct ranks_view *view, const struct rollup *const rollups[]);
void ranks_view_draw(const struct ranks_view *view, struct canvas *canvas);

#endif
