/* SPDX-License-Identifier: MIT */
/* buffer.c - memory to receive into.
 *
 * It is needed only while bytes are on their way from the kernel to a handler,
 * so one buffer does for all the channels of a map, stays in the cache, and
 * an idle channel has none.  A handler that runs the loop again makes the
 * inner pass find it taken, and take another. */
#include "internal.h"

char *
asyncore__buffer_take(struct asyncore_map *map, size_t *size)
{
    char *buffer = map->buffer;
    if (buffer != NULL && map->buffer_size >= *size) {
        map->buffer = NULL;
        *size = map->buffer_size;
        return buffer;
    }
    return asyncore__realloc(NULL, *size);
}

void
asyncore__buffer_give(struct asyncore_map *map, char *buffer, size_t size)
{
    if (map->buffer != NULL && map->buffer_size >= size) {
        asyncore__free(buffer);
        return;
    }
    asyncore__free(map->buffer);
    map->buffer = buffer;
    map->buffer_size = size;
}
