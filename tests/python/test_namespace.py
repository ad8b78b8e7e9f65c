# SPDX-License-Identifier: MIT
"""The names of both modules, and what inspection sees of them."""

import collections
import copy
import errno
import gc
import importlib
import importlib.util
import inspect
import os
import pickle
import select
import socket
import subprocess
import sys
import time
import types
import unittest
import unittest.mock
import warnings
import weakref

import kit
from kit import asynchat, asyncore

ERRNO_NAMES = """EALREADY EINPROGRESS EWOULDBLOCK ECONNRESET EINVAL ENOTCONN
    ESHUTDOWN EISCONN EBADF ECONNABORTED EPIPE EAGAIN errorcode""".split()

STARRED = set(ERRNO_NAMES) | {
    *"select socket sys time warnings os".split(),
    *"socket_map ExitNow read write readwrite poll poll2 poll3 loop".split(),
    *"dispatcher dispatcher_with_send compact_traceback close_all".split(),
    *"file_wrapper file_dispatcher".split(),
}

SIGNATURES = {
    "read": "(obj)",
    "write": "(obj)",
    "_exception": "(obj)",
    "readwrite": "(obj, flags)",
    "poll": "(timeout=0.0, map=None)",
    "poll2": "(timeout=0.0, map=None)",
    "poll3": "(timeout=0.0, map=None)",
    "loop": "(timeout=30.0, use_poll=False, map=None, count=None)",
    "compact_traceback": "()",
    "close_all": "(map=None, ignore_all=False)",
    "_strerror": "(err)",
    "dispatcher": "(sock=None, map=None)",
    "dispatcher_with_send": "(sock=None, map=None)",
    "file_wrapper": "(fd)",
    "file_dispatcher": "(fd, map=None)",
    "dispatcher.__init__": "(self, sock=None, map=None)",
    "dispatcher.add_channel": "(self, map=None)",
    "dispatcher.del_channel": "(self, map=None)",
    "dispatcher.set_socket": "(self, sock, map=None)",
    "dispatcher.set_reuse_addr": "(self)",
    "dispatcher.readable": "(self)",
    "dispatcher.writable": "(self)",
    "dispatcher.listen": "(self, num)",
    "dispatcher.bind": "(self, addr)",
    "dispatcher.connect": "(self, address)",
    "dispatcher.accept": "(self)",
    "dispatcher.send": "(self, data)",
    "dispatcher.recv": "(self, buffer_size)",
    "dispatcher.close": "(self)",
    "dispatcher.log": "(self, message)",
    "dispatcher.log_info": "(self, message, type='info')",
    "dispatcher.handle_read_event": "(self)",
    "dispatcher.handle_connect_event": "(self)",
    "dispatcher.handle_write_event": "(self)",
    "dispatcher.handle_expt_event": "(self)",
    "dispatcher.handle_error": "(self)",
    "dispatcher.handle_accept": "(self)",
    "dispatcher.handle_accepted": "(self, sock, addr)",
    "dispatcher.handle_close": "(self)",
    "dispatcher_with_send.initiate_send": "(self)",
    "dispatcher_with_send.send": "(self, data)",
    "file_dispatcher.set_file": "(self, fd)",
    "file_wrapper.recv": "(self, *args)",
    "file_wrapper.send": "(self, *args)",
    "file_wrapper.getsockopt": "(self, level, optname, buflen=None)",
}

CHAT_SIGNATURES = {
    "async_chat": "(sock=None, map=None)",
    "simple_producer": "(data, buffer_size=512)",
    "find_prefix_at_end": "(haystack, needle)",
    "async_chat.collect_incoming_data": "(self, data)",
    "async_chat._collect_incoming_data": "(self, data)",
    "async_chat._get_data": "(self)",
    "async_chat.found_terminator": "(self)",
    "async_chat.set_terminator": "(self, term)",
    "async_chat.get_terminator": "(self)",
    "async_chat.push": "(self, data)",
    "async_chat.push_with_producer": "(self, producer)",
    "async_chat.close_when_done": "(self)",
    "async_chat.initiate_send": "(self)",
    "async_chat.discard_buffers": "(self)",
    "async_chat.handle_read": "(self)",
    "async_chat.handle_write": "(self)",
    "async_chat.handle_close": "(self)",
    "simple_producer.more": "(self)",
}


def fetch(module, path):
    """The thing of that dotted name."""
    for name in path.split("."):
        module = getattr(module, name)
    return module


