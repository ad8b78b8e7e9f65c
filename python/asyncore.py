# SPDX-License-Identifier: MIT
"""Event-driven sockets: channels, and the loop that serves them.

A channel wraps a socket.  Its predicates readable() and writable() say what
it waits for, its handle_*() methods are called when that has come.  Derive
from `dispatcher` (or `dispatcher_with_send`, which keeps output that the
kernel does not take at once), override what you need, and call loop().

This is the asyncore of Python's standard library up to 3.11, on the C core
of libasyncore.  What happens for each event is in C, in `_asyncore`; here is
what a program may look at and replace: every function below is looked up
among the globals of this module whenever it is needed.
"""

import os
import select
import socket
import sys
import time
import warnings
from errno import (
    EAGAIN, EALREADY, EBADF, ECONNABORTED, ECONNRESET, EHOSTDOWN,
    EHOSTUNREACH, EINPROGRESS, EINVAL, EISCONN, ENETDOWN, ENETUNREACH,
    ENOTCONN, EPIPE, EPROTO, ESHUTDOWN, EWOULDBLOCK, errorcode)

import _asyncore
from _asyncore import begin as _begin
from _asyncore import life as _life
from _asyncore import set_peer as _set_peer

# What `from asyncore import *` has always brought along.
__all__ = [
    'EAGAIN', 'EALREADY', 'EBADF', 'ECONNABORTED', 'ECONNRESET',
    'EINPROGRESS', 'EINVAL', 'EISCONN', 'ENOTCONN', 'EPIPE', 'ESHUTDOWN',
    'EWOULDBLOCK', 'ExitNow', 'close_all', 'compact_traceback', 'dispatcher',
    'dispatcher_with_send', 'errorcode', 'loop', 'os', 'poll', 'poll2',
    'poll3', 'read', 'readwrite', 'select', 'socket', 'socket_map', 'sys',
    'time', 'warnings', 'write']

# The errors that mean that a connection has ended.
_DISCONNECTED = frozenset(
    (ECONNRESET, ENOTCONN, ESHUTDOWN, ECONNABORTED, EPIPE, EBADF))

# The errors of accept() that are of one connection, not of the listener.
_NOT_ACCEPTED = frozenset(
    (EWOULDBLOCK, EAGAIN, ECONNABORTED, ENETDOWN, EPROTO, EHOSTDOWN,
     EHOSTUNREACH, ENETUNREACH))

# The channels of loop() by descriptor, unless it is given others; a reload
# keeps them.
socket_map = globals().get('socket_map', {})


class ExitNow(Exception):
    """Raised by a handler to leave the loop, with all channels intact."""


_reraised_exceptions = (ExitNow, KeyboardInterrupt, SystemExit)


def _strerror(err):
    """The text of an errno, whatever it is."""
    try:
        return os.strerror(err)
    except (ValueError, OverflowError, NameError):
        return errorcode.get(err) or "Unknown error %s" % err


# ---- delivering events ----------------------------------------------------

_events = _asyncore.events(globals())

read = _events.read
write = _events.write
_exception = _events._exception
readwrite = _events.readwrite


# ---- a pass ---------------------------------------------------------------

def poll(timeout=0.0, map=None):
    """Serve what is ready, waiting at most timeout seconds, with select()."""
    if map is None:
        map = socket_map
    if _calls and id(map) in _calls:
        timeout = _before_pass(map, timeout)
    if map and not _events.serve(timeout, map, False):
        _select_pass(timeout, map)
    if _calls and id(map) in _calls:
        _after_pass(map)


def poll2(timeout=0.0, map=None):
    """Serve what is ready, waiting at most timeout seconds, with poll()."""
    if map is None:
        map = socket_map
    if _calls and id(map) in _calls:
        timeout = _before_pass(map, timeout)
    milliseconds = _milliseconds(timeout)
    if map and not _events.serve(milliseconds, map, True):
        _poll_pass(milliseconds, map)
    if _calls and id(map) in _calls:
        _after_pass(map)


poll3 = poll2

if hasattr(os, 'register_at_fork'):
    # What waits to be sent goes out before, not from both processes.
    os.register_at_fork(before=_asyncore.before_fork)


def _milliseconds(timeout):
    """Rounded up: a wait that is too short is repeated at once."""
    if timeout is None:
        return None
    exact = timeout * 1000
    whole = int(exact)
    return whole + (whole < exact)


