/* The options that say what to plan: the same for `fathom plan` and for `fathom train MODEL`. */
#ifndef FATHOM_PLAN_FLAGS_H
#define FATHOM_PLAN_FLAGS_H

#include "backend.h"
#include "command.h"
#include "plan_request.h"

#define PLAN_FLAGS 18

struct plan_flags { /* NULL, 0, false = not given */
    const char *micro_batches, *gpus, *recompute, *dtype, *dataset, *unit, *shortcut, *strategy, *offload, *fuse;
    uint64_t batch, budget, workspace, classes, image_size;
    double search_seconds;
    bool sync_bn, reconstruct;
};

/* Fills specs[0, PLAN_FLAGS). */
void plan_flags_specs(struct plan_flags *flags, struct option_spec specs[PLAN_FLAGS]);
/* Whether any was given. */
bool plan_flags_given(const struct plan_flags *flags);
/* Whether the devices say what is fused. */
bool plan_flags_fuse_auto(const struct plan_flags *flags);
/* A request for the model, on a machine that the caller ends with machine_finish, also after a failure. default_gpus: of
 * --gpus. host: whom virtual devices' workspaces are asked of. */
bool plan_flags_request(const struct plan_flags *flags, const char *model, const char *default_gpus,
                        const struct backend *host, bool everywhere, struct machine *machine,
                        struct plan_request *request, struct error *err);

#endif
