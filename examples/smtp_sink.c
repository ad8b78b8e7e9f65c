/* SPDX-License-Identifier: MIT */
/* smtp_sink.c - receive mail, as the smtpd module of Python did on asynchat.
 *
 *   smtp_sink [-d MAILDIR] [-s MAXSIZE] [-t SECONDS] [HOST] [PORT]
 *
 * A session is a chat with two terminators.  Commands end in "\r\n".  A
 * message ends in a line that is nothing but a dot: its terminator is
 * ".\r\n", and when it is found, the line it stands in must have just begun.
 * ("\r\n.\r\n" would be the same, but for an empty message: there the first
 * "\r\n" is that of the DATA command, and has been taken.)  A message goes to
 * its file as it comes in; none is ever kept in memory.
 *
 * Whatever a client sends ahead of our replies (PIPELINING) is cut by the
 * terminator that holds when its turn comes, so it needs no care here.  Only
 * "\r\n" ends a line: who takes "\n" for an end, too, finds commands in what
 * others took for text.
 */
#define _POSIX_C_SOURCE 200809L

#include "common.h"

#include <asynchat.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: smtp_sink [-d MAILDIR] [-s MAXSIZE] [-t SECONDS] [HOST] [PORT]\n"
    "Receive mail for anybody and show it on stdout.  HOST is 127.0.0.1 if\n"
    "not given, PORT 8025; port 0 takes one that is free.\n"
    "  -d  write the messages to this Maildir, which is made if need be\n"
    "  -s  refuse longer messages, in bytes; 0 takes all (33554432)\n"
    "  -t  hang up on who is silent for so many seconds (300)\n";

#define MAX_COMMAND 1024 /* bytes; the standard asks for 512 */
#define MAX_PATH 256     /* of an address */
#define MAX_RECIPIENTS 100

static unsigned long long max_size = 33554432; /* 0 = any */
static double idle_seconds = 300;
static int maildir = -1; /* the directory; -1 = stdout is used */
static char our_name[256];

struct session {
    struct asynchat chat;
    char peer[64];  /* its address */
    char helo[256]; /* how it calls itself; "" before it has */
    bool extended;  /* … by EHLO */

    /* The envelope. */
    bool has_sender; /* which may be "" */
    char sender[MAX_PATH + 1];
    char *recipients[MAX_RECIPIENTS];
    int recipients_len;

    /* The message, between DATA and its end. */
    FILE *file; /* NULL = there is none */
    char name[320];
    enum {
        LINE_START,
        IN_LINE,
        AFTER_CR
    } at;
    unsigned long long size;
};

static struct session *
session_of(struct asyncore_dispatcher *d)
{
    return asyncore_container_of(d, struct session, chat.base);
}

/* ---- files ------------------------------------------------------------- */

/* In a Maildir, a message is written in tmp/ and then renamed into new/, so
 * that who reads new/ finds whole messages only, and nobody needs a lock.
 * Writing may block the loop for as long as the disk takes. */

static void
open_maildir(const char *path)
{
    static const char *const parts[] = {"tmp", "new", "cur"};

    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        die(2, "maildir '%s': %s", path, strerror(errno));
    }
    maildir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (maildir < 0) {
        die(2, "maildir '%s': %s", path, strerror(errno));
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if ((mkdirat(maildir, parts[i], 0700) < 0 && errno != EEXIST) ||
            faccessat(maildir, parts[i], W_OK | X_OK, AT_EACCESS) < 0) {
            die(2, "maildir '%s': %s: %s", path, parts[i], strerror(errno));
        }
    }
}

/* A name that no other message has or will have: by time, process, count. */
static void
make_name(char *name, size_t size)
{
    static unsigned long count;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(name, size, "%lld.M%06ldP%ldQ%lu.%s", (long long)now.tv_sec,
             now.tv_nsec / 1000, (long)getpid(), ++count, our_name);
}

