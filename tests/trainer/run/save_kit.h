/* Small runs that must go well and leave checkpoints: for tests of Criterion's. */
#ifndef FATHOM_TESTS_SAVE_KIT_H
#define FATHOM_TESTS_SAVE_KIT_H

#include <criterion/criterion.h>

#include "train_help.h"

/* run_go, with its checkpoints in a folder of that name beside the data. The last 16 names are kept. */
static inline void run_go_and_save(struct small_run *run, const char *save)
{
    static char folders[16][128];
    static int next;
    char *folder = folders[next++ % 16];
    snprintf(folder, sizeof folders[0], "%s/%s", run_data, save);
    run->options.save_folder = folder;
    run_go(run);
    cr_assert(run->ok, "%s: %s", save, run->err.text);
}

#endif
