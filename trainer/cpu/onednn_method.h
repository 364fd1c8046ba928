/* How oneDNN computes a shape: which primitive, on weights in which order, and what brings them from the order in which
 * they are stored (weights.h). Only for onednn*.c. */
#ifndef FATHOM_ONEDNN_METHOD_H
#define FATHOM_ONEDNN_METHOD_H

#include <stdbool.h>

#include "errors.h"
#include "onednn_api.h"

/* By which names a primitive knows its arguments. */
enum role { ROLE_FORWARD, ROLE_BACKWARD_DATA, ROLE_BACKWARD_WEIGHTS };

/* How weights get from the stored order to the primitive's, or back for a gradient. */
enum weights_move {
    MOVE_NONE,      /* used as stored */
    MOVE_REORDER,   /* by oneDNN */
    MOVE_TRANSPOSE, /* weights_transpose */
    MOVE_TURN,      /* weights_turn: a gradient of inputs is computed as a forward convolution of y */
};

struct method {
    struct onednn_shape shape; /* of the primitive: as asked for, or turned round */
    enum role role;            /* the primitive's */
    dnnl_primitive_desc_t pd, reorder; /* reorder of MOVE_REORDER, else NULL */
    enum weights_move move;
    uint32_t block;         /* of MOVE_TURN: outputs that lie together */
    layout stored;          /* of the weights */
    uint64_t weights_bytes; /* of the moved weights, at the start of the workspace; 0 with MOVE_NONE */
    uint64_t bytes;         /* of workspace in all */
};

bool method_init(struct method *m, dnnl_engine_t engine, const struct onednn_shape *s, struct error *err);
void method_finish(struct method *m); /* also of a zeroed one */

/* The primitive's operands, with weights in any order. Finished also after a failure. */
dnnl_status_t method_recipe_init(struct recipe *r, const struct method *m, dnnl_engine_t engine);
void method_recipe_finish(struct recipe *r);

bool method_has_weights(const struct method *m);
bool method_has_mask(const struct method *m);
const char *method_implementation(const struct method *m);
layout_view method_weights(const struct method *m);
/* What a primitive of the method asks for: NULL when it has none. */
layout_view method_query(const_dnnl_primitive_desc_t pd, dnnl_query_t what);
uint64_t method_scratch_bytes(const_dnnl_primitive_desc_t pd); /* rounded up; pd may be NULL */

bool onednn_check(dnnl_status_t status, const char *what, struct error *err);

#endif
