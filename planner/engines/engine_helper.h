/* The process that asks cuDNN (helper/): started, asked line by line, ended. Whatever becomes of it is an error here and
 * nothing worse. */
#ifndef FATHOM_ENGINE_HELPER_H
#define FATHOM_ENGINE_HELPER_H

#include "engine_book.h"

#define ENGINE_HELPER_SECONDS 60.0 /* for an answer: the first loads 300 MB of libraries */

struct engine_helper;

/* Starts the program and learns which cuDNN it has. seconds: for each answer, 0 = ENGINE_HELPER_SECONDS. ERROR_FAILED when
 * it cannot be started, ends, is late or answers with what is no answer. The caller ends *helper with
 * engine_helper_stop. */
bool engine_helper_start(const char *program, double seconds, struct engine_helper **helper, struct error *err);
/* Takes NULL. */
void engine_helper_stop(struct engine_helper *helper);
uint32_t engine_helper_cudnn(const struct engine_helper *helper);

/* The device of the questions after it, in JSON. ERROR_FAILED as above, or with the helper's words when it refuses it. */
bool engine_helper_describe(struct engine_helper *helper, const char *json, struct error *err);
/* *answer is valid until the next call. What cuDNN refuses is an answer without engines. */
bool engine_helper_ask(struct engine_helper *helper, const struct engine_question *question,
                       struct engine_answer *answer, struct error *err);

/* The plan of an engine of an answer as text, which the caller ends with mem_free; NULL where the helper refuses: it cannot be
 * built. */
bool engine_helper_plan(struct engine_helper *helper, const struct engine_question *question,
                        const struct engine *engine, char **text, struct error *err);

/* Whether it ended because it crashed: cuDNN 9.19 does over some convolutions on 8.0 and 8.9 that it has no engine for. */
bool engine_helper_crashed(const struct engine_helper *helper);

#endif
