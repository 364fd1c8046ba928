/* Images and labels for a step: datasets on disk and the loader that keeps ahead of the trainer.
 *
 * The order of images and their augmentation are functions of (seed, position) alone: step s of a run uses the same
 * images whether it was resumed or split over more devices. Pixels reach the trainer as f32 NHWC, normalised by the
 * training set's per-channel mean and standard deviation; or as bytes with where to place them, and who does so and
 * normalises them has the very same images. */
#ifndef FATHOM_DATA_H
#define FATHOM_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "colour.h"
#include "errors.h"

enum data_format { DATA_CIFAR10, DATA_CIFAR100, DATA_FOLDERS };

/* Called on the caller's thread about ten times a second and at the end; false stops the work (ERROR_FAILED). */
typedef bool data_progress(void *context, uint64_t done, uint64_t total);

struct dataset; /* opened and validated; images are read from disk when wanted, none is kept in memory */

#define DATA_TEST_EVERY 10u /* of a class's pictures in the order of their names the 6th of each so many is for tests */
#define DATA_TEST_LEAST (DATA_TEST_EVERY / 2 + 1) /* a class of fewer pictures has none for tests */

struct dataset_info {
    enum data_format format;
    uint32_t classes;
    uint32_t height, width; /* of the stored images; 0 for folders of pictures, whose pictures are scaled to what is wanted */
    uint64_t train_images, test_images;
    bool divided;           /* folders by class without train/ and test/: DATA_TEST_EVERY says which are for tests */
    float mean[3], deviation[3]; /* of the training set, pixels as 0..1, R G B */
};

/* A folder with CIFAR binaries (data_batch_*.bin, test_batch.bin; train.bin, test.bin) or with train/ and test/ (or val/)
 * folders of JPEGs by class, or with such folders alone, which are then divided; the format is recognised. Validates
 * sizes and label ranges of every file; a batches.meta.txt may name other classes than CIFAR-10's, up to 256. JPEGs are
 * only listed (a damaged one is found when it is decoded, or by dataset_check); mean and deviation are those of up to
 * 8,192 of them. The caller closes the dataset. */
bool dataset_open(const char *path, struct dataset **dataset, struct error *err);
/* The same with figures of others: no picture is decoded. */
bool dataset_open_scaled(const char *path, const float mean[3], const float deviation[3], struct dataset **dataset,
                         struct error *err);
/* Pictures that are named one by one, or by folders, whose pictures are taken with those of the folders in them, in the
 * order of names: test images of no class, whose labels are -1. ERROR_INPUT where a folder cannot be read or holds no
 * picture; whether a file is one is seen when it is decoded. To be normalised by dataset_normalise_by. */
bool dataset_of_pictures(const char *const *paths, size_t count, struct dataset **dataset, struct error *err);
/* The path of one of them; borrowed from the dataset. */
const char *dataset_picture_path(const struct dataset *pictures, uint64_t image);
void dataset_close(struct dataset *dataset);
/* How many classes a dataset names, without opening it: no image is looked at. */
bool dataset_count_classes(const char *path, uint32_t *classes, struct error *err);
const struct dataset_info *dataset_info(const struct dataset *dataset);
/* From now on its images are normalised by these figures, not by its own. */
void dataset_normalise_by(struct dataset *dataset, const float mean[3], const float deviation[3]);
/* Tells datasets apart. CIFAR binaries by what they hold; folders by the names in them, so that a picture that is mended
 * does not make another dataset. The second knows the hashes of earlier versions too. */
uint64_t dataset_hash(const struct dataset *dataset);
bool dataset_has_hash(const struct dataset *dataset, uint64_t hash);
/* NULL when there is no such label; borrowed from the dataset. */
const char *dataset_class_name(const struct dataset *dataset, uint32_t label);
/* Images of one class in the training set, or in the test set. */
uint64_t dataset_class_images(const struct dataset *dataset, bool train, uint32_t label);

