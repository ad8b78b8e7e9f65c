# SPDX-License-Identifier: MIT
"""The dispatcher: attributes, sockets, its methods one by one."""

import errno
import os
import select
import socket
import sys
import tempfile
import unittest
import unittest.mock

import kit
from kit import asyncore


def error(code):
    return OSError(code, os.strerror(code))


def mock_socket(**methods):
    """A socket that is none; a method's value is what it does."""
    sock = unittest.mock.Mock(spec=list(methods) + "fileno setblocking \
        getpeername close".split())
    sock.fileno.return_value = 12345
    sock.getpeername.return_value = ("peer", 1)
    for name, effect in methods.items():
        if isinstance(effect, BaseException):
            getattr(sock, name).side_effect = effect
        else:
            getattr(sock, name).return_value = effect
    return sock


class InitTest(kit.TestCase):
    def test_with_a_socket(self):
        near, far = self.pair("tcp")
        near.setblocking(True)
        channel = asyncore.dispatcher(near)
        self.assertEqual(near.gettimeout(), 0)
        self.assertIs(channel.socket, near)
        self.assertTrue(channel.connected)
        self.assertEqual(channel.addr, far.getsockname())
        self.assertEqual(channel._fileno, near.fileno())
        self.assertIs(channel._map, asyncore.socket_map)
        self.assertIs(asyncore.socket_map[near.fileno()], channel)

    def test_with_a_map(self):
        near, _ = self.pair()
        for map in ({}, {"kept": 1}):
            channel = asyncore.dispatcher(near, map)
            self.assertIs(channel._map, map)
            self.assertIs(map[near.fileno()], channel)
        self.assertEqual(asyncore.socket_map, {})

    def test_without(self):
        for nothing in (None, 0, ()):
            channel = asyncore.dispatcher(nothing)
            self.assertIsNone(channel.socket)
            self.assertIsNone(channel._fileno)
            self.assertFalse(channel.connected)
            self.assertIsNone(channel.addr)
        self.assertEqual(asyncore.socket_map, {})

    def test_map_is_the_current(self):
        mine = {}
        self.replace(asyncore, "socket_map", mine)
        self.assertIs(asyncore.dispatcher()._map, mine)

    def test_not_connected(self):
        """The peer is gone, or never was: it is mapped all the same."""
        for code in (errno.ENOTCONN, errno.EINVAL):
            sock = mock_socket(getpeername=error(code))
            channel = asyncore.dispatcher(sock)
            self.assertFalse(channel.connected)
            self.assertIsNone(channel.addr)
            self.assertIn(12345, asyncore.socket_map)
            sock.setblocking.assert_called_once_with(False)

    def test_other_errors(self):
        for code in (errno.EBADF, errno.ENOBUFS):
            sock = mock_socket(getpeername=error(code))
            channel = asyncore.dispatcher.__new__(asyncore.dispatcher)
            with self.assertRaises(OSError) as caught:
                channel.__init__(sock)
            self.assertEqual(caught.exception.errno, code)
            self.assertEqual(asyncore.socket_map, {})
            self.assertIs(channel.socket, sock)
            self.assertTrue(channel.connected)
            sock.close.assert_not_called()

    def test_twice(self):
        """__init__ again is another socket; the old key stays."""
        one, _ = self.pair()
        two, _ = self.pair()
        channel = asyncore.dispatcher(one)
        channel.__init__(two)
        self.assertIs(channel.socket, two)
        self.assertIs(asyncore.socket_map[one.fileno()], channel)
        self.assertIs(asyncore.socket_map[two.fileno()], channel)
        channel.__init__()
        self.assertIsNone(channel.socket)
        self.assertTrue(channel.connected)

    def test_attributes_before(self):
        """What is set before __init__ is there after it."""
        near, _ = self.pair()
        channel = asyncore.dispatcher.__new__(asyncore.dispatcher)
        channel.socket = near
        channel.mine = 1
        channel.ignore_log_types = ()
        channel.__init__(near)
        self.assertEqual((channel.mine, channel.ignore_log_types), (1, ()))

    def test_no_init_at_all(self):
        """All that is needed can be set by hand."""
        near, far = self.pair()
        near.setblocking(False)

        class Lazy(kit.Reader):
            def __init__(self):
                self.calls, self.data = [], b""

        channel = Lazy()
        channel._map = asyncore.socket_map
        channel.socket = near
        channel._fileno = near.fileno()
        channel.connected = True
        channel.add_channel()
        far.send(b"x")
        self.step()
        self.assertEqual(channel.data, b"x")
        channel.close()
        self.assertEqual(asyncore.socket_map, {})


