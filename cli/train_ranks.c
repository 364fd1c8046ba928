#define _GNU_SOURCE
#include "train_ranks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "hash.h"
#include "mem.h"
#include "plan_file.h"

#define MOST_PLAN_BYTES (UINT64_C(1) << 31)

static struct ranks *failed; /* for train_ranks_end */

const char *train_ranks_folder(const struct train_command *c)
{
    struct stat info;
    const char *resume = c->options.resume_folder;
    if (c->options.save_folder) return c->options.save_folder;
    return resume && stat(resume, &info) == 0 && S_ISDIR(info.st_mode) ? resume : NULL;
}

bool train_ranks_check(const struct train_command *c, struct error *err)
{
    if (c->processes && c->threads) return error_set(err, ERROR_INPUT, "--processes and --threads exclude each other");
    if (c->restarts == 0 || train_ranks_folder(c)) return true;
    return error_set(err, ERROR_INPUT,
                     "--restarts: no checkpoint is kept to go on from; --save DIR is wanted, or a --resume that is a "
                     "folder");
}

bool train_ranks_check_alone(const struct train_command *c, struct error *err)
{
    if (c->restarts == 0 || (c->ranks && strcmp(ranks_launcher(c->ranks), "fathom") == 0)) return true;
    return error_set(err, ERROR_INPUT,
                     "--restarts: it is the processes of one machine that are begun again; --processes is wanted with "
                     "it, and a plan for several devices (a job of mpirun's or srun's is begun again by its script, "
                     "with --resume)");
}

/* ---- Joining ---- */

/* The others run the same command; what they would say, rank 0 says. */
static bool be_quiet(struct train_command *c, struct error *err)
{
    c->quiet = true;
    c->top = false;
    c->options.log_path = NULL;
    if (freopen("/dev/null", "w", stdout)) return true;
    return error_set(err, ERROR_FAILED, "/dev/null cannot be opened");
}

bool train_ranks_open(struct train_command *c, struct error *err)
{
    struct ranks_options options = {.limit_ns = (uint64_t)(c->options.wait_seconds * 1e9)};
    TRY(ranks_open(&options, &c->ranks, err));
    if (!c->ranks) return true;
    const char *resume = getenv(TRAIN_RANKS_RESUME);
    c->options.ranks = c->ranks;
    if (resume) { /* which is a file: where checkpoints go, the command says */
        c->options.save_folder = train_ranks_folder(c);
        c->options.resume_folder = resume;
    }
    return ranks_place(c->ranks).rank == 0 || be_quiet(c, err);
}

/* ---- The plan ---- */

bool train_ranks_temporary(char path[], struct error *err)
{
    int fd = mkstemp(path);
    if (fd < 0) return error_set(err, ERROR_FAILED, "a file for the plan cannot be made in /tmp");
    close(fd);
    return true;
}

static char *plan_bytes(const struct plan *plan, uint64_t *count, struct error *err)
{
    char path[] = TRAIN_RANKS_TEMPORARY, *bytes = NULL;
    size_t length = 0;
    if (!train_ranks_temporary(path, err)) return NULL;
    if (plan_write(plan, path, err) && files_read(path, MOST_PLAN_BYTES, &bytes, &length, err)) *count = length;
    unlink(path);
    return bytes;
}

static struct plan *plan_of_bytes(const char *bytes, uint64_t count, struct error *err)
{
    char path[] = TRAIN_RANKS_TEMPORARY;
    struct plan *plan = NULL;
    if (!train_ranks_temporary(path, err)) return NULL;
    if (files_write(path, bytes, count, err)) plan = plan_read(path, err);
    unlink(path);
    return plan;
}

/* All ranks have the plan that rank 0 has made. */
static struct plan *share_plan(struct train_command *c, struct error *err)
{
    char *bytes = NULL;
    uint64_t count = 0;
    bool first = ranks_place(c->ranks).rank == 0;
    struct plan *plan = first ? train_command_plan(c, err) : NULL;
    if (first && plan) bytes = plan_bytes(plan, &count, err);
    bool ok = (!first || bytes) && ranks_broadcast_block(c->ranks, &bytes, &count, err);
    if (ok && !first) plan = plan_of_bytes(bytes, count, err);
    mem_free(bytes);
    if (ok) return plan;
    plan_destroy(plan);
    return NULL;
}

