/* What the verifier's files share. */
#ifndef FATHOM_VERIFY_PRIVATE_H
#define FATHOM_VERIFY_PRIVATE_H

#include "verify.h"
#include "verify_ranges.h"

/* One program under examination. */
struct proof {
    const struct plan_variant *variant;
    const struct plan_program *program;
    const struct graph *graph;
    bool evaluate;
    uint32_t *base; /* per plan tensor that is a view: the plan tensor that it is a view of; else NO_TENSOR */
    uint32_t *only; /* per graph tensor that may have one instance only (persistent, with views): that instance */
    uint32_t *used_first; /* per plan tensor: from which op to which it is in use; NO_OP and 0 when nothing touches it */
    uint32_t *used_last;
    struct ranges ranges;
    enum verify_fault *fault;
    struct error *err;
};

/* Records the rule and the sentence; returns false. */
bool verify_fail(const struct proof *proof, enum verify_fault fault, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "op 812 (conv of stage2/unit17/conv2)" and "tensor 99 (stage1/unit1/conv1.output, bytes 4096 to 8192)". */
#define VERIFY_NAME 320
const char *verify_op_name(const struct proof *proof, uint32_t op, char out[VERIFY_NAME]);
const char *verify_tensor_name(const struct proof *proof, uint32_t tensor, char out[VERIFY_NAME]);

/* Whether the output for that (op_in_place_output) may take the very bytes of its input i, and does. */
bool verify_takes_over(const struct proof *proof, uint32_t op, uint32_t input);

/* Whether this output is only read: the saved statistics of a recomputed BN. */
bool verify_only_reads(const struct proof *proof, const struct plan_op *op, uint32_t output);

/* Each tensor by itself, and what lies apart. Notes base and only. */
bool verify_tensors(struct proof *proof);
/* An op's tensors against its graph op's, and against each other. */
bool verify_operands(const struct proof *proof, uint32_t op);
/* All ops, with their operands: parts, passes, streams, completeness. */
bool verify_ops(const struct proof *proof);
/* Lifetimes as the plan declares them: no two live tensors meet, and streams are waited for. Notes used_first and
 * used_last. */
bool verify_lifetimes(struct proof *proof);
/* The program run over byte ranges. */
bool verify_replay(struct proof *proof);
/* No lifetime is longer than its tensor is in use; tensors' classes; the bound and the classes at the peak of the
 * training program. */
bool verify_sums(const struct proof *proof);
/* What a variant says of itself beside its programs, which are proved by now. */
bool verify_figures(const struct proof *proof);
/* Devices: their variants, collectives and memory; of verified variants. */
bool verify_devices(const struct proof *proof, const struct plan *plan);
/* What the plan says of itself as a whole; after all others. */
bool verify_statements(const struct proof *proof, const struct plan *plan);

#endif
