/* Plan files of any content: what is read has been verified and can be let go; what is not gets a sentence. */
#define _GNU_SOURCE
#include <stdint.h>

#include "fuzz_file.h"
#include "mem.h"
#include "plan_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct error err = {0};
    struct fuzz_file file = fuzz_file_make(bytes, length);
    struct plan *plan = plan_read(file.path, &err);
    if (!plan && (err.kind != ERROR_INPUT || !err.text[0])) abort();
    if (plan && (plan->variant_count == 0 || plan->device_count == 0)) abort();
    plan_destroy(plan);
    fuzz_file_finish(&file);
    for (enum mem_purpose p = 0; p < MEM_PURPOSES; p++)
        if (mem_current_bytes(p) != 0) abort();
    return 0;
}
