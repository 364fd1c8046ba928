/* Ranks on several hosts, over sockets: each is joined to each. The root's address is in the id; it tells the others
 * where all are. What a rank's slot of a communicator says is mirrored by the others as it changes, in its order, so
 * that whoever reads a mirror sees what shared memory would show, later. A line that is cut says nothing; an end that
 * is closed is seen. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nccl_net.h"

#define TRIES  600 /* to reach a rank that may not listen yet */
#define TRY_US 50000

struct place {
    uint32_t address; /* as networks order it */
    uint16_t port;
};

/* What stands in an id behind its number. */
struct root {
    uint64_t number;
    struct place at;
};

struct header {
    uint64_t id, turn, count, offset, bytes;
    int32_t kind, type, process;
    int32_t known;
};

struct letter {
    struct letter *next;
    size_t bytes;
    uint8_t content[];
};

struct peer {
    struct net *net;
    int rank, fd;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct letter *first, **last;
    atomic_int waiting; /* letters */
    atomic_bool lost;
};

struct net {
    uint64_t number;
    int rank, size, listener;
    struct root root;
    struct peer peers[MOST_DEVICES];
    pthread_mutex_t lock; /* over mirrors */
    struct mirror {
        struct mirror *next;
        struct far *far;
    } * mirrors;
};

static int root_listener = -1;

/* ---- Sockets ---- */

static bool send_all(int fd, const void *bytes, size_t count)
{
    for (const uint8_t *at = bytes; count > 0;) {
        ssize_t sent = send(fd, at, count, MSG_NOSIGNAL);
        if (sent <= 0) return false;
        at += sent;
        count -= (size_t)sent;
    }
    return true;
}

static bool receive_all(int fd, void *bytes, size_t count)
{
    for (uint8_t *at = bytes; count > 0;) {
        ssize_t got = recv(fd, at, count, 0);
        if (got <= 0) return false;
        at += got;
        count -= (size_t)got;
    }
    return true;
}

/* Of the interface that is named, else the first that is up and not the host's own; 127.0.0.1 where there is none. */
static uint32_t own_address(void)
{
    const char *named = getenv("NCCL_SOCKET_IFNAME");
    uint32_t found = htonl(INADDR_LOOPBACK);
    struct ifaddrs *all = NULL;
    if (named && *named == '=') named++;
    if (getifaddrs(&all) != 0) return found;
    for (struct ifaddrs *i = all; i && found == htonl(INADDR_LOOPBACK); i = i->ifa_next) {
        bool fits = named ? strcmp(i->ifa_name, named) == 0 : (i->ifa_flags & IFF_UP) && !(i->ifa_flags & IFF_LOOPBACK);
        if (fits && i->ifa_addr && i->ifa_addr->sa_family == AF_INET)
            found = ((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr.s_addr;
    }
    freeifaddrs(all);
    return found;
}

static int open_port(struct place *at)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = own_address()};
    socklen_t length = sizeof own;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof own) != 0 || listen(fd, (int)MOST_DEVICES) != 0 ||
        getsockname(fd, (struct sockaddr *)&own, &length) != 0)
        return -1;
    *at = (struct place){own.sin_addr.s_addr, own.sin_port};
    return fd;
}

static int reach(const struct place *at)
{
    struct sockaddr_in other = {.sin_family = AF_INET, .sin_addr.s_addr = at->address, .sin_port = at->port};
    for (int i = 0; i < TRIES; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&other, sizeof other) == 0) return fd;
        if (fd >= 0) close(fd);
        usleep(TRY_US);
    }
    return -1;
}

/* ---- What others tell ---- */

struct far *net_follow(struct net *net, uint64_t id)
{
    size_t bytes = far_bytes(net->size);
    pthread_mutex_lock(&net->lock);
    struct mirror *m = net->mirrors;
    while (m && m->far->id != id) m = m->next;
    if (!m) {
        m = NEW(struct mirror);
        *m = (struct mirror){net->mirrors, mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)};
        if (m->far == MAP_FAILED) abort();
        m->far->id = id;
        m->far->net = net;
        net->mirrors = m;
    }
    pthread_mutex_unlock(&net->lock);
    return m->far;
}

static bool take(struct peer *p, const struct header *h)
{
    struct far *far = net_follow(p->net, h->id);
    struct far_slot *slot = &far->slots[p->rank];
    switch ((enum net_kind)h->kind) {
    case NET_JOINED: atomic_store(&slot->process, h->process); break;
    case NET_BROUGHT:
        if (!receive_all(p->fd, far_numbers(far, p->rank), h->bytes)) return false;
        slot->count = h->count;
        slot->type = (enum number_type)h->type;
        slot->known = h->known;
        slot->offset = h->offset;
        atomic_store(&slot->brought, h->turn);
        break;
    case NET_SUMMED: atomic_store(&slot->summed, h->turn); break;
    case NET_LEAVES: atomic_store(&slot->leaves, true); break;
    case NET_GONE: atomic_store(&slot->gone, true); break;
    }
    return true;
}

static void *listen_to(void *argument)
{
    struct peer *p = argument;
    struct header h;
    while (receive_all(p->fd, &h, sizeof h) && take(p, &h)) continue;
    atomic_store(&p->lost, true);
    return NULL;
}

static void *write_to(void *argument)
{
    struct peer *p = argument;
    for (;;) {
        pthread_mutex_lock(&p->lock);
        while (!p->first) pthread_cond_wait(&p->changed, &p->lock);
        struct letter *letter = p->first;
        p->first = letter->next;
        if (!p->first) p->last = &p->first;
        pthread_mutex_unlock(&p->lock);
        bool sent = send_all(p->fd, letter->content, letter->bytes);
        free(letter);
        atomic_fetch_sub(&p->waiting, 1);
        if (!sent) return NULL;
    }
}

