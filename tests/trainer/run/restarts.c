/* What a run of several processes does when an attempt has failed. Attempts are made up here: each test says how one
 * after the other ends. */
#define _GNU_SOURCE
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "checkpoint.h"
#include "files.h"
#include "launch.h"
#include "mem.h"
#include "restarts.h"

#define NONE LAUNCH_NONE
#define MOST 8

/* How an attempt ends. */
struct ending {
    int code;
    uint32_t silent;
    uint64_t saves;   /* the step of a checkpoint that it writes before; 0 = none */
    const char *lost; /* letters of devices that are no more then */
};

struct made_up {
    const struct ending *endings;
    const char *folder;
    uint32_t attempts, failures;
    char devices[MOST][MOST + 1]; /* letters of those that each attempt had */
    char from[MOST][64];          /* the file that it went on from */
    char said[1024];
    bool unfit; /* the rest cannot hold the net */
    volatile sig_atomic_t stop;
    bool stops;
};

/* A device's letter is in its name. */
static struct plan *plan_of(const char *letters)
{
    struct plan *plan = mem_zalloc(MEM_PLAN, 1, sizeof *plan);
    plan->device_count = strlen(letters);
    plan->devices = mem_zalloc(MEM_PLAN, plan->device_count, sizeof *plan->devices);
    for (size_t i = 0; letters[i]; i++) plan->devices[i].spec.name[0] = letters[i];
    return plan;
}

static void write_checkpoint(const char *folder, uint64_t step)
{
    struct checkpoint c = {.step = step, .batch = 1, .devices = 1};
    float staging[1];
    struct error err = {0};
    cr_assert(model_parse("resnet-8", &MODEL_OPTIONS_DEFAULT, &c.spec, NULL));
    cr_assert(checkpoint_write(folder, &c, &(struct checkpoint_tensors){0}, staging, &err), "%s", err.text);
}

static int attempt(void *context, const struct plan *plan, const char *checkpoint, uint32_t *silent, struct error *err)
{
    struct made_up *m = context;
    const struct ending *ending = &m->endings[m->attempts];
    const char *name = checkpoint ? strrchr(checkpoint, '/') + 1 : "";
    for (size_t i = 0; i < plan->device_count; i++) m->devices[m->attempts][i] = plan->devices[i].spec.name[0];
    snprintf(m->from[m->attempts], sizeof m->from[0], "%s", name);
    if (ending->saves) write_checkpoint(m->folder, ending->saves);
    *silent = ending->silent;
    m->attempts++;
    if (m->stops) m->stop = SIGTERM;
    if (ending->code) error_set(err, ERROR_FAILED, "attempt %u", m->attempts);
    return ending->code;
}

static void look(void *context, const struct plan *plan, bool *gone)
{
    const struct made_up *m = context;
    const char *lost = m->endings[m->attempts - 1].lost;
    for (size_t i = 0; i < plan->device_count; i++) {
        cr_assert_not(gone[i]);
        gone[i] = lost && strchr(lost, plan->devices[i].spec.name[0]);
    }
}

static struct plan *replan(void *context, const struct plan *plan, const bool *gone, struct error *err)
{
    char letters[MOST + 1] = "";
    size_t left = 0;
    for (size_t i = 0; i < plan->device_count; i++)
        if (!gone[i]) letters[left++] = plan->devices[i].spec.name[0];
    if (!((struct made_up *)context)->unfit) return plan_of(letters);
    error_set(err, ERROR_UNFIT, "too large");
    return NULL;
}

static void say_failed(void *context, const struct error *cause)
{
    struct made_up *m = context;
    m->failures++;
    cr_assert(strstr(cause->text, "attempt"), "%s", cause->text);
}

static void say_again(void *context, const struct restart *restart)
{
    struct made_up *m = context;
    size_t used = strlen(m->said);
    used += (size_t)snprintf(m->said + used, sizeof m->said - used, "%zu of %zu, %d left", restart->plan->device_count,
                             restart->before->device_count, (int)restart->left);
    if (restart->given_up != NONE)
        used += (size_t)snprintf(m->said + used, sizeof m->said - used, ", without rank %u", restart->given_up);
    snprintf(m->said + used, sizeof m->said - used, "; ");
}

static const struct restarts_calls calls = {NULL, attempt, look, replan, say_failed, say_again};
static char folder[] = "/tmp/fathom-restarts-XXXXXX";

static void make_folder(void) { cr_assert(mkdtemp(folder)); }

static void remove_folder(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_assert_eq(system(command), 0);
}

static int run(struct made_up *m, const char *devices, uint64_t most, struct error *err)
{
    const struct restarts_options options = {.folder = folder, .most = most, .stop = &m->stop};
    struct restarts_calls mine = calls;
    struct plan *plan = plan_of(devices);
    mine.context = m;
    m->folder = folder;
    int code = restarts_run(plan, &options, &mine, err);
    plan_destroy(plan);
    return code;
}

TestSuite(restarts, .init = make_folder, .fini = remove_folder);

Test(restarts, a_run_that_ends_well_or_was_asked_wrongly_is_not_begun_again)
{
    for (int code = 0; code <= 2; code += 2) {
        struct made_up m = {.endings = (const struct ending[]){{code, NONE, 0, "A"}}};
        struct error err = {0};
        cr_expect_eq(run(&m, "ABC", 5, &err), code);
        cr_expect(m.attempts == 1 && m.failures == 0 && *m.said == '\0');
        cr_expect_eq(err.kind, code ? ERROR_FAILED : ERROR_NONE);
    }
}

