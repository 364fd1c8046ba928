/* All that CUPTI told of a run, and what the run said meanwhile, in a file: with FATHOM_CUPTI_DUMP=FILE `fathom train --trace`
 * writes one, and tests feed it to the profiler again where there is no GPU (tests/standin/cupti_replay.c). For runs of one GPU
 * in a process, of few steps.
 *
 * 8 bytes of magic, 4 of the format's version, 4 of CUPTI's; then entries in the order in which things happened, numbers as the
 * host has them: 4 bytes of type, 4 of the payload's length, the payload, zeros up to a multiple of 8. */
#ifndef FATHOM_CUPTI_DUMP_H
#define FATHOM_CUPTI_DUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cupti_calls.h"
#include "errors.h"

#define CUPTI_DUMP_MAGIC   "FATHOMCD"
#define CUPTI_DUMP_VERSION 1u
#define CUPTI_DUMP_MOST    (64ull << 20) /* bytes; what comes later is left out, with an entry that says so */

/* Of 8 bytes each, but for the text and the record. */
enum cupti_dump_type {
    CUPTI_DUMP_STEP = 1,     /* submitted: its number, 1 when it is to be recorded */
    CUPTI_DUMP_LAUNCH,       /* an op's launch begins: device, op (or TRACE_OF_RUN); its pass, ended by NUL */
    CUPTI_DUMP_LAUNCHED,     /* it ends */
    CUPTI_DUMP_NODE,         /* callback id (CREATED, CLONED, DESTROY_STARTING), node, original (0 = none) */
    CUPTI_DUMP_CALL,         /* of a launch: domain, callback id, site, correlation */
    CUPTI_DUMP_RECORD,       /* length of the record; its bytes, with zeros for its name; the name, ended by NUL, "" = none */
    CUPTI_DUMP_BUFFER,       /* the records before were one buffer; how many records CUPTI said that it had dropped */
    CUPTI_DUMP_CUT,          /* the file was too long */
    CUPTI_DUMP_END           /* what the profiler counted: records, unattributed, timeless, dropped */
};

struct cupti_dump;

/* The calls are borrowed. */
bool cupti_dump_open(const char *path, const struct cupti_calls *calls, struct cupti_dump **dump, struct error *err);

/* Any thread. All take NULL, for a run that is not dumped. */
void cupti_dump_step(struct cupti_dump *dump, uint64_t step, bool wanted);
void cupti_dump_launch(struct cupti_dump *dump, uint32_t device, uint32_t op, const char *pass);
void cupti_dump_launched(struct cupti_dump *dump);
void cupti_dump_node(struct cupti_dump *dump, CUpti_CallbackId id, uint64_t node, uint64_t original);
void cupti_dump_call(struct cupti_dump *dump, CUpti_CallbackDomain domain, CUpti_CallbackId id,
                     const CUpti_CallbackData *call);
void cupti_dump_buffer(struct cupti_dump *dump, uint8_t *bytes, size_t valid, uint64_t dropped);

struct cupti_dump_counts {
    uint64_t records, unattributed, timeless, dropped;
};
/* Ends the object. False, with the error: the file is not there. */
bool cupti_dump_close(struct cupti_dump *dump, struct cupti_dump_counts counts, struct error *err);
/* Likewise, and what was at the path before stays. */
void cupti_dump_abandon(struct cupti_dump *dump);

#endif
