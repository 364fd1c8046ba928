#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "files.h"
#include "mem.h"
#include "process.h"

Test(files, a_failed_write_leaves_the_old_content)
{
    char folder[] = "/tmp/fathom-files-XXXXXX", path[64];
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a", folder);
    struct error err = {0};
    cr_assert(files_write(path, "old", 3, &err), "%s", err.text);
    struct files_writer writer;
    cr_assert(files_begin(&writer, path, &err));
    fputs("new and longer", writer.stream);
    files_abandon(&writer);
    char *bytes;
    size_t length;
    cr_assert(files_read(path, 100, &bytes, &length, &err));
    cr_assert_str_eq(bytes, "old");
    mem_free(bytes);
    cr_assert_not(files_read(path, 2, &bytes, &length, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    unlink(path);
    cr_assert_eq(rmdir(folder), 0, "a partial file was left behind");
}

static void expect_content(const char *path, const char *right)
{
    struct error err = {0};
    char *bytes;
    size_t length;
    cr_assert(files_read(path, 100, &bytes, &length, &err), "%s", err.text);
    cr_expect_str_eq(bytes, right);
    mem_free(bytes);
}

/* What is no plain file stays what it is. */
Test(files, links_pipes_and_folders_are_not_replaced)
{
    char folder[] = "/tmp/fathom-files-XXXXXX";
    cr_assert(mkdtemp(folder) && chdir(folder) == 0);
    struct error err = {0};
    struct stat info;
    cr_assert_not(files_write(folder, "x", 1, &err));
    cr_expect_eq(err.kind, ERROR_INPUT);
    cr_assert(files_write("file", "old", 3, &err) && symlink("file", "link") == 0, "%s", err.text);
    cr_assert(files_write("link", "new", 3, &err), "%s", err.text);
    cr_assert(lstat("link", &info) == 0 && S_ISLNK(info.st_mode));
    expect_content("file", "new");
    cr_assert_eq(mkfifo("pipe", 0600), 0);
    int end = open("pipe", O_RDWR);
    cr_assert(files_write("pipe", "through", 7, &err), "%s", err.text);
    char bytes[8] = "";
    cr_assert_eq(read(end, bytes, 7), 7);
    cr_expect_str_eq(bytes, "through");
    cr_assert(lstat("pipe", &info) == 0 && S_ISFIFO(info.st_mode));
    close(end);
    unlink("file");
    unlink("link");
    unlink("pipe");
    cr_assert_eq(rmdir(folder), 0, "a partial file was left behind");
}

/* As another host's writer of a shared folder would be: not a process here, but with its file locked. */
Test(files, a_file_that_is_locked_is_no_leftover)
{
    char folder[] = "/tmp/fathom-files-XXXXXX";
    const char partial[] = "file.partial-2000000000";
    struct error err = {0};
    cr_assert(mkdtemp(folder) && chdir(folder) == 0);
    FILE *writer = fopen(partial, "w");
    cr_assert(writer && flock(fileno(writer), LOCK_EX) == 0);
    cr_assert(files_write("file", "whole", 5, &err), "%s", err.text);
    cr_expect_eq(access(partial, F_OK), 0);
    fclose(writer);
    cr_assert(files_write("file", "again", 5, &err), "%s", err.text);
    cr_expect_neq(access(partial, F_OK), 0);
    unlink("file");
    cr_assert_eq(rmdir(folder), 0);
}

/* Of processes that are gone only; what merely looks alike stays. */
Test(files, leftovers_of_the_dead_are_removed)
{
    char folder[] = "/tmp/fathom-files-XXXXXX", mine[64], dead[64];
    cr_assert(mkdtemp(folder) && chdir(folder) == 0);
    pid_t child = fork();
    if (child == 0) _exit(0);
    snprintf(dead, sizeof dead, "file.partial-%ld", (long)child);
    snprintf(mine, sizeof mine, "file.partial-%ld", (long)getppid());
    cr_assert(process_is_alive((uint64_t)getpid()));
    const char *const others[] = {mine, "file.partial-", "file.partial-1x", "file.partial-01",
                                  "other.partial-2000000000"};
    struct error err = {0};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) fclose(fopen(others[i], "w"));
    fclose(fopen(dead, "w"));
    fclose(fopen("file.partial-2000000000", "w"));
    while (process_is_alive((uint64_t)child)) usleep(1000); /* nobody has waited for it */
    cr_assert(files_write("file", "whole", 5, &err), "%s", err.text);
    expect_content("file", "whole");
    cr_expect_neq(access(dead, F_OK), 0);
    cr_expect_neq(access("file.partial-2000000000", F_OK), 0);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) cr_expect_eq(unlink(others[i]), 0, "%s", others[i]);
    unlink("file");
    cr_assert_eq(rmdir(folder), 0);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    cr_assert_not(process_is_alive((uint64_t)child));
}

Test(files, a_full_disk_is_an_error)
{
    struct error err = {0};
    FILE *full = fopen("/dev/full", "w");
    if (!full) cr_skip_test("/dev/full is not here");
    struct files_writer writer = {full, mem_strdup(MEM_GENERAL, "/tmp/fathom-none"),
                                  mem_strdup(MEM_GENERAL, "/tmp/fathom-none.partial")};
    for (int i = 0; i < 10000; i++) fputs("0123456789", writer.stream);
    cr_assert_not(files_commit(&writer, &err));
    cr_assert_eq(err.kind, ERROR_FAILED);
    cr_assert_neq(access("/tmp/fathom-none", F_OK), 0);
}
