/* Recipe files of any content: what is read can be trained with and is the same when it is written and read again, what
 * is not gets a sentence. */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>

#include "fuzz_file.h"
#include "mem.h"
#include "recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static bool read_bytes(const void *bytes, size_t length, struct recipe *recipe, struct error *err)
{
    struct fuzz_file file = fuzz_file_make(bytes, length);
    bool ok = recipe_read(file.path, "--recipe", recipe, err);
    fuzz_file_finish(&file);
    return ok;
}

static void check(const struct recipe *recipe)
{
    struct recipe again;
    struct text text = {0};
    struct error err = {0};
    if (!memchr(recipe->name, '\0', sizeof recipe->name) || !memchr(recipe->source, '\0', sizeof recipe->source))
        abort();
    if (recipe_steps(recipe, recipe->batch) == 0 || recipe_images(recipe) == 0) abort();
    recipe_write(recipe, &text);
    if (text.failed || !read_bytes(text.bytes, text.length, &again, &err)) abort();
    if (recipe_steps(&again, again.batch) != recipe_steps(recipe, recipe->batch)) abort();
    text_finish(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct recipe recipe;
    struct error err = {0};
    if (read_bytes(bytes, length, &recipe, &err))
        check(&recipe);
    else if (err.kind != ERROR_INPUT || !err.text[0])
        abort();
    if (mem_current_bytes(MEM_GENERAL) != 0) abort();
    return 0;
}
