/* Checkpoints: what is written is read, nothing else is, and which of them stay. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "checkpoint_kit.h"
#include "files.h"
#include "mem.h"

TestSuite(checkpoint, .init = make_folder, .fini = remove_folder);

static void set_written(uint64_t step, time_t seconds)
{
    char path[CHECKPOINT_PATH];
    snprintf(path, sizeof path, "%s/step-%012" PRIu64 ".safetensors", folder, step);
    const struct timespec times[] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

Test(checkpoint, later_steps_of_an_earlier_run_are_told_apart)
{
    char path[CHECKPOINT_PATH];
    cr_assert_eq(checkpoint_last_written(folder).tv_sec, 0);
    write_one(1000);
    set_written(1000, 2000);
    write_one(100);
    set_written(100, 1000);
    struct timespec before = checkpoint_last_written(folder);
    cr_assert_eq(before.tv_sec, 2000);
    cr_assert_not(checkpoint_find_since(folder, before, path));
    write_one(150);
    write_one(120);
    cr_assert(checkpoint_find_since(folder, before, path));
    cr_assert_str_eq(strrchr(path, '/'), "/step-000000000150.safetensors");
    write_one(1000); /* the run has come to it */
    cr_assert(checkpoint_find_since(folder, before, path));
    cr_assert_str_eq(strrchr(path, '/'), "/step-000000001000.safetensors");
}

Test(checkpoint, what_is_written_is_read)
{
    struct fake wanted = make_fake(), found = make_fake();
    struct checkpoint c, wanted_c = make_checkpoint(400);
    char path[CHECKPOINT_PATH];
    struct error err = {0};
    cr_assert_not(checkpoint_exists(folder));
    write_one(400);
    cr_assert(checkpoint_exists(folder));
    memset(found.values, 0, sizeof found.values);
    cr_assert(checkpoint_find(folder, path, &err));
    cr_assert(read_one(path, &c, &found, &err), "%s", err.text);
    for (size_t i = 0; i < TENSORS; i++)
        cr_assert_eq(memcmp(found.values[i], wanted.values[i], elements(&wanted, i) * sizeof(float)), 0);
    cr_assert_eq(c.step, 400);
    cr_assert(c.known);
    cr_assert_eq(c.seed, UINT64_MAX - 7);
    cr_assert(c.top1_error == 0.1);
    cr_assert_eq(c.position, 6400);
    cr_assert_eq(c.dataset_hash, wanted_c.dataset_hash);
    cr_assert_eq(c.batch, 16);
    cr_assert_eq(c.devices, 2);
    cr_assert(c.says_update && c.optimizer == OPTIMIZER_ADAM && c.averages);
    cr_assert(c.schedule.warmed && c.schedule.waiting);
    cr_assert_eq(c.schedule.stale, 1);
    cr_assert_eq(c.schedule.plateaus, 2);
    cr_assert(c.schedule.train_error == 0.3 && c.schedule.best_error == 0.25);
    cr_assert_str_eq(c.spec.name, "resnet-20");
    cr_assert_eq(c.spec.depth, 20);
    cr_assert_eq(c.spec.units[2], wanted_c.spec.units[2]);
}

