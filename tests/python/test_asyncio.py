# SPDX-License-Identifier: MIT
"""asyncio_attach: old channels and new coroutines in one program."""

import asyncio
import collections
import os
import socket
import tempfile
import threading
import unittest

import kit
from kit import asynchat, asyncore

try:
    import uvloop
except ImportError:
    uvloop = None

LINE = b"a line\r\n"


class Echo(asyncore.dispatcher_with_send):
    def handle_read(self):
        self.send(self.recv(8192))

    def handle_close(self):
        self.close()


class EchoServer(asyncore.dispatcher):
    handler = Echo

    def __init__(self, map=None):
        asyncore.dispatcher.__init__(self, map=map)
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(200)
        self.address = self.socket.getsockname()

    def handle_accepted(self, sock, addr):
        self.handler(sock, self._map)


class LineClient(asynchat.async_chat):
    """Sends lines, and resolves a future with what came back."""

    def __init__(self, address, future, map=None):
        asynchat.async_chat.__init__(self, map=map)
        self.future = future
        self.set_terminator(b"\r\n")
        self.create_socket()
        self.connect(address)
        self.push(LINE)

    def handle_connect(self):
        pass

    collect_incoming_data = asynchat.async_chat._collect_incoming_data

    def found_terminator(self):
        self.future.set_result(self._get_data())
        self.close()


class Own(asyncore.dispatcher):
    """A class with predicates of its own, which look at its list."""

    def __init__(self, sock, map=None):
        self.queue = []
        self.received = []
        self.asked = 0
        asyncore.dispatcher.__init__(self, sock, map)

    def readable(self):
        self.asked += 1
        return True

    def writable(self):
        return bool(self.queue)

    def handle_write(self):
        self.send(self.queue.pop(0))

    def handle_read(self):
        self.received.append(self.recv(100))