class NamespaceTest(kit.TestCase):
    def test_star(self):
        """The new names stay out of it, the old ones are all there."""
        space = {}
        exec("from asyncore import *", space)
        del space["__builtins__"]
        self.assertEqual(STARRED - set(space), set())
        self.assertEqual(set(space) - STARRED, set())

    def test_star_of_asynchat(self):
        space = {}
        exec("from asynchat import *", space)
        del space["__builtins__"]
        want = {"asyncore", "deque", "async_chat", "simple_producer"}
        want.add("find_prefix_at_end")
        self.assertEqual(set(space) - {"warnings"}, want)

    def test_modules(self):
        for module in (select, socket, sys, time, warnings, os):
            self.assertIs(getattr(asyncore, module.__name__), module)
        self.assertIs(asynchat.asyncore, asyncore)
        self.assertIs(asynchat.deque, collections.deque)

    def test_errno(self):
        for name in ERRNO_NAMES:
            self.assertIs(getattr(asyncore, name), getattr(errno, name))

    def test_private(self):
        names = "ECONNRESET ENOTCONN ESHUTDOWN ECONNABORTED EPIPE EBADF"
        self.assertEqual(
            asyncore._DISCONNECTED,
            frozenset(getattr(errno, name) for name in names.split()),
        )
        self.assertIsInstance(asyncore._DISCONNECTED, frozenset)
        self.assertEqual(
            asyncore._reraised_exceptions,
            (asyncore.ExitNow, KeyboardInterrupt, SystemExit),
        )
        self.assertIs(asyncore.poll3, asyncore.poll2)
        self.assertIs(type(asyncore.socket_map), dict)
        self.assertTrue(issubclass(asyncore.ExitNow, Exception))

    def test_strerror(self):
        self.assertEqual(asyncore._strerror(errno.EPERM), os.strerror(1))
        self.assertEqual(asyncore._strerror(-1), os.strerror(-1))
        self.assertEqual(asyncore._strerror(2**70), f"Unknown error {2**70}")
        self.assertRaises(TypeError, asyncore._strerror, "x")
        with unittest.mock.patch.object(os, "strerror", side_effect=NameError):
            self.assertEqual(asyncore._strerror(errno.EPERM), "EPERM")

    def test_signatures(self):
        for module, table in (
            (asyncore, SIGNATURES),
            (asynchat, CHAT_SIGNATURES),
        ):
            for path, want in table.items():
                with self.subTest(path):
                    got = str(inspect.signature(fetch(module, path)))
                    # In C, self has no name.
                    self.assertEqual(got.replace("(self, /", "(self"), want)

    def test_where_classes_are_from(self):
        for module, names in (
            (
                asyncore,
                "dispatcher dispatcher_with_send file_wrapper"
                " file_dispatcher ExitNow",
            ),
            (asynchat, "async_chat simple_producer"),
        ):
            for name in names.split():
                kind = getattr(module, name)
                self.assertEqual(kind.__module__, module.__name__)
                self.assertEqual(kind.__qualname__, name)
                self.assertEqual(kind.__name__, name)

    def test_bases(self):
        self.assertIs(
            asyncore.dispatcher_with_send.__base__, asyncore.dispatcher
        )
        self.assertIs(asyncore.file_dispatcher.__base__, asyncore.dispatcher)
        self.assertIs(asynchat.async_chat.__base__, asyncore.dispatcher)
        wrapper = asyncore.file_wrapper
        self.assertEqual(wrapper.read, wrapper.recv)
        self.assertEqual(wrapper.write, wrapper.send)

    def test_class_attributes(self):
        for name, value in dict(
            debug=False,
            connected=False,
            accepting=False,
            connecting=False,
            closing=False,
            addr=None,
            ignore_log_types=frozenset({"warning"}),
        ).items():
            self.assertEqual(getattr(asyncore.dispatcher, name), value)
            self.assertIs(
                type(getattr(asyncore.dispatcher, name)), type(value)
            )
            self.assertIn(name, vars(asyncore.dispatcher))
        for name, value in dict(
            ac_in_buffer_size=65536,
            ac_out_buffer_size=65536,
            use_encoding=0,
            encoding="latin-1",
        ).items():
            self.assertEqual(getattr(asynchat.async_chat, name), value)

    def test_no_getattr(self):
        """Unknown attributes are not looked for on the socket."""
        channel = asyncore.dispatcher(self.pair()[0])
        with self.assertRaisesRegex(
            AttributeError,
            "^'dispatcher' object has no attribute 'getsockname'$",
        ):
            channel.getsockname
        self.assertFalse(hasattr(asyncore.dispatcher, "__getattr__"))

    def test_autospec(self):
        """Mocks of the classes know the signatures, if not of what is in
        C."""
        mock = unittest.mock.create_autospec(asyncore.dispatcher)
        channel = mock(sock=None, map={})
        channel.connect(("host", 1))
        self.assertRaises(TypeError, channel.connect)
        channel.recv(1)
        mock = unittest.mock.create_autospec(asyncore.loop)
        mock(timeout=1, use_poll=True, map={}, count=1)
        self.assertRaises(TypeError, mock, retries=1)

    def test_keywords(self):
        """Every argument may be named."""
        asyncore.loop(timeout=0, use_poll=True, map={}, count=1)
        asyncore.poll(timeout=0, map={})
        asyncore.poll2(timeout=0, map={})
        asyncore.close_all(map={}, ignore_all=True)
        near, far = self.pair()
        channel = asyncore.dispatcher(sock=near, map={})
        channel.del_channel(map={})
        channel.add_channel(map={})
        channel.set_socket(sock=near, map={})
        far.send(b"xy")
        self.assertEqual(channel.recv(buffer_size=1), b"x")
        self.assertEqual(channel.send(data=b"z"), 1)
        channel.create_socket(family=socket.AF_INET, type=socket.SOCK_DGRAM)
        channel.bind(addr=("127.0.0.1", 0))
        channel.close()
        near, _ = self.pair()
        producer = asynchat.simple_producer(data=b"ab", buffer_size=1)
        chat = asynchat.async_chat(sock=near, map={})
        chat.set_terminator(term=b"x")
        chat.push(data=b"")
        chat.push_with_producer(producer=producer)
        self.assertEqual(
            asynchat.find_prefix_at_end(haystack=b"a\r", needle=b"\r\n"), 1
        )

    def test_wrong_arguments(self):
        for call in (
            lambda: asyncore.read(),
            lambda: asyncore.readwrite(1),
            lambda: asyncore.poll(0, {}, 1),
            lambda: asyncore.loop(0, 0, {}, 0, 0),
            lambda: asyncore.loop(timeouts=0),
            lambda: asyncore.dispatcher(None, {}, None),
            lambda: asyncore.dispatcher(socket=None),
            lambda: asyncore.file_wrapper(),
            lambda: asynchat.find_prefix_at_end(b""),
            lambda: asynchat.async_chat(x=1),
            lambda: asyncore.dispatcher().send(),
            lambda: asyncore.dispatcher().log_info("x", kind="y"),
        ):
            self.assertRaises(TypeError, call)

    def test_reload_keeps_the_map(self):
        script = (
            "import warnings; warnings.simplefilter('ignore')\n"
            "import asyncore, importlib\n"
            "kept = asyncore.socket_map; kept['x'] = 1\n"
            "importlib.reload(asyncore)\n"
            "assert asyncore.socket_map is kept\n"
            "importlib.reload(asyncore)\n"
            "assert asyncore.socket_map is kept\n"
        )
        subprocess.run([sys.executable, "-c", script], check=True)

    def test_import_again(self):
        """Modules that left sys.modules may come back, and work."""
        core, chat = kit.reimport("asyncore", "asynchat")
        self.assertIsNot(core, asyncore)
        self.assertIs(chat.asyncore, core)
        near, far = self.pair()
        channel = chat.async_chat(near)
        self.assertIsInstance(channel, core.dispatcher)
        self.assertIn(near.fileno(), core.socket_map)
        self.assertNotIn(near.fileno(), asyncore.socket_map)
        found = []
        channel.set_terminator(b"\n")
        channel.collect_incoming_data = found.append
        channel.found_terminator = lambda: found.append(None)
        far.send(b"line\n")
        core.loop(count=1, timeout=1)
        self.assertEqual(found, [b"line", None])

    def test_reload_works(self):
        """So does code that is executed twice in one module, as
        eventlet does it."""
        module = types.ModuleType("asyncore_again")
        spec = importlib.util.find_spec("asyncore")
        with open(spec.origin, encoding="utf-8") as file:
            code = compile(file.read(), spec.origin, "exec")
        module.__file__ = spec.origin
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(code, vars(module))
        self.assertTrue(issubclass(module.dispatcher, object))


