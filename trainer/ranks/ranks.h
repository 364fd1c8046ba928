/* A run of several processes: who this one is among them, small things that they tell each other, and the first cause when
 * one fails.
 *
 * Every process (rank) runs the same program over the same plan and drives its own devices of it; what all must decide alike
 * (when to stop, what the rate is) follows from numbers that all have. Who starts them: this program itself, on one machine
 * (launch.h); or mpirun or srun, through MPI. What lies between them is a transport (transport.h); nobody above sees which.
 *
 * Collectives are called by all ranks in the same order, by one thread of a process at a time. Each waits for the slowest
 * rank, at most the run's limit, and fails as soon as another rank is known to have failed. `struct ranks *` may be NULL
 * everywhere: then this process is the only one, and every collective is done at once.
 *
 * How a backend uses it. `backend->group_name` is called by rank 0, and its id is broadcast. `group_create` is then called for
 * each device of a process, with the device's number in the plan as its rank and the plan's device count as the size, and
 * with the process's ranks. A backend that has a network of its own (cuda: NCCL) needs nothing more: the id leads its
 * processes together. The cpu's group sums through ranks_exchange. When any rank fails, `group_abort` is called on the
 * groups of all others (ranks_on_failure), so that nothing waits for a peer that does not come. Which of the GPUs that this
 * process sees a device is: device_options.ordinal, from train_options.first_ordinal on. */
#ifndef FATHOM_RANKS_H
#define FATHOM_RANKS_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"
#include "transport.h"

struct ranks;

#define RANKS_HOST 64

/* What a process is among those of its run. */
struct ranks_place {
    uint32_t rank, size;
    char host[RANKS_HOST];     /* its name, which others may have too */
    uint64_t machine;          /* what ranks of one host have in common, and no others */
    uint32_t host_rank, host_size; /* among the ranks of its host */
};

struct ranks_options {
    uint64_t limit_ns;         /* the longest that a collective waits for another rank; 0 = 60 s once the run has begun, and
                                * ten minutes before: libraries may compile kernels on some ranks */
    const char *module_folder; /* where fathom-mpi.so is looked for, beside the program's own folder; may be NULL */
};

/* Joins the others where this process was started as one of several: *ranks is NULL where it was not. ERROR_INPUT where it
 * was and they cannot be reached: no module for MPI, say. */
bool ranks_open(const struct ranks_options *options, struct ranks **ranks, struct error *err);
/* After a run that went well on all ranks, which is known once they have met at a barrier: MPI waits for all, processes that
 * fathom has started do not. After a failure: ranks_settle and ranks_end in its place. Takes NULL. */
void ranks_close(struct ranks *ranks);

/* All are here, and the run begins. */
bool ranks_begin(struct ranks *ranks, struct error *err);

/* {0, 1, host, 0, 1} for NULL. */
struct ranks_place ranks_place(const struct ranks *ranks);
/* Another's, borrowed; of it host_rank and host_size are unknown. */
const struct ranks_place *ranks_place_of(const struct ranks *ranks, uint32_t rank);
/* "mpirun", "srun", "fathom"; borrowed. */
const char *ranks_launcher(const struct ranks *ranks);

/* What this process holds for being one of several, where one exchange has messages of so many bytes. */
uint64_t ranks_held_bytes(const struct ranks *ranks, uint64_t message_bytes);

/* Which of so many devices a rank drives: as evenly as can be, in order, the first ranks one more. ERROR_INPUT where there
 * are fewer devices than ranks. */
bool ranks_divide(uint32_t devices, uint32_t rank, uint32_t size, uint32_t *first, uint32_t *count, struct error *err);
/* The same for this process; kept for what is said of it. */
bool ranks_take_devices(struct ranks *ranks, uint32_t devices, uint32_t *first, uint32_t *count, struct error *err);
/* Devices of this host's lower ranks: the first GPU of this one, where every process sees all. After ranks_take_devices. */
uint32_t ranks_devices_before(const struct ranks *ranks);
uint32_t ranks_devices_here(const struct ranks *ranks); /* of all ranks of this host */

/* The signal by which who started the ranks was asked to end the run; 0 = none. */
int ranks_asked_to_stop(const struct ranks *ranks);

/* ---- Collectives ---- */

bool ranks_barrier(struct ranks *ranks, struct error *err);
/* Rank 0's bytes, to all. */
bool ranks_broadcast(struct ranks *ranks, void *bytes, uint64_t count, struct error *err);
/* A block that rank 0 has (bytes, count) and the others do not: they get one of their own, ended with mem_free, with a zero
 * byte behind it. */
bool ranks_broadcast_block(struct ranks *ranks, char **bytes, uint64_t *count, struct error *err);
/* `all` holds size records of `bytes` bytes, this rank's own filled in by the caller; then those of all. */
bool ranks_gather(struct ranks *ranks, void *all, uint64_t bytes, struct error *err);
/* The same with a record for each of the devices that ranks_take_devices divided. */
bool ranks_gather_devices(struct ranks *ranks, void *all, uint64_t bytes, struct error *err);
/* All ranks have the same number under this name, else ERROR_INPUT: "the plan of rank 1 (host) is another than rank 0's". */
bool ranks_agree(struct ranks *ranks, const char *what, uint64_t number, struct error *err);
/* What one rank has, to another, when both call it; others do nothing. */
bool ranks_pass(struct ranks *ranks, uint32_t from, uint32_t to, void *bytes, uint64_t count, struct error *err);
/* The devices of one rank, of those that ranks_take_devices divided. */
void ranks_devices_of(const struct ranks *ranks, uint32_t rank, uint32_t *first, uint32_t *count);
/* "device 3", and in a run of several processes "device 3 of rank 1 on host node2", into out. Returns out. */
#define RANKS_DEVICE_NAME 128
char *ranks_name_device(const struct ranks *ranks, uint32_t device, char out[RANKS_DEVICE_NAME]);
/* The rank that drives a device, of those that ranks_take_devices divided. */
uint32_t ranks_of_device(const struct ranks *ranks, uint32_t device);
/* All the messages at once; each `out` meets an `in` of as many bytes, in order for each pair of ranks. None is to itself. */
bool ranks_exchange(struct ranks *ranks, const struct ranks_part *out, uint32_t outs, const struct ranks_part *in,
                    uint32_t ins, struct error *err);

/* ---- Failures ---- */

/* Called once, from a thread of its own, when another rank has failed; NULL takes it back, and it is not running then. */
void ranks_on_failure(struct ranks *ranks, void (*act)(void *context), void *context);
/* What this process waits for now, and later, fails. From any thread. */
void ranks_abort(struct ranks *ranks);
/* To be called once when this process's run has failed, whatever it was, with its error. The ranks compare what they know;
 * one of them tells it: then true, and *err names the rank, its host and devices. The others get false: they say nothing and
 * end with *code. Takes three seconds at most, and three more where another tells; NULL: true. */
bool ranks_settle(struct ranks *ranks, struct error *err, int *code);
/* Ends the processes of a run that has failed, as far as that is possible, where this rank tells why it has; this one with
 * `code`, then or when it returns. */
void ranks_end(struct ranks *ranks, int code);

#endif
