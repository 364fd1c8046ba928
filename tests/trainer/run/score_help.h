/* A net that has learned three classes of small pictures, for what is done with a checkpoint. */
#ifndef FATHOM_SCORE_HELP_H
#define FATHOM_SCORE_HELP_H

#include <criterion/criterion.h>
#include <criterion/hooks.h>

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli_run.h"
#include "data_help.h"
#include "data_jpeg_help.h"

static char score_folder[HELP_PATH];

/* Three classes of 6 training and 4 test pictures in a folder. */
static inline void make_photos(const char *name, const char *last)
{
    const char *const parts[] = {"train", "val"}, *const classes[] = {"ant", "bee", last};
    for (int part = 0; part < 2; part++)
        for (unsigned class = 0; class < 3; class ++) {
            char path[HELP_PATH], command[2 * HELP_PATH];
            snprintf(path, sizeof path, "%s/%s/%s", name, parts[part], classes[class]);
            snprintf(command, sizeof command, "mkdir -p %s", path);
            cr_assert_eq(system(command), 0);
            for (unsigned i = 0; i < (part ? 4 : 6); i++) {
                char file[2 * HELP_PATH];
                snprintf(file, sizeof file, "%s/%u.jpg", path, i);
                help_write_jpeg(file, (struct help_jpeg){60 + i, 50, 3, false, class * 5 + i, 0, 0});
            }
        }
}

/* The net is trained by the first test of a program, in a folder that its runner makes, and copied by the others. */
#define SCORE_TRAINED "FATHOM_TEST_TRAINED"

ReportHook(PRE_ALL)(struct criterion_test_set *tests)
{
    char folder[] = "/tmp/fathom-trained-XXXXXX";
    (void)tests;
    if (mkdtemp(folder)) setenv(SCORE_TRAINED, folder, 1);
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
    (void)stats;
    if (system("rm -rf \"$" SCORE_TRAINED "\"") != 0) fputs("what was trained once is left in /tmp\n", stderr);
}

static inline void trained(void)
{
    const char *shared = getenv(SCORE_TRAINED);
    cr_assert(shared, "no folder for what is trained once");
    help_folder(score_folder);
    cr_assert_eq(chdir(score_folder), 0); /* in which all the names here are */
    if (system("cp -a \"$" SCORE_TRAINED "\"/. . && test -f log") == 0) return;
    make_photos("photos", "cat");
    const struct cli_run *run =
        cli_run("train resnet-20 --data photos --batch 6 --iterations 12 --schedule constant --save run --log log");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    cr_assert_eq(system("cp -a . \"$" SCORE_TRAINED "\""), 0);
}

static inline void removed(void) { help_remove(score_folder); }

static inline void has(const char *text, const char *wanted)
{
    cr_assert(strstr(text, wanted), "'%s' is not in: %s", wanted, text);
}

static inline json_t *answer(const char *arguments)
{
    const struct cli_run *run = cli_run(arguments);
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    json_t *object = json_loads(run->out, 0, NULL);
    cr_assert(object, "%s", run->out);
    return object;
}

static inline double number(const json_t *object, const char *key) { return json_number_value(json_object_get(object, key)); }

#endif
