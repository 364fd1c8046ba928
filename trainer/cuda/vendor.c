#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cuda_calls.h"
#include "library.h"
#include "units.h"

static struct vendor loaded;
static struct error fault;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#define RUNTIME "libcudart.so.13"
#define CUDNN   "libcudnn.so.9"

/* ---- Loading ---- */

static bool find_call(void *handle, const char *name, void *slot, struct error *err)
{
    void *found = dlsym(handle, name);
    if (!found) return error_set(err, ERROR_FAILED, "%s is not in CUDA's runtime %s", name, loaded.cuda_path);
    *(void **)slot = found;
    return true;
}

static bool find_calls(void *handle, struct cuda_calls *cuda, struct error *err)
{
#define FIND(name) TRY(find_call(handle, "cuda" #name, &cuda->name, err));
    CUDA_CALLS(FIND)
#undef FIND
    return true;
}

static bool load_runtime(struct error *err)
{
    library_find(RUNTIME, CUDA_RUNTIME_LIBRARY, loaded.cuda_path, sizeof loaded.cuda_path);
    void *handle = dlopen(loaded.cuda_path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return error_set(err, ERROR_FAILED,
                         "CUDA's runtime cannot be loaded: %s; set CUDA_HOME to a folder with lib64/" RUNTIME,
                         dlerror());
    return find_calls(handle, &loaded.cuda, err);
}

static void load(void)
{
    if (!load_runtime(&fault)) return;
    library_find(CUDNN, CUDNN_LIBRARY, loaded.cudnn_path, sizeof loaded.cudnn_path);
    loaded.has_cudnn = cudnn_load(loaded.cudnn_path, &loaded.cudnn, &loaded.cudnn_fault) &&
                       cudnn_is_whole(&loaded.cudnn, &loaded.cudnn_fault);
}

const struct vendor *vendor_load(struct error *err)
{
    pthread_once(&once, load);
    if (fault.kind == ERROR_NONE) return &loaded;
    *err = fault;
    return NULL;
}

/* Of a GPU, beside an arena that was had: what others hold of it, and what recordings, kernels and cuDNN take. */
static bool no_memory(const struct vendor *vendor, const char *what, struct error *err)
{
    size_t free_bytes, total_bytes;
    char have[UNITS_TEXT], all[UNITS_TEXT];
    const char *name = vendor->cuda.GetErrorName(cudaErrorMemoryAllocation);
    if (vendor->cuda.MemGetInfo(&free_bytes, &total_bytes) != cudaSuccess)
        return error_set(err, ERROR_FAILED, "%s: the GPU is out of memory (%s)", what, name);
    return error_set(
        err, ERROR_FAILED,
        "%s: the GPU is out of memory (%s), with %s of its %s free; a plan with a smaller --budget leaves more "
        "beside its arena",
        what, name, units_format_bytes(free_bytes, have), units_format_bytes(total_bytes, all));
}

bool cuda_check(const struct vendor *vendor, cudaError_t status, struct error *err, const char *what, ...)
{
    char words[256];
    va_list arguments;
    if (status == cudaSuccess) return true;
    va_start(arguments, what);
    vsnprintf(words, sizeof words, what, arguments);
    va_end(arguments);
    if (status == cudaErrorMemoryAllocation) return no_memory(vendor, words, err);
    return error_set(err, ERROR_FAILED, "%s: %s: %s", words, vendor->cuda.GetErrorName(status),
                     vendor->cuda.GetErrorString(status));
}
