/* SPDX-License-Identifier: MIT */
/* load.c - puts load on a server, checks every byte that comes back, and says
 * what it cost.
 *
 * What a connection sends is a walk through a table that repeats; so is what
 * it must get back.  A message is answered before the next one in its place
 * is sent: `depth` of them are under way on each connection.
 *
 * One thread, which spins: it does not sleep, so that the server's sends do
 * not pay for waking it. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "latency.h"
#include "process.h"

static const char usage_text[] =
    "usage: load [OPTION...] PORT\n"
    "Put load on the server at 127.0.0.1:PORT; print a line of JSON.\n"
    "  --mode MODE       echo, lines (each answered by '+' and itself), "
    "churn\n"
    "                    (connect, one echo, close); default: echo\n"
    "  --connections N   at once; default 1\n"
    "  --size BYTES      of a message, a line's CRLF included; default 64\n"
    "  --depth N         messages under way on a connection; default 1\n"
    "  --idle N          more connections, idle after one exchange\n"
    "  --seconds S       how long to send; default 1\n"
    "  --warmup S        before that, uncounted; default 0.05\n"
    "  --messages N      how many at most\n"
    "  --watch PID       the server's process: its CPU time and memory\n"
    "  --pause           say 'ready', then measure once for each line of\n"
    "                    input, until its end\n"
    "  --histogram       print all latencies, as [microseconds, how many]\n"
    "  --burst           stop the watched server while messages are sent, so\n"
    "                    that it finds those of all connections at once: for\n"
    "                    counting, not for timing\n"
    "  --sleep           sleep when there is nothing to do\n";

#define BATCH 64 /* connections that are opened together */
#define CHUNK                                                     \
    ((size_t)256 * 1024) /* sent or received in one call, at most \
                          */

enum mode {
    ECHO,
    LINES,
    CHURN
};

static struct {
    enum mode mode;
    size_t connections, size, depth, idle;
    double seconds, warmup;
    uint64_t messages;
    int port, watch;
    bool pause, burst, sleep, histogram;
} options = {
    .connections = 1,
    .size = 64,
    .depth = 1,
    .seconds = 1,
    .warmup = 0.05,
    .messages = UINT64_MAX,
};

static void
fail(const char *what)
{
    fprintf(stderr, "load: %s\n", what);
    exit(1);
}

