#define _GNU_SOURCE
#include "cupti_calls.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LIBRARY   "libcupti.so.13"
#define MOST_PATH 4096

static bool look_in(const char *root, char path[MOST_PATH])
{
    static const char *const folders[] = {"lib64", "lib", "extras/CUPTI/lib64"};
    for (size_t i = 0; root && *root && i < sizeof folders / sizeof *folders; i++) {
        int length = snprintf(path, MOST_PATH, "%s/%s/" LIBRARY, root, folders[i]);
        if (length > 0 && length < MOST_PATH && access(path, R_OK) == 0) return true;
    }
    return false;
}

static const char *find_library(char path[MOST_PATH])
{
    if (look_in(getenv("CUDA_HOME"), path) || look_in("/usr/local/cuda", path)) return path;
    return access(CUPTI_LIBRARY, R_OK) == 0 ? CUPTI_LIBRARY : LIBRARY;
}

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
    void *handle = dlopen(find_library(path), RTLD_NOW | RTLD_LOCAL);
    if (!handle) return error_set(err, ERROR_FAILED, "CUPTI cannot be loaded: %s", dlerror());
#define FIND(name) TRY(find_call(handle, "cupti" #name, &calls->name, err));
    CUPTI_CALLS(FIND)
#undef FIND
    return true;
}
