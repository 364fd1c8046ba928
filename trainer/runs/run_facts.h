/* run.json of a run's folder: what the run is, and how far it came (docs/formats.md). */
#ifndef FATHOM_RUN_FACTS_H
#define FATHOM_RUN_FACTS_H

#include "json.h"
#include "recipe.h"

#define RUN_FACTS_REASON 1200
#define RUN_FACTS_NAME   64

enum run_state { RUN_RUNNING, RUN_STOPPED, RUN_FINISHED, RUN_FAILED };

struct run_facts {
    char model[RUN_FACTS_NAME], dataset[RUN_FACTS_NAME], backend[RUN_FACTS_NAME], recipe[RECIPE_NAME];
    uint64_t devices, batch, iterations, seed;
    uint64_t planned_bytes, used_bytes; /* of a process, or of a GPU; 0 = unknown */
    enum run_state state;               /* as the run last wrote it: one that was killed says that it runs */
    uint64_t step;                      /* done */
    double seconds;                     /* of all its starts */
    char reason[RUN_FACTS_REASON];      /* failed: the sentence; stopped: by what; else empty */
    bool diverged;                      /* failed: its loss was not finite */
    json_t *starts;                     /* an array of {"command", "version", "after_step"}: the first one is the run's */
};

const char *run_state_name(enum run_state state);

/* Of the folder's run.json. *facts is to be ended with run_facts_finish. ERROR_INPUT names the file and the key. */
bool run_facts_read(const char *folder, struct run_facts *facts, struct error *err);
/* Whether the folder has one. */
bool run_facts_exist(const char *folder);
/* Replaces it as a whole. */
bool run_facts_write(const char *folder, const struct run_facts *facts, struct error *err);
/* Notes that the run was begun once more. */
bool run_facts_add_start(struct run_facts *facts, const char *command, uint64_t after_step, struct error *err);
/* The command that a start was made with; borrowed, NULL where there is none. */
const char *run_facts_command(const struct run_facts *facts, size_t start);
/* Takes a zeroed object. */
void run_facts_finish(struct run_facts *facts);

#endif
