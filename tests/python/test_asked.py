# SPDX-License-Identifier: MIT
"""The predicates that a program has written itself are asked before each
wait, all of them and in the order of the map, and may do anything.
"""

import functools
import gc
import os
import select
import socket
import sys
import threading
import time
import types
import weakref

import kit
from kit import asyncore

# With so many channels the kernel's own table of interests is used.
MANY = 40


class Own(asyncore.dispatcher):
    """It writes down that it was asked, and answers what it was told to.  No
    class comes before dispatcher: so it is known who gets the dictionary."""

    wants_read, wants_write = True, False

    def __init__(self, *args, **kwargs):
        self.calls = []
        super().__init__(*args, **kwargs)

    taken = kit.Recorder.taken
    handle_read = kit.Recorder.handle_read
    handle_write = kit.Recorder.handle_write
    handle_expt = kit.Recorder.handle_expt

    def readable(self):
        self.calls.append("readable")
        return self.wants_read

    def writable(self):
        self.calls.append("writable")
        return self.wants_write


class Object:
    """No channel, but it can be served as one."""

    accepting = False

    def __init__(self, served):
        self.served = served

    def readable(self):
        return True

    def writable(self):
        return False

    def handle_read_event(self):
        self.served.append("read")

    def handle_close(self):
        self.served.append("close")


ASKED = ["readable", "writable"]
READ = ASKED + ["read"]
WRITE = ASKED + ["write"]


class AskedTest(kit.TestCase):
    def channels(self, kind=Own, n=MANY):
        return [kind(self.pair()[0]) for _ in range(n)]

    def ready(self, kind=Own):
        """A channel that has something to read."""
        near, far = self.pair()
        far.send(b"x")
        return kind(near)


    def urgent(self):
        """One whose peer has sent a byte out of band."""
        near, far = self.pair("tcp")
        far.send(b"!", socket.MSG_OOB)
        kit.settle(near, select.POLLPRI)
        return Own(near)


class AnswersTest(AskedTest):
    @kit.each_poller
    def test_each_pass(self):
        channels = self.channels()
        for n in (1, 2, 5):
            self.step(n)
            for channel in channels:
                self.assertEqual(channel.taken(), ASKED * n)

    @kit.each_poller
    def test_as_they_change(self):
        self.channels()
        channel = self.ready()
        for read, write, want in (
            (True, False, READ),
            (True, False, READ),
            (False, False, ASKED),
            (False, False, ASKED),
            (False, True, WRITE),
            (True, True, READ + ["write"]),
            (True, False, READ),
        ):
            channel.wants_read, channel.wants_write = read, write
            self.step()
            self.assertEqual(channel.taken(), want, (read, write))

    @kit.each_poller
    def test_any_object(self):
        """Truth is what counts, asked of the object as it is now."""
        self.channels()
        channel = self.ready()
        answer = []
        channel.wants_read = answer
        for value, want in (
            (0, ASKED), (7, READ), (None, ASKED), ("", ASKED), (0.5, READ),
            ({}, ASKED), (object(), READ), (answer, ASKED),
        ):
            channel.wants_read = value
            self.step()
            self.assertEqual(channel.taken(), want, value)
        answer.append(1)
        self.step()
        self.assertEqual(channel.taken(), READ)
        answer.clear()
        self.step()
        self.assertEqual(channel.taken(), ASKED)

    @kit.each_poller
    def test_both_pollers_by_turns(self):
        """The same answers mean something else to each."""
        self.channels()
        channel = self.urgent()
        channel.wants_read, channel.wants_write = False, True
        for _ in range(3):
            asyncore.loop(0, False, None, 1)
            self.assertEqual(
                channel.taken(), WRITE + ["expt"], "select looks for urgent"
            )
            asyncore.loop(0, True, None, 1)
            self.assertEqual(
                channel.taken(), WRITE, "poll only if it is readable"
            )

    def test_listener_that_is_writable(self):
        """To select it is then only one that may have something urgent."""
        self.channels()
        channel = self.urgent()
        channel.accepting = True
        channel.wants_read = False
        for write, want in ((False, ASKED), (True, ASKED + ["expt"])) * 2:
            channel.wants_write = write
            self.step()
            self.assertEqual(channel.taken(), want)

    def test_raises(self):
        """Nobody is asked after it, nobody is served."""
        for kind in (KeyError, KeyboardInterrupt, asyncore.ExitNow):
            channels = self.channels(self.make_failing(kind), 5)
            channels[2].fails = True
            self.assertRaises(kind, self.step)
            self.assertEqual(
                [channel.taken() for channel in channels],
                [ASKED] * 2 + [ASKED[:1]] + [[]] * 2,
            )
            channels[2].fails = False
            self.step()
            self.assertEqual(channels[4].taken(), ASKED)
            self.clean()

    def make_failing(self, kind):
        class Failing(Own):
            fails = False

            def readable(self):
                super().readable()
                if self.fails:
                    raise kind
                return True

        return Failing

    def test_truth_that_raises(self):
        class Moody:
            def __bool__(self):
                raise KeyError

        first, second = self.channels(n=2)
        first.wants_write = Moody()
        self.assertRaises(KeyError, self.step)
        self.assertEqual((first.taken(), second.taken()), (ASKED, []))