def _select_pass(timeout, map):
    """A pass of select(), over any mapping and with whatever functions are in
    its place."""
    channels = dict(map.items())
    reading, writing, watched = [], [], []
    for fd, obj in channels.items():
        readable = obj.readable()
        writable = obj.writable()
        if readable:
            reading.append(fd)
        if writable and not obj.accepting:
            writing.append(fd)
        if readable or writable:
            watched.append(fd)
    calls = _calls.get(id(map))
    if calls is not None:
        waker, timeout = calls.before_wait(timeout)
        reading.append(waker)
        watched.append(waker)
    if not watched:
        time.sleep(timeout)
        return
    readable, writable, urgent, invalid = _select(
        reading, writing, watched, timeout)
    if invalid:
        readable = [fd for fd in watched if fd in invalid or fd in readable]
    for fds, deliver in (
            (readable, read), (writable, write), (urgent, _exception)):
        for fd in fds:
            obj = map.get(fd)
            if obj is None or obj is not channels.get(fd):
                continue
            if fd in invalid:
                readwrite(obj, select.POLLNVAL)
            else:
                deliver(obj)


def _select(reading, writing, watched, timeout):
    """What is ready, and, last, which descriptors somebody has closed."""
    invalid = set()
    try:
        return (*select.select(reading, writing, watched, timeout), invalid)
    except OSError as err:
        invalid.update(fd for fd in watched if not _is_valid(fd))
        if err.errno != EBADF or not invalid:
            raise
    valid = ([fd for fd in fds if fd not in invalid]
             for fds in (reading, writing, watched))
    return (*select.select(*valid, 0), invalid)


def _is_valid(fd):
    """Is it open?"""
    try:
        os.fstat(fd)
    except (OSError, TypeError, OverflowError):
        return False
    return True


def _poll_pass(milliseconds, map):
    """A pass of poll(), likewise."""
    pollster = select.poll()
    channels = dict(map.items())
    for fd, obj in channels.items():
        flags = 0
        if obj.readable():
            flags |= select.POLLIN | select.POLLPRI
        if obj.writable() and not obj.accepting:
            flags |= select.POLLOUT
        if flags:
            pollster.register(fd, flags)
    calls = _calls.get(id(map))
    if calls is not None:
        waker, milliseconds = calls.before_wait(milliseconds, 1000)
        pollster.register(waker, select.POLLIN)
    for fd, flags in pollster.poll(milliseconds):
        obj = map.get(fd)
        if obj is not None and obj is channels.get(fd):
            readwrite(obj, flags)


def loop(timeout=30.0, use_poll=False, map=None, count=None):
    """Serve the channels of a map until none is left.

    Each pass waits at most timeout seconds; with a count, there are at most
    so many passes.
    """
    if map is None:
        map = socket_map
    one_pass = poll2 if use_poll and hasattr(select, 'poll') else poll
    if count is None:
        while map or id(map) in _calls and _last_calls(map):
            one_pass(timeout, map)
    else:
        while map and count > 0:
            one_pass(timeout, map)
            count = count - 1


# ---- channels -------------------------------------------------------------

# Attributes that are no instance's, but made when somebody looks.
_COMPUTED = 'ac_in_buffer', 'incoming', 'producer_fifo', 'out_buffer'


