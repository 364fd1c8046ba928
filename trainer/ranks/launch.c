#define _GNU_SOURCE
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "local.h"
#include "process.h"

#define LOOK_US 10000

struct launch {
    const struct launch_options *options;
    int board_fd;
    struct local_board *board;
    int sockets[LOCAL_MOST_RANKS][LOCAL_MOST_RANKS]; /* [a][b]: a's end of its socket to b */
    pid_t pids[LOCAL_MOST_RANKS];                    /* 0 = none, or ended */
    bool stopped[LOCAL_MOST_RANKS];                  /* by SIGSTOP or a terminal */
    uint32_t running;
    int code;
    uint64_t failed_ns; /* when the first failed; 0 = none has */
    bool killed;        /* those that were left */
    uint32_t silent;    /* the first that ended without a word of its own; LAUNCH_NONE = none has */
};

/* ---- Starting ---- */

static bool make_board(struct launch *l, struct error *err)
{
    size_t bytes = local_board_bytes(l->options->ranks);
    l->board_fd = memfd_create("fathom ranks", MFD_CLOEXEC);
    if (l->board_fd < 0 || ftruncate(l->board_fd, (off_t)bytes) != 0)
        return error_errno(err, ERROR_FAILED, errno, "memory that ranks share cannot be had");
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, l->board_fd, 0);
    if (map == MAP_FAILED) return error_errno(err, ERROR_FAILED, errno, "memory that ranks share cannot be mapped");
    l->board = map;
    return true;
}

static bool make_sockets(struct launch *l, struct error *err)
{
    for (uint32_t a = 0; a < l->options->ranks; a++)
        for (uint32_t b = 0; b < a; b++) {
            int pair[2];
            if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
                return error_errno(err, ERROR_FAILED, errno, "sockets between %u ranks cannot be had",
                                   l->options->ranks);
            l->sockets[a][b] = pair[0];
            l->sockets[b][a] = pair[1];
        }
    return true;
}

static void close_all(struct launch *l)
{
    for (uint32_t a = 0; a < l->options->ranks; a++)
        for (uint32_t b = 0; b < l->options->ranks; b++)
            if (l->sockets[a][b] >= 0) close(l->sockets[a][b]);
    if (l->board_fd >= 0) close(l->board_fd);
    l->board_fd = -1;
}

static void keep_open(int fd) { fcntl(fd, F_SETFD, 0); }

/* What a rank finds in its environment (local.h). */
static void name_sockets(const struct launch *l, uint32_t rank)
{
    char text[32 + 12 * LOCAL_MOST_RANKS];
    int used = snprintf(text, sizeof text, "%u:%u:%d:", rank, l->options->ranks, l->board_fd);
    keep_open(l->board_fd);
    for (uint32_t i = 0; i < l->options->ranks; i++) {
        used += snprintf(text + used, sizeof text - (size_t)used, "%s%d", i ? "," : "", l->sockets[rank][i]);
        if (i != rank) keep_open(l->sockets[rank][i]);
    }
    setenv(LOCAL_VARIABLE, text, 1);
}

static bool start_rank(struct launch *l, uint32_t rank, struct error *err)
{
    pid_t parent = getpid(), pid = fork();
    if (pid < 0) return error_errno(err, ERROR_FAILED, errno, "a process for rank %u cannot be started", rank);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        name_sockets(l, rank);
        process_execute_self(l->options->arguments);
        _exit(127);
    }
    l->pids[rank] = pid;
    l->running++;
    return true;
}

/* ---- Watching ---- */

static void see_failure(struct launch *l, int code)
{
    if (l->failed_ns == 0) l->failed_ns = clock_now_ns();
    if (l->code == 0) l->code = code;
}

/* The board may know of a cause that came before. */
static bool is_first(const struct launch *l)
{
    for (uint32_t i = 0; i < l->options->ranks; i++)
        if (atomic_load(&l->board->words[i].written) && l->board->words[i].cause.weight == RANKS_OWN) return false;
    return true;
}

