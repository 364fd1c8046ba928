/* Who looks at a trace, as its writer sees it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mem.h"
#include "viewer.h"
#include "writer.h"

static char path[64];
static struct trace_writer *writer;

static void begin(void)
{
    struct error err = {0};
    snprintf(path, sizeof path, "/tmp/fathom-viewer-%d.trace", (int)getpid());
    cr_assert(trace_writer_open(path, &(struct trace_writer_options){0}, &writer, &err), "%s", err.text);
}

static void end(void)
{
    trace_writer_close(writer);
    unlink(path);
}

static struct trace_viewer *look(void)
{
    struct trace_viewer *viewer;
    struct error err = {0};
    cr_assert(trace_viewer_open(path, &viewer, &err), "%s", err.text);
    return viewer;
}

Test(viewer, is_seen_while_it_looks, .init = begin, .fini = end)
{
    cr_expect_not(trace_writer_views(writer).watched);
    struct trace_viewer *one = look(), *other = look();
    cr_expect(trace_writer_views(writer).watched);
    trace_viewer_close(one);
    cr_expect(trace_writer_views(writer).watched, "the other one still looks");
    trace_viewer_close(other);
    cr_expect_not(trace_writer_views(writer).watched);
    cr_expect_eq(trace_writer_views(writer).asked_steps, 0);
}

Test(viewer, asks_for_steps, .init = begin, .fini = end)
{
    struct error err = {0};
    struct trace_viewer *viewer = look(), *idle = look();
    cr_expect_eq(trace_writer_views(writer).asked_steps, 0);
    cr_assert(trace_viewer_ask(viewer, 64, &err), "%s", err.text);
    cr_expect_eq(trace_writer_views(writer).asked_steps, 64);
    cr_assert(trace_viewer_ask(viewer, UINT64_MAX, &err));
    cr_expect_eq(trace_writer_views(writer).asked_steps, TRACE_VIEWER_MOST_STEPS);
    cr_assert(trace_viewer_ask(viewer, 0, &err));
    cr_expect_eq(trace_writer_views(writer).asked_steps, 0);
    cr_assert(trace_viewer_ask(viewer, 7, &err));
    trace_viewer_close(viewer);
    cr_expect_eq(trace_writer_views(writer).asked_steps, 0, "it goes with who asked");
    trace_viewer_close(idle);
}

Test(viewer, a_file_that_is_not_there_is_said)
{
    struct trace_viewer *viewer = NULL;
    struct error err = {0};
    cr_expect_not(trace_viewer_open("/tmp/fathom-no-such/run.trace", &viewer, &err));
    cr_expect_eq(err.kind, ERROR_FAILED);
    cr_expect_eq(mem_current_bytes(MEM_TRACE), 0);
    trace_viewer_close(NULL);
}
