/* What a run trained on, in a file beside its checkpoints: without it a net's outputs have no names, and its inputs no
 * scale. docs/formats.md has the format. */
#ifndef FATHOM_TRAINED_ON_H
#define FATHOM_TRAINED_ON_H

#include "data.h"

#define TRAINED_ON_NAME "data.json"

struct trained_on {
    float mean[3], deviation[3];
    uint32_t classes;
    char **names; /* classes */
};

/* Into a folder of checkpoints; one that is there is replaced. */
bool trained_on_write(const char *folder, const struct dataset *dataset, struct error *err);
/* Beside a checkpoint. *found is false where there is none, which is no failure. Ended by trained_on_finish, also after a
 * failure. */
bool trained_on_read(const char *checkpoint, struct trained_on *trained, bool *found, struct error *err);
/* ImageNet's scale, as torchvision's weights want it (its transforms' presets); classes without names. */
void trained_on_imagenet(struct trained_on *trained);
/* Takes a zeroed one. */
void trained_on_finish(struct trained_on *trained);

#endif
