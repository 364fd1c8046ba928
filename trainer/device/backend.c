#include "backend.h"

#include <stdlib.h>

/* Asserts that cannot be switched off: a backend without one of these is a mistake in the program. */
static void check_slot(bool present)
{
    if (!present) abort();
}

void backend_check(const struct backend *b)
{
    check_slot(b && b->name && b->op_workspace);
    check_slot(b->device_create && b->device_destroy && b->set_step);
    check_slot(b->copy_in && b->image_in && b->copy_out && b->fill && b->parameter_in && b->parameter_out);
    check_slot(b->stream_create && b->stream_destroy);
    check_slot(b->event_create && b->event_destroy && b->event_record && b->event_wait && b->event_synchronize);
    check_slot(b->op_prepare && b->op_launch && b->op_release);
    check_slot(b->group_name && b->group_create && b->group_join && b->group_abort && b->group_destroy);
    check_slot(!b->record_begin == !b->record_end && !b->record_end == !b->replay &&
               !b->replay == !b->recording_destroy);
    check_slot(!b->pinned_create == !b->pinned_destroy);
    check_slot(!b->host_create == !b->host_fill);
    check_slot(!b->event_create_timed == !b->event_elapsed_ns);
}
