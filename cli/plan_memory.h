/* The table of what each device of a plan holds. */
#ifndef FATHOM_PLAN_MEMORY_H
#define FATHOM_PLAN_MEMORY_H

#include <stdio.h>

#include "plan.h"

/* Devices that look the same share a column. */
#define PLAN_MEMORY_COLUMNS 4

void plan_memory_print(const struct plan *plan, FILE *to);

#endif