class ReprTest(kit.TestCase):
    def check(self, middle, **attributes):
        channel = asyncore.dispatcher()
        vars(channel).update(attributes)
        self.assertEqual(
            repr(channel),
            f"<asyncore.dispatcher{middle} at {id(channel):#x}>",
        )

    def test_status(self):
        self.check("")
        self.check(" connected", connected=True)
        self.check(" listening h:1", accepting=True, addr=("h", 1))
        self.check(" listening h:1", accepting=1, connected=1, addr=("h", 1))
        self.check(" connected", accepting=True, connected=True)
        self.check("", accepting=True)
        self.check(" ''", accepting=True, addr="")

    def test_address(self):
        self.check(" h:80", addr=("h", 80))
        self.check(" ('::1', 80, 0, 0)", addr=("::1", 80, 0, 0))
        self.check(" '/path'", addr="/path")
        self.check(" ('h', 'p')", addr=("h", "p"))

    def test_names(self):
        class Inner(asyncore.dispatcher):
            pass

        self.assertIn(
            f"<{__name__}.ReprTest.test_names.<locals>.Inner at",
            repr(Inner()),
        )
        self.assertEqual(str(Inner).count("Inner"), 1)


class MapTest(kit.TestCase):
    def test_add(self):
        """Any key will do, and whoever sat there is replaced."""
        one, two = asyncore.dispatcher(), asyncore.dispatcher()
        for key in (None, 7, "key", (1, 2), 2**80):
            one._fileno = two._fileno = key
            one.add_channel()
            self.assertIs(asyncore.socket_map[key], one)
            two.add_channel()
            self.assertIs(asyncore.socket_map[key], two)
        other = {}
        self.assertIsNone(one.add_channel(other))
        self.assertEqual(other, {2**80: one})

    def test_delete(self):
        """Whoever sits at the key is removed; then there is no key."""
        one, two = asyncore.dispatcher(), asyncore.dispatcher()
        one._fileno = two._fileno = 7
        two.add_channel()
        self.assertIsNone(one.del_channel())
        self.assertEqual(asyncore.socket_map, {})
        self.assertIsNone(one._fileno)
        self.assertEqual(two._fileno, 7)
        one.del_channel()
        other = {7: 1, 8: 2}
        two.del_channel(other)
        self.assertEqual(other, {8: 2})

    def test_set_socket_asks_nothing(self):
        """Not the kernel, nor the type: mocks register, too."""
        for key in (unittest.mock.Mock(), 0, -1, 10**6):
            sock = mock_socket()
            sock.fileno.return_value = key
            channel = asyncore.dispatcher()
            channel.set_socket(sock)
            self.assertIs(channel.socket, sock)
            self.assertIs(channel._fileno, key)
            self.assertIs(asyncore.socket_map[key], channel)

    def test_set_socket_in_another_map(self):
        other = {}
        sock = mock_socket()
        channel = asyncore.dispatcher()
        channel.set_socket(sock, other)
        self.assertEqual(list(other), [12345])
        self.assertEqual(asyncore.socket_map, {})
        self.assertIs(channel._map, asyncore.socket_map)

    def test_hooks(self):
        """Subclasses register elsewhere, and never call the base."""
        calls = []

        class Own(asyncore.dispatcher):
            def add_channel(self, map=None, events=None):
                calls.append(("add", map))

            def del_channel(self, map=None):
                calls.append(("del", map))

        near, _ = self.pair()
        channel = Own(near)
        self.assertEqual(asyncore.socket_map, {})
        fileno = channel._fileno
        self.assertEqual(fileno, near.fileno())
        channel.close()
        self.assertEqual(calls, [("add", None), ("del", None)])
        self.assertEqual(channel._fileno, fileno)


