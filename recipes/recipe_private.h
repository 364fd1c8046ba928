/* Shared by recipe.c and recipe_file.c. */
#ifndef FATHOM_RECIPE_PRIVATE_H
#define FATHOM_RECIPE_PRIVATE_H

#include "recipe.h"

bool recipe_read_file(const char *path, struct recipe *recipe, struct error *err);

#endif
