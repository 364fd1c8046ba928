/* A plan that was made, made again for other devices. */
#ifndef FATHOM_REPLAN_H
#define FATHOM_REPLAN_H

#include "plan_request.h"

/* What the plan answers, as far as it shows, asked for its devices but those that are gone (gone[device]): the same network,
 * batch, arithmetic and fusion. How activations are kept is free again, since shares are others; copies to host memory and
 * reconstruction are let where the plan has some. The batch is not cut into more than the devices need. Only a plan that
 * fits will do. Who says what workspaces take is the caller's to add.
 *
 * The devices that are left become *machine, which comes zeroed, which the request borrows and the caller ends with
 * machine_finish, also after a failure. ERROR_INPUT where none is left. */
bool plan_request_without(const struct plan *plan, const bool *gone, struct machine *machine,
                          struct plan_request *request, struct error *err);

#endif
