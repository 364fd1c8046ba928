/* The memory policy of the 2016 release (fb.resnet.torch with -shareGradInput true), for comparison: every
 * activation keeps its own bytes, gradients of activations go into buffers shared between layers, one set per kind of
 * module, and so does the convolutions' workspace. */
#ifndef FATHOM_GRADINPUT_H
#define FATHOM_GRADINPUT_H

#include "place.h"
#include "plan.h"

/* Gives every buffer its offset; buffer_of: per plan tensor, NO_TENSOR for those without one. A kind has as many shared
 * buffers as it has gradients alive at one op (two where a shortcut splits), each as large as its largest.
 * ERROR_MEMORY.
 */
bool gradinput_place(const struct graph *graph, const struct plan_program *program, const uint32_t *home,
                     const uint32_t *buffer_of, struct place_buffer *buffers, size_t count, uint64_t *arena_bytes,
                     struct error *err);

#endif
