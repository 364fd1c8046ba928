#define _GNU_SOURCE
#include "command.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backends.h"
#include "cpu_threads.h"
#include "files.h"
#include "mem.h"
#include "outputs.h"
#include "page.h"
#include "printable.h"
#include "stop.h"
#include "text.h"
#include "train_command.h"
#include "train_profile.h"
#include "train_ranks.h"
#include "units.h"
#include "writer.h"

static const char manual[] = "NAME\n"
                             "    fathom train - train a network under its memory plan\n"
                             "\n"
                             "SYNOPSIS\n"
                             "    fathom train PLAN.json --data DIR [OPTIONS]\n"
                             "    fathom train MODEL [--batch N] [--gpus MACHINE] --data DIR [OPTIONS]\n"
                             "\n"
                             "DESCRIPTION\n"
                             "    Executes a plan made by `fathom plan`, or plans MODEL first. The memory of\n"
                             "    the plan is taken once; a step allocates nothing. A plan that does not prove\n"
                             "    itself is refused.\n"
                             "\n"
                             "    The order of the images, their augmentation and the first weights depend on\n"
                             "    --seed alone, so that a run that is stopped and resumed gives the same\n"
                             "    weights, bit by bit, as one that was not.\n"
                             "\n"
                             "    Ctrl-C finishes the step, writes a checkpoint if --save is given, and\n"
                             "    leaves; so does a lost terminal (SIGHUP), an output that nobody reads any\n"
                             "    more (`| head`), and what a batch system sends before it kills (SIGTERM,\n"
                             "    SIGXCPU, SIGUSR1, SIGUSR2, SIGALRM). A second Ctrl-C or SIGTERM ends the\n"
                             "    process at once; the last checkpoint on disk stays whole. What was ignored\n"
                             "    when the program started stays so (nohup). A run that fails, at a loss\n"
                             "    that is not finite or with --strict at an image that cannot be read, writes\n"
                             "    a checkpoint of the last good step too.\n"
                             "\n"
                             "    With --trace SIGUSR2 ends nothing: the next 64 steps are timed op by op,\n"
                             "    whatever it costs, as r in `fathom top` asks for (kill -USR2 PID; a batch\n"
                             "    system that is to end such a run should send another one).\n"
                             "\n"
                             "OPTIONS\n"
                             "    --data DIR            the dataset (see `fathom help data`); `fathom data\n"
                             "                          synth DIR` makes one\n"
                             "    --iterations N        steps in total, also when resumed; if not given, as\n"
                             "                          many passes over the training images as the recipe\n"
                             "                          makes over its own\n"
                             "    --epochs N            the same in passes over the training images\n"
                             "    --seed S              of weights, order and augmentation; 0 if not given. A\n"
                             "                          checkpoint brings its own\n"
                             "    --save DIR            checkpoints go there, one file per step saved; one run\n"
                             "                          at a time\n"
                             "    --save-every N        every N steps; if not given, at the end and on Ctrl-C\n"
                             "    --resume DIR|FILE     go on from the newest checkpoint in DIR, and save\n"
                             "                          there if --save is not given; or from FILE\n"
                             "    --log FILE            one JSON object per step: step, loss, learning_rate,\n"
                             "                          images_per_second, train_error; in f16 loss_scale and\n"
                             "                          skipped; where the net was evaluated also test_loss,\n"
                             "                          top1_error, top5_error; a log that is there begins\n"
                             "                          anew, or goes on with --resume\n"
                             "    --trace FILE          record the run for `fathom top` and `fathom trace`:\n"
                             "                          steps, losses, memory, and the ops of as many steps as\n"
                             "                          cost less than 0.5 % of the run. With --resume the\n"
                             "                          run's trace goes on; without, a trace that is there is\n"
                             "                          replaced\n"
                             "    --trace-queue SIZE    what each thread's reports may take while the trace's\n"
                             "                          writer waits for a processor (768KiB if not given);\n"
                             "                          the end of the run says when that was too little\n"
                             "    --top                 show the dashboard of that trace on this terminal; q\n"
                             "                          leaves it, the run goes on\n"
                             "    --time-every N        time the ops of one step in N, whatever it costs (1 =\n"
                             "                          all but one in 32)\n"
                             "    --record-steps A:B    also time steps A to B, whatever it costs\n"
                             "    --evaluate-every N    run the test set every N steps; if not given, at the\n"
                             "                          end, and with the plateau schedule after each pass\n"
                             "                          over the images\n"
                             "    --evaluate-images N   only N images of the test set, spread over it: the\n"
                             "                          same ones each time, on any number of devices\n"
                             "    --no-evaluate         never\n";
