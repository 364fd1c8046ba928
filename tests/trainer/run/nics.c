/* Which network cards NCCL is told to use: nothing where the user says it, or where there is one process. What is near
 * to what, tests/planner/machine/topology.c looks at; ranks on two hosts, tests/trainer/ranks/hosts.py. */
#define _GNU_SOURCE
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "nics.h"

static char home[] = "/tmp/fathom-nics-XXXXXX";

static void write_settings(const char *name, const char *text, char path[64])
{
    struct error err = {0};
    snprintf(path, 64, "%s/%s", home, name);
    cr_assert(files_write(path, text, strlen(text), &err), "%s", err.text);
}

Test(nics, the_user_says_it_in_the_environment_or_in_a_file)
{
    char own[64], other[64];
    cr_assert(mkdtemp(home));
    setenv("HOME", home, 1);
    unsetenv("NCCL_CONF_FILE");
    unsetenv(NICS_VARIABLE);
    cr_expect_not(nics_are_named());
    write_settings(".nccl.conf", "NCCL_DEBUG=WARN\n", own);
    cr_expect_not(nics_are_named());
    write_settings(".nccl.conf", "NCCL_DEBUG=WARN\nNCCL_IB_HCA=mlx5\n", own);
    cr_expect(nics_are_named());
    write_settings("other.conf", "", other);
    setenv("NCCL_CONF_FILE", other, 1);
    cr_expect_not(nics_are_named(), "it is read in place of the one at home");
    setenv(NICS_VARIABLE, "mlx5_0", 1);
    cr_expect(nics_are_named());
    unlink(own);
    unlink(other);
    rmdir(home);
}

Test(nics, a_process_alone_is_told_nothing)
{
    char list[TOPOLOGY_FABRICS] = "x";
    struct error err = {0};
    unsetenv(NICS_VARIABLE);
    cr_expect(nics_choose(NULL, 2, (const char *const[]){"0000:13:00.0", "0000:14:00.0"}, list, &err));
    cr_expect_str_eq(list, "");
    cr_expect_null(getenv(NICS_VARIABLE));
}
