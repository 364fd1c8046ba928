/* Updates of weights, and what goes with them. */
#ifndef FATHOM_UPDATE_H
#define FATHOM_UPDATE_H

#include "cpu_device.h"
#include "update_rule.h"

/* Of the device's present step, for the OP_UPDATE p. */
struct update_rule update_rule_of(const struct prepared *p);

/* Moves elements [first, last) of p's bucket by loops, range by range. */
void update_elements(const struct prepared *p, const struct update_rule *rule, update_loop loop, uint64_t first,
                     uint64_t last);

/* Whether the step changes nothing: its gradients overflowed. */
bool update_is_skipped(const struct prepared *p, uint8_t scale_operand);

/* Ops of both tables, but for the readable update (reference_update.c). */
bool cpu_run_update(const struct prepared *p, struct error *err);
bool cpu_reference_update(const struct prepared *p, struct error *err);
bool cpu_run_gradient_norm(const struct prepared *p, struct error *err);
bool cpu_gradient_norm_workspace(const struct op_call *call, uint64_t *bytes, struct error *err);
bool cpu_run_weights_average(const struct prepared *p, struct error *err);

#endif
