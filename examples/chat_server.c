/* SPDX-License-Identifier: MIT */
/* chat_server.c - people who talk to each other, line by line.
 *
 *   chat_server [-t SECONDS] [HOST] [PORT]      clients: nc, telnet, …
 *
 * Each person is a chat whose terminator is the end of a line.  A line is said
 * to everybody in the same room, or is a command: /help lists them.
 *
 * Who is slow, silent, or sends rubbish is no burden to the others:
 *
 *   - A push never waits, and what a person has not taken yet is bounded:
 *     whose queue is full is dropped.
 *   - Little is read from a person in one pass, so that nobody is heard much
 *     more than the others.
 *   - Who is silent for too long is asked, and then dropped.
 *   - Nothing is passed on that a terminal would not show as text.
 *
 * A person may be dropped at any time, in the middle of a walk over the list
 * of people, too.  So dropping does no more than close the channel; the rest
 * is done when the library calls `destroy`, at the end of the pass.
 */
#define _POSIX_C_SOURCE 200809L

#include "common.h"

#include <asynchat.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char usage[] =
    "usage: chat_server [-t SECONDS] [HOST] [PORT]\n"
    "Let people talk to each other; each connects with nc or telnet.  HOST "
    "is\n"
    "127.0.0.1 if not given, PORT 8023; port 0 takes one that is free.\n"
    "  -t  ask who is silent for so many seconds whether he is still there,\n"
    "      and drop him after as many more (300)\n";

#define MAX_LINE 1000   /* bytes a person may say at once */
#define MAX_NAME 16     /* of a nick, or of a room */
#define MAX_LISTED 100  /* people that /who names */
#define READ_SIZE 1024  /* bytes read from a person in one pass */
#define GOODBYE_TIME 2. /* seconds people have to take the last words */

static const struct asyncore_limits limits = {
    .high = (size_t)64 * 1024, /* who has not read so much need not speak */
    .low = (size_t)16 * 1024,
    .max = (size_t)256 * 1024, /* … and who has not read this is dropped */
};

static double idle_seconds = 300;

/* Ends the waiting for the last ones, when the server goes down. */
static int64_t farewell;

/* ---- people ------------------------------------------------------------ */

struct person {
    struct asynchat chat;
    struct person *next;
    bool present;    /* in the list */
    bool asked;      /* whether he is there; nothing was heard since */
    const char *why; /* he is being dropped; NULL = the connection ended */
    char nick[MAX_NAME + 1];
    char room[MAX_NAME + 1];
};

/* Everybody who is present, the last who came first. */
static struct person *people;

static struct person *
person_of(struct asyncore_dispatcher *d)
{
    return asyncore_container_of(d, struct person, chat.base);
}

static struct person *
find_person(const char *nick)
{
    struct person *p = people;

    while (p != NULL && strcasecmp(p->nick, nick) != 0) {
        p = p->next;
    }
    return p;
}

/* Names stand in what others see, so they are plain. */
static bool
is_name(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz"
                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

    return len > 0 && len <= MAX_NAME && text[len] == '\0';
}

static void
set_name(char name[MAX_NAME + 1], const char *text)
{
    snprintf(name, MAX_NAME + 1, "%s", text);
}

/* ---- telling them ------------------------------------------------------ */

struct message {
    char text[MAX_LINE + 256]; /* what is said, by whom, and the line end */
    int len;
};

static void
compose(struct message *m, const char *fmt, va_list args)
{
    int room = (int)sizeof m->text - 2; /* for the line end */
    int n = vsnprintf(m->text, (size_t)room, fmt, args);

    m->len = n < room ? n : room - 1;
    m->text[m->len++] = '\r';
    m->text[m->len++] = '\n';
}

/* A full queue may only mean that much was said in this pass, at whose end it
 * would be sent: so it is sent now.  If that does not help, he is too slow. */
static void
send_to(struct person *p, const struct message *m)
{
    int err = asynchat_push(&p->chat, m->text, (size_t)m->len);

    if (err == -ENOBUFS) {
        asynchat_handle_write(&p->chat.base);
        err = asynchat_push(&p->chat, m->text, (size_t)m->len);
    }
    if (err < 0 && err != -EBADF) { /* not closed already */
        p->why = err == -ENOBUFS ? "reads too slowly" : asyncore_strerror(err);
        asyncore_close(&p->chat.base);
    }
}

static void tell(struct person *p, const char *fmt, ...) ASYNCORE_PRINTF(2, 3);

