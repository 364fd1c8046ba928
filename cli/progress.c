#define _GNU_SOURCE
#include "progress.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "command.h"
#include "page.h"
#include "printable.h"
#include "process.h"
#include "stop.h"
#include "text.h"
#include "units.h"

#define TERMINAL_NS 100000000u   /* between two updates of the line */
#define PLAIN_NS    10000000000u /* between two plain lines */

struct progress_line progress_begin(void)
{
    return (struct progress_line){.terminal = isatty(STDOUT_FILENO) == 1, .told_ns = clock_now_ns()};
}

/* What is not known is a dash, never a number. */
static void add_number(struct text *line, const char *format, double number)
{
    if (isfinite(number))
        text_add(line, format, number);
    else
        text_add(line, "-");
}

enum { STEP, EPOCH, LOSS, ERROR, RATE, SPEED, WAITS, LEFT, PARTS };

static void add_part(struct text *line, int part, const struct train_status *s)
{
    char eta[UNITS_TEXT];
    switch (part) {
    case STEP: text_add(line, "step %" PRIu64 "/%" PRIu64, s->step, s->iterations); break;
    case EPOCH: add_number(line, "  epoch %.2f", s->epoch); break;
    case LOSS: add_number(line, "  loss %.4f", s->loss); break;
    case ERROR:
        text_add(line, s->has_top5 ? "  top-1/5 error " : "  top-1 error ");
        add_number(line, s->has_top5 ? "%.1f" : "%.1f %%", 100 * s->pass_top1);
        if (s->has_top5) add_number(line, "/%.1f %%", 100 * s->pass_top5);
        break;
    case RATE: text_add(line, "  rate %.3g", s->learning_rate); break;
    case SPEED: add_number(line, "  %.4g images/s", s->images_per_second); break;
    case WAITS:
        text_add(line, "  waits ");
        add_number(line, "%.0f %%", 100 * s->waited_share);
        break;
    case LEFT:
        if (s->step < s->iterations) text_add(line, "  %s left", units_format_seconds(s->eta_seconds, eta));
        break;
    }
}

/* On a terminal as much as a line has room for: one that wraps cannot be overwritten. */
static void print_line(const struct train_status *s, bool terminal)
{
    static const uint8_t droppable[] = {RATE, EPOCH, WAITS, ERROR, SPEED, LOSS};
    struct text part[PARTS] = {0};
    size_t length = 0, columns = terminal ? (size_t)page_columns() : SIZE_MAX;
    for (int i = 0; i < PARTS; i++) {
        add_part(&part[i], i, s);
        length += part[i].length;
    }
    for (size_t i = 0; length > columns && i < sizeof droppable; i++) {
        length -= part[droppable[i]].length;
        text_finish(&part[droppable[i]]);
    }
    for (int i = 0; i < PARTS; i++) {
        if (part[i].bytes && !part[i].failed) fputs(part[i].bytes, stdout);
        text_finish(&part[i]);
    }
}

/* Of few classes there is no top-5 error. */
static void print_errors(double top1, double top5)
{
    printf("top-1 error %.2f %%", 100 * top1);
    if (!isnan(top5)) printf(", top-5 error %.2f %%", 100 * top5);
    putchar('\n');
}

static void print_evaluation(const struct train_status *s)
{
    if (!isfinite(s->test_loss)) {
        printf("step %" PRIu64 ": the evaluation's loss is not finite: no test error is known\n", s->step);
        return;
    }
    printf("step %" PRIu64 ": test loss %.4f, ", s->step, s->test_loss);
    print_errors(s->top1_error, s->top5_error);
}

static void end_line(struct progress_line *p)
{
    if (p->line_open) putchar('\n');
    p->line_open = false;
    fflush(stdout);
}

bool progress_try_dashboard(const char *trace, struct error *err)
{
    if (isatty(STDOUT_FILENO) && isatty(STDIN_FILENO)) return true;
    return error_set(err, ERROR_INPUT, "--top: a terminal is wanted; `fathom top %s` shows the run from another",
                     trace);
}

