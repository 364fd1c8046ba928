/* The working memory of one exact search: place_search_state.c makes and resets it, place_search.c searches. */
#ifndef FATHOM_PLACE_SEARCH_PRIVATE_H
#define FATHOM_PLACE_SEARCH_PRIVATE_H

#include "place_search.h"
#include "place_search_blame.h"
#include "place_sort.h"

#define NO_BUFFER UINT32_MAX
#define SUSPECTS  6

/* What is known of one section; saved whole before a step first changes it. */
struct section {
    uint64_t floor;    /* nothing more goes below */
    uint64_t top;      /* of what is really there, at most floor */
    uint64_t ceiling;  /* nothing goes above */
    uint64_t rest;     /* sizes still to place */
    uint64_t finish;   /* earliest end of all of them */
    uint32_t waiting;  /* how many buffers are still to place */
    uint32_t crossing; /* how many of those live on into the next section */
    uint32_t choices;  /* how many could lie on the floor */
    uint32_t occupant; /* the buffer that reaches `top` */
};

struct saved_section {
    struct section old;
    uint32_t index;
    uint32_t old_stamp;
};

struct saved_buffer {
    uint64_t old_least;
    uint32_t index;
    uint32_t old_cause;
    bool placed; /* this step placed it */
};

struct part {
    uint32_t from, to;
    uint64_t slack;
};

struct search {
    const struct search_tables *tables;
    const struct problem *problem;
    const struct search_job *job;
    struct section *sections;
    uint32_t suspects[SUSPECTS]; /* sections that ended the last branches, the latest first */
    uint32_t *stamp;             /* by section: the step that saved it last */
    uint32_t step;
    uint8_t *dirty;
    uint64_t *least; /* by buffer: the lowest offset still possible; UINT64_MAX once placed, the offset if fixed */
    uint64_t *offset;
    uint32_t *rank; /* by buffer: smaller is tried first and lies lower in a stack of equal lifetimes */
    uint8_t *placed;
    uint32_t *members;       /* as in the tables, but each section's sorted by least when it was refreshed last */
    struct sort_pair *pairs; /* scratch for orders */
    struct saved_section *section_trail;
    size_t section_count, section_capacity;
    struct saved_buffer *buffer_trail;
    size_t buffer_count, buffer_capacity;
    uint32_t *branch; /* candidates of all open steps, a stack */
    size_t branch_count, branch_capacity;
    struct part *parts; /* components of all open steps, a stack */
    size_t part_count, part_capacity;
    uint32_t recent; /* where the last buffer was placed */
    bool jumps;      /* the job says so, and there are not too many buffers */
    uint32_t level;  /* placements open */
    uint32_t *cause; /* by buffer: of its lowest offset */
    uint32_t raiser; /* the cause of those that are raised now */
    struct blame blame;
    uint64_t nodes;
    bool stopped;
    bool out_of_memory;
};

/* Everything back to the start, for a job. */
void search_reset(struct search *search, const struct search_job *job);

/* The lowest offset from `at` on at which the buffer is aligned and clear of the fixed buffers that live with it. */
uint64_t search_fit_from(const struct search *search, uint32_t buffer, uint64_t at);

/* The section is too high by its last jobs without a gap: what made the first of them wait, and the others. */
void search_blame_section(struct search *search, uint32_t s);
/* A floor rises by what refuted each choice on it, and by what keeps its other buffers from lying there. */
void search_blame_lift(struct search *search, uint32_t s, size_t refuted);

#endif
