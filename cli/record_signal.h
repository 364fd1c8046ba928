/* SIGUSR2 to a run with a trace: its next steps are recorded. */
#ifndef FATHOM_RECORD_SIGNAL_H
#define FATHOM_RECORD_SIGNAL_H

#include "session.h"

/* From here to record_signal_leave; before stop_catch, which leaves signals alone that are taken. Where it was ignored when the
 * program started it stays so. */
void record_signal_catch(struct session *session);
/* Takes the session away; the signal does nothing then. */
void record_signal_leave(void);

#endif