/* Where an image is: a picture's path, or a record's file and its number in it, "data_batch_1.bin:17". */
#define DATA_IMAGE_NAME 4200
bool dataset_image_name(const struct dataset *dataset, bool train, uint64_t image, char name[DATA_IMAGE_NAME],
                        struct error *err);

/* Whether a file or folder of this path, if it were there, would be read as a part of the dataset in the folder. */
bool dataset_reads(const char *folder, const char *file);

/* Images that could not be decoded and were skipped; loaders add to it from their threads. */
struct broken_images;
struct broken_images *broken_images_create(struct error *err);
/* Takes NULL. */
void broken_images_destroy(struct broken_images *broken);
void broken_images_add(struct broken_images *broken, const char *text);
/* So many more, of which only the count is known. */
void broken_images_add_unnamed(struct broken_images *broken, uint64_t count);
/* Each image counts once. To be asked when no loader runs; NULL = 0. */
uint64_t broken_images_count(const struct broken_images *broken);
/* What was wrong with one of the first thousand, in the order in which they were met: "FILE: ..."; NULL = no more. */
const char *broken_images_text(const struct broken_images *broken, size_t index);

struct loader_options {
    uint32_t batch;       /* images of one delivery */
    uint32_t image_size;  /* height and width delivered */
    uint64_t seed;
    bool train;           /* shuffle each epoch and augment (CIFAR: pad 4, random crop, flip); else the test set in
                           * order, once: loader_next then gives empty batches */
    bool augment;
    bool area_crops;      /* of training with augment: pictures are cut by scale and aspect (augment_choose_area) */
    struct colour_amounts colour; /* of training with augment: how much colours are changed (colour.h) */
    bool as_bytes;        /* pixels and placements are delivered, not images */
    bool of_training;     /* evaluate: over the training images, in their order, instead of the test set */
    uint64_t first;       /* position to start at: images delivered before (resume) */
    uint32_t every;       /* positions from one delivery to the next, 0 = batch: more where others deliver those between */
    uint64_t limit;       /* train: positions wrap over epochs for ever; evaluate: images per pass, spread over
                           * the set and always the same (augment_sample), 0 = all */
    uint32_t crops;       /* evaluate: DATA_CROPS has each image take so many positions, one after the other
                           * (augment_crop_view); 0 or 1 = the middle alone */
    uint32_t shorter_side; /* evaluate: pictures are scaled until their shorter side is this long, then cut; 0 =
                           * data_shorter_side's */
    uint32_t threads;     /* 0 = chosen */
    uint32_t ahead;       /* batches kept ready, 0 = 2 */
    uint64_t decode_bytes; /* what decoding may take (dataset_decoding_bytes), 0 = DATA_DECODE_BYTES */
    struct broken_images *broken; /* an image that cannot be decoded is noted here; the next one by number takes its place
                           * in training, in a test pass it has no label. NULL = loader_next fails. Borrowed */
};

#define DATA_CROPS 10u

/* Whether training looks at parts of pictures of this size, as of ImageNet; smaller ones are shifted, as CIFAR. */
bool data_cuts_views(uint32_t image_size);

/* The side to which tests scale a picture's shorter one, where nobody says: 256 for 224 and so in proportion, as in the papers;
 * for the middle of pictures below 96 all of it. */
uint32_t data_shorter_side(uint32_t image_size, uint32_t crops);

/* What decoding pictures of ordinary sizes by a few threads takes. */
#define DATA_DECODE_BYTES (UINT64_C(3) << 20)
/* Where the host's memory is not planned: as much as any picture may take, and that of many threads. */
#define DATA_DECODE_UNPLANNED (UINT64_C(320) << 20)

struct loader;

struct batch {
    const float *images;   /* batch x size x size x 3; valid until the next loader_next; zeros past the end of a pass */
    const uint8_t *pixels; /* as_bytes, in place of images: batch x size x size x 3, not shifted or mirrored yet */
    const int32_t *placements; /* as_bytes: batch x 4: dx, dy, flip (struct augment_shift), 0; past the end all is padding */
    const int32_t *labels; /* batch; -1 past the end of an evaluation pass */
    uint32_t count;        /* images that are real */
    uint64_t position;     /* of the first, counted over epochs */
};