static const char manual_end[] = "    --backend NAME        cpu or cuda, or cpu-reference or cuda-reference (naive\n"
                                 "                          loops, for comparisons); if not given, what the plan\n"
                                 "                          is for. Plans for GPUs run on virtual devices with cpu\n"
                                 "\n"
                                 "  Learning; each defaults to the recipe's, scaled to --iterations:\n"
                                 "    --recipe NAME|FILE    what the papers trained the model with, if not given;\n"
                                 "                          `fathom recipes` lists them and prints one as a file\n"
                                 "                          to copy and change. With MODEL its batch counts too.\n"
                                 "                          All other options win over it\n"
                                 "    --schedule KIND       paper (the recipe's), constant, cosine, plateau, or\n"
                                 "                          steps after which the rate falls: 320,480\n"
                                 "    --learning-rate R     the rate that the schedule starts from\n"
                                 "    --warm-up N           steps at a tenth of the rate before that\n"
                                 "    --momentum M, --weight-decay D, --nesterov\n"
                                 "    --label-smoothing S   the training loss's targets are 1 - S for the label\n"
                                 "                          and S shared by all classes; the test loss has none\n"
                                 "    --loss-scale S        with --dtype f16: of the first step (65536 if not\n"
                                 "                          given); it halves when gradients overflow, whose\n"
                                 "                          step is skipped, and doubles after 2000 good steps\n"
                                 "    --loader-threads N    that decode images (of folders one a processor, 16 at\n"
                                 "                          most, if not given)\n"
                                 "    --strict              an image that cannot be decoded ends the run; if not\n"
                                 "                          given the next one takes its place, and the end of the\n"
                                 "                          run names it\n"
                                 "    --no-augment          images as they are: no random crops and flips\n"
                                 "\n"
                                 "  On GPUs:\n"
                                 "    --tf32                convolutions and products in f32 round what they\n"
                                 "                          multiply to TF32 (10 bits of fraction)\n"
                                 "    --deterministic       only kernels that give the same bits every time, as on\n"
                                 "                          the cpu always\n"
                                 "    --tune                time cuDNN's engines before the first step, take the\n"
                                 "                          fastest, and keep the choice for later starts\n"
                                 "    --engines FILE        with a plan: plans of cuDNN that `fathom plan -o PLAN\n"
                                 "                          --engines FILE` built are read, not built again\n"
                                 "    --no-graph            launch every op by itself, each step, not as a CUDA\n"
                                 "                          graph that was recorded once\n"
                                 "\n";
