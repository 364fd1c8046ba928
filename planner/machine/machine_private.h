/* Shared by machine.c and machine_file.c alone. */
#ifndef FATHOM_MACHINE_PRIVATE_H
#define FATHOM_MACHINE_PRIVATE_H

#include "machine.h"

/* Appends `count` copies of a device. */
bool machine_add(struct machine *machine, const struct device_spec *spec, uint64_t count, struct error *err);
/* Checks the devices against each other; a lone device needs no communication buffers. */
bool machine_complete(struct machine *machine, struct error *err);
/* What of a host's memory is kept free. */
uint64_t cpu_reserve_bytes(uint64_t memory_bytes);
/* The links of all GPUs of this host, of which the bus alone tells. */
void machine_join_slots(struct machine *machine);
/* Links and nodes from the devices' own. */
void machine_fill_link(struct machine *machine);

#endif
