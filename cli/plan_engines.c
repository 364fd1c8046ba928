#define _GNU_SOURCE
#include "plan_engines.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "choice.h"
#include "files.h"
#include "mem.h"
#include "page.h"
#include "printable.h"
#include "units.h"

/* ---- Where things are ---- */

/* Beside this program, or where it is installed. */
static const char *find_helper(char path[PATH_MAX])
{
    static const char *const places[] = {"fathom-engines", "../libexec/fathom/fathom-engines"};
    const char *named = getenv("FATHOM_ENGINES");
    char self[PATH_MAX];
    if (named) return *named ? named : NULL;
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) return NULL;
    self[length] = '\0';
    char *name = strrchr(self, '/');
    for (size_t i = 0; name && i < sizeof places / sizeof places[0]; i++) {
        int used = snprintf(path, PATH_MAX, "%.*s/%s", (int)(name - self), self, places[i]);
        if (used < PATH_MAX && access(path, X_OK) == 0) return path;
    }
    return NULL;
}

/* ---- Asking ---- */

static bool engine_workspace(void *context, const struct graph *graph, const struct op *op, enum op_pass pass,
                             uint64_t *bytes, struct error *err)
{
    struct plan_engines *all = context;
    struct engine_answer answer;
    const struct engine *engine = NULL;
    if (engines_answer(all->engines, graph, op, pass, &all->rules, &answer))
        engine = engines_choose(&answer, &all->rules);
    if (!engine) return workspace_estimate(&all->tier, graph, op, pass, bytes, err);
    uint64_t copy = engine_question_copies(&answer.question) ? workspace_weights_copy(graph, op) : 0;
    *bytes = engine->workspace_bytes + (copy + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
    return true;
}

static void mark(struct machine *machine, uint32_t cudnn)
{
    for (size_t i = 0; i < machine->device_count; i++) machine->devices[i].cudnn_version = cudnn;
}

static void use(struct plan_engines *all, struct plan_request *request)
{
    mark(all->machine, engines_cudnn(all->engines));
    request->workspace_bytes = engine_workspace;
    request->workspace_context = all;
}

static void do_without(struct plan_engines *all, struct plan_request *request)
{
    mark(all->machine, 0);
    request->workspace_bytes = NULL;
    request->workspace_context = NULL;
}

static void tell(struct plan_engines *all, const char *why)
{
    fprintf(stderr, "fathom %s: %s; workspaces are estimated\n", all->command, PRINTABLE(why));
    all->told = true;
}

static bool check_devices(const struct machine *machine, struct error *err)
{
    const struct device_spec *first = &machine->devices[0];
    for (size_t i = 0; i < machine->device_count; i++) {
        const struct device_spec *device = &machine->devices[i];
        if (device->kind != DEVICE_GPU)
            return error_set(
                err, ERROR_INPUT,
                "--engines: the devices are cpus, which say themselves what their ops need; cuDNN's engines are "
                "GPUs' (--gpus)");
        if (strcmp(device->name, first->name) != 0 || !device_same_memory(device, first))
            return error_set(err, ERROR_INPUT,
                             "--engines: found for unlike devices (%s and %s); it goes with GPUs of one kind",
                             first->name, device->name);
    }
    return true;
}

static bool undescribed(struct plan_engines *all, const struct device_spec *device, struct error *err)
{
    char why[512];
    size_t count, used;
    const struct engine_device *known = engine_device_entries(&count);
    used = (size_t)snprintf(why, sizeof why,
                            "--engines: cuDNN cannot be asked about %s, of which there is no description; there are",
                            device->name);
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(why + used, sizeof why - used, "%s %s", i ? "," : "", known[i].name);
    if (all->carried) return error_set(err, ERROR_INPUT, "%s", why);
    tell(all, why);
    return true;
}

static bool open_engines(struct plan_engines *all, const struct engine_device *device, struct plan_request *request,
                         struct error *err)
{
    char helper[PATH_MAX], cache[FILES_PATH];
    const struct engines_options options = {.device = device,
                                            .helper = find_helper(helper),
                                            .cache = files_cache("engines", cache),
                                            .carried = all->carried};
    all->engines = engines_create(&options, err);
    if (!all->engines) return error_prefix(err, "--engines");
    const struct error *fault = engines_fault(all->engines);
    if (fault && all->carried)
        return error_set(err, ERROR_INPUT, "--engines: %s is not there, and cannot be made: %s", all->carried,
                         fault->text);
    if (fault)
        tell(all, fault->text);
    else
        use(all, request);
    return true;
}

bool plan_engines_begin(const char *how, struct machine *machine, struct plan_request *request,
                        struct plan_engines *engines, struct error *err)
{
    if (!how) return true;
    const struct device_spec *spec = &machine->devices[0];
    TRY(check_devices(machine, err));
    engines->machine = machine;
    engines->carried = strcmp(how, "auto") == 0 ? NULL : how;
    engines->tier = (struct workspace_tier){spec, request->workspace_cap_bytes};
    uint64_t cap = request->workspace_cap_bytes;
    engines->rules.most_workspace_bytes = cap > 0 && cap < spec->workspace_bytes ? cap : spec->workspace_bytes;
    const struct engine_device *device = engine_device_find(spec);
    return device ? open_engines(engines, device, request, err) : undescribed(engines, spec, err);
}

void plan_engines_end(struct plan_engines *engines)
{
    engines_destroy(engines->engines);
    *engines = (struct plan_engines){0};
}

bool plan_engines_held(struct plan_engines *engines, struct plan_request *request, struct error *err)
{
    const struct error *fault = engines->engines ? engines_fault(engines->engines) : NULL;
    if (!fault || engines->told) return true;
    if (fault->kind == ERROR_INPUT) {
        *err = *fault;
        return error_prefix(err, "--engines");
    }
    tell(engines, fault->text);
    do_without(engines, request);
    return false;
}

/* ---- Plans of engines, to be carried ---- */

struct wishes {
    struct engine_wish *all;
    size_t count, capacity;
};

/* The first engine that the rules let and that fits so much workspace, as the trainer chooses; NULL = none. */
static const struct engine *choose_within(struct engine_answer answer, const struct engine_rules *rules, uint64_t limit)
{
    const struct engine_rules any = {.tf32 = rules->tf32, .deterministic = rules->deterministic};
    const struct engine *engine;
    while ((engine = engines_choose(&answer, &any)) && engine->workspace_bytes > limit) {
        answer.count -= (size_t)(engine + 1 - answer.engines);
        answer.engines = engine + 1;
    }
    return engine;
}

static bool add_wish(struct wishes *wishes, const struct engine_wish *wish, struct error *err)
{
    for (size_t i = 0; i < wishes->count; i++)
        if (engine_question_same(&wishes->all[i].question, &wish->question) &&
            engine_same(&wishes->all[i].engine, &wish->engine))
            return true;
    if (!mem_grow(MEM_PLAN, (void **)&wishes->all, &wishes->capacity, wishes->count + 1, sizeof *wishes->all))
        return error_memory(err, (wishes->count + 1) * sizeof *wishes->all, "plans of engines");
    wishes->all[wishes->count++] = *wish;
    return true;
}

/* Of one op of a program, whose workspace holds a copy of its weights too where they are of another type. */
static bool add_op(struct plan_engines *all, struct wishes *wishes, const struct graph *graph, const struct op *op,
                   enum op_pass pass, uint64_t workspace, struct error *err)
{
    struct engine_answer answer;
    if (!engines_answer(all->engines, graph, op, pass, &all->rules, &answer)) return true;
    uint64_t copy = engine_question_copies(&answer.question) ? workspace_weights_copy(graph, op) : 0;
    copy = (copy + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
    const struct engine *engine = copy <= workspace ? choose_within(answer, &all->rules, workspace - copy) : NULL;
    return !engine || add_wish(wishes, &(struct engine_wish){answer.question, *engine}, err);
}

static bool add_program(struct plan_engines *all, struct wishes *wishes, const struct graph *graph,
                        const struct plan_program *program, bool evaluate, struct error *err)
{
    for (size_t i = 0; i < program->op_count; i++) {
        const struct plan_op *op = &program->ops[i];
        if (plan_op_copies(op) || op->pass == PASS_RECONSTRUCT) continue;
        uint64_t workspace = op->workspace == NO_TENSOR ? 0 : program->tensors[op->workspace].bytes;
        TRY(add_op(all, wishes, graph, &graph->ops[op->op], evaluate ? PASS_EVALUATE : op->pass, workspace, err));
    }
    return true;
}

bool plan_engines_build(struct plan_engines *all, const struct plan *plan,
                        void (*building)(void *context, size_t done, size_t count), void *context, struct error *err)
{
    struct wishes wishes = {0};
    bool ok = true;
    if (!all->engines || !all->carried || all->told) return true;
    for (size_t i = 0; ok && i < plan->variant_count; i++) {
        const struct plan_variant *variant = &plan->variants[i];
        ok = add_program(all, &wishes, variant->graph, &variant->train, false, err) &&
             add_program(all, &wishes, variant->graph, &variant->evaluate, true, err);
    }
    ok = ok && engines_build_plans(all->engines, wishes.all, wishes.count, building, context, err);
    mem_free(wishes.all);
    return ok;
}

bool plan_engines_save(struct plan_engines *engines, struct error *err)
{
    const struct error *fault = engines->engines ? engines_fault(engines->engines) : NULL;
    if (fault && !engines->told)
        fprintf(stderr, "fathom %s: %s; workspaces of other plans than this one are estimated\n", engines->command,
                PRINTABLE(fault->text));
    return !engines->engines || engines_save(engines->engines, err);
}

/* ---- Telling ---- */

struct row {
    struct engine_question question;
    const struct engine *engine; /* NULL = none that may be taken */
    size_t ops;
};

static bool is_convolution(const struct op *op)
{
    return op->kind == OP_CONV || op->kind == OP_CONV_BWD_DATA || op->kind == OP_CONV_BWD_WEIGHTS;
}

/* The distinct convolutions of a graph with what was chosen; *count of them, and *unasked ops that are no question. */
static struct row *gather(struct plan_engines *all, const struct graph *graph, size_t *count, size_t *unasked)
{
    struct row *rows = mem_zalloc(MEM_PLAN, graph->op_count, sizeof *rows);
    *count = *unasked = 0;
    for (size_t i = 0; rows && i < graph->op_count; i++) {
        struct engine_question question;
        struct engine_answer answer;
        size_t k = 0;
        if (!engine_question_of(graph, &graph->ops[i], PASS_FORWARD, &question)) {
            *unasked += is_convolution(&graph->ops[i]);
            continue;
        }
        while (k < *count && !engine_question_same(&rows[k].question, &question)) k++;
        if (k == *count && engines_answer(all->engines, graph, &graph->ops[i], PASS_FORWARD, &all->rules, &answer))
            rows[(*count)++] = (struct row){question, engines_choose(&answer, &all->rules), 0};
        if (k < *count) rows[k].ops++;
    }
    return rows;
}

static int by_workspace(const void *left, const void *right)
{
    const struct row *a = left, *b = right;
    uint64_t x = a->engine ? a->engine->workspace_bytes : UINT64_MAX,
             y = b->engine ? b->engine->workspace_bytes : UINT64_MAX;
    if (x != y) return x < y ? 1 : -1;
    return memcmp(&a->question, &b->question, sizeof a->question);
}

static const char *engine_words(const struct engine *engine, char out[64])
{
    if (!engine) return "none: estimated";
    snprintf(out, 64, "%" PRIu32 "%s%s%s", engine->id, engine->notes & ENGINE_TENSOR_CORES ? " T" : "",
             engine->notes & ENGINE_RUN_TIME_COMPILED ? " R" : "", engine->notes & ENGINE_NONDETERMINISTIC ? " n" : "");
    return out;
}

void plan_engines_print(struct plan_engines *engines, const struct plan_variant *variant, FILE *to)
{
    char version[ENGINE_VERSION_TEXT];
    size_t count, unasked;
    if (!engines->engines || engines->told) return;
    struct row *rows = gather(engines, variant->graph, &count, &unasked);
    if (rows) qsort(rows, count, sizeof *rows, by_workspace);
    fputc('\n', to);
    page_say(to, 2, 2,
             "engines of cuDNN %s for %s, by workspace: T uses tensor cores, R is compiled when the run starts, n is "
             "not deterministic",
             engine_version_words(engines_cudnn(engines->engines), version), engines_device(engines->engines)->name);
    fprintf(to, "  %-33s %-16s %5s %-8s %12s\n", "convolution", "pass", "ops", "engine", "workspace");
    for (size_t i = 0; rows && i < count; i++) {
        char words[ENGINE_QUESTION_TEXT], name[64], bytes[UNITS_TEXT] = "", fused[ENGINE_FUSED_TEXT];
        if (rows[i].engine) units_format_bytes(rows[i].engine->workspace_bytes, bytes);
        fprintf(to, "  %-33s %-16s %5zu %-8s %12s\n", engine_question_words(&rows[i].question, words),
                engine_pass_name((enum engine_pass)rows[i].question.pass), rows[i].ops,
                engine_words(rows[i].engine, name), bytes);
        if (rows[i].question.fused) fprintf(to, "    %s\n", engine_fused_words(rows[i].question.fused, fused));
    }
    if (unasked)
        page_say(to, 2, 2,
                 "%zu convolutions read their gradient through a batch normalisation, for which cuDNN has no engine: "
                 "their workspaces are estimated",
                 unasked);
    mem_free(rows);
}