static const char manual_last[] = "  Several processes (docs/cluster.md); under mpirun or srun each rank takes its\n"
                                  "  devices of the plan:\n"
                                  "    --processes           a process for each device, as on GPUs if not said\n"
                                  "                          otherwise: what they compute is the same, bit by bit\n"
                                  "    --threads             a thread for each, as on the cpu if not said otherwise\n"
                                  "    --restarts N          with processes: up to N times begin again, from the\n"
                                  "                          last checkpoint, when the run has failed\n"
                                  "    --timeout SECONDS     a device or a rank that takes longer over a step, or\n"
                                  "                          to join the others, is lost, and the run ends; if not\n"
                                  "                          given 60 for ranks, else 600 on GPUs, and for ever on\n"
                                  "                          the cpu\n"
                                  "\n"
                                  "  Looking for mistakes:\n"
                                  "    --repeat-batch        every step sees the first batch: the loss must fall\n"
                                  "    --fill-dead           fill bytes with NaN right after their last use: the\n"
                                  "                          losses must not change\n"
                                  "\n"
                                  "  With MODEL, as in `fathom help plan`; without --classes and --dataset as many\n"
                                  "  classes as the images have:\n"
                                  "    --gpus MACHINE        if not given the GPU that is here (of several the\n"
                                  "                          first: CUDA_VISIBLE_DEVICES says which), else cpu;\n"
                                  "                          auto is all GPUs that are here, through NCCL;\n"
                                  "                          2xcpu are two virtual devices\n"
                                  "    --batch, --micro-batches, --sync-bn, --recompute, --budget, --offload,\n"
                                  "    --reconstruct, --fuse, --dtype, --dataset, --unit, --shortcut,\n"
                                  "    --classes, --image-size, --decode-memory, --search-seconds, --engines\n"
                                  "\n"
                                  "EXIT STATUS\n"
                                  "    0 done, or stopped by Ctrl-C or another request to end, after its\n"
                                  "    checkpoint: the last line says which; 1 the run failed; 2 the command or a\n"
                                  "    file is wrong\n"
                                  "\n"
                                  "EXAMPLES\n"
                                  "    fathom data synth shapes &&\n"
                                  "        fathom train resnet-20 --batch 128 --data shapes --iterations 200\n"
                                  "    fathom train plan.json --data cifar-10-batches-bin --save run \\\n"
                                  "        --save-every 1000 --trace run.trace\n"
                                  "    fathom train plan.json --data cifar-10-batches-bin --resume run\n";

/* ---- How to learn ---- */

/* What the recipe says and no option says otherwise. */
static bool choose_schedule(struct train_command *c, const struct plan *plan, struct error *err)
{
    const struct recipe *recipe = &c->recipe;
    c->options.nesterov = c->options.nesterov || recipe->nesterov;
    c->options.augment = !c->no_augment && recipe->augment;
    c->options.bn_momentum = recipe->bn_momentum;
    c->options.schedule = schedule_for(recipe, c->options.iterations, plan->batch);
    c->options.momentum = isnan(c->momentum) ? recipe->momentum : c->momentum;
    c->options.weight_decay = isnan(c->weight_decay) ? recipe->weight_decay : c->weight_decay;
    c->options.label_smoothing = isnan(c->label_smoothing) ? recipe->label_smoothing : c->label_smoothing;
    return schedule_change(&c->options.schedule, &c->change, err);
}

/* As many passes over the images that there are as the recipe makes over its own, where nobody says how many. */
static bool choose_iterations(struct train_command *c, const struct plan *plan, struct error *err)
{
    if (c->options.iterations > 0 && c->epochs > 0)
        return error_set(err, ERROR_INPUT, "--iterations and --epochs say the same thing: one of them is wanted");
    if (c->options.iterations > 0) return true;
    uint64_t images = dataset_info(c->options.dataset)->train_images;
    c->papers_steps = c->epochs <= 0;
    c->options.iterations = c->papers_steps ? recipe_steps_over(&c->recipe, images, plan->batch)
                                            : (uint64_t)ceil(c->epochs * (double)images / plan->batch);
    return true;
}

static bool choose_folders(struct train_command *c, struct error *err)
{
    struct stat info;
    struct train_options *o = &c->options;
    bool folder = o->resume_folder && stat(o->resume_folder, &info) == 0 && S_ISDIR(info.st_mode);
    if (folder && !o->save_folder) o->save_folder = o->resume_folder;
    if (o->save_every > 0 && !o->save_folder)
        return error_set(err, ERROR_INPUT, "--save-every: --save DIR says where to");
    return true;
}

/* ---- Inputs and outputs ---- */

/* What is new there would be taken for an image, a label or a checkpoint the next time. */
static bool check_place(const struct train_command *c, const char *flag, const char *path, struct error *err)
{
    char resolved[FILES_PATH];
    if (!path) return true;
    if (dataset_reads(c->options.data_path, path))
        return error_set(err, ERROR_INPUT, "%s: %s would be a part of the dataset in %s; name another place", flag,
                         path, c->options.data_path);
    const char *name = files_resolve(path, resolved) ? strrchr(resolved, '/') : NULL;
    if (name && checkpoint_names_one(name + 1))
        return error_set(err, ERROR_INPUT, "%s: %s is the name of a checkpoint; name another file", flag, path);
    return true;
}