static FILE *
create_in_maildir(const char *name)
{
    char path[sizeof "tmp/" + 320];
    FILE *file;
    int fd;

    snprintf(path, sizeof path, "tmp/%s", name);
    fd = openat(maildir, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (fd >= 0 && file == NULL) { /* no memory */
        close(fd);
        unlinkat(maildir, path, 0);
    }
    return file;
}

/* Whose mail it is, and where it came from: the headers of a delivery. */
static void
write_trace(struct session *s)
{
    char date[64];
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", &tm);
    fprintf(s->file, "Return-Path: <%s>\n", s->sender);
    for (int i = 0; i < s->recipients_len; i++) {
        fprintf(s->file, "Delivered-To: %s\n", s->recipients[i]);
    }
    fprintf(s->file,
            "Received: from %s ([%s])\n\tby %s with %s id %s;\n\t%s\n",
            s->helo, s->peer, our_name, s->extended ? "ESMTP" : "SMTP",
            s->name, date);
}

static int
open_message(struct session *s)
{
    make_name(s->name, sizeof s->name);
    s->file = maildir >= 0 ? create_in_maildir(s->name) : tmpfile();
    if (s->file == NULL) {
        complain("cannot keep a message: %s", strerror(errno));
        return -1;
    }
    if (maildir >= 0) {
        write_trace(s);
    }
    s->at = LINE_START;
    s->size = 0;
    return 0;
}

/* Returns 0, or -1 with errno set. */
static int
move_message(const char *name)
{
    char from[sizeof "tmp/" + 320], to[sizeof "new/" + 320];

    snprintf(from, sizeof from, "tmp/%s", name);
    snprintf(to, sizeof to, "new/%s", name);
    return renameat(maildir, from, maildir, to);
}

/* As the DebuggingServer of smtpd shows a message: with the peer's address as
 * the last header. */
static int
show_message(struct session *s)
{
    bool in_headers = true;
    int last = '\n', c;

    puts("---------- MESSAGE FOLLOWS ----------");
    rewind(s->file);
    while ((c = getc(s->file)) != EOF) {
        if (in_headers && c == '\n' && last == '\n') {
            printf("X-Peer: %s\n", s->peer);
            in_headers = false;
        }
        putchar(c);
        last = c;
    }
    puts("------------ END MESSAGE ------------");
    return fflush(stdout);
}

/* End a message: for others to see if it is kept, without a trace if not.
 * Returns 0, or -1: it can't be kept. */
static int
close_message(struct session *s, bool keep)
{
    char path[sizeof "tmp/" + 320];
    int err = keep && fflush(s->file) == 0 && !ferror(s->file) ? 0 : -1;

    if (keep && err == 0) {
        err = maildir < 0 ? show_message(s) : move_message(s->name);
    }
    if (keep && err != 0) {
        complain("cannot keep a message: %s", strerror(errno));
    }
    if (err != 0 && maildir >= 0) {
        snprintf(path, sizeof path, "tmp/%s", s->name);
        unlinkat(maildir, path, 0);
    }
    fclose(s->file);
    s->file = NULL;
    return err;
}

/* ---- the text of a message --------------------------------------------- */

static bool
is_too_big(const struct session *s)
{
    return max_size > 0 && s->size > max_size;
}

static void
put(struct session *s, const char *data, size_t len)
{
    s->size += len;
    if (!is_too_big(s)) {
        fwrite(data, 1, len, s->file);
    }
}

/* Write a part of a message as files have it: lines end in "\n", and the dot
 * that is put before each dot at the beginning of a line is taken away.  A
 * part may end anywhere, so s->at says where in a line we are. */
static void
put_text(struct session *s, const char *data, size_t len)
{
    const char *end = data + len;

    while (data < end) {
        if (s->at == AFTER_CR && *data == '\n') {
            put(s, data++, 1);
            s->size++; /* the "\r" */
            s->at = LINE_START;
        }
        else if (s->at == AFTER_CR) {
            put(s, "\r", 1); /* one that ends no line */
            s->at = IN_LINE;
        }
        else if (s->at == LINE_START && *data == '.') {
            data++;
            s->at = IN_LINE;
        }
        else {
            const char *cr = memchr(data, '\r', (size_t)(end - data));

            put(s, data, (size_t)((cr != NULL ? cr : end) - data));
            s->at = cr != NULL ? AFTER_CR : IN_LINE;
            data = cr != NULL ? cr + 1 : end;
        }
    }
}

/* ---- replies ----------------------------------------------------------- */

static int reply(struct session *s, const char *fmt, ...)
    ASYNCORE_PRINTF(2, 3);

static int
reply(struct session *s, const char *fmt, ...)
{
    char line[512];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(line, sizeof line - 2, fmt, args);
    va_end(args);
    n = n < (int)sizeof line - 2 ? n : (int)sizeof line - 3;
    line[n++] = '\r';
    line[n++] = '\n';
    return asynchat_push(&s->chat, line, (size_t)n);
}

/* ---- from command to message and back ---------------------------------- */

static void
forget_envelope(struct session *s)
{
    s->has_sender = false;
    while (s->recipients_len > 0) {
        free(s->recipients[--s->recipients_len]);
    }
}

static int
expect_command(struct session *s)
{
    asynchat_set_max_message(&s->chat, MAX_COMMAND);
    return asynchat_set_terminator(&s->chat, "\r\n", 2);
}

static int
expect_message(struct session *s)
{
    asynchat_set_max_message(&s->chat, 0);
    return asynchat_set_terminator(&s->chat, ".\r\n", 3);
}

static int
end_message(struct session *s)
{
    bool too_big = is_too_big(s);
    bool kept = close_message(s, !too_big) == 0;

    forget_envelope(s);
    expect_command(s);
    if (too_big) {
        return reply(s, "552 Error: Too much mail data");
    }
    return kept ? reply(s, "250 OK: %s", s->name)
                : reply(s, "452 Error: Insufficient system storage");
}

/* ---- commands ---------------------------------------------------------- */

/* The argument is what follows the verb; it is "" if nothing does. */

/* Returns whether it is a greeting. */
static bool
greet(struct session *s, const char *argument, bool extended)
{
    if (*argument == '\0' || strlen(argument) >= sizeof s->helo) {
        return false;
    }
    snprintf(s->helo, sizeof s->helo, "%s", argument);
    s->extended = extended;
    forget_envelope(s);
    return true;
}

static int
smtp_helo(struct session *s, char *argument)
{
    return greet(s, argument, false) ? reply(s, "250 %s", our_name)
                                     : reply(s, "501 Syntax: HELO hostname");
}

static int
smtp_ehlo(struct session *s, char *argument)
{
    return greet(s, argument, true)
               ? reply(s,
                       "250-%s\r\n250-SIZE %llu\r\n250-PIPELINING\r\n"
                       "250-8BITMIME\r\n250 HELP",
                       our_name, max_size)
               : reply(s, "501 Syntax: EHLO hostname");
}

/* Take "KEYWORD:<ADDRESS>" off the beginning of an argument.
 *
 *   path   to be set to the address, without "<" and ">"
 *
 * Returns what follows, or NULL: it is none. */
static char *
parse_path(char *argument, const char *keyword, char path[MAX_PATH + 1])
{
    size_t len = 0, skip = strlen(keyword);
    bool quoted = false;
    char *at = argument + skip;

    if (strncasecmp(argument, keyword, skip) != 0) {
        return NULL;
    }
    at += strspn(at, " "); /* many do, though it is not allowed */
    if (*at != '<') {
        return NULL;
    }
    for (at++; quoted || *at != '>'; at++) {
        if (*at == '\0' || len == MAX_PATH || (*at == ' ' && !quoted)) {
            return NULL;
        }
        if (*at == '"') {
            quoted = !quoted;
        }
        path[len++] = *at;
        if (*at == '\\' && at[1] != '\0' && len < MAX_PATH) {
            path[len++] = *++at; /* a quote that ends nothing, perhaps */
        }
    }
    path[len] = '\0';
    return at[1] == '\0' || at[1] == ' ' ? at + 1 : NULL;
}

/* Returns the refusal, or NULL: it is fine. */
static const char *
check_size(const char *text)
{
    char *end;
    unsigned long long size;

    errno = 0;
    size = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0') {
        return "501 Error: bad SIZE";
    }
    if (max_size > 0 && (errno == ERANGE || size > max_size)) {
        return "552 Error: message size exceeds fixed maximum message size";
    }
    return NULL;
}

