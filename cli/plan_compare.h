/* Two plan files side by side. */
#ifndef FATHOM_PLAN_COMPARE_H
#define FATHOM_PLAN_COMPARE_H

#include <stdbool.h>
#include <stdio.h>

#include "errors.h"

/* Reads and proves both plans and tells which is better in what, and what differs: a table, or one JSON object with
 * `sentence`, `better`, `a`, `b` (as `plan --json` tells a plan) and `differs`, the names of the keys that do.
 * ERROR_INPUT names the file that is no plan. */
bool plan_compare(const char *a, const char *b, bool json, FILE *to, struct error *err);

#endif
