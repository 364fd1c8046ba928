/* `fathom train` as a user meets it: exit codes, sentences, Ctrl-C. */
#define _GNU_SOURCE
#include <criterion/criterion.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "sanitizers.h"
#include "system_limits.h"
#include "signals_kit.h"
#include "train_help.h"

TestSuite(train_cli, .init = run_make_data, .fini = run_remove_data);

/* Starts `fathom train ARGUMENTS` in a shell that has run `setting`, with its output going to DATA/out. */
static pid_t start_after(const char *setting, const char *arguments)
{
    char command[1024];
    snprintf(command, sizeof command, "%sexec \"$FATHOM_BIN\" train %s > %s/out 2>&1", setting, arguments, run_data);
    fflush(NULL);
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child > 0) return child;
    signals_by_default();
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static pid_t start(const char *arguments) { return start_after("", arguments); }

static char output[65536];

static int finish(pid_t child)
{
    int status;
    size_t length;
    char *bytes;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(files_read(run_path("out"), sizeof output - 1, &bytes, &length, NULL));
    memcpy(output, bytes, length + 1);
    mem_free(bytes);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int train(const char *format, const char *more)
{
    char arguments[512];
    snprintf(arguments, sizeof arguments, format, run_data, more);
    return finish(start(arguments));
}

static void check_says(const char *text) { cr_assert(strstr(output, text), "'%s' is not in: %s", text, output); }

Test(train_cli, trains_and_sums_up)
{
    cr_assert_eq(train("resnet-8 --batch 8 --data %s --iterations 3 %s", "--gpus 2xcpu"), 0, "%s", output);
    check_says("step 3/3");
    check_says("top-1 error");
    check_says("planned");
}

/* oneDNN's kernels wait for the threads that they were made for: fewer must not come. */
Test(train_cli, fewer_openmp_threads_than_processors_hang_nothing)
{
    static const char *const settings[][3] = {{"OMP_THREAD_LIMIT", "1", "note: the environment leaves 1 thread"},
                                              {"OMP_MAX_ACTIVE_LEVELS", "0", "note: the environment leaves 1 thread"},
                                              {"OMP_DYNAMIC", "true", "2 steps"}};
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        setenv(settings[i][0], settings[i][1], 1);
        cr_assert_eq(train("resnet-8 --batch 8 --data %s --iterations 2 --no-evaluate", ""), 0, "%s", output);
        if (limits_processors() > 1) check_says(settings[i][2]);
        unsetenv(settings[i][0]);
    }
}

Test(train_cli, steps_in_flight_are_asked_for)
{
    setenv("FATHOM_LAG", "2", 1);
    cr_assert_eq(train("resnet-8 --batch 8 --data %s --iterations 3 %s", "--evaluate-images 8"), 0, "%s", output);
    check_says("step 3: test loss");
    static const char *const wrong[] = {"8", "-1", "", "two"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        setenv("FATHOM_LAG", wrong[i], 1);
        cr_assert_eq(train("resnet-8 --batch 8 --data %s --iterations 3", ""), 2, "%s", output);
        check_says("FATHOM_LAG: is");
    }
    unsetenv("FATHOM_LAG");
}

/* Whatever is left of the address space, a run succeeds or ends with one sentence: oneDNN does not survive a lack
 * of it. The program and its libraries themselves take some 60 MiB, 70 with kernels of GPUs that were compiled in
 * haste. */
Test(train_cli, a_small_address_space_is_refused_in_one_sentence)
{
    if (UNDER_SANITIZER) return;
    int refused = 0, done = 0;
    for (int mib = 84; mib <= 256; mib += 24) {
        char arguments[512], limit[64];
        snprintf(limit, sizeof limit, "ulimit -v %d; ", 1024 * mib);
        snprintf(arguments, sizeof arguments, "resnet-8 --batch 8 --data %s --iterations 1 --no-evaluate", run_data);
        int code = finish(start_after(limit, arguments));
        cr_assert(code == 0 || code == 1, "%d MiB: %d, %s", mib, code, output);
        done += code == 0;
        refused += code == 1;
        if (code == 0) continue;
        check_says("limited by ulimit -v");
        cr_assert(strchr(output, '\n') == strrchr(output, '\n'), "%d MiB: %s", mib, output);
    }
    cr_expect(done > 0 && refused > 0, "%d done, %d refused", done, refused);
}

