/* Errors travel up to the command line through the last argument.
 *
 * A function that can fail takes `struct error *err` last and returns false (or NULL). On success it leaves *err as it
 * was; on failure it fills it with one sentence that names the file, field or flag, what was found, and what would be
 * right. Libraries never print: only cli/ and tui/ speak. */
#ifndef FATHOM_ERRORS_H
#define FATHOM_ERRORS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

enum error_kind {
    ERROR_NONE,
    ERROR_INPUT,  /* a command, a file or a field of one is wrong: exit code 2 */
    ERROR_FAILED, /* the run failed (disk full, device lost): exit code 1 */
    ERROR_MEMORY, /* an allocation failed: exit code 1 */
    ERROR_LATE,   /* a device was waited for in vain: exit code 1 */
    ERROR_PEER,   /* those that this process works with are lost, for a reason that others know better: exit code 1 */
    ERROR_UNFIT,  /* the question was answered: it does not fit: exit code 1 */
    ERROR_STOPPED, /* somebody asked for an end, which came before the work's: exit code 1, unless the caller knows better */
};

struct error {
    enum error_kind kind;
    char text[1024]; /* may quote anything: cli/ shows it through base/printable.h */
    char below[512]; /* lines below the sentence in our own words, each ended; mostly "" */
};

/* Fills *err (which may be NULL) and returns false, so that callers write `return error_set(...)`. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
bool error_set(struct error *err, enum error_kind kind, const char *format, ...);

/* "out of memory: N bytes for PURPOSE", or without the number where it is not known (0); returns false. */
bool error_memory(struct error *err, size_t bytes, const char *purpose);

/* As error_set with strerror(errnum) appended after ": ". */
#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
bool error_errno(struct error *err, enum error_kind kind, int errnum, const char *format, ...);

/* Puts "format: " before the text already in *err. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
bool error_prefix(struct error *err, const char *format, ...);

/* The process's exit code for an error: 0, 1 or 2. */
int error_exit_code(const struct error *err);

/* The three frames: return at once; go to cleanup; go on, keeping the first error (err must then be cleared first). */
#define TRY(call) \
    do { \
        if (!(call)) return false; \
    } while (0)
#define TRY_GOTO(call, label) \
    do { \
        if (!(call)) goto label; \
    } while (0)
#define TRY_CONTINUE(ok, call) \
    do { \
        if (!(call)) (ok) = false; \
    } while (0)

#endif
