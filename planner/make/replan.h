/* A plan that was made, made again for other devices. */
#ifndef FATHOM_REPLAN_H
#define FATHOM_REPLAN_H

#include "plan_request.h"

/* What the plan answers, as far as it shows, asked for the machine (borrowed): the same network, batch, arithmetic and
 * fusion. How activations are kept is free again, since shares are others; copies to host memory and reconstruction are
 * let where the plan has some. The batch is not cut into more than the devices need. Only a plan that fits will do. Who
 * says what workspaces take is the caller's to add. */
void plan_request_again(const struct plan *plan, const struct machine *machine, struct plan_request *request);

#endif
