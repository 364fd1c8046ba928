/* Answers about one device by one version of cuDNN: in memory, and as a file (docs/formats.md, "Engines"). */
#ifndef FATHOM_ENGINE_BOOK_H
#define FATHOM_ENGINE_BOOK_H

#include "engine_device.h"
#include "engine_question.h"
#include "json.h"

/* What cuDNN says of an engine, and the letter that stands for it. */
enum engine_note {
    ENGINE_RUN_TIME_COMPILED = 1, /* R: compiled when its plan is made, 0.6 to 1.5 s */
    ENGINE_NATIVE_GRAPH = 2,      /* g */
    ENGINE_NONDETERMINISTIC = 4,  /* n */
    ENGINE_TENSOR_CORES = 8,      /* T: with f32 that is TF32 */
    ENGINE_DOWN_CONVERTS = 16,    /* D: its inputs */
    ENGINE_REDUCED_SUMS = 32,     /* p: adds up in less precision */
    ENGINE_FFT = 64,              /* F */
    ENGINE_WINOGRAD = 128,        /* W */
};
#define ENGINE_LETTERS "RgnTDpFW"
#define ENGINE_NOTES   (sizeof ENGINE_LETTERS - 1)

#define ENGINE_KNOBS 96
struct engine {
    uint32_t id;              /* cuDNN's global index */
    uint32_t notes;           /* enum engine_note, or-ed */
    uint64_t workspace_bytes; /* exactly, with these knobs */
    char knobs[ENGINE_KNOBS]; /* "type=value,...": with the id, all that its plan is made of again */
    uint32_t plan;            /* of its book: number of its plan's text, from 1; 0 = none */
};

/* In the order of cuDNN's heuristics. */
struct engine_answer {
    struct engine_question question;
    const struct engine *engines;
    size_t count; /* 0: cuDNN has none on this device */
};

struct engine_book {
    const struct engine_device *device; /* borrowed; NULL = not known yet */
    uint32_t cudnn;                     /* 91900; 0 = not known yet */
    struct engine_entry *entries;
    size_t count, capacity;
    struct engine *engines;
    size_t engine_count, engine_capacity;
    char **plans; /* texts of plans that were built for some of the engines */
    size_t plan_count, plan_capacity;
    uint32_t *slots; /* of a hash table: entry + 1, 0 = free */
    size_t slot_count;
};

/* Takes a zeroed book. */
void engine_book_finish(struct engine_book *book);

/* The same engine with the same knobs. */
bool engine_same(const struct engine *a, const struct engine *b);

/* False when it has no answer. *answer is valid until something is added. */
bool engine_book_find(const struct engine_book *book, const struct engine_question *question,
                      struct engine_answer *answer);
/* Copies; what is there already stays. ERROR_MEMORY. */
bool engine_book_add(struct engine_book *book, const struct engine_answer *answer, struct error *err);

/* The text of an engine's plan, of which cuDNN makes the plan again in milliseconds; NULL = none. Borrowed. */
const char *engine_book_plan(const struct engine_book *book, const struct engine *engine);
/* Gives one of the engines of an answer of the book its plan, in place of one that it has; the text is copied. ERROR_MEMORY. */
bool engine_book_set_plan(struct engine_book *book, const struct engine_question *question, const struct engine *engine,
                          const char *text, struct error *err);

/* Adds a file's answers. ERROR_INPUT when it is damaged, of another device, or of another version of cuDNN than the book's
 * (a book without a device or a version takes the file's). The book is then as before, but for what was added. */
bool engine_book_read(struct engine_book *book, const char *path, struct error *err);
/* Writes those answers whose dtype and images are the wanted ones; NULL: all, with the plans. Atomically. */
bool engine_book_write(const struct engine_book *book, const struct engine_question *wanted, const char *path,
                       struct error *err);

/* An engine's row in files and answers, [id, bytes, notes, knobs] or, in files, [id, bytes, notes, knobs, plan]. False when
 * it is none. */
bool engine_parse(const json_t *row, struct engine *engine);

/* Notes as letters into out; returns out. */
#define ENGINE_LETTERS_TEXT 16
char *engine_letters(uint32_t notes, char out[ENGINE_LETTERS_TEXT]);

/* "9.19.0" into out; returns out. */
#define ENGINE_VERSION_TEXT 40
char *engine_version_words(uint32_t cudnn, char out[ENGINE_VERSION_TEXT]);

#endif
