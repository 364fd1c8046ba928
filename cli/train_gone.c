#define _GNU_SOURCE
#include "train_gone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "json.h"
#include "process.h"
#include "text.h"

#define LOOK_SECONDS 60 /* a driver that has lost a GPU may hang */

/* ---- Which are there ---- */

static void look_and_tell(int to)
{
    static const char *const arguments[] = {"fathom", "devices", "--json", NULL};
    alarm(LOOK_SECONDS); /* also over what follows */
    if (dup2(to, STDOUT_FILENO) >= 0 && freopen("/dev/null", "w", stderr)) process_execute_self(arguments);
    _exit(127);
}

/* What `fathom devices --json` says; NULL where it says nothing. The caller's. */
static json_t *look_anew(void)
{
    int ends[2], status;
    json_t *told = NULL;
    if (pipe(ends) != 0) return NULL;
    pid_t pid = fork();
    if (pid == 0) look_and_tell(ends[1]);
    close(ends[1]);
    FILE *from = fdopen(ends[0], "r");
    if (from && pid > 0) told = json_loadf(from, 0, NULL);
    if (from)
        fclose(from);
    else
        close(ends[0]);
    if (pid > 0) waitpid(pid, &status, 0);
    return told;
}

static bool is_there(const json_t *gpus, const char *bus_id)
{
    size_t i;
    json_t *gpu;
    json_array_foreach(gpus, i, gpu)
    {
        const char *slot = json_string_value(json_object_get(gpu, "bus_id"));
        if (slot && strcmp(slot, bus_id) == 0) return true;
    }
    return false;
}

size_t train_gone_gpus(const struct host_gpus *found, size_t count, bool gone[HOST_MOST_GPUS])
{
    size_t sum = 0;
    json_t *told = look_anew();
    const json_t *gpus = json_object_get(json_object_get(told, "host"), "gpus");
    for (size_t i = 0; i < count; i++) {
        gone[i] = json_is_array(gpus) && !is_there(gpus, found->gpus[i].bus_id);
        sum += gone[i];
    }
    json_decref(told);
    return sum;
}

/* ---- Hiding one ---- */

/* The list that CUDA goes by, which the user may have given, without one of its words. */
void train_gone_hide(size_t number, size_t count)
{
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    struct text left = {0};
    for (size_t i = 0; i < count; i++) {
        size_t length = list ? strcspn(list, ",") : 0;
        if (i != number && left.length > 0) text_add(&left, ",");
        if (i != number && list) text_add_bytes(&left, list, length);
        if (i != number && !list) text_add(&left, "%zu", i);
        if (list) list += length + (list[length] == ',');
    }
    if (!left.failed && left.bytes) setenv("CUDA_VISIBLE_DEVICES", left.bytes, 1);
    text_finish(&left);
}
