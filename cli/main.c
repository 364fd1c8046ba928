#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends.h"
#include "choice.h"
#include "command.h"
#include "mem.h"
#include "printable.h"
#include "text.h"
#include "train_ranks.h"

static const struct command *const commands[] = {
    &command_plan,     &command_train,    &command_top,   &command_trace,   &command_eval,
    &command_classify, &command_features, &command_place, &command_devices, &command_data,
    &command_speed,    &command_recipes,  &command_runs,  &command_sweep};
#define COMMANDS (sizeof commands / sizeof commands[0])

static void print_overview(FILE *to)
{
    fprintf(to, "fathom: will a ResNet this deep fit these GPUs? Plan its memory, train it under\n"
                "that plan, watch every kernel.\n\n"
                "usage: fathom COMMAND [OPTIONS]\n\n");
    for (size_t i = 0; i < COMMANDS; i++) fprintf(to, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(to, "  %-8s %s\n\n", "help", "this page, or one command's manual: fathom help plan");
    fprintf(to, "Exit status: 0 done (plan: it fits), 1 it does not fit or the run failed, 2 the\n"
                "command or a file is wrong.\n");
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

/* NULL where none is near: "trian" is train. */
static const char *nearest_command(const char *name)
{
    const char *nearest = NULL;
    size_t least = strlen(name);
    for (size_t i = 0; i < COMMANDS; i++) {
        size_t distance = choice_distance(name, commands[i]->name, least);
        if (distance >= least) continue;
        least = distance;
        nearest = commands[i]->name;
    }
    return nearest;
}

static int unknown_command(const char *name)
{
    const char *nearest = nearest_command(name);
    fprintf(stderr, "fathom: there is no command '%s'; the commands are", PRINTABLE_CUT(name, 60));
    for (size_t i = 0; i < COMMANDS; i++) fprintf(stderr, "%s %s", i ? "," : "", commands[i]->name);
    fprintf(stderr, " and help");
    if (nearest) fprintf(stderr, "; did you mean %s?", nearest);
    fputc('\n', stderr);
    return 2;
}

static void print_manual(const struct command *command)
{
    for (const char *const *section = command->manual; *section; section++) fputs(*section, stdout);
}

static int print_help(int argc, char **argv)
{
    if (argc < 3) {
        print_overview(stdout);
        return 0;
    }
    const struct command *command = find_command(argv[2]);
    if (!command) return unknown_command(argv[2]);
    print_manual(command);
    return 0;
}

static bool asks_help(int argc, char **argv)
{
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

/* What a shell tells of a program that SIGPIPE ends. */
#define READER_GONE 141

/* A full disk on standard output is a failed run, not a silent success. */
static int finish_output(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    int cause = errno;
    if (options_reader_is_gone()) return READER_GONE;
    fprintf(stderr, "fathom: standard output: %s\n", strerror(cause));
    return code == 0 ? 1 : code;
}

/* The one place where sentences are printed that quote files and command lines. */
static void print_error(const char *command, const struct error *err)
{
    struct text sentence = {0};
    text_add_printable(&sentence, err->text);
    fprintf(stderr, "fathom %s: %s\n%s", command, sentence.failed ? "out of memory" : sentence.bytes, err->below);
    text_finish(&sentence);
}

/* A file that is opened takes the lowest number that is free: where standard output was closed, what is said would go
 * into a checkpoint. */
static void fill_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) < 0 && open("/", O_RDONLY) < 0)
            _exit(2);
}

/* Without the signals, a closed pipe and a file that has reached its limit are errors like a full disk, which leave
 * nothing half-written. */
static void ignore_signals(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

static int run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (argc < 2) {
        print_overview(stderr);
        return 2;
    }
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return finish_output(print_help(argc, argv));
    if (strcmp(name, "--version") == 0) {
        puts("fathom " FATHOM_VERSION);
        return finish_output(0);
    }
    const struct command *command = find_command(name);
    if (!command) return unknown_command(name);
    if (asks_help(argc, argv)) {
        print_manual(command);
        return finish_output(0);
    }
    struct error err = {0};
    int code = command->run(argc - 1, argv + 1, &err);
    if (err.kind != ERROR_NONE) {
        fflush(stdout);
        if (ferror(stdout) && options_reader_is_gone()) return READER_GONE;
        if (err.kind == ERROR_FAILED && options_output() != STDOUT_FILENO && options_reader_is_gone())
            return READER_GONE;
        print_error(name, &err);
        if (code < 128) code = error_exit_code(&err); /* else a signal's */
    }
    return finish_output(code);
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, ""); /* how wide names are; numbers are written as in C */
    fill_streams();
    ignore_signals();
    mem_spare_addresses();
    int code = run(argc, argv);
    train_ranks_end(code);
    if (backends_left_behind()) _exit(code); /* a device hangs, and would be waited for */
    return code;
}
