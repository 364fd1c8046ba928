#define _GNU_SOURCE
#include "engine_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "mem.h"

#define MOST_LINE    (1u << 18)
#define MOST_PLAN    (32u << 20) /* of a line with a plan */
#define MOST_ENGINES 256
#define QUOTED       60

extern char **environ;

struct engine_helper {
    char *program;
    double seconds;
    uint32_t cudnn;
    pid_t pid; /* 0 = not running */
    int fd;    /* its standard input and output */
    bool crashed;
    char *line;
    size_t room; /* of it */
    struct engine engines[MOST_ENGINES];
};

/* ---- The process ---- */

static bool spawn(struct engine_helper *helper, int theirs, struct error *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char *const arguments[] = {helper->program, NULL};
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, theirs, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, theirs, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    int failed = posix_spawn(&helper->pid, helper->program, &actions, &attributes, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (failed == 0) return true;
    helper->pid = 0;
    return error_errno(err, ERROR_FAILED, failed, "%s cannot be started", helper->program);
}

static bool start(struct engine_helper *helper, struct error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return error_errno(err, ERROR_FAILED, errno, "%s cannot be started", helper->program);
    helper->fd = ends[0];
    bool ok = spawn(helper, ends[1], err);
    close(ends[1]);
    return ok;
}

/* With all that it has started. *status as waitpid's; 0 when it did not run. It has nothing to lose. */
static int end(struct engine_helper *helper, bool at_once)
{
    int status = 0;
    if (helper->fd >= 0) close(helper->fd);
    helper->fd = -1;
    if (helper->pid == 0) return 0;
    /* Who closes its output ends: so much time to find out how. */
    bool ended = false;
    for (int i = 0; !at_once && !ended && i < 100; i++) {
        ended = waitpid(helper->pid, &status, WNOHANG) == helper->pid;
        if (!ended) poll(NULL, 0, 5);
    }
    kill(-helper->pid, SIGKILL);
    while (!ended && waitpid(helper->pid, &status, 0) < 0 && errno == EINTR) continue;
    helper->pid = 0;
    return status;
}

void engine_helper_stop(struct engine_helper *helper)
{
    if (!helper) return;
    end(helper, true);
    mem_free(helper->program);
    mem_free(helper->line);
    mem_free(helper);
}

/* ---- Lines ---- */

static bool is_crash(int signal)
{
    return signal == SIGSEGV || signal == SIGBUS || signal == SIGABRT || signal == SIGFPE || signal == SIGILL;
}

static bool ended(struct engine_helper *helper, struct error *err)
{
    int status = end(helper, false);
    helper->crashed = WIFSIGNALED(status) && is_crash(WTERMSIG(status));
    if (WIFSIGNALED(status))
        return error_set(err, ERROR_FAILED, "%s was ended by signal %d (%s)", helper->program, WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
    return error_set(err, ERROR_FAILED, "%s ended with exit code %d and without an answer", helper->program,
                     WEXITSTATUS(status));
}

static bool is_no_answer(struct engine_helper *helper, struct error *err)
{
    end(helper, true);
    return error_set(err, ERROR_FAILED, "%s answered '%.*s', which is no answer", helper->program, QUOTED,
                     helper->line);
}

static bool send_line(struct engine_helper *helper, const char *line, struct error *err)
{
    size_t left = strlen(line);
    if (helper->pid == 0) return error_set(err, ERROR_FAILED, "%s has ended", helper->program);
    while (left > 0) {
        ssize_t sent = send(helper->fd, line, left, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return ended(helper, err);
        line += sent;
        left -= (size_t)sent;
    }
    return true;
}

static bool wait_for_bytes(struct engine_helper *helper, uint64_t deadline, struct error *err)
{
    struct pollfd waiting = {.fd = helper->fd, .events = POLLIN};
    for (;;) {
        uint64_t now = clock_now_ns();
        int ready = now < deadline ? poll(&waiting, 1, (int)((deadline - now) / 1000000 + 1)) : 0;
        if (ready > 0) return true;
        if (ready < 0 && errno == EINTR) continue;
        end(helper, true);
        return error_set(err, ERROR_FAILED, "%s did not answer in %.3g s", helper->program, helper->seconds);
    }
}

/* One line of so many bytes at most, without its end: one question is one answer, so nothing follows it. */
static bool read_line(struct engine_helper *helper, size_t most, struct error *err)
{
    uint64_t deadline = clock_now_ns() + (uint64_t)(helper->seconds * 1e9);
    for (size_t length = 0; length + 1 < most;) {
        TRY(wait_for_bytes(helper, deadline, err));
        if (!mem_grow(MEM_PLAN, (void **)&helper->line, &helper->room, length + 4096, 1))
            return error_memory(err, length, "an answer of the engines' helper");
        ssize_t got = recv(helper->fd, helper->line + length, helper->room - 1 - length, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return ended(helper, err);
        length += (size_t)got;
        helper->line[length] = '\0';
        char *line_end = strchr(helper->line, '\n');
        if (!line_end) continue;
        *line_end = '\0';
        return line_end == helper->line + length - 1 || is_no_answer(helper, err);
    }
    return is_no_answer(helper, err);
}

/* The object in the next line, which the caller ends with json_decref. */
static json_t *read_answer_of(struct engine_helper *helper, size_t most, struct error *err)
{
    struct error unsaid = {0};
    if (!read_line(helper, most, err)) return NULL;
    json_t *answer = json_parse(helper->line, strlen(helper->line), helper->program, &unsaid);
    if (json_is_object(answer)) return answer;
    json_decref(answer);
    is_no_answer(helper, err);
    return NULL;
}

static json_t *read_answer(struct engine_helper *helper, struct error *err)
{
    return read_answer_of(helper, MOST_LINE, err);
}

static bool is_refusal(const struct engine_helper *helper, const json_t *answer, struct error *err)
{
    const char *refused = json_string_value(json_object_get(answer, "refused"));
    if (refused) error_set(err, ERROR_FAILED, "%s: %s", helper->program, refused);
    return refused != NULL;
}

/* ---- Questions ---- */

static bool greet(struct engine_helper *helper, struct error *err)
{
    json_t *answer = read_answer(helper, err);
    if (!answer) return false;
    json_int_t version = json_integer_value(json_object_get(answer, "cudnn"));
    bool refused = is_refusal(helper, answer, err);
    json_decref(answer);
    if (refused) return false;
    if (version <= 0 || version > INT32_MAX) return is_no_answer(helper, err);
    helper->cudnn = (uint32_t)version;
    return true;
}

bool engine_helper_start(const char *program, double seconds, struct engine_helper **helper, struct error *err)
{
    struct engine_helper *made = mem_zalloc(MEM_PLAN, 1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "the engines' helper");
    made->fd = -1;
    made->seconds = seconds > 0 ? seconds : ENGINE_HELPER_SECONDS;
    made->program = mem_strdup(MEM_PLAN, program);
    if ((made->program || error_memory(err, strlen(program), "a path")) && start(made, err) && greet(made, err)) {
        *helper = made;
        return true;
    }
    engine_helper_stop(made);
    return false;
}

uint32_t engine_helper_cudnn(const struct engine_helper *helper) { return helper->cudnn; }

bool engine_helper_describe(struct engine_helper *helper, const char *json, struct error *err)
{
    char line[ENGINE_DEVICE_TEXT + 32];
    snprintf(line, sizeof line, "{\"device\": %s}\n", json);
    TRY(send_line(helper, line, err));
    json_t *answer = read_answer(helper, err);
    if (!answer) return false;
    bool refused = is_refusal(helper, answer, err), taken = json_is_true(json_object_get(answer, "device"));
    json_decref(answer);
    return !refused && (taken || is_no_answer(helper, err));
}

static bool take_engines(struct engine_helper *helper, const json_t *answer, size_t *count)
{
    const json_t *rows = json_object_get(answer, "engines");
    *count = json_array_size(rows);
    if (!json_is_array(rows) || *count > MOST_ENGINES) return false;
    for (size_t i = 0; i < *count; i++) TRY(engine_parse(json_array_get(rows, i), &helper->engines[i]));
    return true;
}

/* Without the brace that ends it. */
#define QUESTION 512
static size_t write_question(const struct engine_question *question, char line[QUESTION])
{
    char fused[ENGINE_FUSED_TEXT], number[ENGINE_NUMBER_TEXT];
    size_t length =
        (size_t)snprintf(line, QUESTION, "{\"pass\": \"%s\", \"dtype\": \"%s\"",
                         engine_pass_name((enum engine_pass)question->pass), dtype_name((enum dtype)question->dtype));
    for (size_t i = 0; i < ENGINE_QUESTION_FIELDS; i++)
        length += (size_t)snprintf(line + length, QUESTION - length, ", \"%s\": %s", engine_question_fields[i].name,
                                   engine_question_number(question, &engine_question_fields[i], number));
    if (question->fused || question->weights != question->dtype)
        length +=
            (size_t)snprintf(line + length, QUESTION - length, ", \"fused\": \"%s\", \"weights\": \"%s\"",
                             engine_fused_words(question->fused, fused), dtype_name((enum dtype)question->weights));
    return length;
}

bool engine_helper_ask(struct engine_helper *helper, const struct engine_question *question,
                       struct engine_answer *answer, struct error *err)
{
    char line[QUESTION + 8];
    snprintf(line + write_question(question, line), 8, "}\n");
    TRY(send_line(helper, line, err));
    json_t *said = read_answer(helper, err);
    if (!said) return false;
    *answer = (struct engine_answer){.question = *question, .engines = helper->engines};
    bool refused = json_is_string(json_object_get(said, "refused"));
    bool good = refused || take_engines(helper, said, &answer->count);
    json_decref(said);
    return good || is_no_answer(helper, err);
}

bool engine_helper_plan(struct engine_helper *helper, const struct engine_question *question,
                        const struct engine *engine, char **text, struct error *err)
{
    char line[QUESTION + ENGINE_KNOBS + 80];
    size_t length = write_question(question, line);
    *text = NULL;
    snprintf(line + length, sizeof line - length, ", \"engine\": %" PRIu32 ", \"knobs\": \"%s\", \"text\": true}\n",
             engine->id, engine->knobs);
    TRY(send_line(helper, line, err));
    json_t *said = read_answer_of(helper, MOST_PLAN, err);
    if (!said) return false;
    bool refused = json_is_string(json_object_get(said, "refused"));
    const char *plan = json_string_value(json_object_get(json_object_get(said, "plan"), "text"));
    if (plan) *text = mem_strdup(MEM_PLAN, plan);
    json_decref(said);
    if (plan && !*text) return error_memory(err, MOST_LINE, "a plan of cuDNN");
    return refused || plan || is_no_answer(helper, err);
}

bool engine_helper_crashed(const struct engine_helper *helper) { return helper->crashed; }
