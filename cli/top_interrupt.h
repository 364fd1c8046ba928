/* Ctrl-C and SIGTERM end a dashboard, which gives the terminal back first. */
#ifndef FATHOM_TOP_INTERRUPT_H
#define FATHOM_TOP_INTERRUPT_H

#include <stdbool.h>

void top_catch_interrupts(void);
bool top_interrupted(void);

#endif