static bool check_outputs(const struct train_command *c, struct error *err)
{
    const struct train_options *o = &c->options;
    struct outputs outputs = {0};
    TRY(outputs_reads(&outputs, "fathom train", train_command_names_file(c->word) ? c->word : NULL, err));
    TRY(outputs_reads(&outputs, "--gpus", c->flags.gpus, err));
    if (c->recipe_word && recipe_names_file(c->recipe_word))
        TRY(outputs_reads(&outputs, "--recipe", c->recipe_word, err));
    TRY(outputs_reads(&outputs, "--resume", o->resume_folder ? c->checkpoint : NULL, err));
    if (c->engines && strcmp(c->engines, "auto") != 0)
        TRY(train_command_names_file(c->word) ? outputs_reads(&outputs, "--engines", c->engines, err)
                                              : outputs_writes(&outputs, "--engines", c->engines, err));
    TRY(outputs_writes(&outputs, "--save", o->save_folder, err));
    TRY(outputs_writes(&outputs, "--log", o->log_path, err));
    TRY(outputs_writes(&outputs, "--trace", c->trace, err));
    TRY(check_place(c, "--save", o->save_folder, err)); /* a folder of checkpoints would be a class */
    TRY(check_place(c, "--log", o->log_path, err));
    return check_place(c, "--trace", c->trace, err);
}

/* ---- Running ---- */

/* As bash, ksh and zsh take words whose control characters a terminal should not see. */
static void add_escaped(struct text *text, const char *word)
{
    text_add(text, " $'");
    for (; *word; word++) {
        unsigned char byte = (unsigned char)*word;
        bool plain = byte > 0x20 && byte < 0x7F && byte != '\'' && byte != '\\';
        text_add(text, plain ? "%c" : "\\x%02x", byte);
    }
    text_add(text, "'");
}

/* A blank and a word as a shell takes it. */
static void add_word(struct text *text, const char *word)
{
    if (*word &&
        word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")] == '\0') {
        text_add(text, " %s", word);
        return;
    }
    if (!is_printable(word)) {
        add_escaped(text, word);
        return;
    }
    text_add(text, " '");
    for (; *word; word++) {
        if (*word == '\'') text_add(text, "'\\'");
        text_add_bytes(text, word, 1);
    }
    text_add(text, "'");
}

/* The command line as it was given. */
static void join_command(int argc, char **argv, struct text *text)
{
    text_add(text, "fathom");
    for (int i = 0; i < argc; i++) add_word(text, argv[i]);
}

/* How to go on. Every option counts for the steps that are left, so the whole command is told again. */
static void say_again(const struct train_options *o)
{
    struct text again = {0};
    bool said = o->resume_folder && strcmp(o->resume_folder, o->save_folder) == 0;
    if (!said) text_add(&again, " --resume");
    if (!said) add_word(&again, o->save_folder);
    if (o->command && !again.failed) printf("  %s%s\n", o->command, said ? "" : again.bytes);
    text_finish(&again);
}

/* The last line of a run that did not come to its end. */
static void say_stopped(const struct train_command *c, const struct train_result *result)
{
    const struct train_options *o = &c->options;
    struct text line = {0};
    int number = result->stop;
    bool saved = o->save_folder && result->saved != UINT64_MAX;
    text_add(&line, "stopped%s%s after step %" PRIu64 " of %" PRIu64, number ? " by " : "",
             number ? stop_name(number) : "", result->steps, o->iterations);
    if (saved)
        text_add(&line, "; the checkpoint of step %" PRIu64 " is in %s", result->saved, o->save_folder);
    else
        text_add(&line,
                 o->save_folder ? "; no checkpoint was written" : "; nothing was saved: --save DIR keeps checkpoints");
    if (saved && o->command) text_add(&line, ". To go on:");
    page_text(stdout, 0, 2, &line);
    if (saved) say_again(o);
}

/* A run that takes several times as long as it might says why. */
static void say_threads(const struct train_part *part)
{
    uint32_t wanted = train_device_threads(part), granted = cpu_threads_allowed(wanted);
    if (granted == wanted) return;
    fprintf(stderr,
            "note: the environment leaves %" PRIu32 " thread%s of the %" PRIu32
            " that there are processors for (OMP_THREAD_LIMIT, OMP_MAX_ACTIVE_LEVELS)\n",
            granted, granted == 1 ? "" : "s", wanted);
}

