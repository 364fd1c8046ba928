/* Own photographs in folders by class: `fathom train resnet-18 --data photos` needs nothing else. */
#define _GNU_SOURCE
#include <criterion/criterion.h>

#include <sys/stat.h>
#include <sys/wait.h>

#include "cli_run.h"
#include "data_help.h"
#include "data_jpeg_help.h"
#include "sanitizers.h"

static char photos[HELP_PATH];

static const char *in_photos(const char *name)
{
    static char path[2 * HELP_PATH];
    return help_join(path, photos, name);
}

/* Three classes of 6 training and 2 test pictures. */
static void make_photos(void)
{
    help_folder(photos);
    const char *const parts[] = {"train", "val"}, *const classes[] = {"ant", "bee", "cat"};
    for (int part = 0; part < 2; part++) {
        mkdir(in_photos(parts[part]), 0777);
        for (unsigned class = 0; class < 3; class ++) {
            char name[64];
            snprintf(name, sizeof name, "%s/%s", parts[part], classes[class]);
            mkdir(in_photos(name), 0777);
            for (unsigned i = 0; i < (part ? 2 : 6); i++) {
                snprintf(name, sizeof name, "%s/%s/%u.JPEG", parts[part], classes[class], i);
                help_write_jpeg(in_photos(name), (struct help_jpeg){90 + i, 70, 3, false, class * 5 + i, (int)i});
            }
        }
    }
}

static void remove_photos(void) { help_remove(photos); }

TestSuite(photos, .init = make_photos, .fini = remove_photos);

static const struct cli_run *train(const char *format)
{
    char arguments[1024];
    snprintf(arguments, sizeof arguments, format, photos, photos);
    return cli_run(arguments);
}

/* Wherever lines are broken. */
static void expect_words(const char *text, const char *wanted)
{
    char flat[8192];
    size_t length = 0;
    for (; *text && length + 1 < sizeof flat; text++) {
        bool space = *text == ' ' || *text == '\n';
        if (space && length > 0 && flat[length - 1] == ' ') continue;
        flat[length++] = space ? ' ' : *text;
    }
    flat[length] = '\0';
    cr_assert(strstr(flat, wanted), "'%s' is not in: %s", wanted, flat);
}

static void has(const char *text, const char *wanted)
{
    cr_assert(strstr(text, wanted), "'%s' is not in: %s", wanted, text);
}

Test(photos, the_defaults_train)
{
    const struct cli_run *run = train("train resnet-18 --data %s --batch 6 --image-size 32 --iterations 7");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    has(run->out, "step 3: test loss"); /* the rate looks at the test error after each pass over 18 images */
    has(run->out, "step 6: test loss");
    has(run->out, "step 7: test loss"); /* and there is a last one */
    cr_assert_null(strstr(run->out, "step 4: test loss"));
}

/* Of three classes the top five are all of them. */
Test(photos, of_few_classes_there_is_no_top_5_error)
{
    const struct cli_run *run = train("train resnet-20 --data %s --batch 6 --image-size 32 --iterations 2 --schedule "
                                      "constant --evaluate-every 1 --run %s-run");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    has(run->out, "  top-1 error ");
    cr_expect_null(strstr(run->out, "  error "), "%s", run->out);
    cr_expect(!strstr(run->out, "top-5") && !strstr(run->out, "top-1/5"), "%s", run->out);
    static const char *const told[] = {"eval %s-run %s", "eval %s-run %s --json", "eval %s-run %s --json --scales 32",
                                       "runs %s-run --json", "trace export --csv %s-run/run.trace -o -"};
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        run = train(told[i]);
        cr_assert_eq(run->code, 0, "%s: %s", told[i], run->err);
        bool null = strstr(run->out, "\"top5_error\": null");
        cr_expect(null || (!strstr(run->out, "top5") && !strstr(run->out, "top-5")), "%s: %s", told[i], run->out);
    }
    char command[2 * HELP_PATH];
    snprintf(command, sizeof command, "cd %s-run && grep -q top1_error log.jsonl && ! grep -q top5 log.jsonl", photos);
    cr_expect_eq(system(command), 0);
    snprintf(command, sizeof command, "rm -r %s-run", photos);
    cr_expect_eq(system(command), 0);
}

