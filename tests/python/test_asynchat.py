# SPDX-License-Identifier: MIT
"""async_chat: input by terminators, output by the queue; the helpers."""

import collections
import errno
import random
import socket
import sys
import unittest
import unittest.mock

import kit
from kit import asynchat, asyncore


class Chat(asynchat.async_chat):
    """It records what it collects and finds; None stands for found."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []
        self.script = []

    def collect_incoming_data(self, data):
        self.seen.append(data)

    def found_terminator(self):
        self.seen.append(None)
        if self.script:
            self.set_terminator(self.script.pop(0))

    def handle_error(self):
        self.seen.append(sys.exc_info()[0])
        self.close()

    def handle_close(self):
        self.seen.append("close")
        super().handle_close()

    def taken(self):
        seen, self.seen = self.seen, []
        return seen


class ChatTestCase(kit.TestCase):
    def chat(self, terminator=b"\r\n", kind=Chat):
        near, self.far = self.pair()
        chat = kind(near)
        if terminator != ():
            chat.set_terminator(terminator)
        return chat

    def feed(self, chat, *pieces):
        """Each of them is a read of its own."""
        for piece in pieces:
            self.far.send(piece)
            chat.handle_read()
        return chat.taken()


class AttributeTest(ChatTestCase):
    def test_instance(self):
        chat = asynchat.async_chat()
        self.assertEqual(chat.ac_in_buffer, b"")
        self.assertEqual(chat.incoming, [])
        self.assertIs(type(chat.producer_fifo), collections.deque)
        self.assertRaises(AttributeError, getattr, chat, "terminator")
        self.assertRaises(AttributeError, chat.get_terminator)

    def test_set_before_the_base(self):
        """They are there when dispatcher.__init__ registers."""
        seen = []

        class Own(asynchat.async_chat):
            def add_channel(self, map=None):
                seen.append(self.ac_in_buffer)
                seen.append(self.incoming)
                seen.append(list(self.producer_fifo))

        near, _ = self.pair()
        Own(near)
        self.assertEqual(seen, [b"", [], []])

    def test_predicates(self):
        chat = asynchat.async_chat()
        self.assertEqual(chat.readable(), 1)
        self.assertIs(type(chat.readable()), int)
        self.assertIs(chat.writable(), True)
        chat.connected = True
        self.assertIs(chat.writable(), False)
        chat.producer_fifo.append(b"x")
        self.assertIs(chat.writable(), chat.producer_fifo)

    def test_abstract(self):
        chat = asynchat.async_chat()
        for call in (
            lambda: chat.collect_incoming_data(b""),
            lambda: chat.found_terminator(),
        ):
            with self.assertRaisesRegex(
                NotImplementedError, "^must be implemented in subclass$"
            ):
                call()

    def test_collecting(self):
        """The list stays the same one."""
        chat = asynchat.async_chat()
        incoming = chat.incoming
        chat._collect_incoming_data(b"a")
        chat._collect_incoming_data(b"b")
        self.assertEqual(incoming, [b"a", b"b"])
        self.assertEqual(chat._get_data(), b"ab")
        self.assertIs(chat.incoming, incoming)
        self.assertEqual(incoming, [])

    def test_discard(self):
        chat = asynchat.async_chat()
        chat.ac_in_buffer = b"x"
        incoming, fifo = chat.incoming, chat.producer_fifo
        incoming.append(b"y")
        fifo.append(b"z")
        chat.discard_buffers()
        self.assertEqual(chat.ac_in_buffer, b"")
        self.assertIs(chat.incoming, incoming)
        self.assertIs(chat.producer_fifo, fifo)
        self.assertFalse(incoming or fifo)

    def test_handle_close(self):
        chat = asynchat.async_chat()
        chat.close = unittest.mock.Mock()
        chat.handle_close()
        chat.close.assert_called_once_with()


class TerminatorTest(ChatTestCase):
    def test_set(self):
        chat = asynchat.async_chat()
        view = memoryview(b"x")
        for term in (b"x", bytearray(b"x"), view, "x", 7, 0, True, None, 1.5):
            chat.set_terminator(term)
            self.assertIs(chat.terminator, term)
            self.assertIs(chat.get_terminator(), term)
        with self.assertRaisesRegex(
            ValueError, "^the number of received bytes must be positive$"
        ):
            chat.set_terminator(-1)
        chat.use_encoding = 1
        chat.set_terminator("ü")
        self.assertEqual(chat.terminator, b"\xfc")

    def test_delimiters(self):
        for term in (b"\n", b"\r\n", b"END", bytearray(b"\r\n")):
            chat = self.chat(term)
            data = b"one" + term + term + b"two" + term + b"rest"
            self.assertEqual(
                self.feed(chat, data),
                [b"one", None, None, b"two", None, b"rest"],
            )

    def test_split(self):
        chat = self.chat(b"\r\n")
        self.assertEqual(self.feed(chat, b"x", b"\r", b"\n"), [b"x", None])
        self.assertEqual(self.feed(chat, b"\r", b"\r\n"), [b"\r", None])
        self.assertEqual(self.feed(chat, b"\r"), [])
        self.assertEqual(chat.ac_in_buffer, b"\r")
        self.assertEqual(self.feed(chat, b"x"), [b"\rx"])
        self.assertEqual(chat.ac_in_buffer, b"")

    def test_count(self):
        chat = self.chat(5)
        self.assertEqual(self.feed(chat, b"123"), [b"123"])
        self.assertEqual(chat.terminator, 2)
        self.assertEqual(
            self.feed(chat, b"456"), [b"45", None, b"6"]
        )
        self.assertEqual(chat.terminator, 0)

    def test_nothing(self):
        for term in (None, b"", "", 0):
            chat = self.chat(term)
            self.assertEqual(self.feed(chat, b"a\r\n", b"b"), [b"a\r\n", b"b"])

    def test_switched_while_parsing(self):
        chat = self.chat(b"\n")
        chat.script = [3, b";", None]
        self.assertEqual(
            self.feed(chat, b"head\nabcx;rest\n;"),
            [b"head", None, b"abc", None, b"x", None, b"rest\n;"],
        )

    def test_get_terminator_is_virtual(self):
        """It is asked at each turn."""
        asked = []

        class Own(Chat):
            def get_terminator(self):
                asked.append(len(self.ac_in_buffer))
                return b"\n"

        chat = self.chat((), Own)
        self.feed(chat, b"a\nb\n")
        self.assertEqual(asked, [4, 2])

    def test_none_set(self):
        """Data comes, and there is no terminator: an error, no loss."""
        chat = self.chat(())
        chat.handle_error = unittest.mock.Mock()
        self.far.send(b"data")
        self.assertRaises(AttributeError, chat.handle_read)
        self.assertEqual(chat.ac_in_buffer, b"data")
        self.step()
        self.assertEqual(chat.handle_error.call_count, 0)
        self.far.send(b"!")
        self.step()
        self.assertEqual(chat.handle_error.call_count, 1)

    def test_of_a_wrong_type(self):
        for term in ("\r\n", 1.5, object()):
            chat = self.chat(term)
            self.far.send(b"data")
            self.step()
            self.assertEqual(chat.taken()[0], TypeError)
            self.assertEqual(chat.ac_in_buffer, b"data")

    def test_in_the_class_and_by_property(self):
        class Fixed(Chat):
            terminator = b"\n"

        self.assertEqual(
            self.feed(self.chat((), Fixed), b"a\nb"), [b"a", None, b"b"]
        )

        class Computed(Chat):
            @property
            def terminator(self):
                return b";"

        self.assertEqual(
            self.feed(self.chat((), Computed), b"a;b"), [b"a", None, b"b"]
        )

    def test_random(self):
        """Cut anywhere, the lines are the same."""
        dice = random.Random(7)
        for _ in range(50):
            term = bytes(dice.choices(b"ab", k=dice.randint(1, 5)))
            data = bytes(dice.choices(b"ab", k=200))
            chat = self.chat(term)
            rest = data
            while rest:
                cut = dice.randint(1, 20)
                self.far.send(rest[:cut])
                chat.handle_read()
                rest = rest[cut:]
            lines, line = [], b""
            for part in chat.taken():
                if part is None:
                    lines.append(line)
                    line = b""
                else:
                    line += part
            self.assertEqual(
                lines + [line + chat.ac_in_buffer], data.split(term)
            )

    def test_discarded_by_a_setter(self):
        """What is counted is gone when it is to be handed on."""

        class Discarding(Chat):
            def __setattr__(self, name, value):
                if name == "terminator" and value == 0:
                    self.discard_buffers()
                super().__setattr__(name, value)

        chat = self.chat(3, Discarding)
        self.feed(chat, b"abcdef")
        self.assertEqual(chat.ac_in_buffer, b"")
        self.assertEqual(self.feed(chat, b"gh"), [b"gh"])


class InputTest(ChatTestCase):
    def test_buffer_in_found(self):
        """It is trimmed before found_terminator, and may be replaced."""
        seen = []

        class Own(Chat):
            def found_terminator(self):
                super().found_terminator()
                seen.append(self.ac_in_buffer)
                if self.ac_in_buffer == b"c\nd\n":
                    self.ac_in_buffer = b"X\n"

        chat = self.chat(b"\n", Own)
        self.assertEqual(
            self.feed(chat, b"a\nb\nc\nd\n"),
            [b"a", None, b"b", None, b"X", None],
        )
        self.assertEqual(seen, [b"b\nc\nd\n", b"c\nd\n", b""])

    def test_buffer_in_the_collector(self):
        """There it is not trimmed yet; with ours it may be, so that no
        byte comes twice when the collector raises."""
        seen = []

        class Own(Chat):
            def collect_incoming_data(self, data):
                seen.append((data, self.ac_in_buffer))

        self.feed(self.chat(b"\n", Own), b"a\nbc")
        parts = [part for part, _ in seen]
        self.assertEqual(parts, [b"a", b"bc"])
        if not kit.OURS:
            self.assertEqual([rest for _, rest in seen], [b"a\nbc", b"bc"])

    def test_discard_in_found(self):
        class Own(Chat):
            def found_terminator(self):
                super().found_terminator()
                self.discard_buffers()

        chat = self.chat(b"\n", Own)
        self.assertEqual(self.feed(chat, b"a\nb\nc"), [b"a", None])
        self.assertEqual(self.feed(chat, b"d\n"), [b"d", None])

    def test_close_in_found(self):
        """The original goes on with what it has."""

        class Own(Chat):
            def found_terminator(self):
                super().found_terminator()
                self.close()

        chat = self.chat(b"\n", Own)
        got = self.feed(chat, b"a\nb\nc")
        whole = [b"a", None, b"b", None, b"c"]
        self.assertIn(got, ([b"a", None], whole) if kit.OURS else (whole,))

    def test_found_raises(self):
        """The rest is dealt with at the next read."""

        class Own(Chat):
            def found_terminator(self):
                super().found_terminator()
                if self.ac_in_buffer == b"b\n":
                    raise KeyError

        chat = self.chat(b"\n", Own)
        self.far.send(b"a\nb\n")
        self.assertRaises(KeyError, chat.handle_read)
        self.assertEqual(chat.ac_in_buffer, b"b\n")
        self.assertEqual(
            self.feed(chat, b"c\n"),
            [b"a", None, b"b", None, b"c", None],
        )

    def test_bytes_are_real(self):
        """Collectors keep what they get."""
        chat = self.chat(b"\n")
        got = self.feed(chat, *(b"%d\n" % number for number in range(100)))
        lines = [part for part in got if part is not None]
        self.assertEqual(lines, [b"%d" % number for number in range(100)])
        for line in lines:
            self.assertIs(type(line), bytes)

    def test_would_block(self):
        chat = self.chat()
        chat.handle_read()
        self.assertEqual(chat.taken(), [])

    def test_errors(self):
        """They go to handle_error at once, and it is current there."""
        for error in (OSError(errno.EIO, ""), socket.timeout("slow")):
            chat = self.chat()
            chat.recv = unittest.mock.Mock(side_effect=error)
            chat.handle_read()
            self.assertEqual(chat.taken()[0], type(error))
        chat.recv = unittest.mock.Mock(side_effect=KeyError)
        self.assertRaises(KeyError, chat.handle_read)

    def test_error_that_is_raised_again(self):
        chat = self.chat()

        def again():
            raise

        chat.handle_error = again
        error = OSError(errno.EIO, "")
        chat.recv = unittest.mock.Mock(side_effect=error)
        with self.assertRaises(OSError) as caught:
            chat.handle_read()
        self.assertIs(caught.exception, error)

    def test_end(self):
        """A delimiter that was begun is not delivered."""
        chat = self.chat(b"\r\n")
        self.feed(chat, b"x\r")
        self.far.close()
        chat.handle_read()
        self.assertEqual(chat.taken(), ["close"])

    def test_size_of_a_read(self):
        chat = self.chat(None)
        chat.recv = unittest.mock.Mock(return_value=b"")
        chat.handle_read()
        chat.recv.assert_called_with(65536)
        chat.ac_in_buffer_size = 10
        chat.handle_read()
        chat.recv.assert_called_with(10)

    def test_small_reads(self):
        """The size is the class's or the instance's, and can change."""
        chat = self.chat(None)
        chat.ac_in_buffer_size = 3
        self.far.send(b"abcdefgh")
        self.step()
        self.assertEqual(chat.taken(), [b"abc"])
        with unittest.mock.patch.object(Chat, "ac_in_buffer_size", 4):
            del chat.ac_in_buffer_size
            self.step()
        self.assertEqual(chat.taken(), [b"defg"])
        self.step()
        self.assertEqual(chat.taken(), [b"h"])

    def test_other_bytes_like(self):
        """recv may be overridden to give other kinds of bytes."""
        chat = self.chat(b"\n")
        for data in (bytearray(b"a\n"), memoryview(b"a\n")):
            chat.recv = lambda size: data
            chat.handle_read()
            self.assertEqual(chat.taken(), [b"a", None])

    def test_handle_read_again(self):
        """Reading on inside found_terminator loses nothing."""

        class Own(Chat):
            def found_terminator(self):
                super().found_terminator()
                if len(self.seen) == 2:
                    self.handle_read()

        chat = self.chat(b"\n", Own)
        chat.ac_in_buffer_size = 2
        self.assertEqual(self.feed(chat, b"a\nb\n"), [b"a", None, b"b", None])

    def test_given_to_another(self):
        """A handler passes the socket and the rest on, as with STARTTLS
        or an upgrade."""
        chat = self.chat(b"\n")
        other = []

        def found():
            chat.del_channel()
            heir = Chat(chat.socket)
            heir.set_terminator(b";")
            heir.ac_in_buffer = chat.ac_in_buffer
            chat.ac_in_buffer = b""
            other.append(heir)

        chat.found_terminator = found
        self.assertEqual(self.feed(chat, b"go\nx;y"), [b"go"])
        (heir,) = other
        self.far.send(b";")
        self.step()
        self.assertEqual(heir.taken(), [b"x", None, b"y", None])


class OutputTest(ChatTestCase):
    def test_push(self):
        chat = self.chat()
        for data in (b"bytes", bytearray(b"array"), memoryview(b"view")):
            self.assertIsNone(chat.push(data))
            self.assertEqual(self.far.recv(9), bytes(data))
            self.assertFalse(chat.producer_fifo)

    def test_push_of_a_wrong_type(self):
        chat = self.chat()
        for data in ("text", 7, None, [b"x"]):
            with self.assertRaises(TypeError) as caught:
                chat.push(data)
            text = str(caught.exception)
            self.assertIn("data argument must be byte-ish", text)
        self.assertFalse(chat.producer_fifo)

    def test_queue_when_not_connected(self):
        chat = asynchat.async_chat()
        chat.push(b"one")
        chat.push(b"two")
        self.assertEqual(list(chat.producer_fifo), [b"one", b"two"])
        chat.close_when_done()
        self.assertEqual(list(chat.producer_fifo), [b"one", b"two", None])

    def test_slices(self):
        chat = asynchat.async_chat()
        chat.ac_out_buffer_size = 4
        chat.push(b"0123456789")
        chat.push(b"abcd")
        self.assertEqual(
            list(chat.producer_fifo), [b"0123", b"4567", b"89", b"abcd"]
        )
        chat.push_with_producer(b"0123456789")
        self.assertEqual(chat.producer_fifo[-1], b"0123456789")

    def sends(self, chat, limit=None):
        """Let it send to a list, at most so many bytes each time."""
        sent = []

        def send(data):
            sent.append(bytes(data[:limit]))
            return len(sent[-1])

        chat.send = send
        chat.connected = True
        return sent

    def test_one_send_a_call(self):
        chat = asynchat.async_chat()
        sent = self.sends(chat)
        chat.connected = False
        for data in (b"a", b"b", b"c"):
            chat.push(data)
        chat.connected = True
        self.assertIsNone(chat.initiate_send())
        self.assertEqual(sent, [b"a"])
        chat.handle_write()
        self.assertEqual(sent, [b"a", b"b"])
        chat.push(b"d")
        self.assertEqual(sent, [b"a", b"b", b"c"])
        self.assertEqual(list(chat.producer_fifo), [b"d"])

    def test_partial(self):
        chat = asynchat.async_chat()
        sent = self.sends(chat, 2)
        chat.push(b"abcde")
        self.assertEqual(chat.producer_fifo[0], b"cde")
        chat.initiate_send()
        self.assertEqual(chat.producer_fifo[0], b"e")
        chat.initiate_send()
        self.assertFalse(chat.producer_fifo)
        self.assertEqual(sent, [b"ab", b"cd", b"e"])

    def test_nothing_sent(self):
        chat = asynchat.async_chat()
        chat.connected = True
        chat.send = lambda data: 0
        chat.push(b"kept")
        self.assertEqual(list(chat.producer_fifo), [b"kept"])

    def test_fifo_is_public(self):
        """It is appended to, replaced, inserted into, cleared."""
        chat = self.chat()
        chat.producer_fifo.append(b"one")
        chat.producer_fifo.appendleft(b"zero")
        self.step(2)
        self.assertEqual(self.far.recv(99), b"zeroone")
        chat.producer_fifo = collections.deque([b"new"])
        self.step()
        self.assertEqual(self.far.recv(99), b"new")
        chat.producer_fifo.append(b"x")
        chat.producer_fifo.clear()
        self.step()
        self.assertFalse(chat.producer_fifo)
        chat.producer_fifo = [b"a", b"b"]
        chat.initiate_send()
        self.assertEqual(chat.producer_fifo, [b"b"])

    def test_producers(self):
        chat = self.chat()
        chat.push_with_producer(asynchat.simple_producer(b"abcdef", 2))
        chat.push(b"!")
        self.until(lambda: not chat.producer_fifo)
        self.assertEqual(self.far.recv(99), b"abcdef!")

    @kit.each_poller
    def test_large_pieces_of_producers(self):
        """Of every kind of bytes, larger than what is sent at a time, and
        whether somebody looks at the queue meanwhile or not."""
        for number in range(6):
            kind = (bytes, bytearray, memoryview)[number % 3]
            pieces = [kind(b"%d" % n * 80000) for n in range(5)]
            chat = self.chat()
            chat.push_with_producer(
                unittest.mock.Mock(spec=["more"], more=pieces.pop)
            )
            chat.push_with_producer(b"-" * 100000)
            chat.handle_error = lambda: None
            want = b"".join(b"%d" % n * 80000 for n in (4, 3, 2, 1, 0))
            got = b""
            self.far.setblocking(False)
            for _ in range(3000):
                self.step()
                self.assertTrue(number < 3 or chat.producer_fifo)
                try:
                    got += self.far.recv(8192)
                except BlockingIOError:
                    break
            self.assertEqual(got, want)
            chat.close()

    def test_producer_order(self):
        """One is asked only when it is its turn; what it gives goes
        before it."""
        asked = []

        class Producer:
            def __init__(self, *parts):
                self.parts = list(parts)

            def more(self):
                asked.append(len(self.parts))
                return self.parts.pop(0) if self.parts else b""

        chat = asynchat.async_chat()
        sent = self.sends(chat)
        first, second = Producer(b"a", b"b"), Producer(b"c")
        chat.push_with_producer(first)
        self.assertEqual((asked, sent), ([2], [b"a"]))
        chat.push_with_producer(second)
        self.assertEqual((asked, sent), ([2, 1], [b"a", b"b"]))
        chat.initiate_send()
        self.assertEqual((asked, sent[2:]), ([2, 1, 0, 1], [b"c"]))
        self.assertEqual(list(chat.producer_fifo), [second])
        chat.initiate_send()
        self.assertEqual(list(chat.producer_fifo), [])

    def test_producer_that_raises(self):
        class Producer:
            def more(self):
                raise KeyError

        chat = asynchat.async_chat()
        self.sends(chat)
        producer = Producer()
        self.assertRaises(KeyError, chat.push_with_producer, producer)
        self.assertEqual(list(chat.producer_fifo), [producer])

    def test_not_a_producer(self):
        chat = asynchat.async_chat()
        self.sends(chat)
        self.assertRaises(AttributeError, chat.push_with_producer, object())

    def test_close_when_done(self):
        chat = self.chat()
        chat.push(b"last")
        self.assertIsNone(chat.close_when_done())
        self.assertTrue(chat.connected)
        self.assertEqual(list(chat.producer_fifo), [None])
        self.step()
        self.assertEqual(chat.taken(), ["close"])
        self.assertEqual(self.far.recv(99), b"last")
        self.assertEqual(self.far.recv(99), b"")

    def test_after_the_end(self):
        """What is queued behind the end mark stays there."""
        chat = self.chat()
        chat.close_when_done()
        chat.producer_fifo.append(b"never")
        self.step()
        self.assertEqual(list(chat.producer_fifo), [b"never"])
        self.assertEqual(self.far.recv(9), b"")

    def test_push_behind_the_end(self):
        """It closes at once, also while there is more to handle: a push does
        not wait where it would be noticed."""

        class Ending(asynchat.async_chat):
            def __init__(self, *arguments):
                asynchat.async_chat.__init__(self, *arguments)
                self.set_terminator(b"\n")
                self.seen = []

            def collect_incoming_data(self, data):
                pass

            def found_terminator(self):
                if not self.seen:
                    self.push(b"last")
                    self.close_when_done()
                    self.push(b"never")
                    self.seen.append(self.connected)

        near, far = self.pair()
        chat = Ending(near)
        far.send(b"1\n2\n")
        self.step()
        self.assertEqual(chat.seen, [False])
        self.assertEqual(far.recv(9), b"last")
        self.assertEqual(far.recv(9), b"")

    def test_end_comes_before_the_rest(self):
        """The same, seen by who does not look at the channel: to look sends
        what waits."""
        calls = []

        class Ending(asynchat.async_chat):
            def collect_incoming_data(self, data):
                calls.append(data)

            def found_terminator(self):
                if len(calls) == 1:
                    self.close_when_done()
                    self.push(b"never")

            def handle_close(self):
                calls.append("close")
                self.close()

        near, far = self.pair()
        chat = Ending(near)
        chat.set_terminator(b"\n")
        far.send(b"1\n2\n")
        self.step()
        self.assertEqual(calls[:2], [b"1", "close"])
        self.assertEqual(far.recv(9), b"")

    def test_empty_item(self):
        """It is taken out; the next waits for the next event, or, with
        ours, may go at once."""
        chat = self.chat()
        chat.producer_fifo.extend([b"", b"x"])
        chat.initiate_send()
        chat.initiate_send()
        self.assertFalse(chat.producer_fifo)
        self.assertEqual(self.far.recv(9), b"x")

    def test_text(self):
        chat = self.chat()
        chat.use_encoding = 1
        chat.producer_fifo.append("für")
        chat.initiate_send()
        self.assertEqual(self.far.recv(9), b"f\xfcr")
        chat.encoding = "utf-8"
        chat.producer_fifo.append("für")
        chat.initiate_send()
        self.assertEqual(self.far.recv(9), "für".encode())

    def test_text_without_encoding(self):
        """The socket refuses text, and it stays."""
        chat = self.chat()
        self.assertRaises(TypeError, chat.push_with_producer, "text")
        self.assertEqual(list(chat.producer_fifo), ["text"])

    def test_errors(self):
        """handle_error runs inside push, and the data is kept."""
        chat = asynchat.async_chat()
        chat.connected = True
        chat.handle_error = unittest.mock.Mock()
        chat.send = unittest.mock.Mock(side_effect=OSError(errno.ENOBUFS, ""))
        chat.push(b"kept")
        chat.handle_error.assert_called_once_with()
        self.assertEqual(list(chat.producer_fifo), [b"kept"])
        chat.send.side_effect = KeyError
        self.assertRaises(KeyError, chat.push, b"more")

    def test_peer_is_gone(self):
        chat = self.chat()
        self.far.close()
        chat.push(b"kept")
        self.assertEqual(chat.taken(), ["close"])
        self.assertEqual(list(chat.producer_fifo), [b"kept"])
        self.assertEqual(asyncore.socket_map, {})

    def test_would_block(self):
        chat = self.chat()
        kit.fill(chat.socket)
        chat.push(b"one")
        chat.push(b"two")
        self.assertEqual(list(chat.producer_fifo), [b"one", b"two"])
        self.assertEqual(chat.taken(), [])

    def test_send_and_initiate_send_are_virtual(self):
        calls = []

        class Own(Chat):
            def initiate_send(self):
                calls.append("initiate_send")
                super().initiate_send()

            def send(self, data):
                calls.append(bytes(data))
                return super().send(data)

        chat = self.chat(b"\n", Own)
        chat.push(b"x")
        chat.handle_write()
        chat.push_with_producer(b"y")
        self.assertEqual(
            calls,
            ["initiate_send", b"x", "initiate_send", "initiate_send", b"y"],
        )

    def test_instance_initiate_send(self):
        """pyftpdlib puts one into the instance, for sendfile."""
        chat = self.chat()
        chat.initiate_send = unittest.mock.Mock()
        chat.push(b"x")
        chat.handle_write()
        self.assertEqual(chat.initiate_send.call_count, 2)
        self.assertEqual(list(chat.producer_fifo), [b"x"])

    @kit.each_poller
    def test_much(self):
        """In order, to a slow reader, from every source."""
        chat = self.chat()
        data = bytes(range(256)) * 1000
        chat.push(data)
        chat.push_with_producer(asynchat.simple_producer(data, 1000))
        chat.push_with_producer(data)
        chat.close_when_done()
        got = bytearray()
        self.far.setblocking(False)
        while True:
            self.step()
            try:
                part = self.far.recv(5000)
            except BlockingIOError:
                continue
            if not part:
                break
            got += part
        self.assertEqual(got, data * 3)

    def test_send_looks_at_the_queue(self):
        """A subclass's: what it has sent is not sent again."""

        class Looking(Chat):
            def send(self, data):
                self.seen.append(len(self.producer_fifo))
                return super().send(data)

        chat = self.chat(kind=Looking)
        much = bytes(chat.ac_out_buffer_size + 10)
        chat.push(b"one")
        chat.push(much)
        chat.push(b"two")
        for _ in range(4):
            chat.handle_write()
        self.assertEqual(chat.taken(), [1, 2, 2, 1])
        self.assertEqual(len(chat.producer_fifo), 0)
        self.far.setblocking(False)
        self.assertEqual(self.far.recv(10**6), b"one" + much + b"two")

    def test_producer_looks_at_the_queue(self):
        """When it is asked for more than is sent at a time, or whether it is
        true."""

        class Looking:
            def __init__(self, chat, pieces):
                self.chat, self.pieces = chat, pieces

            def __bool__(self):
                return len(self.chat.producer_fifo) > 0

            def more(self):
                self.chat.seen.append(len(self.chat.producer_fifo))
                return self.pieces.pop(0)

        for keep in (False, True):
            chat = self.chat()
            kept = chat.producer_fifo if keep else None
            fill = bytes(10**6)
            chat.push_with_producer(Looking(chat, [b"a", fill, b"b", b""]))
            chat.push(b"end")
            self.assertTrue(kept or not keep)
            del kept
            self.far.setblocking(False)
            got = b""
            while len(got) < len(fill) + 5:
                chat.handle_write()
                try:
                    got += self.far.recv(10**6)
                except BlockingIOError:
                    pass
            self.assertEqual(got, b"a" + fill + b"bend")
            chat.handle_write()
            self.assertEqual(len(chat.producer_fifo), 0)
            self.assertLessEqual(set(chat.taken()), {1, 2})

    def test_producer_clears_the_queue(self):
        """… in which it is no longer."""

        class Clearing:
            def __init__(self, clear):
                self.clear = clear

            def __bool__(self):
                self.clear()
                return True

            def more(self):
                return b"last"

        for name in ("clear", "pop"):
            chat = self.chat()
            once = [name]

            def clear(chat=chat, once=once):
                if once:
                    getattr(chat.producer_fifo, once.pop())()

            chat.push_with_producer(Clearing(clear))
            self.assertEqual(self.far.recv(10), b"last")
            self.assertEqual(len(chat.producer_fifo), 0)


