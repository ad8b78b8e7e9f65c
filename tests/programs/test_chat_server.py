# SPDX-License-Identifier: MIT
"""chat_server: people talk, and no one of them harms the others."""

import contextlib
import random
import re
import signal
import socket
import subprocess
import time
import unittest

import harness

MAX_LINE = 1000


class Person:
    """A client that reads line by line."""

    def __init__(self, server, nick=None, receive_buffer=None):
        self.sock = harness.connect(server.address, receive_buffer)
        self.file = self.sock.makefile("rb")
        welcome = self.line()
        self.guest = re.match(r"\*\*\* welcome, (guest\d+):", welcome)[1]
        self.nick = self.guest
        if nick is not None:
            self.say(f"/nick {nick}")
            self.expect(f"*** {self.nick} is now {nick}")
            self.nick = nick

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.sock.close()

    def say(self, *lines):
        """All of them in one write."""
        self.sock.sendall("".join(line + "\r\n" for line in lines).encode())

    def line(self):
        """The next line that comes, "" at the end of the stream."""
        line = self.file.readline()
        if line != b"" and not line.endswith(b"\r\n"):
            raise AssertionError(f"half a line: {line!r}")
        return line[:-2].decode()

    def expect(self, *lines):
        """These are the next to come."""
        for line in lines:
            got = self.line()
            if got != line:
                raise AssertionError(f"expected {line!r}, got {got!r}")

    def until(self, last):
        """All lines up to this one, which is not among them."""
        lines = []
        while (line := self.line()) != last:
            if line == "":
                raise AssertionError(f"no {last!r} in {lines[-10:]!r}")
            lines.append(line)
        return lines

    def rest(self):
        """All lines up to the end of the stream."""
        return list(iter(self.line, ""))


class ChatTestCase(harness.TestCase):
    """One server for each test."""

    arguments = ()

    def setUp(self):
        self.server = self.enterContext(
            harness.serve("chat_server", *self.arguments, "127.0.0.1", 0)
        )

    def join(self, *nicks, **kwargs):
        """People who have seen each other come."""
        people = []
        for nick in nicks:
            person = self.enterContext(Person(self.server, nick, **kwargs))
            for other in people:
                other.until(f"*** {person.guest} is now {nick}")
            people.append(person)
        return people


