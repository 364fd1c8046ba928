/* What was seen: violations at once on stderr, everything at exit. */
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dnn.h"

#define MOST_TOLD 100u

struct standin_vendor_report counts;
struct call *all_calls;
static char *told[MOST_TOLD];
static FILE *file; /* opened at the beginning: the process may change its folder */

void violate(const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (counts.violations == 0) snprintf(counts.first, sizeof counts.first, "%s", text);
    if (counts.violations < MOST_TOLD) {
        told[counts.violations] = need(strdup(text));
        if (!file) fprintf(stderr, "stand-in: %s\n", text);
    }
    counts.violations++;
}

static uint64_t calls_of(const char *name)
{
    for (const struct call *c = all_calls; c; c = c->next)
        if (strcmp(c->name, name) == 0) return c->count;
    return 0;
}

struct standin_vendor_report EXPORTED standin_report(void)
{
    lock_take();
    struct standin_vendor_report report = counts;
    report.records = calls_of("EventRecord");
    report.waits = calls_of("StreamWaitEvent");
    report.device_bytes = report.device_peak_bytes = 0;
    for (unsigned i = 0; i < MOST_DEVICES; i++) {
        report.device_bytes += devices[i].memory.taken;
        report.device_peak_bytes += devices[i].memory.peak;
    }
    report.pinned_bytes = pinned.taken;
    report.pinned_peak_bytes = pinned.peak;
    lock_give();
    return report;
}

/* ---- At exit ---- */

static void write_text(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') fputc('\\', to);
        fputc((unsigned char)*text < ' ' ? ' ' : *text, to);
    }
    fputc('"', to);
}

static void write_calls(FILE *to)
{
    const char *separator = "";
    fprintf(to, "{\"kind\":\"calls\"");
    separator = ",";
    for (const struct call *c = all_calls; c; c = c->next)
        fprintf(to, "%s\"%s\":%" PRIu64, separator, c->name, c->count);
    fprintf(to, "}\n");
}

static void write_engines(FILE *to)
{
    for (const struct dnn_record *r = dnn_records; r && options.times; r = r->next)
        fprintf(to,
                "{\"kind\":\"engine\",\"graph\":\"%016" PRIx64 "\",\"engine\":%" PRId64 ",\"workspace_bytes\":%" PRId64
                ",\"ms\":%.3f,\"nondeterministic\":%s,\"builds\":%" PRIu64 ",\"loads\":%" PRIu64
                ",\"executes\":%" PRIu64 "}\n",
                r->graph, r->engine, r->workspace_bytes, r->ms, r->nondeterministic ? "true" : "false", r->builds,
                r->loads, r->executes);
}

static void write_report(FILE *to)
{
    struct standin_vendor_report r = standin_report();
    for (uint64_t i = 0; i < r.violations && i < MOST_TOLD; i++) {
        fprintf(to, "{\"kind\":\"violation\",\"text\":");
        write_text(to, told[i]);
        fprintf(to, "}\n");
    }
    write_calls(to);
    write_engines(to);
    fprintf(to,
            "{\"kind\":\"counts\",\"violations\":%" PRIu64 ",\"kernels\":%" PRIu64 ",\"executes\":%" PRIu64
            ",\"graph_launches\":%" PRIu64 ",\"calls\":%" PRIu64 ",\"most_building\":%" PRIu64 "}\n",
            r.violations, r.kernels, r.executes, r.graph_launches, r.calls, r.most_building);
    fprintf(to,
            "{\"kind\":\"memory\",\"device_peak_bytes\":%" PRIu64 ",\"pinned_peak_bytes\":%" PRIu64 "}\n"
            "{\"kind\":\"live\",\"device_bytes\":%" PRIu64 ",\"pinned_bytes\":%" PRIu64 ",\"streams\":%" PRIu64
            ",\"events\":%" PRIu64 ",\"graphs\":%" PRIu64 ",\"libraries\":%" PRIu64 ",\"descriptors\":%" PRIu64
            ",\"handles\":%" PRIu64 "}\n",
            r.device_peak_bytes, r.pinned_peak_bytes, r.device_bytes, r.pinned_bytes, r.streams, r.events, r.graphs,
            r.libraries, r.descriptors, r.handles);
    fflush(to);
}

static void finish(void)
{
    if (file) {
        write_report(file);
    } else if (counts.violations > 0 && !getenv("FATHOM_STANDIN_TESTS")) {
        fflush(NULL);
        _exit(70);
    }
}

void report_begin(void)
{
    const char *name = getenv("FATHOM_STANDIN_REPORT");
    if (name && *name && !(file = fopen(name, "w"))) {
        perror(name);
        exit(70);
    }
    atexit(finish);
}
