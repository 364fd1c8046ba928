/* What reader and writer of safetensors files share. */
#ifndef FATHOM_SAFETENSORS_PRIVATE_H
#define FATHOM_SAFETENSORS_PRIVATE_H

#include <stdlib.h>

#define SAFETENSORS_METADATA "__metadata__"
#define SAFETENSORS_SUMS     "xxh3"
#define SAFETENSORS_PREFIX   8u           /* the header's length */
#define SAFETENSORS_MOST     (100u << 20) /* of a header, as other readers have it */

/* What json_dumps gives is malloc's. */
static inline void safetensors_free(char *text) { (free)(text); }

#endif