static void
check(const char *what, long result)
{
    if (result < 0) {
        fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static void *
allocate(size_t n, size_t size)
{
    void *data = calloc(n, size);
    if (data == NULL) {
        fail("out of memory");
    }
    return data;
}

static int64_t
now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* ---- what is sent, and what must come back ---- */

/* Repeats after `period` bytes; CHUNK bytes follow each of those. */
struct table {
    char *bytes;
    size_t period;
};

static struct table requests, replies;
static size_t reply_size;

static void
wrap(struct table *t)
{
    for (size_t i = 0; i < CHUNK; i++) {
        t->bytes[t->period + i] = t->bytes[i];
    }
}

static struct table
table_new(size_t period)
{
    return (struct table){allocate(period + CHUNK, 1), period};
}

/* A byte that is no line end, nor its neighbour's. */
static char
letter(void)
{
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return (char)('0' + (state >> 16) % 75);
}

static void
make_echo(void)
{
    requests = table_new(262139); /* a prime */
    for (size_t i = 0; i < requests.period; i++) {
        requests.bytes[i] = letter();
    }
    wrap(&requests);
    replies = requests;
    reply_size = options.size;
}

static void
make_lines(void)
{
    size_t size = options.size, lines = size <= 1024 ? 1009 : 61;
    requests = table_new(lines * size);
    replies = table_new(lines * (size + 1));
    reply_size = size + 1;
    for (size_t i = 0; i < lines; i++) {
        char *line = requests.bytes + i * size;
        char *answer = replies.bytes + i * (size + 1);
        for (size_t k = 0; k < size - 2; k++) {
            line[k] = letter();
        }
        memcpy(line + size - 2, "\r\n", 2);
        answer[0] = '+';
        memcpy(answer + 1, line, size);
    }
    wrap(&requests);
    wrap(&replies);
}

/* ---- connections ---- */

struct conn {
    int fd;
    size_t to_send, to_verify; /* where in the tables */
    size_t unsent;             /* bytes that the kernel would not take */
    size_t flying;             /* bytes of replies that are still to come */
    size_t partial;            /* bytes of the reply that is coming in */
    size_t first;              /* the oldest stamp */
    int64_t *stamps;           /* when the messages were sent */
    bool wants_out;
};

static struct conn *conns;
static int *idle;
static int epfd;

/* What is under way, and what has been measured. */
static struct {
    bool stop;
    size_t busy; /* connections with something to come */
    uint64_t started, messages, bytes;
    int64_t deadline;
} run;

/* Source addresses change, for each has few ports, and those of connections
 * that have ended are taken for a while. */
static int
open_socket(void)
{
    static uint32_t opened;
    struct sockaddr_in from = {.sin_family = AF_INET},
                       to = {.sin_family = AF_INET};
    uint32_t host = (uint32_t)getpid() * 16 + opened++ / 4096;
    struct timeval patience = {.tv_sec = 20}; /* for an answer, if we wait */
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check("socket", fd);
    from.sin_addr.s_addr = htonl(0x7f010000 + host % 0xfefffe);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons((uint16_t)options.port);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    check("bind", bind(fd, (struct sockaddr *)&from, sizeof from));
    check("connect", connect(fd, (struct sockaddr *)&to, sizeof to));
    return fd;
}

static void
watch(struct conn *c, int op, bool out)
{
    struct epoll_event event = {
        .events = EPOLLIN | (out ? (uint32_t)EPOLLOUT : 0),
        .data.ptr = c,
    };
    check("epoll_ctl", epoll_ctl(epfd, op, c->fd, &event));
    c->wants_out = out;
}

static void
conn_open(struct conn *c)
{
    c->fd = open_socket();
    watch(c, EPOLL_CTL_ADD, false);
}

static void
flush(struct conn *c)
{
    while (c->unsent > 0) {
        size_t len = c->unsent < CHUNK ? c->unsent : CHUNK;
        ssize_t n = send(c->fd, requests.bytes + c->to_send, len,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        check("send", n);
        c->unsent -= (size_t)n;
        c->to_send = (c->to_send + (size_t)n) % requests.period;
    }
    if ((c->unsent > 0) != c->wants_out) {
        watch(c, EPOLL_CTL_MOD, c->unsent > 0);
    }
}

/* Send n messages, or as many as are left. */
static void
send_messages(struct conn *c, size_t n, int64_t now)
{
    uint64_t left = run.stop ? 0 : options.messages - run.started;
    n = n < left ? n : (size_t)left;
    if (n == 0) {
        return;
    }
    run.started += n;
    run.busy += c->flying == 0;
    size_t under_way = (c->flying + reply_size - 1) / reply_size;
    for (size_t i = 0; i < n; i++) {
        c->stamps[(c->first + under_way + i) % options.depth] = now;
    }
    c->flying += n * reply_size;
    c->unsent += n * options.size;
    flush(c);
}

/* ---- the measured phase ---- */

static void
reconnect(struct conn *c)
{
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
    if (!run.stop && run.started < options.messages) {
        int64_t began = now_ns();
        conn_open(c);
        send_messages(c, 1, began);
    }
}

static void
begin(struct conn *c)
{
    if (options.mode == CHURN) {
        reconnect(c);
    }
    else {
        send_messages(c, options.depth, now_ns());
    }
}

static void
verify(struct conn *c, const char *data, size_t len)
{
    if (len > c->flying) {
        fail("the server sent more than was asked for");
    }
    if (memcmp(data, replies.bytes + c->to_verify, len) != 0) {
        fail("the server sent other bytes than it should");
    }
    c->to_verify = (c->to_verify + len) % replies.period;
    c->flying -= len;
}

static void
receive(struct conn *c)
{
    static char buffer[CHUNK];
    ssize_t n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    check("recv", n);
    if (n == 0) {
        fail("the server ended a connection");
    }
    int64_t now = now_ns();
    verify(c, buffer, (size_t)n);
    c->partial += (size_t)n;
    size_t done = c->partial / reply_size;
    c->partial %= reply_size;
    for (size_t i = 0; i < done; i++) {
        latency_note(now - c->stamps[c->first]);
        c->first = (c->first + 1) % options.depth;
    }
    run.messages += done;
    run.bytes += (size_t)n;
    run.busy -= c->flying == 0;
    if (options.mode == CHURN && c->flying == 0) {
        reconnect(c);
    }
    else if (options.mode != CHURN && !options.burst) {
        send_messages(c, done, now);
    }
}

/* Serve what is under way, until nothing is. */
static void
serve(void)
{
    struct epoll_event events[256];
    while (run.busy > 0) {
        int n = epoll_wait(epfd, events, 256, options.sleep ? 1000 : 0);
        if (n < 0 && errno != EINTR) {
            check("epoll_wait", n);
        }
        run.stop = run.stop || now_ns() >= run.deadline;
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if ((events[i].events & EPOLLOUT) != 0) {
                flush(c);
            }
            if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0) {
                receive(c);
            }
        }
    }
}

/* Send for so many seconds, then wait for the rest to come back. */
static void
phase(double seconds)
{
    memset(&run, 0, sizeof run);
    latency_reset();
    run.deadline = now_ns() + (int64_t)(seconds * 1e9);
    do {
        if (options.burst) {
            check("stop", process_stop(options.watch));
        }
        for (size_t i = 0; i < options.connections; i++) {
            begin(&conns[i]);
        }
        if (options.burst) {
            check("kill", kill(options.watch, SIGCONT));
        }
        serve();
    } while (options.burst && !run.stop && run.started < options.messages);
}

/* ---- what the server has used ---- */

/* When it has gone to sleep: only then are the numbers complete. */
static struct usage
server_usage(void)
{
    struct usage u = {0};
    if (options.watch > 0) {
        usleep(3000);
        check("the server's process", process_usage(options.watch, &u));
    }
    return u;
}

/* ---- connections that are opened before ---- */

static void
expect_answer(int fd, size_t len)
{
    static char data[CHUNK + 1];
    ssize_t n = recv(fd, data, len, MSG_WAITALL);
    if (n != (ssize_t)len || memcmp(data, replies.bytes, len) != 0) {
        fail("a new connection got a wrong answer");
    }
}

/* Open n connections; a short exchange on each shows that it was accepted.  So
 * many at a time, for a backlog is short and a server may be slow. */
static void
open_all(int *fds, size_t n)
{
    bool lines = options.mode == LINES;
    size_t len = lines || options.size < 4096 ? options.size : 4096;
    for (size_t i = 0; i < n; i += BATCH) {
        size_t end = i + BATCH < n ? i + BATCH : n;
        for (size_t k = i; k < end; k++) {
            fds[k] = open_socket();
            check("send", send(fds[k], requests.bytes, len, 0));
        }
        for (size_t k = i; k < end; k++) {
            expect_answer(fds[k], lines ? reply_size : len);
        }
    }
}

/* One that ends at once.  It raises malloc()'s threshold for mappings in a
 * server that reads into large blocks of its own, as asyncio does: before it
 * has, each of its messages costs three times as much. */
static void
open_and_close(void)
{
    int fd;
    open_all(&fd, 1);
    close(fd);
}

static void
open_idle(void)
{
    idle = allocate(options.idle, sizeof *idle);
    open_all(idle, options.idle);
}

static void
open_active(void)
{
    int *fds = allocate(options.connections, sizeof *fds);
    open_all(fds, options.connections);
    for (size_t i = 0; i < options.connections; i++) {
        conns[i].fd = fds[i];
        watch(&conns[i], EPOLL_CTL_ADD, false);
    }
    free(fds);
}

static void
check_idle(void)
{
    char byte;
    for (size_t i = 0; i < options.idle; i++) {
        if (recv(idle[i], &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN) {
            fail("an idle connection was closed, or heard something");
        }
    }
}

/* ---- the program ---- */

/* False at the end of input. */
static bool
read_line(void)
{
    int c;
    fflush(stdout);
    do {
        c = getchar();
    } while (c != '\n' && c != EOF);
    return c == '\n';
}

static void
setup(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (options.mode == LINES) {
        make_lines();
    }
    else {
        make_echo();
    }
    epfd = epoll_create1(EPOLL_CLOEXEC);
    check("epoll_create1", epfd);
    conns = allocate(options.connections, sizeof *conns);
    for (size_t i = 0; i < options.connections; i++) {
        struct conn *c = &conns[i];
        size_t starts = requests.period / options.size;
        size_t start = starts > 0 ? i * 31 % starts : 0;
        c->to_send = start * options.size;
        c->to_verify = start * reply_size;
        c->stamps = allocate(options.depth, sizeof *c->stamps);
        c->fd = -1;
    }
}

/* What the measured phase has taken, of the server and of us. */
struct taken {
    int64_t ns, cpu, server_waited, load_waited;
};

static struct taken
timed_phase(void)
{
    struct usage us, us_before, before = server_usage();
    process_usage(getpid(), &us_before);
    int64_t began = now_ns();
    phase(options.seconds);
    int64_t took = now_ns() - began;
    process_usage(getpid(), &us);
    struct usage after = server_usage();
    return (struct taken){
        .ns = took,
        .cpu = after.cpu - before.cpu,
        .server_waited = after.waited - before.waited,
        .load_waited = us.waited - us_before.waited,
    };
}

static void
print(struct taken taken, double rss_per_idle)
{
    double seconds = (double)taken.ns / 1e9;
    double messages = (double)run.messages;
    printf("{\"messages\": %llu, \"bytes\": %llu, \"seconds\": %.6f, "
           "\"rate\": %.1f, \"p50_us\": %.2f, \"p90_us\": %.2f, "
           "\"p99_us\": %.2f, \"p999_us\": %.2f, \"max_us\": %.2f",
           (unsigned long long)run.messages, (unsigned long long)run.bytes,
           seconds, messages / seconds, latency_percentile(0.5),
           latency_percentile(0.9), latency_percentile(0.99),
           latency_percentile(0.999), latency_longest());
    if (options.watch > 0) {
        printf(", \"cpu_ns\": %.2f, \"server_waited\": %.4f, "
               "\"load_waited\": %.4f",
               (double)taken.cpu / messages,
               (double)taken.server_waited / (double)taken.ns,
               (double)taken.load_waited / (double)taken.ns);
    }
    if (options.watch > 0 && options.idle > 0) {
        printf(", \"rss_per_idle\": %.1f", rss_per_idle);
    }
    if (options.histogram) {
        fputs(", \"latency_us\": ", stdout);
        latency_print();
    }
    puts("}");
    fflush(stdout);
}

static void
warm_up(void)
{
    uint64_t messages = options.messages;
    options.messages = UINT64_MAX;
    phase(options.warmup);
    options.messages = messages;
}

static void
measure(double rss_per_idle)
{
    struct taken taken = timed_phase();
    check_idle();
    if (run.messages == 0) {
        fail("not a single message");
    }
    print(taken, rss_per_idle);
}

/* Once; or, with --pause, as often as a line is read. */
static void
measure_all(void)
{
    warm_up();
    struct usage empty = server_usage();
    open_idle();
    double rss = server_usage().rss - empty.rss;
    rss /= options.idle > 0 ? (double)options.idle : 1;
    if (!options.pause) {
        measure(rss);
        return;
    }
    puts("ready");
    for (bool first = true; read_line(); first = false) {
        if (!first) {
            warm_up();
        }
        measure(rss);
    }
}

static enum mode
parse_mode(const char *name)
{
    static const char *const names[] = {"echo", "lines", "churn"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) == 0) {
            return (enum mode)i;
        }
    }
    fail("no such mode");
    return ECHO;
}