static void
tell(struct person *p, const char *fmt, ...)
{
    struct message m;
    va_list args;

    va_start(args, fmt);
    compose(&m, fmt, args);
    va_end(args);
    send_to(p, &m);
}

static void tell_room(const char *room, const struct person *except,
                      const char *fmt, ...) ASYNCORE_PRINTF(3, 4);

static void
tell_room(const char *room, const struct person *except, const char *fmt, ...)
{
    struct message m;
    va_list args;

    va_start(args, fmt);
    compose(&m, fmt, args);
    va_end(args);
    for (struct person *p = people; p != NULL; p = p->next) {
        if (p != except && strcasecmp(p->room, room) == 0) {
            send_to(p, &m);
        }
    }
}

/* ---- coming and leaving ------------------------------------------------ */

static void
come(struct person *p)
{
    static unsigned long guests;

    do {
        snprintf(p->nick, sizeof p->nick, "guest%lu", ++guests % 10000000);
    } while (find_person(p->nick) != NULL);
    set_name(p->room, "lobby");
    p->present = true;
    p->next = people;
    people = p;
    tell(p, "*** welcome, %s: you are in %s; /help tells what you can do",
         p->nick, p->room);
    tell_room(p->room, p, "*** %s has joined %s", p->nick, p->room);
}

static void
leave(struct person *p, const char *why)
{
    struct person **at = &people;

    while (*at != p) {
        at = &(*at)->next;
    }
    *at = p->next;
    p->present = false;
    tell_room(p->room, NULL, "*** %s has left: %s", p->nick, why);
}

/* Leave in order: what he has been told until now still reaches him. */
static int
say_goodbye(struct person *p, const char *why)
{
    leave(p, why);
    return asyncore_close_when_done(&p->chat.base);
}

/* ---- commands ---------------------------------------------------------- */

/* The argument is what follows the name; it is "" if nothing does. */

static int run_help(struct person *p, char *argument);

static int
run_join(struct person *p, char *argument)
{
    if (!is_name(argument)) {
        tell(p, "*** the name of a room is 1 to %d letters, digits, - or _",
             MAX_NAME);
    }
    else if (strcasecmp(argument, p->room) == 0) {
        tell(p, "*** you are in %s", p->room);
    }
    else {
        tell_room(p->room, p, "*** %s has gone to %s", p->nick, argument);
        set_name(p->room, argument);
        tell_room(p->room, NULL, "*** %s has joined %s", p->nick, p->room);
    }
    return 0;
}

static int
run_me(struct person *p, char *argument)
{
    tell_room(p->room, NULL, "* %s %s", p->nick, argument);
    return 0;
}

static int
run_msg(struct person *p, char *argument)
{
    size_t len = strcspn(argument, " ");
    char *text = argument + len + strspn(argument + len, " ");
    struct person *to;

    argument[len] = '\0';
    to = find_person(argument);
    if (*text == '\0') {
        tell(p, "*** /msg wants a nick and a text");
    }
    else if (to == NULL) {
        tell(p, "*** there is nobody called %s", argument);
    }
    else {
        tell(to, "[%s -> you] %s", p->nick, text);
        tell(p, "[you -> %s] %s", to->nick, text);
    }
    return 0;
}

static int
run_nick(struct person *p, char *argument)
{
    struct person *other = find_person(argument);
    char old[MAX_NAME + 1];

    if (!is_name(argument)) {
        tell(p, "*** a nick is 1 to %d letters, digits, - or _", MAX_NAME);
    }
    else if (other != NULL && other != p) {
        tell(p, "*** %s is taken", other->nick);
    }
    else {
        set_name(old, p->nick);
        set_name(p->nick, argument);
        tell_room(p->room, NULL, "*** %s is now %s", old, p->nick);
    }
    return 0;
}

static int
run_quit(struct person *p, char *argument)
{
    tell(p, "*** goodbye, %s", p->nick);
    return say_goodbye(p, *argument != '\0' ? argument : "bye");
}

static int
run_who(struct person *p, char *argument)
{
    int n = 0;

    (void)argument;
    for (struct person *q = people; q != NULL; q = q->next, n++) {
        if (n < MAX_LISTED) {
            tell(p, "*** %s is in %s", q->nick, q->room);
        }
    }
    if (n > MAX_LISTED) {
        tell(p, "*** ... and %d more", n - MAX_LISTED);
    }
    return 0;
}

