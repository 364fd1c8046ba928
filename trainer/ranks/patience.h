/* How long a wait may still take, counted while this process runs: one that was stopped meanwhile (Ctrl-Z) has not waited. */
#ifndef FATHOM_PATIENCE_H
#define FATHOM_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

#define PATIENCE_MOST_NS UINT64_C(1000000000) /* that one look takes off: who waits looks far more often */

struct patience {
    uint64_t seen_ns, left_ns;
};

/* now_ns: of any clock that nobody sets. */
static inline struct patience patience_begin(uint64_t now_ns, uint64_t limit_ns) { return (struct patience){now_ns, limit_ns}; }

static inline bool patience_is_over(struct patience *p, uint64_t now_ns)
{
    uint64_t passed = now_ns - p->seen_ns;
    if (passed > PATIENCE_MOST_NS) passed = PATIENCE_MOST_NS;
    p->seen_ns = now_ns;
    p->left_ns = p->left_ns > passed ? p->left_ns - passed : 0;
    return p->left_ns == 0;
}

#endif