class SocketTest(kit.TestCase):
    def test_create(self):
        for family in (socket.AF_INET, socket.AF_UNIX):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                channel = asyncore.dispatcher()
                self.assertIsNone(channel.create_socket(family, kind))
                self.assertIs(type(channel.socket), socket.socket)
                self.assertEqual(channel.socket.family, family)
                self.assertEqual(channel.socket.type, kind)
                self.assertEqual(channel.socket.gettimeout(), 0)
                self.assertFalse(channel.socket.get_inheritable())
                self.assertEqual(channel.family_and_type, (family, kind))
                self.assertIn(channel.socket.fileno(), asyncore.socket_map)
                channel.close()

    def test_create_from_the_global(self):
        module = unittest.mock.Mock()
        module.socket.return_value.fileno.return_value = 5
        self.replace(asyncore, "socket", module)
        channel = asyncore.dispatcher()
        channel.create_socket(1, 2)
        module.socket.assert_called_once_with(1, 2)
        self.assertIs(channel.socket, module.socket.return_value)
        channel.socket.setblocking.assert_called_once_with(False)

    def test_create_from_the_genuine_module(self):
        """The class is replaced inside the socket module, as gevent does."""

        class Mine(socket.socket):
            pass

        self.replace(socket, "socket", Mine)
        channel = asyncore.dispatcher()
        channel.create_socket()
        self.assertIs(type(channel.socket), Mine)

    def test_reuse_addr(self):
        channel = asyncore.dispatcher()
        channel.create_socket()
        option = socket.SOL_SOCKET, socket.SO_REUSEADDR
        self.assertEqual(channel.socket.getsockopt(*option), 0)
        self.assertIsNone(channel.set_reuse_addr())
        self.assertNotEqual(channel.socket.getsockopt(*option), 0)
        channel.socket.close()
        channel.set_reuse_addr()
        channel.socket = None
        self.assertRaises(AttributeError, channel.set_reuse_addr)

    def test_bind_and_listen(self):
        one = asyncore.dispatcher()
        one.create_socket()
        self.assertIsNone(one.bind(("127.0.0.1", 0)))
        self.assertEqual(one.addr, ("127.0.0.1", 0))
        self.assertFalse(one.accepting)
        self.assertIsNone(one.listen(1))
        self.assertTrue(one.accepting)
        two = asyncore.dispatcher()
        two.create_socket()
        taken = one.socket.getsockname()
        with self.assertRaises(OSError) as caught:
            two.bind(taken)
        self.assertEqual(caught.exception.errno, errno.EADDRINUSE)
        self.assertEqual(two.addr, taken)

    def test_listen_fails(self):
        channel = asyncore.dispatcher()
        channel.set_socket(mock_socket(listen=error(errno.EADDRINUSE)))
        self.assertRaises(OSError, channel.listen, 7)
        self.assertTrue(channel.accepting)
        channel.socket.listen.assert_called_once_with(7)

    def test_returns_what_the_socket_does(self):
        channel = asyncore.dispatcher()
        channel.set_socket(mock_socket(bind="bound", listen="listening"))
        self.assertEqual(channel.bind("x"), "bound")
        self.assertEqual(channel.listen(1), "listening")


