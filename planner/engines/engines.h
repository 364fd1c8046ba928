/* Which engines cuDNN has for the convolutions of a step on a named GPU, and the exact workspace of each, without that GPU:
 * asked once by distinct shape, kept on disk by version and device, carried in files. */
#ifndef FATHOM_ENGINES_H
#define FATHOM_ENGINES_H

#include "engine_book.h"
#include "engine_plans.h"
#include "files.h"

struct engines;

struct engines_options {
    const struct engine_device *device;
    const char *helper;    /* program that asks cuDNN; NULL = none here */
    const char *cache;     /* folder of answers, made when there is something to keep; NULL = none */
    const char *carried;   /* file of answers: read when it is there; engines_save writes it. NULL = none */
    double helper_seconds; /* 0 = ENGINE_HELPER_SECONDS */
};

/* The options are copied. That cuDNN cannot be asked is no failure: engines_fault says so. ERROR_INPUT when the
 * carried file is damaged, of another device or of another cuDNN than the helper's; ERROR_MEMORY. The caller ends it with
 * engines_destroy, which takes NULL. */
struct engines *engines_create(const struct engines_options *options, struct error *err);
void engines_destroy(struct engines *engines);

/* Of the answers; 0 = unknown, as nothing was asked. */
uint32_t engines_cudnn(const struct engines *engines);
const struct engine_device *engines_device(const struct engines *engines);
/* Why there are no answers, or no more than those so far; NULL when all is well. ERROR_INPUT: the carried file lacks some
 * and cuDNN is not here. */
const struct error *engines_fault(const struct engines *engines);

/* Which engines may be taken. */
struct engine_rules {
    bool tf32;                    /* f32 may be multiplied as TF32, by tensor cores */
    bool deterministic;           /* the same bits every time */
    uint64_t most_workspace_bytes; /* 0 = any */
};
/* The first that the rules let, in the order of heuristics; NULL when there is none. */
const struct engine *engines_choose(const struct engine_answer *answer, const struct engine_rules *rules);
/* The least workspace of any engine that the rules let, UINT64_MAX when there is none. */
uint64_t engines_least_workspace(const struct engine_answer *answer, const struct engine_rules *rules);

/* The answer for an op of the graph in a pass of the plan, to the first of its questions that has an engine which the rules
 * let, else to the last. The first time, all of the graph's convolutions are asked for. False for an op that is no question
 * (engine_question_of), and where there is no answer (engines_fault). *answer is valid until the next call. */
bool engines_answer(struct engines *engines, const struct graph *graph, const struct op *op, enum op_pass pass,
                    const struct engine_rules *rules, struct engine_answer *answer);
/* The same for a question of one's own, the first of `count` of the same dtype and number of images: what is not known of
 * them is asked for together. */
bool engines_answer_questions(struct engines *engines, const struct engine_question *questions, size_t count,
                              struct engine_answer *answer);


/* Has the plans of these engines built where cuDNN is here to build them, for the carried file. tell: engine_plans.h. ERROR_MEMORY;
 * ERROR_FAILED. */
bool engines_build_plans(struct engines *engines, const struct engine_wish *wishes, size_t count,
                         void (*tell)(void *context, size_t done, size_t all), void *context, struct error *err);

/* Writes the carried file if there is one to write and it would change. ERROR_FAILED. */
bool engines_save(struct engines *engines, struct error *err);

/* The file of a cache's folder that has the answers to what is asked of one batch in one type: small, and whole once a model
 * was planned. The book says device and version. */
bool engines_cache_path(const char *folder, const struct engine_book *book, const struct engine_question *question,
                        char path[FILES_PATH]);

/* Where the answers came from, in distinct convolutions. */
struct engines_counts {
    uint64_t asked, cached, carried;
};
struct engines_counts engines_counts(const struct engines *engines);

#endif