class FoundTest(AskedTest):
    """What is called is what obj.readable() would call at that moment."""

    def each_way(self, channel, set_own, delete_own):
        self.step()
        self.assertEqual(channel.taken(), READ)
        set_own(channel, "readable", lambda: channel.calls.append("own"))
        self.step()
        self.assertEqual(channel.taken(), ["own", "writable"])
        delete_own(channel, "readable")
        self.step()
        self.assertEqual(channel.taken(), READ)

    def test_instance_attribute(self):
        """However it came to be there."""
        self.channels()
        self.each_way(self.ready(), setattr, delattr)
        self.each_way(
            self.ready(), object.__setattr__, object.__delattr__
        )
        self.each_way(
            self.ready(),
            lambda obj, name, value: vars(obj).__setitem__(name, value),
            lambda obj, name: vars(obj).__delitem__(name),
        )
        # A name that is equal, but another string.
        self.each_way(
            self.ready(),
            lambda obj, name, value: vars(obj).update(
                {"".join(list(name)): value}
            ),
            lambda obj, name: vars(obj).pop("".join(list(name))),
        )

    def test_dictionary_replaced(self):
        channel = self.ready()
        self.step()
        self.assertEqual(channel.taken(), READ)
        channel.__dict__ = dict(vars(channel), writable=lambda: True)
        self.step()
        self.assertEqual(channel.taken(), ["readable", "read", "write"])

    def test_slot(self):
        """A data descriptor goes before what the instance has."""

        class Slotted(Own):
            __slots__ = ("readable",)

        channel = Slotted(self.pair()[0])
        self.assertRaises(AttributeError, self.step)
        channel.readable = lambda: channel.calls.append("own")
        vars(channel)["readable"] = None
        self.step()
        self.assertEqual(channel.taken(), ["own", "writable"])

    def test_set_in_the_middle(self):
        """readable() gives the instance another writable()."""

        class Setting(Own):
            def readable(self):
                self.writable = lambda: self.calls.append("own")
                return super().readable()

        channel = self.ready(Setting)
        for _ in range(3):
            self.step()
            self.assertEqual(channel.taken(), ["readable", "own", "read"])
            del channel.writable

    def test_super(self):
        """An override calls the one before it, whatever the instance has."""

        class Overriding(asyncore.dispatcher):
            def readable(self):
                return super().readable() is True

            def writable(self):
                return super().writable() is not True

        channel = Overriding(self.pair()[0])
        for _ in range(2):
            channel.readable = lambda: 1 / 0
            self.assertIs(Overriding.readable(channel), True)
            self.assertIs(channel.writable(), False)
            self.assertRaises(ZeroDivisionError, self.step)
            channel.readable = lambda: Overriding.readable(channel)
            self.step()

    def test_another_class_in_the_middle(self):
        class Other(Own):
            def writable(self):
                self.calls.append("other")
                return True

        class Changing(Own):
            def readable(self):
                answer = super().readable()
                self.__class__ = Other
                return answer

        channel = self.ready(Changing)
        self.step(2)
        self.assertEqual(
            channel.taken(), ["readable", "other", "read", "write"] * 2
        )

    def test_class_patched_in_the_middle(self):
        """It counts for those who have yet to be asked."""

        class Patched(Own):
            def readable(self):
                def readable(self):
                    self.calls.append("patched")

                Patched.readable = readable
                gc.collect()  # this function is not the class's any more
                return super().readable()

        channels = self.channels(Patched, 3)
        self.step()
        self.assertEqual(
            [channel.taken() for channel in channels],
            [ASKED] + [["patched", "writable"]] * 2,
        )

    def test_bases_patched(self):
        class Base(Own):
            pass

        class Mixin:
            def writable(self):
                self.calls.append("mixin")

        class Derived(Base):
            pass

        channel = self.ready(Derived)
        self.step()
        Base.readable = lambda self: self.calls.append("base")
        self.step()
        self.assertEqual(channel.taken(), READ + ["base", "writable"])
        Derived.__bases__ = (Mixin, Base)
        self.step()
        self.assertEqual(channel.taken(), ["base", "mixin"])
        del Base.readable
        self.step()
        self.assertEqual(channel.taken(), ["readable", "mixin", "read"])

    def test_function_changed(self):
        """The function remains, what it does does not."""

        class Changed(Own):
            def readable(self, answer=False):
                return answer

            def writable(self):
                return False

        channel = self.ready(Changed)
        for defaults, want in (
            ((False,), []), ((True,), ["read"]), ((0,), []),
        ):
            Changed.readable.__defaults__ = defaults
            self.step()
            self.assertEqual(channel.taken(), want)
        Changed.readable.__defaults__ = None
        self.assertRaises(TypeError, self.step)
        Changed.readable.__code__ = (lambda self: True).__code__
        self.step()
        self.assertEqual(channel.taken(), ["read"])

    def test_no_functions(self):
        """Any callable of the class, as attribute look-up presents it."""

        def answer(*args):
            calls.append(args)
            return True

        class Callable:
            __call__ = staticmethod(answer)

        class Presented:
            def __get__(self, obj, kind):
                return functools.partial(answer, obj, kind)

        calls = []
        for predicate, want in (
            (staticmethod(answer), lambda channel: ()),
            (classmethod(answer), lambda channel: (type(channel),)),
            (functools.partial(answer, 1), lambda channel: (1,)),
            (functools.partialmethod(answer, 1), lambda channel: (channel, 1)),
            (types.MethodType(answer, 2), lambda channel: (2,)),
            (property(lambda self: answer), lambda channel: ()),
            (Callable(), lambda channel: ()),
            (Presented(), lambda channel: (channel, type(channel))),
        ):
            kind = type("Kind", (Own,), {"readable": predicate})
            channel = self.ready(kind)
            for _ in range(2):
                self.step()
                self.assertEqual(channel.taken(), ["writable", "read"])
                self.assertEqual(calls, [want(channel)])
                calls.clear()
            self.clean()

    def test_look_up_overridden(self):
        """A class that has its own attribute look-up is asked by it."""

        class Looking(Own):
            looked = []

            def __getattribute__(self, name):
                if name.endswith("able"):
                    Looking.looked.append(name)
                return super().__getattribute__(name)

        channel = self.ready(Looking)
        self.step(2)
        self.assertEqual(channel.taken(), READ * 2)
        self.assertEqual(Looking.looked, ASKED * 2)
        del Looking.__getattribute__
        self.step()
        self.assertEqual(channel.taken(), READ)
        self.assertEqual(Looking.looked, ASKED * 2)

    @kit.each_poller
    def test_look_up_of_what_is_not_overridden(self):
        class Deaf(asyncore.dispatcher):
            def __getattribute__(self, name):
                if name in ("readable", "writable"):
                    return lambda: False
                return object.__getattribute__(self, name)

            handle_read = kit.Recorder.handle_read

        for n in (0, MANY):
            self.channels(n=n)
            channel = self.ready(Deaf)
            channel.calls = []
            self.step()
            self.assertEqual(channel.calls, [])

    def test_look_up_of_what_is_missing(self):
        """__getattr__ is for what is not found, and that is."""

        class Delegating(Own):
            def __getattr__(self, name):
                if name == "wants_more":
                    return True
                raise AttributeError(name)

        channel = self.ready(Delegating)
        self.step(2)
        self.assertEqual(channel.taken(), READ * 2)
        del Delegating.__getattr__
        channel.readable = lambda: False
        self.step()
        self.assertEqual(channel.taken(), ["writable"])

    def test_seen_by_profilers(self):
        self.channels(n=3)
        seen = []

        def note(frame, event, _):
            if event == "call" and frame.f_code.co_name in ASKED:
                seen.append(frame.f_code.co_name)

        sys.setprofile(note)
        self.addCleanup(sys.setprofile, None)
        self.step(2)
        sys.setprofile(None)
        self.assertEqual(seen, ASKED * 6)


