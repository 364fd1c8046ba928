/* Sizes, counts and durations as people write and read them. */
#ifndef FATHOM_UNITS_H
#define FATHOM_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define UNITS_TEXT 32

#define UNITS_MOST_BYTES ((uint64_t)INT64_MAX)
/* Reads "12GiB", "12GB" (10^9), "512MiB", "4096", "1.5GiB", whole numbers exactly; the whole text must be used. `what` names
 * the flag or field in the error's sentence. */
bool units_parse_bytes(const char *text, const char *what, uint64_t *bytes, struct error *err);
/* Reads a whole number in [least, most]. */
bool units_parse_count(const char *text, const char *what, uint64_t least, uint64_t most, uint64_t *value,
                       struct error *err);
bool units_parse_real(const char *text, const char *what, double least, double most, double *value, struct error *err);

/* Three significant figures with a binary unit, "9.17 GiB", into out[UNITS_TEXT]; returns out. */
char *units_format_bytes(uint64_t bytes, char out[UNITS_TEXT]);
/* "10,327,706" */
char *units_format_count(uint64_t value, char out[UNITS_TEXT]);
/* "1.49 G" with a decimal unit; append the noun yourself. */
char *units_format_si(double value, char out[UNITS_TEXT]);
/* Of things per second, which are not negative: "2.76", "91.7", "1,296,785". */
char *units_format_rate(double value, char out[UNITS_TEXT]);
/* "12.3 ms", "4 min 10 s", "27.1 h", "645 days" */
char *units_format_seconds(double seconds, char out[UNITS_TEXT]);

#endif
