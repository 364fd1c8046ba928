/* What differs between oneDNN 2.x and 3.x: memory descriptors are structs or handles, and primitive descriptors are
 * made from operation descriptors or directly. Only for onednn.c and onednn_method.c. */
#ifndef FATHOM_ONEDNN_API_H
#define FATHOM_ONEDNN_API_H

#include <string.h>

#include "onednn_calls.h"
#include "onednn_shape.h"

#if DNNL_VERSION_MAJOR >= 3

typedef dnnl_memory_desc_t layout; /* owned */
typedef const_dnnl_memory_desc_t layout_view;

static inline layout_view view(const layout *l) { return *l; }

static inline dnnl_status_t layout_create(layout *l, const dnnl_dims_t dims, int ndims, dnnl_data_type_t type,
                                          dnnl_format_tag_t tag)
{
    return dnnl.memory_desc_create_with_tag(l, ndims, dims, type, tag);
}

static inline void layout_destroy(layout *l)
{
    if (*l) dnnl.memory_desc_destroy(*l);
    *l = NULL;
}

#else

typedef dnnl_memory_desc_t layout;
typedef const dnnl_memory_desc_t *layout_view;

static inline layout_view view(const layout *l) { return l->ndims ? l : NULL; }

static inline dnnl_status_t layout_create(layout *l, const dnnl_dims_t dims, int ndims, dnnl_data_type_t type,
                                          dnnl_format_tag_t tag)
{
    return dnnl.memory_desc_init_by_tag(l, ndims, dims, type, tag);
}

static inline void layout_destroy(layout *l) { memset(l, 0, sizeof *l); }

#endif

/* Everything a primitive descriptor is made from. */
struct recipe {
    dnnl_engine_t engine;
    dnnl_primitive_attr_t attr;
    enum onednn_primitive primitive;
    dnnl_prop_kind_t forward_kind;
    layout x, w, bias, y; /* bias and w zeroed when there is none */
    dnnl_dims_t stride, dilation, kernel, before, after;
};

#if DNNL_VERSION_MAJOR >= 3

static inline dnnl_status_t create_forward(const struct recipe *r, dnnl_primitive_desc_t *pd)
{
    switch (r->primitive) {
    case ONEDNN_CONV:
    case ONEDNN_CONV_BWD_DATA:
    case ONEDNN_CONV_BWD_WEIGHTS:
        return dnnl.convolution_forward_primitive_desc_create(pd, r->engine, r->forward_kind, dnnl_convolution_direct,
                                                              view(&r->x), view(&r->w), view(&r->bias), view(&r->y),
                                                              r->stride, r->dilation, r->before, r->after, r->attr);
    case ONEDNN_FC:
    case ONEDNN_FC_BWD_DATA:
    case ONEDNN_FC_BWD_WEIGHTS:
        return dnnl.inner_product_forward_primitive_desc_create(pd, r->engine, r->forward_kind, view(&r->x),
                                                                view(&r->w), view(&r->bias), view(&r->y), r->attr);
    case ONEDNN_MAXPOOL:
    case ONEDNN_MAXPOOL_BWD:
        return dnnl.pooling_forward_primitive_desc_create(pd, r->engine, r->forward_kind, dnnl_pooling_max, view(&r->x),
                                                          view(&r->y), r->stride, r->kernel, r->dilation, r->before,
                                                          r->after, r->attr);
    case ONEDNN_AVGPOOL:
    case ONEDNN_AVGPOOL_BWD: break;
    }
    return dnnl.pooling_forward_primitive_desc_create(pd, r->engine, r->forward_kind, dnnl_pooling_avg_include_padding,
                                                      view(&r->x), view(&r->y), r->stride, r->kernel, r->dilation,
                                                      r->before, r->after, r->attr);
}

static inline dnnl_status_t create_backward(const struct recipe *r, dnnl_primitive_desc_t hint,
                                            dnnl_primitive_desc_t *pd)
{
    switch (r->primitive) {
    case ONEDNN_CONV_BWD_DATA:
        return dnnl.convolution_backward_data_primitive_desc_create(pd, r->engine, dnnl_convolution_direct, view(&r->x),
                                                                    view(&r->w), view(&r->y), r->stride, r->dilation,
                                                                    r->before, r->after, hint, r->attr);
    case ONEDNN_CONV_BWD_WEIGHTS:
        return dnnl.convolution_backward_weights_primitive_desc_create(
            pd, r->engine, dnnl_convolution_direct, view(&r->x), view(&r->w), view(&r->bias), view(&r->y), r->stride,
            r->dilation, r->before, r->after, hint, r->attr);
    case ONEDNN_FC_BWD_DATA:
        return dnnl.inner_product_backward_data_primitive_desc_create(pd, r->engine, view(&r->x), view(&r->w),
                                                                      view(&r->y), hint, r->attr);
    case ONEDNN_FC_BWD_WEIGHTS:
        return dnnl.inner_product_backward_weights_primitive_desc_create(pd, r->engine, view(&r->x), view(&r->w),
                                                                         view(&r->bias), view(&r->y), hint, r->attr);
    case ONEDNN_MAXPOOL_BWD:
        return dnnl.pooling_backward_primitive_desc_create(pd, r->engine, dnnl_pooling_max, view(&r->x), view(&r->y),
                                                           r->stride, r->kernel, r->dilation, r->before, r->after, hint,
                                                           r->attr);
    default:
        return dnnl.pooling_backward_primitive_desc_create(pd, r->engine, dnnl_pooling_avg_include_padding, view(&r->x),
                                                           view(&r->y), r->stride, r->kernel, r->dilation, r->before,
                                                           r->after, hint, r->attr);
    }
}