/* In a namespace of its own, which not every user may make. */
static bool hide_proc(void)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 && unshare(CLONE_NEWNS) != 0) return false;
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mount("none", "/proc", "tmpfs", 0, NULL) == 0;
}

Test(train_cli, without_proc_what_is_unknown_is_said_to_be)
{
    if (UNDER_SANITIZER || !hide_proc()) cr_skip_test("a sanitizer that wants /proc, or no namespaces for this user");
    unsetenv("OMP_WAIT_POLICY");
    cr_assert_eq(train("resnet-8 --batch 8 --data %s --iterations 2 --no-evaluate", ""), 0, "%s", output);
    check_says("unknown at the peak");
    cr_expect_not(strstr(output, "note: "), "%s", output);
}

Test(train_cli, more_memory_than_there_is_is_refused_before_anything_is_written)
{
    char more[256];
    snprintf(more, sizeof more, "--save %s/saved --trace %s/trace --log %s/log", run_data, run_data, run_data);
    cr_assert_eq(train("resnet-20 --batch 1000000 --gpus 16TiB --backend cpu --data %s --iterations 1 %s", more), 1);
    check_says("can be had");
    check_says("--budget");
    static const char *const names[] = {"saved", "trace", "log"};
    for (int i = 0; i < 3; i++) cr_expect_neq(access(run_path(names[i]), F_OK), 0, "%s", names[i]);
}

Test(train_cli, wrong_commands_are_named)
{
    const char *cases[][2] = {{"--data %s %s", "model is wanted"},
                              {"resnet-21 --data %s %s", "resnet-21"},
                              {"resnet-8 --iterations 1 %.0s%s", "--data"},
                              {"resnet-8 --data %s/none %s", "none"},
                              {"resnet-8 --data %s --backend gpu %s", "--backend"},
                              {"resnet-8 --data %s --schedule sometimes %s", "--schedule"},
                              {"resnet-8 --data %s --iterations 1 --epochs 1 %s", "--epochs"},
                              {"resnet-8 --data %s --save-every 3 %s", "--save"},
                              {"resnet-8 --data %s --momentum 2 %s", "--momentum"},
                              {"resnet-8 --data %s --dataset cifar100 --iterations 1 %s", "10 classes"},
                              {"none.json --data %s %s", "none.json"},
                              {"resnet-8 --data %s --top %s", "--trace"},
                              {"resnet-8 --data %s --iterations 1 --top --trace /tmp/fathom-none.trace %s", "terminal"},
                              {"resnet-8 --gpus 12GiB --data %s %s", "CUDA"}};
    setenv("CUDA_VISIBLE_DEVICES", "", 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_assert_eq(train(cases[i][0], ""), 2, "%s: %s", cases[i][0], output);
        check_says(cases[i][1]);
    }
}

/* What a small run has otherwise than its recipe, and nobody asked for. */
Test(train_cli, a_scaled_recipe_says_so)
{
    const char *small = "resnet-8 --recipe cifar-110 --batch 8 --data %s --iterations 1 --no-evaluate %s";
    cr_assert_eq(train(small, ""), 0, "%s", output);
    check_says("recipe cifar-110; rate 0.0125 in place of 0.1, as the batch is 8 in place of");
    check_says("warm-up would be less than a step");
    cr_assert_eq(train(small, "--learning-rate 0.1 --warm-up 0"), 0, "%s", output);
    cr_expect_not(strstr(output, "in place of") || strstr(output, "would be"), "%s", output);
}