Test(checkpoint, the_newest_is_found_by_its_step)
{
    char path[CHECKPOINT_PATH];
    struct error err = {0};
    cr_assert_not(checkpoint_find(folder, path, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    write_one(9);
    write_one(1000);
    write_one(200);
    char other[128];
    static const char *const others[] = {"step-9999.safetensors.partial-1", "step-.safetensors",
                                         "step-9999.ckpt.partial-1", "step-9999.state.safetensors", "best.safetensors"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        snprintf(other, sizeof other, "%s/%s", folder, others[i]);
        cr_assert(files_write(other, "x", 1, &err));
    }
    cr_assert(checkpoint_find(folder, path, &err));
    cr_assert(strstr(path, "step-000000001000.safetensors"), "%s", path);
}

/* One of the files of a checkpoint: "" or ".state". */
static char *read_bytes(const char *part, char path[CHECKPOINT_PATH], char model[CHECKPOINT_PATH], size_t *length)
{
    char *bytes;
    struct error err = {0};
    write_one(3);
    cr_assert(checkpoint_find(folder, model, &err));
    snprintf(path, CHECKPOINT_PATH, "%s/step-%012d%s.safetensors", folder, 3, part);
    cr_assert(files_read(path, 1 << 20, &bytes, length, &err), "%s", err.text);
    return bytes;
}

static void check_refused(const char *path, const char *model, const char *bytes, size_t length, const char *what)
{
    struct error err = {0};
    struct checkpoint c;
    struct fake fake = make_fake();
    put_bytes(path, bytes, length);
    cr_assert_not(read_one(model, &c, &fake, &err), "read although %s", what);
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert(strstr(err.text, "step-000000000003"), "'%s' does not name the file", err.text);
}

static void check_cut(const char *part)
{
    char path[CHECKPOINT_PATH], model[CHECKPOINT_PATH];
    size_t length;
    char *bytes = read_bytes(part, path, model, &length);
    for (size_t cut = 0; cut < length; cut += 7) check_refused(path, model, bytes, cut, "it is cut");
    check_refused(path, model, bytes, length - 1, "its last byte is missing");
    mem_free(bytes);
}

Test(checkpoint, every_truncation_is_found)
{
    check_cut("");
    check_cut(".state");
}

static void check_flipped(const char *part)
{
    char path[CHECKPOINT_PATH], model[CHECKPOINT_PATH];
    size_t length;
    char *bytes = read_bytes(part, path, model, &length);
    for (size_t i = 0; i < length; i++) {
        bytes[i] ^= 0x10;
        check_refused(path, model, bytes, length, "a byte was flipped");
        bytes[i] ^= 0x10;
    }
    put_bytes(path, bytes, length);
    mem_free(bytes);
}

Test(checkpoint, every_flipped_byte_is_found)
{
    check_flipped("");
    check_flipped(".state");
}

/* One of another step, which is whole, too. */
Test(checkpoint, only_its_own_state_is_read_with_a_model)
{
    char command[256], path[CHECKPOINT_PATH];
    struct checkpoint c;
    struct fake fake = make_fake();
    struct error err = {0};
    write_one(1);
    fake.values[3][0] = 9;
    struct checkpoint other = make_checkpoint(2);
    struct checkpoint_tensors tensors = tensors_of(&fake);
    cr_assert(checkpoint_write(folder, &other, &tensors, staging, &err), "%s", err.text);
    snprintf(command, sizeof command, "cp %s/step-%012d.state.safetensors %s/step-%012d.state.safetensors", folder, 1,
             folder, 2);
    cr_assert_eq(system(command), 0);
    cr_assert(checkpoint_find(folder, path, &err));
    cr_assert_not(read_one(path, &c, &fake, &err));
    cr_assert(strstr(err.text, "is not the state of"), "%s", err.text);
    snprintf(command, sizeof command, "rm %s/step-%012d.state.safetensors", folder, 2);
    cr_assert_eq(system(command), 0);
    cr_assert_not(read_one(path, &c, &fake, &err));
    cr_assert(strstr(err.text, "--weights"), "%s", err.text);
}

Test(checkpoint, a_newer_version_is_named)
{
    char path[CHECKPOINT_PATH], model[CHECKPOINT_PATH];
    size_t length;
    char *bytes = read_bytes("", path, model, &length);
    struct error err = {0};
    struct checkpoint c;
    struct fake fake = make_fake();
    const char *version = "\\\"version\\\":3";
    char *found = memmem(bytes, length, version, strlen(version));
    cr_assert(found);
    found[strlen(version) - 1] = '4';
    put_bytes(path, bytes, length);
    cr_assert_not(read_one(path, &c, &fake, &err));
    cr_assert(strstr(err.text, "checksum"), "%s", err.text);
    char *sums = memmem(bytes, length, "\"xxh3\"", 6); /* as one that has none */
    memcpy(sums, "\"xxhx\"", 6);
    put_bytes(path, bytes, length);
    cr_assert_not(read_one(path, &c, &fake, &err));
    cr_assert(strstr(err.text, "it has no checksums"), "%s", err.text);
    mem_free(bytes);
}

Test(checkpoint, another_table_is_refused)
{
    struct checkpoint c;
    struct fake fake = make_fake();
    char path[CHECKPOINT_PATH];
    struct error err = {0};
    write_one(1);
    cr_assert(checkpoint_find(folder, path, &err));
    strcpy(fake.tensors[2].name, "fc.shift");
    cr_assert_not(read_one(path, &c, &fake, &err));
    cr_assert(strstr(err.text, "of another model: conv1 matches by name and shape, not fc: it has no fc.shift of 5"),
              "%s", err.text);
    fake = make_fake();
    fake.tensors[0].shape[0] = 1;
    cr_assert_not(read_one(path, &c, &fake, &err));
    cr_assert(strstr(err.text,
                     "fc matches by name and shape, not conv1: conv1.weight is 2 x 2 x 3 x 1 and not 1 x 2 x 3 x 1"),
              "%s", err.text);
    fake = make_fake();
    struct checkpoint_file *file;
    struct checkpoint_tensors fewer = tensors_of(&fake);
    fewer.count = 2;
    cr_assert(checkpoint_open(path, &file, &c, &err));
    cr_assert_not(checkpoint_load(file, &fewer, staging, &err));
    checkpoint_close(file);
    cr_assert(strstr(err.text, "conv1, fc match by name and shape, and it has fc.bias too"), "%s", err.text);
}

Test(checkpoint, a_full_disk_keeps_the_one_before)
{
    struct fake fake = make_fake();
    struct checkpoint c = make_checkpoint(2), found;
    struct checkpoint_tensors tensors = tensors_of(&fake);
    struct error err = {0};
    char path[CHECKPOINT_PATH];
    write_one(1);
    struct rlimit old, small = {100, RLIM_INFINITY};
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    bool ok = checkpoint_write(folder, &c, &tensors, staging, &err);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    cr_assert_not(ok);
    cr_assert_eq(err.kind, ERROR_FAILED, "%s", err.text);
    cr_assert(checkpoint_find(folder, path, &err));
    cr_assert(read_one(path, &found, &fake, &err), "%s", err.text);
    cr_assert_eq(found.step, 1);
    char command[128];
    snprintf(command, sizeof command, "test $(ls '%s' | wc -l) = 2", folder);
    cr_assert_eq(system(command), 0, "the unfinished file was left behind");
}

Test(checkpoint, a_folder_that_cannot_be_made_is_an_input_error)
{
    struct fake fake = make_fake();
    struct checkpoint c = make_checkpoint(2);
    struct checkpoint_tensors tensors = tensors_of(&fake);
    struct error err = {0};
    cr_assert_not(checkpoint_write("/dev/null/run", &c, &tensors, staging, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert(strstr(err.text, "/dev/null/run"), "%s", err.text);
}

Test(checkpoint, failed_allocations_leak_nothing)
{
    struct fake fake = make_fake();
    struct checkpoint c = make_checkpoint(5);
    struct checkpoint_tensors tensors = tensors_of(&fake);
    uint64_t before = mem_current_bytes(MEM_GENERAL);
    char path[CHECKPOINT_PATH];
    bool ok = false;
    for (uint64_t n = 1; !ok; n++) {
        struct error err = {0};
        mem_fail_at(n);
        ok = checkpoint_write(folder, &c, &tensors, staging, &err);
        mem_fail_at(0);
        cr_assert(ok || err.kind == ERROR_MEMORY, "%s", err.text);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), before);
    }
    cr_assert(checkpoint_find(folder, path, NULL));
    ok = false;
    for (uint64_t n = 1; !ok; n++) {
        struct error err = {0};
        struct checkpoint found = {.step = 99};
        mem_fail_at(n);
        ok = read_one(path, &found, &fake, &err);
        mem_fail_at(0);
        cr_assert(ok || (err.kind == ERROR_MEMORY && found.step == 99), "%s", err.text);
        cr_assert_eq(mem_current_bytes(MEM_GENERAL), before);
    }
}

/* Of five steps the newest two stay, and the best. */
Test(checkpoint, the_best_and_the_newest_are_kept)
{
    struct error err = {0};
    char command[256], path[CHECKPOINT_PATH];
    cr_assert(isnan(checkpoint_best_error(folder)));
    for (uint64_t step = 1; step <= 5; step++) write_one(step);
    cr_assert(checkpoint_mark_best(folder, 3, false, &err), "%s", err.text);
    cr_assert(checkpoint_mark_best(folder, 2, false, &err), "%s", err.text);
    cr_assert(checkpoint_best_error(folder) == 0.1);
    checkpoint_thin(folder, 5, 2);
    snprintf(command, sizeof command,
             "test \"$(ls %s | tr -d 0 | tr '\\n' ' ')\" = 'best.safetensors step-2.safetensors "
             "step-2.state.safetensors step-4.safetensors step-4.state.safetensors step-5.safetensors "
             "step-5.state.safetensors '",
             folder);
    cr_assert_eq(system(command), 0);
    struct checkpoint c;
    struct fake fake = make_fake();
    snprintf(path, sizeof path, "%s/best.safetensors", folder);
    cr_assert(read_one(path, &c, &fake, &err), "%s", err.text); /* with the state beside what it names */
    cr_assert_eq(c.step, 2);
}

static void touch(const char *name)
{
    char path[CHECKPOINT_PATH];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    cr_assert(file && fclose(file) == 0, "%s", path);
}

/* Killed before the model of step 2 was written, and of step 3 all but the average. That of a later step may be another
 * run's, and another name is somebody's. */
Test(checkpoint, what_killed_runs_left_goes_with_the_others)
{
    char command[512];
    struct error err = {0};
    touch("average-000000000001.safetensors");
    touch("step-000000000002.state.safetensors");
    touch("average-000000000002.safetensors");
    touch("average-000000000003.safetensors");
    touch("average-000000000004.safetensors");
    touch("average-000000000009.safetensors");
    touch("average-3.safetensors");
    write_one(4);
    cr_assert(checkpoint_mark_best(folder, 1, true, &err), "%s", err.text);
    checkpoint_thin(folder, 4, 1);
    snprintf(
        command, sizeof command,
        "test \"$(ls %s | sed s/00000000000// | tr '\\n' ' ')\" = 'average-1.safetensors average-4.safetensors "
        "average-9.safetensors average-3.safetensors best.safetensors step-4.safetensors step-4.state.safetensors '",
        folder);
    cr_assert_eq(system(command), 0);
}

/* A run that went on from step 1 in a folder of five: what it wrote stays, and what it has not come to. */
Test(checkpoint, what_was_just_written_is_kept_beside_later_steps)
{
    char command[256];
    for (uint64_t step = 1; step <= 5; step++) write_one(step);
    checkpoint_thin(folder, 3, 1);
    snprintf(command, sizeof command, "test \"$(ls %s | grep -v state | tr -dc '1-9\\n' | tr '\\n' ' ')\" = '3 4 5 '",
             folder);
    cr_assert_eq(system(command), 0);
}