/* The same for what follows the sender's address. */
static const char *
check_options(const struct session *s, char *options)
{
    const char *refusal = NULL;
    char *rest, *option;

    for (option = strtok_r(options, " ", &rest);
         option != NULL && refusal == NULL;
         option = strtok_r(NULL, " ", &rest)) {
        if (s->extended && strncasecmp(option, "SIZE=", 5) == 0) {
            refusal = check_size(option + 5);
        }
        else if (!s->extended || (strcasecmp(option, "BODY=7BIT") != 0 &&
                                  strcasecmp(option, "BODY=8BITMIME") != 0)) {
            refusal = "555 Error: option not recognized or not implemented";
        }
    }
    return refusal;
}

static int
smtp_mail(struct session *s, char *argument)
{
    char path[MAX_PATH + 1];
    const char *refusal;
    char *options;

    if (s->helo[0] == '\0') {
        return reply(s, "503 Error: send HELO first");
    }
    if (s->has_sender) {
        return reply(s, "503 Error: nested MAIL command");
    }
    options = parse_path(argument, "FROM:", path);
    if (options == NULL) {
        return reply(s, "501 Syntax: MAIL FROM:<address>");
    }
    refusal = check_options(s, options);
    if (refusal != NULL) {
        return reply(s, "%s", refusal);
    }
    memcpy(s->sender, path, sizeof path);
    s->has_sender = true;
    return reply(s, "250 OK");
}

