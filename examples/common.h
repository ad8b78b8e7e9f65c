/* SPDX-License-Identifier: MIT */
/* common.h - what the example programs share: arguments, addresses, signals.
 *
 * Nothing here is needed to use the library; it is what any command line
 * program does around it.  Exit status 2 means that the program was called
 * wrongly, 1 that something went wrong later; either comes with one line on
 * stderr. */
#ifndef EXAMPLES_COMMON_H
#define EXAMPLES_COMMON_H

#include <asyncore.h>
#include <stdio.h>

/* A host and a port as the command line gives them. */
struct endpoint {
    char host[256];
    int port;
};

/* The addresses of an endpoint, to be tried in turn. */
struct target {
    struct asyncore_addr addrs[16];
    int len;
};

/* Write "PROGRAM: MESSAGE" to stderr.  What others sent may be in it: control
 * characters come out as "?". */
void complain(const char *fmt, ...) ASYNCORE_PRINTF(1, 2);

/* The same, then exit(). */
_Noreturn void die(int status, const char *fmt, ...) ASYNCORE_PRINTF(2, 3);

/* First thing in main(): make sure that descriptors 0 to 2 are open, ignore
 * SIGPIPE, remember the program's name. */
void start(char **argv);

/* The next option as getopt(3) gives it, -1 after the last; optind is then at
 * the first argument.  Answers -h and --help with the usage, and ends the
 * program if an option is unknown or if there are fewer than min or more than
 * max arguments. */
int next_option(int argc, char **argv, const char *options, int min, int max,
                const char *usage);

/* A time > 0; end the program if it is none. */
double parse_seconds(const char *text);

/* Fill in a host and a port; end the program if one of them makes no sense. */
void parse_host_port(const char *host, const char *port, struct endpoint *ret);

/* Take "HOST:PORT", "[V6]:PORT" apart, and where default_port >= 0 also
 * "HOST", "[V6]" and "V6".  Returns what is wrong with it, or NULL. */
const char *split_host_port(const char *text, int default_port,
                            struct endpoint *ret);

/* The default map; ends the program if ASYNCORE_BACKEND is one that this
 * machine lacks. */
struct asyncore_map *make_map(void);

/* Bind a channel to an endpoint, listen, and announce it: "listening on
 * HOST:PORT".  Ends the program if that fails. */
void listen_on(struct asyncore_dispatcher *d, const struct endpoint *at,
               FILE *announce);

/* Resolve an endpoint.  Returns 0 or a negative code. */
int find_target(const struct endpoint *at, struct target *ret);

/* Begin to connect a channel to the first address of a target that is not yet
 * tried; those that fail at once are passed over.
 *
 *   next   how many have been tried
 *   err    why the last one failed; 0 before the first
 *
 * Returns 0, or what became of the last one when there are no more. */
int connect_next(struct asyncore_dispatcher *d, const struct target *to,
                 int *next, int err);

/* Have SIGINT and SIGTERM stop the loop of the map. */
void stop_on_signals(struct asyncore_map *map);

/* Did one of them come? */
bool interrupted(void);

/* Serve the map until it is empty or a signal comes, close what is left, and
 * release it.  Returns the exit status. */
int serve(struct asyncore_map *map);

#endif
