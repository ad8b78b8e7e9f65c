# SPDX-License-Identifier: MIT
"""Maps of channels served from an asyncio event loop.

The core's map of the channels is one descriptor, on which the event loop
sleeps like on any other; it is readable when a channel is ready, and when
something else has changed what the map waits for.  So nothing is polled, and
there is no other thread.

Predicates that a class overrides are to be asked before each wait.  The loops
of asyncio itself wait in a selector, in front of which we step for that.
Other loops cannot be told; there they are asked after the events of the map.
"""

import asyncio

import asyncore

class Attachment:
    """A map in an event loop, as asyncore.asyncio_attach() returns it.

    It ends with close(), or with an exception that leaves the map as it would
    have left asyncore.loop().  In a `with` statement it ends with that.
    """

    def __init__(self, loop, map, timeout, use_poll):
        if id(map) in asyncore._attachments:
            raise RuntimeError('the map is attached already')
        self.map = map
        self._loop = loop
        self._timeout = timeout
        self._use_poll = bool(use_poll)
        self._closed = False
        self._served = False
        self._waiters = []
        self._soon = self._later = self._due = self._hook = None
        self._server = (_Core(self) if asyncore._events.attach(map)
                        else _Readers(self))
        asyncore._attachments[id(map)] = self
        try:
            self._prepare()
            self.touch()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def close(self):
        """Serve the map no more.  Its channels stay as they are."""
        if self._closed:
            return
        self._closed = True
        del asyncore._attachments[id(self.map)]
        for handle in self._soon, self._later, self._due:
            if handle is not None:
                handle.cancel()
        if self._hook is not None:
            self._hook.remove(self)
        self._server.close()
        calls = asyncore._calls.get(id(self.map))
        if calls is not None and not self.map:
            calls.cancel_late()
        self._wake()

    def touch(self):
        """Look at the map again: something has changed what its channels wait
        for, or who is in it, that could not be noticed.  From any thread."""
        if not self._closed:
            self._loop.call_soon_threadsafe(self._pass)

    async def wait(self):
        """Wait as long as asyncore.loop() would run: until the map is empty,
        or an exception leaves it, which is raised here.  Returns if the
        attachment is closed, too."""
        while self.map and not self._closed:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    # ---- what the loop calls ----

    def _pass(self):
        """The map may have something to do."""
        self._run(self._serve)

    def _before_wait(self):
        """All other callbacks have been called; is there more to do?"""
        self._run(self._prepare)
        return self._closed or self._soon is not None

    def _run(self, step):
        if self._closed:
            return
        try:
            step()
        except BaseException as error:
            self._fail(error)
        if not self.map:
            self._wake()

    def _fail(self, error):
        """What leaves the map is raised by wait(), if anybody waits; else as
        from any callback."""
        waiters, self._waiters = self._waiters, []
        self.close()
        told = False
        if not isinstance(error, (KeyboardInterrupt, SystemExit)):
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)
                    told = True
        if not told:
            self._loop.call_soon(_throw, error)

    def _wake(self):
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # ---- a pass: serve what is ready, and get ready for the next wait ----

    def _serve(self):
        self._soon = None
        if self._served:
            self._prepare()  # nobody has waited since
        self._server.serve()
        self._served = True
        if id(self.map) in asyncore._calls:
            self._make_calls()
        if self._hook is None and not self._closed:
            self._prepare()

    def _prepare(self):
        self._served = False
        found = self._server.prepare()
        if found is None:
            # Somebody has replaced asyncore.read, or the like.
            self._server.close()
            self._server = _Readers(self)
            found = self._server.prepare()
        again, asked = found
        if again and self._soon is None:
            self._soon = self._loop.call_soon(self._pass)
        if asked:
            self._ask_again()

    def _make_calls(self):
        """Those of call_later() that are due."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        left = asyncore._after_pass(self.map)
        if left is not None:
            self._due = self._loop.call_later(left, self._pass)

    def _ask_again(self):
        """Some predicates are the program's own."""
        if self._hook is None:
            self._hook = _BeforeWait.of(self._loop, self)
        if self._later is None and self._timeout is not None:
            self._later = self._loop.call_later(self._timeout, self._late)

    def _late(self):
        self._later = None
        self._pass()