Test(train_cli, a_plan_file_decides_what_is_planned)
{
    char command[512];
    snprintf(command, sizeof command, "\"$FATHOM_BIN\" plan resnet-8 --gpus cpu --batch 8 -o %s/plan.json > %s/out",
             run_data, run_data);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(train("%1$s/plan.json --data %1$s --iterations 2 --evaluate-images 8 %2$s", ""), 0, "%s", output);
    check_says("step 2/2");
    cr_assert_eq(train("%1$s/plan.json --data %1$s --iterations 2 --batch 4 %2$s", ""), 2);
    check_says("is a plan");
}

/* What a shell command prints; DATA stands for the data's folder. */
static const char *shell(const char *script)
{
    char command[1024];
    snprintf(command, sizeof command, "DATA=%s; %s", run_data, script);
    FILE *from = popen(command, "r");
    cr_assert(from);
    output[fread(output, 1, sizeof output - 1, from)] = '\0';
    cr_assert_eq(pclose(from), 0, "%s: %s", script, output);
    return output;
}

Test(train_cli, a_step_has_one_number_everywhere)
{
    cr_assert_eq(train("resnet-8 --batch 8 --data %1$s --iterations 5 --evaluate-images 8 --save %1$s/saved "
                       "--log %1$s/log --trace %1$s/t.trace %2$s",
                       ""),
                 0, "%s", output);
    check_says("step 5/5");
    check_says("step 5: test loss");
    cr_assert_str_eq(shell("sed -n 's/^{\"step\": \\([0-9]*\\),.*/\\1/p' $DATA/log | xargs"), "1 2 3 4 5\n");
    cr_assert_str_eq(
        shell("ls $DATA/saved"),
        "best.safetensors\ndata.json\nstep-000000000005.safetensors\nstep-000000000005.state.safetensors\n");
    shell("$FATHOM_BIN top $DATA/t.trace --once --size 40x120");
    check_says("step 5/5");
    check_says("steps 1 to 5");
    check_says("step 5  loss");
    cr_assert(strstr(shell("$FATHOM_BIN top $DATA/t.trace --batch json"), "\"step\":5,"), "%s", output);
    shell("$FATHOM_BIN trace export $DATA/t.trace --chrome -o $DATA/t.json && "
          "grep -o '\"[a-z]*  *step [0-9]*\"\\|\"step [0-9]*\"' $DATA/t.json | sort -u | xargs");
    cr_assert_str_eq(output, "checkpoint step 5 step 1 step 2 step 3 step 4 step 5\n");
    shell("$FATHOM_BIN trace export $DATA/t.trace --perfetto -o $DATA/t.pb && "
          "grep -ao 'step [0-9][0-9]*' $DATA/t.pb | sort -u | xargs");
    cr_assert_str_eq(output, "step 1 step 2 step 3 step 4 step 5\n");
}

static void wait_for_step(int step)
{
    char text[64], *bytes;
    size_t length;
    snprintf(text, sizeof text, "\"step\": %d,", step);
    for (int i = 0; i < 6000; i++) {
        usleep(10000);
        if (!files_read(run_path("log"), 1 << 20, &bytes, &length, NULL)) continue;
        bool found = strstr(bytes, text) != NULL;
        mem_free(bytes);
        if (found) return;
    }
    cr_assert_fail("step %d was never logged", step);
}

static void check_stop(int number)
{
    char arguments[512], by[64];
    snprintf(by, sizeof by, "stopped by %s%s after step", number == SIGINT ? "Ctrl-" : "SIG",
             number == SIGINT ? "C" : sigabbrev_np(number));
    snprintf(arguments, sizeof arguments,
             "resnet-8 --batch 4 --data %s --iterations 100000 --save %s/saved --log %s/log --no-evaluate", run_data,
             run_data, run_data);
    pid_t child = start(arguments);
    wait_for_step(3);
    kill(child, number);
    cr_assert_eq(finish(child), 0, "%s", output);
    check_says(by);
    check_says("--resume");
    char again[512];
    snprintf(again, sizeof again, "resnet-8 --batch 4 --data %s --iterations 1 --resume %s/saved --no-evaluate",
             run_data, run_data);
    cr_assert_eq(finish(start(again)), 0, "%s", output); /* done already: nothing is left to do */
}