class dispatcher(_asyncore.channel):
    """A socket and what is done with its events."""

    __events = _events

    # What is in C comes there if somebody asks for it.
    __dict__ = vars(_asyncore.channel)['__dict__']

    debug = False
    connected = _asyncore.attribute(False)
    accepting = _asyncore.attribute(False)
    connecting = _asyncore.attribute(False)
    closing = False
    addr = _asyncore.attribute(None)
    ignore_log_types = frozenset(('warning',))

    def __init__(self, sock=None, map=None):
        _begin(self)
        self._map = socket_map if map is None else map
        self._fileno = None
        if not sock:
            self.socket = None
            return
        sock.setblocking(False)
        self.set_socket(sock, map)
        self.connected = True
        try:
            _set_peer(self, sock)
        except OSError as err:
            if err.errno not in (ENOTCONN, EINVAL):
                # Broken in a way that nobody expects: it must not be polled.
                self.del_channel(map)
                raise
            self.connected = False

    # What is in C is not in the dictionary; nor are slots.
    def __getstate__(self):
        import copyreg
        state = dict(vars(self))
        slots = {}
        for names, values in ((_COMPUTED, state),
                              (copyreg._slotnames(type(self)), slots)):
            for name in names:
                try:
                    values[name] = getattr(self, name)
                except AttributeError:
                    pass
        return (state, slots) if slots else state

    def __setstate__(self, state):
        slots = None
        if isinstance(state, tuple) and len(state) == 2:
            state, slots = state
        for name, value in (state or {}).items():
            # The others may be behind properties that cannot be set.
            if name in _COMPUTED:
                object.__setattr__(self, name, value)
            else:
                vars(self)[name] = value
        for name, value in (slots or {}).items():
            setattr(self, name, value)

    def __repr__(self):
        cls = type(self)
        words = ['%s.%s' % (cls.__module__, cls.__qualname__)]
        if self.accepting and self.addr:
            words.append('listening')
        elif self.connected:
            words.append('connected')
        if self.addr is not None:
            try:
                words.append('%s:%d' % self.addr)
            except TypeError:
                words.append(repr(self.addr))
        return '<%s at %#x>' % (' '.join(words), id(self))

    add_channel = _asyncore.dispatcher_add_channel
    del_channel = _asyncore.dispatcher_del_channel

    def create_socket(self, family=socket.AF_INET, type=socket.SOCK_STREAM):
        """Make a new, non-blocking socket, and serve it."""
        self.family_and_type = family, type
        sock = socket.socket(family, type)
        sock.setblocking(False)
        self.set_socket(sock)

    def set_socket(self, sock, map=None):
        """Serve this socket."""
        self.socket = sock
        self._fileno = sock.fileno()
        self.add_channel(map)

    def set_reuse_addr(self):
        """Let bind() have an address that was in use a moment ago."""
        try:
            reuse = self.socket.getsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR)
            self.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse | 1)
        except OSError:
            pass

    # ---- predicates: asked before each wait ----

    readable = _asyncore.attribute(_asyncore.dispatcher_readable)
    writable = _asyncore.attribute(_asyncore.dispatcher_writable)

    # ---- what a socket has ----

    def listen(self, num):
        """Accept connections, of which num may be waiting."""
        self.accepting = True
        if os.name == 'nt' and num > 5:
            num = 5
        return self.socket.listen(num)

    def bind(self, addr):
        """Give the socket an address."""
        self.addr = addr
        return self.socket.bind(addr)

    def connect(self, address):
        """Begin to connect; handle_connect() is called when that is done."""
        self.connected = False
        self.connecting = True
        err = self.socket.connect_ex(address)
        if (err in (EINPROGRESS, EALREADY, EWOULDBLOCK)
                or err == EINVAL and os.name == 'nt'):
            self.addr = address
        elif err in (0, EISCONN):
            self.addr = address
            self.handle_connect_event()
        else:
            raise OSError(err, errorcode[err])

    def accept(self):
        """A new connection, as a pair of socket and address, or None."""
        try:
            conn, addr = self.socket.accept()
        except TypeError:
            return None
        except OSError as err:
            if err.errno in _NOT_ACCEPTED:
                return None
            raise
        return conn, addr

    send = _asyncore.dispatcher_send
    recv = _asyncore.dispatcher_recv

    def close(self):
        """Close the socket, and serve it no more."""
        self.connected = False
        self.accepting = False
        self.connecting = False
        self.del_channel()
        if self.socket is not None:
            try:
                self.socket.close()
            except OSError as err:
                if err.errno not in (ENOTCONN, EBADF):
                    raise

    # ---- logging ----

    def log(self, message):
        """Write a line to stderr."""
        sys.stderr.write('log: %s\n' % str(message))

    def log_info(self, message, type='info'):
        """Print a line, unless its type is among ignore_log_types."""
        if type not in self.ignore_log_types:
            print('%s: %s' % (type, message))

    # ---- events, as the loop sees them ----

    handle_read_event = _asyncore.dispatcher_handle_read_event
    handle_write_event = _asyncore.dispatcher_handle_write_event

    def handle_connect_event(self):
        """A connection attempt has ended, well or not."""
        err = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if err != 0:
            raise OSError(err, _strerror(err))
        life = _life(self)
        self.handle_connect()
        if _life(self) == life:
            self.connected = True
            self.connecting = False

    def handle_expt_event(self):
        """Urgent data, or an error."""
        err = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if err != 0:
            self.handle_close()
        else:
            self.handle_expt()

    # ---- handlers, to be overridden ----

    def handle_error(self):
        """An exception was raised by a handler: log it, and close."""
        _, kind, value, info = compact_traceback()
        try:
            who = repr(self)
        except BaseException:
            who = '<__repr__(self) failed for object at %0x>' % id(self)
        self.log_info(
            'uncaptured python exception, closing channel %s (%s:%s %s)'
            % (who, kind, value, info), 'error')
        self.handle_close()

    def handle_expt(self):
        """Urgent data has come in."""
        self.log_info('unhandled incoming priority event', 'warning')

    def handle_read(self):
        """Data has come in: recv() it."""
        self.log_info('unhandled read event', 'warning')

    def handle_write(self):
        """There is room for output: send() it."""
        self.log_info('unhandled write event', 'warning')

    def handle_connect(self):
        """The connection stands."""
        self.log_info('unhandled connect event', 'warning')

    def handle_accept(self):
        """There is a connection to accept()."""
        pair = self.accept()
        if pair is not None:
            self.handle_accepted(*pair)

    def handle_accepted(self, sock, addr):
        """A connection was accepted."""
        sock.close()
        self.log_info('unhandled accepted event', 'warning')

    def __back_off(self):
        """There is no descriptor for a connection: those that wait, wait."""
        if not isinstance(vars(self).get('readable'), _Rest):
            self.log_info('%s: accepting again in %g s'
                          % (sys.exc_info()[1], _REST), 'error')
            call_later(_REST, _Rest(self).end, map=self._map)

    def handle_close(self):
        """The connection has ended."""
        self.log_info('unhandled close event', 'warning')
        self.close()

    # Last: the defaults above mean the module.
    socket = _asyncore.attribute()
    _map = _asyncore.attribute()
    _fileno = _asyncore.attribute()


