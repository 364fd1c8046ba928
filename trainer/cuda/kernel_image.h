#ifndef FATHOM_KERNEL_IMAGE_H
#define FATHOM_KERNEL_IMAGE_H

#include "kernels.h"

/* A fat binary for cudaLibraryLoadData. Static. */
const void *kernel_image(void);

/* As it is found in the image: "bn_apply_f16". */
const char *kernel_name(enum kernel_id id);

#endif