Test(restarts, it_is_begun_again_as_often_as_is_asked)
{
    const struct ending endings[] = {{1, NONE, 0, NULL}, {1, NONE, 0, NULL}, {1, NONE, 0, NULL}};
    for (uint64_t most = 0; most <= 2; most++) {
        struct made_up m = {.endings = endings};
        struct error err = {0};
        cr_expect_eq(run(&m, "AB", most, &err), 1);
        cr_expect_eq(m.attempts, most + 1);
        cr_expect_eq(m.failures, most, "the last one's error is the run's");
        cr_expect(strstr(err.text, "attempt"), "%s", err.text);
    }
}

Test(restarts, who_asks_for_an_end_gets_it)
{
    struct made_up m = {.endings = (const struct ending[]){{1, NONE, 0, NULL}}, .stops = true};
    struct error err = {0};
    cr_expect_eq(run(&m, "AB", 5, &err), 1);
    cr_expect(m.attempts == 1 && m.failures == 0);
}

/* Steps that another run wrote there before are not the run's. */
Test(restarts, it_goes_on_from_its_own_last_checkpoint)
{
    write_checkpoint(folder, 90);
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    struct made_up m = {.endings = (const struct ending[]){
                            {1, NONE, 0, NULL}, {1, NONE, 20, NULL}, {1, NONE, 0, NULL}, {1, NONE, 40, NULL}, {0}}};
    struct error err = {0};
    cr_expect_eq(run(&m, "AB", 5, &err), 0);
    static const char *const from[] = {"", "", "step-000000000020.safetensors", "step-000000000020.safetensors",
                                       "step-000000000040.safetensors"};
    for (size_t i = 0; i < 5; i++) cr_expect_str_eq(m.from[i], from[i], "attempt %zu", i);
    cr_expect_eq(err.kind, ERROR_NONE, "%s", err.text);
}

Test(restarts, a_rank_is_given_up_that_twice_ends_in_silence)
{
    struct made_up m = {.endings = (const struct ending[]){{1, 1, 0, NULL}, {1, 1, 0, NULL}, {1, 1, 0, NULL}, {0}}};
    struct error err = {0};
    cr_expect_eq(run(&m, "ABC", 5, &err), 0);
    cr_expect_str_eq(m.devices[1], "ABC");
    cr_expect_str_eq(m.devices[2], "AC");
    cr_expect_str_eq(m.devices[3], "AC", "its number is another rank's now");
    cr_expect_str_eq(m.said, "3 of 3, 4 left; 2 of 3, 3 left, without rank 1; 2 of 2, 2 left; ");
}

Test(restarts, a_rank_is_kept_that_comes_further_or_takes_turns)
{
    struct error err = {0};
    struct made_up further = {.endings =
                                  (const struct ending[]){{1, 1, 10, NULL}, {1, 1, 20, NULL}, {1, 1, 30, NULL}, {0}}};
    cr_expect_eq(run(&further, "ABC", 5, &err), 0);
    cr_expect_str_eq(further.devices[3], "ABC");
    struct made_up turns = {
        .endings = (const struct ending[]){{1, 1, 0, NULL}, {1, 2, 0, NULL}, {1, NONE, 0, NULL}, {1, 2, 0, NULL}, {0}}};
    cr_expect_eq(run(&turns, "ABC", 5, &err), 0);
    cr_expect_str_eq(turns.devices[4], "ABC");
}

Test(restarts, devices_that_are_no_more_are_gone_at_once)
{
    struct made_up m = {.endings = (const struct ending[]){{1, NONE, 0, "B"}, {1, 0, 0, "BD"}, {0}}};
    struct error err = {0};
    cr_expect_eq(run(&m, "ABCD", 5, &err), 0);
    cr_expect_str_eq(m.devices[1], "ACD");
    cr_expect_str_eq(m.devices[2], "AC");
    cr_expect_str_eq(m.said, "3 of 4, 4 left; 2 of 3, 3 left; ");
}

Test(restarts, no_device_is_left_or_the_rest_cannot_hold_it)
{
    struct error err = {0};
    struct made_up all = {.endings = (const struct ending[]){{1, NONE, 0, "AB"}}};
    cr_expect_eq(run(&all, "AB", 5, &err), 1);
    cr_expect(all.failures == 1 && strstr(err.text, "all GPUs of the run are gone"), "%s", err.text);
    struct made_up unfit = {.endings = (const struct ending[]){{1, NONE, 0, "A"}}, .unfit = true};
    cr_expect_eq(run(&unfit, "AB", 5, &err), 1);
    cr_expect(err.kind == ERROR_UNFIT && strstr(err.text, "fewer devices: too large"), "%s", err.text);
    cr_expect_eq(unfit.attempts, 1);
}

/* The one that is left may have met with a fault that passes. */
Test(restarts, the_last_device_is_not_given_up)
{
    struct made_up m = {.endings = (const struct ending[]){{1, 0, 0, NULL}, {1, 0, 0, NULL}, {0}}};
    struct error err = {0};
    cr_expect_eq(run(&m, "A", 5, &err), 0);
    cr_expect_str_eq(m.devices[2], "A");
}
