# SPDX-License-Identifier: MIT
"""pyinotify's AsyncNotifier tells what happens to files."""

import os
import tempfile

import support
from support import asyncore, kit

pyinotify = support.need("pyinotify")


class NotifierTest(kit.TestCase):
    def check(self, map):
        folder = self.enter(tempfile.TemporaryDirectory())
        events = []

        class Handler(pyinotify.ProcessEvent):
            def process_default(self, event):
                events.append((event.maskname, event.name))

        manager = pyinotify.WatchManager()
        notifier = pyinotify.AsyncNotifier(
            manager, Handler(), channel_map=map
        )
        self.assertIsInstance(notifier, asyncore.file_dispatcher)
        manager.add_watch(
            folder, pyinotify.IN_CREATE | pyinotify.IN_DELETE
        )
        path = os.path.join(folder, "file")
        for _ in range(3):
            with open(path, "w", encoding="ascii"):
                pass
            os.remove(path)
        self.until(lambda: len(events) == 6, map)
        pair = [("IN_CREATE", "file"), ("IN_DELETE", "file")]
        self.assertEqual(events, pair * 3)
        notifier.stop()

    @kit.each_poller
    def test_default_map(self):
        self.check(None)

    @kit.each_poller
    def test_private_map(self):
        self.check({})

    @kit.each_poller
    def test_beside_sockets(self):
        near, far = self.pair()
        reader = kit.Reader(near)
        far.send(b"x")
        self.check(None)
        self.assertEqual(reader.data, b"x")


if __name__ == "__main__":
    kit.main()
