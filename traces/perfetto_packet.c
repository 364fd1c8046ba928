/* A packet of Perfetto's, with its head. */
#include "perfetto_private.h"
#include "stream.h"

enum { TRACE_PACKET = 1 }; /* Trace */
enum { STATE_CLEARED = 1, STATE_NEEDED = 2 };

void perfetto_write_packet(struct perfetto *p)
{
    struct message head;
    message_put_number(&p->packet, PACKET_SEQUENCE, 1);
    message_put_number(&p->packet, PACKET_SEQUENCE_FLAGS, p->begun ? STATE_NEEDED : STATE_CLEARED);
    p->begun = true;
    message_begin(&head);
    trace_put_varint(&head.out, TRACE_PACKET << 3 | 2);
    trace_put_varint(&head.out, p->packet.out.length);
    fwrite(head.bytes, 1, head.out.length, p->out);
    fwrite(p->packet.bytes, 1, p->packet.out.length, p->out);
}