Test(train_cli, ctrl_c_saves_and_says_how_to_go_on) { check_stop(SIGINT); }

/* Later steps there are another run's, which the folder would go on from. */
Test(train_cli, a_branch_is_gone_on_from_by_its_file)
{
    char arguments[512], again[512];
    snprintf(arguments, sizeof arguments, "resnet-8 --batch 4 --data %s --iterations 2 --save %s/saved --no-evaluate",
             run_data, run_data);
    cr_assert_eq(finish(start(arguments)), 0, "%s", output);
    shell("cd $DATA/saved && cp step-000000000002.safetensors step-000000900000.safetensors");
    snprintf(arguments, sizeof arguments,
             "resnet-8 --batch 4 --data %s --iterations 100000 --resume %s/saved/step-000000000002.safetensors --save "
             "%s/saved --log %s/log --no-evaluate",
             run_data, run_data, run_data, run_data);
    pid_t child = start(arguments);
    wait_for_step(4);
    kill(child, SIGINT);
    cr_assert_eq(finish(child), 0, "%s", output);
    const char *last = strstr(output, "the checkpoint of step ");
    cr_assert(last, "%s", output);
    snprintf(again, sizeof again, "--resume %s/saved/step-%012d.safetensors\n", run_data, atoi(last + 23));
    check_says(again);
}

Test(train_cli, sigterm_does_too) { check_stop(SIGTERM); }

Test(train_cli, a_lost_terminal_does_too) { check_stop(SIGHUP); }

Test(train_cli, batch_systems_do_too)
{
    const int numbers[] = {SIGXCPU, SIGUSR1, SIGUSR2, SIGALRM, SIGPWR};
    for (int i = 0; i < 5; i++) {
        check_stop(numbers[i]);
        shell("rm -r $DATA/saved $DATA/log");
    }
}

/* Several come one after the other when a connection is lost; none is taken for impatience. */
Test(train_cli, requests_of_several_kinds_are_one)
{
    char arguments[512];
    snprintf(arguments, sizeof arguments,
             "resnet-8 --batch 4 --data %s --iterations 100000 --save %s/saved --log %s/log --no-evaluate", run_data,
             run_data, run_data);
    pid_t child = start(arguments);
    wait_for_step(2);
    const int numbers[] = {SIGHUP, SIGXCPU, SIGTERM, SIGHUP, SIGXCPU};
    for (int i = 0; i < 5; i++) kill(child, numbers[i]);
    cr_assert_eq(finish(child), 0, "%s", output);
    check_says("the checkpoint of step");
}

Test(train_cli, what_was_ignored_stays_ignored)
{
    char script[512];
    snprintf(script, sizeof script,
             "trap '' HUP; \"$FATHOM_BIN\" train resnet-8 --batch 4 --data $DATA --iterations 20 --log $DATA/log "
             "--no-evaluate >$DATA/out 2>&1 & until [ -s $DATA/log ]; do sleep 0.02; done; kill -HUP $!; wait $!");
    shell(script);
    cr_assert(strstr(shell("cat $DATA/out"), "step 20/20"), "%s", output);
}

/* Whether a signal was not taken by now: a second of its kind would be one with it. */
static bool is_pending(pid_t child, int number)
{
    char path[64], line[256];
    unsigned long long pending = 0;
    snprintf(path, sizeof path, "/proc/%ld/status", (long)child);
    FILE *status = fopen(path, "r");
    cr_assert(status, "%s", path);
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "ShdPnd: %llx", &pending) == 1) break;
    fclose(status);
    return pending >> (number - 1) & 1;
}

/* The naive loops take a minute for this step: nothing looks at the first request. */
static void check_second(int number)
{
    char arguments[512];
    snprintf(arguments, sizeof arguments,
             "resnet-20 --batch 128 --backend cpu-reference --data %s --iterations 9 --save %s/saved --trace %s/t",
             run_data, run_data, run_data);
    pid_t child = start(arguments);
    shell("for i in $(seq 1200); do \"$FATHOM_BIN\" top $DATA/t --once 2>&1 | grep -q 'steps 1 to 1' && exit; sleep "
          "0.05; "
          "done; exit 1");
    kill(child, number);
    for (int i = 0; i < 6000 && is_pending(child, number); i++) usleep(10000);
    kill(child, number);
    cr_assert_eq(finish(child), -number, "%s", output);
}

