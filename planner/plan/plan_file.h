/* Plans as files: one JSON object each (docs/formats.md). */
#ifndef FATHOM_PLAN_FILE_H
#define FATHOM_PLAN_FILE_H

#include "plan.h"

/* Reads and checks a plan file: version, fields, ranges, the graph's hash; then plan_verify. ERROR_INPUT names the field. */
struct plan *plan_read(const char *path, struct error *err);
/* Atomic. */
bool plan_write(const struct plan *plan, const char *path, struct error *err);

#endif