class dispatcher_with_send(dispatcher):
    """A channel that keeps what the kernel does not take at once."""

    out_buffer = _asyncore.sender_out_buffer

    def __init__(self, sock=None, map=None):
        dispatcher.__init__(self, sock, map)
        self.out_buffer = b''

    def __initiate_send(self):
        """The same where out_buffer, or dispatcher.send, is another's."""
        sent = dispatcher.send(self, self.out_buffer[:65536])
        self.out_buffer = self.out_buffer[sent:]

    send = _asyncore.sender_send
    initiate_send = _asyncore.sender_initiate_send
    handle_write = _asyncore.sender_handle_write
    writable = _asyncore.attribute(_asyncore.sender_writable)


# ---- listeners without descriptors ----------------------------------------

# For so long, in seconds.
_REST = 1.0


class _Rest:
    """readable() of a listener for a while: whoever drives it."""

    def __init__(self, channel):
        self.channel = channel
        self.before = vars(channel).get('readable')
        self.until = time.monotonic() + _REST
        channel.readable = self

    def __call__(self):
        if time.monotonic() < self.until:
            return False
        self.end()
        return self.channel.readable()

    def end(self):
        """Be what it was, unless somebody has replaced it meanwhile."""
        if vars(self.channel).get('readable') is not self:
            return
        if self.before is None:
            del self.channel.readable
        else:
            self.channel.readable = self.before


# ---- helpers --------------------------------------------------------------

def compact_traceback():
    """The exception that is being handled, in short: ((file, function, line)
    of where it was raised, type, value, all places in a line)."""
    kind, value, traceback = sys.exc_info()
    if not traceback:
        raise AssertionError("traceback does not exist")
    places = []
    while traceback:
        code = traceback.tb_frame.f_code
        places.append(
            (code.co_filename, code.co_name, str(traceback.tb_lineno)))
        traceback = traceback.tb_next
    info = ' '.join('[%s|%s|%s]' % place for place in places)
    return places[-1], kind, value, info


def close_all(map=None, ignore_all=False):
    """Close all channels of a map; ignore_all: whatever they raise."""
    if map is None:
        map = socket_map
    for channel in list(map.values()):
        try:
            channel.close()
        except OSError as err:
            if err.errno != EBADF and not ignore_all:
                raise
        except _reraised_exceptions:
            raise
        except BaseException:
            if not ignore_all:
                raise
    map.clear()


