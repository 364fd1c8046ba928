#include "perfetto_message.h"

#include <string.h>

void message_begin(struct message *message)
{
    message->out = (struct trace_out){message->bytes, 0, sizeof message->bytes};
}

void message_put_number(struct message *message, uint64_t field, uint64_t value)
{
    trace_put_varint(&message->out, field << 3);
    trace_put_varint(&message->out, value);
}

void message_put_double(struct message *message, uint64_t field, double value)
{
    trace_put_varint(&message->out, field << 3 | 1);
    trace_put_double(&message->out, value);
}

void message_put_bytes(struct message *message, uint64_t field, const void *bytes, size_t length)
{
    trace_put_varint(&message->out, field << 3 | 2);
    trace_put_varint(&message->out, length);
    if (length) memcpy(message->out.bytes + message->out.length, bytes, length);
    message->out.length += length;
}

void message_put_message(struct message *message, uint64_t field, const struct message *inner)
{
    message_put_bytes(message, field, inner->bytes, inner->out.length);
}
