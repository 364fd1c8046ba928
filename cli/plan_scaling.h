/* `fathom plan --scaling`, and what a whole run takes: tables and JSON. */
#ifndef FATHOM_PLAN_SCALING_H
#define FATHOM_PLAN_SCALING_H

#include <stdio.h>

#include "json.h"
#include "scaling.h"

void plan_scaling_print(const struct scaling *scaling, FILE *to);
void plan_run_print(const struct whole_run *run, FILE *to);
/* The caller's; NULL when memory is short. */
json_t *plan_scaling_json(const struct scaling *scaling);
json_t *plan_all_reduce_json(const struct plan *plan, const struct machine *machine);
json_t *plan_run_json(const struct whole_run *run);

#endif