class Talk(ChatTestCase):
    """What people do."""

    def test_lines(self):
        """Each is heard by all others, in order."""
        alice, bob, carol = self.join("alice", "bob", "carol")
        alice.say("hello", "  there is  room  ", "", "grüße, 你好 🙂")
        for other in bob, carol:
            other.expect(
                "<alice> hello",
                "<alice>   there is  room  ",
                "<alice> grüße, 你好 🙂",
            )
        bob.say("hi")
        alice.expect("<bob> hi")  # and nothing of her own before

    def test_join_and_leave(self):
        """People hear of who comes and goes, and why."""
        (alice,) = self.join("alice")
        guest = self.enterContext(Person(self.server))
        alice.expect(f"*** {guest.nick} has joined lobby")
        guest.say("/quit")
        guest.expect(f"*** goodbye, {guest.nick}")
        self.assertEqual(guest.rest(), [])
        alice.expect(f"*** {guest.nick} has left: bye")
        (bob,) = self.join("bob")
        alice.until(f"*** {bob.guest} is now bob")
        bob.say("/quit dinner is ready", "this comes too late", "/quit")
        bob.expect("*** goodbye, bob")
        self.assertEqual(bob.rest(), [])
        alice.expect("*** bob has left: dinner is ready")
        alice.say("/who")
        alice.expect("*** alice is in lobby")

    def test_hanging_up(self):
        """An end of the stream is the end, also of the last line."""
        alice, bob = self.join("alice", "bob")
        bob.sock.sendall(b"one\ntwo")
        bob.sock.shutdown(socket.SHUT_WR)
        alice.expect("<bob> one", "<bob> two", "*** bob has left: hung up")
        self.assertEqual(bob.rest(), [])

    def test_nicks(self):
        """They are plain, and nobody else's, in any case."""
        alice, bob = self.join("alice", "bob")
        for nick in "alice", "ALICE", "Alice":
            bob.say(f"/nick {nick}")
            bob.expect("*** alice is taken")
        for nick in "", "a b", "a" * 17, "é", "<x>", "a/b", "*":
            bob.say(f"/nick {nick}")
            bob.expect("*** a nick is 1 to 16 letters, digits, - or _")
        bob.say("/nick BOB", "/nick " + "b" * 16, "/NICK b-o_b1")
        for person in alice, bob:
            person.expect(
                "*** bob is now BOB",
                "*** BOB is now " + "b" * 16,
                "*** " + "b" * 16 + " is now b-o_b1",
            )
        alice.say("/nick bob")  # which is free again
        bob.expect("*** alice is now bob")

    def test_nick_of_a_guest(self):
        """A name for a guest is not one that somebody has taken."""
        self.join("guest2")
        guest = self.enterContext(Person(self.server))
        self.assertEqual(guest.nick, "guest3")

    def test_rooms(self):
        """What is said in one is not heard in another."""
        alice, bob, carol = self.join("alice", "bob", "carol")
        bob.say("/join den")
        bob.expect("*** bob has joined den")
        for other in alice, carol:
            other.expect("*** bob has gone to den")
        carol.say("/join DEN")
        carol.expect("*** carol has joined DEN")
        bob.expect("*** carol has joined DEN")
        alice.expect("*** carol has gone to DEN")
        carol.say("anybody?")
        bob.expect("<carol> anybody?")
        alice.say("all alone", "/msg bob psst")
        alice.expect("[you -> bob] psst")
        bob.expect("[alice -> you] psst")
        bob.say("/join den", "/join", "/join a/b", "/join " + "x" * 17)
        wrong = "*** the name of a room is 1 to 16 letters, digits, - or _"
        bob.expect("*** you are in den", wrong, wrong, wrong)
        bob.say("/quit")
        carol.expect("*** bob has left: bye")
        carol.say("/join lobby")
        alice.expect("*** carol has joined lobby")  # and no word of bob

    def test_private_messages(self):
        """One hears them."""
        alice, bob, carol = self.join("alice", "bob", "carol")
        alice.say("/msg BOB  two  words ", "/msg dave hello", "/msg bob")
        alice.say("/msg", "/msg alice me", "to all")
        bob.expect("[alice -> you] two  words ", "<alice> to all")
        carol.expect("<alice> to all")
        alice.expect(
            "[you -> bob] two  words ",
            "*** there is nobody called dave",
            "*** /msg wants a nick and a text",
            "*** /msg wants a nick and a text",
            "[alice -> you] me",
            "[you -> alice] me",
        )

    def test_other_commands(self):
        """/me, /help, and what is none."""
        alice, bob = self.join("alice", "bob")
        alice.say("/me waves", "/dance now", "/", "/helpme")
        bob.expect("* alice waves")
        alice.expect(
            "* alice waves",
            "*** there is no /dance: /help lists what there is",
            "*** there is no /: /help lists what there is",
            "*** there is no /helpme: /help lists what there is",
        )
        alice.say("/help", "/dance")
        text = "\n".join(
            alice.until("*** there is no /dance: /help lists what there is")
        )
        for name in "help", "join", "me", "msg", "nick", "quit", "who":
            self.assertRegex(text, rf"(?m)^\*\*\* /{name} ")

    def test_who(self):
        """It names people and their rooms, but not too many."""
        alice, bob = self.join("alice", "bob")
        bob.say("/join den")
        alice.expect("*** bob has gone to den")
        alice.say("/who")
        alice.expect("*** bob is in den", "*** alice is in lobby")
        alice.say("/join quiet")
        alice.expect("*** alice has joined quiet")
        with contextlib.ExitStack() as crowd:
            for _ in range(103):
                crowd.enter_context(Person(self.server))
            alice.say("/who")
            listed = alice.until("*** ... and 5 more")
        self.assertEqual(len(listed), 100)

    def test_crowd(self):
        """Everybody hears everybody, each in order."""
        people = [
            self.enterContext(Person(self.server)) for _ in range(50)
        ]
        for person in people:
            person.say(*map(str, range(20)), "/msg %s over" % person.nick)
        for person in people:
            heard = {other.nick: [] for other in people}
            for _ in range(49 * 20):
                while (line := person.line()).startswith(("***", "[")):
                    pass
                nick, word = re.fullmatch(r"<(\w+)> (\d+)", line).groups()
                heard[nick].append(int(word))
            self.assertEqual(heard.pop(person.nick), [])
            for words in heard.values():
                self.assertEqual(words, list(range(20)))

    def test_splits(self):
        """Lines end in "\\n" or "\\r\\n", however they are cut."""
        alice, bob = self.join("alice", "bob")
        for byte in b"one\ntwo\r\n\r\n/me three\n":
            alice.sock.sendall(bytes([byte]))
        bob.expect("<alice> one", "<alice> two", "* alice three")


