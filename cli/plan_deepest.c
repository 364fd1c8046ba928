#define _GNU_SOURCE
#include "plan_deepest.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "page.h"
#include "plan_request.h"
#include "units.h"

static void show_step(void *context, const struct deepest_step *step)
{
    const uint64_t *start = context;
    char since[UNITS_TEXT];
    fprintf(stderr, "\r\033[Kdepth %" PRIu32 " %s; ", step->depth, step->fits ? "fits" : "does not fit");
    if (step->unfit)
        fprintf(stderr, "the deepest is between %" PRIu32 " and %" PRIu32, step->fitting, step->unfit);
    else
        fputs("looking deeper", stderr);
    fprintf(stderr, ", %s so far", units_format_seconds((double)(clock_now_ns() - *start) * 1e-9, since));
    fflush(stderr);
}

bool plan_deepest_find(const struct plan_request *request, struct deepest *found, struct error *err)
{
    uint64_t start = clock_now_ns();
    bool terminal = isatty(STDERR_FILENO) == 1;
    bool ok = deepest_find(request, terminal ? show_step : NULL, &start, found, err);
    if (terminal) fputs("\r\033[K", stderr);
    return ok;
}

void plan_deepest_print(const struct deepest *found, FILE *to)
{
    const struct plan *plan = found->plan;
    struct text text = {0};
    text_add(&text, "%s", plan->fits ? plan->spec.name : "none of this form fits");
    if (plan->fits) model_add_flags(&plan->spec, &text);
    if (plan->fits && found->unfit) text_add(&text, "; the next of this form, %" PRIu32 ", does not fit", found->unfit);
    if (!found->unfit) text_add(&text, ", the deepest of this form that fathom plans");
    text_add(&text, " (%" PRIu32 " plans made)", found->plans);
    page_row_text(to, "deepest model", &text);
}
