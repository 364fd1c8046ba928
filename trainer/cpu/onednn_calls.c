#define _GNU_SOURCE
#include "onednn_calls.h"

#include <dlfcn.h>
#include <pthread.h>

#include "system_limits.h"

#define TEXT_OF(number) #number
#define NAME_OF(major)  "libdnnl.so." TEXT_OF(major)
#define LIBRARY         NAME_OF(DNNL_VERSION_MAJOR)

struct onednn_calls dnnl;
static bool loaded;
static struct error fault; /* that does not pass */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- Room ---- */

/* oneDNN is written in C++ and does not expect that memory may be missing when it makes things, nor when it is loaded
 * and its initialisers run: an exception ends the process. A kernel, its code and its tables take less than this. */
#define ROOM_FOR_A_KERNEL (12u << 20)
#define ROOM_TO_BEGIN     (5u << 20)  /* what the loader and the initialisers write to */
#define LIBRARY_ADDRESSES (48u << 20) /* of oneDNN 2.6 with C++'s and OpenMP's libraries: 42 MiB, which files back */

static bool check_room(uint32_t bytes, const char *what, struct error *err)
{
    struct limit room;
    limits_room(bytes, &room);
    if (room.amount == bytes) return true;
    return error_set(err, ERROR_MEMORY, "oneDNN: out of memory: %u MiB for %s, limited by %s", (unsigned)(bytes >> 20),
                     what, room.source);
}

bool onednn_check_room(struct error *err) { return check_room(ROOM_FOR_A_KERNEL, "a kernel", err); }

static bool check_room_to_load(struct error *err)
{
    const uint32_t addresses = LIBRARY_ADDRESSES + ROOM_TO_BEGIN + ROOM_FOR_A_KERNEL;
    TRY(check_room(ROOM_TO_BEGIN + ROOM_FOR_A_KERNEL, "it and a kernel", err));
    if (limits_has_addresses(addresses)) return true;
    return error_set(err, ERROR_MEMORY,
                     "oneDNN: out of memory: %u MiB of addresses for it and a kernel, limited by ulimit -v",
                     (unsigned)(addresses >> 20));
}

/* ---- Loading ---- */

static bool find_call(void *handle, const char *name, void *slot)
{
    void *found = dlsym(handle, name);
    if (!found) return error_set(&fault, ERROR_FAILED, "%s is not in " LIBRARY, name);
    *(void **)slot = found;
    return true;
}

#define PLENTY (256u << 20) /* for any oneDNN */

/* A lack of addresses passes, and what else may be wrong does not. */
static bool refuse_load(const char *why, struct error *err)
{
    if (limits_has_addresses(PLENTY)) return error_set(&fault, ERROR_FAILED, "oneDNN cannot be loaded: %s", why);
    return error_set(err, ERROR_MEMORY, "oneDNN cannot be loaded: %s; addresses are limited by ulimit -v", why);
}

/* Calls within the library are bound when they are first made, as in a program that is linked to it. */
static bool load(struct error *err)
{
    TRY(check_room_to_load(err));
    void *handle = dlopen(LIBRARY, RTLD_LAZY | RTLD_LOCAL);
    if (!handle) return refuse_load(dlerror(), err);
#define FIND(name) TRY(find_call(handle, "dnnl_" #name, (void *)&dnnl.name));
    DNNL_CALLS(FIND)
#undef FIND
    loaded = true;
    return true;
}

bool onednn_load(struct error *err)
{
    pthread_mutex_lock(&lock);
    bool ok = loaded || (fault.kind == ERROR_NONE && load(err));
    if (!ok && err && fault.kind != ERROR_NONE) *err = fault;
    pthread_mutex_unlock(&lock);
    return ok;
}
