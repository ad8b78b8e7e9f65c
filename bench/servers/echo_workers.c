/* SPDX-License-Identifier: MIT */
/* echo_workers.c - echo on several cores.
 *
 *   echo_workers PORT WORKERS [ROUNDS]
 *
 * What comes in is hashed ROUNDS times before it goes back: on a machine with
 * few cores the generator would else be the limit, and more workers would only
 * take the cores from it. */
#include <asyncore_workers.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static struct asyncore_workers *workers;
static long rounds;
static _Thread_local volatile uint32_t sink; /* the work is not left out */

static void
terminate(int sig)
{
    (void)sig;
    asyncore_workers_stop(workers, 0);
}

static void
check(const char *what, int result)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, asyncore_strerror(result));
        exit(1);
    }
}

/* FNV-1a. */
static void
work(const char *data, size_t len)
{
    uint32_t hash = 2166136261U;
    for (long i = 0; i < rounds; i++) {
        for (size_t at = 0; at < len; at++) {
            hash = (hash ^ (unsigned char)data[at]) * 16777619U;
        }
    }
    sink = hash;
}

static int
echo_read(struct asyncore_dispatcher *d)
{
    static _Thread_local char data[256 * 1024];
    ssize_t n = asyncore_recv(d, data, sizeof data);
    if (n <= 0) {
        return (int)n;
    }
    work(data, (size_t)n);
    return (int)asyncore_send(d, data, (size_t)n);
}

static const struct asyncore_ops echo_handler = {
    .name = "echo_handler",
    .handle_read = echo_read,
};

static int
accepted(struct asyncore_dispatcher *d, int fd,
         const struct asyncore_addr *addr)
{
    (void)addr;
    return asyncore_dispatcher_with_send_new(&echo_handler, fd, d->map, NULL);
}

static const struct asyncore_ops echo_server = {
    .name = "echo_server",
    .handle_accepted = accepted,
};

/* What is accepted inherits it. */
static int
no_delay(struct asyncore_map *map, unsigned index, void *arg)
{
    const struct asyncore_dispatcher *d = asyncore_map_next(map, NULL);
    int on = 1;
    (void)index;
    (void)arg;
    return setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
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
main(int argc, char **argv)
{
    struct asyncore_workers_options options = {.setup = no_delay};
    struct asyncore_addr at;
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: %s PORT WORKERS [ROUNDS]\n", argv[0]);
        return 2;
    }
    raise_limit();
    options.threads = (unsigned)strtoul(argv[2], NULL, 10);
    rounds = argc > 3 ? strtol(argv[3], NULL, 10) : 0;
    check("workers", asyncore_workers_create(&options, &workers));
    int listener =
        asyncore_workers_listen(workers, AF_INET, "127.0.0.1", atoi(argv[1]),
                                SOMAXCONN, &echo_server, NULL);
    check("listen", listener);
    signal(SIGTERM, terminate);
    check("start", asyncore_workers_start(workers));
    asyncore_workers_getsockname(workers, listener, &at);
    printf("listening on %s\n", asyncore_addr_str(&at));
    fflush(stdout);
    int rc = asyncore_workers_join(workers);
    asyncore_workers_free(workers);
    return rc < 0;
}
