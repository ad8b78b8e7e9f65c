/* SPDX-License-Identifier: MIT */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

void
die(const char *what)
{
    perror(what);
    exit(1);
}

void *
allocate(size_t size)
{
    void *data = malloc(size);
    if (data == NULL) {
        die("malloc");
    }
    return data;
}

static void
terminate(int sig)
{
    (void)sig;
    _exit(0);
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
server_listen(int argc, char **argv)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof at;
    char *end;
    long port = argc >= 2 ? strtol(argv[1], &end, 10) : -1;
    if (port < 0 || port > 65535 || *end != '\0') {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        exit(2);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, terminate);
    raise_limit();
    at.sin_port = htons((uint16_t)port);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof at) < 0 ||
        listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) < 0) {
        die("listen");
    }
    printf("listening on 127.0.0.1:%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

int
server_accept(int listener)
{
    return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static bool
is_blocked(ssize_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

enum sent
server_send(int fd, const char *data, size_t len, struct rest *rest)
{
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
    if (n == (ssize_t)len) {
        return SENT_ALL;
    }
    if (n < 0 && !is_blocked(n)) {
        return SENT_GONE;
    }
    size_t done = n > 0 ? (size_t)n : 0;
    rest->at = 0;
    rest->len = len - done;
    rest->data = allocate(rest->len);
    memcpy(rest->data, data + done, rest->len);
    return SENT_PART;
}

enum sent
server_flush(int fd, struct rest *rest)
{
    ssize_t n =
        send(fd, rest->data + rest->at, rest->len - rest->at, MSG_NOSIGNAL);
    if (n < 0) {
        return is_blocked(n) ? SENT_PART : SENT_GONE;
    }
    rest->at += (size_t)n;
    if (rest->at < rest->len) {
        return SENT_PART;
    }
    server_forget(rest);
    return SENT_ALL;
}

void
server_forget(struct rest *rest)
{
    free(rest->data);
    *rest = (struct rest){NULL, 0, 0};
}

static size_t buffer_size = BUFFER_SIZE;

void
server_set_buffer(size_t size)
{
    buffer_size = size < 1 ? 1 : size > BUFFER_MOST ? BUFFER_MOST : size;
}

size_t
server_buffer_size(void)
{
    return buffer_size;
}

long
server_recv(int fd, char **ret)
{
    static char buffer[BUFFER_MOST];
    ssize_t n = recv(fd, buffer, buffer_size, 0);
    *ret = buffer;
    return n > 0 ? (long)n : is_blocked(n) ? 0 : -1;
}
