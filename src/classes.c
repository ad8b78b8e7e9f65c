/* SPDX-License-Identifier: MIT */
/* classes.c - which classes and transports there are.  A channel names its own
 * by numbers, which takes a few bits where pointers would take two words. */
#include "internal.h"

const struct asyncore__class *const asyncore__classes[] = {
    [ASYNCORE__DISPATCHER] = &asyncore__dispatcher_class,
    [ASYNCORE__WITH_SEND] = &asyncore__with_send_class,
    [ASYNCORE__FILE_DISPATCHER] = &asyncore__file_dispatcher_class,
    [ASYNCORE__CHAT] = &asyncore__chat_class,
};

const struct asyncore__transport *const asyncore__transports[] = {
    [ASYNCORE__SOCKET] = &asyncore__socket_transport,
    [ASYNCORE__FILE] = &asyncore__file_transport,
};
