/* The compiled kernels, as the build made them, inside the program. */
#include "kernel_image.h"

__asm__(".section .rodata\n"
        ".balign 16\n"
        "fathom_kernel_image_begin:\n"
        ".incbin \"" KERNEL_IMAGE_FILE "\"\n"
        "fathom_kernel_image_end:\n"
        ".byte 0\n"
        ".text\n");

extern const unsigned char fathom_kernel_image_begin[];
const void *kernel_image(void) { return fathom_kernel_image_begin; }

static const char *const names[] = {
#define EACH(name)  #name "_f32", #name "_f16", #name "_bf16",
#define ALONE(name) #name,
    KERNEL_LIST(EACH, ALONE)
#undef EACH
#undef ALONE
};
const char *kernel_name(enum kernel_id id) { return names[id]; }
