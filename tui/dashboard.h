/* What the dashboard shows and how it answers keys: everything but the terminal. */
#ifndef FATHOM_DASHBOARD_H
#define FATHOM_DASHBOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "canvas.h"
#include "errors.h"
#include "op_bounds.h"
#include "rollup.h"
#include "tree.h"

#define ROW_DEVICES UINT32_MAX
#define ROW_STREAMS UINT32_MAX

enum view { VIEW_OVERVIEW, VIEW_OPS, VIEW_LAYERS, VIEW_MEMORY, VIEW_LOSS, VIEW_KERNELS, VIEWS };
const char *view_name(enum view view);

enum op_sort { SORT_TOTAL, SORT_MEAN, SORT_P99, SORT_COUNT, SORT_RATE, SORT_ORDER, SORT_NAME, OP_SORTS };
const char *op_sort_name(enum op_sort sort);

/* What a line of the op table puts together, as `fathom trace stats --by` does. Of kernels GROUP_KIND is by name. */
enum row_group { GROUP_OP, GROUP_KIND, GROUP_LAYER, GROUP_PASS, GROUPS };
const char *row_group_name(enum row_group group); /* "op" */

/* A line of the op table, or of the kernel table. Times in ns; percentiles are those of all its ops' times together. */
struct op_row {
    const char *layer, *kind, *pass; /* borrowed from the rollup; NULL where its ops differ */
    uint32_t device;                 /* ROW_DEVICES = of several */
    uint32_t first;                  /* index in the rollup of the (first) op or kernel */
    uint32_t ops;
    uint64_t count; /* 0 = never timed: its times are unknown */
    uint64_t total_ns, p50_ns, p99_ns, most_ns;
    double flops_per_second, bytes_per_second; /* 0 = the ops have none */
    enum roofline_bound bound; /* of ops, by their mean time (op_bounds.h) */
    double peak_share;
    uint64_t devices;     /* a bit each */
    uint64_t timed_steps; /* of all those devices; 0 = unknown */
    double step_ns, step_count; /* of a step on one of them; NAN = unknown */
    double step_share;          /* see row_list_share */
    /* Of kernels alone. */
    const char *name;     /* NULL where they differ */
    uint32_t stream;      /* ROW_STREAMS = several */
    uint32_t grid[3];     /* all 0 = unknown, none, or they differ */
};

/* What a list keeps of a line that nobody sees: by what it is sorted, and where its ops or kernels are. */
struct row_line {
    double key; /* the largest come first */
    uint32_t begin, members;
};

/* Lines with what is selected among them, and the ops or kernels that they are made of. */
struct row_list {
    struct row_line *lines;
    size_t count, capacity;
    size_t waiting; /* a heap of so many comes first in `lines`; the others follow, the last one of the order first */
    bool by_name;   /* they are in the order of names */
    size_t selected, scroll;
    const struct rollup_op **members; /* that pass the filter, those of a line together; of kernels their times */
    size_t member_count, member_capacity;
    bool kernels;
    uint64_t events;  /* the rollup's when what follows was taken from it */
    uint64_t all_ns;  /* of all ops or kernels that the rollup has, shown or not */
    uint64_t step_ns; /* of a timed step; 0 = unknown */
    uint64_t timed_steps[ROLLUP_MOST_DEVICES];
    struct op_row *shown; /* see row_list_show */
    size_t shown_first, shown_count, shown_capacity;
};
/* Lines [first, first + count) in the order of the last update, which must be of this rollup; NULL when memory is short. Valid
 * until the next call, or update. Lines that were not shown before are made of what the rollup has now. */
const struct op_row *row_list_show(struct row_list *list, const struct rollup *rollup, size_t first, size_t count);
/* What such a time is of a timed step; where a step's is unknown what total_ns is of the whole list's. NAN = unknown. */
double row_list_share(const struct row_list *list, double step_ns, uint64_t total_ns);

/* Keys of the terminal, translated; printable characters are themselves. */
enum key {
    DASHBOARD_ESCAPE = 27,
    DASHBOARD_RETURN = 10,
    DASHBOARD_ERASE = 127,
    DASHBOARD_UP = 0x10000,
    DASHBOARD_DOWN,
    DASHBOARD_LEFT,
    DASHBOARD_RIGHT,
    DASHBOARD_PAGE_UP,
    DASHBOARD_PAGE_DOWN,
    DASHBOARD_FIRST,
    DASHBOARD_LAST,
    DASHBOARD_F1,
    DASHBOARD_TAB,
    DASHBOARD_WHEEL_UP,
    DASHBOARD_WHEEL_DOWN,
    DASHBOARD_CLICK, /* dashboard.click_row and click_column say where */
};

#define DASHBOARD_FILTER 48
#define DASHBOARD_WORDS  CANVAS_MOST_ITEMS
#define DASHBOARD_LEAST_SPEED (1.0 / 64)
#define DASHBOARD_MOST_SPEED  4096.0

/* A word of the footer, in columns [begin, end), and the key that it tells of. */
struct dashboard_word {
    uint32_t key, begin, end;
};

