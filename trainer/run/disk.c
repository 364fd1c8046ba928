/* What a run will write, and what is free for it: a full disk is better found before the first step than at the first
 * checkpoint. */
#define _GNU_SOURCE
#include "disk.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "checkpoint_private.h"
#include "transfer.h"
#include "units.h"

/* ---- What is written ---- */

#define HEADER_BYTES (8u << 10) /* of a file of tensors, beside their names */
#define TENSOR_BYTES 160u       /* of a tensor's name and place there, at most */
#define FILE_SLACK   4096u      /* files take whole blocks */
#define LOG_BYTES    256u       /* of a step's line, at most */
#define TRACED_BYTES 16u        /* of an op's times in a step: 8 to 9 are usual */
#define TRACED_STEP  256u       /* of a step beside its ops */
#define TRACE_BEGIN  (64u << 10)
#define TRACED_NAMES 256u           /* of an op, and of the tensors that it makes, once */
#define TRACE_MOST   (288ull << 20) /* the writer's ring of op detail, and what outlives it */

/* The exact tensors of a run, of which none is read. */
static bool find_checkpoint_bytes(const struct plan *plan, const struct train_options *o, uint64_t *bytes,
                                  struct error *err)
{
    struct training run = {.plan = plan, .options = o};
    struct transfer k = {0};
    TRY(transfer_begin(&k, &run, (uint32_t)plan->device_count, err));
    struct checkpoint_tensors tensors = transfer_tensors(&k);
    size_t net = transfer_net_tensors(&k);
    *bytes = 2 * (HEADER_BYTES + FILE_SLACK);
    if (o->average_decay > 0) *bytes += HEADER_BYTES + FILE_SLACK;
    for (size_t i = 0; i < tensors.count; i++) {
        struct checkpoint_tensor t;
        tensors.describe(tensors.context, i, &t);
        uint64_t each = checkpoint_elements(&t) * sizeof(float) + TENSOR_BYTES;
        *bytes += o->average_decay > 0 && i < net ? 2 * each : each;
    }
    transfer_finish(&k);
    return true;
}

static uint64_t count_multiples(uint64_t every, uint64_t after, uint64_t last)
{
    return every > 0 ? last / every - after / every : 0;
}

/* How many checkpoints are written: those that are due, the last, and each test whose errors are fewer than before. */
static uint64_t count_written(const struct plan *plan, const struct train_options *o, uint64_t done)
{
    const struct dataset_info *info = dataset_info(o->dataset);
    uint64_t last = o->iterations, every = o->save_every;
    if (done >= last) return 0;
    uint64_t written = count_multiples(every, done, last) + (every == 0 || last % every != 0);
    if (o->skip_evaluation || o->repeat_batch || info->test_images == 0) return written;
    uint64_t tested = train_evaluate_every(plan, o, info);
    bool beside = every == 0 || tested % every != 0;
    return beside ? written + count_multiples(tested, done, last - 1) : written;
}

/* The newest `keep` and the best stay, and are there while the next one is written. */
static uint64_t count_more(const struct train_options *o, uint64_t written)
{
    uint64_t most = o->keep + 2, there = checkpoint_count(o->save_folder);
    if (o->keep == 0) return written;
    uint64_t more = there < most ? most - there : 1;
    return written < more ? written : more;
}

static uint64_t find_trace_bytes(const struct plan *plan, const struct train_options *o, uint64_t done)
{
    uint64_t bytes = 0, steps = o->iterations > done ? o->iterations - done : 0;
    for (size_t i = 0; i < plan->device_count; i++) {
        const struct plan_device *device = &plan->devices[i];
        const struct plan_program *program = &plan->variants[device->variant].train;
        uint64_t ops = program->body_count * device->micro_batches + (program->op_count - program->body_count);
        bytes += TRACE_BEGIN + program->op_count * TRACED_NAMES + steps * (ops * TRACED_BYTES + TRACED_STEP);
    }
    uint64_t most = TRACE_MOST * ranks_place(o->ranks).size;
    return bytes < most ? bytes : most;
}

bool disk_need_find(const struct plan *plan, const struct train_options *o, const char *trace, uint64_t done,
                    struct disk_need *need, struct error *err)
{
    struct disk_need found = {0};
    if (o->save_folder) {
        found.checkpoints = count_more(o, count_written(plan, o, done));
        TRY(find_checkpoint_bytes(plan, o, &found.checkpoint_bytes, err));
    }
    if (trace) found.trace_bytes = find_trace_bytes(plan, o, done);
    if (o->log_path && o->iterations > done) found.log_bytes = (o->iterations - done) * LOG_BYTES;
    *need = found;
    return true;
}

/* ---- What is free ---- */

struct place {
    bool known;
    dev_t disk;
    uint64_t free_bytes;
};

