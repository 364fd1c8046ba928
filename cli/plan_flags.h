/* The options that say what to plan: the same for `fathom plan` and for `fathom train MODEL`. */
#ifndef FATHOM_PLAN_FLAGS_H
#define FATHOM_PLAN_FLAGS_H

#include "backend.h"
#include "command.h"
#include "host_gpus.h"
#include "plan_request.h"

#define PLAN_FLAGS 31

struct plan_flags { /* NULL, 0, false = not given */
    const char *micro_batches, *gpus, *recompute, *dtype, *dataset, *unit, *shortcut, *strategy, *offload, *fuse;
    const char *reduce_dtype, *reduce_memory, *freeze, *stride_in;
    const char *number[MODEL_NUMBERS];
    uint64_t batch, bn_group, budget, workspace, classes, image_size, decode_memory;
    uint64_t image_width;      /* not a flag: 0 = as image_size */
    bool float_images;         /* not a flag: images are given normalised, never as bytes */
    uint64_t decode_otherwise; /* not a flag: what plans for the cpu leave for decoding where --decode-memory says nothing */
    double search_seconds;
    bool sync_bn, freeze_bn, freeze_bn_all, reconstruct;
    bool tf32; /* says how a plan is run, too: goes with one that is read */
};

/* Fills specs[0, PLAN_FLAGS). */
void plan_flags_specs(struct plan_flags *flags, struct option_spec specs[PLAN_FLAGS]);
/* Whether any was given. */
bool plan_flags_given(const struct plan_flags *flags);
/* Refuses --tf32 where it is of no use: with other activations than f32, or on a backend that is named (NULL: on GPUs). */
bool plan_flags_check_tf32(enum dtype dtype, const char *backend, struct error *err);
/* Whether PyTorch's memory is asked for. */
bool plan_flags_pytorch(const struct plan_flags *flags);
/* For what a request is made. */
struct plan_flags_use {
    const char *gpus;           /* where --gpus is not given */
    const struct backend *host; /* whom virtual devices' workspaces are asked of */
    bool everywhere;            /* of GPUs, too: they are run on it */
    const struct host_gpus *found; /* those of `auto`; NULL = look for them */
    bool now;                   /* it is run at once: on GPUs of this host as much as is free of one of them */
};
/* A request for the model, on a machine that the caller ends with machine_finish, also after a failure. `auto` are the GPUs
 * that CUDA sees here, else those that hwloc sees, else the cpu. */
bool plan_flags_request(const struct plan_flags *flags, const char *model, const struct plan_flags_use *use,
                        struct machine *machine, struct plan_request *request, struct error *err);
/* Has the backend, which is kept, say what its ops' workspaces are. */
void plan_flags_ask(const struct backend *host, struct plan_request *request);

#endif
