/* `fathom train --resume` of a run's folder, whose trace goes on: whether this is the same run. */
#ifndef FATHOM_TRAIN_GOES_ON_H
#define FATHOM_TRAIN_GOES_ON_H

#include "errors.h"
#include "plan.h"

/* *err tells why the run here cannot go on in the folder's trace. Where the folder's plan.json is another plan than this one it
 * names the flags that make it so. Returns false. */
bool train_goes_on_refuse(const char *folder, const struct plan *plan, struct error *err);

#endif