# ---- files ----------------------------------------------------------------

if os.name == 'posix':
    __all__ += ['file_dispatcher', 'file_wrapper']

    class file_wrapper:
        """A descriptor of any kind that behaves like a socket; owns a
        duplicate of the one it is given."""

        fd = -1

        def __init__(self, fd):
            self.fd = os.dup(fd)

        def __del__(self):
            try:
                if self.fd >= 0:
                    warnings.warn("unclosed file %r" % self, ResourceWarning,
                                  source=self)
            finally:
                self.close()

        def recv(self, *args):
            """Read."""
            return os.read(self.fd, *args)

        def send(self, *args):
            """Write."""
            return os.write(self.fd, *args)

        read = recv
        write = send

        def getsockopt(self, level, optname, buflen=None):
            """A file never has a pending error; nothing else is known."""
            if (level == socket.SOL_SOCKET and optname == socket.SO_ERROR
                    and not buflen):
                return 0
            raise NotImplementedError(
                "Only asyncore specific behaviour implemented.")

        def close(self):
            """Close the duplicate; again: nothing."""
            fd, self.fd = self.fd, -1
            if fd >= 0:
                os.close(fd)

        def fileno(self):
            """The duplicate, or -1."""
            return self.fd

    class file_dispatcher(dispatcher):
        """A channel over a file: a pipe, a terminal, a regular file (which
        is always ready)."""

        def __init__(self, fd, map=None):
            dispatcher.__init__(self, None, map)
            self.connected = True
            try:
                fd = fd.fileno()
            except AttributeError:
                pass
            self.set_file(fd)
            os.set_blocking(fd, False)

        def set_file(self, fd):
            """Serve this descriptor."""
            self.socket = file_wrapper(fd)
            self._fileno = self.socket.fileno()
            self.add_channel()


# ---- what the original lacked ---------------------------------------------
#
# Not brought along by `from asyncore import *`.

# By the map's id: the calls that its loop is to make, as _asyncore_calls has
# them; the event loop of others that serves it.
_calls = globals().get('_calls', {})
_attachments = globals().get('_attachments', {})


def _before_pass(map, timeout):
    """Make the calls of a map that are due; returns how long to wait."""
    calls = _calls.get(id(map))
    return timeout if calls is None else calls.before_pass(timeout)


def _after_pass(map):
    """The same; None if there are no more calls."""
    calls = _calls.get(id(map))
    return None if calls is None else calls.after_pass()


def _last_calls(map):
    """The same if no channel is left; are there any now?"""
    calls = _calls.get(id(map))
    return calls is not None and calls.finish()


def call_later(delay, function, *args, map=None):
    """Have the loop of a map call function(*args) after delay seconds.

    An exception of it leaves the loop.  Returns an object whose cancel()
    prevents the call.  A loop() without a count, which ends when no channel
    is left, does not wait for calls that are not due then: it cancels them.
    """
    import _asyncore_calls
    return _asyncore_calls.add(globals(), map, function, args, delay)


def call_soon_threadsafe(function, *args, map=None):
    """Have the loop of a map call function(*args) as soon as it can; from any
    thread, also while it waits.

    Every call is made, in the order in which they come: where no loop is
    running, or it is about to end, by the next.  They keep no loop running.
    """
    import _asyncore_calls
    return _asyncore_calls.add(globals(), map, function, args)


def backend(map=None):
    """What serves a map: 'epoll', 'poll', or 'python', where it is none that
    the core can serve or was not served yet."""
    return _asyncore.backend(socket_map if map is None else map) or 'python'


def asyncio_attach(loop=None, map=None, *, timeout=30.0, use_poll=False):
    """Serve the channels of a map from an asyncio event loop.

    loop is the running one, if none is given.  Returns an attachment, which
    has close(), touch() and wait(); see docs/python.md.  Channels whose class
    has its own readable() or writable() are asked at least every timeout
    seconds.
    """
    import asyncio
    import _asyncore_asyncio
    if loop is None:
        loop = asyncio.get_running_loop()
    if map is None:
        map = socket_map
    return _asyncore_asyncio.Attachment(loop, map, timeout, use_poll)


if __name__ == '__main__':
    import _asyncore_main
    sys.exit(_asyncore_main.main())
