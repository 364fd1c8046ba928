#include "train_goes_on.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lower.h"
#include "plan_file.h"
#include "plan_words.h"
#include "run_folder.h"
#include "text.h"

/* What the run there and this command have, as far as they differ. */
struct sides {
    struct text there, here;
};

/* NULL is without the flag. */
static void add_flag(struct text *text, const char *flag, const char *value)
{
    text_add(text, "%s%s%s%s%s", text->length ? ", " : "", value ? "" : "no ", flag, value && *value ? " " : "",
             value ? value : "");
}

static void add_words(struct sides *sides, const char *flag, const char *there, const char *here)
{
    if (there == here || (there && here && strcmp(there, here) == 0)) return;
    add_flag(&sides->there, flag, there);
    add_flag(&sides->here, flag, here);
}

/* 0 is without the flag. */
static void add_count(struct sides *sides, const char *flag, uint32_t there, uint32_t here)
{
    char words[2][16];
    snprintf(words[0], sizeof words[0], "%" PRIu32, there);
    snprintf(words[1], sizeof words[1], "%" PRIu32, here);
    add_words(sides, flag, there ? words[0] : NULL, here ? words[1] : NULL);
}

static void add_switch(struct sides *sides, const char *flag, bool there, bool here)
{
    add_words(sides, flag, there ? "" : NULL, here ? "" : NULL);
}

#define DEVICES_WORDS 200

/* What a command asks for by itself. */
static void add_asked(struct sides *sides, const struct plan *there, const struct plan *here)
{
    char frozen[2][WORDS_FROZEN], devices[2][DEVICES_WORDS];
    add_words(sides, "devices", words_devices(there, devices[0], DEVICES_WORDS),
              words_devices(here, devices[1], DEVICES_WORDS));
    words_frozen(there->frozen, frozen[0]);
    words_frozen(here->frozen, frozen[1]);
    add_count(sides, "--batch", there->batch, here->batch);
    add_words(sides, "--dtype", dtype_name(there->dtype), dtype_name(here->dtype));
    add_switch(sides, "--sync-bn", there->sync_bn, here->sync_bn);
    add_count(sides, "--bn-group", there->bn_group, here->bn_group);
    add_words(sides, "--freeze", there->frozen ? frozen[0] : NULL, here->frozen ? frozen[1] : NULL);
    add_switch(sides, "--freeze-bn", there->freeze_bn == BN_STATISTICS_FROZEN, here->freeze_bn == BN_STATISTICS_FROZEN);
    add_switch(sides, "--freeze-bn-all", there->freeze_bn == BN_FROZEN, here->freeze_bn == BN_FROZEN);
    add_switch(sides, "--clip-norm", there->update.clips, here->update.clips);
}

#define LOWERING_WORDS 320

static const char *list_lowering(uint32_t lowering, char out[LOWERING_WORDS])
{
    size_t used = (size_t)snprintf(out, LOWERING_WORDS, "%s", lowering ? "" : "none");
    for (unsigned bit = 0; bit < LOWERINGS && used < LOWERING_WORDS; bit++)
        if (lowering >> bit & 1)
            used +=
                (size_t)snprintf(out + used, LOWERING_WORDS - used, "%s%s", used ? "," : "", graph_lowering_name(bit));
    return out;
}

/* What the planner chooses where it is not asked for: no flags, since a run may have been begun without them. */
static void add_chosen(struct sides *sides, const struct plan *there, const struct plan *here)
{
    char fused[2][LOWERING_WORDS];
    list_lowering(there->lowering, fused[0]);
    list_lowering(here->lowering, fused[1]);
    add_words(sides, "fuse", fused[0], fused[1]);
    add_count(sides, "micro-batches", there->devices[0].micro_batches, here->devices[0].micro_batches);
    add_words(sides, "recompute", recompute_policy_name(there->recompute), recompute_policy_name(here->recompute));
    add_switch(sides, "offload", there->variants[0].host_bytes > 0, here->variants[0].host_bytes > 0);
}

bool train_goes_on_refuse(const char *folder, const struct plan *plan, struct error *err)
{
    char path[RUN_FOLDER_PATH];
    struct sides sides = {0};
    struct plan *there = run_folder_path(folder, RUN_FILE_PLAN, path, NULL) ? plan_read(path, NULL) : NULL;
    if (there) add_asked(&sides, there, plan);
    bool asked = sides.there.length > 0;
    if (there && !asked) add_chosen(&sides, there, plan);
    if (sides.there.length > 0 && !sides.there.failed && !sides.here.failed)
        error_set(err, ERROR_INPUT,
                  "--resume: the %s %s has %s; %sthis command has %s: give what it was begun with, or begin another "
                  "run with its weights (--weights %s --run DIR)",
                  asked ? "run in" : "plan of the run in", folder, sides.there.bytes, asked ? "" : "that of ",
                  sides.here.bytes, folder);
    text_finish(&sides.there);
    text_finish(&sides.here);
    plan_destroy(there);
    return false;
}
