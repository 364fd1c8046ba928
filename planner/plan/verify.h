/* Proof that a plan computes what its graph says. Shares no code with the planner's solvers.
 *
 * Replays each program over byte ranges: every read must see exactly the bytes that the right op wrote last, as the value
 * of the right tensor; every op's inputs must be the tensors its graph op names; recomputed values must come from the same
 * op and inputs as the first time; persistent tensors are never overwritten by others; all lies inside the arena; all
 * devices meet in the same collectives; classes and peaks add up; and what the plan says of itself beside (whether a
 * smaller arena exists, what runs again, whether it fits) follows from its programs. Predicted times follow from more
 * than a plan holds: of them only what cannot be is refused. */
#ifndef FATHOM_VERIFY_H
#define FATHOM_VERIFY_H

#include "plan.h"

enum verify_fault {
    VERIFY_OK,
    VERIFY_HASH,      /* the plan is of another graph */
    VERIFY_RANGE,     /* an index, or bytes outside the arena, or misaligned */
    VERIFY_SIZE,      /* a tensor's size is not its graph tensor's, a sum does not add up */
    VERIFY_OVERLAP,   /* bytes of two live tensors meet */
    VERIFY_STALE,     /* a read sees bytes that something else wrote since: early reuse */
    VERIFY_MISSING,   /* a read of a value that was never computed: missing recompute */
    VERIFY_OPERAND,   /* an op reads or writes another tensor than its graph op says */
    VERIFY_ORDER,     /* ops missing, twice, or in the wrong part of the step */
    VERIFY_MEMORY,    /* marked as fitting but larger than the device */
    VERIFY_FIGURE,    /* a figure or statement that its programs contradict */
};
const char *verify_fault_name(enum verify_fault fault);

/* True when proved. Otherwise *fault (may be NULL) says which rule and err names op, tensor and bytes. */
bool plan_verify(const struct plan *plan, enum verify_fault *fault, struct error *err);

#endif
