/* What `--json` prints. */
#ifndef FATHOM_JSON_PRINT_H
#define FATHOM_JSON_PRINT_H

#include <stdbool.h>
#include <stdio.h>

#include "errors.h"
#include "json.h"

/* Prints the object and a new line, reals with so many digits (0: as many as they have), and ends the object, NULL where it
 * could not be made: json_pack() wants memory, and finite numbers (json_real_or_null). Where nothing can be written main.c
 * says so. */
bool json_print(json_t *object, size_t digits, FILE *to, struct error *err);

/* An object could not be made. */
bool json_unmade(struct error *err);

#endif
