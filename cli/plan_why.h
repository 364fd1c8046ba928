/* Why a plan fits or does not, in sentences. */
#ifndef FATHOM_PLAN_WHY_H
#define FATHOM_PLAN_WHY_H

#include <stdio.h>

#include "breakdown.h"
#include "plan_report.h"

/* The peak of one device, what it consists of, the arena against its bound, and what is computed again and why.
 * ERROR_MEMORY. */
bool plan_why_print(const struct plan_report *report, uint32_t device, const struct breakdown *breakdown, FILE *to,
                    struct error *err);

#endif
