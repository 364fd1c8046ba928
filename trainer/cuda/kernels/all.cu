// All kernels in one image: one call of the compiler for all generations of GPUs.
#include "elementwise.cu"
#include "images.cu"
#include "step.cu"
#include "update.cu"
