/* Which devices a rank has, what a process that is alone is, how long a wait lasts, and what a rank's children have. */
#define _GNU_SOURCE
#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "local.h"
#include "patience.h"
#include "ranks.h"
#include "ranks_private.h"

Test(ranks, devices_are_divided_in_order_and_evenly)
{
    for (uint32_t devices = 1; devices <= 9; devices++)
        for (uint32_t size = 1; size <= devices; size++) {
            uint32_t next = 0, least = UINT32_MAX, most = 0;
            for (uint32_t rank = 0; rank < size; rank++) {
                uint32_t first, count;
                cr_assert(ranks_divide(devices, rank, size, &first, &count, NULL));
                cr_assert_eq(first, next, "%u devices, rank %u of %u", devices, rank, size);
                next += count;
                if (count < least) least = count;
                if (count > most) most = count;
            }
            cr_assert_eq(next, devices);
            cr_assert(most - least <= 1);
        }
}

Test(ranks, more_ranks_than_devices_are_refused)
{
    struct error err = {0};
    uint32_t first, count;
    cr_assert(!ranks_divide(2, 0, 3, &first, &count, &err));
    cr_assert_eq(err.kind, ERROR_INPUT);
    cr_assert(strstr(err.text, "2 devices") && strstr(err.text, "3 ranks"), "%s", err.text);
}

/* NULL is a run of one process: every collective has been done. */
Test(ranks, a_process_alone_has_all_devices)
{
    struct error err = {0};
    uint32_t first, count;
    int code = 5, number = 7;
    struct ranks_place place = ranks_place(NULL);
    cr_assert(place.rank == 0 && place.size == 1 && place.host_rank == 0 && place.host_size == 1 && *place.host);
    cr_assert(ranks_take_devices(NULL, 3, &first, &count, &err) && first == 0 && count == 3);
    cr_assert(ranks_barrier(NULL, &err) && ranks_begin(NULL, &err) && ranks_agree(NULL, "it", 1, &err));
    cr_assert(ranks_gather(NULL, &number, sizeof number, &err) && ranks_broadcast(NULL, &number, sizeof number, &err));
    cr_assert(ranks_gather_devices(NULL, &number, sizeof number, &err) && number == 7);
    cr_assert(ranks_pass(NULL, 0, 0, &number, sizeof number, &err) && ranks_of_device(NULL, 2) == 0);
    cr_assert(ranks_settle(NULL, &err, &code) && code == 5, "who is alone says what went wrong");
    char name[RANKS_DEVICE_NAME];
    cr_assert_str_eq(ranks_name_device(NULL, 2, name), "device 2");
    ranks_close(NULL);
}

Test(ranks, a_wait_counts_only_while_the_process_runs)
{
    struct patience p = patience_begin(0, 2 * PATIENCE_MOST_NS);
    cr_assert(!patience_is_over(&p, 1000));
    uint64_t stopped_ns = 100 * PATIENCE_MOST_NS; /* since the last look */
    cr_assert(!patience_is_over(&p, stopped_ns), "a stopped process has not waited");
    cr_assert(patience_is_over(&p, stopped_ns + PATIENCE_MOST_NS));
}

static enum ranks_outcome open_local(int board, int sock, struct ranks_link **link)
{
    char text[64], fault[RANKS_FAULT];
    uint32_t rank, size;
    snprintf(text, sizeof text, "1:2:%d:%d,-1", board, sock);
    setenv(LOCAL_VARIABLE, text, 1);
    return ranks_local_transport.open(link, &rank, &size, 1000000, fault);
}

/* Else a dashboard that a rank has started would hold its end of the sockets when the rank is killed. */
Test(ranks, what_a_rank_starts_has_none_of_its_sockets)
{
    struct ranks_link *link;
    int pair[2], board = memfd_create("board", 0);
    cr_assert(board >= 0 && ftruncate(board, (off_t)local_board_bytes(2)) == 0);
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    cr_assert_eq(fcntl(pair[1], F_GETFD), 0, "as launch.c hands it over");
    cr_assert_eq(open_local(board, 1000000, &link), RANKS_BROKEN, "a number that is no descriptor's");
    cr_assert_eq(open_local(board, pair[1], &link), RANKS_DONE);
    cr_expect_eq(fcntl(pair[1], F_GETFD), FD_CLOEXEC);
    cr_expect_lt(fcntl(board, F_GETFD), 0, "the board is mapped, and closed");
    ranks_local_transport.close(link);
    close(pair[0]);
}
