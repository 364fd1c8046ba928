/* Plans of engines for a GPU that need not be here, built by several helpers side by side. */
#ifndef FATHOM_ENGINE_PLANS_H
#define FATHOM_ENGINE_PLANS_H

#include "engine_book.h"

struct engine_wish {
    struct engine_question question;
    struct engine engine; /* of the book's answer */
};

struct engine_plans_options {
    const char *helper;
    double helper_seconds;
    /* Called before each plan, from several threads, one at a time. May be NULL. */
    void (*tell)(void *context, size_t done, size_t all);
    void *context;
};

/* Gives the book the plans of the wished engines that it does not have. What cannot be built stays without: a trainer builds it
 * when it runs. ERROR_MEMORY, ERROR_FAILED when no helper can be started. */
bool engine_plans_build(struct engine_book *book, const struct engine_plans_options *options,
                        const struct engine_wish *wishes, size_t count, struct error *err);

#endif
