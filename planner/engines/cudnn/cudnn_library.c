#define _GNU_SOURCE
#include "cudnn_library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "library.h"

#define MOST_PATH 4096
#define MOST_NAME 64

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
           find(handle, "cudnnGetCudartVersion", &library->cuda_version, err) &&
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

/* cuDNN's own folder, and those of wheels beside its: the RUNPATH of its libraries. */
static bool lies_beside(const char *cudnn, unsigned cuda, const char *name)
{
    char path[MOST_PATH], wheel[MOST_NAME];
    const char *const folders[] = {"", "/../../cublas/lib", "/../../cuda_nvrtc/lib", wheel};
    const char *end = strrchr(cudnn, '/');
    snprintf(wheel, sizeof wheel, "/../../cu%u/lib", cuda);
    for (size_t i = 0; end && i < sizeof folders / sizeof *folders; i++) {
        int length = snprintf(path, sizeof path, "%.*s%s/%s", (int)(end - cudnn), cudnn, folders[i], name);
        if (length < MOST_PATH && access(path, R_OK) == 0) return true;
    }
    return false;
}

/* False: the part of cuDNN that loads this library of CUDA is there, and `name`, the library's, is not. */
static bool has_what(const struct cudnn_library *library, const char *part, const char *wanted, char name[MOST_NAME])
{
    const unsigned cuda = (unsigned)(library->cuda_version() / 1000);
    Dl_info cudnn;
    void *address;
    snprintf(name, MOST_NAME, "%s.so.%u", wanted, cuda);
    memcpy(&address, &library->version, sizeof address);
    if (!dladdr(address, &cudnn) || !cudnn.dli_fname || !lies_beside(cudnn.dli_fname, cuda, part)) return true;
    if (lies_beside(cudnn.dli_fname, cuda, name)) return true;
    void *handle = dlopen(name, RTLD_LAZY | RTLD_LOCAL);
    if (handle) dlclose(handle);
    return handle != NULL;
}

bool cudnn_can_compile(const struct cudnn_library *library, struct error *err)
{
    char name[MOST_NAME];
    return has_what(library, "libcudnn_engines_runtime_compiled.so.9", "libnvrtc", name) ||
           error_set(err, ERROR_FAILED, "cuDNN has none of the engines that it compiles, for want of %s", name);
}

bool cudnn_is_whole(const struct cudnn_library *library, struct error *err)
{
    char name[MOST_NAME];
    return has_what(library, "libcudnn_engines_precompiled.so.9", "libcublasLt", name) ||
           error_set(err, ERROR_FAILED, "cuDNN would end this program, for want of %s", name);
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
