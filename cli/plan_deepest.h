/* What `fathom plan --max-depth` finds and tells. */
#ifndef FATHOM_PLAN_DEEPEST_H
#define FATHOM_PLAN_DEEPEST_H

#include <stdio.h>

#include "deepest.h"
#include "errors.h"
#include "plan_request.h"

/* deepest_find, telling on a terminal's standard error how far it is. */
bool plan_deepest_find(const struct plan_request *request, struct deepest *found, struct error *err);
/* "deepest model         resnet-2000; resnet-2009 does not fit (12 plans made)" */
void plan_deepest_print(const struct deepest *found, FILE *to);

#endif
