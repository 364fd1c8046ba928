/* An engine made ready to run a convolution's graph, on a device that is there or for one that is described; as text, and
 * back. */
#ifndef FATHOM_CUDNN_PLAN_H
#define FATHOM_CUDNN_PLAN_H

#include "cudnn_engines.h"

struct cudnn_plan {
    struct cudnn_graph graph; /* and all that the plan was made from */
    cudnnBackendDescriptor_t plan;
};

/* Of the engine's id and knobs. ERROR_FAILED with cuDNN's words. The caller ends it with cudnn_plan_finish, also after a
 * failure. A plan that is compiled takes about a second. */
bool cudnn_plan_build(struct cudnn_plan *plan, const struct cudnn_library *cudnn, struct cudnn_target target,
                      const struct convolution *convolution, int64_t engine, const char *knobs, struct error *err);
/* Of what cudnn_plan_text gave, in milliseconds. As above. */
bool cudnn_plan_load(struct cudnn_plan *plan, const struct cudnn_library *cudnn, struct cudnn_target target,
                     const char *text, size_t length, struct error *err);
void cudnn_plan_finish(struct cudnn_plan *plan);

/* -1: it is not known. */
int64_t cudnn_plan_workspace(const struct cudnn_plan *plan);
/* The plan as JSON, ended by a NUL; the caller frees it with mem_free. NULL where cuDNN gives none. */
char *cudnn_plan_text(const struct cudnn_plan *plan);

#endif