#else

/* An operation descriptor of any kind. */
union operation {
    dnnl_convolution_desc_t conv;
    dnnl_inner_product_desc_t fc;
    dnnl_pooling_desc_t pool;
};

static inline dnnl_status_t describe_forward(const struct recipe *r, union operation *op)
{
    switch (r->primitive) {
    case ONEDNN_CONV:
    case ONEDNN_CONV_BWD_DATA:
    case ONEDNN_CONV_BWD_WEIGHTS:
        return dnnl.dilated_convolution_forward_desc_init(&op->conv, r->forward_kind, dnnl_convolution_direct,
                                                          view(&r->x), view(&r->w), view(&r->bias), view(&r->y),
                                                          r->stride, r->dilation, r->before, r->after);
    case ONEDNN_FC:
    case ONEDNN_FC_BWD_DATA:
    case ONEDNN_FC_BWD_WEIGHTS:
        return dnnl.inner_product_forward_desc_init(&op->fc, r->forward_kind, view(&r->x), view(&r->w), view(&r->bias),
                                                    view(&r->y));
    case ONEDNN_MAXPOOL:
    case ONEDNN_MAXPOOL_BWD:
        return dnnl.pooling_forward_desc_init(&op->pool, r->forward_kind, dnnl_pooling_max, view(&r->x), view(&r->y),
                                              r->stride, r->kernel, r->before, r->after);
    case ONEDNN_AVGPOOL:
    case ONEDNN_AVGPOOL_BWD: break;
    }
    return dnnl.pooling_forward_desc_init(&op->pool, r->forward_kind, dnnl_pooling_avg_include_padding, view(&r->x),
                                          view(&r->y), r->stride, r->kernel, r->before, r->after);
}

static inline dnnl_status_t describe_backward(const struct recipe *r, union operation *op)
{
    switch (r->primitive) {
    case ONEDNN_CONV_BWD_DATA:
        return dnnl.dilated_convolution_backward_data_desc_init(&op->conv, dnnl_convolution_direct, view(&r->x),
                                                                view(&r->w), view(&r->y), r->stride, r->dilation,
                                                                r->before, r->after);
    case ONEDNN_CONV_BWD_WEIGHTS:
        return dnnl.dilated_convolution_backward_weights_desc_init(&op->conv, dnnl_convolution_direct, view(&r->x),
                                                                   view(&r->w), view(&r->bias), view(&r->y), r->stride,
                                                                   r->dilation, r->before, r->after);
    case ONEDNN_FC_BWD_DATA:
        return dnnl.inner_product_backward_data_desc_init(&op->fc, view(&r->x), view(&r->w), view(&r->y));
    case ONEDNN_FC_BWD_WEIGHTS:
        return dnnl.inner_product_backward_weights_desc_init(&op->fc, view(&r->x), view(&r->w), view(&r->bias),
                                                             view(&r->y));
    case ONEDNN_MAXPOOL_BWD:
        return dnnl.pooling_backward_desc_init(&op->pool, dnnl_pooling_max, view(&r->x), view(&r->y), r->stride,
                                               r->kernel, r->before, r->after);
    default:
        return dnnl.pooling_backward_desc_init(&op->pool, dnnl_pooling_avg_include_padding, view(&r->x), view(&r->y),
                                               r->stride, r->kernel, r->before, r->after);
    }
}

static inline dnnl_status_t create_forward(const struct recipe *r, dnnl_primitive_desc_t *pd)
{
    union operation op;
    dnnl_status_t status = describe_forward(r, &op);
    return status == dnnl_success ? dnnl.primitive_desc_create(pd, &op, r->attr, r->engine, NULL) : status;
}

static inline dnnl_status_t create_backward(const struct recipe *r, dnnl_primitive_desc_t hint,
                                            dnnl_primitive_desc_t *pd)
{
    union operation op;
    dnnl_status_t status = describe_backward(r, &op);
    return status == dnnl_success ? dnnl.primitive_desc_create(pd, &op, r->attr, r->engine, hint) : status;
}

#endif

#endif
