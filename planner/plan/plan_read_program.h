/* A program of a plan file: rows of ops and of tensors (docs/formats.md). */
#ifndef FATHOM_PLAN_READ_PROGRAM_H
#define FATHOM_PLAN_READ_PROGRAM_H

#include "plan.h"
#include "plan_fields.h"

/* The field `name` of a variant at `parent`. What is allocated is the plan's, after a fault as well. */
bool plan_read_program(const struct plan_reader *r, const json_t *variant, const char *name, const char *parent,
                       const struct graph *graph, struct plan_program *program);

#endif
