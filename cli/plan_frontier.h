/* Memory against time, as a table. */
#ifndef FATHOM_PLAN_FRONTIER_H
#define FATHOM_PLAN_FRONTIER_H

#include <stdio.h>

#include "frontier.h"

/* An asterisk for what the devices cannot hold, an arrow for the plan that was told above. */
void plan_frontier_print(const struct frontier *frontier, FILE *to);

#endif