class Harm(ChatTestCase):
    """What people should better not do."""

    def test_long_lines(self):
        """One is answered once, and what follows is heard."""
        alice, bob = self.join("alice", "bob")
        answer = f"*** your line is longer than {MAX_LINE} bytes: " + (
            "nobody heard it"
        )
        longest = "x" * MAX_LINE
        for size in MAX_LINE + 2, 5000, 1 << 20:
            alice.say(longest, "y" * size, "z")
            alice.expect(answer)
            bob.expect("<alice> " + longest, "<alice> z")
        alice.sock.sendall(b"y" * (MAX_LINE + 2))
        alice.expect(answer)  # before its end has come
        alice.say(" still the same", "over")
        bob.expect("<alice> over")

    def test_rubbish(self):
        """Others see text, whatever was sent."""
        alice, bob = self.join("alice", "bob")
        seed = random.randrange(1 << 32)
        rubbish = random.Random(seed)
        print(f"seed {seed}")
        for _ in range(300):
            data = rubbish.randbytes(rubbish.randrange(2000))
            # Commands would be meant.
            data = b"\n" + data.replace(b"/", b"") + b"\n"
            alice.sock.sendall(data)
        alice.say("over")
        for line in bob.until("<alice> over"):
            self.assertTrue(line.startswith("<alice> "), line)
            self.assertTrue(
                not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line),
                repr(line),
            )

    def test_characters(self):
        """What is not one is seen as "?"."""
        alice, bob = self.join("alice", "bob")
        for sent, heard in {
            b"a\0b\x07c\x1b[31md\x7fe\rf\x08": "abc[31mdef",
            b"a\tb": "a b",
            b"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82": "é € 🙂",
            b"a\xc2\x9bb\xc2\xa0c": "ab\xa0c",
            b"\xc0\x80 \xc1\xbf": "?? ??",
            b"\xe0\x80\x80 \xed\xa0\x80": "??? ???",
            b"\xf0\x80\x80\x80 \xf4\x90\x80\x80": "???? ????",
            b"\xf8\x88\x80\x80\x80 \xfe": "????? ?",
            b"\xc3 \xe2\x82 \xf0\x9f\x99": "? ?? ???",
            b"x\x80\xbf\xc3": "x???",
        }.items():
            with self.subTest(sent=sent):
                alice.sock.sendall(sent + b"\n")
                bob.expect("<alice> " + heard)

    def test_telnet(self):
        """What telnet says of its own is not for others, at any cut."""
        alice, bob = self.join("alice", "bob")
        data = (
            b"\xff\xfd\x03\xff\xfb\x18\xff\xfb\x1f\xff\xfc\x20one\xff\xf1"
            b"\xff\xfa\x18\x00xterm\xff\xf0 two\xff\xf4\xff\xfd\x06\r\n"
        )
        for cut in range(len(data)):
            alice.sock.sendall(data[:cut])
            alice.sock.sendall(data[cut:])
            bob.expect("<alice> one two")
        for unfinished in b"\xff", b"\xff\xfb", b"\xff\xfa", b"\xff\xfa\x18":
            alice.sock.sendall(b"x" + unfinished + b"\n")
            bob.expect("<alice> x")
        alice.say("still here")
        bob.expect("<alice> still here")

    def test_resets(self):
        """A lost connection is no more than somebody who leaves."""
        (alice,) = self.join("alice")
        for _ in range(20):
            guest = Person(self.server)
            guest.say("x" * 100)
            guest.file.close()
            harness.reset(guest.sock)
            lines = [alice.line() for _ in range(2)]
            if lines[-1].startswith("<"):
                lines.append(alice.line())
            self.assertRegex(lines[-1], rf"^\*\*\* {guest.nick} has left: ")

    def test_slow_readers(self):
        """They are dropped; until then and after, others are served at once,
        and memory is bounded."""
        alice, bob = self.join("alice", "bob")
        before = self.server.status("VmRSS")
        slow = [
            self.enterContext(Person(self.server, receive_buffer=4096))
            for _ in range(10)
        ]
        alice.until(f"*** {slow[-1].nick} has joined lobby")
        bob.until(f"*** {slow[-1].nick} has joined lobby")
        left, longest, said = set(), 0, 0
        while len(left) < len(slow):
            text = f"{said:0{MAX_LINE}}"
            start = time.monotonic()
            alice.say(text)
            while (line := bob.line()) != f"<alice> {text}":
                nick = re.match(
                    r"\*\*\* (\w+) has left: reads too slowly$", line
                )[1]
                left.add(nick)
            longest = max(longest, time.monotonic() - start)
            said += 1
            self.assertLess(said, 20000, "nobody was dropped")
        grown = self.server.status("VmHWM") - before
        print(f"{said} lines, the slowest took {longest:.6f} s, "
              f"{grown} bytes more memory")
        self.assertEqual(left, {person.nick for person in slow})
        self.assertLess(longest, 2)
        if not harness.SANITIZED:
            self.assertLess(grown, 10 * 256 * 1024 + (2 << 20))
        alice.say("at last")
        bob.expect("<alice> at last")

    def test_who_does_not_read_is_not_read(self):
        """Somebody who asks and asks, and takes no answer, is dropped or
        not heard any more, and costs little."""
        alice, bob = self.join("alice", "bob")
        before = self.server.status("VmRSS")
        with self.assertRaises((AssertionError, OSError)):
            harness.send_until_stuck(alice.sock, b"/help\n" * 1000, 8 << 20)
            raise AssertionError("he is not heard any more")
        if not harness.SANITIZED:
            grown = self.server.status("VmHWM") - before
            self.assertLess(grown, 4 << 20)
        bob.say("/msg bob fine")
        self.assertIn("[bob -> you] fine", [bob.line() for _ in range(2)])

    def test_files_are_closed(self):
        """Nothing is left of people who have gone."""
        (alice,) = self.join("alice")
        before = len(harness.descriptors(self.server.pid))
        for _ in range(20):
            with Person(self.server) as guest:
                guest.say("/quit")
                guest.rest()
        harness.wait_for(
            lambda: len(harness.descriptors(self.server.pid)) == before
        )
        alice.say("/msg alice fine")
        alice.until("[you -> alice] fine")


