#define _GNU_SOURCE
#include "together.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "hash.h"
#include "mem.h"
#include "plan_file.h"

#define MOST_PLAN_BYTES (UINT64_C(1) << 31)
#define TEMPORARY       "/tmp/fathom-plan-XXXXXX"

/* ---- The plan ---- */

static bool make_file(char path[TOGETHER_PATH], struct error *err)
{
    strcpy(path, TEMPORARY);
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) return error_errno(err, ERROR_FAILED, errno, "a file for the plan cannot be made in /tmp");
    close(fd);
    return true;
}

bool together_write_plan(const struct plan *plan, char path[TOGETHER_PATH], struct error *err)
{
    TRY(make_file(path, err));
    if (plan_write(plan, path, err)) return true;
    unlink(path);
    return false;
}

static char *plan_bytes(const struct plan *plan, uint64_t *count, struct error *err)
{
    char path[TOGETHER_PATH], *bytes = NULL;
    size_t length = 0;
    if (!together_write_plan(plan, path, err)) return NULL;
    if (files_read(path, MOST_PLAN_BYTES, &bytes, &length, err)) *count = length;
    unlink(path);
    return bytes;
}

static struct plan *plan_of_bytes(const char *bytes, uint64_t count, struct error *err)
{
    char path[TOGETHER_PATH];
    struct plan *plan = NULL;
    if (!make_file(path, err)) return NULL;
    if (files_write(path, bytes, count, err)) plan = plan_read(path, err);
    unlink(path);
    return plan;
}

bool together_share_plan(struct ranks *ranks, struct plan **plan, struct error *err)
{
    char *bytes = NULL;
    uint64_t count = 0;
    bool first = ranks_place(ranks).rank == 0;
    if (!ranks) return *plan != NULL;
    if (first && *plan) bytes = plan_bytes(*plan, &count, err);
    bool ok = (!first || bytes) && ranks_broadcast_block(ranks, &bytes, &count, err);
    if (ok && !first) *plan = plan_of_bytes(bytes, count, err);
    mem_free(bytes);
    if (ok) return *plan != NULL;
    plan_destroy(*plan);
    *plan = NULL;
    return false;
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

bool together_begin(struct ranks *ranks, const struct plan *plan, const char *command, struct error *err)
{
    uint32_t first, count;
    TRY(ranks_agree(ranks, "the plan", hash_plan(plan), err));
    TRY(ranks_agree(ranks, "the command", hash_bytes(command ? command : "", command ? strlen(command) : 0, 0), err));
    return ranks_take_devices(ranks, (uint32_t)plan->device_count, &first, &count, err);
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

bool together_gather_broken(struct ranks *ranks, struct broken_images *broken, struct error *err)
{
    struct ranks_place place = ranks_place(ranks);
    if (!ranks || !broken) return true;
    struct told_broken *told = mem_zalloc(MEM_INPUT, place.size, sizeof *told), *own = told ? &told[place.rank] : NULL;
    if (!told) return error_memory(err, place.size * sizeof *told, "images that ranks have skipped");
    own->count = broken_images_count(broken);
    for (size_t i = 0; i < TOLD_BROKEN && broken_images_text(broken, i); i++)
        snprintf(own->texts[i], sizeof own->texts[i], "%s", broken_images_text(broken, i));
    bool ok = ranks_gather(ranks, told, sizeof *told, err);
    for (uint32_t i = 1; ok && place.rank == 0 && i < place.size; i++) add_broken(broken, &told[i]);
    mem_free(told);
    return ok;
}

/* ---- Results ---- */

bool together_gather_results(struct ranks *ranks, const struct train_result *own, struct train_result *results,
                             struct error *err)
{
    results[ranks_place(ranks).rank] = *own;
    return ranks_gather(ranks, results, sizeof *results, err);
}
