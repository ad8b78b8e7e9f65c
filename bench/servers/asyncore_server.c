/* SPDX-License-Identifier: MIT */
#include "asyncore_server.h"

#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static struct asyncore_map *map;

static int
stop(struct asyncore_map *of, void *arg)
{
    (void)arg;
    asyncore_stop(of);
    return 0;
}

static struct asyncore_call stopping = {.fn = stop};

static void
terminate(int sig)
{
    (void)sig;
    asyncore_call_soon_signal(map, &stopping);
}

static void
check(const char *what, int result)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, asyncore_strerror(result));
        exit(1);
    }
}

static void
raise_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

int
serve(int argc, char **argv, const struct asyncore_ops *server_ops)
{
    struct asyncore_dispatcher server;
    struct asyncore_addr at;
    char *end;
    int on = 1;
    long port = argc >= 2 ? strtol(argv[1], &end, 10) : -1;
    if (port < 0 || port > 65535 || *end != '\0' || argc > 4) {
        fprintf(stderr, "usage: %s PORT [BACKEND [BUSY_US]]\n", argv[0]);
        return 2;
    }
    raise_limit();
    check("map", asyncore_map_create(argc > 2 ? argv[2] : NULL, &map));
    if (argc > 3) {
        check("busy-poll", asyncore_map_set_busy_poll(map, atol(argv[3])));
    }
    signal(SIGTERM, terminate);
    check("init", asyncore_dispatcher_init(&server, server_ops, -1, map));
    check("socket", asyncore_create_socket(&server, AF_INET, SOCK_STREAM));
    check("reuse", asyncore_set_reuse_addr(&server));
    check("bind", asyncore_bind(&server, "127.0.0.1", (int)port));
    /* What is accepted inherits it. */
    setsockopt(server.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    check("listen", asyncore_listen(&server, SOMAXCONN));
    check("address", asyncore_getsockname(&server, &at));
    printf("listening on %s\nbackend %s\n", asyncore_addr_str(&at),
           asyncore_map_backend(map));
    fflush(stdout);
    int rc = asyncore_loop(30, false, map, ASYNCORE_UNTIL_EMPTY);
    asyncore_close_all(map, true);
    asyncore_map_free(map);
    return rc < 0;
}
