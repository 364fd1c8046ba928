/* libjpeg's memory: its allocator's table of calls (libjpeg.txt, "Memory management") with blocks behind it that we take,
 * so that what a picture takes is known before and never exceeded. */
#ifndef FATHOM_JPEG_MEMORY_H
#define FATHOM_JPEG_MEMORY_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jpeglib.h>

#define JPEG_MEMORY_ALIGN     64u  /* what its vector code reads and writes beyond rows stays between them */
#define JPEG_MEMORY_PERMANENT 8192u /* tables of quantisation and codes: 5 KiB */
#define JPEG_MEMORY_HEADER    8192u /* what a header becomes: 1 KiB for each of up to four colours at most */

/* The side in pixels that a block of 8 x 8 becomes: of the picture, of a colour. With the interface of libjpeg 7 and later
 * (Ubuntu's packages) there is a number for each direction, and libjpeg-turbo sets both alike (jdmaster.c). */
#if JPEG_LIB_VERSION >= 70
static inline int jpeg_least_side(const struct jpeg_decompress_struct *library) { return library->min_DCT_h_scaled_size; }
static inline int jpeg_side(const jpeg_component_info *colour) { return colour->DCT_h_scaled_size; }
#else
static inline int jpeg_least_side(const struct jpeg_decompress_struct *library) { return library->min_DCT_scaled_size; }
static inline int jpeg_side(const jpeg_component_info *colour) { return colour->DCT_scaled_size; }
#endif

struct jpeg_space {
    uint8_t *bytes;
    size_t size, used;
};

struct jpeg_memory {
    struct jpeg_memory_mgr table; /* first: libjpeg has its address */
    struct jpeg_memory_mgr *own;  /* libjpeg's, for what it made before */
    struct jpeg_space permanent, header, body;
    struct jvirt_barray_control *arrays;
    alignas(JPEG_MEMORY_ALIGN) uint8_t permanent_bytes[JPEG_MEMORY_PERMANENT];
    alignas(JPEG_MEMORY_ALIGN) uint8_t header_bytes[JPEG_MEMORY_HEADER];
};

/* For a decompressor that was just created. memory stays where it is, aligned as its type says, until the finish. */
void jpeg_memory_init(struct jpeg_memory *memory, struct jpeg_decompress_struct *library);
/* Before jpeg_destroy_decompress. */
void jpeg_memory_finish(struct jpeg_memory *memory, struct jpeg_decompress_struct *library);

/* From jpeg_start_decompress on: what the open picture takes lies in these bytes, page-aligned, until it is aborted. */
void jpeg_memory_use(struct jpeg_memory *memory, void *bytes, size_t size);
/* A part of them. NULL when too few are left. */
void *jpeg_memory_take(struct jpeg_memory *memory, size_t bytes);

/* How many bytes jpeg_start_decompress and what follows take at most, once jpeg_calc_output_dimensions has been called; of
 * pictures whose colours come in `several_scans` libjpeg keeps all coefficients. */
uint64_t jpeg_memory_needs(const struct jpeg_decompress_struct *library, bool several_scans);

#endif