/* A curve as it was last drawn: of many values it is made anew when rows are, or when something else is asked of it. */
struct dashboard_curve {
    double *values; /* as canvas_plot_means leaves them */
    size_t count, capacity;
    double low, high;     /* of all values, not only their means */
    size_t of, high_at;   /* how many there are, and which is the first of the highest */
    uint64_t asked[4];    /* what it was made of, as its panel says */
    bool made;
};

/* What lies in a device's arena at its fullest op. */
#define DASHBOARD_TENSORS 64
struct dashboard_tensors {
    size_t count;
    uint32_t largest[DASHBOARD_TENSORS]; /* positions in the rollup's table */
    uint64_t asked[2];
    bool made;
};

/* What offloaded tensors take of the host's memory, and of which table that was told. */
struct dashboard_offload {
    const struct rollup_tensor *of;
    size_t count;
    uint64_t bytes;
};

struct dashboard {
    enum view view;
    enum op_sort sort;
    enum row_group group;
    bool devices_toggled; /* see dashboard_devices_apart */
    bool paused, help, quit;
    uint32_t help_scroll; /* lines above those shown, where they do not all fit */
    bool asks_record; /* a key asked to record steps: for whoever can tell the run, who puts it back */
    char notice[96];  /* shown instead of the run's state while not empty */
    char filter[DASHBOARD_FILTER]; /* in layer, kind or pass, or in a kernel's name; case does not matter */
    bool filter_open;              /* keys go to the filter */
    size_t tree_selected, tree_scroll;
    size_t cursor;   /* step back from the newest in the loss curve; 0 = newest */
    uint32_t zoom;   /* the loss curve shows the last 1/2^zoom of the steps */
    uint32_t device; /* shown in the memory panel */
    uint32_t click_row, click_column;
    bool replay;           /* the header says so */
    double speed;          /* of the replay: keys double and halve it */
    int asks_steps;        /* a key asked to go so many steps on, or back: for whoever replays, who puts it back */
    bool reading;          /* there is more in the file than has been read yet: of it 0 to 1 */
    double read_part;
    bool crashed;          /* the run's process is gone and has not closed its trace */
    double silent_seconds; /* since the trace last grew; the header says so when it is long */
    double stopped_at; /* when the last event of a crashed run happened, in seconds since 1970; 0 = unknown */
    uint64_t renewals;            /* how often rows were made */
    struct dashboard_curve live, loss;
    struct dashboard_tensors tensors;
    struct dashboard_offload offload;
    struct row_list ops, kernels; /* kernels: while they are shown */
    uint32_t only_op;             /* whose kernels are shown: its index in the rollup + 1; 0 = of all */
    struct tree tree;
    size_t page_rows;  /* of the last drawn list, for paging */
    uint32_t list_row; /* screen row of the last drawn list's first line, for clicks */
    uint32_t words_row;
    struct dashboard_word words[DASHBOARD_WORDS];
};

void dashboard_init(struct dashboard *dashboard);
/* Takes zeroed objects. */
void dashboard_finish(struct dashboard *dashboard);

/* Another rollup of the same trace takes the place of the one that rows and tree were made of: nothing of that is kept. */
void dashboard_forget(struct dashboard *dashboard);

/* Rebuilds rows and tree from what the rollup has now. Not while paused. */
bool dashboard_update(struct dashboard *dashboard, const struct rollup *rollup, struct error *err);
/* As for a dashboard that shows the kernels. */
bool dashboard_update_kernels(struct dashboard *dashboard, const struct rollup *rollup, struct error *err);
/* Answers one key. */
void dashboard_key(struct dashboard *dashboard, const struct rollup *rollup, uint32_t key);
/* Draws everything. The canvas should have at least 80 x 24 cells; smaller ones show what fits. */
void dashboard_draw(struct dashboard *dashboard, const struct rollup *rollup, struct canvas *canvas);

/* Whether the run records steps that somebody asked for, and up to which. */
bool dashboard_recording(const struct dashboard *dashboard, const struct rollup *rollup, uint64_t *until);

/* Whether the op table has a line for each device: by itself for ops and not for groups; a key turns it round. */
bool dashboard_devices_apart(const struct dashboard *dashboard);
/* Whether its devices have memory of their own, beside the host's. */
bool dashboard_has_gpus(const struct rollup *rollup);
/* What was read last of a GPU; false when it is unknown, or was read too long ago. */
bool dashboard_gpu_now(const struct rollup *rollup, uint32_t device, enum trace_gpu_counter counter, double *value);
/* Devices of which anything is known now; returns how many. */
size_t dashboard_gpus(const struct rollup *rollup, uint32_t devices[ROLLUP_MOST_DEVICES]);
/* COUNTER_GPU_THROTTLED in words; returns how many. */
#define DASHBOARD_REASONS 8
size_t dashboard_held_back(double bits, const char *words[DASHBOARD_REASONS]);
/* Total time of all ops, and of all kernels, that the rollup has. */
uint64_t rollup_total_ns(const struct rollup *rollup);
uint64_t rollup_kernels_ns(const struct rollup *rollup);
/* By what the op table, or the kernel table, is sorted: kernels have no rates. */
enum op_sort dashboard_sort(const struct dashboard *dashboard, bool kernels);
enum ink pass_ink(const char *pass);
/* "1.23 ms" from ns, at most 8 cells, into out[16]; returns out. */
char *format_ns(uint64_t ns, char out[16]);

#endif
