/* What the files of the stand-in share (standin.h).
 *
 * standin.c has devices, ops, groups, and what fails; standin_work.c queues and runs commands and knows their order;
 * standin_memory.c has the slots of memory, standin_streams.c those of streams, events and recordings. */
#ifndef FATHOM_STANDIN_PRIVATE_H
#define FATHOM_STANDIN_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "clocks.h"
#include "standin.h"

#define MOST_STREAMS 7u
#define HOST_LANE    15u
#define GRAPH_LANE   7u

struct memory {
    struct shadow shadow;
    uint64_t bytes;
};

enum command_kind {
    SET_STEP,
    COPY_IN,
    IMAGE_IN,
    COPY_OUT,
    SQUARES,
    FILL,
    HOST_FILL,
    LAUNCH,
    EVENT_RECORD,
    EVENT_WAIT,
    REPLAY
};

struct command {
    enum command_kind kind;
    uint8_t stream; /* inside a recording */
    uint8_t byte;
    uint64_t offset, bytes;
    void *host, *owned; /* owned: a copy of what was there, freed once it has been copied in */
    struct step step;
    const struct tensor *tensor; /* IMAGE_IN */
    enum dtype dtype;            /* SQUARES */
    struct prepared *prepared;
    struct event *event;
    uint64_t sequence; /* of the event's records; inside a recording the number of the command that recorded */
    struct recording *recording;
    struct clock clock; /* EVENT_RECORD inside a recording, while it is walked */
};

struct queue {
    struct command *commands;
    size_t first, count, capacity;
};

struct stream {
    struct device *device;
    uint8_t number;
    struct queue queue;
    struct clock clock;
    struct recording *capture;
};

struct event {
    struct device *device;
    uint64_t recorded, done; /* sequences */
    struct clock clock;
    struct recording *in; /* recorded there last, as command number `node` */
    size_t node;
};

struct prepared {
    struct device *device;
    struct prepared *real;
    struct op_call call;
};

struct recording {
    struct device *device;
    struct queue nodes;
    struct stream *origin;
    bool ended, spoilt;
};

struct grave {
    void (*end)(void *object);
    void *object;
};

struct device {
    struct device *real;
    struct memory arena, host;
    pthread_t worker;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct stream *streams[MOST_STREAMS];
    uint32_t stream_count;
    struct stream *unused; /* of the real backend */
    struct clock clock;    /* what the host knows */
    uint32_t graph_at[MOST_STREAMS];
    struct recording *capturing;
    uint64_t random;
    uint64_t patience, queued; /* the worker begins when so many are queued, or when it is waited for */
    uint32_t waiting;
    bool busy, lost, told, hung, stop;
    struct error first;
    uint64_t steps_queued, steps_run;
    struct grave *graves;
    size_t grave_count, grave_capacity;
    void *pinned[64];
    uint64_t pinned_bytes[64];
};

/* The one that there is. */
struct standin {
    struct standin_options options;
    struct standin_report report;
    pthread_mutex_t report_lock;
    atomic_ullong calls, commands, waits, live;
};
extern struct standin standin;

#define REAL (standin.options.real)

/* Notes the first rule that is broken. */
__attribute__((format(printf, 1, 2))) void standin_violate(const char *format, ...);
/* Ends the program where memory is short. */
void *standin_need(void *memory);
/* The device fails from now on. The lock is held. */
void standin_lose(struct device *d, const struct error *err);
/* The caller hears of it; returns false. */
bool standin_tell(struct device *d, struct error *err);
/* Of every call that can fail: whether it does not. */
bool standin_enter(struct device *d, const char *slot, struct error *err);
/* A rule of recordings is broken; returns false. */
bool standin_forbid(struct device *d, const char *what, struct error *err);
/* What queued commands may still use is given back with the device. */
void standin_bury(struct device *d, void (*end)(void *), void *object);
struct memory standin_memory_of(uint64_t bytes);

/* An access to memory, which others that it conflicts with must know of. */
void standin_touch(struct memory *m, const struct clock *clock, uint8_t lane, uint64_t offset, uint64_t bytes, bool writes,
                   const char *what);
/* Queues a command, or records it where the stream is recorded. */
bool standin_put(struct stream *s, struct command c, struct error *err);
/* What a replay that begins with *clock touches, and what is known at its end. Says whether all streams came back. */
bool standin_walk(struct device *d, struct recording *r, struct clock *clock);
/* A device's worker. */
void *standin_work(void *device);

/* The slots of each file. */
void standin_set_memory(struct backend *made);
void standin_set_streams(struct backend *made);

#endif