static void find_folder(const char *path, char folder[TRAIN_PATH])
{
    const char *slash = strrchr(path, '/');
    if (slash)
        snprintf(folder, TRAIN_PATH, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    else
        snprintf(folder, TRAIN_PATH, ".");
}

/* Of a folder or a file, which may be a link to another disk; where no file is there yet, of the folder it will lie in.
 * Pipes and devices are on no disk. */
static struct place find_place(const char *path, bool is_folder)
{
    struct place place = {0};
    struct statvfs disk;
    struct stat info;
    char folder[TRAIN_PATH];
    if (!is_folder && stat(path, &info) != 0) {
        find_folder(path, folder);
        path = folder;
        is_folder = true;
    }
    if (stat(path, &info) != 0 || (!is_folder && !S_ISREG(info.st_mode))) return place;
    if (statvfs(path, &disk) != 0 || disk.f_blocks == 0) return place;
    uint64_t blocks = geteuid() == 0 ? disk.f_bfree : disk.f_bavail;
    return (struct place){true, info.st_dev, blocks * (disk.f_frsize ? disk.f_frsize : disk.f_bsize)};
}

/* ---- One sentence ---- */

static bool refuse(const struct train_options *o, const struct plan *plan, const struct disk_need *need, uint64_t room,
                   struct error *err)
{
    char one[UNITS_TEXT], have[UNITS_TEXT];
    return error_set(err, ERROR_INPUT,
                     "%s: a checkpoint of %s takes %s, and %s is free on the disk of %s: make room there, or name a "
                     "folder on another disk",
                     o->save_flag ? o->save_flag : "--save", plan->spec.name,
                     units_format_bytes(need->checkpoint_bytes, one), units_format_bytes(room, have), o->save_folder);
}

/* What would do: fewer checkpoints, where as many as fit are some. */
static void say_help(const struct train_options *o, const struct disk_need *need, uint64_t room, uint64_t beside,
                     char *out, size_t size)
{
    uint64_t fit = room > beside ? (room - beside) / need->checkpoint_bytes : 0;
    uint64_t there = checkpoint_count(o->save_folder), keep = fit + there > 2 ? fit + there - 2 : 0;
    bool helps = keep > 0 && (o->keep == 0 || keep < o->keep);
    *out = '\0';
    if (helps) snprintf(out, size, "; --keep %" PRIu64 " would fit", keep);
}

static void warn_folder(const struct train_options *o, const struct disk_need *need, uint64_t room, bool trace,
                        bool log, char warning[DISK_WORDS])
{
    uint64_t beside = (trace ? need->trace_bytes : 0) + (log ? need->log_bytes : 0);
    uint64_t all = need->checkpoints * need->checkpoint_bytes + beside;
    char have[UNITS_TEXT], wanted[UNITS_TEXT], one[UNITS_TEXT], rest[UNITS_TEXT], count[UNITS_TEXT], help[64],
        other[64] = "";
    if (all <= room) return;
    const char *names = trace && log ? "trace and log" : trace ? "the trace" : "the log";
    if (beside > 0) snprintf(other, sizeof other, ", %s for %s", units_format_bytes(beside, rest), names);
    say_help(o, need, room, beside, help, sizeof help);
    snprintf(warning, DISK_WORDS,
             "%s is free on the disk of %s, and this run will write up to %s there: %s %s of %s%s%s",
             units_format_bytes(room, have), o->save_folder, units_format_bytes(all, wanted),
             units_format_count(need->checkpoints, count), need->checkpoints == 1 ? "checkpoint" : "checkpoints",
             units_format_bytes(need->checkpoint_bytes, one), other, help);
}

static void warn_file(const char *what, const char *path, const struct place *place, uint64_t bytes,
                      char warning[DISK_WORDS])
{
    char have[UNITS_TEXT], wanted[UNITS_TEXT];
    if (*warning || !place->known || bytes <= place->free_bytes) return;
    snprintf(warning, DISK_WORDS, "%s is free on the disk of %s, and the %s may take up to %s",
             units_format_bytes(place->free_bytes, have), path, what, units_format_bytes(bytes, wanted));
}

static bool same_disk(const struct place *a, const struct place *b)
{
    return a->known && b->known && a->disk == b->disk;
}

bool train_check_disk(const struct plan *plan, const struct train_options *o, const char *trace, uint64_t done,
                      char warning[DISK_WORDS], struct error *err)
{
    struct disk_need need;
    struct place folder = {0}, traced = {0}, logged = {0};
    *warning = '\0';
    if (ranks_place(o->ranks).rank > 0 || done >= o->iterations) return true; /* rank 0 asks for all */
    TRY(disk_need_find(plan, o, trace, done, &need, err));
    if (o->save_folder) folder = find_place(o->save_folder, true);
    if (trace) traced = find_place(trace, false);
    if (o->log_path) logged = find_place(o->log_path, false);
    if (folder.known && need.checkpoint_bytes > folder.free_bytes)
        return refuse(o, plan, &need, folder.free_bytes, err);
    bool with_trace = same_disk(&folder, &traced), with_log = same_disk(&folder, &logged);
    if (folder.known) warn_folder(o, &need, folder.free_bytes, with_trace, with_log, warning);
    if (!with_trace) warn_file("trace", trace, &traced, need.trace_bytes, warning);
    if (!with_log) warn_file("log", o->log_path, &logged, need.log_bytes, warning);
    return true;
}
