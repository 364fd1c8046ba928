/* Which function prepares which op. */
#include "cuda_device.h"

const struct cuda_table cuda_fast_table = {.name = "cuda"};
const struct cuda_table cuda_reference_table = {.name = "cuda-reference", .naive = true};
