#include <stdlib.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "files.h"
#include "mem.h"

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
