/* Ranks joined by MPI: a module of its own, which trainer/ranks loads where mpirun or srun has started the process. One
 * call of MPI at a time (MPI_THREAD_SERIALIZED), none of them blocks: what may take long is asked after again and
 * again. */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sched.h>

#include <mpi.h>

#include "patience.h"
#include "transport.h"

#define EAGER_LOOKS 200 /* without a pause, before a wait that may be long */
#define PAUSE_NS    50000

/* What processes of four ranks of one host held more than those that fathom joins itself, and for each further rank up
 * to 66 (VmHWM; Open MPI 4.1.4). */
#define LIBRARY_BYTES (UINT64_C(11) << 20)
#define RANK_BYTES    (UINT64_C(80) << 10)

struct ranks_link {
    MPI_Comm parts, causes;
    int rank, size;
    pthread_mutex_t lock;
    MPI_Request *requests;
    size_t room;
    uint8_t *staging; /* what is sent and received lies here: after a failure messages may still come and go, and what
                       * is the caller's may be freed then. Kept until the process ends if one has failed */
    size_t staging_bytes;
    bool failed; /* an exchange: there are no more */
    bool cut;    /* a message could not even be begun */
    struct ranks_cause told;
    MPI_Request *tellings;
};

static bool say(int code, char fault[RANKS_FAULT])
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code == MPI_SUCCESS) return true;
    MPI_Error_string(code, text, &length);
    snprintf(fault, RANKS_FAULT, "%.*s", RANKS_FAULT - 1, text);
    return false;
}

static bool say_no_memory(char fault[RANKS_FAULT])
{
    snprintf(fault, RANKS_FAULT, "out of memory");
    return false;
}

/* ---- Opening and closing ---- */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* All ranks take part, and one may be lost just now: MPI_Comm_dup would wait for it for ever. */
static enum ranks_outcome duplicate(MPI_Comm *out, struct patience *patience, char fault[RANKS_FAULT])
{
    MPI_Request request;
    int done = 0;
    if (!say(MPI_Comm_idup(MPI_COMM_WORLD, out, &request), fault)) return RANKS_BROKEN;
    for (;;) {
        if (!say(MPI_Test(&request, &done, MPI_STATUS_IGNORE), fault)) return RANKS_BROKEN;
        if (done) return RANKS_DONE;
        if (patience_is_over(patience, now_ns())) {
            snprintf(fault, RANKS_FAULT,
                     "not all ranks have met in time; one has ended, or its host cannot be reached");
            return RANKS_LATE;
        }
        nanosleep(&(struct timespec){0, PAUSE_NS}, NULL);
    }
}

static enum ranks_outcome make_communicators(struct ranks_link *link, uint64_t limit_ns, char fault[RANKS_FAULT])
{
    struct patience patience = patience_begin(now_ns(), limit_ns);
    enum ranks_outcome outcome = duplicate(&link->parts, &patience, fault);
    if (outcome == RANKS_DONE) outcome = duplicate(&link->causes, &patience, fault);
    if (outcome != RANKS_DONE) return outcome;
    bool ok = say(MPI_Comm_set_errhandler(link->parts, MPI_ERRORS_RETURN), fault) &&
              say(MPI_Comm_set_errhandler(link->causes, MPI_ERRORS_RETURN), fault) &&
              say(MPI_Comm_rank(link->parts, &link->rank), fault) &&
              say(MPI_Comm_size(link->parts, &link->size), fault);
    return ok ? RANKS_DONE : RANKS_BROKEN;
}

/* Open MPI ends the process in its start, with a page of words, where srun gives it nothing to join by. */
static bool is_refused(void)
{
#ifdef OPEN_MPI
    return getenv("SLURM_STEP_NUM_TASKS") && !getenv("OMPI_COMM_WORLD_SIZE") && !getenv("PMIX_RANK") &&
           !getenv("PMI_RANK");
#else
    return false;
#endif
}

/* Every rank finds the same, and one alone is to say it. */
static enum ranks_outcome refuse(uint32_t *rank, const char *why, char fault[RANKS_FAULT])
{
    const char *number = getenv("SLURM_PROCID");
    *rank = number ? (uint32_t)strtoul(number, NULL, 10) : 0;
    snprintf(fault, RANKS_FAULT, "%s", why);
    return RANKS_REFUSED;
}

static bool init(char fault[RANKS_FAULT])
{
    int level = MPI_THREAD_SINGLE;
    if (!say(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level), fault)) return false;
    if (level >= MPI_THREAD_SERIALIZED) return true;
    snprintf(fault, RANKS_FAULT, "this MPI cannot be called from several threads");
    return false;
}

