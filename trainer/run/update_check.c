/* Whether a plan has what the updates of a run need. */
#include "train.h"

bool train_check_update(const struct plan *plan, const struct train_options *o, struct error *err)
{
    const struct update_needs *has = &plan->update;
    uint32_t wanted = optimizer_buffers(o->optimizer), there = optimizer_buffers(has->optimizer);
    if (wanted > there)
        return error_set(err, ERROR_INPUT,
                         "--optimizer: %s keeps %u number%s of each parameter; the plan, made for %s, has room for %u: "
                         "plan again with --optimizer %s",
                         optimizer_name(o->optimizer), wanted, wanted == 1 ? "" : "s", optimizer_name(has->optimizer),
                         there, optimizer_name(o->optimizer));
    if (o->clip_norm > 0 && !has->clips)
        return error_set(
            err, ERROR_INPUT,
            "--clip-norm: the plan's steps do not take the norm of gradients: plan again with --clip-norm %g",
            o->clip_norm);
    if (o->average_decay > 0 && !has->averages)
        return error_set(err, ERROR_INPUT,
                         "--average-weights: the plan has no room for averages: plan again with --average-weights %g",
                         o->average_decay);
    return true;
}
