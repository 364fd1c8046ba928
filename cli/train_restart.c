/* Starting the processes of one machine, and starting them again: what is said and handed on. What is done with a run
 * that has failed is decided in trainer/run/restarts.c. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends.h"
#include "gone.h"
#include "launch.h"
#include "mem.h"
#include "printable.h"
#include "restarts.h"
#include "stop.h"
#include "text.h"
#include "together.h"
#include "train_ranks.h"
#include "train_trace.h"

#define LOOK_NS UINT64_C(60000000000) /* for GPUs that may be gone */
#define END_NS  UINT64_C(3000000000)  /* that ranks have to end once one of them has failed */

struct starting {
    struct train_command *command;
    const char *const *arguments;
    const struct plan *handed; /* in the file `path`, or where that is empty in the one that the command names */
    char path[TOGETHER_PATH];
};

/* Of several GPUs each has a process: recorded steps with sums over them may wait for each other for ever within
 * one. */
bool train_ranks_starts(const struct train_command *c, const struct plan *plan)
{
    bool on_host = c->backend ? backends_on_host(c->backend) : plan->devices[0].spec.kind == DEVICE_CPU;
    if (c->ranks || c->threads || plan->device_count < 2) return false;
    return c->processes || (!on_host && plan->device_count <= HOST_MOST_GPUS);
}

/* ---- One attempt ---- */

static bool hand_plan(struct starting *s, const struct plan *plan, struct error *err)
{
    if (plan == s->handed) return true;
    if (*s->path) unlink(s->path);
    if (!together_write_plan(plan, s->path, err)) {
        *s->path = '\0';
        return false;
    }
    setenv(TRAIN_RANKS_PLAN, s->path, 1);
    s->handed = plan;
    return true;
}

static int attempt(void *context, const struct plan *plan, const char *checkpoint, uint32_t *silent, struct error *err)
{
    struct starting *s = context;
    const struct launch_options options = {
        .ranks = (uint32_t)plan->device_count, .arguments = s->arguments, .stop = stop_flag(), .end_ns = END_NS};
    *silent = LAUNCH_NONE;
    if (!hand_plan(s, plan, err)) return 1;
    if (checkpoint) setenv(TRAIN_RANKS_RESUME, checkpoint, 1);
    int code = launch_run(&options, silent, err);
    setenv(TRAIN_RANKS_AGAIN, "1", 1); /* of the next attempt */
    return code;
}

/* ---- GPUs that are gone ---- */

static bool has_gpus(const struct train_command *c) { return c->looked && !backends_on_host(c->runs_on->name); }

/* The command's GPUs are those of the plan, in its order. Returns how many. */
static size_t list_gpus(const struct host_gpus *gpus, struct gone_gpu list[HOST_MOST_GPUS])
{
    for (size_t i = 0; i < gpus->count; i++) {
        memcpy(list[i].bus_id, gpus->gpus[i].bus_id, sizeof list[i].bus_id);
        memcpy(list[i].uuid, gpus->gpus[i].uuid, sizeof list[i].uuid);
    }
    return gpus->count;
}

static void look(void *context, const struct plan *plan, bool *gone)
{
    static const char *const question[] = {"fathom", "devices", "--json", NULL};
    const struct train_command *c = ((const struct starting *)context)->command;
    const struct gone_look how = {.question = question, .limit_ns = LOOK_NS, .stop = stop_flag()};
    struct gone_gpu list[HOST_MOST_GPUS];
    if (has_gpus(c) && list_gpus(&c->gpus, list) >= plan->device_count) gone_find(list, plan->device_count, &how, gone);
}

static void forget_gpus(struct host_gpus *gpus, const bool *gone)
{
    struct gone_gpu list[HOST_MOST_GPUS];
    size_t left = 0;
    for (size_t i = 0; i < gpus->count; i++)
        if (!gone[i]) gpus->gpus[left++] = gpus->gpus[i];
    gpus->count = left;
    gone_show(list, list_gpus(gpus, list));
}

static struct plan *replan(void *context, const struct plan *plan, const bool *gone, struct error *err)
{
    return train_command_replan(((struct starting *)context)->command, plan, gone, err);
}

/* ---- Words ---- */

static void say_failed(void *context, const struct error *cause)
{
    (void)context;
    if (cause->kind != ERROR_NONE) fprintf(stderr, "fathom train: %s\n", PRINTABLE(cause->text));
}

static void say_losses(const struct train_command *c, const struct restart *restart)
{
    struct text text = {0};
    size_t count = restart->before->device_count, left = restart->plan->device_count;
    if (restart->given_up != LAUNCH_NONE)
        text_add(&text,
                 "rank %" PRIu32
                 " of %zu has failed twice without a word before the run came any further, and is given up",
                 restart->given_up, count);
    for (size_t i = 0; i < count; i++)
        if (restart->gone[i] && i != restart->given_up)
            text_add(&text, "%sthe GPU of rank %zu (%s) is no more", text.length > 0 ? ", " : "", i,
                     c->gpus.gpus[i].bus_id);
    if (!text.failed)
        fprintf(stderr, "fathom train: %s: the run goes on with %zu device%s, for which it is planned anew\n",
                text.bytes, left, left == 1 ? "" : "s");
    text_finish(&text);
}

static void begin_again(void *context, const struct restart *restart)
{
    struct train_command *c = ((struct starting *)context)->command;
    const char *given = c->options.resume_folder, *from = restart->checkpoint ? restart->checkpoint : given;
    if (restart->plan != restart->before) {
        train_trace_put_aside(c, restart->before->device_count);
        say_losses(c, restart);
        if (has_gpus(c)) forget_gpus(&c->gpus, restart->gone);
    }
    fprintf(stderr, "fathom train: the run begins again from %s%s%s; --restarts leaves %" PRIu64 " more\n",
            restart->checkpoint ? "its last checkpoint"
            : given             ? "where it began"
                                : "its first step",
            from ? ", " : "", from ? PRINTABLE(from) : "", restart->left);
}

/* ---- All attempts ---- */

static int start_all(struct train_command *c, const struct plan *plan, const char *const *arguments, struct error *err)
{
    struct starting s = {.command = c, .arguments = arguments};
    const struct restarts_options options = {.folder = train_ranks_folder(c), .most = c->restarts, .stop = stop_flag()};
    const struct restarts_calls calls = {&s, attempt, look, replan, say_failed, begin_again};
    if (train_command_names_file(c->word)) s.handed = plan;
    stop_catch();
    fflush(NULL);
    int code = restarts_run(plan, &options, &calls, err);
    if (*s.path) unlink(s.path);
    return code;
}

int train_ranks_start(struct train_command *c, const struct plan *plan, int argc, char **argv, struct error *err)
{
    const char **arguments = mem_zalloc(MEM_GENERAL, (size_t)argc + 2, sizeof *arguments);
    if (!arguments) return error_memory(err, ((size_t)argc + 2) * sizeof *arguments, "the arguments of ranks"), 1;
    arguments[0] = "fathom";
    for (int i = 0; i < argc; i++) arguments[i + 1] = argv[i];
    c->part = train_part(plan, NULL);
    int code = train_command_backend(c, plan, err) ? start_all(c, plan, arguments, err) : 1;
    mem_free(arguments);
    return code;
}
