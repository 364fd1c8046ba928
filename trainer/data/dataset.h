/* Inside the data part: what an opened dataset holds, and the two ways images are stored. */
#ifndef FATHOM_DATASET_H
#define FATHOM_DATASET_H

#include "data.h"

#define DATASET_PATH 4096 /* bytes of a path with its NUL, as in Linux's PATH_MAX */

enum dataset_part { DATASET_TRAIN, DATASET_TEST, DATASET_PARTS };

/* The published CIFAR binaries (cs.toronto.edu/~kriz/cifar.html): records of one label byte (CIFAR-100: a coarse and a
 * fine one), then 1,024 red, 1,024 green and 1,024 blue bytes, each plane in rows from the top. */
#define CIFAR_SIDE         32u
#define CIFAR_PLANE        (CIFAR_SIDE * CIFAR_SIDE)
#define CIFAR_PIXELS       (3u * CIFAR_PLANE)
#define CIFAR_MOST_RECORD  (2u + CIFAR_PIXELS)
#define CIFAR_TRAIN_FILES  5u
#define CIFAR_MOST_CLASSES 256u /* what a label byte can say */

struct cifar_file {
    char name[32]; /* within the dataset's folder */
    int descriptor;
    uint64_t records;
};

struct cifar {
    uint32_t label_bytes; /* the last of them is the label */
    uint32_t counts[DATASET_PARTS];
    struct cifar_file files[DATASET_PARTS][CIFAR_TRAIN_FILES];
};

/* JPEGs by class. Images are numbered class by class in alphabetical order, within a class by file name. */
struct folder_list {
    char folder[8];         /* "train", "test" or "val"; says nothing of a divided dataset; "" = there is none */
    uint64_t *class_first;  /* classes + 1: number of the first image of each class */
    uint64_t *name_offsets; /* one an image, into names */
    char *names;            /* file names, each with its NUL */
    uint64_t images;
};

struct folders {
    struct folder_list lists[DATASET_PARTS];
};

struct dataset {
    struct dataset_info info;
    char *path;
    char *name_text; /* the names' characters */
    char **names;    /* info.classes */
    uint64_t *class_images[DATASET_PARTS];
    struct cifar *cifar;     /* of CIFAR binaries, else NULL */
    struct folders *folders; /* of folders of pictures, else NULL */
};

/* out = "folder/name"; ERROR_INPUT when that is longer than a path may be. */
bool dataset_join(char out[DATASET_PATH], const char *folder, const char *name, struct error *err);
/* Takes a block of lines; each line that is not empty names a class. Sets names and info.classes and allocates the
 * per-class counts. `where` names the source in errors. On failure the block is the dataset's all the same. */
bool dataset_take_names(struct dataset *dataset, char *lines, uint32_t most, const char *where, struct error *err);
/* Mean and deviation of pixels as 0..1 from sums over bytes; a channel that never varies has deviation 1. */
void dataset_set_statistics(struct dataset_info *info, uint64_t pixels, const uint64_t sums[3],
                            const uint64_t squares[3]);

/* Both fill the dataset, whose path is set; on failure what was filled is ended by dataset_close. */
bool cifar_open(struct dataset *dataset, struct error *err);
bool folders_open(struct dataset *dataset, struct error *err);
/* What folders_open leaves out: mean and deviation of the training pictures, of which up to 8,192 are decoded. */
bool folders_sample(struct dataset *dataset, struct error *err);
/* A dataset in which nothing has been looked at, or NULL. */
struct dataset *dataset_create(const char *path, struct error *err);
/* The part of both that finds names and info.classes, without a look at any image. */
bool cifar_name_classes(struct dataset *dataset, struct error *err);
bool folders_name_classes(struct dataset *dataset, struct error *err);
/* Whether there are several folders in it and pictures in any of them: classes that nobody has divided. */
bool folders_hold_classes(const char *path);
void cifar_close(struct cifar *cifar);
void folders_close(struct folders *folders);

/* Reads image `index` of a part: *pixels points at 3,072 bytes within record, plane by plane. ERROR_FAILED when the
 * file is no longer what was opened. */
bool cifar_read(const struct dataset *dataset, enum dataset_part part, uint64_t index,
                uint8_t record[CIFAR_MOST_RECORD], const uint8_t **pixels, uint32_t *label, struct error *err);

/* "data_batch_1.bin" for file 0, and so on; the last, CIFAR_TRAIN_FILES, is "test_batch.bin". */
#define CIFAR_FILES     (CIFAR_TRAIN_FILES + 1u)
#define CIFAR_FILE_NAME 32
void cifar_file_name(uint32_t file, char name[CIFAR_FILE_NAME]);

/* The path and label of image `index`: FOLDERS_NO_LABEL of a dataset without classes. */
#define FOLDERS_NO_LABEL UINT32_MAX
bool folders_find(const struct dataset *dataset, enum dataset_part part, uint64_t index, char path[DATASET_PATH],
                  uint32_t *label, struct error *err);

#endif
