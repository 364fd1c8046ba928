/* `fathom sweep`: its tables, for people and for scripts. */
#ifndef FATHOM_SWEEP_REPORT_H
#define FATHOM_SWEEP_REPORT_H

#include "sweep_result.h"
#include "train_command.h"

/* A row a line: published beside measured, mean and deviation over seeds. */
void sweep_report_table(const struct sweep *sweep, const struct sweep_jobs *jobs);
/* A run a line, with what is planned for each row (previews[row_count]). */
void sweep_report_plan(const struct sweep *sweep, const struct sweep_jobs *jobs, const struct train_preview *previews);
/* One object; previews may be NULL. */
bool sweep_report_json(const struct sweep *sweep, const struct sweep_jobs *jobs, const char *folder,
                       const struct train_preview *previews, struct error *err);

#endif
