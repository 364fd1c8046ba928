#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "files.h"
#include "locks.h"
#include "mem.h"
#include "partial.h"
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

/* The one name in this folder that begins so. */
static void find_name(const char *begin, char name[256])
{
    DIR *folder = opendir(".");
    int found = 0;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        if (strncmp(entry->d_name, begin, strlen(begin)) != 0) continue;
        snprintf(name, 256, "%s", entry->d_name);
        found++;
    }
    closedir(folder);
    cr_assert_eq(found, 1, "%d files begin with %s", found, begin);
}

Test(files, a_partial_file_has_a_name_that_nobody_can_guess)
{
    char folder[] = "/tmp/fathom-files-XXXXXX", names[2][256], long_name[256], *end;
    struct error err = {0};
    struct files_writer writer;
    struct stat info;
    cr_assert(mkdtemp(folder) && chdir(folder) == 0);
    umask(027);
    for (int i = 0; i < 2; i++) {
        cr_assert(files_begin(&writer, "file", &err), "%s", err.text);
        find_name("file.partial-", names[i]);
        cr_assert_eq(strtol(names[i] + 13, &end, 10), getpid());
        cr_assert(end[0] == '-' && strlen(end + 1) == 16, "%s", names[i]);
        cr_assert(lstat(names[i], &info) == 0 && (info.st_mode & 0777) == 0640);
        files_abandon(&writer);
    }
    cr_assert_str_neq(names[0], names[1]);
    memset(long_name, 'x', 255);
    long_name[255] = '\0';
    cr_assert(files_write(long_name, "fits", 4, &err), "%s", err.text);
    expect_content(long_name, "fits");
    unlink(long_name);
    cr_assert_eq(rmdir(folder), 0);
}

Test(files, folders_of_the_dead_go_too_and_links_stay)
{
    char folder[] = "/tmp/fathom-files-XXXXXX";
    const char left[] = "out.partial-2000000000-0123456789abcdef", link[] = "out.partial-2000000001-0123456789abcdef";
    struct error err = {0};
    struct stat info;
    char *partial;
    cr_assert(mkdtemp(folder) && chdir(folder) == 0 && mkdir(left, 0777) == 0 && chdir(left) == 0);
    cr_assert(files_write("inside", "x", 1, &err) && chdir("..") == 0);
    cr_assert(files_write("victim", "whole", 5, &err) && symlink("victim", link) == 0);
    int fd = partial_create_folder("out", &partial);
    cr_assert_geq(fd, 0);
    cr_expect_neq(access(left, F_OK), 0);
    cr_assert(lstat(link, &info) == 0 && S_ISLNK(info.st_mode));
    expect_content("victim", "whole");
    cr_assert(stat(partial, &info) == 0 && S_ISDIR(info.st_mode));
    cr_assert(partial_remove_folder(partial));
    mem_free(partial);
    close(fd);
    unlink(link);
    unlink("victim");
    cr_assert_eq(rmdir(folder), 0);
}

static void make_socket(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", name);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    close(fd);
}

