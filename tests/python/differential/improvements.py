# SPDX-License-Identifier: MIT
"""Where the drop-in is better than the original, and is meant to be.

Each improvement is made to the original's modules, so that what remains can
be compared to the letter.  Nothing else may differ.

  owner      An event goes to the channel that was asked in this pass, not to
             another that has taken its key meanwhile (bpo-30931).
  invalid    A descriptor that somebody closed ends its channel, as with poll,
             not the whole loop (bpo-10878).
  turn       What predicates do to a channel that has none of its own counts
             in this pass, also if it comes before theirs; where the map is a
             dict, which the core serves.
  connected  A channel that closes in handle_connect() is not marked as
             connected afterwards, and gets no handle_read() or _write().
  steps      poll2 delivers nothing more to a channel that one of its events
             has closed, and tells it its end once (bpo-13372, bpo-4501).
  rest       poll2 tells of a hang-up once all that came before it is read: a
             read event that received something puts it off.
  once       What handle_close() raises inside recv() is an error of its own,
             not one of the connection that calls handle_close() again; and a
             handle_close() that sends or receives is not called by that.
  trimmed    Input is taken out of the buffer before the collector is called:
             if that raises, nothing comes twice.
  closed     No more input is parsed once the channel was closed.
  empty      Empty items of the queue cost no send() and no pass.
  gathered   All pieces at the front of the queue go out at once, where it is
             the dispatcher's own send() on a socket of the usual kind.
  producer   What a producer or send() does to the queue is respected: only
             the item that was looked at is removed.
"""

import errno
import os
import select
import socket
import time


def install(asyncore, asynchat):
    """Make all of them."""
    core, chat = Core(asyncore), Chat(asyncore, asynchat)
    asyncore.poll, asyncore.poll2 = core.poll, core.poll2
    asyncore.dispatcher.del_channel = core.del_channel
    asyncore.dispatcher.recv = core.recv
    asyncore.dispatcher.send = core.send
    asyncore.dispatcher.handle_connect_event = core.handle_connect_event
    asyncore.dispatcher.handle_read_event = core.handle_read_event
    asyncore.dispatcher.handle_write_event = core.handle_write_event
    asynchat.async_chat.handle_read = chat.handle_read
    asynchat.async_chat.initiate_send = chat.initiate_send


def method(function):
    """A function of a channel, out of a bound method of ours."""
    return lambda channel, *arguments: function(channel, *arguments)


def life(channel):
    """A number that changes when the channel leaves its map."""
    return vars(channel).get(" life", 0)


def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class Core:
    """Those of asyncore."""

    def __init__(self, asyncore):
        self.asyncore = asyncore
        base = asyncore.dispatcher
        original = {
            name: getattr(base, name)
            for name in ("del_channel", "handle_connect_event")
        }
        self.del_channel = lambda channel, map=None: self.leave(
            channel, map, original["del_channel"]
        )
        self.recv, self.send = method(self.on_recv), method(self.on_send)
        for name in ("connect", "read", "write"):
            name = f"handle_{name}_event"
            setattr(self, name, method(getattr(self, "on_" + name)))

    def leave(self, channel, map, original):
        original(channel, map)
        vars(channel)[" life"] = life(channel) + 1

    # once and rest

    def tell_close(self, channel):
        if not vars(channel).get(" told"):
            vars(channel)[" told"] = True
            try:
                channel.handle_close()
            finally:
                vars(channel)[" told"] = False

    def on_recv(self, channel, size):
        try:
            data = channel.socket.recv(size)
        except OSError as error:
            if error.errno not in self.asyncore._DISCONNECTED:
                raise
            self.tell_close(channel)
            return b""
        if not data:
            self.tell_close(channel)
            return b""
        vars(channel)[" received"] = True
        return data

    def on_send(self, channel, data):
        try:
            return channel.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno not in self.asyncore._DISCONNECTED:
                raise
            self.tell_close(channel)
            return 0

    # connected

    def on_handle_connect_event(self, channel):
        module = self.asyncore
        level, option = module.socket.SOL_SOCKET, module.socket.SO_ERROR
        code = channel.socket.getsockopt(level, option)
        if code:
            raise OSError(code, module._strerror(code))
        before = life(channel)
        channel.handle_connect()
        if life(channel) == before:
            channel.connected, channel.connecting = True, False

    def connects(self, channel):
        """Is it still there after it has been connected, if it had to?"""
        before = life(channel)
        if not channel.connected and channel.connecting:
            channel.handle_connect_event()
        return life(channel) == before

    def on_handle_read_event(self, channel):
        if channel.accepting:
            channel.handle_accept()
        elif self.connects(channel):
            channel.handle_read()

    def on_handle_write_event(self, channel):
        if not channel.accepting and self.connects(channel):
            channel.handle_write()

    # owner, turn and invalid

    def is_known(self, channel):
        """Its predicates are the modules' own."""
        for kind in type(channel).__mro__:
            if kind.__module__ in ("asyncore", "asynchat"):
                break
            if {"readable", "writable"} & set(vars(kind)):
                return False
        return not {"readable", "writable"} & set(vars(channel))

    def ask(self, map):
        """The channels of a pass, and who wants what."""
        self.channels = dict(map.items())
        wants = {}
        for key, channel in self.channels.items():
            wants[key] = self.wants(channel)
        for key, channel in self.channels.items():
            if type(map) is dict and self.is_known(channel):
                wants[key] = self.wants(channel)
        for key, (reads, writes, watched) in wants.items():
            if watched:
                yield key, reads, writes

    def wants(self, channel):
        reads, writes = bool(channel.readable()), bool(channel.writable())
        return (reads, writes and not channel.accepting, reads or writes)

    def poll(self, timeout=0.0, map=None):
        if not map:
            return
        wants = list(self.ask(map))
        channels = self.channels
        if not wants:
            time.sleep(timeout)
            return
        lists = (
            [key for key, reads, _ in wants if reads],
            [key for key, _, writes in wants if writes],
            [key for key, _, _ in wants],
        )
        ready, invalid = self.select(lists, timeout)
        module = self.asyncore
        for keys, deliver in zip(
            ready, (module.read, module.write, module._exception)
        ):
            for key in keys:
                if map.get(key) is not channels[key]:
                    continue
                if key in invalid:
                    module.readwrite(channels[key], select.POLLNVAL)
                else:
                    deliver(channels[key])

    def select(self, lists, timeout):
        """What is ready, the invalid among the readable; and who that is."""
        try:
            return select.select(*lists, timeout), []
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
        invalid = [key for key in lists[2] if not is_open(key)]
        ready = select.select(
            *([key for key in keys if is_open(key)] for keys in lists), 0
        )
        first = [key for key in lists[2] if key in invalid + ready[0]]
        return (first, *ready[1:]), invalid

    def poll2(self, timeout=0.0, map=None):
        if not map:
            return
        poller = select.poll()
        for key, reads, writes in self.ask(map):
            flags = (select.POLLIN | select.POLLPRI) * reads
            flags |= select.POLLOUT * writes
            if flags:
                poller.register(key, flags)
        channels = self.channels
        for key, flags in poller.poll(timeout * 1000):
            if map.get(key) is channels[key]:
                steps = Steps(channels[key], flags)
                self.asyncore.readwrite(steps, flags)


