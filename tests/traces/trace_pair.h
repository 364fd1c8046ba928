/* Two files for each test of a suite: a trace, and another one, a copy of it or what it is compared with. Gone when the test is
 * over:
 *
 *   TestSuite(NAME, .init = pair_setup, .fini = pair_teardown); */
#ifndef FATHOM_TEST_TRACE_PAIR_H
#define FATHOM_TEST_TRACE_PAIR_H

#include "trace_samples.h"

static char path[SAMPLE_PATH], copy[SAMPLE_PATH];

static void pair_setup(void)
{
    sample_path(path);
    sample_path(copy);
}

static void pair_teardown(void)
{
    unlink(path);
    unlink(copy);
}

#endif
