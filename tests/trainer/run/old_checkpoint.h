/* Writes checkpoints as programs before version 3 did, for tests that they still open. */
#ifndef FATHOM_OLD_CHECKPOINT_H
#define FATHOM_OLD_CHECKPOINT_H

#include <stdio.h>
#include <string.h>

#include "checkpoint.h"
#include "hash.h"
#include "text.h"

static void put_number(struct text *out, uint64_t value, size_t bytes)
{
    unsigned char buffer[8];
    for (size_t i = 0; i < bytes; i++) buffer[i] = (unsigned char)(value >> (8 * i));
    text_add_bytes(out, buffer, bytes);
}

static void put_real(struct text *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_number(out, bits, 8);
}

static uint64_t old_elements(const struct checkpoint_tensor *t)
{
    return (uint64_t)t->kernel[0] * t->kernel[1] * t->kernel[2] * t->kernel[3];
}

static void old_dims(const struct checkpoint_tensor *t, uint32_t dims[4])
{
    const uint32_t fc[4] = {t->kernel[0], 1, 1, (uint32_t)t->shape[1]};
    memcpy(dims, t->rank == 2 ? fc : t->kernel, sizeof fc);
}

static void put_spec(struct text *out, const struct model_spec *spec)
{
    char name[MODEL_NAME] = {0};
    snprintf(name, sizeof name, "%s", spec->name);
    text_add_bytes(out, name, sizeof name);
    uint32_t words[] = {(uint32_t)spec->family,   (uint32_t)spec->dataset, (uint32_t)spec->unit,
                        (uint32_t)spec->shortcut, spec->bottleneck,        spec->depth,
                        spec->units[0],           spec->units[1],          spec->units[2],
                        spec->units[3],           spec->image_size,        spec->classes};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) put_number(out, words[i], 4);
}

static void put_run(struct text *out, const struct checkpoint *c)
{
    put_spec(out, &c->spec);
    put_number(out, c->step, 8);
    put_number(out, c->seed, 8);
    put_number(out, c->position, 8);
    put_number(out, c->dataset_hash, 8);
    put_number(out, c->batch, 4);
    put_number(out, c->devices, 4);
    put_number(out, (c->schedule.warmed ? 1u : 0) | (c->schedule.waiting ? 2u : 0), 4);
    put_number(out, c->schedule.stale, 4);
    put_number(out, c->schedule.plateaus, 4);
    put_real(out, c->schedule.train_error);
    put_real(out, c->schedule.best_error);
    const float scale[] = {c->loss_scale.scale, c->loss_scale.streak, c->loss_scale.found, c->loss_scale.skipped};
    for (size_t i = 0; c->scaled && i < sizeof scale / sizeof scale[0]; i++) put_real(out, (double)scale[i]);
}

/* order[k]: the tensor that is number k in the file. */
static void old_write(const char *path, const struct checkpoint *c, const struct checkpoint_tensors *tensors,
                      const size_t *order, size_t count, float *values)
{
    struct text body = {0}, head = {0};
    struct checkpoint_tensor t;
    uint64_t data = 0;
    put_run(&body, c);
    put_number(&body, count, 8);
    for (size_t k = 0; k < count; k++) {
        uint32_t dims[4];
        tensors->describe(tensors->context, order[k], &t);
        old_dims(&t, dims);
        put_number(&body, strlen(t.old_name), 4);
        text_add_bytes(&body, t.old_name, strlen(t.old_name));
        for (int d = 0; d < 4; d++) put_number(&body, dims[d], 4);
        data += old_elements(&t) * sizeof(float) + 8;
    }
    uint64_t header = 24 + body.length + 8;
    text_add_bytes(&head, "FATHOMCK", 8);
    put_number(&head, c->scaled ? 2 : 1, 4);
    put_number(&head, header, 4);
    put_number(&head, header + data, 8);
    text_add_bytes(&head, body.bytes, body.length);
    put_number(&head, hash_bytes(head.bytes, head.length, 0), 8);
    for (size_t k = 0; k < count; k++) {
        tensors->describe(tensors->context, order[k], &t);
        tensors->get(tensors->context, order[k], values, NULL);
        text_add_bytes(&head, values, old_elements(&t) * sizeof(float));
        put_number(&head, hash_bytes(values, old_elements(&t) * sizeof(float), k), 8);
    }
    FILE *out = fopen(path, "wb");
    fwrite(head.bytes, 1, head.length, out);
    fclose(out);
    text_finish(&body);
    text_finish(&head);
}

#endif