/* A rank that could not tell why it ended. */
static void tell_for(struct launch *l, uint32_t rank, pid_t pid, int status, struct error *err)
{
    struct ranks_cause cause = {.rank = rank, .weight = RANKS_OWN, .kind = ERROR_FAILED};
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    char host[64] = "";
    const char *name = number ? sigabbrev_np(number) : NULL;
    gethostname(host, sizeof host - 1);
    if (number)
        snprintf(cause.text, sizeof cause.text, "rank %u of %u (host %s, device %u, process %d) was killed by SIG%s%s",
                 rank, l->options->ranks, host, rank, (int)pid, name ? name : "?",
                 number == SIGKILL ? ", which the kernel also does when memory is short" : "");
    else
        snprintf(cause.text, sizeof cause.text,
                 "rank %u of %u (host %s, device %u): this program cannot be started again", rank, l->options->ranks,
                 host, rank);
    bool first = is_first(l);
    if (!local_write(&l->board->words[rank], &cause) || !first) return;
    error_set(err, ERROR_FAILED, "%s", cause.text);
    l->silent = rank;
}

static void see_end(struct launch *l, uint32_t rank, int status, struct error *err)
{
    pid_t pid = l->pids[rank];
    l->pids[rank] = 0;
    l->running--;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    bool told = WIFEXITED(status) && WEXITSTATUS(status) != 127;
    if (!told && !l->killed) tell_for(l, rank, pid, status, err);
    see_failure(l, told ? WEXITSTATUS(status) : 1);
}

static void kill_rest(struct launch *l)
{
    for (uint32_t i = 0; i < l->options->ranks; i++)
        if (l->pids[i] > 0) kill(l->pids[i], SIGKILL);
    l->killed = true;
}

static void look_at(struct launch *l, uint32_t rank, struct error *err)
{
    int status;
    if (l->pids[rank] <= 0 || waitpid(l->pids[rank], &status, WNOHANG | WUNTRACED | WCONTINUED) != l->pids[rank])
        return;
    l->stopped[rank] = WIFSTOPPED(status);
    if (!WIFSTOPPED(status) && !WIFCONTINUED(status)) see_end(l, rank, status, err);
}

/* Those that are stopped would never end. */
static bool only_stopped_left(const struct launch *l)
{
    uint32_t stopped = 0;
    for (uint32_t i = 0; i < l->options->ranks; i++) stopped += l->pids[i] > 0 && l->stopped[i];
    return stopped == l->running;
}

static void look(struct launch *l, struct error *err)
{
    for (uint32_t i = 0; i < l->options->ranks; i++) look_at(l, i, err);
    if (l->options->stop && *l->options->stop) atomic_store(&l->board->stop, *l->options->stop);
    bool late = clock_now_ns() - l->failed_ns > l->options->end_ns;
    if (l->failed_ns && !l->killed && (late || only_stopped_left(l))) kill_rest(l);
}

/* A rank that the others missed, and that has told nothing itself. One that tells of a fault of its own is the cause,
 * unless all that it tells is that its device was late: then it has waited too. */
static uint32_t find_missed(const struct launch *l)
{
    uint32_t missed = LAUNCH_NONE;
    bool waited = false;
    for (uint32_t i = 0; i < l->options->ranks; i++) {
        const struct local_word *word = &l->board->words[i];
        if (!atomic_load(&word->written)) continue;
        bool late = word->cause.weight == RANKS_OWN && word->cause.kind == ERROR_LATE;
        if (word->cause.weight == RANKS_OWN && !late) return LAUNCH_NONE;
        waited |= late || word->cause.weight == RANKS_MISSED;
    }
    for (uint32_t i = 0; waited && i < l->options->ranks && missed == LAUNCH_NONE; i++)
        if (!atomic_load(&l->board->words[i].written)) missed = i;
    return missed;
}

int launch_run(const struct launch_options *options, uint32_t *silent, struct error *err)
{
    struct launch l = {.options = options, .board_fd = -1, .silent = LAUNCH_NONE};
    *silent = LAUNCH_NONE;
    memset(l.sockets, -1, sizeof l.sockets);
    if (options->ranks > LOCAL_MOST_RANKS) {
        error_set(err, ERROR_INPUT, "%u processes of one machine are wanted; %u are possible, and more with mpirun",
                  options->ranks, LOCAL_MOST_RANKS);
        return 2;
    }
    bool ok = make_board(&l, err) && make_sockets(&l, err);
    for (uint32_t i = 0; ok && i < options->ranks; i++) ok = start_rank(&l, i, err);
    close_all(&l); /* a rank's end is then seen by its peers */
    if (!ok) {
        l.code = 1;
        kill_rest(&l);
    }
    while (l.running > 0) {
        look(&l, err);
        usleep(LOOK_US);
    }
    if (l.board) *silent = l.silent != LAUNCH_NONE ? l.silent : find_missed(&l);
    if (l.board) munmap(l.board, local_board_bytes(options->ranks));
    return l.code;
}