static int
smtp_rcpt(struct session *s, char *argument)
{
    char path[MAX_PATH + 1];
    char *options;

    if (!s->has_sender) {
        return reply(s, "503 Error: need MAIL command");
    }
    options = parse_path(argument, "TO:", path);
    if (options == NULL || path[0] == '\0') {
        return reply(s, "501 Syntax: RCPT TO:<address>");
    }
    if (*options != '\0') {
        return reply(s, "555 Error: option not recognized or not implemented");
    }
    if (s->recipients_len == MAX_RECIPIENTS) {
        return reply(s, "452 Error: too many recipients");
    }
    s->recipients[s->recipients_len] = strdup(path);
    if (s->recipients[s->recipients_len] == NULL) {
        return reply(s, "452 Error: Insufficient system storage");
    }
    s->recipients_len++;
    return reply(s, "250 OK");
}

static int
smtp_data(struct session *s, char *argument)
{
    if (s->recipients_len == 0) {
        return reply(s, "503 Error: need RCPT command");
    }
    if (*argument != '\0') {
        return reply(s, "501 Syntax: DATA");
    }
    if (open_message(s) != 0) {
        return reply(s, "451 Error: local error in processing");
    }
    expect_message(s);
    return reply(s, "354 End data with <CR><LF>.<CR><LF>");
}

static int
smtp_rset(struct session *s, char *argument)
{
    if (*argument != '\0') {
        return reply(s, "501 Syntax: RSET");
    }
    forget_envelope(s);
    return reply(s, "250 OK");
}

static int
smtp_noop(struct session *s, char *argument)
{
    (void)argument;
    return reply(s, "250 OK");
}

static int
smtp_vrfy(struct session *s, char *argument)
{
    return *argument == '\0'
               ? reply(s, "501 Syntax: VRFY <address>")
               : reply(s, "252 Cannot VRFY user, but will accept message");
}

static int
smtp_help(struct session *s, char *argument)
{
    (void)argument;
    return reply(s, "214 Supported commands: "
                    "HELO EHLO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT");
}

static int
smtp_quit(struct session *s, char *argument)
{
    int err;

    if (*argument != '\0') {
        return reply(s, "501 Syntax: QUIT");
    }
    err = reply(s, "221 Bye");
    return err < 0 ? err : asyncore_close_when_done(&s->chat.base);
}

static const struct command {
    const char *verb;
    int (*run)(struct session *s, char *argument);
} commands[] = {
    {"HELO", smtp_helo}, {"EHLO", smtp_ehlo}, {"MAIL", smtp_mail},
    {"RCPT", smtp_rcpt}, {"DATA", smtp_data}, {"RSET", smtp_rset},
    {"NOOP", smtp_noop}, {"VRFY", smtp_vrfy}, {"HELP", smtp_help},
    {"QUIT", smtp_quit},
};

static int
run_command(struct session *s, char *line)
{
    size_t len = strcspn(line, " ");
    char *argument = line + len + strspn(line + len, " ");

    line[len] = '\0';
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcasecmp(line, commands[i].verb) == 0) {
            return commands[i].run(s, argument);
        }
    }
    return reply(s, "500 Error: command \"%.32s\" not recognized", line);
}

/* Take a line as text, without the blanks at its end.  Returns false if there
 * is more in it than printable ASCII, a "\n" among the rest. */
static bool
copy_line(struct asyncore_bytes from, char line[MAX_COMMAND + 1])
{
    size_t len = from.len;

    while (len > 0 && from.data[len - 1] == ' ') {
        len--;
    }
    for (size_t i = 0; i < len; i++) {
        if (from.data[i] < ' ' || from.data[i] > '~') {
            return false;
        }
        line[i] = from.data[i];
    }
    line[len] = '\0';
    return len > 0;
}

/* ---- the channel of a session ------------------------------------------ */

static int
session_collect(struct asynchat *chat, const void *data, size_t len)
{
    struct session *s = session_of(&chat->base);

    if (s->file == NULL) {
        return asynchat_collect_incoming_data(chat, data, len);
    }
    put_text(s, data, len);
    return 0;
}

