/* SPDX-License-Identifier: MIT */
/* netcat.c - stdin and stdout, joined to a TCP connection.
 *
 *   netcat HOST PORT       connect
 *   netcat -l HOST PORT    wait for one connection
 *
 * stdin and stdout are file_dispatchers, the socket is a
 * dispatcher_with_send.  An end is passed on where it belongs: that of stdin
 * ends what we send, that of the peer ends stdout, and the other direction
 * goes on.  Nothing is read before there is room for it, so memory is bounded
 * whatever is slow.
 */
#define _POSIX_C_SOURCE 200809L

#include "common.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

static const char usage[] =
    "usage: netcat [-l] HOST PORT\n"
    "Send stdin to a TCP connection, and what comes from it to stdout.\n"
    "  -l  wait for a connection to HOST PORT instead of making it; port 0\n"
    "      takes one that is free; \"listening on\" is said on stderr\n";

/* The one conversation of this process. */
static struct netcat {
    struct asyncore_dispatcher listener;
    struct asyncore_dispatcher_with_send socket;
    struct asyncore_file_dispatcher input, output;
    struct endpoint peer;
    struct target target;
    int tried;                /* addresses of the target */
    char data[65536];         /* from the socket, on its way to stdout … */
    size_t data_at, data_end; /* … what of it is still to be written */
    bool begun;               /* there is, or was, somebody to talk to */
    bool peer_done;           /* nothing more will come */
    int exit_status;
} nc;

#define LISTENER (&nc.listener)
#define SOCKET (&nc.socket.base)
#define INPUT (&nc.input.base)
#define OUTPUT (&nc.output.base)

static int
give_up(const char *what, int err)
{
    complain("%s: %s", what, asyncore_strerror(err));
    nc.exit_status = 1;
    return asyncore_close_all(SOCKET->map, true);
}

/* ---- stdin ------------------------------------------------------------- */

static bool
input_readable(struct asyncore_dispatcher *d)
{
    (void)d;
    return SOCKET->connected &&
           asyncore_output_size(SOCKET) < ASYNCORE_HIGH_WATER;
}

static int
input_read(struct asyncore_dispatcher *d)
{
    char data[65536];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    return (int)(n > 0 ? asyncore_send(SOCKET, data, (size_t)n) : n);
}

/* If the shutdown fails, the connection is lost, and the socket's own events
 * say why. */
static int
input_close(struct asyncore_dispatcher *d)
{
    asyncore_close(d);
    asyncore_shutdown(SOCKET);
    return 0;
}

static int
input_error(struct asyncore_dispatcher *d, const struct asyncore_error *err)
{
    (void)d;
    return give_up("stdin", err->code);
}

static bool
never(struct asyncore_dispatcher *d)
{
    (void)d;
    return false;
}

static const struct asyncore_ops input_ops = {
    .name = "stdin",
    .readable = input_readable,
    .writable = never,
    .handle_read = input_read,
    .handle_close = input_close,
    .handle_error = input_error,
};

/* ---- stdout ------------------------------------------------------------ */

/* A terminal or a pipe may be shared with programs that come after us and
 * don't expect that it doesn't block. */
static int blocking[2];

static void
keep_blocking_mode(void)
{
    for (int fd = 0; fd <= 1; fd++) {
        int flags = fcntl(fd, F_GETFL);

        blocking[fd] = flags >= 0 && (flags & O_NONBLOCK) == 0;
    }
}

static void
restore_blocking_mode(void)
{
    for (int fd = 0; fd <= 1; fd++) {
        int flags = fcntl(fd, F_GETFL);

        if (blocking[fd] && flags >= 0) {
            fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
        }
    }
}

/* Nothing more to write: let whoever reads our stdout see its end, which takes
 * closing both the channel's descriptor and the one it was made from. */
static int
end_output(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    restore_blocking_mode();
    blocking[STDOUT_FILENO] = false;
    if (null >= 0) {
        dup2(null, STDOUT_FILENO);
        close(null);
    }
    return asyncore_close(OUTPUT);
}

static bool
output_writable(struct asyncore_dispatcher *d)
{
    (void)d;
    return nc.data_at < nc.data_end;
}

static int
output_write(struct asyncore_dispatcher *d)
{
    ssize_t n =
        asyncore_send(d, nc.data + nc.data_at, nc.data_end - nc.data_at);

    if (n < 0) {
        return (int)n;
    }
    nc.data_at += (size_t)n;
    if (nc.peer_done && nc.data_at == nc.data_end) {
        return end_output();
    }
    return 0;
}

static int
output_close(struct asyncore_dispatcher *d)
{
    return give_up("stdout", d->error);
}

static int
output_error(struct asyncore_dispatcher *d, const struct asyncore_error *err)
{
    (void)d;
    return give_up("stdout", err->code);
}

