/* JSON of any size, plain or compressed with gzip, through a window that slides: for kineto_read.c alone. A value is taken where
 * it stands; what is nested is passed over. Strings and events are 1 MiB at most. */
#ifndef FATHOM_KINETO_JSON_H
#define FATHOM_KINETO_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

/* Text in the file, as it stands there: not ended by NUL, escapes not undone. Empty = not given. */
struct kineto_text {
    const char *at;
    size_t length;
};
bool kineto_is(struct kineto_text text, const char *word);
bool kineto_begins(struct kineto_text text, const char *word);
/* Ended by NUL, escapes undone, cut to size - 1 bytes. */
void kineto_copy(struct kineto_text text, char *out, size_t size);
/* False, *number untouched, where it is no whole number from 0 on that 64 bits hold. */
bool kineto_whole(struct kineto_text text, uint64_t *number);
/* 0 where it is none. */
uint64_t kineto_number(struct kineto_text text);

struct kineto_json {
    struct gzFile_s *file; /* of zlib */
    const char *path;
    char *window;
    char *at, *end;  /* what is left of the window; two quotes stand behind it */
    uint64_t before; /* bytes of the file in front of the window */
    bool ended;
};

/* The caller closes what was opened. */
bool kineto_json_open(struct kineto_json *json, const char *path, struct error *err);
void kineto_json_close(struct kineto_json *json);
/* Slides the window, so that all of an event is in it: texts that were taken are gone. */
bool kineto_json_fill(struct kineto_json *json, struct error *err);
/* ERROR_INPUT with the byte; always false. */
bool kineto_json_fail(const struct kineto_json *json, const char *what, struct error *err);
/* Of a string what is between the quotes, of a number or word all of it, of anything nested nothing. */
bool kineto_json_value(struct kineto_json *json, struct kineto_text *text, struct error *err);
/* The next key of an object whose brace has been passed; *more is false behind its end. */
bool kineto_json_key(struct kineto_json *json, bool *first, struct kineto_text *key, bool *more, struct error *err);

static inline void kineto_json_space(struct kineto_json *json)
{
    while (json->at < json->end && (unsigned char)*json->at <= ' ') json->at++;
}

/* The byte there, which is passed over; 0 at the end. */
static inline char kineto_json_next(struct kineto_json *json)
{
    kineto_json_space(json);
    return json->at < json->end ? *json->at++ : '\0';
}

/* Passes over that byte when it comes next. */
static inline bool kineto_json_pass(struct kineto_json *json, char wanted)
{
    kineto_json_space(json);
    if (json->at >= json->end || *json->at != wanted) return false;
    json->at++;
    return true;
}

#endif