class ConnectTest(kit.TestCase):
    def connecting(self, code, **attributes):
        channel = kit.Channel()
        channel.set_socket(mock_socket(connect_ex=code, getsockopt=0))
        return channel

    def test_in_progress(self):
        for code in (errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK):
            channel = self.connecting(code)
            self.assertIsNone(channel.connect(("h", 1)))
            self.assertEqual(channel.addr, ("h", 1))
            self.assertTrue(channel.connecting)
            self.assertFalse(channel.connected)
            self.assertEqual(channel.taken(), [])

    def test_at_once(self):
        for code in (0, errno.EISCONN):
            channel = self.connecting(code)
            self.assertIsNone(channel.connect(("h", 1)))
            self.assertEqual(channel.taken(), ["connect"])
            self.assertTrue(channel.connected)
            self.assertFalse(channel.connecting)

    def test_fails(self):
        channel = self.connecting(errno.ENETUNREACH)
        with self.assertRaises(OSError) as caught:
            channel.connect(("h", 1))
        self.assertEqual(
            caught.exception.args, (errno.ENETUNREACH, "ENETUNREACH")
        )
        self.assertTrue(channel.connecting)
        self.assertIsNone(channel.addr)
        self.assertIn(12345, asyncore.socket_map)
        self.assertRaises(KeyError, self.connecting(99999).connect, "x")

    def test_connect_event(self):
        """handle_connect is called before the flags are set."""
        seen = []

        class Client(asyncore.dispatcher):
            def handle_connect(self):
                seen.append((self.connected, self.connecting))

        channel = Client()
        channel.set_socket(mock_socket(connect_ex=0, getsockopt=0))
        channel.connect("x")
        self.assertEqual(seen, [(False, True)])
        self.assertEqual(
            (channel.connected, channel.connecting), (True, False)
        )

    def test_connect_event_of_an_error(self):
        channel = self.connecting(0)
        channel.socket.getsockopt.return_value = errno.ECONNREFUSED
        with self.assertRaises(ConnectionRefusedError) as caught:
            channel.handle_connect_event()
        self.assertEqual(
            caught.exception.args,
            (errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)),
        )
        self.assertEqual(channel.taken(), [])

    def test_handler_raises(self):
        channel = self.connecting(0)
        channel.handle_connect = unittest.mock.Mock(side_effect=KeyError)
        self.assertRaises(KeyError, channel.connect, "x")
        self.assertFalse(channel.connected)

    def test_name_that_is_none(self):
        channel = asyncore.dispatcher()
        channel.create_socket()
        with self.assertRaises(socket.gaierror):
            channel.connect(("no such host.invalid", 1))

    @kit.each_poller
    def test_for_real(self):
        listener, address = self.listen()
        for data in (b"", b"at once"):
            channel = kit.Channel()
            channel.create_socket()
            channel.connect(address)
            conn, _ = listener.accept()
            conn.send(data)
            kit.settle(channel.socket, select.POLLOUT)
            if data:
                kit.settle(channel.socket)
            self.step()
            read = ["read"] if data else []
            self.assertEqual(channel.taken(), ["connect", *read, "write"])
            self.assertTrue(channel.connected)
            self.assertEqual(channel.addr, address)
            channel.close()
            conn.close()

    @kit.each_poller
    def test_refused(self):
        listener, address = self.listen()
        listener.close()
        channel = kit.Channel()
        channel.create_socket()
        channel.connect(address)
        kit.settle(channel.socket)
        self.step()
        self.assertEqual(
            channel.taken(), ["error ConnectionRefusedError", "close"]
        )
        self.assertEqual(asyncore.socket_map, {})

    def test_unix_connects_at_once(self):
        folder = self.enter(tempfile.TemporaryDirectory())
        path = os.path.join(folder, "s")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            channel = kit.Channel()
            channel.create_socket(socket.AF_UNIX)
            channel.connect(path)
            self.assertEqual(channel.taken(), ["connect"])
            self.assertTrue(channel.connected)


