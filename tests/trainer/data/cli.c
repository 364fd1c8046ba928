/* `fathom data` as a user meets it. */
#include "data_help.h"
#include "signals_kit.h"

#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <sys/wait.h>

#include "data_jpeg_help.h"

/* Runs `fathom data ARGUMENTS` and returns its exit code; both outputs go into text. */
static int run(char *text, size_t size, const char *format, ...)
{
    char arguments[1024], command[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(arguments, sizeof arguments, format, list);
    va_end(list);
    cr_assert(getenv("FATHOM_BIN"));
    snprintf(command, sizeof command, "'%s' data %s 2>&1", getenv("FATHOM_BIN"), arguments);
    FILE *pipe = popen(command, "r");
    cr_assert(pipe);
    size_t used = fread(text, 1, size - 1, pipe);
    text[used] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char text[65536];

static void has(const char *wanted) { cr_assert(strstr(text, wanted), "'%s' is not in:\n%s", wanted, text); }

Test(data_cli, synth_then_info)
{
    char path[HELP_PATH];
    help_folder(path);
    cr_assert_eq(run(text, sizeof text, "synth %s/set --train 50 --test=10 --seed 3", path), 0, "%s", text);
    has("50 training and 10 test images of ten classes");
    cr_assert_eq(run(text, sizeof text, "info %s/set", path), 0, "%s", text);
    has("CIFAR-10 binaries");
    has("50 training, 10 test, 32 x 32");
    has("checkerboard");
    cr_assert_eq(run(text, sizeof text, "info %s/set --json --check", path), 0, "%s", text);
    json_t *object = json_loads(text, 0, NULL);
    cr_assert(object, "%s", text);
    cr_assert_eq(json_integer_value(json_object_get(object, "train_images")), 50);
    cr_assert_eq(json_array_size(json_object_get(object, "classes")), 10);
    cr_assert_eq(json_array_size(json_object_get(object, "mean")), 3);
    cr_assert_eq(json_integer_value(json_object_get(object, "faults")), 0);
    cr_assert_str_eq(json_string_value(json_object_get(object, "format")), "cifar10");
    json_decref(object);
    help_remove(path);
}

Test(data_cli, convert_says_what_it_did_and_refuses_to_overwrite)
{
    char path[HELP_PATH], file[2 * HELP_PATH];
    help_folder(path);
    const char *const folders[] = {"in", "in/train", "in/train/a", "in/train/b"};
    for (int i = 0; i < 4; i++) cr_assert_eq(mkdir(help_join(file, path, folders[i]), 0777), 0);
    help_write_jpeg(help_join(file, path, "in/train/a/1.jpg"), (struct help_jpeg){32, 32, 3, false, 0});
    help_write_jpeg(help_join(file, path, "in/train/b/2.jpg"), (struct help_jpeg){64, 48, 3, false, 1});
    cr_assert_eq(run(text, sizeof text, "convert %s/in %s/out --threads 2", path, path), 0, "%s", text);
    has("2 training and 0 test images of 2 classes");
    has("1 of them were not 32 x 32");
    cr_assert_eq(run(text, sizeof text, "convert %s/in %s/out", path, path), 2);
    has("is not empty");
    cr_assert_eq(run(text, sizeof text, "info %s/out", path), 0, "%s", text);
    has("2 training, 0 test");
    help_write_bytes(help_join(file, path, "in/train/b/3.jpg"), "no picture", 10);
    cr_assert_eq(run(text, sizeof text, "info %s/in --check", path), 2);
    has("train/b/3.jpg: cannot be decoded as a JPEG");
    has("1 of its images cannot be decoded");
    help_remove(path);
}

Test(data_cli, mistakes_are_explained)
{
    cr_assert_eq(run(text, sizeof text, "%s", ""), 2);
    has("an action is wanted: synth, convert or info");
    cr_assert_eq(run(text, sizeof text, "sinth x"), 2);
    has("action: found \"sinth\", expected synth, convert or info; did you mean synth?");
    cr_assert_eq(run(text, sizeof text, "info"), 2);
    has("one folder is wanted");
    cr_assert_eq(run(text, sizeof text, "info /nonexistent/set"), 2);
    has("/nonexistent/set: the dataset cannot be opened: No such file");
    cr_assert_eq(run(text, sizeof text, "synth /tmp/fathom-none --train 0"), 2);
    has("--train");
    cr_assert_eq(run(text, sizeof text, "convert onlyone"), 2);
    has("two folders are wanted");
    cr_assert_eq(run(text, sizeof text, "info --chek ."), 2);
    has("did you mean --check?");
    cr_assert_eq(run(text, sizeof text, "info --help"), 0);
    has("SYNOPSIS");
}

/* ---- Requests to end ---- */

static pid_t start(const char *action, const char *first, const char *second, const char *third)
{
    fflush(NULL);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child > 0) return child;
    signals_by_default();
    if (!freopen("/dev/null", "w", stderr)) _exit(126);
    execl(getenv("FATHOM_BIN"), "fathom", "data", action, first, second, third, (char *)NULL);
    _exit(127);
}

/* Names in a folder that hold a part; 0 where there is no folder. */
static int count_names(const char *path, const char *part)
{
    int count = 0;
    DIR *folder = opendir(path);
    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        count += entry->d_name[0] != '.' && strstr(entry->d_name, part) != NULL;
    if (folder) closedir(folder);
    return count;
}

static int stop(pid_t child, const char *folder, int number)
{
    int status = 0;
    char partial[64];
    snprintf(partial, sizeof partial, ".partial-%ld-", (long)child);
    for (int i = 0; i < 20000 && count_names(folder, partial) == 0; i++) usleep(1000);
    cr_assert_eq(kill(child, number), 0);
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static const int requests[] = {SIGINT, SIGTERM, SIGHUP, SIGXCPU, SIGUSR1};
#define REQUESTS (sizeof requests / sizeof requests[0])

Test(data_cli, a_stopped_synth_leaves_nothing_and_keeps_the_old)
{
    char path[HELP_PATH], set[2 * HELP_PATH], deep[2 * HELP_PATH];
    help_folder(path);
    help_join(set, path, "set");
    help_join(deep, path, "new/set");
    cr_assert_eq(run(text, sizeof text, "synth %s --train 20 --test 5", set), 0, "%s", text);
    for (size_t i = 0; i < REQUESTS; i++) {
        const char *folder = i % 2 ? set : deep;
        cr_assert_eq(stop(start("synth", folder, "--train=3000000", NULL), folder, requests[i]), 128 + requests[i]);
        cr_assert_eq(count_names(path, ""), 1, "signal %d: the new folder stays", requests[i]);
        cr_assert_eq(count_names(set, ""), 7, "signal %d", requests[i]);
        cr_assert_eq(run(text, sizeof text, "info %s", set), 0, "%s", text);
        has("20 training, 5 test");
    }
    help_remove(path);
}

Test(data_cli, a_killed_synth_is_no_dataset_and_can_be_repeated)
{
    char path[HELP_PATH];
    help_folder(path);
    cr_assert_eq(stop(start("synth", path, "--train=3000000", NULL), path, SIGKILL), -SIGKILL);
    cr_assert_gt(count_names(path, ".partial-"), 0);
    cr_assert_eq(run(text, sizeof text, "info %s", path), 2, "%s", text);
    cr_assert_eq(run(text, sizeof text, "synth %s --train 20 --test 5", path), 0, "%s", text);
    cr_assert_eq(count_names(path, ""), 7, "what was left stays");
    help_remove(path);
}

/* Many names of one large picture: enough to do until the signal comes. */
static void make_pictures(const char *path)
{
    char first[2 * HELP_PATH], name[32], file[2 * HELP_PATH];
    const char *const folders[] = {"in", "in/train", "in/train/a", "in/train/b"};
    for (int i = 0; i < 4; i++) cr_assert_eq(mkdir(help_join(file, path, folders[i]), 0777), 0);
    help_write_jpeg(help_join(first, path, "in/train/a/0.jpg"), (struct help_jpeg){1500, 1500, 3, false, 0});
    for (int i = 1; i < 120; i++) {
        snprintf(name, sizeof name, "in/train/%c/%d.jpg", 'a' + i % 2, i);
        cr_assert_eq(link(first, help_join(file, path, name)), 0);
    }
}

Test(data_cli, a_stopped_convert_leaves_nothing)
{
    char path[HELP_PATH], in[2 * HELP_PATH], out[2 * HELP_PATH], deep[2 * HELP_PATH];
    help_folder(path);
    make_pictures(path);
    help_join(in, path, "in");
    help_join(out, path, "out");
    help_join(deep, path, "in/train/a/out");
    cr_assert_eq(run(text, sizeof text, "convert %s %s", in, deep), 2);
    has("would be a part");
    cr_assert_eq(stop(start("convert", in, out, "--threads=1"), path, SIGKILL), -SIGKILL);
    cr_assert_eq(count_names(path, "out.partial-"), 1);
    cr_assert_eq(stop(start("convert", in, out, "--threads=1"), path, SIGTERM), 128 + SIGTERM);
    cr_assert_eq(count_names(path, "out"), 0, "neither goes what it wrote nor what the killed one left");
    help_remove(path);
}