def _throw(error):
    raise error


class _Core:
    """Serves a map through the descriptor of the core's."""

    def __init__(self, attachment):
        self._attachment = attachment
        self._fd = None

    def serve(self):
        attachment = self._attachment
        asyncore._events.serve_attached(
            attachment.map, attachment._use_poll)

    def prepare(self):
        attachment = self._attachment
        state = asyncore._events.prepare_attached(
            attachment.map, attachment._use_poll)
        if state is None:
            return None
        fd, again, asked = state
        if fd != self._fd:
            self._forget()
            attachment._loop.add_reader(fd, attachment._pass)
            self._fd = fd
        return again, asked

    def close(self):
        self._forget()
        asyncore._events.detach(self._attachment.map)

    def _forget(self):
        loop = self._attachment._loop
        if self._fd is not None and not loop.is_closed():
            loop.remove_reader(self._fd)
        self._fd = None


class _Readers:
    """Serves what the core cannot, such as mappings that are no dictionaries,
    through the descriptors of the channels."""

    def __init__(self, attachment):
        self._attachment = attachment
        self._watched = {}
        self._ready = set()

    def serve(self):
        """Files are always ready."""
        for fd, deliver in sorted(self._ready, key=lambda pair: pair[0]):
            obj = self._attachment.map.get(fd)
            if obj is not None and obj is self._watched.get(fd, (None,))[0]:
                getattr(asyncore, deliver)(obj)

    def prepare(self):
        channels = dict(self._attachment.map.items())
        for fd in [fd for fd in self._watched if fd not in channels]:
            self._watch(fd, None, False, False)
        for fd, obj in channels.items():
            readable = bool(obj.readable())
            writable = bool(obj.writable() and not obj.accepting)
            if self._watched.get(fd) != (obj, readable, writable):
                self._watch(fd, obj, readable, writable)
        return bool(self._ready), True

    def close(self):
        if not self._attachment._loop.is_closed():
            for fd in list(self._watched):
                self._watch(fd, None, False, False)

    def _watch(self, fd, obj, readable, writable):
        loop = self._attachment._loop
        if fd in self._watched:
            del self._watched[fd]
            loop.remove_reader(fd)
            loop.remove_writer(fd)
            self._ready -= {(fd, 'read'), (fd, 'write')}
        if obj is not None:
            self._watched[fd] = obj, readable, writable
        if readable:
            self._add(loop.add_reader, fd, obj, 'read')
        if writable:
            self._add(loop.add_writer, fd, obj, 'write')

    def _add(self, add, fd, obj, deliver):
        try:
            add(fd, self._event, fd, obj, deliver)
        except PermissionError:
            self._ready.add((fd, deliver))

    def _event(self, fd, obj, deliver):
        self._attachment._run(lambda: self._deliver(fd, obj, deliver))

    def _deliver(self, fd, obj, deliver):
        """At once prepared again: the descriptor may be closed by now, and
        its number be another's."""
        if self._attachment.map.get(fd) is obj:
            getattr(asyncore, deliver)(obj)
        if not self._attachment._closed:
            self._attachment._prepare()


class _BeforeWait:
    """Stands before the selector of one of asyncio's loops, and has maps ask
    their channels when all callbacks have been called."""

    def __init__(self, loop, selector):
        self._loop = loop
        self._selector = selector
        self._attachments = []

    @classmethod
    def of(cls, loop, attachment):
        """That of a loop; None if there cannot be one."""
        selector = getattr(loop, '_selector', None)
        if not (isinstance(loop, asyncio.BaseEventLoop)
                and hasattr(selector, 'select')):
            return None
        if not isinstance(selector, cls):
            selector = loop._selector = cls(loop, selector)
        selector._attachments.append(attachment)
        return selector

    def remove(self, attachment):
        """The last one removes it."""
        self._attachments.remove(attachment)
        if not self._attachments and self._loop._selector is self:
            self._loop._selector = self._selector

    def __getattr__(self, name):
        return getattr(self._selector, name)

    def select(self, timeout=None):
        """Ask, then wait; not at all if there is something to do now."""
        for attachment in tuple(self._attachments):
            if attachment._before_wait():
                timeout = 0
        return self._selector.select(timeout)
