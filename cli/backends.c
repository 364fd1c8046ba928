#include "backends.h"

#include <string.h>

#include "cpu_backend.h"
#ifdef FATHOM_CUDA
#include "cuda_backend.h"
#define BUILT(backend) (&(backend))
#else
#define BUILT(backend) NULL
#endif

/* The first of a kind is its default. */
static const struct entry {
    const char *name;
    enum device_kind kind;
    const struct backend *backend; /* NULL: known, but not in this build */
} entries[] = {
    {"cpu", DEVICE_CPU, &cpu_backend},
    {"cpu-reference", DEVICE_CPU, &cpu_reference_backend},
    {"cuda", DEVICE_GPU, BUILT(cuda_backend)},
    {"cuda-reference", DEVICE_GPU, BUILT(cuda_reference_backend)},
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

const char *backends_names(void)
{
#ifdef FATHOM_CUDA
    return "cpu, cpu-reference, cuda and cuda-reference";
#else
    return "cpu and cpu-reference";
#endif
}

const struct backend *backends_for(enum device_kind kind)
{
    for (size_t i = 0; i < ENTRIES; i++)
        if (entries[i].kind == kind) return entries[i].backend;
    return NULL;
}

bool backends_on_host(const char *name)
{
    const struct entry *entry = find_entry(name);
    return entry && entry->kind == DEVICE_CPU;
}
