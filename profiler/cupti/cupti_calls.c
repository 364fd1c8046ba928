#define _GNU_SOURCE
#include "cupti_calls.h"

#include <dlfcn.h>

#include "library.h"

#define LIBRARY   "libcupti.so.13"
#define MOST_PATH 4096

static bool find_call(void *handle, const char *name, void *slot, struct error *err)
{
    void *found = dlsym(handle, name);
    if (!found) return error_set(err, ERROR_FAILED, "%s is not in CUPTI", name);
    *(void **)slot = found;
    return true;
}

bool cupti_load(struct cupti_calls *calls, struct error *err)
{
    char path[MOST_PATH];
    library_find(LIBRARY, CUPTI_LIBRARY, path, sizeof path);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return error_set(err, ERROR_FAILED, "CUPTI cannot be loaded: %s", dlerror());
#define FIND(name) TRY(find_call(handle, "cupti" #name, &calls->name, err));
    CUPTI_CALLS(FIND)
#undef FIND
    return true;
}
