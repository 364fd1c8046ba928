/* The manual of `fathom plan`, as in struct command. */
#ifndef FATHOM_PLAN_MANUAL_H
#define FATHOM_PLAN_MANUAL_H

extern const char *const plan_manual[];

#endif
