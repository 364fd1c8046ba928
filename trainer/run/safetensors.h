/* Tensors by name in one file, as PyTorch's users keep weights (github.com/huggingface/safetensors, its README has the format):
 * eight bytes little-endian with the length of a JSON object, that object, then the tensors' bytes.
 *
 * Files that are written here have checksums in the object's "__metadata__" (docs/formats.md); those of others are read without. */
#ifndef FATHOM_SAFETENSORS_H
#define FATHOM_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "files.h"
#include "json.h"
#include "text.h"

#define SAFETENSORS_MOST_RANK 4u
#define SAFETENSORS_DIGITS    16u /* of a checksum */

/* ---- Reading ---- */

struct safetensors_tensor {
    char dtype[8]; /* "F32" */
    uint32_t rank; /* 0 = one number; of more dimensions than SAFETENSORS_MOST_RANK only the count is kept */
    uint64_t shape[SAFETENSORS_MOST_RANK];
    uint64_t begin, end; /* in the file */
};

struct safetensors; /* an open file whose header has been read and checked */

/* ERROR_INPUT says what is wrong: too short, cut off, damaged, no such file. */
bool safetensors_open(const char *path, struct safetensors **file, struct error *err);
/* Takes NULL. */
void safetensors_close(struct safetensors *file);

/* What the file says of itself under a key; NULL = nothing. Borrowed. */
const char *safetensors_metadata(const struct safetensors *file, const char *key);
/* False where there is no tensor of that name. */
bool safetensors_find(const struct safetensors *file, const char *name, struct safetensors_tensor *tensor);
/* The name of tensor i, NULL after the last. In the file's order. */
const char *safetensors_name(const struct safetensors *file, size_t i);
/* The tensor's values, which are F32, so many as its shape says; ERROR_INPUT where a checksum is wrong. */
bool safetensors_read(struct safetensors *file, const char *name, const struct safetensors_tensor *tensor, float *values,
                      struct error *err);

/* ---- Writing ---- */

/* Tensors are announced, then the header goes out, then their values in the same order. Nothing has the file's name before
 * files_commit(&writer->file). Takes a zeroed object; after a failure safetensors_abandon ends it. */
struct safetensors_writer {
    struct files_writer file;
    json_t *header;
    struct text sums; /* of the tensors so far, SAFETENSORS_DIGITS each */
    size_t count;     /* announced */
    uint64_t bytes;
    size_t header_bytes;
};

bool safetensors_begin(struct safetensors_writer *writer, const char *path, struct error *err);
bool safetensors_announce(struct safetensors_writer *writer, const char *name, const uint64_t *shape, uint32_t rank,
                          struct error *err);
/* Metadata: each value may be said again before the end, in as many bytes. */
bool safetensors_say(struct safetensors_writer *writer, const char *key, const char *value, struct error *err);
bool safetensors_write_header(struct safetensors_writer *writer, struct error *err);
/* The next tensor's values; errors of the disk are found by files_flush. */
bool safetensors_put(struct safetensors_writer *writer, const float *values, uint64_t count, struct error *err);
/* Writes the header again, with the checksums; the header's own into sum. */
bool safetensors_seal(struct safetensors_writer *writer, char sum[SAFETENSORS_DIGITS + 1], struct error *err);
/* Ends the writer's own memory; the file is committed or abandoned apart. */
void safetensors_finish(struct safetensors_writer *writer);
void safetensors_abandon(struct safetensors_writer *writer);

#endif
