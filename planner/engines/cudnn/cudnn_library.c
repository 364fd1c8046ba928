#define _GNU_SOURCE
#include "cudnn_library.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "library.h"

#define MOST_PATH 4096

/* A function pointer through an object pointer, as POSIX has it for dlsym. */
static bool find(void *handle, const char *name, void *slot, struct error *err)
{
    void *found = dlsym(handle, name);
    if (!found) return error_set(err, ERROR_FAILED, "%s is not in cuDNN: %s", name, dlerror());
    *(void **)slot = found;
    return true;
}

static bool find_all(void *handle, struct cudnn_library *library, struct error *err)
{
    return find(handle, "cudnnGetVersion", &library->version, err) &&
           find(handle, "cudnnGetErrorString", &library->error_string, err) &&
           find(handle, "cudnnGetLastErrorString", &library->last_error, err) &&
           find(handle, "cudnnBackendCreateDescriptor", &library->create, err) &&
           find(handle, "cudnnBackendDestroyDescriptor", &library->destroy, err) &&
           find(handle, "cudnnBackendFinalize", &library->finalize, err) &&
           find(handle, "cudnnBackendSetAttribute", &library->set, err) &&
           find(handle, "cudnnBackendGetAttribute", &library->get, err) &&
           find(handle, "cudnnCreate", &library->handle_create, err) &&
           find(handle, "cudnnDestroy", &library->handle_destroy, err) &&
           find(handle, "cudnnSetStream", &library->handle_stream, err) &&
           find(handle, "cudnnBackendExecute", &library->execute, err);
}

static const char *choose(char path[MOST_PATH])
{
    return library_in(getenv("CUDA_HOME"), "libcudnn.so.9", path, MOST_PATH) ? path : CUDNN_LIBRARY;
}

bool cudnn_load(const char *path, struct cudnn_library *library, struct error *err)
{
    char chosen[MOST_PATH];
    void *handle = dlopen(path ? path : choose(chosen), RTLD_NOW | RTLD_LOCAL);
    if (!handle) return error_set(err, ERROR_FAILED, "cuDNN cannot be loaded: %s", dlerror());
    return find_all(handle, library, err);
}
