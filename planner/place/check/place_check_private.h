/* Between the judges of placements, in plain time and by clocks. */
#ifndef FATHOM_PLACE_CHECK_PRIVATE_H
#define FATHOM_PLACE_CHECK_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

/* The bytes that a buffer takes: size rounded up to align (0 = 1); false where that is beyond 64 bits. */
bool place_check_round(uint64_t size, uint64_t align, uint64_t *bytes);
/* ERROR_INPUT, says that of this buffer; always false. */
bool place_check_too_large(size_t index, struct error *err);

#endif