class AcceptTest(kit.TestCase):
    def accept(self, effect):
        channel = asyncore.dispatcher()
        channel.set_socket(mock_socket(accept=effect))
        return channel.accept()

    def test_pairs(self):
        self.assertEqual(self.accept(("conn", "addr")), ("conn", "addr"))
        self.assertEqual(self.accept(("conn", None)), ("conn", None))
        self.assertRaises(ValueError, self.accept, (1, 2, 3))

    def test_none(self):
        self.assertIsNone(self.accept(None))
        self.assertIsNone(self.accept(TypeError()))
        for code in (errno.EAGAIN, errno.ECONNABORTED):
            self.assertIsNone(self.accept(error(code)))
        for code in (errno.EMFILE, errno.EBADF):
            self.assertRaises(OSError, self.accept, error(code))

    def test_handle_accept(self):
        calls = []

        class Listener(asyncore.dispatcher):
            def accept(self):
                return self.answer

            def handle_accepted(self, sock, addr):
                calls.append((sock, addr))

        channel = Listener()
        for channel.answer in (None, (1, 2)):
            channel.handle_accept()
        self.assertEqual(calls, [(1, 2)])

    @kit.each_poller
    def test_for_real(self):
        """One a pass; what is accepted is the socket's own class."""
        taken = []

        class Listener(kit.Channel):
            def handle_accepted(self, sock, addr):
                taken.append((sock, addr))

        channel = Listener()
        channel.create_socket()
        channel.bind(("127.0.0.1", 0))
        channel.listen(5)
        address = channel.socket.getsockname()
        clients = [socket.create_connection(address) for _ in range(3)]
        for count in range(1, 4):
            self.step()
            self.assertEqual(len(taken), count)
        self.assertEqual(
            [addr for _, addr in taken], [c.getsockname() for c in clients]
        )
        for sock, _ in taken:
            self.assertIs(type(sock), socket.socket)
            self.assertFalse(sock.get_inheritable())
            sock.close()
        for client in clients:
            client.close()
        self.step()
        self.assertEqual(channel.taken(), [])

    @kit.each_poller
    def test_ignored(self):
        """A handler that does not accept is called again."""
        calls = []
        channel = asyncore.dispatcher()
        channel.create_socket()
        channel.bind(("127.0.0.1", 0))
        channel.listen(5)
        channel.handle_accept = lambda: calls.append("accept")
        with socket.create_connection(channel.socket.getsockname()):
            self.step(3)
        self.assertEqual(calls, ["accept"] * 3)


