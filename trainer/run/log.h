/* A run's log: one JSON object per line, complete as soon as its step is (formats: docs/formats.md). */
#ifndef FATHOM_LOG_H
#define FATHOM_LOG_H

#include "errors.h"
#include "train_status.h"

struct log;

/* Whether log_open can write there, for the reasons below; changes nothing. path may be NULL. */
bool log_try(const char *path, struct error *err);
/* path NULL = no log: *log is then NULL, which the others take. A run resumed after `done` steps goes on in the same file,
 * from which the lines of later steps (a run that was killed had gone on after its last checkpoint) and a torn last one are
 * taken first. done 0: the file begins anew. What is there and is no log is refused (ERROR_INPUT), as is a log that another
 * process writes to; until it is closed nobody else can. Nothing is allocated after this. */
bool log_open(const char *path, uint64_t done, struct log **log, struct error *err);
/* {"step", "loss", "learning_rate", "images_per_second", "train_error"}, and "test_loss", "top1_error", "top5_error"
 * when the step was followed by an evaluation. */
void log_step(struct log *log, const struct train_status *status);
/* ERROR_FAILED when a line could not be written (a full disk does not stop a run). Takes NULL. */
bool log_close(struct log *log, struct error *err);

#endif
