/* NCCL's network: what ranks on several hosts tell each other over sockets (nccl=sockets). */
#ifndef STANDIN_NCCL_NET_H
#define STANDIN_NCCL_NET_H

#include "nccl_far.h"

/* Takes a port at this host's address, which comes into the id beside its number; this process's rank is then the root that
 * the others look for. NCCL_SOCKET_IFNAME (with an '=' before it, or not) names the interface. */
bool net_listen(ncclUniqueId *id);
/* Joins the others of the id, in threads of its own, or what has been joined before. NULL where it cannot be had. */
struct net *net_join(const ncclUniqueId *id, int rank, int size);
/* The mirror of a communicator: what this rank knows of it. */
struct far *net_follow(struct net *net, uint64_t id);

enum net_kind { NET_JOINED, NET_BROUGHT, NET_SUMMED, NET_LEAVES, NET_GONE };
/* This rank's slot of the mirror has changed so; of NET_BROUGHT with its numbers. Does not block. */
void net_tell(struct far *far, enum net_kind kind, const void *numbers, size_t bytes);
/* All that was told is on its way. */
bool net_is_flushed(const struct far *far);
/* A rank that has not left is there no more, or has given the communicator up. */
bool net_has_lost(const struct far *far);

#endif
