#define _GNU_SOURCE
#include "onednn_calls.h"

#include <dlfcn.h>
#include <pthread.h>

#define TEXT_OF(number) #number
#define NAME_OF(major)  "libdnnl.so." TEXT_OF(major)
#define LIBRARY         NAME_OF(DNNL_VERSION_MAJOR)

struct onednn_calls dnnl;
static struct error fault;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool find_call(void *handle, const char *name, void *slot)
{
    void *found = dlsym(handle, name);
    if (!found) return error_set(&fault, ERROR_FAILED, "%s is not in " LIBRARY, name);
    *(void **)slot = found;
    return true;
}

/* Calls within the library are bound when they are first made, as in a program that is linked to it. */
static void load(void)
{
    void *handle = dlopen(LIBRARY, RTLD_LAZY | RTLD_LOCAL);
    if (!handle) {
        error_set(&fault, ERROR_FAILED, "oneDNN cannot be loaded: %s", dlerror());
        return;
    }
#define FIND(name)                                                                                                     \
    if (!find_call(handle, "dnnl_" #name, (void *)&dnnl.name)) return;
    DNNL_CALLS(FIND)
#undef FIND
}

bool onednn_load(struct error *err)
{
    pthread_once(&once, load);
    if (fault.kind == ERROR_NONE) return true;
    if (err) *err = fault;
    return false;
}
