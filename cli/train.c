#include "command.h"

static int run(int argc, char **argv, struct error *err)
{
    (void)argc;
    (void)argv;
    error_set(err, ERROR_FAILED, "train: not built into this binary yet");
    return 1;
}

const struct command command_train = {"train", "", "", run};
