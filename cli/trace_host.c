/* fathom trace stats: what was read beside ops and kernels: counters, and what the host did. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "export.h"
#include "page.h"
#include "printable.h"
#include "trace_private.h"

static json_t *value_json(const struct rollup_counter *counter, const struct rollup_value *value, json_t *device)
{
    return json_pack("{s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o}", "name", json_text(counter->name), "unit",
                     json_text(counter->unit), "device", device, "readings", (json_int_t)value->count, "last",
                     json_real_or_null(value->last), "min", json_real_or_null(value->least), "max",
                     json_real_or_null(value->most), "mean", json_real_or_null(value->sum / (double)value->count));
}

json_t *trace_counters_json(const struct rollup *r)
{
    json_t *all = json_array();
    for (size_t i = 0; i < r->counter_count; i++) {
        const struct rollup_counter *counter = &r->counters[i];
        if (!counter->name) continue;
        if (counter->host.count) json_array_append_new(all, value_json(counter, &counter->host, json_null()));
        for (uint32_t d = 0; d < r->device_count; d++)
            if (counter->devices[d].count)
                json_array_append_new(all, value_json(counter, &counter->devices[d], json_integer(d)));
    }
    return all;
}

json_t *trace_host_json(const struct rollup *r)
{
    json_t *all = json_array();
    for (uint32_t d = 0; d < r->device_count; d++) {
        json_t *host = json_object();
        for (int what = 0; what < TRACE_HOSTS; what++)
            if (r->devices[d].host_ns[what])
                json_object_set_new(host, trace_host_name((enum trace_host)what),
                                    json_integer((json_int_t)r->devices[d].host_ns[what]));
        json_array_append_new(all, host);
    }
    return all;
}

static void add_value(struct text *line, const struct rollup_counter *counter, const char *of,
                      const struct rollup_value *value)
{
    char mean[UNITS_TEXT], most[UNITS_TEXT];
    bool bytes = strcmp(counter->unit, "bytes") == 0;
    double each = value->sum / (double)value->count;
    if (value->count == 0) return;
    if (bytes)
        text_add(line, "%s%s%s %s, at most %s", line->length ? "; " : "", PRINTABLE(counter->name), of,
                 units_format_bytes((uint64_t)each, mean), units_format_bytes((uint64_t)value->most, most));
    else
        text_add(line, "%s%s%s %.4g %s, at most %.4g", line->length ? "; " : "", PRINTABLE(counter->name), of, each,
                 PRINTABLE(counter->unit), value->most);
}

void trace_print_counters(const struct rollup *r)
{
    struct text line = {0};
    char of[32];
    for (size_t i = 0; i < r->counter_count; i++) {
        if (!r->counters[i].name || i == COUNTER_RECORDED_UNTIL || i == COUNTER_COST_MOST) continue;
        add_value(&line, &r->counters[i], "", &r->counters[i].host);
        for (uint32_t d = 0; d < r->device_count; d++) {
            snprintf(of, sizeof of, " of device %" PRIu32, d);
            add_value(&line, &r->counters[i], of, &r->counters[i].devices[d]);
        }
    }
    if (line.length)
        page_text(stdout, 0, 4, &line);
    else
        text_finish(&line);
}
