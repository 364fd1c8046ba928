#include "nccl_calls.h"

#include <dlfcn.h>
#include <pthread.h>

#include "library.h"

#define NCCL "libnccl.so.2"

static struct nccl_calls loaded;
static struct error fault;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char path[4096];

static bool find_call(void *handle, const char *name, void *slot, struct error *err)
{
    void *found = dlsym(handle, name);
    if (!found) return error_set(err, ERROR_FAILED, "%s is not in NCCL's library %s", name, path);
    *(void **)slot = found;
    return true;
}

static void find_memory(void *handle)
{
    struct error missing = {0};
    if (!find_call(handle, "ncclMemAlloc", &loaded.MemAlloc, &missing) ||
        !find_call(handle, "ncclMemFree", &loaded.MemFree, &missing) ||
        !find_call(handle, "ncclCommRegister", &loaded.CommRegister, &missing) ||
        !find_call(handle, "ncclCommDeregister", &loaded.CommDeregister, &missing))
        loaded.MemAlloc = NULL;
}

static bool find_calls(void *handle, struct error *err)
{
#define FIND(name) TRY(find_call(handle, "nccl" #name, &loaded.name, err));
    NCCL_CALLS(FIND)
#undef FIND
    find_memory(handle);
    return true;
}

/* Settings of a communicator came with 2.14, splits with 2.18, each compatible with what came after. */
static bool check_version(struct error *err)
{
    int version = 0;
    if (loaded.GetVersion(&version) == ncclSuccess && version >= 21800) return true;
    return error_set(err, ERROR_FAILED, "%s is NCCL %d.%d; several GPUs need 2.18 or later", path, version / 10000,
                     version / 100 % 100);
}

static bool load_library(struct error *err)
{
    library_find(NCCL, NCCL_LIBRARY, path, sizeof path);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return error_set(err, ERROR_FAILED,
                         "several GPUs need NCCL, which cannot be loaded: %s; set CUDA_HOME to a folder with lib/" NCCL
                         ", or plan with one GPU",
                         dlerror());
    return find_calls(handle, err) && check_version(err);
}

static void load(void) { load_library(&fault); }

const struct nccl_calls *nccl_load(struct error *err)
{
    pthread_once(&once, load);
    if (fault.kind == ERROR_NONE) return &loaded;
    *err = fault;
    return NULL;
}
