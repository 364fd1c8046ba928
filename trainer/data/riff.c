#define _GNU_SOURCE
#include "riff.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_HEAD  8u
#define FRAME_HEAD  16u /* of an animation's picture: place, size, duration; chunks follow (RFC 9649, 2.7.1.1) */
#define MOST_CHUNKS 1000u
#define MOST_IMAGE  (UINT64_C(1) << 31)
/* Of a chunk's contents, as far as they are looked at. */
#define START_BYTES 10u

static bool read_at(int descriptor, uint64_t offset, void *out, size_t count)
{
    uint8_t *at = out;
    while (count > 0) {
        ssize_t got = pread(descriptor, at, count, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        at += got;
        offset += (uint64_t)got;
        count -= (size_t)got;
    }
    return true;
}

static uint32_t little_endian(const uint8_t *at, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes; i++) value |= (uint32_t)at[i] << (8 * i);
    return value;
}

bool riff_is_webp(int descriptor)
{
    uint8_t head[RIFF_HEAD];
    return read_at(descriptor, 0, head, sizeof head) && memcmp(head, "RIFF", 4) == 0 &&
           memcmp(head + 8, "WEBP", 4) == 0;
}

/* A key frame's start code, then 14 bits each (RFC 6386, 9.1); or a signature byte, then 14 bits each less one (RFC
 * 9649, 3.4). */
static const char *read_size(const uint8_t *start, struct riff_webp *webp)
{
    if (webp->lossless) {
        uint32_t bits = little_endian(start + 1, 4);
        if (start[0] != 0x2F) return "its header is damaged";
        webp->width = (bits & 0x3FFF) + 1;
        webp->height = (bits >> 14 & 0x3FFF) + 1;
        return NULL;
    }
    if (memcmp(start + 3, "\x9D\x01\x2A", 3) != 0) return "its header is damaged";
    webp->width = little_endian(start + 6, 2) & 0x3FFF;
    webp->height = little_endian(start + 8, 2) & 0x3FFF;
    return webp->width > 0 && webp->height > 0 ? NULL : "it has no pixels";
}

/* Flags, three bytes of nothing, then 24 bits each less one (RFC 9649, 2.7). */
static void note_canvas(int descriptor, uint64_t offset, struct riff_webp *webp)
{
    uint8_t extended[START_BYTES];
    if (!read_at(descriptor, offset, extended, sizeof extended)) return;
    webp->canvas_width = little_endian(extended + 4, 3) + 1;
    webp->canvas_height = little_endian(extended + 7, 3) + 1;
}

static const char *note_chunk(int descriptor, const uint8_t *head, uint64_t offset, struct riff_webp *webp)
{
    uint8_t start[START_BYTES] = {0}, last;
    uint64_t bytes = little_endian(head + 4, 4);
    bool lossy = memcmp(head, "VP8 ", 4) == 0, lossless = memcmp(head, "VP8L", 4) == 0;
    if (memcmp(head, "EXIF", 4) == 0 && webp->exif_bytes == 0) {
        webp->exif_offset = offset + CHUNK_HEAD;
        webp->exif_bytes = bytes;
    }
    if (memcmp(head, "VP8X", 4) == 0) note_canvas(descriptor, offset + CHUNK_HEAD, webp);
    if ((!lossy && !lossless) || webp->image_bytes > 0) return NULL;
    if (bytes < START_BYTES || bytes > MOST_IMAGE) return "its header is damaged";
    /* What a damaged length claims must not be planned for. */
    if (!read_at(descriptor, offset + CHUNK_HEAD, start, sizeof start) ||
        !read_at(descriptor, offset + CHUNK_HEAD + bytes - 1, &last, 1))
        return "it ends too early";
    webp->lossless = lossless;
    webp->image_offset = offset;
    webp->image_bytes = CHUNK_HEAD + bytes;
    return read_size(start, webp);
}

/* Of an animation's first picture the chunks are looked at one by one. */
static uint64_t bytes_to_next(const uint8_t *head, struct riff_webp *webp)
{
    uint64_t bytes = little_endian(head + 4, 4);
    bool first = memcmp(head, "ANMF", 4) == 0 && webp->image_bytes == 0;
    webp->animated |= first;
    return CHUNK_HEAD + (first ? FRAME_HEAD : bytes + bytes % 2);
}

static const char *judge_picture(const struct riff_webp *webp)
{
    bool covers = webp->width == webp->canvas_width && webp->height == webp->canvas_height;
    if (webp->image_bytes == 0) return webp->animated ? "it is an animation without pictures" : "it has no picture";
    return webp->animated && !covers ? "it is an animation whose first picture is only a part of it" : NULL;
}

/* What comes after the pixels may be missing; Exif data comes there. */
const char *riff_find_webp(int descriptor, struct riff_webp *webp)
{
    uint8_t head[CHUNK_HEAD];
    uint64_t offset = RIFF_HEAD;
    *webp = (struct riff_webp){0};
    if (!riff_is_webp(descriptor)) return "its header is damaged";
    for (unsigned i = 0; i < MOST_CHUNKS && read_at(descriptor, offset, head, sizeof head); i++) {
        const char *fault = note_chunk(descriptor, head, offset, webp);
        if (fault) return fault;
        offset += bytes_to_next(head, webp);
    }
    return judge_picture(webp);
}

const char *riff_read_webp(int descriptor, const struct riff_webp *webp, uint8_t *out)
{
    uint64_t length = 4 + webp->image_bytes;
    memcpy(out, "RIFF", 4);
    for (unsigned i = 0; i < 4; i++) out[4 + i] = (uint8_t)(length >> (8 * i));
    memcpy(out + 8, "WEBP", 4);
    return read_at(descriptor, webp->image_offset, out + RIFF_HEAD, webp->image_bytes) ? NULL : "it ends too early";
}
