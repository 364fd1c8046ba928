/* What the process holds in memory, as the kernel counts it. */
#ifndef FATHOM_PROCESS_H
#define FATHOM_PROCESS_H

#include <stdint.h>

/* Resident bytes at their highest (VmHWM) and now; 0 where /proc does not tell. Allocate nothing. */
uint64_t process_peak_bytes(void);
uint64_t process_resident_bytes(void);

#endif
