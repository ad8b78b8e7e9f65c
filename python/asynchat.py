# SPDX-License-Identifier: MIT
r"""Conversations: channels that cut what they receive at terminators.

Derive from `async_chat`; say with set_terminator() what ends a message: a
string such as b'\r\n', a number of bytes, or nothing.  What comes in is given
to collect_incoming_data(), piece by piece; at each end of a message
found_terminator() is called, which may set another terminator.  push() sends.

This is the asynchat of Python's standard library up to 3.11, on the C core of
libasyncore.
"""

from collections import deque

import asyncore

import _asyncore
from _asyncore import life as _life

if getattr(asyncore, '_asyncore', None) is not _asyncore:
    raise ImportError(
        "this asynchat works only with the asyncore that it came with, but "
        "'import asyncore' finds %s: uninstall that, or put this one before "
        "it on sys.path" % getattr(asyncore, '__file__', asyncore),
        name='asynchat', path=__file__)

__all__ = ['async_chat', 'asyncore', 'deque', 'find_prefix_at_end',
           'simple_producer']


class async_chat(asyncore.dispatcher):
    """A channel for conversations; derive from it, with your own
    collect_incoming_data() and found_terminator()."""

    # How much is received, and sent, at a time.
    ac_in_buffer_size = 65536
    ac_out_buffer_size = 65536

    # With use_encoding, str is encoded by this.
    use_encoding = 0
    encoding = 'latin-1'

    # What has come in and is not parsed, what _collect_incoming_data() keeps,
    # and what is to be sent.
    ac_in_buffer = _asyncore.chat_ac_in_buffer
    incoming = _asyncore.chat_incoming
    producer_fifo = _asyncore.chat_producer_fifo
    terminator = _asyncore.attribute()

    def __init__(self, sock=None, map=None):
        _asyncore.chat_begin(self)
        asyncore.dispatcher.__init__(self, sock, map)

    # ---- input ----

    def collect_incoming_data(self, data):
        """A part of a message has come in."""
        raise NotImplementedError("must be implemented in subclass")

    _collect_incoming_data = _asyncore.chat__collect_incoming_data
    _get_data = _asyncore.chat__get_data

    def found_terminator(self):
        """A message has ended."""
        raise NotImplementedError("must be implemented in subclass")

    def set_terminator(self, term):
        """What ends a message: bytes, a number of them, or None."""
        if isinstance(term, str) and self.use_encoding:
            term = bytes(term, self.encoding)
        elif isinstance(term, int) and term < 0:
            raise ValueError('the number of received bytes must be positive')
        self.terminator = term

    get_terminator = _asyncore.chat_get_terminator
    handle_read = _asyncore.chat_handle_read

    def __handle_read(self):
        """The same where the buffers are another's."""
        try:
            data = self.recv(self.ac_in_buffer_size)
        except BlockingIOError:
            return
        except OSError:
            self.handle_error()
            return
        if isinstance(data, str) and self.use_encoding:
            data = bytes(data, self.encoding)
        self.ac_in_buffer = self.ac_in_buffer + data
        life = _life(self)
        while self.ac_in_buffer and _life(self) == life:
            terminator = self.get_terminator()
            if not terminator:
                self.__take(len(self.ac_in_buffer))
            elif isinstance(terminator, int):
                self.__take_counted(terminator)
            elif not self.__take_delimited(terminator):
                break

    def __take(self, length, skip=0):
        """Hand on the first bytes of the buffer, and skip some."""
        buffer = self.ac_in_buffer
        self.ac_in_buffer = buffer[length + skip:]
        if length:
            self.collect_incoming_data(buffer[:length])

    def __take_counted(self, wanted):
        length = len(self.ac_in_buffer)
        if length < wanted:
            self.terminator = self.terminator - length
            self.__take(length)
        else:
            self.terminator = 0
            self.__take(wanted)
            self.found_terminator()

    def __take_delimited(self, terminator):
        """Returns False if the rest may be the beginning of one."""
        at = self.ac_in_buffer.find(terminator)
        if at >= 0:
            self.__take(at, len(terminator))
            self.found_terminator()
            return True
        held = find_prefix_at_end(self.ac_in_buffer, terminator)
        self.__take(len(self.ac_in_buffer) - held)
        return not held

    # ---- output ----

    handle_write = _asyncore.chat_handle_write

    def handle_close(self):
        """The connection has ended."""
        self.close()

    push = _asyncore.chat_push
    push_with_producer = _asyncore.chat_push_with_producer
    close_when_done = _asyncore.chat_close_when_done

    readable = _asyncore.attribute(_asyncore.chat_readable)
    writable = _asyncore.attribute(_asyncore.chat_writable)

    initiate_send = _asyncore.chat_initiate_send

    def __initiate_send(self):
        """The same where the queue is another's."""
        while self.producer_fifo and self.connected:
            first = self.producer_fifo[0]
            if not first:
                if self.__drop_empty(first):
                    return
                continue
            size = self.ac_out_buffer_size
            try:
                data = first[:size]
            except TypeError:
                self.__ask_producer(first)
                continue
            if isinstance(data, str) and self.use_encoding:
                data = self.producer_fifo[0] = bytes(first, self.encoding)
                continue
            self.__send_first(first, data)
            return

    def __drop_empty(self, first):
        """Drop the first item; returns whether it was the end of all."""
        del self.producer_fifo[0]
        if first is None:
            self.handle_close()
        return first is None

    def __ask_producer(self, producer):
        data = producer.more()
        if data:
            self.producer_fifo.appendleft(data)
        elif self.producer_fifo and self.producer_fifo[0] is producer:
            del self.producer_fifo[0]

    def __send_first(self, first, data):
        try:
            sent = self.send(data)
        except OSError:
            self.handle_error()
            return
        fifo = self.producer_fifo
        if sent and fifo and fifo[0] is first:
            if sent < len(first):
                fifo[0] = first[sent:]
            else:
                del fifo[0]

    def discard_buffers(self):
        """Forget what came in and what is to go out; in emergencies."""
        self.ac_in_buffer = b''
        del self.incoming[:]
        self.producer_fifo.clear()


class simple_producer:
    """A producer that gives data piece by piece."""

    def __init__(self, data, buffer_size=512):
        self.data = data
        self.buffer_size = buffer_size

    def more(self):
        """The next piece; b'' when there is none."""
        if len(self.data) > self.buffer_size:
            piece = self.data[:self.buffer_size]
            self.data = self.data[self.buffer_size:]
        else:
            piece = self.data
            self.data = b''
        return piece


def find_prefix_at_end(haystack, needle):
    """The length of the longest beginning of needle, shorter than itself,
    that haystack ends with."""
    length = len(needle) - 1
    while length and not haystack.endswith(needle[:length]):
        length -= 1
    return length