static enum ranks_outcome mpi_open(struct ranks_link **out, uint32_t *rank, uint32_t *size, uint64_t limit_ns,
                                   char fault[RANKS_FAULT])
{
    if (is_refused())
        return refuse(rank, "Open MPI has nothing by which its ranks find each other; srun --mpi=pmix is wanted",
                      fault);
    struct ranks_link *link = calloc(1, sizeof *link);
    if (!link) return say_no_memory(fault), RANKS_BROKEN;
    pthread_mutex_init(&link->lock, NULL);
    if (!init(fault)) return RANKS_BROKEN;
    enum ranks_outcome met = make_communicators(link, limit_ns, fault);
    if (met != RANKS_DONE) return met; /* what MPI may still write to stays */
    link->tellings = calloc((size_t)link->size, sizeof(MPI_Request));
    if (!link->tellings) return say_no_memory(fault), RANKS_BROKEN;
    if (link->size == 1)
        return refuse(rank,
                      "MPI sees one rank where the launcher has started several; with Slurm, srun --mpi=pmix may be "
                      "wanted",
                      fault);
    *rank = (uint32_t)link->rank;
    *size = (uint32_t)link->size;
    *out = link;
    return RANKS_DONE;
}

static void mpi_close(struct ranks_link *link)
{
    MPI_Comm_free(&link->parts);
    MPI_Comm_free(&link->causes);
    MPI_Finalize();
    if (!link->failed) free(link->staging);
    free(link->requests);
    free(link->tellings);
    free(link);
}

static void mpi_end(struct ranks_link *link, int code)
{
    (void)link;
    /* Open MPI's mpirun ends all ranks when one has failed, and that of 4.1 may crash over what MPI_Abort has it
     * say. */
    if (!getenv("OMPI_COMM_WORLD_SIZE")) MPI_Abort(MPI_COMM_WORLD, code);
}

/* ---- Messages ---- */

static bool make_room(struct ranks_link *link, size_t count, char fault[RANKS_FAULT])
{
    if (count <= link->room) return true;
    MPI_Request *grown = realloc(link->requests, count * sizeof(MPI_Request));
    if (!grown) return say_no_memory(fault);
    link->requests = grown;
    link->room = count;
    return true;
}

static size_t total_bytes(const struct ranks_part *parts, uint32_t count)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) bytes += parts[i].count;
    return bytes;
}

/* Nothing is under way: all exchanges before have ended well. */
static bool make_staging(struct ranks_link *link, size_t bytes, char fault[RANKS_FAULT])
{
    if (bytes <= link->staging_bytes) return true;
    free(link->staging);
    link->staging = malloc(bytes);
    link->staging_bytes = link->staging ? bytes : 0;
    return link->staging || say_no_memory(fault);
}

static void take_received(const struct ranks_link *link, const struct ranks_part *in, uint32_t ins)
{
    const uint8_t *at = link->staging;
    for (uint32_t i = 0; i < ins; at += in[i++].count)
        if (in[i].count > 0) memcpy(in[i].bytes, at, in[i].count);
}

/* *at: the part's place in the staging; then the next one's. */
static bool start(struct ranks_link *link, const struct ranks_part *part, bool out, uint8_t **at, MPI_Request *request,
                  char fault[RANKS_FAULT])
{
    uint8_t *bytes = *at;
    if (part->count > INT_MAX) {
        snprintf(fault, RANKS_FAULT, "a message of more than 2 GiB");
        return false;
    }
    *at += part->count;
    if (out && part->count > 0) memcpy(bytes, part->bytes, part->count);
    int code = out ? MPI_Isend(bytes, (int)part->count, MPI_BYTE, (int)part->peer, 0, link->parts, request)
                   : MPI_Irecv(bytes, (int)part->count, MPI_BYTE, (int)part->peer, 0, link->parts, request);
    link->cut = !say(code, fault);
    return !link->cut;
}

static bool start_all(struct ranks_link *link, const struct ranks_part *out, uint32_t outs, const struct ranks_part *in,
                      uint32_t ins, char fault[RANKS_FAULT])
{
    bool ok = make_room(link, (size_t)outs + ins, fault) &&
              make_staging(link, total_bytes(in, ins) + total_bytes(out, outs), fault);
    uint8_t *at = link->staging;
    pthread_mutex_lock(&link->lock);
    for (uint32_t i = 0; ok && i < ins; i++) ok = start(link, &in[i], false, &at, &link->requests[i], fault);
    for (uint32_t i = 0; ok && i < outs; i++) ok = start(link, &out[i], true, &at, &link->requests[ins + i], fault);
    pthread_mutex_unlock(&link->lock);
    return ok;
}

