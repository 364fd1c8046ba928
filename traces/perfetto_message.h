/* Messages of protocol buffers (protobuf.dev/programming-guides/encoding), of which Perfetto's format needs varints,
 * doubles and length-delimited fields. */
#ifndef FATHOM_PERFETTO_MESSAGE_H
#define FATHOM_PERFETTO_MESSAGE_H

#include "format.h"

/* A message being put together; the largest holds one name. */
struct message {
    uint8_t bytes[2 * TRACE_TEXT_MOST + 256];
    struct trace_out out;
};

void message_begin(struct message *message);
void message_put_number(struct message *message, uint64_t field, uint64_t value);
void message_put_double(struct message *message, uint64_t field, double value);
void message_put_bytes(struct message *message, uint64_t field, const void *bytes, size_t length);
void message_put_message(struct message *message, uint64_t field, const struct message *inner);

#endif