class Doing(Own):
    """readable() does something first."""

    def readable(self):
        action, self.action = self.action, None
        if action is not None:
            action()
        return super().readable()

    action = None


class DoingTest(AskedTest):
    """All who are there when it begins are asked, whatever the others do."""

    @kit.each_poller
    def test_takes_out_the_next(self):
        for n in (3, MANY):
            channels = self.channels(Doing, n)
            gone = self.ready(Doing)
            channels[1].action = gone.del_channel
            self.step()
            self.assertEqual(gone.taken(), ASKED, "asked, not served")
            self.step()
            self.assertEqual(gone.taken(), [])
            self.clean()

    @kit.each_poller
    def test_clears_the_map(self):
        channels = self.channels(Doing)
        channels[0].action = asyncore.socket_map.clear
        self.step()
        self.step()
        for channel in channels:
            self.assertEqual(channel.taken(), ASKED)

    @kit.each_poller
    def test_takes_out_itself(self):
        self.channels()
        channel = self.ready(Doing)
        channel.action = channel.del_channel
        self.step(2)
        self.assertEqual(channel.taken(), ASKED)

    @kit.each_poller
    def test_adds_one(self):
        """Who comes is asked, and served, in the next pass."""
        for n in (3, MANY):
            channels = self.channels(Doing, n)
            new = []
            channels[1].action = lambda: new.append(self.ready())
            self.step()
            self.assertEqual(new[0].taken(), [])
            self.step()
            self.assertEqual(new[0].taken(), READ)
            self.clean()

    @kit.each_poller
    def test_gives_others_predicates(self):
        """Who had none of his own before is asked if it is not his turn yet:
        those of his instance, and those of his class."""

        class Plain(asyncore.dispatcher):
            calls = []
            wants_write = False

            def handle_read(self):
                self.calls.append("read")

            def handle_write(self):
                pass

        def readable(channel=None):
            Plain.calls.append("asked")
            return True

        for n in (1, MANY):
            before = self.ready(Plain)
            channels = self.channels(Doing, n)
            near, far = self.pair()
            far.send(b"x")
            after = Plain(near)
            self.channels(Doing, n)
            self.step(2)
            Plain.calls.clear()

            def give():
                before.readable = after.readable = readable

            def give_class():
                Plain.readable = readable

            def take():
                del before.readable, after.readable

            for action, want in (
                (give, ["asked", "read", "read"]),
                (None, ["asked", "asked", "read", "read"]),
                (take, ["asked", "read", "read"]),
                (give_class, ["asked", "read", "read"]),
                (None, ["asked", "asked", "read", "read"]),
            ):
                channels[0].action = action
                self.step()
                self.assertEqual(Plain.calls, want, action)
                Plain.calls.clear()
            del Plain.readable
            self.clean()

    @kit.each_poller
    def test_puts_another_in_its_place(self):
        """He was not asked."""
        self.channels()
        channel = self.ready(Doing)
        other = Own(map={})
        fd = channel._fileno
        channel.action = lambda: asyncore.socket_map.update({fd: other})
        self.step()
        self.assertEqual(channel.taken(), ASKED)
        self.assertNotIn("readable", other.taken())
        self.step()
        self.assertEqual(other.taken(), READ)

    @kit.each_poller
    def test_drops_the_last_reference(self):
        """It lives until all have been asked."""
        channels = self.channels(Doing, 5)
        gone = weakref.ref(channels[3])
        there = []
        channels[1].action = channels[3].del_channel
        channels[4].action = lambda: there.append(gone() is not None)
        del channels[3]
        self.step()
        self.assertEqual(there, [True])
        gc.collect()
        self.assertIsNone(gone())

    @kit.each_poller
    def test_drops_an_object(self):
        """No channel of ours, and ready: its place is still known, but there
        is nobody any more."""
        for n in (1, MANY):
            channels = self.channels(Doing, n)
            near, far = self.pair()
            far.send(b"x")
            served = []
            asyncore.socket_map[near.fileno()] = Object(served)
            self.step()
            self.assertEqual(served, ["read"])
            channels[0].action = functools.partial(
                asyncore.socket_map.pop, near.fileno()
            )
            self.step()
            self.assertEqual(served, ["read"])
            self.clean()

    @kit.each_poller
    def test_thread_drops_an_object(self):
        """While it is waited for."""
        near, far = self.pair()
        served = []
        asyncore.socket_map[near.fileno()] = Object(served)
        self.step()

        def drop():
            asyncore.socket_map.clear()
            far.send(b"x")

        thread = threading.Timer(0.1, drop)
        thread.start()
        self.step(timeout=kit.PATIENCE)
        thread.join()
        self.assertEqual(served, [])

    @kit.each_poller
    def test_thread_begins_to_wait(self):
        """While somebody is asked: what it waits with stays as it is, though
        for the channels that are left something else would be better."""
        interval = sys.getswitchinterval()
        self.addCleanup(sys.setswitchinterval, interval)
        channels = self.channels(Doing)
        near, far = self.pair()
        last = Doing(near)
        self.step()
        asked = threading.Event()
        thread = threading.Thread(
            target=self.step, kwargs={"timeout": kit.PATIENCE}
        )

        def begin():
            last.action = asked.set
            sys.setswitchinterval(kit.PATIENCE)
            thread.start()
            asked.wait()  # until the other gives up the interpreter: it waits
            sys.setswitchinterval(interval)
            for channel in channels[1:]:
                channel.del_channel()

        channels[0].action = begin
        last.taken()
        self.step()
        far.send(b"x")
        begun = time.monotonic()
        thread.join()
        self.assertLess(time.monotonic() - begun, kit.PATIENCE / 2)
        self.assertEqual(last.taken()[-1], "read")

    @kit.each_poller
    def test_runs_a_pass(self):
        """In which all are asked, and served; then it goes on."""
        for n in (3, MANY):
            channels = self.channels(Doing, n)
            ready = self.ready(Doing)
            channels[1].action = self.step
            self.step()
            self.assertEqual(channels[0].taken(), ASKED * 2)
            self.assertEqual(channels[1].taken(), ASKED * 2)
            self.assertEqual(channels[-1].taken(), ASKED * 2)
            self.assertEqual(ready.taken(), READ * 2)
            channels[1].action = self.step
            channels[2].action = ready.del_channel
            self.step()
            self.assertEqual(channels[-1].taken(), ASKED * 2)
            self.assertEqual(ready.taken(), ASKED * 2)
            self.clean()

    @kit.each_poller
    def test_another_file_under_the_number(self):
        """The same channel, with the same answers: the kernel has to be told
        all the same."""
        self.channels()
        channel = Own(self.pair()[0])
        self.step(2)
        channel.taken()
        fd = channel._fileno
        near, far = self.pair()
        far.send(b"x")
        os.dup2(near.fileno(), fd)
        channel.set_socket(channel.socket)
        self.step()
        self.assertEqual(channel.taken(), READ)


if __name__ == "__main__":
    kit.main()
