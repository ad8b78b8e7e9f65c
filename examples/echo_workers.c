/* SPDX-License-Identifier: MIT */
/* echo_workers.c - the echo server on several cores.
 *
 *   echo_workers [-w WORKERS] [-t SECONDS] [HOST] [PORT]
 *   echo_workers [-w WORKERS] [-t SECONDS] /PATH or @NAME
 *
 * The handlers are those of echo_server.c: each of them runs in the worker
 * that has the connection.  The main thread only waits, and takes the signals:
 * the first lets the connections finish, for some seconds; the second ends
 * them at once.
 */
#define _POSIX_C_SOURCE 200809L

#include "common.h"

#include <asyncore_workers.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>

static const char usage[] =
    "usage: echo_workers [-w WORKERS] [-t SECONDS] [HOST] [PORT]\n"
    "Send back what each connection sends, on as many threads as there are\n"
    "CPUs, or WORKERS.  HOST is 127.0.0.1 if not given, PORT 8007; port 0\n"
    "takes one that is free.  HOST may be the /PATH or @NAME of a unix "
    "socket.\n"
    "On SIGINT or SIGTERM connections have SECONDS to finish, 10 if not "
    "given;\n"
    "on the second one none.\n";

static struct asyncore_workers *workers;
static double patience = 10;

static void
on_signal(int number)
{
    static volatile sig_atomic_t before;

    (void)number;
    asyncore_workers_stop(workers, before ? 0 : patience);
    before = 1;
}

static int
echo_read(struct asyncore_dispatcher *d)
{
    char data[8192];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    return (int)(n > 0 ? asyncore_send(d, data, (size_t)n) : n);
}

static const struct asyncore_ops echo_handler = {
    .name = "echo_handler",
    .handle_read = echo_read,
    .handle_eof = asyncore_shutdown,
};

static int
server_accepted(struct asyncore_dispatcher *d, int fd,
                const struct asyncore_addr *addr)
{
    fprintf(stderr, "worker %d: incoming connection from %s\n",
            asyncore_workers_index(), asyncore_addr_str(addr));
    return asyncore_dispatcher_with_send_new(&echo_handler, fd, d->map, NULL);
}

static const struct asyncore_ops echo_server = {
    .name = "echo_server",
    .handle_accepted = server_accepted,
};

static unsigned
parse_workers(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (end == text || *end != '\0' || n < 1 || n > ASYNCORE_MAX_WORKERS) {
        die(2, "bad number of workers '%s': it is 1 to %d", text,
            ASYNCORE_MAX_WORKERS);
    }
    return (unsigned)n;
}

/* A host and a port, or the name of a unix socket. */
static bool
is_unix(const char *host)
{
    return host[0] == '/' || host[0] == '@';
}

static void
parse_address(const char *host, const char *port, struct endpoint *ret)
{
    struct target here;
    int err;

    if (is_unix(host)) {
        ret->port = 0;
        if (snprintf(ret->host, sizeof ret->host, "%s", host) >=
            (int)sizeof ret->host) {
            die(2, "bad name '%s'", host);
        }
        return;
    }
    parse_host_port(host, port, ret);
    err = find_target(ret, &here);
    if (err < 0) {
        die(2, "bad host '%s': %s", host, asyncore_strerror(err));
    }
}

static void
announce(int listener)
{
    struct asyncore_addr addr;

    asyncore_workers_getsockname(workers, listener, &addr);
    printf("listening on %s\n", asyncore_addr_str(&addr));
    fflush(stdout);
}

static void
handle_signals(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int
serve_at(const struct endpoint *at)
{
    int listener = asyncore_workers_listen(
        workers, is_unix(at->host) ? AF_UNIX : AF_UNSPEC, at->host, at->port,
        SOMAXCONN, &echo_server, NULL);
    int err;

    if (listener < 0) {
        die(1, "cannot listen on %s port %d: %s", at->host, at->port,
            asyncore_strerror(listener));
    }
    handle_signals(on_signal);
    err = asyncore_workers_start(workers);
    if (err == 0) {
        announce(listener);
        err = asyncore_workers_join(workers);
    }
    if (err < 0) {
        complain("%s", asyncore_strerror(err));
    }
    handle_signals(SIG_IGN); /* there is nobody to stop from here on */
    asyncore_workers_free(workers);
    return err < 0 ? 1 : 0;
}

int
main(int argc, char **argv)
{
    struct asyncore_workers_options options = {.name = "echo"};
    struct endpoint at;
    int option, err;

    start(argv);
    while ((option = next_option(argc, argv, "ht:w:", 0, 2, usage)) != -1) {
        if (option == 'w') {
            options.threads = parse_workers(optarg);
        }
        else {
            patience = parse_seconds(optarg);
        }
    }
    parse_address(argc > optind ? argv[optind] : "127.0.0.1",
                  argc > optind + 1 ? argv[optind + 1] : "8007", &at);
    err = asyncore_workers_create(&options, &workers);
    if (err < 0) {
        die(2, "no workers: %s", asyncore_strerror(err));
    }
    return serve_at(&at);
}
