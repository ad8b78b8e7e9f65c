# SPDX-License-Identifier: MIT
"""fail2ban's server talks to its client."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import support
from support import kit

support.need("fail2ban.server.asyncserver")
SERVER, CLIENT = "/usr/bin/fail2ban-server", "/usr/bin/fail2ban-client"
# It reads its configuration with what Python 3.12 has not any more.
RUNS = os.access(SERVER, os.X_OK) and sys.version_info < (3, 12)


@unittest.skipUnless(RUNS, "needs Debian's fail2ban and Python")
class ServerTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        self.configure(folder)
        self.options = ["-c", f"{folder}/etc", "-s", f"{folder}/socket"]
        self.options += ["-p", f"{folder}/pid"]
        self.server = subprocess.Popen(
            [sys.executable, SERVER, *self.options, "-f", "start"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(self.server.wait)
        self.addCleanup(self.server.terminate)

    def configure(self, folder):
        """One jail, over an empty log, that does nothing."""
        for name in ("", "/filter.d", "/action.d", "/jail.d"):
            os.mkdir(f"{folder}/etc{name}")
        open(f"{folder}/log", "w").close()
        files = {
            "fail2ban.conf": "[Definition]\nloglevel = INFO\n"
            f"logtarget = {folder}/out\nsyslogsocket = auto\n"
            "dbfile = None\ndbpurgeage = 1d\ndbmaxmatches = 10\n",
            "jail.conf": "[DEFAULT]\nbackend = polling\n[test]\n"
            f"enabled = true\nfilter = test\nlogpath = {folder}/log\n"
            "action = test\n",
            "filter.d/test.conf": "[Definition]\nfailregex = no <HOST>\n",
            "action.d/test.conf": "[Definition]\nactionban = true\n",
        }
        for name, text in files.items():
            with open(f"{folder}/etc/{name}", "w", encoding="ascii") as file:
                file.write(text)

    def client(self, *command):
        result = subprocess.run(
            [sys.executable, CLIENT, *self.options, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=60,
        )
        return result.stdout

    def wait(self):
        """Until it serves; that takes a moment."""
        for _ in range(100):
            if "pong" in self.client("ping"):
                return
            self.assertIsNone(self.server.poll(), "it is gone")
        self.fail("it does not answer")

    def test_client(self):
        self.wait()
        with open(f"/proc/{self.server.pid}/maps", encoding="ascii") as file:
            loaded = "/_asyncore." in file.read()
        self.assertEqual(loaded, kit.OURS)
        self.assertIn("Jail list:\ttest", self.client("status"))
        self.assertIn("Currently failed", self.client("status", "test"))
        self.assertEqual(self.client("set", "test", "maxretry", "7"), "7\n")
        self.assertEqual(self.client("get", "test", "maxretry"), "7\n")
        self.client("set", "test", "banip", "192.0.2.1")
        self.assertIn("192.0.2.1", self.client("status", "test"))
        self.assertIn("Shutdown successful", self.client("stop"))
        self.assertEqual(self.server.wait(kit.PATIENCE), 0)


if __name__ == "__main__":
    unittest.main()