/* ---- Telling ---- */

static void post(struct peer *p, const struct header *h, const void *numbers)
{
    struct letter *letter = malloc(sizeof *letter + sizeof *h + h->bytes);
    if (!letter) abort();
    letter->next = NULL;
    letter->bytes = sizeof *h + h->bytes;
    memcpy(letter->content, h, sizeof *h);
    if (h->bytes > 0) memcpy(letter->content + sizeof *h, numbers, h->bytes);
    atomic_fetch_add(&p->waiting, 1);
    pthread_mutex_lock(&p->lock);
    *p->last = letter;
    p->last = &letter->next;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

void net_tell(struct far *far, enum net_kind kind, const void *numbers, size_t bytes)
{
    struct net *net = far->net;
    if (!net) return;
    struct far_slot *own = &far->slots[net->rank];
    const struct header h = {.id = far->id,
                             .turn = kind == NET_BROUGHT ? atomic_load(&own->brought) : atomic_load(&own->summed),
                             .count = own->count,
                             .offset = own->offset,
                             .bytes = bytes,
                             .kind = (int32_t)kind,
                             .type = (int32_t)own->type,
                             .process = (int32_t)getpid(),
                             .known = own->known};
    for (int r = 0; r < net->size; r++)
        if (r != net->rank) post(&net->peers[r], &h, numbers);
}

bool net_is_flushed(const struct far *far)
{
    const struct net *net = far->net;
    for (int r = 0; net && r < net->size; r++)
        if (atomic_load(&net->peers[r].waiting) > 0 && !atomic_load(&net->peers[r].lost)) return false;
    return true;
}

bool net_has_lost(const struct far *far)
{
    const struct net *net = far->net;
    for (int r = 0; net && r < net->size; r++) {
        const struct far_slot *slot = &far->slots[r];
        if (r != net->rank && !slot->leaves && (atomic_load(&net->peers[r].lost) || atomic_load(&slot->gone)))
            return true;
    }
    return false;
}

/* ---- Joining ---- */

struct hello {
    uint64_t number;
    int32_t rank;
    struct place at;
};

static void start(pthread_t *thread, void *(*run)(void *), void *argument)
{
    if (pthread_create(thread, NULL, run, argument) != 0) abort();
    pthread_detach(*thread);
}

static void meet(struct net *net, int rank, int fd)
{
    struct peer *p = &net->peers[rank];
    pthread_t thread;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    p->fd = fd;
    start(&thread, listen_to, p);
    start(&thread, write_to, p);
}

static int accept_hello(int listener, uint64_t number, struct hello *hello)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) return -1;
        if (receive_all(fd, hello, sizeof *hello) && hello->number == number) return fd;
        close(fd);
    }
}

/* The root hears of all, and then tells all where they are. */
static void lead(struct net *net)
{
    struct place places[MOST_DEVICES] = {{0}};
    int fds[MOST_DEVICES];
    struct hello hello;
    for (int i = 1; i < net->size; i++) {
        int fd = accept_hello(net->listener, net->number, &hello);
        if (fd < 0 || hello.rank < 1 || hello.rank >= net->size) return;
        places[hello.rank] = hello.at;
        fds[hello.rank] = fd;
    }
    for (int r = 1; r < net->size; r++)
        if (send_all(fds[r], places, sizeof places)) meet(net, r, fds[r]);
}

/* To the root and lower ranks, and from higher ones. */
static void join_others(struct net *net)
{
    struct place places[MOST_DEVICES];
    struct hello hello = {.number = net->number, .rank = net->rank}, other;
    net->listener = open_port(&hello.at);
    int root = reach(&net->root.at);
    if (net->listener < 0 || root < 0 || !send_all(root, &hello, sizeof hello) ||
        !receive_all(root, places, sizeof places))
        return;
    meet(net, 0, root);
    for (int r = 1; r < net->rank; r++) {
        int fd = reach(&places[r]);
        if (fd < 0 || !send_all(fd, &hello, sizeof hello)) return;
        meet(net, r, fd);
    }
    for (int i = net->rank + 1; i < net->size; i++) {
        int fd = accept_hello(net->listener, net->number, &other);
        if (fd < 0) return;
        meet(net, other.rank, fd);
    }
}

static void *join_all(void *argument)
{
    struct net *net = argument;
    if (net->rank == 0)
        lead(net);
    else
        join_others(net);
    return NULL;
}

bool net_listen(ncclUniqueId *id)
{
    struct root root;
    _Static_assert(sizeof root <= sizeof *id, "a root is told in an id");
    memcpy(&root, id, sizeof root);
    if (root_listener >= 0) close(root_listener);
    root_listener = open_port(&root.at);
    memcpy(id, &root, sizeof root);
    return root_listener >= 0;
}

struct net *net_join(const ncclUniqueId *id, int rank, int size)
{
    struct root root;
    pthread_t thread;
    memcpy(&root, id, sizeof root);
    struct net *net = NEW(struct net);
    *net = (struct net){.number = root.number, .rank = rank, .size = size, .root = root, .listener = root_listener};
    pthread_mutex_init(&net->lock, NULL);
    for (int r = 0; r < size; r++) {
        struct peer *p = &net->peers[r];
        *p = (struct peer){.net = net, .rank = r, .fd = -1, .last = &p->first};
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->changed, NULL);
    }
    start(&thread, join_all, net);
    return net;
}
