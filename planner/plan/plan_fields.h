/* Fields of plan files, each checked for type and range; faults go to the reader's error and name the field. */
#ifndef FATHOM_PLAN_FIELDS_H
#define FATHOM_PLAN_FIELDS_H

#include "json_tables.h"

#define PLAN_MOST_BYTES (UINT64_C(1) << 50) /* of a memory size */
#define PLAN_WHERE      512                 /* room for where a field is: "plan.json: variants[0].train" */

struct plan_reader {
    const char *path;
    const struct json_document *document;
    struct error *err;
};

bool plan_wrong_field(const struct plan_reader *r, const char *where, const char *field, const char *wanted);
/* Any field beside the given ones is refused: a misspelt one would otherwise be silently ignored. names ends with NULL. */
bool plan_check_fields(const struct plan_reader *r, const json_t *object, const char *where, const char *const *names);

bool plan_get_u32(const struct plan_reader *r, const json_t *object, const char *field, const char *where, uint32_t most,
                  uint32_t *value);
bool plan_get_bytes(const struct plan_reader *r, const json_t *object, const char *field, const char *where,
                    uint64_t *value);
/* Speeds, times and fractions: finite and not negative. */
bool plan_get_real(const struct plan_reader *r, const json_t *object, const char *field, const char *where, double *value);
/* One of the `count` names of an enum: its index. */
bool plan_get_name(const struct plan_reader *r, const json_t *object, const char *field, const char *where,
                   const char *(*name)(int), int count, int *value);
bool plan_find_name(const char *text, const char *(*name)(int), int count, int *value);

#endif