bool progress_dashboard(struct progress_line *p, const char *trace, struct error *err)
{
    fflush(NULL);
    p->dashboard = fork();
    if (p->dashboard > 0) return true;
    if (p->dashboard == 0) prctl(PR_SET_PDEATHSIG, SIGTERM); /* it gives the terminal back when the run is killed */
    if (p->dashboard < 0) return error_errno(err, ERROR_FAILED, errno, "--top: the dashboard cannot be started");
    process_execute_self((const char *const[]){"fathom", "top", trace, "--until-end", NULL});
    _exit(127);
}

static bool has_screen(struct progress_line *p)
{
    if (p->dashboard > 0 && waitpid(p->dashboard, NULL, WNOHANG) != 0) {
        p->dashboard = 0;
        if (!*stop_flag()) printf("the run goes on without the dashboard; Ctrl-C stops it\n");
    }
    return p->dashboard == 0;
}

void progress_show(void *context, const struct train_status *status)
{
    struct progress_line *p = context;
    if (!has_screen(p)) return;
    uint64_t now = clock_now_ns();
    bool last = status->step == status->iterations;
    if (last || status->evaluated || now - p->last_ns >= (p->terminal ? TERMINAL_NS : PLAIN_NS)) {
        p->last_ns = now;
        if (p->terminal) fputs("\r\033[K", stdout);
        print_line(status, p->terminal);
        if (!p->terminal) putchar('\n');
        p->line_open = p->terminal;
    }
    if (status->evaluated) {
        end_line(p);
        print_evaluation(status);
    }
    fflush(stdout);
    if (options_reader_is_gone()) stop_request(SIGPIPE); /* `| head`: as when the terminal is lost */
}

/* ---- Before the first step ---- */

static void show_passing(struct progress_line *p, const char *text)
{
    uint64_t now = clock_now_ns();
    if (now - p->told_ns < (p->terminal ? TERMINAL_NS : PLAIN_NS)) return;
    p->told_ns = now;
    if (p->terminal)
        printf("\r\033[K%.*s", page_columns() - 1, text);
    else
        puts(text);
    p->line_open = p->terminal;
    fflush(stdout);
}

static void show_lasting(struct progress_line *p, uint32_t device, const char *text)
{
    char which[32] = "";
    if (device > 0) snprintf(which, sizeof which, "device %" PRIu32 ": ", device);
    if (p->line_open) fputs("\r\033[K", stdout);
    p->line_open = false;
    page_say(stdout, 0, 2, "%s%s", which, PRINTABLE(text));
    fflush(stdout);
}

void progress_tell(void *context, uint32_t device, const char *text, bool passing)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct progress_line *p = context;
    pthread_mutex_lock(&lock);
    if (p->dashboard == 0 && passing && device == 0) show_passing(p, text);
    if (p->dashboard == 0 && !passing) show_lasting(p, device, text);
    pthread_mutex_unlock(&lock);
}

void progress_end(struct progress_line *p)
{
    if (p->dashboard > 0) { /* it leaves by itself when the run ends; a run that failed may not say so */
        kill(p->dashboard, SIGTERM);
        waitpid(p->dashboard, NULL, 0);
        p->dashboard = 0;
    }
    end_line(p);
}

static void add_process_memory(const struct train_result *r, struct text *line)
{
    char text[2][UNITS_TEXT];
    text_add(line, "%s planned, ", units_format_bytes(r->planned_bytes, text[0]));
    if (r->peak_bytes == 0)
        text_add(line, "unknown at the peak of the process: /proc/self/status cannot be read");
    else
        text_add(line, "%s at the peak of the process (%+.1f %%)", units_format_bytes(r->peak_bytes, text[1]),
                 100 * ((double)r->peak_bytes / (double)r->planned_bytes - 1));
}

/* The arena is taken as planned; what else there is on a GPU was estimated. */
static void add_device_memory(const struct plan *plan, const struct train_result *r, struct text *line)
{
    const struct plan_device *device = &plan->devices[r->device];
    uint64_t planned = device->classes[MEMORY_COMMUNICATION] + device->classes[MEMORY_CONTEXT];
    const struct device_memory *used = &r->device_memory;
    char text[3][UNITS_TEXT], which[32] = "";
    if (plan->device_count > 1) snprintf(which, sizeof which, " on device %u", r->device);
    text_add(line, "%s arena and %s outside it planned%s, ", units_format_bytes(used->arena_bytes, text[0]),
             units_format_bytes(planned, text[1]), which);
    if (used->outside == DEVICE_OUTSIDE_UNKNOWN)
        text_add(line, "unknown what is used outside");
    else
        text_add(line, "%s used outside%s", units_format_bytes(used->outside_bytes, text[2]),
                 used->outside == DEVICE_OUTSIDE_KNOWN ? "" : ", the context not counted");
}

