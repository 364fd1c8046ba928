// All kernels in one image: one call of the compiler for all generations of GPUs.
#include "step.cu"