Test(train_cli, a_second_request_ends_it_at_once) { check_second(SIGTERM); }

Test(train_cli, a_second_ctrl_c_too) { check_second(SIGINT); }

/* Every step once, in order; returns the last. A line may be torn: the run was killed. */
static int check_log(bool torn)
{
    char *bytes;
    size_t length;
    struct error err = {0};
    cr_assert(files_read(run_path("log"), 1 << 20, &bytes, &length, &err), "%s", err.text);
    int step, last = 0;
    for (const char *line = bytes; strchr(line, '\n'); line = strchr(line, '\n') + 1, last = step) {
        cr_assert_eq(sscanf(line, "{\"step\": %d,", &step), 1, "%.60s", line);
        cr_assert_eq(step, last + 1);
    }
    cr_assert(torn || length == 0 || bytes[length - 1] == '\n');
    mem_free(bytes);
    return last;
}

/* The trace holds the steps from the first to `last`, each once, and was closed. */
static void check_trace(int last)
{
    char wanted[64];
    shell("$FATHOM_BIN top $DATA/t.trace --batch json");
    snprintf(wanted, sizeof wanted, "\"step\":%d,", last);
    check_says(wanted);
    check_says("\"ended\":true");
    shell("$FATHOM_BIN top $DATA/t.trace --once --view loss --size 40x120");
    snprintf(wanted, sizeof wanted, "Loss: steps 1 to %d ", last);
    check_says(wanted);
}

/* Until the trace on disk has steps from the first on: what is written in the last tenth of a second a kill takes. */
static void wait_for_trace(void)
{
    for (int i = 0; i < 3000; i++) {
        shell("$FATHOM_BIN top $DATA/t.trace --once --view loss --size 40x120");
        if (strstr(output, "Loss: steps 1 to ")) return;
        usleep(20000);
    }
    cr_assert_fail("the trace holds no steps: %s", output);
}

Test(train_cli, a_killed_run_goes_on_from_its_last_checkpoint)
{
    char arguments[512];
    snprintf(arguments, sizeof arguments,
             "resnet-8 --batch 4 --data %s --iterations 100000 --save %s/saved --save-every 5 --log %s/log --trace "
             "%s/t.trace "
             "--no-evaluate",
             run_data, run_data, run_data, run_data);
    pid_t child = start(arguments);
    wait_for_step(7);
    wait_for_trace();
    kill(child, SIGKILL);
    cr_assert_eq(finish(child), -SIGKILL);
    int last = check_log(true);
    FILE *log = fopen(run_path("log"), "a");
    cr_assert(log && fputs("{\"step\": 1", log) > 0 && fclose(log) == 0);
    snprintf(arguments, sizeof arguments,
             "resnet-8 --batch 4 --data %s --iterations 1000 --resume %s/saved --log %s/log --trace %s/t.trace "
             "--no-evaluate",
             run_data, run_data, run_data, run_data);
    child = start(arguments);
    wait_for_step(last + 3); /* steps after the checkpoint run, and are logged, again */
    kill(child, SIGINT);
    cr_assert_eq(finish(child), 0, "%s", output);
    check_says("going on after step ");
    check_says("t.trace: the trace goes on");
    int steps = check_log(false);
    cr_assert_geq(steps, last + 3);
    check_trace(steps);
    snprintf(arguments, sizeof arguments,
             "resnet-8 --batch 8 --data %s --iterations 1000 --resume %s/saved --trace %s/t.trace", run_data, run_data,
             run_data);
    cr_assert_eq(finish(start(arguments)), 2, "%s", output);
    check_says("is the trace of another run (batch 4; this run's is 8)");
    check_trace(steps);
}
