/* SPDX-License-Identifier: MIT */
/* tcp_proxy.c - pass TCP connections on to another address.
 *
 *   tcp_proxy LISTEN TARGET      each is HOST:PORT, or [V6]:PORT
 *
 * A connection is a pair of channels, each sending what the other receives.
 * A channel is readable() only while the other one's output queue has room,
 * so a slow end slows down the fast one instead of filling the memory.  An end
 * of stream is passed on and the other direction goes on; a connection that
 * is lost on one side is cut on the other, too, so that nobody takes a part
 * for the whole.
 */
#define _POSIX_C_SOURCE 200809L

#include "common.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>

static const char usage[] =
    "usage: tcp_proxy LISTEN TARGET\n"
    "Pass connections to LISTEN on to TARGET, both of them HOST:PORT or\n"
    "[V6]:PORT.  HOST may be empty in LISTEN: any address; PORT may be 0\n"
    "there: one that is free.\n";

static struct endpoint target_name;
static struct target target;

struct pair {
    struct asyncore_dispatcher_with_send client, target;
    int tried; /* addresses of the target */
    int open;  /* channels that are not yet destroyed */
};

static struct pair *
pair_of(struct asyncore_dispatcher *d)
{
    return d->data;
}

static struct asyncore_dispatcher *
peer_of(struct asyncore_dispatcher *d)
{
    struct pair *p = pair_of(d);

    return d == &p->client.base ? &p->target.base : &p->client.base;
}

/* ---- both sides -------------------------------------------------------- */

static bool
side_readable(struct asyncore_dispatcher *d)
{
    struct asyncore_dispatcher *peer = peer_of(d);

    return peer->connected &&
           asyncore_output_size(peer) <= ASYNCORE_HIGH_WATER;
}

static int
side_read(struct asyncore_dispatcher *d)
{
    char data[65536];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    return (int)(n > 0 ? asyncore_send(peer_of(d), data, (size_t)n) : n);
}

/* There is a connection to send to. */
static int
side_connect(struct asyncore_dispatcher *d)
{
    return asyncore_touch(peer_of(d));
}

/* The queue is short again, which changes the answer of the peer's readable();
 * it is asked only when told so. */
static int
side_drain(struct asyncore_dispatcher *d)
{
    return asyncore_touch(peer_of(d));
}

static int
side_eof(struct asyncore_dispatcher *d)
{
    return asyncore_shutdown(peer_of(d));
}

/* Close with a reset: the peer sees an error, not an end. */
static int
cut(struct asyncore_dispatcher *d)
{
    static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    if (d->fd >= 0) {
        setsockopt(d->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    return asyncore_close(d);
}

/* In order, each side comes here on its own when its two directions have
 * ended. */
static int
side_close(struct asyncore_dispatcher *d)
{
    if (d->error != 0) {
        cut(peer_of(d));
    }
    return asyncore_close(d);
}

static void
side_destroy(struct asyncore_dispatcher *d)
{
    struct pair *p = pair_of(d);

    p->open--;
    if (p->open == 0) {
        free(p);
    }
}

static const struct asyncore_ops client_side = {
    .name = "client_side",
    .flags = ASYNCORE_ASK_ON_TOUCH,
    .readable = side_readable,
    .handle_read = side_read,
    .handle_drain = side_drain,
    .handle_eof = side_eof,
    .handle_close = side_close,
    .destroy = side_destroy,
};

/* ---- the side of the target -------------------------------------------- */

static int
try_next_address(struct pair *p, int err)
{
    err = connect_next(&p->target.base, &target, &p->tried, err);
    if (err < 0) {
        complain("cannot connect to %s port %d: %s", target_name.host,
                 target_name.port, asyncore_strerror(err));
        asyncore_close(&p->target.base);
        asyncore_close(&p->client.base);
    }
    return 0;
}

static int
target_error(struct asyncore_dispatcher *d, const struct asyncore_error *err)
{
    return d->connected ? asyncore_dispatcher_handle_error(d, err)
                        : try_next_address(pair_of(d), err->code);
}

static const struct asyncore_ops target_side = {
    .name = "target_side",
    .flags = ASYNCORE_ASK_ON_TOUCH,
    .readable = side_readable,
    .handle_connect = side_connect,
    .handle_read = side_read,
    .handle_drain = side_drain,
    .handle_eof = side_eof,
    .handle_close = side_close,
    .handle_error = target_error,
    .destroy = side_destroy,
};

/* ---- the listener ------------------------------------------------------ */

static int
proxy_accepted(struct asyncore_dispatcher *d, int fd,
               const struct asyncore_addr *addr)
{
    struct pair *p = calloc(1, sizeof *p);
    int err;

    if (p == NULL) {
        return -ENOMEM;
    }
    err = asyncore_dispatcher_with_send_init(&p->client, &client_side, fd,
                                             d->map);
    if (err < 0) {
        free(p);
        return err;
    }
    asyncore_dispatcher_with_send_init(&p->target, &target_side, -1, d->map);
    p->client.base.data = p->target.base.data = p;
    p->open = 2;
    fprintf(stderr, "incoming connection from %s\n", asyncore_addr_str(addr));
    return try_next_address(p, 0);
}

static const struct asyncore_ops tcp_proxy = {
    .name = "tcp_proxy",
    .handle_accepted = proxy_accepted,
};

/* ---- the command line -------------------------------------------------- */

static void
parse_endpoint(const char *text, struct endpoint *ret)
{
    const char *wrong = split_host_port(text, -1, ret);

    if (wrong != NULL) {
        die(2, "%s in '%s': it is HOST:PORT or [V6]:PORT", wrong, text);
    }
}

int
main(int argc, char **argv)
{
    struct asyncore_dispatcher proxy;
    struct asyncore_map *map;
    struct endpoint at;
    int err;

    start(argv);
    while (next_option(argc, argv, "h", 2, 2, usage) != -1) {
    }
    parse_endpoint(argv[optind], &at);
    parse_endpoint(argv[optind + 1], &target_name);
    if (target_name.host[0] == '\0' || target_name.port == 0) {
        die(2, "bad target '%s'", argv[optind + 1]);
    }
    map = make_map();
    err = find_target(&target_name, &target);
    if (err < 0) {
        die(2, "bad host '%s': %s", target_name.host, asyncore_strerror(err));
    }
    stop_on_signals(map);
    asyncore_dispatcher_init(&proxy, &tcp_proxy, -1, map);
    listen_on(&proxy, &at, stdout);
    return serve(map);
}
