/* Was this process started as one of several, and what joins it to the others? */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "local.h"
#include "ranks_private.h"

#define MODULE "fathom-mpi.so"
#define PATH   4096

/* What launchers set; one that counts no ranks leaves that to MPI. The script of a batch job is no rank, though Slurm
 * tells it of the job's tasks: only a step has SLURM_STEP_NUM_TASKS. */
static const struct {
    const char *name, *count, *any;
} launchers[] = {
    {"mpirun", "OMPI_COMM_WORLD_SIZE", NULL},
    {"mpirun", "PMI_SIZE", NULL},
    {"srun", "SLURM_STEP_NUM_TASKS", NULL},
    {"mpirun", NULL, "PMIX_RANK"},
};

/* How many ranks there are, 0 = this process was started alone, 1 = several or one. */
static unsigned long count_ranks(const char **launcher)
{
    for (size_t i = 0; i < sizeof launchers / sizeof launchers[0]; i++) {
        const char *text = launchers[i].count ? getenv(launchers[i].count) : NULL;
        unsigned long count = text ? strtoul(text, NULL, 10) : 0;
        *launcher = launchers[i].name;
        if (text) return count > 1 ? count : 0;
        if (launchers[i].any && getenv(launchers[i].any)) return 1;
    }
    return 0;
}

static bool find_beside(const char *folder, const char *under, char path[PATH])
{
    int length = snprintf(path, PATH, "%s%s%s", folder, under, MODULE);
    return length > 0 && length < PATH && access(path, R_OK) == 0;
}

/* Where it is built, beside the program and beside the folders of tests and benches, and where it is installed. */
static bool find_module(const struct ranks_options *options, char path[PATH])
{
    static const char *const places[] = {"/", "/trainer/ranks/", "/../trainer/ranks/", "/../libexec/fathom/"};
    char folder[PATH];
    const char *named = getenv("FATHOM_MPI");
    if (named) {
        snprintf(path, PATH, "%s", named);
        return *named && access(path, R_OK) == 0;
    }
    if (options->module_folder && find_beside(options->module_folder, "/", path)) return true;
    ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (length <= 0) return false;
    folder[length] = '\0';
    *strrchr(folder, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (find_beside(folder, places[i], path)) return true;
    return false;
}

static bool load(const char *path, const struct ranks_transport **transport, struct error *err)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_GLOBAL); /* MPI's own parts look for its symbols */
    if (!module) return error_set(err, ERROR_INPUT, "MPI cannot be loaded: %s", dlerror());
    *transport = dlsym(module, RANKS_TRANSPORT_SYMBOL);
    if (*transport && (*transport)->version == RANKS_TRANSPORT_VERSION) return true;
    return error_set(err, ERROR_INPUT, "%s is of another version of fathom", path);
}

bool ranks_is_local(const struct ranks *ranks) { return ranks->transport == &ranks_local_transport; }

bool ranks_find_transport(const struct ranks_options *options, const struct ranks_transport **transport,
                          const char **launcher, struct error *err)
{
    char path[PATH];
    *transport = NULL;
    *launcher = "fathom";
    if (local_is_child()) {
        *transport = &ranks_local_transport;
        return true;
    }
    unsigned long count = count_ranks(launcher);
    if (count == 0) return true;
    if (find_module(options, path)) return load(path, transport, err);
    return error_set(err, ERROR_INPUT,
                     "%s has started this process as one of several, and %s, which joins them, is not there: it is "
                     "built where MPI is (libopenmpi-dev); one machine needs neither",
                     *launcher, MODULE);
}