static const struct asyncore_ops output_ops = {
    .name = "stdout",
    .readable = never,
    .writable = output_writable,
    .handle_write = output_write,
    .handle_close = output_close,
    .handle_error = output_error,
};

/* ---- the socket -------------------------------------------------------- */

/* One buffer, filled when it is empty. */
static bool
socket_readable(struct asyncore_dispatcher *d)
{
    (void)d;
    return nc.data_at == nc.data_end;
}

static int
socket_read(struct asyncore_dispatcher *d)
{
    ssize_t n = asyncore_recv(d, nc.data, sizeof nc.data);

    if (n > 0) {
        nc.data_at = 0;
        nc.data_end = (size_t)n;
    }
    return n < 0 ? (int)n : 0;
}

static int
peer_done(void)
{
    nc.peer_done = true;
    return nc.data_at == nc.data_end && OUTPUT->fd >= 0 ? end_output() : 0;
}

static int
socket_eof(struct asyncore_dispatcher *d)
{
    (void)d;
    return peer_done();
}

static int
try_next_address(int err)
{
    err = connect_next(SOCKET, &nc.target, &nc.tried, err);
    if (err < 0) {
        complain("cannot connect to %s port %d: %s", nc.peer.host,
                 nc.peer.port, asyncore_strerror(err));
        nc.exit_status = 1;
        return asyncore_close_all(SOCKET->map, true);
    }
    return 0;
}

/* Both directions have ended.  What came last may still be on its way to
 * stdout: the loop ends when that is out, too. */
static int
socket_close(struct asyncore_dispatcher *d)
{
    if (d->error != 0) {
        complain("connection lost: %s", asyncore_strerror(d->error));
        nc.exit_status = 1;
    }
    asyncore_close(INPUT);
    asyncore_close(d);
    return peer_done();
}

static int
socket_error(struct asyncore_dispatcher *d, const struct asyncore_error *err)
{
    return d->connected ? give_up("connection lost", err->code)
                        : try_next_address(err->code);
}

static const struct asyncore_ops socket_ops = {
    .name = "netcat",
    .readable = socket_readable,
    .handle_read = socket_read,
    .handle_eof = socket_eof,
    .handle_close = socket_close,
    .handle_error = socket_error,
};

/* ---- waiting for a connection ------------------------------------------ */

static int
listener_accepted(struct asyncore_dispatcher *d, int fd,
                  const struct asyncore_addr *addr)
{
    int err = asyncore_set_socket(SOCKET, fd);

    if (err < 0) {
        close(fd);
        return give_up(asyncore_addr_str(addr), err);
    }
    nc.begun = true;
    return asyncore_close(d); /* one is enough */
}

static const struct asyncore_ops listener_ops = {
    .name = "netcat -l",
    .handle_accepted = listener_accepted,
};

/* ---- the command line -------------------------------------------------- */

static void
open_files(struct asyncore_map *map)
{
    int err;

    keep_blocking_mode();
    atexit(restore_blocking_mode);
    err = asyncore_file_dispatcher_init(&nc.input, &input_ops, STDIN_FILENO,
                                        map);
    if (err < 0) {
        die(1, "stdin: %s", asyncore_strerror(err));
    }
    err = asyncore_file_dispatcher_init(&nc.output, &output_ops, STDOUT_FILENO,
                                        map);
    if (err < 0) {
        die(1, "stdout: %s", asyncore_strerror(err));
    }
}

static void
find_peer(void)
{
    int err;

    if (nc.peer.host[0] == '\0' || nc.peer.port == 0) {
        die(2, "no connection can be made to host '%s' port %d", nc.peer.host,
            nc.peer.port);
    }
    err = find_target(&nc.peer, &nc.target);
    if (err < 0) {
        die(2, "bad host '%s': %s", nc.peer.host, asyncore_strerror(err));
    }
}

int
main(int argc, char **argv)
{
    struct asyncore_map *map;
    bool listening = false;
    int status;

    start(argv);
    while (next_option(argc, argv, "hl", 2, 2, usage) != -1) {
        listening = true;
    }
    parse_host_port(argv[optind], argv[optind + 1], &nc.peer);
    map = make_map();
    stop_on_signals(map);
    asyncore_dispatcher_with_send_init(&nc.socket, &socket_ops, -1, map);
    if (listening) {
        asyncore_dispatcher_init(LISTENER, &listener_ops, -1, map);
        listen_on(LISTENER, &nc.peer, stderr);
        open_files(map);
    }
    else {
        find_peer();
        open_files(map);
        nc.begun = true;
        try_next_address(0);
    }
    status = serve(map);
    if (interrupted() && nc.begun) {
        die(1, "interrupted"); /* somebody may count on the rest */
    }
    return status != 0 ? status : nc.exit_status;
}