/* Bytes that an op normalises are the same pictures: the lines that a run ends with have the same figures. */
Test(photos, bytes_change_nothing)
{
    char figures[2][64];
    for (int i = 0; i < 2; i++) {
        const struct cli_run *run = train(
            i ? "train resnet-18 --data %s --batch 6 --image-size 112 --iterations 2 --schedule constant --fuse input"
              : "train resnet-18 --data %s --batch 6 --image-size 112 --iterations 2 --schedule constant --fuse none");
        cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
        has(run->out, "step 2: test loss");
        snprintf(figures[i], sizeof figures[i], "%s", strstr(run->out, "step 2: test loss"));
    }
    cr_expect_str_eq(figures[0], figures[1]);
}

/* Of three classes one has six pictures, the fewest of which one is for tests, and then none has. */
Test(photos, classes_too_small_for_tests_are_told)
{
    static const char *const words = "train resnet-20 --data %s/train --batch 6 --image-size 32 --iterations 1 "
                                     "--schedule constant";
    char command[2 * HELP_PATH];
    snprintf(command, sizeof command, "cd %s/train && rm ant/0.JPEG bee/0.JPEG", photos);
    cr_assert_eq(system(command), 0);
    const struct cli_run *run = train(words);
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    expect_words(run->out,
                 "of its 16 pictures every tenth of a class, 1, is for tests; 2 classes have fewer than 6 and "
                 "are not tested");
    snprintf(command, sizeof command, "rm %s/train/cat/0.JPEG", photos);
    cr_assert_eq(system(command), 0);
    run = train(words);
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    expect_words(run->out, "none of its 15 pictures is for tests, as each class has fewer than 6");
    cr_expect_null(strstr(run->out, "test loss"));
    run = train("data info %s/train --check");
    has(run->out, "of fewer than 6 none)");
    has(run->out, "every image can be decoded");
}

Test(photos, the_number_of_classes_may_be_said)
{
    const struct cli_run *run = train("train resnet-18 --data %s --batch 6 --image-size 32 --iterations 1 --classes 4");
    cr_assert_eq(run->code, 2, "%s", run->out);
    has(run->err, "3 classes");
}

Test(photos, without_test_images_another_schedule_is_named)
{
    char command[HELP_PATH + 16];
    snprintf(command, sizeof command, "rm -r %s/val", photos);
    cr_assert_eq(system(command), 0);
    const struct cli_run *run = train("train resnet-18 --data %s --batch 6 --image-size 32 --iterations 1");
    cr_assert_eq(run->code, 2, "%s", run->out);
    has(run->err, "no test images");
    run = train("train resnet-18 --data %s --batch 6 --image-size 32 --iterations 1 --schedule cosine");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
}

