/* `fathom plan --costs`: from the traces of runs to the planner's table of measured times. */
#ifndef FATHOM_PLAN_COSTS_H
#define FATHOM_PLAN_COSTS_H

#include "cost_table.h"
#include "plan_request.h"

/* Reads the traces named, ","-separated, for plans of the request, whose form of a model they may be of. The caller ends
 * *table with cost_table_destroy. ERROR_INPUT when a file is no trace, names no run or has no times; when no device of the
 * request is what they were measured on; ERROR_MEMORY. */
bool plan_costs_read(const char *files, const struct plan_request *request, struct cost_table **table,
                     struct error *err);

#endif