class SendRecvTest(kit.TestCase):
    def test_send(self):
        near, far = self.pair()
        channel = kit.Channel(near)
        for data in (b"bytes", bytearray(b"array"), memoryview(b"view")):
            self.assertEqual(channel.send(data), len(data))
            self.assertEqual(far.recv(9), bytes(data))
        self.assertEqual(channel.send(b""), 0)
        self.assertRaises(TypeError, channel.send, "text")
        self.assertRaises(TypeError, channel.send, None)
        kit.fill(near)
        self.assertEqual(channel.send(b"x"), 0)
        self.assertEqual(channel.taken(), [])

    def test_send_to_nobody(self):
        near, far = self.pair()
        channel = kit.Channel(near)
        far.close()
        self.assertEqual(channel.send(b"x"), 0)
        self.assertEqual(channel.taken(), ["close"])
        self.assertEqual(channel.send(b"x"), 0)
        self.assertEqual(channel.taken(), ["close"])
        self.assertEqual(channel.recv(1), b"")
        self.assertEqual(channel.taken(), ["close"])

    def test_recv(self):
        near, far = self.pair()
        channel = kit.Channel(near)
        far.send(b"0123456789")
        self.assertEqual(channel.recv(4), b"0123")
        self.assertIs(type(channel.recv(2)), bytes)
        self.assertEqual(channel.recv(65536), b"6789")
        with self.assertRaises(BlockingIOError) as caught:
            channel.recv(1)
        self.assertEqual(caught.exception.errno, errno.EAGAIN)
        self.assertEqual(channel.taken(), [])
        far.close()
        self.assertEqual(channel.recv(1), b"")
        self.assertEqual(channel.taken(), ["close"])

    def test_wrong_sizes(self):
        near, _ = self.pair()
        channel = kit.Channel(near)
        self.assertRaises(ValueError, channel.recv, -1)
        self.assertRaises(TypeError, channel.recv, "1")
        self.assertRaises(TypeError, channel.recv, 1.0)
        self.assertRaises(OverflowError, channel.recv, 2**80)
        self.assertEqual(channel.taken(), [])

    def test_recv_of_nothing(self):
        """recv(0) reads as the end does."""
        near, far = self.pair()
        far.send(b"x")
        channel = kit.Channel(near)
        self.assertEqual(channel.recv(0), b"")
        self.assertEqual(channel.taken(), ["close"])

    def test_reset(self):
        near, far = self.pair("tcp")
        channel = kit.Channel(near)
        kit.reset(far)
        kit.settle(near)
        self.assertEqual(channel.recv(1), b"")
        self.assertEqual(channel.taken(), ["close"])

    def test_disconnected(self):
        """The errors that mean the end, of any socket, one by one."""
        for code in asyncore._DISCONNECTED:
            current = []
            channel = asyncore.dispatcher()
            channel.handle_close = lambda: current.append(sys.exc_info()[1])
            thrown = error(code)
            channel.set_socket(mock_socket(recv=thrown, send=thrown))
            self.assertEqual(channel.recv(1), b"")
            self.assertEqual(channel.send(b"x"), 0)
            self.assertEqual(current, [thrown, thrown])
        for code in (errno.ENOBUFS, errno.ETIMEDOUT, errno.EIO):
            channel.set_socket(mock_socket(recv=error(code), send=error(code)))
            self.assertRaises(OSError, channel.recv, 1)
            self.assertRaises(OSError, channel.send, b"x")

    def test_mocks_get_the_arguments(self):
        channel = asyncore.dispatcher()
        channel.set_socket(mock_socket(recv=b"data", send=77))
        size, data = object(), object()
        self.assertEqual(channel.recv(size), b"data")
        channel.socket.recv.assert_called_once_with(size)
        self.assertEqual(channel.send(data), 77)
        channel.socket.send.assert_called_once_with(data)

    def test_empty_of_any_kind(self):
        channel = kit.Channel()
        for nothing in (b"", "", None, 0):
            channel.set_socket(mock_socket(recv=nothing))
            self.assertEqual(channel.recv(1), b"")
        self.assertEqual(channel.taken(), ["close"] * 4)

    def test_bytes_are_independent(self):
        """What was received stays as it is."""
        near, far = self.pair()
        channel = kit.Channel(near)
        taken = []
        for number in range(50):
            far.send(b"%d" % number * 10)
            taken.append(channel.recv(1000))
        self.assertEqual(taken, [b"%d" % n * 10 for n in range(50)])

    def test_subclass_of_socket(self):
        """Its methods are used, not the bare descriptor."""

        class Rot(socket.socket):
            def recv(self, size):
                return super().recv(size).swapcase()

            def send(self, data):
                return super().send(data.swapcase())

        near, far = self.pair()
        channel = kit.Channel(Rot(fileno=near.detach()))
        far.send(b"abc")
        self.assertEqual(channel.recv(9), b"ABC")
        channel.send(b"DEF")
        self.assertEqual(far.recv(9), b"def")

    def test_patched_socket(self):
        """So is what somebody has put into the class."""
        near, far = self.pair()
        channel = kit.Channel(near)
        far.send(b"abc")
        with unittest.mock.patch.object(
            socket.socket, "recv", lambda self, size: b"patched", create=True
        ):
            self.assertEqual(channel.recv(9), b"patched")
        self.assertEqual(channel.recv(9), b"abc")

    def test_blocking_again(self):
        """Somebody made the socket blocking: it has a timeout now."""
        near, _ = self.pair()
        channel = kit.Channel(near)
        near.settimeout(0.01)
        self.assertRaises(socket.timeout, channel.recv, 1)


