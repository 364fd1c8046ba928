/* Ranks of one machine, started by launch.c: a socket for each pair, and a board for causes. */
#define _GNU_SOURCE
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "mem.h"
#include "patience.h"
#include "ranks_private.h"

#define LOOK_MS 10 /* at what may end a wait, while nothing comes */

struct way {        /* one direction of one peer's socket */
    uint32_t next;  /* part, of all */
    uint64_t moved; /* bytes of it */
};

struct ranks_link {
    uint32_t rank, size;
    struct local_board *board;
    int sockets[LOCAL_MOST_RANKS];
    bool seen[LOCAL_MOST_RANKS];
    struct way out[LOCAL_MOST_RANKS], in[LOCAL_MOST_RANKS];
};

bool local_is_child(void) { return getenv(LOCAL_VARIABLE) != NULL; }

/* ---- Opening ---- */

/* They came through one exec and go through no other: what a rank starts would keep its peers from seeing its end. */
static bool keep_here(int fd) { return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0; }

static bool parse(const char *text, struct ranks_link *link, int *board)
{
    int used = 0;
    if (sscanf(text, "%u:%u:%d:%n", &link->rank, &link->size, board, &used) != 3 || used == 0) return false;
    if (link->size < 1 || link->size > LOCAL_MOST_RANKS || link->rank >= link->size) return false;
    for (uint32_t i = 0; i < link->size; i++) {
        char *end;
        long number = strtol(text + used, &end, 10);
        if (end == text + used || (*end != ',' && *end != '\0')) return false;
        link->sockets[i] = (int)number;
        if (i != link->rank && !keep_here(link->sockets[i])) return false;
        used = (int)(end - text) + (*end == ',');
    }
    return true;
}

/* The sockets are there: who does not come is found out by the first exchange. */
static enum ranks_outcome local_open(struct ranks_link **out, uint32_t *rank, uint32_t *size, uint64_t limit_ns,
                                     char fault[RANKS_FAULT])
{
    (void)limit_ns;
    int board;
    struct ranks_link *link = mem_zalloc(MEM_GENERAL, 1, sizeof *link);
    const char *text = getenv(LOCAL_VARIABLE);
    if (!link || !text || !parse(text, link, &board)) {
        snprintf(fault, RANKS_FAULT, LOCAL_VARIABLE " is not what a process of fathom has set");
        mem_free(link);
        return RANKS_BROKEN;
    }
    void *map = mmap(NULL, local_board_bytes(link->size), PROT_READ | PROT_WRITE, MAP_SHARED, board, 0);
    close(board);
    if (map == MAP_FAILED) {
        snprintf(fault, RANKS_FAULT, "the ranks' common memory: %s", strerror(errno));
        mem_free(link);
        return RANKS_BROKEN;
    }
    unsetenv(LOCAL_VARIABLE);
    link->board = map;
    *rank = link->rank;
    *size = link->size;
    *out = link;
    return RANKS_DONE;
}

static void local_close(struct ranks_link *link)
{
    for (uint32_t i = 0; i < link->size; i++)
        if (i != link->rank) close(link->sockets[i]);
    munmap(link->board, local_board_bytes(link->size));
    mem_free(link);
}

/* ---- Messages ---- */

/* Moves what can be moved now. Returns 1 when anything was, 0 when nothing, -1 when the peer has ended. */
static int move(struct ranks_link *link, uint32_t peer, const struct ranks_part *parts, uint32_t count, struct way *way,
                bool out)
{
    int any = 0;
    for (;;) {
        while (way->next < count && (parts[way->next].peer != peer || parts[way->next].count == way->moved)) {
            way->next++;
            way->moved = 0;
        }
        if (way->next == count) return any;
        const struct ranks_part *part = &parts[way->next];
        uint8_t *at = (uint8_t *)part->bytes + way->moved;
        uint64_t left = part->count - way->moved;
        ssize_t done = out ? send(link->sockets[peer], at, left, MSG_DONTWAIT | MSG_NOSIGNAL)
                           : recv(link->sockets[peer], at, left, MSG_DONTWAIT);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return any;
        if (done <= 0) return -1;
        way->moved += (uint64_t)done;
        any = 1;
    }
}

/* One round over all peers: fills `polls` with what is still wanted, `*waits` of them; the first is wait->peer. */
static int move_all(struct ranks_link *link, const struct ranks_part *out, uint32_t outs, const struct ranks_part *in,
                    uint32_t ins, struct pollfd *polls, uint32_t *waits, struct ranks_wait *wait)
{
    int any = 0;
    *waits = 0;
    for (uint32_t i = 0; i < link->size; i++) {
        if (i == link->rank) continue;
        int sent = move(link, i, out, outs, &link->out[i], true), got = move(link, i, in, ins, &link->in[i], false);
        short events = (short)((link->out[i].next < outs ? POLLOUT : 0) | (link->in[i].next < ins ? POLLIN : 0));
        if (events && *waits == 0) wait->peer = i;
        if (sent < 0 || got < 0) {
            wait->peer = i;
            return -1;
        }
        if (events) polls[(*waits)++] = (struct pollfd){.fd = link->sockets[i], .events = events};
        any |= sent | got;
    }
    return any;
}

static enum ranks_outcome local_exchange(struct ranks_link *link, const struct ranks_part *out, uint32_t outs,
                                         const struct ranks_part *in, uint32_t ins, struct ranks_wait *wait)
{
    struct pollfd polls[LOCAL_MOST_RANKS];
    struct patience patience = patience_begin(clock_now_ns(), wait->limit_ns);
    uint32_t waits;
    memset(link->out, 0, sizeof link->out);
    memset(link->in, 0, sizeof link->in);
    for (;;) {
        int any = move_all(link, out, outs, in, ins, polls, &waits, wait);
        if (any < 0) return RANKS_GONE;
        if (waits == 0) return RANKS_DONE;
        if (atomic_load(wait->aborted)) return RANKS_ABORTED;
        if (any)
            patience = patience_begin(clock_now_ns(), wait->limit_ns);
        else if (patience_is_over(&patience, clock_now_ns()))
            return RANKS_LATE;
        else
            poll(polls, waits, LOOK_MS);
    }
}

/* ---- Causes ---- */

static void local_tell(struct ranks_link *link, const struct ranks_cause *cause)
{
    local_write(&link->board->words[link->rank], cause);
}

static bool local_hear(struct ranks_link *link, struct ranks_cause *cause)
{
    for (uint32_t i = 0; i < link->size; i++) {
        if (i == link->rank || link->seen[i] || !atomic_load(&link->board->words[i].written)) continue;
        link->seen[i] = true;
        *cause = link->board->words[i].cause;
        return true;
    }
    return false;
}

static int local_asked(struct ranks_link *link) { return atomic_load(&link->board->stop); }

/* The process that has started the ranks ends those that are left. */
static void local_end(struct ranks_link *link, int code)
{
    (void)link;
    (void)code;
}

const struct ranks_transport ranks_local_transport = {.version = RANKS_TRANSPORT_VERSION,
                                                      .open = local_open,
                                                      .exchange = local_exchange,
                                                      .tell = local_tell,
                                                      .hear = local_hear,
                                                      .asked = local_asked,
                                                      .close = local_close,
                                                      .end = local_end};
