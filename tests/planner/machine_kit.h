/* Machines as --gpus says them. */
#ifndef FATHOM_MACHINE_KIT_H
#define FATHOM_MACHINE_KIT_H

#include <criterion/criterion.h>

#include "machine.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static inline struct machine parse(const char *text)
{
    struct machine machine = {0};
    struct error err = {0};
    cr_assert(machine_parse(text, &machine, &err), "%s: %s", text, err.text);
    cr_assert_eq(err.kind, ERROR_NONE);
    return machine;
}

#endif
