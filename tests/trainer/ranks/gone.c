/* Which GPUs of a run are no more, as a process of its own tells: here this program, which plays `fathom devices` by
 * CUDA's rules. */
#define _GNU_SOURCE
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "gone.h"

#define THERE "FATHOM_TEST_THERE" /* letters of GPUs that are there; ? = the driver hangs */

/* GPUs are shown in the order of the list, up to the first that is not there. */
__attribute__((constructor)) static void play_devices(int argc, char **argv)
{
    const char *there = getenv(THERE), *list = getenv("CUDA_VISIBLE_DEVICES"), *between = "";
    if (argc != 3 || strcmp(argv[1], "devices") != 0 || !there) return;
    while (*there == '?') pause();
    printf("{\"host\": {\"gpus\": [");
    for (; list && strncmp(list, "GPU-", 4) == 0 && strchr(there, list[4]); list += list[5] == ',' ? 6 : 5) {
        printf("%s{\"bus_id\": \"slot %c\", \"compute_capability\": 9.0}", between, list[4]);
        between = ", ";
    }
    if (!*between) printf("{\"bus_id\": \"slot A\", \"compute_capability\": null}"); /* the bus has it still */
    puts("]}}");
    fflush(stdout);
    _exit(0);
}

#define MOST 8

static size_t gpus_of(const char *letters, struct gone_gpu gpus[MOST])
{
    size_t i = 0;
    for (; letters[i]; i++) {
        snprintf(gpus[i].bus_id, sizeof gpus[i].bus_id, "slot %c", letters[i]);
        snprintf(gpus[i].uuid, sizeof gpus[i].uuid, "GPU-%c", letters[i]);
    }
    return i;
}

static volatile sig_atomic_t stop;

/* The letters of those that are gone. */
static const char *find_gone(const char *found, const char *there, uint64_t limit_ns)
{
    static const char *const question[] = {"fathom", "devices", "--json", NULL};
    static char letters[MOST + 1];
    bool gone[MOST] = {false};
    struct gone_gpu gpus[MOST];
    const struct gone_look look = {.question = question, .limit_ns = limit_ns, .stop = &stop};
    size_t count = 0, given = gpus_of(found, gpus);
    setenv(THERE, there, 1);
    gone_find(gpus, given, &look, gone);
    for (size_t i = 0; i < given; i++)
        if (gone[i]) letters[count++] = found[i];
    letters[count] = '\0';
    return letters;
}

#define LONG UINT64_C(60000000000)

Test(gone, those_behind_one_that_is_gone_are_asked_for_again)
{
    cr_expect_str_eq(find_gone("ABCD", "ABCD", LONG), "");
    cr_expect_str_eq(find_gone("ABCD", "ACD", LONG), "B");
    cr_expect_str_eq(find_gone("ABCD", "ABC", LONG), "D");
    cr_expect_str_eq(find_gone("ABCDE", "BD", LONG), "ACE");
    cr_expect_str_eq(find_gone("AB", "", LONG), "AB");
}

Test(gone, a_driver_that_hangs_says_nothing, .timeout = 30)
{
    signal(SIGALRM, SIG_IGN); /* as a run may be started */
    uint64_t begin = clock_now_ns();
    cr_expect_str_eq(find_gone("AB", "?", 100000000), "");
    stop = SIGTERM;
    cr_expect_str_eq(find_gone("AB", "?", LONG), "");
    cr_expect_lt(clock_now_ns() - begin, UINT64_C(20000000000));
}

/* Whatever numbers the user has shown, and whichever go later. */
Test(gone, those_that_are_left_are_shown_by_name)
{
    setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3", 1);
    struct gone_gpu left[MOST];
    gone_show(left, gpus_of("ACD", left));
    cr_expect_str_eq(getenv("CUDA_VISIBLE_DEVICES"), "GPU-A,GPU-C,GPU-D");
    gone_show(left, gpus_of("AD", left));
    cr_expect_str_eq(getenv("CUDA_VISIBLE_DEVICES"), "GPU-A,GPU-D");
}