class Slotted(asynchat.async_chat):
    __slots__ = ("slot",)


class ObjectTest(kit.TestCase):
    def test_vars(self):
        channel = asyncore.dispatcher()
        self.assertEqual(
            vars(channel),
            {"_map": asyncore.socket_map, "_fileno": None, "socket": None},
        )
        near, _ = self.pair()
        channel = asyncore.dispatcher(near)
        self.assertEqual(
            set(vars(channel)),
            {"_map", "_fileno", "socket", "connected", "addr"},
        )
        channel = asyncore.dispatcher()
        channel.create_socket()
        self.assertEqual(
            channel.family_and_type, (socket.AF_INET, socket.SOCK_STREAM)
        )
        self.assertIn("family_and_type", vars(channel))

    def test_new_without_init(self):
        channel = asyncore.dispatcher.__new__(asyncore.dispatcher)
        self.assertEqual(vars(channel), {})
        for name in ("_map", "socket", "_fileno"):
            self.assertRaises(AttributeError, getattr, channel, name)
        self.assertFalse(channel.connected)
        self.assertRegex(repr(channel), "^<asyncore.dispatcher at 0x")
        self.assertTrue(channel.readable())

    def test_pickle_and_copy(self):
        """A channel without a socket is pickled as any object is."""
        channel = asyncore.dispatcher(map={})
        channel.extra = [1]
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(channel, protocol))
            self.assertIs(type(again), asyncore.dispatcher)
            self.assertEqual(vars(again), vars(channel))
        again = copy.copy(channel)
        self.assertIs(again._map, channel._map)
        self.assertEqual(again.extra, [1])
        producer = pickle.loads(
            pickle.dumps(asynchat.simple_producer(b"abc", 2))
        )
        self.assertEqual((producer.more(), producer.more()), (b"ab", b"c"))

    def test_pickle_and_copy_of_all_parts(self):
        """Also of what is computed, or in slots."""
        chat = Slotted(map={})
        chat.push(b"abc")
        chat.incoming.append(b"def")
        chat.ac_in_buffer = b"ghi"
        chat.slot = 5
        sender = asyncore.dispatcher_with_send(map={})
        sender.out_buffer = b"jkl"
        for copied in (copy.copy, copy.deepcopy,
                       lambda it: pickle.loads(pickle.dumps(it))):
            again = copied(chat)
            self.assertEqual(list(again.producer_fifo), [b"abc"])
            self.assertEqual(again.incoming, [b"def"])
            self.assertEqual(again.ac_in_buffer, b"ghi")
            self.assertEqual(again.slot, 5)
            self.assertEqual(again._map, {})
            self.assertEqual(copied(sender).out_buffer, b"jkl")

    def test_types_are_mutable(self):
        for kind in (
            asyncore.dispatcher,
            asyncore.dispatcher_with_send,
            asyncore.file_wrapper,
            asyncore.file_dispatcher,
            asynchat.async_chat,
            asynchat.simple_producer,
        ):
            kind.added_later = 1
            del kind.added_later

    def test_weak(self):
        """Channels can be referred to weakly, and are freed in cycles."""
        channel = asyncore.dispatcher(map={})
        channel.itself = channel
        ref = weakref.ref(channel)
        del channel
        gc.collect()
        self.assertIsNone(ref())

    def test_hash_and_equality(self):
        one, two = asyncore.dispatcher(), asyncore.dispatcher()
        self.assertEqual(len({one, two, one}), 2)
        self.assertNotEqual(one, two)

    def test_class_assignment(self):
        """An object may change its class."""

        class Other(asyncore.dispatcher):
            def readable(self):
                return "other"

        class First(asyncore.dispatcher):
            pass

        channel = First()
        channel.__class__ = Other
        self.assertEqual(channel.readable(), "other")

    def test_docstrings(self):
        """inspect and help have something to say."""
        for thing in (asyncore.dispatcher, asynchat.async_chat):
            self.assertTrue(inspect.getmembers(thing, callable))
        self.assertIn("loop", dir(asyncore))


class ImportWarningTest(unittest.TestCase):
    def run_python(self, *options):
        return subprocess.run(
            [sys.executable, *options, "-c", "import asyncore, asynchat"],
            stderr=subprocess.PIPE,
            text=True,
        )

    @kit.ours_only
    def test_no_warning(self):
        """There is nothing to be warned of any more."""
        result = self.run_python("-W", "error")
        self.assertEqual((result.returncode, result.stderr), (0, ""))


if __name__ == "__main__":
    kit.main()