/* Nothing waits for another process, or reads what has no end. */
Test(files, what_is_no_file_is_named_and_refused, .timeout = 60)
{
    char folder[] = "/tmp/fathom-files-XXXXXX", *bytes;
    size_t length;
    cr_assert(mkdtemp(folder) && chdir(folder) == 0 && mkfifo("pipe", 0600) == 0);
    make_socket("socket");
    const char *const cases[][2] = {
        {"pipe", "a pipe"}, {"socket", "a socket"}, {folder, "a folder"}, {"/dev/zero", "a device"}, {"", "empty"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error read = {0}, written = {0};
        cr_expect_not(files_read(cases[i][0], 100, &bytes, &length, &read));
        cr_expect(read.kind == ERROR_INPUT && strstr(read.text, cases[i][1]), "%s", read.text);
        if (i == 3) continue; /* /dev/null and its like are written to */
        cr_expect_not(files_write(cases[i][0], "x", 1, &written));
        cr_expect(written.kind == ERROR_INPUT && strstr(written.text, cases[i][1]), "%s", written.text);
    }
    unlink("pipe");
    unlink("socket");
    cr_assert_eq(rmdir(folder), 0);
}

/* What a shell gives as `<(command)`. */
Test(files, a_pipe_that_was_given_is_read_to_its_end, .timeout = 60)
{
    int ends[2];
    char path[32];
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(write(ends[1], "through", 7), 7);
    close(ends[1]);
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    expect_content(path, "through");
    struct error err = {0};
    int fd;
    cr_expect_not(files_open(path, FILES_REGULAR, &fd, &err));
    close(ends[0]);
}

/* 2^32 + 1 is not standard output. */
Test(files, a_number_that_no_descriptor_has_is_none)
{
    struct error err = {0};
    int fd;
    cr_expect_not(files_write("/dev/fd/4294967297", "text", 4, &err));
    cr_expect(err.kind == ERROR_INPUT && strstr(err.text, "/dev/fd/4294967297: "), "%s", err.text);
    cr_expect_not(files_open("/dev/fd/4294967296", FILES_OR_STREAM, &fd, &err));
}

/* Of a pipe nobody knows the size before. */
Test(files, of_a_pipe_no_more_is_taken_than_of_a_file, .timeout = 60)
{
    for (int more = 0; more < 2; more++) {
        int ends[2];
        char path[32], *bytes;
        size_t length;
        struct error err = {0};
        cr_assert_eq(pipe(ends), 0);
        cr_assert_eq(write(ends[1], "12345678", (size_t)(7 + more)), 7 + more);
        close(ends[1]);
        snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
        bool ok = files_read(path, 7, &bytes, &length, &err);
        cr_expect_eq(ok, more == 0);
        if (ok) mem_free(bytes);
        cr_expect(ok || (err.kind == ERROR_INPUT && strstr(err.text, "more than 7 bytes")), "%s", err.text);
        close(ends[0]);
    }
}

/* `>> file`: what stood there stays. */
Test(files, a_descriptor_that_was_given_is_written_to_from_where_it_stands)
{
    char name[] = "/tmp/fathom-files-XXXXXX", path[32];
    struct error err = {0};
    int fd = mkstemp(name);
    cr_assert(fd >= 0 && write(fd, "old, ", 5) == 5);
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    cr_assert(files_write(path, "new", 3, &err), "%s", err.text);
    expect_content(name, "old, new");
    close(fd);
    unlink(name);
}

Test(files, a_published_file_goes_on_and_replaces_nothing_unasked)
{
    char folder[] = "/tmp/fathom-files-XXXXXX";
    struct error err = {0};
    struct files_writer writer;
    int fd, other;
    cr_assert(mkdtemp(folder) && chdir(folder) == 0);
    cr_assert(files_begin(&writer, "file", &err) && fputs("begun", writer.stream) >= 0);
    cr_assert(files_publish(&writer, false, &fd, &err), "%s", err.text);
    cr_assert_eq(write(fd, ", goes on", 9), 9);
    expect_content("file", "begun, goes on");
    cr_assert(files_open_to_write("file", &other, &err));
    cr_expect_not(locks_take(other, "file", &err));
    cr_expect_eq(err.kind, ERROR_INPUT);
    close(other);
    err = (struct error){0};
    cr_assert(files_begin(&writer, "file", &err));
    cr_expect_not(files_publish(&writer, false, &other, &err));
    expect_content("file", "begun, goes on");
    close(fd);
    unlink("file");
    cr_assert_eq(rmdir(folder), 0);
}

/* A child that holds a folder until its pipe is closed. */
static pid_t hold_folder(const char *folder, int *end)
{
    int said[2], kept[2];
    char byte;
    cr_assert(pipe(said) == 0 && pipe(kept) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct folder_lock lock;
        close(kept[1]);
        if (!locks_enter_folder(&lock, folder, NULL) || write(said[1], "x", 1) != 1) _exit(1);
        if (read(kept[0], &byte, 1) == 0) raise(SIGKILL);
        _exit(2);
    }
    cr_assert_eq(read(said[0], &byte, 1), 1);
    close(said[0]);
    close(said[1]);
    close(kept[0]);
    *end = kept[1];
    return child;
}

Test(files, a_folder_is_locked_by_one_process_until_it_ends, .timeout = 60)
{
    char folder[] = "/tmp/fathom-files-XXXXXX", pid[32];
    struct folder_lock lock;
    struct error err = {0};
    int end;
    cr_assert(mkdtemp(folder));
    pid_t child = hold_folder(folder, &end);
    cr_assert_not(locks_enter_folder(&lock, folder, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    snprintf(pid, sizeof pid, "process %ld ", (long)child);
    cr_assert(strstr(err.text, pid) || strstr(err.text, "another process"), "%s", err.text);
    close(end);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    cr_assert(locks_enter_folder(&lock, folder, &err), "%s", err.text); /* its file is still there */
    locks_leave_folder(&lock);
    cr_assert_eq(rmdir(folder), 0, "the lock was left behind");
}

Test(files, folders_made_in_vain_are_unmade)
{
    char folder[] = "/tmp/fathom-files-XXXXXX", path[64];
    struct error err = {0};
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a//b/", folder);
    size_t there = files_folder_there(path);
    cr_assert_eq(there, strlen(folder));
    cr_assert(files_make_folder(path, &err), "%s", err.text);
    cr_assert_eq(files_folder_there(path), strlen(path));
    files_unmake_folder(path, there);
    cr_assert_eq(rmdir(folder), 0);
}

Test(files, paths_are_resolved_to_where_a_file_will_be)
{
    char folder[] = "/tmp/fathom-files-XXXXXX", real[FILES_PATH], wanted[FILES_PATH], found[FILES_PATH];
    cr_assert(mkdtemp(folder) && chdir(folder) == 0 && realpath(".", real) && mkdir("in", 0777) == 0);
    cr_assert(symlink("in/new", "link") == 0 && symlink("link", "links") == 0);
    snprintf(wanted, sizeof wanted, "%.4000s/in/new", real);
    const char *const paths[] = {"in/new", "./in/../in/new", "link", "links"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        cr_assert(files_resolve(paths[i], found), "%s", paths[i]);
        cr_expect_str_eq(found, wanted);
    }
    cr_assert_not(files_resolve("none/new", found));
    snprintf(wanted, sizeof wanted, "%.4000s/in/none/new", real);
    const char *const unmade[] = {"in/none/new", "in/./none//new", "in/none/other/../new", "none/../in/none/new",
                                  wanted};
    for (size_t i = 0; i < sizeof unmade / sizeof unmade[0]; i++) {
        cr_assert(files_resolve_unmade(unmade[i], found), "%s", unmade[i]);
        cr_expect_str_eq(found, wanted, "%s is %s", unmade[i], found);
    }
    cr_expect(files_resolve_unmade("/none/../new/a", found) && strcmp(found, "/new/a") == 0, "%s", found);
    unlink("link");
    unlink("links");
    rmdir("in");
    cr_assert_eq(rmdir(folder), 0);
}