static int
session_found(struct asynchat *chat)
{
    struct session *s = session_of(&chat->base);
    char line[MAX_COMMAND + 1];

    if (s->file == NULL) {
        return copy_line(asynchat_get_data(chat), line)
                   ? run_command(s, line)
                   : reply(s, "500 Error: bad syntax");
    }
    if (s->at == LINE_START) {
        return end_message(s);
    }
    put_text(s, ".\r\n", 3); /* a dot that is not alone in its line */
    return 0;
}

/* The rest of the line is skipped. */
static int
session_too_long(struct asynchat *chat)
{
    return reply(session_of(&chat->base), "500 Error: line too long");
}

/* A client may end its side behind its last command, and wait for replies. */
static int
session_eof(struct asyncore_dispatcher *d)
{
    return asyncore_close_when_done(d);
}

static int
session_timeout(struct asyncore_dispatcher *d)
{
    if (d->closing) {
        return asyncore_close(d); /* what we said last can't be sent */
    }
    reply(session_of(d), "421 %s Error: timeout exceeded", our_name);
    return asyncore_close_when_done(d);
}

static void
session_destroy(struct asyncore_dispatcher *d)
{
    struct session *s = session_of(d);

    if (s->file != NULL) {
        close_message(s, false);
    }
    forget_envelope(s);
    free(s);
}

static const struct asynchat_ops session_ops = {
    .base.name = "smtp_session",
    .base.handle_eof = session_eof,
    .base.handle_timeout = session_timeout,
    .base.destroy = session_destroy,
    .collect_incoming_data = session_collect,
    .found_terminator = session_found,
    .handle_too_long = session_too_long,
};

/* ---- the listener ------------------------------------------------------ */

static int
begin_session(struct session *s, const struct asyncore_addr *addr)
{
    int err = asyncore_set_timeout(&s->chat.base, idle_seconds);

    if (err == 0) {
        err = expect_command(s);
    }
    if (getnameinfo(&addr->u.sa, addr->len, s->peer, sizeof s->peer, NULL, 0,
                    NI_NUMERICHOST) != 0) {
        snprintf(s->peer, sizeof s->peer, "unknown");
    }
    return err < 0 ? err : reply(s, "220 %s smtp_sink", our_name);
}

static int
sink_accepted(struct asyncore_dispatcher *d, int fd,
              const struct asyncore_addr *addr)
{
    struct session *s = calloc(1, sizeof *s);
    int err;

    if (s == NULL) {
        return -ENOMEM;
    }
    err = asynchat_init(&s->chat, &session_ops, fd, d->map);
    if (err < 0) {
        free(s);
        return err;
    }
    err = begin_session(s, addr);
    if (err < 0) {
        complain("%s: %s", asyncore_addr_str(addr), asyncore_strerror(err));
        return asyncore_close(&s->chat.base); /* destroy releases it */
    }
    return 0;
}

static const struct asyncore_ops smtp_sink = {
    .name = "smtp_sink",
    .handle_accepted = sink_accepted,
};

/* ---- the command line -------------------------------------------------- */

static unsigned long long
parse_size(const char *text)
{
    char *end;
    unsigned long long size;

    errno = 0;
    size = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0) {
        die(2, "bad size '%s': it is a number of bytes", text);
    }
    return size;
}

/* What replies and file names have for our name: neither spaces nor "/". */
static void
find_our_name(void)
{
    if (gethostname(our_name, sizeof our_name - 1) < 0 ||
        our_name[0] == '\0' || strpbrk(our_name, "/: ") != NULL) {
        snprintf(our_name, sizeof our_name, "localhost");
    }
}

static void
parse_options(int argc, char **argv)
{
    const char *path = NULL;
    int option;

    while ((option = next_option(argc, argv, "hd:s:t:", 0, 2, usage)) != -1) {
        switch (option) {
        case 'd':
            path = optarg;
            break;
        case 's':
            max_size = parse_size(optarg);
            break;
        default:
            idle_seconds = parse_seconds(optarg);
            break;
        }
    }
    if (path != NULL) {
        open_maildir(path);
    }
}

int
main(int argc, char **argv)
{
    struct asyncore_dispatcher sink;
    struct asyncore_map *map;
    struct endpoint at;

    start(argv);
    find_our_name();
    parse_options(argc, argv);
    parse_host_port(argc > optind ? argv[optind] : "127.0.0.1",
                    argc > optind + 1 ? argv[optind + 1] : "8025", &at);
    map = make_map();
    stop_on_signals(map);
    asyncore_dispatcher_init(&sink, &smtp_sink, -1, map);
    listen_on(&sink, &at, stdout);
    return serve(map);
}
