/* Runs the built program and keeps what it says. */
#ifndef FATHOM_CLI_RUN_H
#define FATHOM_CLI_RUN_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <criterion/criterion.h>

struct cli_run {
    int code;
    char out[1 << 20], err[1 << 13];
};

static inline void cli_read(const char *path, char *text, size_t size)
{
    FILE *stream = fopen(path, "r");
    cr_assert(stream);
    text[fread(text, 1, size - 1, stream)] = '\0';
    fclose(stream);
    remove(path);
}

/* Runs `fathom ARGUMENTS` through the shell. The result is static: the next call overwrites it. */
static inline const struct cli_run *cli_run(const char *arguments)
{
    static struct cli_run run;
    char command[2048], out[] = "/tmp/fathom-out-XXXXXX", err[] = "/tmp/fathom-err-XXXXXX";
    const char *binary = getenv("FATHOM_BIN");
    cr_assert(binary, "FATHOM_BIN names the program");
    cr_assert(mkstemp(out) >= 0 && mkstemp(err) >= 0);
    snprintf(command, sizeof command, "%s %s >%s 2>%s", binary, arguments, out, err);
    int status = system(command);
    run.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    cli_read(out, run.out, sizeof run.out);
    cli_read(err, run.err, sizeof run.err);
    return &run;
}

#endif