bool loader_create(struct dataset *dataset, const struct loader_options *options, struct loader **loader,
                   struct error *err);
/* Waits for the next batch. ERROR_FAILED when an image cannot be read (names the file). */
bool loader_next(struct loader *loader, struct batch *batch, struct error *err);
void loader_destroy(struct loader *loader);
/* Bytes a loader of these options holds, without creating it: part of a plan's input class on the host. It is
 * (ahead + 1) batches, each of batch x (size x size x 3 x 4 + 4) bytes, or as bytes batch x (size x size x 3 + 20); decoding
 * takes decode_bytes besides. */
uint64_t loader_bytes(const struct loader_options *options);
/* How long loader_next has waited so far, for "data" gaps in the trace. */
uint64_t loader_waited_ns(const struct loader *loader);

/* How many threads a loader of these options takes. */
uint32_t loader_threads(const struct dataset *dataset, uint32_t asked);

/* ---- What decoding takes ---- */

struct dataset_decoding {
    uint32_t image_size;    /* to which they are decoded */
    uint64_t looked_at;     /* pictures; 0 where none is decoded: of CIFAR binaries */
    uint64_t largest_bytes; /* what the one takes that takes most, however it is cut */
    char largest[4096];     /* its path */
};

/* To what pictures are decoded, as in loader_options. */
struct dataset_views {
    uint32_t image_size;
    uint32_t shorter_side; /* of tests, or 0 */
    bool area_crops;       /* of training */
    bool tests_alone;      /* no training picture is looked at */
};

/* Reads the pictures' headers, of very many those of 262,144 that are spread evenly; pictures that cannot be read are left
 * out. progress may be NULL. */
bool dataset_measure(const struct dataset *dataset, const struct dataset_views *views, data_progress *progress,
                     void *context, struct dataset_decoding *decoding, struct error *err);
/* The decode_bytes with which so many threads decode pictures of up to largest_bytes: all at once where that is no more than
 * 64 MiB, else as many as it holds, and always one. 0 where nothing is decoded. */
uint64_t dataset_decoding_bytes(const struct dataset_decoding *decoding, uint32_t threads);
/* How much of decode_bytes one picture may take, when so many threads decode. */
uint64_t dataset_decoding_room(uint64_t decode_bytes, uint32_t threads, uint32_t image_size);

/* `fathom data`. */

/* Ten classes of shapes and textures as CIFAR-10 binaries, the same for the same arguments. All files are written before
 * the first gets its name, and the test images get theirs last: a folder in which that was cut short is no dataset, and
 * can be made again. One with other images is refused (ERROR_INPUT). progress may be NULL. */
bool data_synthesize(const char *folder, uint64_t train_images, uint64_t test_images, uint64_t seed,
                     data_progress *progress, void *context, struct error *err);

struct data_converted {
    uint64_t train_images, test_images;
    uint64_t resized; /* images that were not 32 x 32: the middle square of each was scaled */
    uint32_t classes;
};

/* Makes CIFAR-10 binaries of folders of pictures: classes in alphabetical order (their names in batches.meta.txt), training
 * images in an order that is random but always the same, over five files. out_folder must be new or empty; it is whole
 * or not there. threads: 0 = chosen. *converted is filled on success. */
bool data_convert(const char *jpeg_folder, const char *out_folder, uint32_t threads, data_progress *progress,
                  void *context, struct data_converted *converted, struct error *err);

/* Decodes every image of folders of pictures (CIFAR binaries were checked when they were opened). fault(fault_context, text) is
 * called for each image that cannot be decoded, one call at a time, from any thread. Counts them in *faults. */
bool dataset_check(struct dataset *dataset, uint32_t threads, data_progress *progress, void *context,
                   void (*fault)(void *fault_context, const char *text), void *fault_context, uint64_t *faults,
                   struct error *err);

#endif
