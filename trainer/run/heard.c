/* What all ranks of a run know of each other. Of several ranks only that counts: they must do the same. */
#include "train_private.h"

bool run_is_stopped(const struct training *run)
{
    return run->ranks ? run->stop != 0 : run->options->stop && *run->options->stop;
}

int32_t run_asked_to_stop(const struct training *run)
{
    int32_t here = run->options->stop ? (int32_t)*run->options->stop : 0;
    return here ? here : ranks_asked_to_stop(run->ranks);
}

bool run_hear(struct training *run, struct error *err)
{
    int32_t asked = run_asked_to_stop(run);
    for (uint32_t i = 0; i < run->device_count; i++) {
        struct told *own = &run->told[run->first_device + i];
        own->submitted = run->done + run->in_flight;
        own->stop = asked;
    }
    TRY(ranks_gather_devices(run->ranks, run->told, sizeof *run->told, err));
    run->stop = 0;
    run->until = 0;
    for (size_t i = 0; i < run->plan->device_count; i++) {
        if (run->told[i].stop) run->stop = run->told[i].stop;
        if (run->told[i].submitted > run->until) run->until = run->told[i].submitted;
    }
    return true;
}
