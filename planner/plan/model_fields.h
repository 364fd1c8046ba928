/* A model as the fields of a JSON object, in plans and in checkpoints: its name and what may differ from the name's defaults. */
#ifndef FATHOM_MODEL_FIELDS_H
#define FATHOM_MODEL_FIELDS_H

#include "json.h"
#include "model.h"

/* A new reference; NULL when memory is short. */
json_t *model_fields(const struct model_spec *spec);
/* `where` is the file and the object's place in it. ERROR_INPUT names the field. */
bool model_fields_read(const json_t *object, const char *where, struct model_spec *spec, struct error *err);

#endif
