#define _GNU_SOURCE
#include "exif.h"

#include <string.h>
#include <unistd.h>

#include "decode_memory.h"

#define HEAD        6u /* "Exif", two zeros; then a TIFF file, from whose first byte its offsets count */
#define TIFF_HEAD   8u
#define ENTRY_BYTES 12u
#define ORIENTATION 0x0112u
#define TYPE_SHORT  3u /* as the standard has it; some write the other one, and readers take it */
#define TYPE_LONG   4u

struct tiff {
    const uint8_t *bytes;
    size_t length;
    bool big_endian;
};

/* A number of `count` bytes at an offset that was checked. */
static uint32_t read_number(const struct tiff *tiff, size_t at, size_t count)
{
    uint32_t value = 0;
    for (size_t i = 0; i < count; i++)
        value |= (uint32_t)tiff->bytes[at + i] << 8 * (tiff->big_endian ? count - 1 - i : i);
    return value;
}

/* The first directory's orientation, 1 to 8; 1 when it has none. */
static uint32_t find_orientation(const struct tiff *tiff)
{
    size_t directory = read_number(tiff, 4, 4);
    if (directory < TIFF_HEAD || directory > tiff->length - 2) return 1;
    size_t entries = read_number(tiff, directory, 2), first = directory + 2;
    for (size_t i = 0; i < entries && (i + 1) * ENTRY_BYTES <= tiff->length - first; i++) {
        size_t entry = first + i * ENTRY_BYTES;
        if (read_number(tiff, entry, 2) != ORIENTATION) continue;
        uint32_t type = read_number(tiff, entry + 2, 2), count = read_number(tiff, entry + 4, 4);
        uint32_t value = read_number(tiff, entry + 8, type == TYPE_LONG ? 4 : 2);
        bool known = (type == TYPE_SHORT || type == TYPE_LONG) && count == 1;
        return known && value >= 1 && value <= 8 ? value : 1;
    }
    return 1;
}

struct exif_turn exif_find_turn(const uint8_t *bytes, size_t length)
{
    /* By the tag's value: where the stored picture's first row and first column are seen. */
    static const struct exif_turn turns[] = {
        [1] = {false, false, false}, /* top, left */
        [2] = {false, true, false},  /* top, right */
        [3] = {false, true, true},   /* bottom, right */
        [4] = {false, false, true},  /* bottom, left */
        [5] = {true, false, false},  /* left, top */
        [6] = {true, false, true},   /* right, top: turned clockwise */
        [7] = {true, true, true},    /* right, bottom */
        [8] = {true, true, false},   /* left, bottom: turned the other way */
    };
    size_t head = length >= HEAD && memcmp(bytes, "Exif\0", HEAD) == 0 ? HEAD : 0;
    if (length < head + TIFF_HEAD) return turns[1];
    struct tiff tiff = {bytes + head, length - head, false};
    if (memcmp(tiff.bytes, "MM\0*", 4) == 0)
        tiff.big_endian = true;
    else if (memcmp(tiff.bytes, "II*\0", 4) != 0)
        return turns[1];
    return turns[find_orientation(&tiff)];
}

struct exif_turn exif_read_turn(struct decode_memory *memory, int descriptor, uint64_t offset, uint64_t bytes)
{
    struct exif_turn turn = {false, false, false};
    struct decode_block block;
    size_t count = bytes < EXIF_MOST_BYTES ? (size_t)bytes : EXIF_MOST_BYTES;
    if (count == 0 || !decode_memory_take(memory, count, &block, NULL)) return turn;
    if (pread(descriptor, block.bytes, count, (off_t)offset) == (ssize_t)count)
        turn = exif_find_turn(block.bytes, count);
    decode_memory_give(memory, &block);
    return turn;
}