async def ask(address, data=LINE):
    """One question and its answer, the new way."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(data)
    answer = await reader.readexactly(len(data))
    writer.close()
    return answer


async def until(condition):
    for _ in range(kit.PATIENCE * 1000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to pass")


class AsyncioTest(kit.TestCase):
    """Each test is a coroutine."""

    use_poll = False
    new_event_loop = staticmethod(asyncio.new_event_loop)

    def run_loop(self, main):
        loop = self.new_event_loop()
        self.reported = []
        loop.set_exception_handler(
            lambda loop, context: self.reported.append(
                context.get("exception", context["message"])
            )
        )
        try:
            return loop.run_until_complete(
                asyncio.wait_for(main(), kit.PATIENCE)
            )
        finally:
            loop.close()

    def attach(self, **arguments):
        return asyncore.asyncio_attach(use_poll=self.use_poll, **arguments)

    def test_old_server_new_client(self):
        async def main():
            server = EchoServer()
            with self.attach():
                answers = await asyncio.gather(
                    *(ask(server.address) for _ in range(20))
                )
                await until(lambda: len(asyncore.socket_map) == 1)
            return answers

        self.assertEqual(self.run_loop(main), [LINE] * 20)

    def test_new_server_old_client(self):
        async def echo(reader, writer):
            writer.write(await reader.readline())
            writer.close()

        async def main():
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            future = asyncio.get_running_loop().create_future()
            address = server.sockets[0].getsockname()
            with self.attach():
                LineClient(address, future)
                answer = await future
            server.close()
            return answer

        self.assertEqual(self.run_loop(main), LINE[:-2])

    def test_map_that_fills_again(self):
        """Empty at first, empty in between; channels come from outside."""

        async def main():
            with self.attach() as attachment:
                for _ in range(3):
                    self.assertFalse(asyncore.socket_map)
                    server = EchoServer()
                    self.assertEqual(await ask(server.address), LINE)
                    asyncore.close_all()
                await attachment.wait()

        self.run_loop(main)

    def test_several_maps(self):
        async def main():
            maps = {}, {}
            servers = [EchoServer(map) for map in maps]
            with self.attach(map=maps[0]):
                with self.attach(map=maps[1]):
                    for server in servers:
                        await ask(server.address)
                    asyncore.close_all(maps[1])
                await ask(servers[0].address)
            asyncore.close_all(maps[0])

        self.run_loop(main)

    def test_output_from_outside(self):
        """What a coroutine pushes leaves when there is room."""

        async def main():
            near, far = self.pair()
            far.setblocking(False)
            chat = asynchat.async_chat(near)
            amount = 4 << 20
            with self.attach():
                await asyncio.sleep(0)
                chat.push(b"x" * amount)
                self.assertTrue(chat.producer_fifo)
                loop = asyncio.get_running_loop()
                while amount:
                    amount -= len(await loop.sock_recv(far, 1 << 20))
                await until(lambda: not chat.producer_fifo)

        self.run_loop(main)

    def test_predicates_of_its_own(self):
        """They are asked before each wait, wherever a loop can be told."""

        async def main():
            near, far = self.pair()
            far.setblocking(False)
            channel = Own(near)
            loop = asyncio.get_running_loop()
            with self.attach() as attachment:
                await asyncio.sleep(0)
                for word in (b"one", b"two", b"three"):
                    channel.queue.append(word)
                    if self.new_event_loop is not asyncio.new_event_loop:
                        attachment.touch()
                    self.assertEqual(await loop.sock_recv(far, 9), word)
                far.send(b"back")
                await until(lambda: channel.received)
            selector = getattr(loop, "_selector", None)
            self.assertNotIn("asyncore", type(selector).__module__)

        self.run_loop(main)

    def test_born_while_asking(self):
        """A channel that a predicate makes comes into the next pass."""

        async def main():
            near, far = self.pair()

            class Parent(Own):
                child = None

                def readable(self):
                    if self.child is None:
                        self.child = Own(near)
                    return True

            parent = Parent(self.pair()[0])
            with self.attach():
                far.send(b"x")
                await until(lambda: parent.child.received)

        self.run_loop(main)

    def test_asked_again_in_the_end(self):
        async def main():
            channel = Own(self.pair()[0])
            with self.attach(timeout=0.01):
                before = channel.asked
                await until(lambda: channel.asked > before + 3)

        self.run_loop(main)

    def test_idle(self):
        """Nothing is looked at while nothing happens."""
        steps = []

        async def main():
            EchoServer()
            for _ in range(10):
                asynchat.async_chat(self.pair()[0])
            with self.attach() as attachment:
                server = attachment._server
                for name in ("serve", "prepare"):
                    step = getattr(server, name)
                    setattr(
                        server,
                        name,
                        lambda step=step: steps.append(step) or step(),
                    )
                await asyncio.sleep(0.1)

        self.run_loop(main)
        self.assertLess(len(steps), 5)

    def test_wait(self):
        async def main():
            near, far = self.pair()
            Echo(near)
            with self.attach() as attachment:
                waiting = asyncio.ensure_future(attachment.wait())
                await asyncio.sleep(0)
                self.assertFalse(waiting.done())
                far.close()
                await waiting

        self.run_loop(main)
        self.assertFalse(asyncore.socket_map)

    def leave(self, exception, wait):
        class Leaver(Echo):
            def handle_read(self):
                raise exception

        async def main():
            near, far = self.pair()
            Leaver(near)
            attachment = self.attach()
            far.send(b"x")
            if wait:
                await attachment.wait()
            await until(lambda: self.reported)

        return self.run_loop(main)

    def test_exit_now(self):
        error = asyncore.ExitNow("now")
        self.leave(error, False)
        self.assertEqual(self.reported, [error])
        self.assertEqual(len(asyncore.socket_map), 1)

    def test_exit_now_where_somebody_waits(self):
        with self.assertRaises(asyncore.ExitNow):
            self.leave(asyncore.ExitNow, True)
        self.assertEqual(self.reported, [])

    def test_interrupt(self):
        for error in (KeyboardInterrupt, SystemExit):
            with self.assertRaises(error):
                self.leave(error, False)
            asyncore.close_all()

    def test_errors_of_predicates(self):
        class Broken(Own):
            def readable(self):
                if self.queue:
                    raise ZeroDivisionError
                return True

        async def main():
            near, far = self.pair()
            channel = Broken(near)
            attachment = self.attach()
            channel.queue.append(b"x")
            attachment.touch()
            await until(lambda: self.reported)
            channel.queue.clear()
            with self.attach():
                far.send(b"x")
                await until(lambda: channel.received)

        self.run_loop(main)
        self.assertIsInstance(self.reported[0], ZeroDivisionError)

    def test_errors_at_once(self):
        class Broken(Own):
            def readable(self):
                raise ZeroDivisionError

        async def main():
            Broken(self.pair()[0])
            for _ in range(2):
                with self.assertRaises(ZeroDivisionError):
                    self.attach()

        self.run_loop(main)

    def test_handle_error(self):
        """Other exceptions stay with the channel."""
        errors = []

        class Wrong(Echo):
            def handle_read(self):
                raise ValueError

            def handle_error(self):
                errors.append(self)
                self.close()

        async def main():
            near, far = self.pair()
            Wrong(near)
            with self.attach() as attachment:
                far.send(b"x")
                await attachment.wait()

        self.run_loop(main)
        self.assertEqual(len(errors), 1)

    def test_attached_once(self):
        async def main():
            with self.attach() as attachment:
                with self.assertRaises(RuntimeError):
                    self.attach()
            attachment.close()
            attachment.touch()
            await attachment.wait()
            self.attach().close()

        self.run_loop(main)

    def test_without_a_loop(self):
        with self.assertRaises(RuntimeError):
            asyncore.asyncio_attach()

    def test_loop_that_is_closed(self):
        EchoServer()
        loop = self.new_event_loop()
        attachment = asyncore.asyncio_attach(loop, use_poll=self.use_poll)
        loop.close()
        attachment.close()

    def test_loop_inside(self):
        """A channel's handler, or a coroutine, may run the old loop."""

        async def main():
            near, far = self.pair()
            channel = Own(near)
            with self.attach():
                far.send(b"x")
                self.step()
                self.assertEqual(channel.received, [b"x"])
                far.send(b"y")
                await until(lambda: len(channel.received) == 2)

        self.run_loop(main)

    def test_files(self):
        """Regular files are always ready."""

        class Reader(asyncore.file_dispatcher):
            data = b""

            def writable(self):
                return False

            def handle_read(self):
                self.data += self.recv(4)

            def handle_close(self):
                self.close()

        async def main():
            with tempfile.TemporaryFile() as file:
                file.write(b"0123456789")
                file.seek(0)
                reader = Reader(file)
                with self.attach() as attachment:
                    await attachment.wait()
            return reader.data

        self.assertEqual(self.run_loop(main), b"0123456789")

    def test_other_mappings(self):
        async def main():
            map = collections.OrderedDict()
            server = EchoServer(map)
            with self.attach(map=map) as attachment:
                for _ in range(3):
                    self.assertEqual(await ask(server.address), LINE)
                await until(lambda: len(map) == 1)
                server.close()
                attachment.touch()
                await attachment.wait()

        self.run_loop(main)

    def test_replaced_functions(self):
        """Those of the module are called, whoever's they are."""
        seen = []
        read = asyncore.read

        def spy(obj):
            seen.append(type(obj))
            read(obj)

        async def main():
            server = EchoServer()
            with asyncore.asyncio_attach():
                await ask(server.address)
                self.replace(asyncore, "read", spy)
                await ask(server.address)

        self.run_loop(main)
        self.assertIn(EchoServer, seen)

    def test_objects_of_others(self):
        """A channel need not be a dispatcher."""
        near, far = self.pair()
        got = []

        class Foreign:
            accepting = False

            def readable(self):
                return True

            def writable(self):
                return False

            def handle_read_event(self):
                got.append(near.recv(9))

        async def main():
            with self.attach(map={near.fileno(): Foreign()}):
                far.send(b"x")
                await until(lambda: got)

        self.run_loop(main)

    def test_other_threads(self):
        """What another thread pushes wakes the loop."""

        async def main():
            near, far = self.pair()
            far.settimeout(kit.PATIENCE)
            chat = asynchat.async_chat(near)
            done = asyncio.get_running_loop().create_future()

            def work():
                chat.push(b"x" * (1 << 20))
                left = 1 << 20
                while left:
                    left -= len(far.recv(65536))
                done.get_loop().call_soon_threadsafe(done.set_result, None)

            with self.attach():
                await asyncio.sleep(0)
                thread = threading.Thread(target=work)
                thread.start()
                await done
                thread.join()

        self.run_loop(main)

    def test_calls(self):
        """call_later and call_soon_threadsafe, before and after."""

        async def main(map, got):
            asyncore.dispatcher(self.pair()[0], map)
            asyncore.call_later(0.01, got.add, "before", map=map)
            with self.attach(map=map):
                asyncore.call_later(0.01, got.add, "later", map=map)
                asyncore.call_later(0, got.add, "never", map=map).cancel()
                thread = threading.Thread(
                    target=asyncore.call_soon_threadsafe,
                    args=(got.add, "soon"),
                    kwargs={"map": map},
                )
                thread.start()
                await until(lambda: len(got) == 3)
                thread.join()
            asyncore.close_all(map)

        for map in ({}, collections.OrderedDict()):
            got = set()
            self.run_loop(lambda: main(map, got))
            self.assertEqual(got, {"soon", "later", "before"})

    def test_call_that_raises(self):
        async def main():
            near, _ = self.pair()
            asyncore.dispatcher(near)
            asyncore.call_later(0, self.fail, "as expected")
            await self.attach().wait()

        with self.assertRaisesRegex(AssertionError, "as expected"):
            self.run_loop(main)

    def test_many_maps(self):
        """An attached map is not forgotten among others."""

        async def main():
            server = EchoServer()
            with self.attach():
                for _ in range(100):
                    map = {}
                    asyncore.dispatcher(self.pair()[0], map)
                    self.step(map=map)
                self.assertEqual(await ask(server.address), LINE)

        self.run_loop(main)

    def test_many_attached_maps(self):
        """More than are kept of those that are not."""

        async def main():
            got = []
            for number in range(40):
                near, far = self.pair()
                far.send(b"x")
                map = {}
                channel = kit.Reader(near, map)
                channel.handle_read = lambda number=number: got.append(number)
                channel.readable = lambda number=number: number not in got
                self.enter(self.attach(map=map))
            await until(lambda: len(got) == 40)
            self.assertEqual(sorted(got), list(range(40)))

        self.run_loop(main)

    def test_many_channels(self):
        async def main():
            server = EchoServer()
            with self.attach():
                answers = await asyncio.gather(
                    *(ask(server.address, b"%4d" % i) for i in range(150))
                )
                await until(lambda: len(asyncore.socket_map) == 1)
            self.assertEqual(answers, [b"%4d" % i for i in range(150)])

        self.run_loop(main)

    def test_nothing_is_kept(self):
        async def main():
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(50):
                map = {}
                asyncore.dispatcher(socket.socket(), map)
                self.attach(map=map).close()
                asyncore.close_all(map)
            return len(os.listdir("/proc/self/fd")) - before

        self.assertLess(self.run_loop(main), 45)  # maps share registries


class AsyncioPollTest(AsyncioTest):
    use_poll = True


if uvloop is not None:

    class UvloopTest(AsyncioTest):
        new_event_loop = staticmethod(uvloop.new_event_loop)


def load_tests(loader, tests, pattern):
    return tests if kit.OURS else unittest.TestSuite()


if __name__ == "__main__":
    kit.main()
