# SPDX-License-Identifier: MIT
"""The generator: it counts what there was, and a wrong answer fails it."""

import subprocess
import unittest

import kit
from driver import servers


def load(running, options):
    """Run it; what has happened."""
    return subprocess.run(
        kit.GENERATOR.command(running, "--seconds=5 " + options),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


class Faults(unittest.TestCase):
    """A server that answers wrongly fails the run."""

    def check_fails(self, fault, message, options="--messages 1000"):
        with servers.start(kit.wrong_server(fault)) as running:
            done = load(running, options)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertEqual(done.stdout, "")
        self.assertIn(message, done.stderr)

    def test_other_byte(self):
        self.check_fails("other_byte", "other bytes than it should")

    def test_other_byte_of_a_long_message(self):
        self.check_fails(
            "other_byte", "other bytes", "--messages 500 --size 50000"
        )

    def test_bytes_out_of_step(self):
        self.check_fails("late_byte", "other bytes than it should")

    def test_messages_out_of_order(self):
        self.check_fails(
            "swapped", "other bytes", "--messages 5000 --depth 16"
        )

    def test_more_than_was_asked_for(self):
        self.check_fails("too_much", "more than was asked for")

    def test_end(self):
        self.check_fails("end", "ended a connection")

    def test_line_without_its_plus(self):
        self.check_fails(
            "lines_plus", "other bytes", "--mode lines --messages 1000"
        )

    def test_first_answer(self):
        self.check_fails("first", "wrong answer")

    def test_idle_connections_are_looked_at(self):
        self.check_fails(
            "idle_end", "idle connection was closed", "--idle 3 --seconds 1"
        )

    def test_nobody_there(self):
        with servers.start(kit.wrong_server("right")) as running:
            gone = running
        self.assertNotEqual(load(gone, "--messages 10").returncode, 0)

    def test_the_driver_stops(self):
        with servers.start(kit.wrong_server("other_byte")) as running:
            with self.assertRaises(subprocess.CalledProcessError):
                kit.GENERATOR.run(running, "--messages 1000")
        with servers.start(kit.wrong_server("other_byte")) as running:
            with self.assertRaises(RuntimeError):
                with kit.GENERATOR.paused(running, "--warmup 0") as measure:
                    measure()


class Counts(unittest.TestCase):
    """What it says of a server that is right."""

    def measure(self, options, fault="right"):
        with servers.start(kit.wrong_server(fault)) as running:
            return kit.GENERATOR.run(running, options)

    def test_messages_and_bytes(self):
        found = self.measure("--messages 500 --size 100 --connections 3")
        self.assertEqual(found["messages"], 500)
        self.assertEqual(found["bytes"], 50000)

    def test_lines_have_a_byte_more(self):
        found = self.measure("--mode lines --messages 300", "lines")
        self.assertEqual(found["bytes"], 300 * 65)

    def test_churn(self):
        found = self.measure("--mode churn --messages 50 --connections 4")
        self.assertEqual(found["messages"], 50)

    def test_histogram_has_every_message(self):
        found = self.measure("--messages 400 --histogram")
        bins = found["latency_us"]
        self.assertEqual(sum(number for _, number in bins), 400)
        self.assertEqual(bins, sorted(bins))
        self.assertLessEqual(bins[0][0], found["p50_us"])
        self.assertLessEqual(bins[-1][0], found["max_us"] * 1.04)

    def test_cpu_time_is_that_of_all_threads(self):
        # The server has a thread for each connection; the main one sleeps.
        found = self.measure("--messages 2000 --connections 2")
        self.assertGreater(found["cpu_ns"], 1000)

    def test_rounds_of_one_generator(self):
        with servers.start(kit.wrong_server("right")) as running:
            with kit.GENERATOR.paused(
                running, "--messages=50 --idle 10"
            ) as measure:
                results = [measure() for _ in range(3)]
        self.assertEqual([each["messages"] for each in results], [50] * 3)


if __name__ == "__main__":
    kit.main()
