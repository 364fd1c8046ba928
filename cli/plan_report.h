/* What `fathom plan` prints, from a plan. */
#ifndef FATHOM_PLAN_REPORT_H
#define FATHOM_PLAN_REPORT_H

#include <stdio.h>

#include "advise.h"
#include "changes.h"
#include "deepest.h"
#include "errors.h"
#include "frontier.h"
#include "json.h"
#include "plan.h"
#include "scaling.h"

struct plan_engines;
struct text;
struct torch_forecast;

struct plan_report {
    const struct plan *plan;
    const struct machine *machine;     /* NULL = how devices are joined is not told */
    struct plan_engines *engines;      /* whose workspaces were asked for; NULL or without any = none were */
    const struct cost_table *measured; /* that its times are from, NULL = the catalogue's */
    uint32_t largest_batch; /* 0 = none found, or not searched */
    bool largest_searched;
    bool largest_exact;              /* else it is a lower limit */
    bool largest_quick;              /* among plans that run no convolution again */
    bool largest_whole;              /* in one piece, where the plan cuts its batch into several */
    const struct deepest *deepest;   /* when the plan is of the deepest model that fits, else NULL */
    const struct frontier *frontier; /* NULL = not asked for */
    const struct scaling *scaling;   /* the same */
    const struct whole_run *run;     /* NULL = the step's time is unknown */
    const struct advice *advice;
    size_t advice_count;
    /* The same request with everything kept, and with normalisations and ReLUs redone: why the plan computes again what
     * it does. NULL = not asked for, or no other than the plan. */
    const struct plan *keep_all, *redo;
    const struct change *changes; /* --explain: what single changes buy */
    size_t change_count;
    const struct torch_forecast *pytorch; /* what PyTorch would take; NULL = not told */
    uint32_t pytorch_cudnn; /* whose workspaces that has; 0 = estimated */
    bool verdict_told;  /* before what takes longer to find */
    bool pieces_chosen; /* how many micro-batches there are was the planner's choice */
};

/* What follows the verdict: the table of memory and what else there is to say, on lines of 80 columns. */
void plan_report_print(const struct plan_report *report, FILE *to);
/* Why it fits or not; stages, kinds of ops and what dominates the peak. ERROR_MEMORY. */
bool plan_report_explain(const struct plan_report *report, FILE *to, struct error *err);
/* The names of the ways of fusing ops (bits of enum graph_lowering), after what text holds. */
void plan_report_fused(uint32_t lowering, struct text *text);
/* One JSON object, the caller's, of the keys in docs/formats.md; NULL: ERROR_MEMORY. */
json_t *plan_report_object(const struct plan_report *report, struct error *err);
/* The same as text. ERROR_MEMORY. */
bool plan_report_json(const struct plan_report *report, FILE *to, struct error *err);

#endif
