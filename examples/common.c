/* SPDX-License-Identifier: MIT */
/* common.c - what the example programs share. */
#define _POSIX_C_SOURCE 200809L

#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *program = "example";

/* ---- complaints -------------------------------------------------------- */

static void
vcomplain(const char *fmt, va_list args)
{
    char line[1024];

    vsnprintf(line, sizeof line, fmt, args);
    for (char *p = line; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f) {
            *p = '?';
        }
    }
    fprintf(stderr, "%s: %s\n", program, line);
}

void
complain(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vcomplain(fmt, args);
    va_end(args);
}

void
die(int status, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vcomplain(fmt, args);
    va_end(args);
    exit(status);
}

/* ---- the command line -------------------------------------------------- */

/* A program may be started without its standard descriptors.  Left that way,
 * its first socket would be number 0, 1 or 2, and be taken for one of them. */
static void
open_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", O_RDWR) != fd) {
            exit(1); /* nowhere to say it */
        }
    }
}

void
start(char **argv)
{
    open_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    if (argv[0] != NULL) {
        const char *slash = strrchr(argv[0], '/');

        program = slash != NULL ? slash + 1 : argv[0];
    }
}

static _Noreturn void
print_usage(const char *usage)
{
    fputs(usage, stdout);
    if (fflush(stdout) != 0) {
        die(1, "stdout: %s", strerror(errno));
    }
    exit(0);
}

int
next_option(int argc, char **argv, const char *options, int min, int max,
            const char *usage)
{
    static const struct option long_options[] = {
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option = getopt_long(argc, argv, options, long_options, NULL);

    if (option == 'h') {
        print_usage(usage);
    }
    if (option == '?') {
        exit(2); /* getopt has said it */
    }
    if (option == -1 && (argc - optind < min || argc - optind > max)) {
        die(2, "%s arguments (-h shows the usage)",
            argc - optind < min ? "too few" : "too many");
    }
    return option;
}

/* Returns -1 if it is none. */
static int
parse_port(const char *text)
{
    int port = 0;

    if (*text == '\0') {
        return -1;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') {
            return -1;
        }
        port = port * 10 + (*text - '0');
        if (port > 65535) {
            return -1;
        }
    }
    return port;
}

static bool
copy_host(const char *host, size_t len, struct endpoint *ret)
{
    if (len >= sizeof ret->host) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (host[i] <= ' ' || host[i] >= 0x7f ||
            strchr("/?#@\\[]", host[i]) != NULL) {
            return false;
        }
    }
    memcpy(ret->host, host, len);
    ret->host[len] = '\0';
    return true;
}

const char *
split_host_port(const char *text, int default_port, struct endpoint *ret)
{
    const char *host = text, *port, *colon = strrchr(text, ':');
    size_t len;

    if (*text == '[') {
        const char *bracket = strchr(text, ']');

        if (bracket == NULL || (bracket[1] != ':' && bracket[1] != '\0')) {
            return "bad host";
        }
        host = text + 1;
        len = (size_t)(bracket - host);
        port = bracket[1] == ':' ? bracket + 2 : NULL;
    }
    else if (colon == NULL || strchr(text, ':') != colon) {
        len = strlen(text); /* no colon, or the many of an IPv6 address */
        port = NULL;
    }
    else {
        len = (size_t)(colon - text);
        port = colon + 1;
    }
    if (!copy_host(host, len, ret)) {
        return "bad host";
    }
    ret->port = port != NULL ? parse_port(port) : default_port;
    return ret->port < 0 ? "bad port" : NULL;
}

double
parse_seconds(const char *text)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end != '\0' || !(seconds > 0 && seconds < 1e9)) {
        die(2, "bad time '%s'", text);
    }
    return seconds;
}

void
parse_host_port(const char *host, const char *port, struct endpoint *ret)
{
    if (!copy_host(host, strlen(host), ret)) {
        die(2, "bad host '%s'", host);
    }
    ret->port = parse_port(port);
    if (ret->port < 0) {
        die(2, "bad port '%s': it is a number from 0 to 65535", port);
    }
}

/* ---- addresses --------------------------------------------------------- */

int
find_target(const struct endpoint *at, struct target *ret)
{
    int n = asyncore_getaddrinfo(NULL, AF_UNSPEC, SOCK_STREAM, at->host,
                                 at->port, ret->addrs,
                                 sizeof ret->addrs / sizeof ret->addrs[0]);

    ret->len = n > 0 ? n : 0;
    return n < 0 ? n : 0;
}

static int
try_listen(struct asyncore_dispatcher *d, const struct asyncore_addr *addr)
{
    int err = asyncore_create_socket(d, addr->u.sa.sa_family, SOCK_STREAM);

    if (err == 0) {
        err = asyncore_set_reuse_addr(d);
    }
    if (err == 0) {
        err = asyncore_bind_addr(d, &addr->u.sa, addr->len);
    }
    if (err == 0) {
        err = asyncore_listen(d, SOMAXCONN);
    }
    return err;
}

void
listen_on(struct asyncore_dispatcher *d, const struct endpoint *at,
          FILE *announce)
{
    struct target here;
    struct asyncore_addr addr;
    int err = find_target(at, &here);

    if (err < 0) {
        die(2, "bad host '%s': %s", at->host, asyncore_strerror(err));
    }
    for (int i = 0; i < here.len; i++) {
        err = try_listen(d, &here.addrs[i]);
        if (err == 0) {
            break;
        }
        asyncore_close(d);
    }
    if (err == 0) {
        err = asyncore_getsockname(d, &addr);
    }
    if (err < 0) {
        die(1, "cannot listen on %s port %d: %s", at->host, at->port,
            asyncore_strerror(err));
    }
    fprintf(announce, "listening on %s\n", asyncore_addr_str(&addr));
    fflush(announce);
}

int
connect_next(struct asyncore_dispatcher *d, const struct target *to, int *next,
             int err)
{
    while (*next < to->len) {
        const struct asyncore_addr *addr = &to->addrs[(*next)++];

        asyncore_close(d);
        err = asyncore_create_socket(d, addr->u.sa.sa_family, SOCK_STREAM);
        if (err == 0) {
            err = asyncore_connect_addr(d, &addr->u.sa, addr->len);
        }
        if (err == 0) {
            return 0;
        }
    }
    return err;
}

/* ---- the loop and signals ---------------------------------------------- */

static struct asyncore_map *served; /* the map that signals stop */
static volatile sig_atomic_t stopped;

static int
stop(struct asyncore_map *map, void *arg)
{
    (void)arg;
    asyncore_stop(map);
    return 0;
}

static void
on_signal(int number)
{
    static struct asyncore_call call = {.fn = stop};

    (void)number;
    stopped = 1;
    asyncore_call_soon_signal(served, &call);
}

static void
handle_signals(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

struct asyncore_map *
make_map(void)
{
    struct asyncore_map *map = asyncore_map_default();

    if (map == NULL) {
        exit(2); /* the library's log has said why */
    }
    return map;
}

void
stop_on_signals(struct asyncore_map *map)
{
    served = map;
    handle_signals(on_signal);
}

bool
interrupted(void)
{
    return stopped != 0;
}

int
serve(struct asyncore_map *map)
{
    int err =
        asyncore_loop(ASYNCORE_FOREVER, false, map, ASYNCORE_UNTIL_EMPTY);

    if (err < 0) {
        complain("%s", asyncore_strerror(err));
    }
    handle_signals(SIG_IGN); /* there is no map to stop from here on */
    asyncore_close_all(map, true);
    asyncore_map_free(map);
    return err < 0 ? 1 : 0;
}
