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

static const char usage[] =
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
    "  --pause           wait for a line of input before the measurement\n"
    "                    (after saying 'ready') and after it\n"
    "  --burst           stop the watched server while messages are sent, so\n"
    "                    that it finds those of all connections at once: for\n"
    "                    counting, not for timing\n"
    "  --sleep           sleep when there is nothing to do\n";

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
    bool pause, burst, sleep;
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
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check("socket", fd);
    from.sin_addr.s_addr = htonl(0x7f010000 + host % 0xfefffe);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons((uint16_t)options.port);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
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

/* ---- latencies: a histogram, exact to 3 % ---- */

static uint64_t histogram[64 * 32];
static int64_t longest;

static void
note_latency(int64_t ns)
{
    uint64_t value = ns > 0 ? (uint64_t)ns : 0;
    unsigned shift = value < 64 ? 0 : 58 - (unsigned)__builtin_clzll(value);
    histogram[shift * 32 + (value >> shift)]++;
    longest = ns > longest ? ns : longest;
}

/* In microseconds. */
static double
percentile(double part)
{
    uint64_t total = 0, seen = 0;
    size_t n = sizeof histogram / sizeof *histogram;
    for (size_t i = 0; i < n; i++) {
        total += histogram[i];
    }
    for (size_t i = 0; i < n; i++) {
        seen += histogram[i];
        if ((double)seen >= part * (double)total && histogram[i] > 0) {
            size_t shift = i < 64 ? 0 : i / 32 - 1;
            double middle = shift > 0 ? 0.5 : 0;
            return ((double)(i - shift * 32) + middle) *
                   (double)(UINT64_C(1) << shift) / 1000;
        }
    }
    return 0;
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
        note_latency(now - c->stamps[c->first]);
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

static void
stop_server(void)
{
    char path[64], state = '?';
    check("kill", kill(options.watch, SIGSTOP));
    snprintf(path, sizeof path, "/proc/%d/stat", options.watch);
    while (state != 'T' && state != 't') {
        FILE *file = fopen(path, "r");
        if (file == NULL || fscanf(file, "%*d (%*[^)]) %c", &state) != 1) {
            fail("no /proc/PID/stat");
        }
        fclose(file);
    }
}

/* Send for so many seconds, then wait for the rest to come back. */
static void
phase(double seconds)
{
    memset(&run, 0, sizeof run);
    memset(histogram, 0, sizeof histogram);
    longest = 0;
    run.deadline = now_ns() + (int64_t)(seconds * 1e9);
    do {
        if (options.burst) {
            stop_server();
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

struct usage {
    int64_t cpu, waited; /* ns of CPU, ns of waiting for one */
    double rss;          /* bytes */
};

static void
read_schedstat(int pid, int64_t *cpu, int64_t *waited)
{
    char path[64];
    long long ran = 0, queued = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%lld %lld", &ran, &queued) != 2) {
        fail("no /proc/PID/schedstat");
    }
    fclose(file);
    *cpu = ran;
    *waited = queued;
}

static double
read_rss(int pid)
{
    char line[256];
    double kib = 0;
    snprintf(line, sizeof line, "/proc/%d/smaps_rollup", pid);
    FILE *file = fopen(line, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "Rss:", 4) == 0) {
            kib = strtod(line + 4, NULL);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return kib * 1024;
}

/* When it has gone to sleep: only then are the numbers complete. */
static struct usage
server_usage(void)
{
    struct usage u = {0};
    if (options.watch > 0) {
        usleep(3000);
        read_schedstat(options.watch, &u.cpu, &u.waited);
        u.rss = read_rss(options.watch);
    }
    return u;
}

/* ---- idle connections ---- */

static void
open_idle(void)
{
    char *data = allocate(reply_size, 1);
    idle = allocate(options.idle, sizeof *idle);
    for (size_t i = 0; i < options.idle; i++) {
        idle[i] = open_socket();
        check("send", send(idle[i], requests.bytes, options.size, 0));
        ssize_t n = recv(idle[i], data, reply_size, MSG_WAITALL);
        if (n != (ssize_t)reply_size ||
            memcmp(data, replies.bytes, reply_size) != 0) {
            fail("an idle connection got a wrong answer");
        }
    }
    free(data);
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

static void
wait_for_line(void)
{
    int c;
    fflush(stdout);
    while (options.pause && (c = getchar()) != '\n' && c != EOF) {
    }
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
        size_t start = i * 31 % (requests.period / options.size);
        c->to_send = start * options.size;
        c->to_verify = start * reply_size;
        c->stamps = allocate(options.depth, sizeof *c->stamps);
        c->fd = -1;
        if (options.mode != CHURN) {
            conn_open(c);
        }
    }
}

static void
measure(void)
{
    uint64_t messages = options.messages;
    options.messages = UINT64_MAX;
    phase(options.warmup);
    options.messages = messages;
    struct usage empty = server_usage();
    open_idle();
    if (options.pause) {
        puts("ready");
    }
    wait_for_line();
    struct usage before = server_usage();
    int64_t cpu, waited, began_waited;
    read_schedstat(getpid(), &cpu, &began_waited);
    int64_t began = now_ns();
    phase(options.seconds);
    int64_t took = now_ns() - began;
    read_schedstat(getpid(), &cpu, &waited);
    struct usage after = server_usage();
    check_idle();
    if (run.messages == 0) {
        fail("not a single message");
    }
    printf("{\"messages\": %llu, \"bytes\": %llu, \"seconds\": %.6f, "
           "\"rate\": %.1f, \"p50_us\": %.2f, \"p90_us\": %.2f, "
           "\"p99_us\": %.2f, \"p999_us\": %.2f, \"max_us\": %.2f",
           (unsigned long long)run.messages, (unsigned long long)run.bytes,
           (double)took / 1e9, (double)run.messages / ((double)took / 1e9),
           percentile(0.5), percentile(0.9), percentile(0.99),
           percentile(0.999), (double)longest / 1000);
    if (options.watch > 0) {
        printf(", \"cpu_ns\": %.2f, \"server_waited\": %.4f, "
               "\"load_waited\": %.4f",
               (double)(after.cpu - before.cpu) / (double)run.messages,
               (double)(after.waited - before.waited) / (double)took,
               (double)(waited - began_waited) / (double)took);
        if (options.idle > 0) {
            printf(", \"rss_per_idle\": %.1f",
                   (before.rss - empty.rss) / (double)options.idle);
        }
    }
    printf("}\n");
    wait_for_line();
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
        {"mode", 1, NULL, 'm'},   {"connections", 1, NULL, 'c'},
        {"size", 1, NULL, 's'},   {"depth", 1, NULL, 'd'},
        {"idle", 1, NULL, 'i'},   {"seconds", 1, NULL, 't'},
        {"warmup", 1, NULL, 'w'}, {"messages", 1, NULL, 'n'},
        {"watch", 1, NULL, 'p'},  {"pause", 0, NULL, 'g'},
        {"burst", 0, NULL, 'b'},  {"sleep", 0, NULL, 'z'},
        {"help", 0, NULL, 'h'},   {NULL, 0, NULL, 0},
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
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (argc != optind + 1) {
        fputs(usage, stderr);
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
    alarm((unsigned)(options.seconds + options.warmup) + 120);
    setup();
    measure();
    return 0;
}