class CloseTest(kit.TestCase):
    def test_close(self):
        near, _ = self.pair("tcp")
        channel = asyncore.dispatcher(near)
        channel.accepting = channel.connecting = True
        addr = channel.addr
        self.assertIsNone(channel.close())
        self.assertEqual(
            (channel.connected, channel.accepting, channel.connecting),
            (False,) * 3,
        )
        self.assertIs(channel.socket, near)
        self.assertEqual(channel.addr, addr)
        self.assertEqual(near.fileno(), -1)
        self.assertIsNone(channel._fileno)
        self.assertEqual(asyncore.socket_map, {})
        channel.close()
        self.assertFalse(channel.closing)

    def test_without_a_socket(self):
        asyncore.dispatcher().close()

    def test_errors(self):
        for code in (errno.ENOTCONN, errno.EBADF):
            channel = asyncore.dispatcher(mock_socket(close=error(code)))
            channel.close()
            self.assertEqual(asyncore.socket_map, {})
        channel = asyncore.dispatcher(mock_socket(close=error(errno.EIO)))
        self.assertRaises(OSError, channel.close)
        self.assertEqual(asyncore.socket_map, {})

    def test_del_channel_is_virtual(self):
        calls = []

        class Own(asyncore.dispatcher):
            def del_channel(self, map=None):
                calls.append(map)
                super().del_channel(map)

        Own(mock_socket()).close()
        self.assertEqual(calls, [None])


class EventTest(kit.TestCase):
    def test_read_event(self):
        for accepting, connected, connecting, want in (
            (0, 0, 0, ["read"]),
            (0, 0, 1, ["connect", "read"]),
            (0, 1, 0, ["read"]),
            (0, 1, 1, ["read"]),
        ):
            channel = kit.Channel(mock_socket(getsockopt=0))
            channel.accepting = accepting
            channel.connected = connected
            channel.connecting = connecting
            channel.handle_read_event()
            self.assertEqual(channel.taken(), want)
            channel.connected = connected
            channel.connecting = connecting
            channel.handle_write_event()
            want = [w.replace("read", "write") for w in want]
            self.assertEqual(channel.taken(), want)

    def test_accepting(self):
        channel = kit.Channel(mock_socket(accept=("sock", "addr")))
        channel.accepting = True
        channel.handle_accept = lambda: channel.calls.append("accept")
        channel.connected, channel.connecting = False, True
        channel.handle_read_event()
        channel.handle_write_event()
        self.assertEqual(channel.taken(), ["accept"])

    def test_expt_event(self):
        for code, want in ((0, ["expt"]), (errno.ECONNREFUSED, ["close"])):
            channel = kit.Channel(mock_socket(getsockopt=code))
            channel.handle_expt_event()
            channel.socket.getsockopt.assert_called_once_with(
                socket.SOL_SOCKET, socket.SO_ERROR
            )
            self.assertEqual(channel.taken(), want)

    def test_datagrams(self):
        """Never connected, no address: readable all the same."""
        for poller in (False, True):
            self.use_poll = poller
            channel = kit.Reader()
            channel.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
            channel.bind(("127.0.0.1", 0))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"one", channel.socket.getsockname())
                sender.sendto(b"two", channel.socket.getsockname())
            kit.settle(channel.socket)
            self.step()
            self.step()
            self.assertEqual(channel.data, b"onetwo")
            self.assertEqual(channel.taken(), ["read", "read"])
            channel.close()


if __name__ == "__main__":
    kit.main()