/* Which of many ranks is told of: the one that holds most for what was planned. */
static double fullness(const struct train_result *r)
{
    if (r->device_known) return (double)r->device_memory.outside_bytes;
    return r->planned_bytes ? (double)r->peak_bytes / (double)r->planned_bytes : 0;
}

#define TOLD_RANKS 8u

static void print_memory(const struct plan *plan, const struct train_result *results, uint32_t ranks)
{
    uint32_t fullest = 0;
    for (uint32_t i = 1; i < ranks; i++)
        if (fullness(&results[i]) > fullness(&results[fullest])) fullest = i;
    for (uint32_t i = 0; i < ranks; i++) {
        struct text line = {0};
        if (ranks > TOLD_RANKS && i != fullest) continue;
        if (ranks > TOLD_RANKS)
            text_add(&line, "of %" PRIu32 " ranks the fullest, %" PRIu32 ": ", ranks, i);
        else if (ranks > 1)
            text_add(&line, "rank %" PRIu32 ": ", i);
        if (results[i].device_known)
            add_device_memory(plan, &results[i], &line);
        else
            add_process_memory(&results[i], &line);
        if (!line.failed) printf("  %-7s %s\n", i == 0 || ranks > TOLD_RANKS ? "memory" : "", line.bytes);
        text_finish(&line);
    }
}

static void print_step(const struct plan *plan, const struct train_result *r)
{
    char text[2][UNITS_TEXT];
    double took = plan->batch / r->images_per_second;
    printf("  step    %s (median), %s predicted (%+.1f %%)\n", units_format_seconds(took, text[0]),
           units_format_seconds(plan->step_seconds, text[1]), 100 * (took / plan->step_seconds - 1));
}

void progress_summary(const struct plan *plan, bool as_planned, const struct train_result *results, uint32_t ranks)
{
    char text[UNITS_TEXT];
    const struct train_result *r = results;
    if (r->images_per_second <= 0) {
        printf("%s: %" PRIu64 " steps were done already; --iterations counts them all\n", plan->spec.name, r->steps);
        return;
    }
    printf("%s: %" PRIu64 " step%s of %u image%s done\n", plan->spec.name, r->steps, r->steps == 1 ? "" : "s",
           plan->batch, plan->batch == 1 ? "" : "s");
    printf("  time    %s in this run, %.4g images/s (median)\n", units_format_seconds(r->seconds, text),
           r->images_per_second);
    if (as_planned && plan->step_seconds > 0) print_step(plan, r);
    if (!isnan(r->loss)) printf("  loss    %.4f in the last step\n", r->loss);
    if (!isnan(r->top1_error)) {
        printf("  test    ");
        print_errors(r->top1_error, r->top5_error);
    }
    if (r->loss_scale > 0)
        printf("  scale   of the loss %g; %" PRIu64 " of all steps were skipped as gradients overflowed\n",
               r->loss_scale, r->skipped);
    print_memory(plan, results, ranks);
    if (*r->remark) page_say(stdout, 2, 10, "note    %s", PRINTABLE(r->remark));
}

#define NAMED_BROKEN 10u

void progress_broken(const struct broken_images *broken)
{
    uint64_t count = broken_images_count(broken);
    char text[UNITS_TEXT];
    if (count == 0) return;
    printf("  skipped %s image%s that cannot be decoded:\n", units_format_count(count, text), count == 1 ? "" : "s");
    for (size_t i = 0; i < NAMED_BROKEN && broken_images_text(broken, i); i++)
        printf("          %s\n", PRINTABLE(broken_images_text(broken, i)));
    if (count > NAMED_BROKEN) puts("          ...; `fathom data info DIR --check` names them all");
}