struct plan *train_ranks_plan(struct train_command *c, struct error *err)
{
    const char *handed = getenv(TRAIN_RANKS_PLAN);
    if (c->ranks && handed) return plan_read(handed, err);
    return c->ranks && !train_command_names_file(c->word) ? share_plan(c, err) : train_command_plan(c, err);
}

/* ---- The same for all ---- */

static uint64_t hash_plan(const struct plan *plan)
{
    uint64_t hash = hash_bytes(&plan->batch, sizeof plan->batch, 0);
    for (size_t i = 0; i < plan->device_count; i++) {
        const struct plan_variant *variant = &plan->variants[plan->devices[i].variant];
        const uint64_t words[] = {variant->graph_hash, variant->arena_bytes, variant->host_bytes,
                                  plan->devices[i].images};
        hash = hash_bytes(words, sizeof words, hash);
    }
    return hash;
}

bool train_ranks_begin(struct train_command *c, const struct plan *plan, struct error *err)
{
    uint32_t first, count;
    const char *command = c->options.command ? c->options.command : "";
    TRY(ranks_agree(c->ranks, "the plan", hash_plan(plan), err));
    TRY(ranks_agree(c->ranks, "the command", hash_bytes(command, strlen(command), 0), err));
    return ranks_take_devices(c->ranks, (uint32_t)plan->device_count, &first, &count, err);
}

/* ---- Images that were skipped ---- */

#define TOLD_BROKEN 64u /* of each rank */

struct told_broken {
    uint64_t count;
    char texts[TOLD_BROKEN][256]; /* those that are none are empty */
};

static void add_broken(struct broken_images *broken, const struct told_broken *told)
{
    size_t told_of = 0;
    for (; told_of < TOLD_BROKEN && told->texts[told_of][0]; told_of++) broken_images_add(broken, told->texts[told_of]);
    if (told->count > told_of) broken_images_add_unnamed(broken, told->count - told_of);
}

bool train_ranks_gather_broken(const struct train_command *c, struct error *err)
{
    struct ranks_place place = ranks_place(c->ranks);
    struct broken_images *broken = c->options.broken;
    if (!c->ranks || !broken) return true;
    struct told_broken *told = mem_zalloc(MEM_INPUT, place.size, sizeof *told), *own = told ? &told[place.rank] : NULL;
    if (!told) return error_memory(err, place.size * sizeof *told, "images that ranks have skipped");
    own->count = broken_images_count(broken);
    for (size_t i = 0; i < TOLD_BROKEN && broken_images_text(broken, i); i++)
        snprintf(own->texts[i], sizeof own->texts[i], "%s", broken_images_text(broken, i));
    bool ok = ranks_gather(c->ranks, told, sizeof *told, err);
    for (uint32_t i = 1; ok && place.rank == 0 && i < place.size; i++) add_broken(broken, &told[i]);
    mem_free(told);
    return ok;
}

bool train_ranks_gather_results(const struct train_command *c, const struct train_result *own,
                                struct train_result *results, struct error *err)
{
    results[ranks_place(c->ranks).rank] = *own;
    return ranks_gather(c->ranks, results, sizeof *results, err);
}

/* ---- Ending ---- */

int train_ranks_finish(struct train_command *c, bool ok, struct error *err)
{
    int code;
    ok = ok && ranks_barrier(c->ranks, err);
    if (ok) {
        ranks_close(c->ranks);
        return 0;
    }
    failed = c->ranks;
    code = error_exit_code(err);
    if (!ranks_settle(c->ranks, err, &code)) err->kind = ERROR_NONE; /* another says it */
    return code;
}

void train_ranks_end(int code)
{
    fflush(NULL);
    ranks_end(failed, code);
}
