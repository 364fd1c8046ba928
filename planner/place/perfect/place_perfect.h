/* Packings without waste, in which whatever ends hands its bytes over to what begins (place_perfect.c). */
#ifndef FATHOM_PLACE_PERFECT_H
#define FATHOM_PLACE_PERFECT_H

#include "place_problem.h"

/* Improves *best where there is one at the bound that is found. */
bool perfect_improve(const struct problem *problem, const struct place_options *options, struct placement *best,
                     struct error *err);

#endif
