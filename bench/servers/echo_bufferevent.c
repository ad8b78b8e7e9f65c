/* SPDX-License-Identifier: MIT */
/* echo_bufferevent.c - libevent's bufferevents, as its book shows an echo. */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "server.h"

static void
on_data(struct bufferevent *bev, void *arg)
{
    (void)arg;
    evbuffer_add_buffer(bufferevent_get_output(bev),
                        bufferevent_get_input(bev));
}

static void
on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)arg;
    if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0) {
        bufferevent_free(bev);
    }
}

static void
on_connection(struct evconnlistener *listener, evutil_socket_t fd,
              struct sockaddr *peer, int len, void *arg)
{
    (void)peer;
    (void)len;
    (void)arg;
    struct bufferevent *bev = bufferevent_socket_new(
        evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
    if (bev == NULL) {
        die("bufferevent_socket_new");
    }
    bufferevent_setcb(bev, on_data, NULL, on_event, NULL);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

int
main(int argc, char **argv)
{
    struct event_base *base = event_base_new();
    int fd = server_listen(argc, argv);
    if (base == NULL ||
        evconnlistener_new(base, on_connection, NULL, LEV_OPT_CLOSE_ON_FREE, 0,
                           fd) == NULL) {
        die("evconnlistener_new");
    }
    return event_base_dispatch(base);
}