class HelperTest(unittest.TestCase):
    def test_simple_producer(self):
        producer = asynchat.simple_producer(b"abcde", 2)
        self.assertEqual((producer.data, producer.buffer_size), (b"abcde", 2))
        parts = [producer.more() for _ in range(5)]
        self.assertEqual(parts, [b"ab", b"cd", b"e", b"", b""])
        producer = asynchat.simple_producer("text")
        self.assertEqual(producer.buffer_size, 512)
        self.assertEqual(producer.more(), "text")
        self.assertEqual(producer.more(), b"")
        producer = asynchat.simple_producer(b"x" * 512)
        self.assertEqual(len(producer.more()), 512)
        self.assertEqual(producer.more(), b"")
        producer = asynchat.simple_producer([1, 2, 3], 2)
        self.assertEqual(producer.more(), [1, 2])

    def test_find_prefix_at_end(self):
        find = asynchat.find_prefix_at_end
        for haystack, needle, want in (
            (b"qwerty\r", b"\r\n", 1),
            (b"qwertydkjf", b"\r\n", 0),
            ("qwerty\r", "\r\n", 1),
            (b"aab", b"aabaac", 3),
            (b"", b"abc", 0),
            (b"abab", b"ababc", 4),
            (b"x", b"x", 0),
            (b"x", b"", -1),
            ("aä", "äb", 1),
        ):
            self.assertEqual(find(haystack, needle), want, (haystack, needle))
        self.assertRaises(TypeError, find, b"x", "yz")
        self.assertRaises((TypeError, AttributeError), find, 1, b"yz")

    def test_find_prefix_as_the_definition(self):
        dice = random.Random(1)
        for _ in range(2000):
            needle = bytes(dice.choices(b"ab", k=dice.randint(1, 8)))
            haystack = bytes(dice.choices(b"ab", k=dice.randint(0, 12)))
            want = max(
                size
                for size in range(len(needle))
                if size == 0 or haystack.endswith(needle[:size])
            )
            self.assertEqual(
                asynchat.find_prefix_at_end(haystack, needle), want
            )


if __name__ == "__main__":
    kit.main()
