/* Sweep files of any content: every run of what is read has a command, in which nothing is the sweep's own; what is not
 * read gets a sentence. */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>

#include "fuzz_file.h"
#include "mem.h"
#include "sweep_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* "train", the model, options, "--seed" and the number: no value of an option is taken for an option here, as the
 * program takes it for none. */
static void check_row(const struct sweep *sweep, size_t row)
{
    struct sweep_words words = {0};
    struct error err = {0};
    if (!sweep->rows[row].folder[0] || strchr(sweep->rows[row].folder, '/')) abort();
    if (!sweep_add_command(sweep, row, sweep->seeds[0], NULL, 0, &words, &err)) abort();
    if (words.count < 4 || strcmp(words.words[0], "train") != 0) abort();
    if (strcmp(words.words[words.count - 2], "--seed") != 0) abort();
    if (strcmp(words.words[2], "--") == 0) abort();
    sweep_words_finish(&words);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static struct sweep sweep;
    struct error err = {0};
    struct fuzz_file file = fuzz_file_make(bytes, length);
    sweep = (struct sweep){0};
    if (sweep_read(file.path, &sweep, &err)) {
        if (sweep.row_count == 0 || sweep.seed_count == 0) abort();
        for (size_t i = 0; i < sweep.row_count; i++) check_row(&sweep, i);
        sweep_has_data(&sweep);
        sweep_finish(&sweep);
    } else if (err.kind != ERROR_INPUT || !err.text[0]) {
        abort();
    }
    fuzz_file_finish(&file);
    if (mem_current_bytes(MEM_GENERAL) != 0) abort();
    return 0;
}