static const struct command {
    const char *name, *argument, *help;
    int (*run)(struct person *p, char *argument);
} commands[] = {
    {"help", "", "show this", run_help},
    {"join", "ROOM", "go to a room; the first who goes opens it", run_join},
    {"me", "DOES", "say what you do", run_me},
    {"msg", "NICK TEXT", "say something to one person only", run_msg},
    {"nick", "NICK", "take another name", run_nick},
    {"quit", "[WHY]", "leave", run_quit},
    {"who", "", "who is here, and where", run_who},
    {NULL, NULL, NULL, NULL},
};

static int
run_help(struct person *p, char *argument)
{
    (void)argument;
    for (const struct command *c = commands; c->name != NULL; c++) {
        tell(p, "*** /%s %-*s %s", c->name, 14 - (int)strlen(c->name),
             c->argument, c->help);
    }
    tell(p, "*** anything else is said to everybody in your room");
    return 0;
}

static int
run_command(struct person *p, char *line)
{
    size_t len = strcspn(line, " ");
    char *argument = line + len + strspn(line + len, " ");

    line[len] = '\0';
    for (const struct command *c = commands; c->name != NULL; c++) {
        if (strcasecmp(line, c->name) == 0) {
            return c->run(p, argument);
        }
    }
    tell(p, "*** there is no /%s: /help lists what there is", line);
    return 0;
}

/* ---- text, out of whatever comes in ------------------------------------ */

/* How many bytes are one character of UTF-8; 0 = they are none. */
static size_t
utf8_length(const unsigned char *s, size_t len)
{
    static const unsigned long least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    unsigned long c = n == 1 ? s[0] : s[0] & (0x7fu >> n);

    if ((s[0] >= 0x80 && s[0] < 0xc0) || s[0] >= 0xf8 || n > len) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = c << 6 | (s[i] & 0x3f);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0
                                                                        : n;
}

/* U+0000 to U+001F, U+007F, and, in two bytes, U+0080 to U+009F. */
static bool
is_control(const unsigned char *s, size_t n)
{
    return n == 1 ? *s < ' ' || *s == 0x7f : s[0] == 0xc2 && s[1] < 0xa0;
}

/* What telnet says to us, not to people, begins with IAC, a byte that is in no
 * text: IAC, a verb from WILL to DONT, an option; IAC SB … IAC SE; or IAC and
 * one byte. */
enum {
    SE = 240,
    SB = 250,
    WILL = 251,
    DONT = 254,
    IAC = 255
};

static size_t
telnet_length(const unsigned char *s, size_t len)
{
    size_t n = 2;

    if (len >= 2 && s[1] == SB) {
        while (n < len && !(s[n - 1] == IAC && s[n] == SE)) {
            n++;
        }
        n++;
    }
    else if (len >= 2 && s[1] >= WILL && s[1] <= DONT) {
        n = 3;
    }
    return n < len ? n : len;
}

/* Copy a line without what is no text; the "\r" of "\r\n" goes with it.
 *
 *   ret   room for len + 1 bytes
 */
static void
clean(struct asyncore_bytes line, char *ret)
{
    const unsigned char *s = (const unsigned char *)line.data;
    size_t n, left = line.len;

    for (; left > 0; s += n, left -= n) {
        if (*s == IAC) {
            n = telnet_length(s, left);
            continue;
        }
        n = utf8_length(s, left);
        if (n == 0) {
            n = 1;
            *ret++ = '?';
        }
        else if (*s == '\t') {
            *ret++ = ' ';
        }
        else if (!is_control(s, n)) {
            memcpy(ret, s, n);
            ret += n;
        }
    }
    *ret = '\0';
}

/* ---- a person's channel ------------------------------------------------ */

static int
line_found(struct asynchat *chat)
{
    struct person *p = person_of(&chat->base);
    char line[MAX_LINE + 2]; /* with a "\r" */

    p->asked = false;
    clean(asynchat_get_data(chat), line);
    if (line[0] == '/') {
        return run_command(p, line + 1);
    }
    if (line[0] != '\0') {
        tell_room(p->room, p, "<%s> %s", p->nick, line);
    }
    return 0;
}

static int
line_too_long(struct asynchat *chat)
{
    struct person *p = person_of(&chat->base);

    tell(p, "*** your line is longer than %d bytes: nobody heard it",
         MAX_LINE);
    return 0;
}

/* He can still read, but we need not wait for more.  The last line counts
 * without an end, too. */
static int
person_eof(struct asyncore_dispatcher *d)
{
    struct person *p = person_of(d);

    if (p->present) {
        line_found(&p->chat);
    }
    return p->present ? say_goodbye(p, "hung up") : 0;
}

