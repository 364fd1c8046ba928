/* From CUPTI's records to a trace: whose kernel it was, under which number, when it ran. One thread. */
#ifndef FATHOM_CUPTI_RECORDS_H
#define FATHOM_CUPTI_RECORDS_H

#include "cupti_calls.h"
#include "owners.h"
#include "sink.h"

struct cupti_reader;

struct cupti_counts {
    uint64_t records;      /* of kernels, copies and fills */
    uint64_t unattributed; /* that no op owns */
    uint64_t misjoined;    /* whose node ran another kernel before: counted among the unattributed */
    uint64_t timeless;     /* without a time */
};

/* NULL when out of memory. All borrowed. */
struct cupti_reader *cupti_reader_create(const struct cupti_calls *calls, struct owners *owners,
                                         struct trace_sink *sink);
void cupti_reader_destroy(struct cupti_reader *reader);

/* Reports a buffer's records. False when out of memory; what was read before is reported. */
bool cupti_reader_take(struct cupti_reader *reader, uint8_t *bytes, size_t valid);
struct cupti_counts cupti_reader_counts(const struct cupti_reader *reader);

#endif
