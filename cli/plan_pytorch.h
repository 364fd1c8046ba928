/* `fathom plan --strategy pytorch`: what PyTorch would take for the same training, beside what the plan takes. */
#ifndef FATHOM_PLAN_PYTORCH_H
#define FATHOM_PLAN_PYTORCH_H

#include <stdio.h>

#include "json.h"
#include "plan.h"
#include "plan_engines.h"
#include "plan_request.h"
#include "torch_forecast.h"

/* Whether it can be told of these devices: one GPU. */
bool plan_pytorch_serves(const struct machine *machine);
/* ERROR_INPUT where it cannot. */
bool plan_pytorch_check(const struct machine *machine, struct error *err);
/* Of the request's batch in one piece, with the workspaces of engines where those are asked, for NCHW tensors. *cudnn: of
 * which version they are; 0 = they were estimated. */
bool plan_pytorch_make(const struct plan_request *request, struct plan_engines *engines, struct torch_forecast *forecast,
                       uint32_t *cudnn, struct error *err);

/* "resnet-50 in PyTorch fits a100-40gb at batch 128: nvidia-smi would show 14.7 GiB", into out; returns out. */
char *plan_pytorch_verdict(const struct plan *plan, const struct torch_forecast *forecast, char *out, size_t size);
/* What follows the verdict: both side by side, and where the difference comes from. */
void plan_pytorch_print(const struct plan *plan, const struct torch_forecast *forecast, uint32_t cudnn, FILE *to);
/* The same in short, below what explains a plan. */
void plan_pytorch_explain(const struct plan *plan, const struct torch_forecast *forecast, FILE *to);
/* The caller's; NULL when memory is short. */
json_t *plan_pytorch_json(const struct plan *plan, const struct torch_forecast *forecast, uint32_t cudnn);

#endif