/* Whose message has not come, or gone. */
static uint32_t late_peer(struct ranks_link *link, const struct ranks_part *out, uint32_t outs,
                          const struct ranks_part *in, uint32_t ins)
{
    for (uint32_t i = 0; i < ins; i++)
        if (link->requests[i] != MPI_REQUEST_NULL) return in[i].peer;
    for (uint32_t i = 0; i < outs; i++)
        if (link->requests[ins + i] != MPI_REQUEST_NULL) return out[i].peer;
    return 0;
}

/* Testsome, not Testall: the latter leaves no trace of which have come. */
static bool test(struct ranks_link *link, int count, int *left, char fault[RANKS_FAULT])
{
    int done = 0, which[64];
    int begin = 0;
    *left = 0;
    pthread_mutex_lock(&link->lock);
    bool ok = true;
    for (; ok && begin < count; begin += 64) {
        int some = count - begin < 64 ? count - begin : 64;
        ok = say(MPI_Testsome(some, link->requests + begin, &done, which, MPI_STATUSES_IGNORE), fault);
        for (int i = 0; ok && i < some; i++) *left += link->requests[begin + i] != MPI_REQUEST_NULL;
    }
    pthread_mutex_unlock(&link->lock);
    return ok;
}

static enum ranks_outcome carry(struct ranks_link *link, const struct ranks_part *out, uint32_t outs,
                                const struct ranks_part *in, uint32_t ins, struct ranks_wait *wait)
{
    if (!start_all(link, out, outs, in, ins, wait->fault)) return link->cut ? RANKS_CUT : RANKS_BROKEN;
    struct patience patience = patience_begin(now_ns(), wait->limit_ns);
    int before = (int)(outs + ins), left;
    for (uint64_t looks = 0;; looks++) {
        if (!test(link, (int)(outs + ins), &left, wait->fault)) return RANKS_CUT;
        if (left == 0) return RANKS_DONE;
        if (atomic_load(wait->aborted)) {
            wait->peer = late_peer(link, out, outs, in, ins);
            return RANKS_ABORTED;
        }
        if (left < before) {
            patience = patience_begin(now_ns(), wait->limit_ns);
            before = left;
            looks = 0;
        }
        if (patience_is_over(&patience, now_ns())) {
            wait->peer = late_peer(link, out, outs, in, ins);
            return RANKS_LATE;
        }
        if (looks < EAGER_LOOKS)
            sched_yield();
        else
            nanosleep(&(struct timespec){0, PAUSE_NS}, NULL);
    }
}

static enum ranks_outcome mpi_exchange(struct ranks_link *link, const struct ranks_part *out, uint32_t outs,
                                       const struct ranks_part *in, uint32_t ins, struct ranks_wait *wait)
{
    if (link->failed) {
        snprintf(wait->fault, RANKS_FAULT, "earlier ones have failed");
        return RANKS_BROKEN;
    }
    enum ranks_outcome outcome = carry(link, out, outs, in, ins, wait);
    if (outcome == RANKS_DONE) take_received(link, in, ins);
    link->failed = outcome != RANKS_DONE;
    return outcome;
}

/* ---- Causes ---- */

/* Small enough to go at once; what it is sent from stays. */
static void mpi_tell(struct ranks_link *link, const struct ranks_cause *cause)
{
    pthread_mutex_lock(&link->lock);
    link->told = *cause;
    for (int i = 0; i < link->size; i++)
        if (i != link->rank)
            MPI_Isend(&link->told, (int)sizeof link->told, MPI_BYTE, i, 0, link->causes, &link->tellings[i]);
    pthread_mutex_unlock(&link->lock);
}

static bool mpi_hear(struct ranks_link *link, struct ranks_cause *cause)
{
    int there = 0;
    MPI_Status status;
    pthread_mutex_lock(&link->lock);
    bool ok = MPI_Iprobe(MPI_ANY_SOURCE, 0, link->causes, &there, &status) == MPI_SUCCESS && there;
    ok = ok && MPI_Recv(cause, (int)sizeof *cause, MPI_BYTE, status.MPI_SOURCE, 0, link->causes, MPI_STATUS_IGNORE) ==
                   MPI_SUCCESS;
    pthread_mutex_unlock(&link->lock);
    return ok;
}

extern const struct ranks_transport fathom_ranks_transport;
const struct ranks_transport fathom_ranks_transport = {.version = RANKS_TRANSPORT_VERSION,
                                                       .copies = true,
                                                       .process_bytes = LIBRARY_BYTES,
                                                       .rank_bytes = RANK_BYTES,
                                                       .open = mpi_open,
                                                       .exchange = mpi_exchange,
                                                       .tell = mpi_tell,
                                                       .hear = mpi_hear,
                                                       .close = mpi_close,
                                                       .end = mpi_end};
