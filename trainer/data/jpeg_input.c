#define _GNU_SOURCE
#include "jpeg_input.h"

#include <errno.h>
#include <unistd.h>

#include <jerror.h>

static struct jpeg_input *input_of(j_decompress_ptr library) { return (struct jpeg_input *)(void *)library->src; }

/* Bytes read into the piece; 0 at the end, or with `failure` set. */
static size_t read_piece(struct jpeg_input *input)
{
    ssize_t got;
    do {
        got = read(input->descriptor, input->piece, sizeof input->piece);
    } while (got < 0 && errno == EINTR);
    if (got < 0) input->failure = errno;
    input->table.next_input_byte = input->piece;
    input->table.bytes_in_buffer = got > 0 ? (size_t)got : 0;
    return input->table.bytes_in_buffer;
}

static void begin_reading(j_decompress_ptr library) { (void)library; }

/* After the end come end markers, as in libjpeg's own sources; the warning says that something is missing. */
static boolean read_more(j_decompress_ptr library)
{
    static const JOCTET end[] = {0xFF, JPEG_EOI};
    struct jpeg_input *input = input_of(library);
    if (input->descriptor >= 0 && read_piece(input) > 0) return TRUE;
    if (input->failure) ERREXIT(library, JERR_FILE_READ);
    WARNMS(library, JWRN_JPEG_EOF);
    input->table.next_input_byte = end;
    input->table.bytes_in_buffer = sizeof end;
    return TRUE;
}

static void skip_bytes(j_decompress_ptr library, long count)
{
    struct jpeg_input *input = input_of(library);
    while (count > (long)input->table.bytes_in_buffer) {
        count -= (long)input->table.bytes_in_buffer;
        input->table.bytes_in_buffer = 0;
        if (input->descriptor >= 0 && lseek(input->descriptor, count, SEEK_CUR) >= 0) count = 0;
        read_more(library);
    }
    if (count <= 0) return;
    input->table.next_input_byte += count;
    input->table.bytes_in_buffer -= (size_t)count;
}

static void end_reading(j_decompress_ptr library) { (void)library; }

void jpeg_input_init(struct jpeg_input *input, struct jpeg_decompress_struct *library)
{
    input->table = (struct jpeg_source_mgr){.init_source = begin_reading,
                                            .fill_input_buffer = read_more,
                                            .skip_input_data = skip_bytes,
                                            .resync_to_restart = jpeg_resync_to_restart,
                                            .term_source = end_reading};
    input->descriptor = -1;
    library->src = &input->table;
}

void jpeg_input_bytes(struct jpeg_input *input, const void *bytes, size_t length)
{
    jpeg_input_end(input);
    input->table.next_input_byte = bytes;
    input->table.bytes_in_buffer = length;
}

bool jpeg_input_file(struct jpeg_input *input, int descriptor)
{
    jpeg_input_end(input);
    input->descriptor = descriptor;
    read_piece(input);
    return input->failure == 0;
}

void jpeg_input_end(struct jpeg_input *input)
{
    if (input->descriptor >= 0) close(input->descriptor);
    input->descriptor = -1;
    input->failure = 0;
    input->table.bytes_in_buffer = 0;
}

unsigned jpeg_input_byte(struct jpeg_decompress_struct *library)
{
    struct jpeg_source_mgr *source = library->src;
    if (source->bytes_in_buffer == 0) source->fill_input_buffer(library);
    source->bytes_in_buffer--;
    return *source->next_input_byte++;
}
