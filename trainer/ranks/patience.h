/* How long a wait may still take, counted while this process runs: one that was stopped meanwhile (Ctrl-Z) has not waited. */
#ifndef FATHOM_PATIENCE_H
#define FATHOM_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define PATIENCE_MOST_NS UINT64_C(1000000000) /* that one look takes off: who waits looks far more often */

struct patience {
    uint64_t seen_ns, left_ns;
};

static inline uint64_t patience_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline struct patience patience_begin(uint64_t limit_ns) { return (struct patience){patience_now_ns(), limit_ns}; }

static inline bool patience_is_over(struct patience *p)
{
    uint64_t now = patience_now_ns(), passed = now - p->seen_ns;
    if (passed > PATIENCE_MOST_NS) passed = PATIENCE_MOST_NS;
    p->seen_ns = now;
    p->left_ns = p->left_ns > passed ? p->left_ns - passed : 0;
    return p->left_ns == 0;
}

#endif
