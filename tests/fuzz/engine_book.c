/* Files of engines of any content behind a head that is right: what is read is answered again from what is written of
 * it, what is not gets a sentence. */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>

#include "engine_book.h"
#include "fuzz_file.h"
#include "hash.h"
#include "mem.h"
#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check(const struct engine_book *book)
{
    struct engine_book again = {0};
    struct error err = {0};
    struct fuzz_file file = fuzz_file_make("", 0);
    if (!book->device || !book->cudnn) abort();
    for (size_t i = 0; i < book->engine_count; i++) {
        if (!memchr(book->engines[i].knobs, '\0', ENGINE_KNOBS)) abort();
        if (book->engines[i].plan > book->plan_count) abort();
    }
    if (!engine_book_write(book, NULL, file.path, &err) || !engine_book_read(&again, file.path, &err)) abort();
    if (again.count != book->count || again.engine_count != book->engine_count) abort();
    engine_book_finish(&again);
    fuzz_file_finish(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    size_t devices;
    const struct engine_device *device = engine_device_entries(&devices);
    char hash[HASH_TEXT];
    struct engine_book book = {0};
    struct text text = {0};
    struct error err = {0};
    text_add(&text, "{\"format\": \"fathom-engines\", \"version\": 1, \"device\": \"%s\", \"description\": \"%s\", ",
             device->name, hash_format(engine_device_hash(device), hash));
    text_add_bytes(&text, (const char *)bytes, length);
    if (text.failed) abort();
    struct fuzz_file file = fuzz_file_make(text.bytes, text.length);
    text_finish(&text);
    if (engine_book_read(&book, file.path, &err)) {
        check(&book);
    } else if (err.kind != ERROR_INPUT || !err.text[0]) {
        abort();
    }
    engine_book_finish(&book);
    fuzz_file_finish(&file);
    for (enum mem_purpose p = 0; p < MEM_PURPOSES; p++)
        if (mem_current_bytes(p) != 0) abort();
    return 0;
}
