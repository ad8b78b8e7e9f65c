/* SPDX-License-Identifier: MIT */
/* echo_libuv.c - uv_read_start, uv_try_write; uv_write for the rest. */
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "server.h"

/* A write that was not done at once, with its bytes. */
struct pending {
    uv_write_t req;
    char data[];
};

static void
closed(uv_handle_t *handle)
{
    free(handle);
}

static void
drop(uv_handle_t *handle)
{
    if (!uv_is_closing(handle)) {
        uv_close(handle, closed);
    }
}

static void
give(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char buffer[BUFFER_SIZE];
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(buffer, sizeof buffer);
}

static void on_data(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void
written(uv_write_t *req, int status)
{
    uv_stream_t *stream = req->handle;
    free(req);
    if (status < 0) {
        drop((uv_handle_t *)stream);
    }
    else {
        uv_read_start(stream, give, on_data);
    }
}

static void
on_data(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    if (n < 0) {
        drop((uv_handle_t *)stream);
        return;
    }
    uv_buf_t out = uv_buf_init(buf->base, (unsigned)n);
    int done = n > 0 ? uv_try_write(stream, &out, 1) : 0;
    if (done == n) {
        return;
    }
    if (done < 0 && done != UV_EAGAIN) {
        drop((uv_handle_t *)stream);
        return;
    }
    size_t skip = done > 0 ? (size_t)done : 0, len = (size_t)n - skip;
    struct pending *rest = allocate(sizeof *rest + len);
    memcpy(rest->data, buf->base + skip, len);
    out = uv_buf_init(rest->data, (unsigned)len);
    uv_read_stop(stream);
    if (uv_write(&rest->req, stream, &out, 1, written) < 0) {
        free(rest);
        drop((uv_handle_t *)stream);
    }
}

static void
on_connection(uv_stream_t *server, int status)
{
    if (status < 0) {
        return;
    }
    uv_tcp_t *client = allocate(sizeof *client);
    uv_tcp_init(server->loop, client);
    if (uv_accept(server, (uv_stream_t *)client) < 0 ||
        uv_read_start((uv_stream_t *)client, give, on_data) < 0) {
        drop((uv_handle_t *)client);
    }
}

int
main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t server;
    uv_tcp_init(loop, &server);
    if (uv_tcp_open(&server, server_listen(argc, argv)) < 0 ||
        uv_listen((uv_stream_t *)&server, 4096, on_connection) < 0) {
        die("uv_listen");
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
