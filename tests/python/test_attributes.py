# SPDX-License-Identifier: MIT
"""The attributes of channels, wherever they are kept: in instances, in their
dictionaries, and on the way from one to the other."""

import copy
import gc
import socket
import unittest
import weakref

import kit
from kit import asynchat, asyncore

SET_BY_DISPATCHER = ("_map", "_fileno", "socket", "connected", "addr")


class Mixin:
    """Its instances have a dictionary, too, and it comes first."""


class Mixed(Mixin, asyncore.dispatcher):
    pass


class Recorder(asyncore.dispatcher):
    """Keeps what it reads."""

    def __init__(self, sock=None, map=None):
        asyncore.dispatcher.__init__(self, sock, map)
        self.got = []

    def writable(self):
        return False

    def handle_read(self):
        self.got.append(self.recv(100))


class AttributeTest(kit.TestCase):
    def pair(self, cls=Recorder):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        return cls(ours), theirs

    def tcp(self, family=socket.AF_INET, host="127.0.0.1"):
        listener = socket.socket(family)
        self.addCleanup(listener.close)
        try:
            listener.bind((host, 0))
        except OSError:
            self.skipTest(f"no {host}")
        listener.listen(1)
        client = socket.create_connection(listener.getsockname()[:2])
        self.addCleanup(client.close)
        sock, _ = listener.accept()
        self.addCleanup(sock.close)
        return sock

    def test_all_are_in_the_dictionary(self):
        for cls in (Recorder, Mixed):
            with self.subTest(cls.__name__):
                channel, _ = self.pair(cls)
                found = vars(channel)
                for name in SET_BY_DISPATCHER:
                    self.assertIs(found[name], getattr(channel, name))
                self.assertIs(found["connected"], True)

    def test_dictionary_and_attributes_are_one(self):
        channel, theirs = self.pair()
        found = vars(channel)
        channel.connected = False
        self.assertIs(found["connected"], False)
        found["connected"] = True
        self.assertIs(channel.connected, True)
        found["terminator"] = b"?"
        self.assertEqual(channel.terminator, b"?")
        del found["addr"]
        self.assertIsNone(channel.addr)
        del found
        theirs.sendall(b"ab")
        self.step()
        self.assertEqual(channel.got, [b"ab"])
        self.assertIs(channel.connected, True)
        self.assertEqual(channel.terminator, b"?")
        self.assertNotIn("addr", vars(channel))

    def test_changed_when_nobody_looks(self):
        """In a dictionary that was kept, while the loop runs."""
        channel, theirs = self.pair()
        found = vars(channel)
        self.step()
        theirs.sendall(b"x")
        found["readable"] = lambda: False
        self.step()
        self.assertEqual(channel.got, [])
        del found["readable"]
        self.step()
        self.assertEqual(channel.got, [b"x"])

    def test_another_dictionary(self):
        """What an old way to have shared state does."""
        channel, theirs = self.pair()
        state = dict(vars(channel), connected=True, name="shared")
        channel.__dict__ = state
        self.assertIs(vars(channel), state)
        self.assertEqual(channel.name, "shared")
        theirs.sendall(b"y")
        self.step()
        self.assertEqual(state["got"], [b"y"])
        channel.__dict__ = {}
        self.assertIs(channel.connected, False)
        with self.assertRaises(AttributeError):
            channel._fileno
        channel.__dict__ = state

    def test_flags_of_other_types(self):
        channel, theirs = self.pair()
        for value in (1, "yes", [0]):
            channel.connected = value
            self.assertIs(channel.connected, value)
            self.assertIs(vars(channel)["connected"], value)
            theirs.sendall(b"1")
            self.step()
            self.assertEqual(channel.got.pop(), b"1")
        channel.connected = True
        self.step()
        theirs.sendall(b"2")
        self.step()
        self.assertEqual(channel.got, [b"2"])

    def test_accepting_of_another_type(self):
        channel, _ = self.pair()
        channel.accepting = 1
        accepted = []
        channel.handle_accept = lambda: accepted.append(1) or channel.close()
        self.step()
        channel.accepting = 0
        self.step()
        self.assertEqual(accepted, [])

    def test_deleted(self):
        channel, _ = self.pair()
        for name in ("connected", "addr"):
            delattr(channel, name)
            self.assertIs(
                getattr(channel, name), getattr(asyncore.dispatcher, name)
            )
            with self.assertRaises(AttributeError):
                delattr(channel, name)
        del channel.socket
        with self.assertRaises(AttributeError):
            channel.socket
        self.assertFalse(hasattr(asyncore.dispatcher, "socket"))
        self.assertFalse(hasattr(asyncore.dispatcher, "_fileno"))
        self.assertFalse(hasattr(asynchat.async_chat, "terminator"))

    def test_addresses(self):
        for family, host in (
            (socket.AF_INET, "127.0.0.1"),
            (socket.AF_INET6, "::1"),
        ):
            with self.subTest(host):
                sock = self.tcp(family, host)
                channel = Recorder(sock)
                want = sock.getpeername()
                self.assertEqual(channel.addr, want)
                self.assertIs(channel.addr, channel.addr)
                self.assertIs(vars(channel)["addr"], channel.addr)
                again = Recorder(sock)
                self.assertEqual(vars(again)["addr"], want)
                third = Recorder(sock)
                third.addr = None
                self.assertIsNone(third.addr)

    def test_address_after_the_peer_is_gone(self):
        sock = self.tcp()
        channel = Recorder(sock)
        want = sock.getpeername()
        channel.close()
        self.assertEqual(channel.addr, want)

    def test_address_of_a_socket_class(self):
        """Whose getpeername() is its own."""

        class Proxied(socket.socket):
            def getpeername(self):
                return "far", 1

        sock = self.tcp()
        proxied = Proxied(fileno=sock.detach())
        self.addCleanup(proxied.close)
        self.assertEqual(Recorder(proxied).addr, ("far", 1))

    def test_address_that_is_a_property(self):
        class Guarded(Recorder):
            seen = None
            addr = property(
                lambda self: ("seen", self.seen),
                lambda self, value: setattr(self, "seen", value),
            )

        sock = self.tcp()
        self.assertEqual(Guarded(sock).addr, ("seen", sock.getpeername()))

    def test_mixin_first(self):
        """With a dictionary that comes from a class of no channels."""
        channel, theirs = self.pair(Mixed)
        got = []
        channel.handle_read = lambda: got.append(channel.recv(9))
        channel.writable = lambda: False
        self.step()
        found = vars(channel)
        found["readable"] = lambda: False
        theirs.sendall(b"m")
        self.step()
        self.assertEqual(got, [])
        del found["readable"]
        self.step()
        self.assertEqual(got, [b"m"])
        self.assertEqual(vars(Mixin()), {})

    def test_mixin_first_and_no_init(self):
        """Given the dictionary of another before anything else."""

        class Fresh(Mixin, asyncore.dispatcher):
            pass

        channel, _ = self.pair()
        twin = Fresh.__new__(Fresh)
        twin.__dict__ = vars(channel)
        self.assertIs(twin.socket, channel.socket)
        self.assertEqual(twin._fileno, channel._fileno)
        twin.connected = False
        self.assertIs(channel.connected, False)

    def test_mixin_first_and_one_dictionary(self):
        """Shared before anything was set on either."""

        class Early(Mixin, asyncore.dispatcher):
            pass

        class Other(Mixin, asyncore.dispatcher):
            pass

        one, other = Early.__new__(Early), Other.__new__(Other)
        one.__dict__ = vars(other)
        other._map = {}
        one.connected = True
        self.assertIs(one._map, other._map)
        self.assertIs(other.connected, True)

    def test_dictionary_of_another_making(self):
        """Who looks for it finds what that gives."""

        class Own(Recorder):
            @property
            def __dict__(self):
                return {"mine": 1}

        channel, theirs = self.pair(Own)
        self.assertEqual(vars(channel), {"mine": 1})
        theirs.sendall(b"o")
        self.step()
        self.assertEqual(channel.got, [b"o"])
        channel.connected = False
        self.assertIs(channel.connected, False)

    def test_methods_of_an_instance(self):
        """Set on an instance among whose attributes were none so far."""
        first, _ = self.pair()
        second, theirs = self.pair()
        self.step()
        calls = []
        second.handle_read_event = lambda: calls.append(second.recv(9))
        theirs.sendall(b"a")
        self.step()
        self.assertEqual(calls, [b"a"])
        del second.handle_read_event
        second.recv = lambda size: b"mine"
        theirs.sendall(b"b")
        self.step()
        self.assertEqual(second.got, [b"mine"])
        self.assertEqual(first.got, [])

    def test_many_attributes(self):
        """More than instances can share the names of."""
        channel, theirs = self.pair()
        for number in range(100):
            setattr(channel, f"a{number}", number)
        channel.recv = lambda size: b"own"
        theirs.sendall(b"a")
        self.step()
        self.assertEqual(channel.got, [b"own"])
        self.assertEqual(channel.a99, 99)

    def test_class_attributes_instead(self):
        class Fixed(Recorder):
            terminator = b"\n"
            addr = "nowhere"
            connected = True

        channel, _ = self.pair(Fixed)
        del channel.addr
        self.assertEqual(channel.addr, "nowhere")
        channel.addr = "here"
        channel.connected = False
        self.assertEqual(vars(channel)["addr"], "here")
        self.step()
        self.assertEqual(channel.addr, "here")
        self.assertIs(channel.connected, False)
        del channel.addr
        self.assertEqual(channel.addr, "nowhere")

    def test_terminator_before_init(self):
        class Early(asynchat.async_chat):
            def __init__(self, sock):
                self.set_terminator(b"|")
                asynchat.async_chat.__init__(self, sock)
                self.lines = []

            def collect_incoming_data(self, data):
                self.lines.append(data)

            def found_terminator(self):
                self.lines.append(None)

        channel, theirs = self.pair(Early)
        theirs.sendall(b"a|")
        self.step()
        self.assertEqual(channel.lines, [b"a", None])
        self.assertEqual(vars(channel)["terminator"], b"|")
        del channel.terminator
        with self.assertRaises(AttributeError):
            channel.get_terminator()

    def test_both_kinds_of_output(self):
        """A channel that keeps output in two ways."""

        class Both(asynchat.async_chat, asyncore.dispatcher_with_send):
            pass

        channel, theirs = self.pair(Both)
        channel.out_buffer = b"first"
        channel.terminator = b"!"
        self.assertEqual(channel.out_buffer, b"first")
        channel.incoming.append(b"in")
        self.assertEqual(channel.out_buffer, b"first")
        asyncore.dispatcher_with_send.initiate_send(channel)
        self.assertEqual(theirs.recv(100), b"first")

    def test_in_two_maps(self):
        channel, theirs = self.pair()
        first, second = {}, {}
        channel.del_channel()
        channel._fileno = channel.socket.fileno()
        channel.add_channel(first)
        channel.add_channel(second)
        for map in first, second, first:
            theirs.sendall(b"m")
            self.step(map=map)
            self.assertEqual(channel.got.pop(), b"m")
        channel.del_channel(first)
        channel._fileno = channel.socket.fileno()
        theirs.sendall(b"n")
        self.step(map=first)
        self.assertEqual(channel.got, [])
        self.step(map=second)
        self.assertEqual(channel.got, [b"n"])
        channel.add_channel(first)
        channel.del_channel(second)
        theirs.sendall(b"o")
        self.step(map=first)
        self.assertEqual(channel.got, [b"n", b"o"])
        first.clear()

    def test_class_of_an_instance_changes(self):
        class Other(asyncore.dispatcher):
            pass

        channel, theirs = self.pair()
        channel.__class__ = Other
        self.assertIs(channel.connected, True)
        self.assertIs(vars(channel)["connected"], True)
        self.assertIs(vars(channel)["socket"], channel.socket)
        channel.__class__ = Recorder
        theirs.sendall(b"c")
        self.step()
        self.assertEqual(channel.got, [b"c"])

    def test_class_is_changed_to_one_that_is_known(self):
        """Which has predicates of its own, and other attributes."""

        class Own(Mixed):
            addr = "its own"

            def readable(self):
                return False

        known = Own(self.pair(Recorder)[0].socket)
        channel, theirs = self.pair()
        self.step()
        channel.__class__ = Own
        self.assertIs(channel.__class__, Own)
        self.assertEqual(
            set(vars(channel)), {*SET_BY_DISPATCHER, "got"}
        )
        self.assertEqual(channel.addr, channel.socket.getpeername())
        theirs.sendall(b"c")
        self.step()
        self.assertEqual(channel.got, [])
        with self.assertRaises(TypeError):
            channel.__class__ = int
        with self.assertRaises(TypeError):
            del channel.__class__
        channel.__class__ = Recorder
        self.step()
        self.assertEqual(channel.got, [b"c"])
        known.close()

    def test_copied(self):
        channel, _ = self.pair()
        channel.socket, sock = None, channel.socket
        twin = copy.copy(channel)
        self.assertEqual(vars(twin), vars(channel))
        self.assertIs(twin._map, channel._map)
        channel.socket = sock

    def test_collected(self):
        channel, _ = self.pair()
        channel.del_channel()
        channel.terminator = channel.me = channel
        gone = weakref.ref(channel)
        sock = weakref.ref(channel.socket)
        del channel
        gc.collect()
        self.assertIsNone(gone())
        self.assertIsNotNone(sock())

    def test_collected_from_the_dictionary(self):
        channel, _ = self.pair()
        channel.del_channel()
        found = vars(channel)
        found["me"] = channel
        gone = weakref.ref(channel)
        del channel, found
        gc.collect()
        self.assertIsNone(gone())

    def test_borrowed(self):
        """By a class that is no channel's, which may not do much with it."""

        class Borrower:
            connected = vars(asyncore.dispatcher).get("connected")
            mine = vars(asyncore.dispatcher).get("addr")
            socket = vars(asyncore.dispatcher).get("socket")

        borrower = Borrower()
        self.assertIs(borrower.connected, False)
        self.assertIsNone(borrower.mine)
        if kit.OURS:
            for name in ("connected", "mine", "socket"):
                with self.assertRaises(TypeError):
                    setattr(borrower, name, True)
                with self.assertRaises(TypeError):
                    delattr(borrower, name)
            with self.assertRaises(AttributeError):
                borrower.socket
        channel, _ = self.pair()
        channel.addr = "here"
        self.assertEqual(vars(channel)["addr"], "here")
        self.assertNotIn("mine", vars(channel))

    def test_set_while_the_class_had_another(self):
        """Under the name of what is a field: it is the newer one."""

        class Patched(Recorder):
            pass

        channel, theirs = self.pair(Patched)
        twin, _ = self.pair(Patched)
        Patched.connected = Patched.addr = None
        channel.connected = channel.addr = twin.addr = 5
        self.assertEqual(vars(channel)["connected"], 5)
        del Patched.connected, Patched.addr
        self.assertEqual(channel.connected, 5)
        self.assertEqual(channel.addr, 5)
        self.assertEqual(twin.addr, 5)
        self.assertIs(twin.connected, True)
        channel.connected = True
        theirs.sendall(b"p")
        self.step()
        self.assertEqual(channel.got, [b"p"])
        self.assertIs(channel.connected, True)
        self.assertEqual(vars(channel)["addr"], 5)
        del channel.addr
        self.assertIsNone(channel.addr)
        self.assertNotIn("addr", vars(channel))

    def test_class_gets_another(self):
        """What instances have comes before it, from the next pass on."""

        class Patched(Recorder):
            pass

        channel, theirs = self.pair(Patched)
        self.step()
        Patched.connected = None
        theirs.sendall(b"p")
        self.step()
        self.assertEqual(channel.got, [b"p"])
        self.assertIs(channel.connected, True)
        self.assertIs(vars(channel)["connected"], True)

    def test_set_in_the_dictionary_of_a_mixin(self):
        """Before any other attribute was."""
        channel = Mixed.__new__(Mixed)
        vars(channel).update(connected=True, socket="it")
        self.assertIs(channel.connected, True)
        self.assertEqual(channel.socket, "it")
        channel.connected = False
        self.assertEqual(vars(channel), {"connected": False, "socket": "it"})
        del channel.socket
        self.assertEqual(vars(channel), {"connected": False})

    def test_setting_is_overridden(self):
        class Noting(asyncore.dispatcher):
            names = []

            def __setattr__(self, name, value):
                self.names.append(name)
                object.__setattr__(self, name, value)

        channel = Noting(self.tcp())
        self.assertEqual(
            channel.names, ["_map", "_fileno", *SET_BY_DISPATCHER[2:3]]
            + ["_fileno", "connected", "addr"],
        )

    def test_private_names(self):
        """Of subclasses: they have nothing to do with ours."""

        class Private(asynchat.async_chat):
            _events = _handle_read = _initiate_send = _take = None
            _back_off = _ask_producer = _drop_empty = _send_first = None
            ac_in_buffer = producer_fifo = incoming = None

            def __init__(self, sock):
                super().__init__(sock)
                self.set_terminator(b"\n")
                self.lines = []

            collect_incoming_data = asynchat.async_chat._collect_incoming_data

            def found_terminator(self):
                self.lines.append(self._get_data())
                self.push(b"yes")

            def handle_close(self):
                self.lines.append("closed")
                self.close()

        ours, theirs = kit.tcp_pair()
        channel = Private(ours)
        theirs.sendall(b"one\ntwo\n")
        self.until(lambda: len(channel.lines) > 1)
        self.assertEqual(channel.lines, [b"one", b"two"])
        self.assertEqual(theirs.recv(10)[:3], b"yes")
        kit.reset(theirs)
        self.until(lambda: channel.lines[-1] == "closed")

    def test_state_of_ones_own(self):
        """In either of the forms that copy and pickle know."""

        class Own(asyncore.dispatcher):
            state = None

            def __getstate__(self):
                return self.state

            @property
            def name(self):
                return vars(self)["name"]

        own = Own()
        own.state = {"name": "x", "connected": True}
        twin = copy.copy(own)
        self.assertEqual(vars(twin), own.state)
        self.assertEqual(twin.name, "x")
        self.assertIs(twin.connected, True)
        own.state = {"addr": 1}, {"other": 2}
        self.assertEqual(vars(copy.copy(own)), {"addr": 1, "other": 2})
        own.state = None, {"other": 2}
        self.assertEqual(vars(copy.copy(own)), {"other": 2})

    def test_property_is_copied(self):
        class Named(asyncore.dispatcher):
            @property
            def name(self):
                return vars(self)["name"]

        channel = Named()
        vars(channel)["name"] = "y"
        self.assertEqual(copy.copy(channel).name, "y")

    def test_counted(self):
        """What is moved there and back keeps its references."""
        import sys

        channel, _ = self.pair()
        thing = object()
        channel.terminator = thing
        before = sys.getrefcount(thing)
        for _ in range(10):
            vars(channel)
            self.step()
        self.assertEqual(sys.getrefcount(thing), before)
        del channel.terminator
        self.assertEqual(sys.getrefcount(thing), before - 1)


if __name__ == "__main__":
    unittest.main()
