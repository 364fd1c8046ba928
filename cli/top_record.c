#include "top_record.h"

#include <stdio.h>

#define ASKED_STEPS 64u
#define HOLD_NS     UINT64_C(1500000000) /* a run looks four times a second */
#define NOTICE_NS   UINT64_C(3000000000)

void top_record_begin(struct top_record *record, const char *path)
{
    *record = (struct top_record){.viewer = NULL};
    if (!trace_viewer_open(path, &record->viewer, NULL)) record->viewer = NULL;
}

void top_record_end(struct top_record *record) { trace_viewer_close(record->viewer); }

static const char *ask(struct top_record *record, const struct dashboard *dashboard, const struct rollup *rollup,
                       uint64_t now_ns)
{
    if (dashboard->replay) return "a replay records nothing";
    if (rollup->ended || dashboard->crashed) return "the run is over";
    if (record->asked_ns) return "the run has been asked";
    if (!record->viewer || !trace_viewer_ask(record->viewer, ASKED_STEPS, NULL)) return "the run cannot be asked here";
    record->asked_ns = now_ns;
    return "asked for the next steps";
}

void top_record_look(struct top_record *record, struct dashboard *dashboard, const struct rollup *rollup,
                     uint64_t now_ns)
{
    uint64_t until;
    if (dashboard->asks_record) {
        snprintf(dashboard->notice, sizeof dashboard->notice, "%s", ask(record, dashboard, rollup, now_ns));
        dashboard->asks_record = false;
        record->notice_ns = now_ns;
    }
    if (record->asked_ns && now_ns - record->asked_ns >= HOLD_NS) {
        trace_viewer_ask(record->viewer, 0, NULL);
        record->asked_ns = 0;
    }
    bool old = now_ns - record->notice_ns >= NOTICE_NS;
    if (old || dashboard_recording(dashboard, rollup, &until)) dashboard->notice[0] = '\0';
}