/* Which recipe it is, and where the steps come from that nobody asked for. */
static void say_recipe(const struct train_command *c, const struct plan *plan)
{
    const struct recipe *recipe = &c->recipe;
    uint64_t theirs = recipe->training_images, images = dataset_info(c->options.dataset)->train_images;
    char count[3][UNITS_TEXT];
    struct text text = {0};
    text_add(&text, "recipe %s", PRINTABLE(recipe->name));
    if (c->recipe_word && recipe_names_file(c->recipe_word)) text_add(&text, " of %s", PRINTABLE(c->recipe_word));
    if (c->papers_steps && images != theirs)
        text_add(&text,
                 ": as many passes as it makes, %.4g, over %s training images; over its own %s that is %s steps "
                 "(--iterations)",
                 (double)recipe_images(recipe) / (double)theirs, units_format_count(images, count[0]),
                 units_format_count(theirs, count[1]), units_format_count(recipe_steps(recipe, plan->batch), count[2]));
    page_text(stdout, 0, 2, &text);
}

static void say_begin(const struct plan *plan, const struct train_command *c, const struct backend *backend)
{
    char bytes[UNITS_TEXT];
    const struct train_part all = {.count = (uint32_t)plan->device_count};
    printf("%s, batch %u on %zu %s device%s, peak of %s planned, %" PRIu64 " step%s\n", plan->spec.name, plan->batch,
           plan->device_count, backend->name, plan->device_count == 1 ? "" : "s",
           units_format_bytes(train_planned_bytes(plan, &all), bytes), c->options.iterations,
           c->options.iterations == 1 ? "" : "s");
    if (c->ranks)
        printf("%u ranks, started by %s; this one is on host %s with %u of the devices\n", ranks_place(c->ranks).size,
               ranks_launcher(c->ranks), ranks_place(c->ranks).host, c->part.count);
    say_recipe(c, plan);
    if (c->options.resume_folder)
        printf("going on after step %" PRIu64 ", from %s\n", c->resumed, PRINTABLE(c->checkpoint));
    if (*c->trace_note) printf("%s: %s\n", PRINTABLE(c->trace), c->trace_note);
    fflush(stdout);
}

/* Each rank has a trace of its own: rank 0 the file that is named, rank 1 run.rank1.trace for run.trace. */
static bool choose_trace(struct train_command *c, struct error *err)
{
    uint32_t rank = ranks_place(c->ranks).rank;
    if (!c->trace || rank == 0) return true;
    const char *name = strrchr(c->trace, '/'), *dot = strrchr(name ? name : c->trace, '.');
    size_t stem = dot ? (size_t)(dot - c->trace) : strlen(c->trace);
    int length =
        snprintf(c->trace_path, sizeof c->trace_path, "%.*s.rank%u%s", (int)stem, c->trace, rank, c->trace + stem);
    if (length < 0 || length >= (int)sizeof c->trace_path)
        return error_set(err, ERROR_INPUT, "--trace: the name is too long");
    c->trace = c->trace_path;
    return true;
}

/* What a mistyped command gets wrong is found before the trace of an earlier run is replaced. */
static bool prepare(struct train_command *c, const struct plan *plan, struct error *err)
{
    if (c->top) TRY(progress_try_dashboard(c->trace, err));
    if (c->options.loss_scale > 0 && plan->dtype != DTYPE_F16)
        return error_set(err, ERROR_INPUT, "--loss-scale: found for activations in %s; only f16 has a loss scale",
                         dtype_name(plan->dtype));
    TRY(train_ranks_check_alone(c, err) && train_ranks_begin(c, plan, err));
    c->part = train_part(plan, c->ranks);
    TRY(train_command_backend(c, plan, err));
    TRY(train_command_carried(c, err));
    TRY(train_check_memory(plan, c->runs_on, &c->part, err));
    TRY(train_command_data(c, plan->spec.image_size, err));
    if (!c->strict) TRY((c->options.broken = broken_images_create(err)) != NULL);
    TRY(ranks_agree(c->ranks, "the dataset", dataset_hash(c->options.dataset), err));
    if (!c->recipe_word) c->recipe = *recipe_for(&plan->spec);
    TRY(choose_iterations(c, plan, err));
    TRY(choose_schedule(c, plan, err));
    TRY(train_check_dataset(plan, &c->options, c->options.dataset, err));
    TRY(train_check_decoding(plan, &c->options, &c->decoding, c->options.dataset, err));
    TRY(choose_folders(c, err));
    if (c->options.resume_folder) TRY(train_find_resume(c->options.resume_folder, c->checkpoint, &c->resumed, err));
    TRY(check_outputs(c, err));
    TRY(choose_trace(c, err));
    if (c->options.save_folder && !c->quiet) TRY(checkpoint_claim(&c->claim, c->options.save_folder, err));
    return train_try_outputs(&c->options, err);
}

