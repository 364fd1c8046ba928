#include "backends.h"

#include <stdio.h>
#include <string.h>

#include "cpu_backend.h"
#ifdef FATHOM_CUDA
#include "cuda_backend.h"
#define CUDA_BUILT(backend) (&(backend))
#else
#define CUDA_BUILT(backend) NULL
#endif
#ifdef FATHOM_ONEDNN
#define ONEDNN_BUILT(backend) (&(backend))
#else
#define ONEDNN_BUILT(backend) NULL
#endif

/* The first of a kind is its default. */
static const struct entry {
    const char *name;
    enum device_kind kind;
    const struct backend *backend; /* NULL: known, but not in this build */
} entries[] = {
    {"cpu", DEVICE_CPU, ONEDNN_BUILT(cpu_backend)},
    {"cpu-reference", DEVICE_CPU, &cpu_reference_backend},
    {"cuda", DEVICE_GPU, CUDA_BUILT(cuda_backend)},
    {"cuda-reference", DEVICE_GPU, CUDA_BUILT(cuda_reference_backend)},
};
#define ENTRIES (sizeof entries / sizeof entries[0])

static const struct entry *find_entry(const char *name)
{
    for (size_t i = 0; i < ENTRIES; i++)
        if (strcmp(entries[i].name, name) == 0) return &entries[i];
    return NULL;
}

const struct backend *backends_find(const char *name)
{
    const struct entry *entry = find_entry(name);
    return entry ? entry->backend : NULL;
}

char *backends_names(char out[BACKENDS_NAMES])
{
    out[0] = '\0';
    for (size_t i = 0, used = 0; i < ENTRIES; i++)
        if (entries[i].backend)
            used += (size_t)snprintf(out + used, BACKENDS_NAMES - used, "%s%s", used ? ", " : "", entries[i].name);
    return out;
}

const struct backend *backends_for(enum device_kind kind)
{
    for (size_t i = 0; i < ENTRIES; i++)
        if (entries[i].kind == kind && entries[i].backend) return entries[i].backend;
    return NULL;
}

bool backends_on_host(const char *name)
{
    const struct entry *entry = find_entry(name);
    return entry && entry->kind == DEVICE_CPU;
}

bool backends_left_behind(void)
{
    bool any = false;
    for (size_t i = 0; i < ENTRIES; i++)
        any = any || (entries[i].backend && entries[i].backend->left_behind && entries[i].backend->left_behind());
    return any;
}