/* A number from `least` to `most`. */
static double
number(const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most)) {
        fprintf(stderr, "load: not a number from %g to %g: %s\n", least, most,
                text);
        exit(2);
    }
    return value;
}

static void
parse(int argc, char **argv)
{
    static const struct option names[] = {
        {"mode", 1, NULL, 'm'},      {"connections", 1, NULL, 'c'},
        {"size", 1, NULL, 's'},      {"depth", 1, NULL, 'd'},
        {"idle", 1, NULL, 'i'},      {"seconds", 1, NULL, 't'},
        {"warmup", 1, NULL, 'w'},    {"messages", 1, NULL, 'n'},
        {"watch", 1, NULL, 'p'},     {"pause", 0, NULL, 'g'},
        {"burst", 0, NULL, 'b'},     {"sleep", 0, NULL, 'z'},
        {"histogram", 0, NULL, 'l'}, {"help", 0, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int opt;
    while ((opt = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (opt) {
        case 'm':
            options.mode = parse_mode(optarg);
            break;
        case 'c':
            options.connections = (size_t)number(optarg, 1, 20000);
            break;
        case 's':
            options.size = (size_t)number(optarg, 2, (double)CHUNK);
            break;
        case 'd':
            options.depth = (size_t)number(optarg, 1, 1024);
            break;
        case 'i':
            options.idle = (size_t)number(optarg, 0, 60000);
            break;
        case 't':
            options.seconds = number(optarg, 0, 3600);
            break;
        case 'w':
            options.warmup = number(optarg, 0, 60);
            break;
        case 'n':
            options.messages = (uint64_t)number(optarg, 1, 1e15);
            break;
        case 'p':
            options.watch = (int)number(optarg, 1, 1e9);
            break;
        case 'g':
            options.pause = true;
            break;
        case 'b':
            options.burst = true;
            break;
        case 'z':
            options.sleep = true;
            break;
        case 'l':
            options.histogram = true;
            break;
        case 'h':
            fputs(usage_text, stdout);
            exit(0);
        default:
            fputs(usage_text, stderr);
            exit(2);
        }
    }
    if (argc != optind + 1) {
        fputs(usage_text, stderr);
        exit(2);
    }
    options.port = (int)number(argv[optind], 1, 65535);
    if (options.mode == CHURN) {
        options.depth = 1;
    }
    if (options.burst && (options.watch == 0 || options.mode == CHURN)) {
        fail("--burst needs --watch, and connections that stay");
    }
}

int
main(int argc, char **argv)
{
    parse(argc, argv);
    /* Whatever goes wrong, it ends. */
    alarm(options.pause ? 3600
                        : (unsigned)(options.seconds + options.warmup) + 120);
    setup();
    open_and_close();
    if (options.mode != CHURN) {
        open_active();
    }
    measure_all();
    return 0;
}