static bool train_plan(struct train_command *c, const struct plan *plan, struct trace_sink *sink, struct error *err)
{
    struct train_result result;
    c->progress = progress_begin();
    c->teller = (struct teller){progress_tell, &c->progress};
    if (!c->quiet) c->options.teller = &c->teller;
    stop_catch();
    say_begin(plan, c, c->runs_on);
    if (!c->quiet) say_threads(&c->part);
    if (c->top) TRY(progress_dashboard(&c->progress, c->trace, err)); /* gives the screen back as it was */
    bool ok = train_run(plan, c->runs_on, &c->options, sink, progress_show, &c->progress, &result, err);
    progress_end(&c->progress);
    ok = ok && train_ranks_gather_broken(c, err);
    bool on_host = backends_on_host(c->runs_on->name),
         as_planned = on_host == (plan->devices[0].spec.kind == DEVICE_CPU);
    bool idle = result.stopped && result.steps == result.first;
    if (ok && !idle) progress_summary(plan, as_planned, &result);
    if (!c->quiet) progress_broken(c->options.broken);
    if (result.stopped || (!ok && result.steps > result.first)) say_stopped(c, &result);
    return ok;
}

/* The trace that a resumed run goes on in; NULL when there is none yet. */
static bool find_history(struct train_command *c, const struct plan *plan, struct trace_history **history,
                         struct error *err)
{
    struct stat info;
    *history = NULL;
    bool there = stat(c->trace, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0;
    snprintf(c->trace_note, sizeof c->trace_note, "%s",
             !there                     ? ""
             : c->options.resume_folder ? "the trace goes on"
                                        : "the trace of an earlier run is replaced");
    if (!there || !c->options.resume_folder) return true;
    if (!trace_history_read(c->trace, history, err)) return error_prefix(err, "--trace");
    if (!train_describe(plan, c->runs_on, &c->options, trace_history_sink(*history), err)) return false;
    if (!trace_history_agrees(*history, err)) return error_prefix(err, "--trace");
    uint64_t steps = trace_history_steps(*history);
    if (steps > c->resumed)
        snprintf(c->trace_note, sizeof c->trace_note,
                 "the trace goes on; what it tells of steps %" PRIu64 " to %" PRIu64 " is replaced", c->resumed + 1,
                 steps);
    return true;
}

static bool open_trace(struct train_command *c, const struct plan *plan, struct trace_writer **writer,
                       struct error *err)
{
    struct trace_history *history;
    bool ok = find_history(c, plan, &history, err) &&
              trace_writer_open(
                  c->trace,
                  &(struct trace_writer_options){.history = history, .done = c->resumed, .queue_bytes = c->trace_queue},
                  writer, err);
    trace_history_close(history);
    return ok;
}

/* What the trace lacks, if anything, and what would help. */
static void say_traced(const struct trace_writer_stats *stats)
{
    char lost[UNITS_TEXT], all[UNITS_TEXT], held[UNITS_TEXT];
    if (stats->failed) fprintf(stderr, "fathom train: the trace ends early: %s\n", PRINTABLE(stats->failure));
    if (stats->queue_dropped == 0) return;
    fprintf(
        stderr,
        "fathom train: the trace lost %s of %s reports, as its writer waited for a processor: --trace-queue %" PRIu64
        "KiB would hold four times as many (it was %s for each thread)\n",
        units_format_count(stats->queue_dropped, lost), units_format_count(stats->events + stats->dropped, all),
        stats->queue_bytes * 4 >> 10, units_format_bytes(stats->queue_bytes, held));
}

struct reporting {
    struct train_command *command;
    const struct plan *plan;
};

static bool train_reporting(void *context, struct trace_sink *sink, struct error *err)
{
    const struct reporting *r = context;
    return train_plan(r->command, r->plan, sink, err);
}

static bool train_traced(struct train_command *c, const struct plan *plan, struct error *err)
{
    if (!c->trace) return train_plan(c, plan, NULL, err);
    struct trace_writer *writer;
    TRY(open_trace(c, plan, &writer, err));
    c->options.time_ops = true;
    bool ok = train_profile_run(c, writer, train_reporting, &(struct reporting){c, plan}, err);
    struct trace_writer_stats stats;
    trace_writer_stop(writer);
    trace_writer_stats(writer, &stats);
    trace_writer_close(writer);
    say_traced(&stats);
    return ok;
}

/* For looking for mistakes: how many steps beyond the one looked at are in flight. */
static bool read_lag(struct train_options *o, struct error *err)
{
    const char *text = getenv("FATHOM_LAG");
    if (!text) return true;
    if (text[0] < '0' || text[0] >= (char)('0' + TRAIN_MOST_IN_FLIGHT) || text[1] != '\0')
        return error_set(err, ERROR_INPUT, "FATHOM_LAG: is '%s'; 0 to %u is possible", text, TRAIN_MOST_IN_FLIGHT - 1);
    o->in_flight = (uint32_t)(text[0] - '0') + 1;
    return true;
}

/* A recipe that is named says the batch too, where a model is planned. */
static bool take_recipe(struct train_command *c, const char *word, struct error *err)
{
    if (!c->recipe_word) return true;
    TRY(recipe_read(c->recipe_word, "--recipe", &c->recipe, err));
    if (!train_command_names_file(word) && c->flags.batch == 0) c->flags.batch = c->recipe.batch;
    return true;
}

#define OPTIONS(specs) (sizeof(specs) / sizeof((specs)[0]))

static bool parse_command(int argc, char **argv, struct train_command *c, const char **word, struct error *err)
{
    struct train_options *o = &c->options;
    const struct option_spec own[] = {
        {"data", 0, OPTION_TEXT, &o->data_path, 0, 0},
        {"iterations", 0, OPTION_COUNT, &o->iterations, 1, 1e15},
        {"epochs", 0, OPTION_REAL, &c->epochs, 0.001, 1e6},
        {"seed", 0, OPTION_COUNT, &o->seed, 0, 0},
        {"save", 0, OPTION_TEXT, &o->save_folder, 0, 0},
        {"save-every", 0, OPTION_COUNT, &o->save_every, 1, 1e15},
        {"resume", 0, OPTION_TEXT, &o->resume_folder, 0, 0},
        {"log", 0, OPTION_TEXT, &o->log_path, 0, 0},
        {"trace", 0, OPTION_TEXT, &c->trace, 0, 0},
        {"trace-queue", 0, OPTION_BYTES, &c->trace_queue, 24 << 10, 1 << 30},
        {"top", 0, OPTION_FLAG, &c->top, 0, 0},
        {"time-every", 0, OPTION_COUNT, &c->time_every, 1, 1e9},
        {"record-steps", 0, OPTION_TEXT, &c->record_steps, 0, 0},
        {"evaluate-every", 0, OPTION_COUNT, &o->evaluate_every, 1, 1e15},
        {"evaluate-images", 0, OPTION_COUNT, &o->evaluate_images, 1, 1e15},
        {"no-evaluate", 0, OPTION_FLAG, &o->skip_evaluation, 0, 0},
        {"backend", 0, OPTION_TEXT, &c->backend, 0, 0},
        {"recipe", 0, OPTION_TEXT, &c->recipe_word, 0, 0},
        {"schedule", 0, OPTION_TEXT, &c->change.kind, 0, 0},
        {"learning-rate", 0, OPTION_REAL, &c->change.base, 1e-12, 1000},
        {"warm-up", 0, OPTION_COUNT, &c->change.warm_steps, 0, 1e15},
        {"momentum", 0, OPTION_REAL, &c->momentum, 0, 0.9999},
        {"weight-decay", 0, OPTION_REAL, &c->weight_decay, 0, 1},
        {"loader-threads", 0, OPTION_COUNT, &c->loader_threads, 1, 256},
        {"strict", 0, OPTION_FLAG, &c->strict, 0, 0},
        {"label-smoothing", 0, OPTION_REAL, &c->label_smoothing, 0, 0.9999},
        {"loss-scale", 0, OPTION_REAL, &c->options.loss_scale, (double)LOSS_SCALE_LEAST, (double)LOSS_SCALE_MOST},
        {"nesterov", 0, OPTION_FLAG, &o->nesterov, 0, 0},
        {"no-augment", 0, OPTION_FLAG, &c->no_augment, 0, 0},
        {"repeat-batch", 0, OPTION_FLAG, &o->repeat_batch, 0, 0},
        {"fill-dead", 0, OPTION_FLAG, &o->fill_dead, 0, 0},
        {"deterministic", 0, OPTION_FLAG, &o->deterministic, 0, 0},
        {"tf32", 0, OPTION_FLAG, &o->tf32, 0, 0},
        {"tune", 0, OPTION_FLAG, &o->tune, 0, 0},
        {"engines", 0, OPTION_TEXT, &c->engines, 0, 0},
        {"no-graph", 0, OPTION_FLAG, &o->no_recordings, 0, 0},
        {"processes", 0, OPTION_FLAG, &c->processes, 0, 0},
        {"threads", 0, OPTION_FLAG, &c->threads, 0, 0},
        {"restarts", 0, OPTION_COUNT, &c->restarts, 0, 1000},
        {"timeout", 0, OPTION_REAL, &o->wait_seconds, 0.1, 1e6},
    };
    size_t words;
    struct option_spec specs[OPTIONS(own) + PLAN_FLAGS];
    memcpy(specs, own, sizeof own);
    plan_flags_specs(&c->flags, specs + OPTIONS(own));
    TRY(options_parse(argc, argv, specs, OPTIONS(own) + PLAN_FLAGS, word, 1, &words, err));
    if (words == 0) return error_set(err, ERROR_INPUT, "a plan file or a model is wanted; --help shows the usage");
    if (!o->data_path)
        return error_set(err, ERROR_INPUT, "--data: a dataset is wanted; `fathom data synth DIR` makes one");
    TRY(train_profile_steps(c->record_steps, &c->recorded_first, &c->recorded_count, err));
    if (c->record_steps && !c->trace)
        return error_set(err, ERROR_INPUT,
                         "--record-steps: what is recorded goes to a trace; --trace FILE is wanted with it");
    if (c->top && !c->trace) return error_set(err, ERROR_INPUT, "--top: shows a trace; --trace FILE is wanted with it");
    return train_ranks_check(c, err) && take_recipe(c, *word, err);
}

static int run(int argc, char **argv, struct error *err)
{
    struct train_command c = {
        .change = {NULL, NAN, UINT64_MAX}, .momentum = NAN, .weight_decay = NAN, .label_smoothing = NAN};
    struct text command = {0};
    if (!read_lag(&c.options, err) || !parse_command(argc, argv, &c, &c.word, err)) return 2;
    c.options.loader_threads = (uint32_t)c.loader_threads;
    struct plan *plan = train_ranks_open(&c, err) ? train_ranks_plan(&c, err) : NULL;
    int code = plan && train_ranks_starts(&c, plan) ? train_ranks_start(&c, plan, argc, argv, err) : -1;
    join_command(argc, argv, &command);
    c.options.command = command.failed ? NULL : command.bytes;
    c.options.stop = stop_flag();
    bool ok = code < 0 && plan && prepare(&c, plan, err) && train_traced(&c, plan, err);
    checkpoint_release(&c.claim);
    if (code < 0) code = train_ranks_finish(&c, ok, err);
    engine_book_finish(&c.carried);
    dataset_close(c.options.dataset);
    broken_images_destroy(c.options.broken);
    text_finish(&command);
    plan_destroy(plan);
    return code;
}

const struct command command_train = {"train", "train a network under its plan", manual, run, manual_end, manual_last};
