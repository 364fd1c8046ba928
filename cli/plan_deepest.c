#define _GNU_SOURCE
#include "plan_deepest.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "page.h"
#include "plan_request.h"
#include "units.h"

#define PLAIN_NS 10000000000u /* before and between plain lines */

struct shown {
    uint64_t start_ns, last_ns;
    bool terminal;
};

static void show_step(void *context, const struct deepest_step *step)
{
    struct shown *shown = context;
    char since[UNITS_TEXT];
    uint64_t now = clock_now_ns();
    if (!shown->terminal && now - shown->last_ns < PLAIN_NS) return;
    shown->last_ns = now;
    fprintf(stderr, "%sdepth %" PRIu32 " %s; ", shown->terminal ? "\r\033[K" : "", step->depth,
            step->fits ? "fits" : "does not fit");
    if (step->unfit)
        fprintf(stderr, "the deepest is between %" PRIu32 " and %" PRIu32, step->fitting, step->unfit);
    else
        fputs("looking deeper", stderr);
    fprintf(stderr, ", %s so far%s", units_format_seconds((double)(now - shown->start_ns) * 1e-9, since),
            shown->terminal ? "" : "\n");
    fflush(stderr);
}

bool plan_deepest_find(const struct plan_request *request, struct deepest *found, struct error *err)
{
    uint64_t now = clock_now_ns();
    struct shown shown = {now, now, isatty(STDERR_FILENO) == 1};
    bool ok = deepest_find(request, show_step, &shown, found, err);
    if (shown.terminal) fputs("\r\033[K", stderr);
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