/* Nothing was heard, or nothing could be sent, for idle_seconds. */
static int
person_timeout(struct asyncore_dispatcher *d)
{
    struct person *p = person_of(d);

    if (!p->present) {
        return asyncore_close(d); /* he does not even take our goodbye */
    }
    if (p->asked) {
        tell(p, "*** you have been silent for too long; goodbye");
        return say_goodbye(p, "fell asleep");
    }
    p->asked = true;
    tell(p, "*** are you still there, %s?  Then say something", p->nick);
    return 0;
}

/* However a connection ended, it comes here.  Its room hears of it, and when
 * it was the last of all, nobody is waited for any more. */
static void
person_destroy(struct asyncore_dispatcher *d)
{
    struct person *p = person_of(d);

    if (p->present) {
        leave(p, p->why != NULL ? p->why
                 : d->error < 0 ? asyncore_strerror(d->error)
                                : "hung up");
    }
    if (asyncore_map_count(d->map) == 0) {
        asyncore_cancel(d->map, farewell);
    }
    free(p);
}

static const struct asynchat_ops person_ops = {
    .base.name = "person",
    .base.handle_eof = person_eof,
    .base.handle_timeout = person_timeout,
    .base.destroy = person_destroy,
    .found_terminator = line_found,
    .handle_too_long = line_too_long,
};

/* ---- the listener ------------------------------------------------------ */

static int
prepare(struct person *p)
{
    int err = asynchat_set_terminator(&p->chat, "\n", 1);

    if (err == 0) {
        err = asynchat_set_max_message(&p->chat, MAX_LINE + 1);
    }
    if (err == 0) {
        err = asyncore_set_limits(&p->chat.base, &limits);
    }
    if (err == 0) {
        err = asyncore_set_timeout(&p->chat.base, idle_seconds);
    }
    p->chat.ac_in_buffer_size = READ_SIZE;
    return err;
}

static int
server_accepted(struct asyncore_dispatcher *d, int fd,
                const struct asyncore_addr *addr)
{
    struct person *p = calloc(1, sizeof *p);
    int err;

    if (p == NULL) {
        return -ENOMEM;
    }
    err = asynchat_init(&p->chat, &person_ops, fd, d->map);
    if (err < 0) {
        free(p);
        return err;
    }
    err = prepare(p);
    if (err < 0) {
        complain("%s: %s", asyncore_addr_str(addr), asyncore_strerror(err));
        return asyncore_close(&p->chat.base); /* destroy releases it */
    }
    fprintf(stderr, "incoming connection from %s\n", asyncore_addr_str(addr));
    come(p);
    return 0;
}

static const struct asyncore_ops chat_server = {
    .name = "chat_server",
    .handle_accepted = server_accepted,
};

/* ---- the end ----------------------------------------------------------- */

static int
time_is_up(struct asyncore_map *map, void *arg)
{
    (void)arg;
    return asyncore_close_all(map, true);
}

/* Tell everybody.  They have a moment to take it: the loop has to run again
 * until the last one has gone. */
static void
shut_down(struct asyncore_map *map, struct asyncore_dispatcher *server)
{
    while (people != NULL) {
        struct person *p = people;

        tell(p, "*** the server is going down; goodbye, %s", p->nick);
        asyncore_close_when_done(&p->chat.base);
        people = p->next;
        p->present = false;
    }
    asyncore_close(server);
    if (asyncore_map_count(map) > 0) {
        farewell = asyncore_call_later(map, GOODBYE_TIME, time_is_up, NULL);
    }
}

/* ---- the command line -------------------------------------------------- */

int
main(int argc, char **argv)
{
    struct asyncore_dispatcher server;
    struct asyncore_map *map;
    struct endpoint at;
    int option;

    start(argv);
    while ((option = next_option(argc, argv, "ht:", 0, 2, usage)) != -1) {
        if (option == 't') {
            idle_seconds = parse_seconds(optarg);
        }
    }
    parse_host_port(argc > optind ? argv[optind] : "127.0.0.1",
                    argc > optind + 1 ? argv[optind + 1] : "8023", &at);
    map = make_map();
    stop_on_signals(map);
    asyncore_dispatcher_init(&server, &chat_server, -1, map);
    listen_on(&server, &at, stdout);
    asyncore_loop(ASYNCORE_FOREVER, false, map, ASYNCORE_UNTIL_EMPTY);
    if (interrupted()) {
        shut_down(map, &server);
    }
    return serve(map);
}
