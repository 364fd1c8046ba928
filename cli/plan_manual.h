/* The manual of `fathom plan`, in parts: C promises no string literal above 4095 bytes. */
#ifndef FATHOM_PLAN_MANUAL_H
#define FATHOM_PLAN_MANUAL_H

extern const char plan_manual[], plan_manual_training[], plan_manual_studies[];

#endif
