#define _GNU_SOURCE
#include "gone.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "json.h"
#include "process.h"
#include "text.h"

#define LOOK_MS     50   /* between two looks at the stop flag */
#define END_MS      1000 /* that a process has to end */
#define END_STEP_MS 5

/* ---- Showing some ---- */

/* By UUID: numbers are those of the GPUs that are there, and change when one is lost. */
static void show(const struct gone_gpu *gpus, size_t count, const bool *gone)
{
    struct text list = {0};
    for (size_t i = 0; i < count; i++)
        if (!gone || !gone[i]) text_add(&list, "%s%s", list.length > 0 ? "," : "", gpus[i].uuid);
    if (!list.failed && list.bytes) setenv("CUDA_VISIBLE_DEVICES", list.bytes, 1);
    text_finish(&list);
}

void gone_show(const struct gone_gpu *left, size_t count) { show(left, count, NULL); }

/* ---- Asking a process ---- */

struct question {
    const struct gone_gpu *found;
    size_t count;
    const struct gone_look *look;
};

static void ask_and_tell(const struct question *q, const bool *gone, int to)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    show(q->found, q->count, gone);
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere >= 0 && dup2(to, STDOUT_FILENO) >= 0 && dup2(nowhere, STDERR_FILENO) >= 0)
        process_execute_self(q->look->question);
    _exit(127);
}

/* To its end; false where that does not come in time. */
static bool hear(int from, const struct gone_look *look, struct text *told)
{
    uint64_t begin = clock_now_ns();
    struct pollfd end = {.fd = from, .events = POLLIN};
    char bytes[4096];
    while (!*look->stop && clock_now_ns() - begin < look->limit_ns) {
        if (poll(&end, 1, LOOK_MS) <= 0) continue;
        ssize_t count = read(from, bytes, sizeof bytes);
        if (count == 0) return true;
        if (count < 0 && errno != EINTR) return false;
        if (count > 0) text_add_bytes(told, bytes, (size_t)count);
    }
    return false;
}

/* Waited for no longer than END_MS: one that hangs within the driver may never end. */
static void end(pid_t pid, bool told)
{
    int status, waited = 0;
    if (!told) kill(pid, SIGKILL);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (waited >= END_MS) {
            kill(pid, SIGKILL);
            return;
        }
        poll(NULL, 0, END_STEP_MS);
        waited += END_STEP_MS;
    }
}

/* The answer where those that are gone are hidden; NULL where there is none. The caller's. */
static json_t *ask_anew(const struct question *q, const bool *gone)
{
    int ends[2];
    struct text told = {0};
    json_t *object = NULL;
    if (pipe2(ends, O_CLOEXEC) != 0) return NULL;
    pid_t pid = fork();
    if (pid == 0) ask_and_tell(q, gone, ends[1]);
    close(ends[1]);
    if (pid > 0) {
        bool ok = hear(ends[0], q->look, &told);
        end(pid, ok);
        if (ok && !told.failed && told.bytes) object = json_loadb(told.bytes, told.length, 0, NULL);
    }
    close(ends[0]);
    text_finish(&told);
    return object;
}

/* ---- Which are there ---- */

static bool is_there(const json_t *gpus, const char *bus_id)
{
    size_t i;
    json_t *gpu;
    json_array_foreach(gpus, i, gpu)
    {
        const char *slot = json_string_value(json_object_get(gpu, "bus_id"));
        bool seen = json_is_number(json_object_get(gpu, "compute_capability")); /* not on the bus alone */
        if (seen && slot && strcmp(slot, bus_id) == 0) return true;
    }
    return false;
}

/* CUDA goes by its list up to the first GPU that is not there: of those behind it nothing is known. Returns whether any
 * are. */
static bool mark_gone(const json_t *gpus, const struct question *q, bool *gone)
{
    size_t known = 0, i = 0;
    for (size_t k = 0; k < q->count; k++)
        if (is_there(gpus, q->found[k].bus_id)) known = k + 1;
    for (; i < known; i++) gone[i] = gone[i] || !is_there(gpus, q->found[i].bus_id);
    while (i < q->count && gone[i]) i++;
    if (i < q->count) gone[i++] = true;
    while (i < q->count && gone[i]) i++;
    return i < q->count;
}

void gone_find(const struct gone_gpu *found, size_t count, const struct gone_look *look, bool *gone)
{
    const struct question q = {found, count, look};
    for (bool more = true; more;) {
        json_t *told = ask_anew(&q, gone);
        const json_t *gpus = json_object_get(json_object_get(told, "host"), "gpus");
        more = json_is_array(gpus) && mark_gone(gpus, &q, gone);
        json_decref(told);
    }
}
