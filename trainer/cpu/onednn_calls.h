/* The calls of oneDNN that are made, as a table that is filled when an op first needs one: the library, and C++'s with it,
 * take 5 MiB of a process, and three quarters of the instructions of a command that computes nothing. Only for onednn*.c. */
#ifndef FATHOM_ONEDNN_CALLS_H
#define FATHOM_ONEDNN_CALLS_H

#include <dnnl.h>

#include "errors.h"

/* CALL(name without its prefix) */
#define DNNL_CALLS(CALL)                                                                                               \
    CALL(engine_create) CALL(engine_destroy) CALL(get_effective_cpu_isa)                                               \
    CALL(memory_create) CALL(memory_destroy) CALL(memory_set_data_handle)                                              \
    CALL(memory_desc_equal) CALL(memory_desc_get_size)                                                                 \
    CALL(primitive_attr_create) CALL(primitive_attr_destroy) CALL(primitive_attr_set_scratchpad_mode)                  \
    CALL(primitive_create) CALL(primitive_destroy) CALL(primitive_execute)                                             \
    CALL(primitive_desc_destroy) CALL(primitive_desc_query) CALL(primitive_desc_query_md)                              \
    CALL(reorder_primitive_desc_create) CALL(stream_create) CALL(stream_destroy) CALL(stream_wait)                     \
    DNNL_VERSION_CALLS(CALL)

#if DNNL_VERSION_MAJOR >= 3
#define DNNL_VERSION_CALLS(CALL)                                                                                       \
    CALL(memory_desc_create_with_tag) CALL(memory_desc_destroy)                                                        \
    CALL(convolution_forward_primitive_desc_create) CALL(convolution_backward_data_primitive_desc_create)              \
    CALL(convolution_backward_weights_primitive_desc_create)                                                           \
    CALL(inner_product_forward_primitive_desc_create) CALL(inner_product_backward_data_primitive_desc_create)          \
    CALL(inner_product_backward_weights_primitive_desc_create)                                                         \
    CALL(pooling_forward_primitive_desc_create) CALL(pooling_backward_primitive_desc_create)
#else
#define DNNL_VERSION_CALLS(CALL)                                                                                       \
    CALL(memory_desc_init_by_tag) CALL(primitive_desc_create)                                                          \
    CALL(dilated_convolution_forward_desc_init) CALL(dilated_convolution_backward_data_desc_init)                      \
    CALL(dilated_convolution_backward_weights_desc_init)                                                               \
    CALL(inner_product_forward_desc_init) CALL(inner_product_backward_data_desc_init)                                  \
    CALL(inner_product_backward_weights_desc_init)                                                                     \
    CALL(pooling_forward_desc_init) CALL(pooling_backward_desc_init)
#endif

#define DNNL_CALLS_FIELD(name) __typeof__(&dnnl_##name) name;
struct onednn_calls {
    DNNL_CALLS(DNNL_CALLS_FIELD)
};
#undef DNNL_CALLS_FIELD

extern struct onednn_calls dnnl; /* empty until onednn_load has succeeded */

/* Fills the table; the first call that has room loads the library, by the loader's own search. ERROR_MEMORY where there is
 * no room for it and a kernel, which may be another time; ERROR_FAILED for good. Stays loaded. */
bool onednn_load(struct error *err);
/* ERROR_MEMORY when there is no room for a kernel. */
bool onednn_check_room(struct error *err);

#endif