class Idle(ChatTestCase):
    """People who say nothing."""

    arguments = ("-t", "1")

    def test_silent(self):
        """He is asked, and then dropped."""
        with Person(self.server) as guest:
            start = time.monotonic()
            guest.expect(
                f"*** are you still there, {guest.nick}?  "
                "Then say something",
                "*** you have been silent for too long; goodbye",
            )
            self.assertEqual(guest.rest(), [])
            self.assertGreater(time.monotonic() - start, 1.5)

    def test_answering(self):
        """Who answers stays, and hears of who does not."""
        with Person(self.server) as alice, Person(self.server) as bob:
            question = (
                f"*** are you still there, {alice.nick}?  "
                "Then say something"
            )
            heard = []
            for _ in range(3):
                heard += alice.until(question)
                alice.say("yes")
            self.assertIn(f"*** {bob.nick} has left: fell asleep", heard)
            self.assertIn(f"<{alice.nick}> yes", bob.rest())

    def test_deaf(self):
        """Who does not even take the goodbye is gone, too."""
        before = len(harness.descriptors(self.server.pid))
        with Person(self.server, receive_buffer=4096) as guest:
            for _ in range(200):
                guest.say(*["/help"] * 2)
            harness.wait_for(
                lambda: len(harness.descriptors(self.server.pid)) == before
            )


class End(ChatTestCase):
    """The end of the server."""

    def test_signals(self):
        """Everybody is told, and the exit status is 0."""
        for number in signal.SIGTERM, signal.SIGINT:
            with harness.serve("chat_server", "127.0.0.1", 0) as server:
                with Person(server) as alice, Person(server) as bob:
                    alice.expect(f"*** {bob.nick} has joined lobby")
                    server.popen.send_signal(number)
                    for person in alice, bob:
                        person.expect(
                            "*** the server is going down; goodbye, "
                            + person.nick
                        )
                        self.assertEqual(person.rest(), [])
                self.assertEqual(server.wait(), 0)

    def test_nobody_there(self):
        """There is nobody to wait for."""
        start = time.monotonic()
        self.assertEqual(self.server.stop(), 0)
        self.assertLess(time.monotonic() - start, 1.5)

    def test_slow_goodbye(self):
        """Who does not listen can't hold up the end for long."""
        with Person(self.server, receive_buffer=4096) as guest:
            for _ in range(100):
                guest.say("/help")
            start = time.monotonic()
            self.assertEqual(self.server.stop(), 0)
            self.assertLess(time.monotonic() - start, 30)

    def test_in_a_hurry(self):
        """A second signal ends it at once."""
        with Person(self.server) as guest:
            self.server.popen.send_signal(signal.SIGTERM)
            self.assertEqual(len(guest.rest()), 1)
            self.assertEqual(self.server.stop(signal.SIGINT), 0)


class Others(ChatTestCase):
    """Programs of others as clients."""

    @unittest.skipUnless(harness.find("nc"), "nc is not installed")
    def test_nc(self):
        """netcat, both ways."""
        (alice,) = self.join("alice")
        process = self.enterContext(
            harness.Process(
                "nc", self.server.host, str(self.server.port),
                stdin=subprocess.PIPE,
            )
        )
        process.popen.stdin.write(b"/nick other\nhello\n")
        process.popen.stdin.flush()
        process.stdout.search("is now other")
        alice.until("<other> hello")
        alice.say("hello yourself")
        process.stdout.search("<alice> hello yourself")
        process.popen.stdin.write(b"/quit\n")
        process.popen.stdin.close()
        alice.until("*** other has left: bye")
        process.stdout.search(r"\*\*\* goodbye, other")
        self.assertEqual(process.wait(), 0)


if __name__ == "__main__":
    harness.main()