/* A plan that was made without a look at the pictures: a large progressive one takes more than it has for decoding. */
Test(photos, what_a_plan_has_no_memory_for_is_named_before_the_run)
{
    help_write_jpeg(in_photos("train/bee/3.JPEG"), (struct help_jpeg){1500, 1100, 3, true, 3});
    char command[2 * HELP_PATH];
    snprintf(command, sizeof command, "plan resnet-20 --classes 3 --batch 6 --image-size 48 --gpus cpu -o %s/plan.json",
             photos);
    cr_assert_eq(cli_run(command)->code, 0);
    const struct cli_run *run = train("train %s/plan.json --data %s --iterations 1 --schedule constant");
    cr_assert_eq(run->code, 2, "%s%s", run->out, run->err);
    has(run->err, "train/bee/3.JPEG takes 9.");
    has(run->err, "plan again with --decode-memory ");
    cr_assert_null(strstr(run->out, "step 1"));
    const char *size = strstr(run->err, "--decode-memory ") + strlen("--decode-memory "), *unit = strchr(size, ' ');
    cr_assert(unit);
    snprintf(command + strlen(command), sizeof command - strlen(command), " --decode-memory %.*sMiB",
             (int)(unit - size), size);
    cr_assert_eq(cli_run(command)->code, 0, "%s", command);
    run = train("train %s/plan.json --data %s --iterations 1 --schedule constant --no-evaluate");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    run = train("train resnet-20 --image-size 48 --batch 6 --data %s --iterations 1 --schedule constant --no-evaluate");
    cr_assert_eq(run->code, 0, "what it plans itself suffices: %s%s", run->out, run->err);
    const char *used = strstr(run->out, "at the peak of the process (");
    cr_assert(used, "%s", run->out);
    if (!UNDER_SANITIZER) cr_assert_lt(strtod(strchr(used, '(') + 1, NULL), 3, "%% more than planned: %s", run->out);
}

/* As ImageNet is distributed: one picture is of another kind. */
Test(photos, one_of_another_kind_ends_a_strict_run_with_a_checkpoint)
{
    help_write_bytes(in_photos("train/bee/3.JPEG"), "GIF89a and so on", 16);
    const struct cli_run *run =
        train("train resnet-20 --data %s --batch 2 --iterations 40 --save %s/saved --schedule constant --no-evaluate "
              "--strict");
    cr_assert_eq(run->code, 1, "%s", run->err);
    has(run->err, "step ");
    has(run->err, "train/bee/3.JPEG: is a GIF, not a JPEG");
    has(run->out, "the checkpoint of step ");
    /* Once the picture is mended the run goes on. */
    help_write_jpeg(in_photos("train/bee/3.JPEG"), (struct help_jpeg){90, 70, 3, false, 3});
    run = train(
        "train resnet-20 --data %s --batch 2 --iterations 40 --resume %s/saved --schedule constant --no-evaluate");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    has(run->out, "step 40/40");
}

Test(photos, broken_ones_are_skipped_counted_and_named)
{
    help_write_bytes(in_photos("train/bee/3.JPEG"), "GIF89a and so on", 16);
    help_write_bytes(in_photos("train/cat/5.JPEG"), "", 0);
    help_write_bytes(in_photos("val/ant/1.JPEG"), "no picture", 10);
    const struct cli_run *run = train("train resnet-20 --data %s --batch 6 --iterations 7 --schedule constant");
    cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
    has(run->out, "step 7/7");
    has(run->out, "skipped 3 images that cannot be decoded:");
    has(run->out, "train/bee/3.JPEG: is a GIF");
    has(run->out, "train/cat/5.JPEG: is empty");
    has(run->out, "val/ant/1.JPEG: ");
    run = train("train resnet-20 --data %s --batch 6 --iterations 7 --schedule constant --strict");
    cr_assert_eq(run->code, 1, "%s%s", run->out, run->err);
}

/* Inception-v3 does not pad: 75 pixels are the fewest. What runs again under a budget changes nothing. */
Test(photos, inception_v3_trains)
{
    char figures[2][64];
    for (int i = 0; i < 2; i++) {
        const struct cli_run *run =
            train(i ? "train inception-v3 --data %s --batch 6 --image-size 75 --iterations 3 --recompute elementwise"
                    : "train inception-v3 --data %s --batch 6 --image-size 75 --iterations 3");
        cr_assert_eq(run->code, 0, "%s%s", run->out, run->err);
        has(run->out, "step 3: test loss");
        snprintf(figures[i], sizeof figures[i], "%s", strstr(run->out, "step 3: test loss"));
    }
    cr_expect_str_eq(figures[0], figures[1]);
    const struct cli_run *run = train("train inception-v3 --data %s --batch 6 --image-size 74 --iterations 3");
    cr_assert_eq(run->code, 2);
    has(run->err, "expected 75 to 8192");
}
