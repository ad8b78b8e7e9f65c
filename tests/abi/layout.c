/* SPDX-License-Identifier: MIT */
/* layout.c - the structs that programs embed stay as they were compiled in.
 * Within a release series nothing here changes; new members take reserved
 * words.  Checked by the compiler, where the numbers were taken. */
#include <asyncore.h>
#include <asyncore_workers.h>

#if defined(__x86_64__) && defined(__LP64__)
#define SIZE(type, size) \
    _Static_assert(sizeof(struct type) == (size), #type " has a new size")
#define PLACE(type, member, place)                           \
    _Static_assert(offsetof(struct type, member) == (place), \
                   #type "." #member " has moved")

SIZE(asyncore_addr, 136);
SIZE(asyncore_call, 32);
SIZE(asyncore_dispatcher, 88);
SIZE(asyncore_dispatcher_with_send, 88);
SIZE(asyncore_error, 24);
SIZE(asyncore_file_dispatcher, 88);
SIZE(asyncore_file_wrapper, 4);
SIZE(asyncore_limits, 24);
SIZE(asyncore_ops, 248);
SIZE(asyncore_workers_options, 104);

PLACE(asyncore_addr, u, 8);
PLACE(asyncore_dispatcher, data, 0);
PLACE(asyncore_dispatcher, ops, 8);
PLACE(asyncore_dispatcher, map, 16);
PLACE(asyncore_dispatcher, fd, 24);
PLACE(asyncore_dispatcher, error, 28);
PLACE(asyncore_dispatcher, asyncore__addr, 72);
PLACE(asyncore_dispatcher_with_send, base, 0);
PLACE(asyncore_ops, name, 0);
PLACE(asyncore_ops, flags, 8);
PLACE(asyncore_ops, readable, 16);
PLACE(asyncore_ops, handle_read, 32);
PLACE(asyncore_ops, destroy, 176);
PLACE(asyncore_ops, reserved, 184);
PLACE(asyncore_workers_options, setup, 40);
PLACE(asyncore_workers_options, reserved, 72);
#endif

int
main(void)
{
    return 0;
}
