#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The library's asynchat against Python's: what is collected, what is found.

    test_asynchat.py DRIVER

Random streams of few symbols, cut at random, under random programs of
terminators.  Needs a Python that still has asynchat (up to 3.11), and looks
for one; without, the test is skipped.

In the environment: SEED, to see a failure again, and CASES.

Where the library differs, and rightly so, the original's answer is changed to
what ours must be, and nowhere else:

  parts     Bytes that were held back, for they might have begun a delimiter,
            and did not: the original joins them to what follows, ours hands
            them on as they are, without copying.  So two parts of a message
            that come in one read are taken together.
  closed    A found_terminator that closes: the original goes on to the end
            of what it has buffered, on a closed channel; ours stops.
  trimmed   (not compared) A collector that raises: the original delivers the
            same bytes again, ours does not.
  too long  (not compared) The original has no limit on a message.
"""

import os
import random
import shutil
import subprocess
import sys

try:
    import asynchat
except ImportError:
    asynchat = None


def find_oracle():
    """Become a Python that has asynchat."""
    names = ["/usr/bin/python3", "python3"]
    names += ["python3.%d" % minor for minor in range(11, 5, -1)]
    for name in names:
        path = shutil.which(name)
        if path is not None and not subprocess.run(
                [path, "-W", "ignore", "-c", "import asynchat"],
                stderr=subprocess.DEVNULL, check=False).returncode:
            os.execv(path, [path, "-W", "ignore"] + sys.argv + ["again"])
    print("no Python here has asynchat")
    sys.exit(77)


# ---- cases -----------------------------------------------------------------

class Case:
    def __init__(self, dice):
        self.dice = dice
        self.symbols = bytes(dice.sample(
            range(256) if dice.random() < 0.3 else range(97, 123),
            dice.choice((1, 2, 2, 3))))
        self.delimiters = [self.some(self.delimiter_len())
                           for _ in range(dice.randint(1, 3))]
        self.program = self.make_program()
        stream = self.make_stream()
        self.pieces = self.cut(stream)
        self.way = dice.choice("cmf")

    def some(self, count):
        return bytes(self.dice.choices(self.symbols, k=count))

    def delimiter_len(self):
        kind = self.dice.random()
        if kind < 0.6:
            return self.dice.randint(1, 4)
        return self.dice.randint(5, 12 if kind < 0.9 else 60)

    def step(self):
        kind = self.dice.random()
        if kind < 0.55:
            return "d" + self.dice.choice(self.delimiters).hex()
        if kind < 0.85:
            return "c%d" % self.dice.choice(
                (1, 2, self.dice.randint(1, 30), 10 ** 12))
        if kind < 0.90:
            return "n"
        if kind < 0.93:
            return "x"
        return "z" if kind < 0.96 else "k"

    def make_program(self):
        first = self.step()
        while first[0] in "xzk":
            first = self.step()
        return [first] + [
            self.dice.choice(("k", self.step()))
            for _ in range(self.dice.choice((0, 1, 3, 10)))]

    def make_stream(self):
        # A sum of random bytes, delimiters, and beginnings of delimiters.
        want = self.dice.choice((5, 20, 80, 300))
        if self.dice.random() < 0.005:
            want = 40000
        stream = bytearray()
        while len(stream) < want:
            delimiter = self.dice.choice(self.delimiters)
            kind = self.dice.random()
            if kind < 0.4:
                stream += delimiter
            elif kind < 0.7:
                stream += delimiter[:self.dice.randint(0, len(delimiter))]
            elif kind < 0.75:
                stream += b"\0"
            else:
                stream += self.some(self.dice.randint(1, 8))
        return bytes(stream)

    def cut(self, stream):
        if len(stream) > 1000:
            most = 65536
        else:
            most = self.dice.choice((1, 2, 3, 10, 50, 1000))
        pieces = []
        while stream:
            count = self.dice.randint(1, most)
            pieces.append(stream[:count])
            stream = stream[count:]
        return pieces

    def line(self):
        return " ".join((self.way, ",".join(self.program),
                         ",".join(piece.hex() for piece in self.pieces)))


# ---- the original ----------------------------------------------------------

def oracle_class():
    class Oracle(asynchat.async_chat):
        def __init__(self, case):
            super().__init__(None, {})
            self.steps = iter(case.program)
            self.events = []
            self.ended = False
            self.data = b""
            self.next_step()

        def next_step(self):
            step = next(self.steps, "k")
            if step[0] == "d":
                self.set_terminator(bytes.fromhex(step[1:]))
            elif step[0] == "c":
                self.set_terminator(int(step[1:]))
            elif step[0] == "n":
                self.set_terminator(None)
            elif step[0] == "z":
                self.discard_buffers()
            elif step[0] == "x":
                self.ended = True  # "closed": it would go on

        def recv(self, _size):
            return self.data

        def collect_incoming_data(self, data):
            if not self.ended:
                self.events.append(("c", bytes(data)))

        def found_terminator(self):
            if not self.ended:
                self.events.append(("f", b""))
                self.next_step()

        def hear(self, data):
            if not self.ended:
                self.data = data
                self.handle_read()
                self.events.append(("|", b""))

    return Oracle


def one_part_a_read(events):
    """The difference called "parts"."""
    merged = []
    for kind, data in events:
        if kind == "c" and merged and merged[-1][0] == "c":
            merged[-1] = ("c", merged[-1][1] + data)
        else:
            merged.append((kind, data))
    return merged


def messages(events, ended):
    """What the ready-made collector makes of that."""
    found, message = [], b""
    for kind, data in events:
        if kind == "c":
            message += data
        elif kind == "f":
            found.append(("m", message))
            message = b""
        else:
            found.append((kind, data))
    return found if ended else found + [("r", message)]


def expected(oracle, case):
    for piece in case.pieces:
        oracle.hear(piece)
    if case.way == "m":
        return messages(oracle.events, oracle.ended)
    return oracle.events


# ---- ours ------------------------------------------------------------------

def parse(line):
    return one_part_a_read(
        (token[0], bytes.fromhex(token[1:])) for token in line.split())


def show(events):
    return " ".join(kind + (repr(data)[1:] if kind in "cmr" else "")
                    for kind, data in events)


def main():
    if asynchat is None:
        if sys.argv[-1] == "again":
            sys.exit("test_asynchat: no asynchat, again")
        find_oracle()
    driver = sys.argv[1]
    seed = int(os.environ.get("SEED") or random.SystemRandom().getrandbits(32))
    count = int(os.environ.get("CASES") or 20000)
    print("SEED=%d, CASES=%d, Python %s" % (
        seed, count, sys.version.split()[0]), flush=True)

    dice = random.Random(seed)
    cases = [Case(dice) for _ in range(count)]
    run = subprocess.run(
        [driver], input="".join(case.line() + "\n" for case in cases),
        stdout=subprocess.PIPE, text=True, check=False)
    lines = run.stdout.split("\n")[:-1]

    oracle = oracle_class()
    kinds = dict.fromkeys("cfm|r", 0)
    for case, line in zip(cases, lines):
        chat = oracle(case)
        want, got = expected(chat, case), parse(line)
        if want != got:
            print("program %s\npieces  %s\noriginal %s\nours     %s\ncase %s"
                  % (",".join(case.program), case.pieces, show(want),
                     show(got), case.line()))
            sys.exit("test_asynchat: they differ; SEED=%d" % seed)
        for kind, _ in got:
            kinds[kind] += 1
    if run.returncode or len(lines) != len(cases):
        sys.exit("test_asynchat: the driver ended with %d at case %d" % (
            run.returncode, len(lines)))
    print("%d cases alike: %d reads, %d parts, %d terminators" % (
        len(cases), kinds["|"], kinds["c"], kinds["f"] + kinds["m"]))


main()