class Steps:
    """A channel for readwrite, until it is closed."""

    def __init__(self, channel, flags):
        self.channel = channel
        self.life = life(channel)
        self.hangs_up = not flags & (select.POLLERR | select.POLLNVAL)
        self.put_off = self.failed = False

    def step(self, name):
        if life(self.channel) != self.life:
            return
        try:
            getattr(self.channel, name)()
        except BaseException:
            self.failed = True
            raise

    def handle_read_event(self):
        vars(self.channel)[" received"] = False
        self.step("handle_read_event")
        self.put_off = self.hangs_up and vars(self.channel)[" received"]

    def handle_write_event(self):
        self.step("handle_write_event")

    def handle_expt_event(self):
        self.step("handle_expt_event")

    def handle_close(self):
        if self.failed:
            self.channel.handle_close()
        elif not self.put_off:
            self.step("handle_close")

    def handle_error(self):
        self.channel.handle_error()


class Chat:
    """Those of asynchat."""

    def __init__(self, asyncore, asynchat):
        self.asynchat = asynchat
        self.handle_read = method(self.on_handle_read)
        self.initiate_send = method(self.on_initiate_send)

    # trimmed and closed

    def on_handle_read(self, chat):
        try:
            data = chat.recv(chat.ac_in_buffer_size)
        except BlockingIOError:
            return
        except OSError:
            chat.handle_error()
            return
        chat.ac_in_buffer += data
        before = life(chat)
        while chat.ac_in_buffer and life(chat) == before:
            term = chat.get_terminator()
            if not term:
                self.take(chat, None)
            elif isinstance(term, int):
                self.count(chat, term)
            elif not self.cut(chat, term):
                break

    def take(self, chat, end, skip=0):
        """Trim the buffer, then collect what was before."""
        data = chat.ac_in_buffer[:end]
        chat.ac_in_buffer = (
            b"" if end is None else chat.ac_in_buffer[end + skip:]
        )
        if data:
            chat.collect_incoming_data(data)

    def count(self, chat, wanted):
        size = len(chat.ac_in_buffer)
        chat.terminator = max(wanted - size, 0)
        self.take(chat, wanted)
        if size >= wanted:
            chat.found_terminator()

    def cut(self, chat, term):
        """False if the rest has to wait."""
        at = chat.ac_in_buffer.find(term)
        if at >= 0:
            self.take(chat, at, len(term))
            chat.found_terminator()
            return True
        held = self.asynchat.find_prefix_at_end(chat.ac_in_buffer, term)
        self.take(chat, len(chat.ac_in_buffer) - held)
        return not held

    # empty and producer

    def on_initiate_send(self, chat):
        while chat.producer_fifo and chat.connected:
            first = chat.producer_fifo[0]
            if first is None:
                del chat.producer_fifo[0]
                chat.handle_close()
                return
            if not first:
                del chat.producer_fifo[0]
            elif hasattr(first, "more"):
                self.ask(chat, first)
            else:
                self.send(chat, first)
                return

    def ask(self, chat, producer):
        data = producer.more()
        if data:
            chat.producer_fifo.appendleft(data)
        elif chat.producer_fifo and chat.producer_fifo[0] is producer:
            del chat.producer_fifo[0]

    def send(self, chat, first):
        pieces = self.front(chat)
        data = b"".join(pieces) if pieces else first[:chat.ac_out_buffer_size]
        try:
            sent = chat.send(data)
        except OSError:
            chat.handle_error()
            return
        fifo = chat.producer_fifo
        if not sent or not fifo or fifo[0] is not first:
            return
        for piece in pieces or [first]:
            del fifo[0]
            if sent < len(piece):
                fifo.appendleft(piece[sent:])
                return
            sent -= len(piece)

    # gathered

    def front(self, chat):
        """The pieces that go out together; none: the first one alone."""
        sock = chat.socket
        if type(sock) is not socket.socket or sock.fileno() < 0:
            return []
        pieces = []
        for item in chat.producer_fifo:
            if not isinstance(item, bytes):
                break
            pieces.append(item)
        return pieces
