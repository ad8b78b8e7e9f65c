#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""CPython's own tests of and with the modules, unmodified, on the drop-in.

    run_cpython.py [--stock] [--tests DIR] DIRECTORY

DIRECTORY is where the drop-in is.  Runs under the interpreter it is started
with, each file of tests in a process of its own: once on the modules that
Python came with, then on ours.  Every test must pass, none may be skipped that
is not skipped there, and all modules that were imported must be ours; their
files are printed.  --stock: the first of both runs only.

Up to 3.11 these are in the standard library.  From 3.12 on, the test package
has copies of its own (test.support.asyncore and others), in whose place ours
are put before anything imports them, and no tests of the modules themselves:
--tests names the test package of a 3.11 to take those from.
"""

import argparse
import concurrent.futures
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import unittest
import warnings

# What is run: of the last two, only what uses the modules.
TESTS = {
    "test_asyncore": None,
    "test_asynchat": None,
    "test_smtpd": None,
    "test_ftplib": None,
    "test_poplib": None,
    "test_smtplib": None,
    "test_ssl": "asyncore",
    "test_logging": "SMTP",
}
OF_THE_MODULES = ("test_asyncore", "test_asynchat", "test_smtpd")
NAMES = ("asyncore", "asynchat", "smtpd")
HAS_MODULES = sys.version_info < (3, 12)
TIMEOUT = 300


# ---- in the child: one file of tests ---------------------------------------

def find_copy(name):
    """The test package's copy of a module, wherever this version has it."""
    for package in ("test.support.", "test."):
        if importlib.util.find_spec(package + name) is not None:
            return package + name
    raise SystemExit(f"{name}: no copy of it is in the test package")


def install(directory):
    """Put the modules under test where the tests look for them."""
    if HAS_MODULES:
        if directory:
            sys.path.insert(0, directory)
        return [importlib.import_module(name) for name in NAMES]
    import test.support

    if directory:
        sys.path.insert(0, directory)
        for name in ("asyncore", "asynchat"):
            module = importlib.import_module(name)
            sys.modules["test.support." + name] = module
            setattr(test.support, name, module)
    modules = []
    for name in NAMES:
        module = importlib.import_module(find_copy(name))
        modules.append(sys.modules.setdefault(name, module))
    return modules


def check(modules, tests, directory):
    """Everything that is called so is from where it should be."""
    core, chat, smtpd = modules
    assert chat.asyncore is core and smtpd.asyncore is core
    assert smtpd.asynchat is chat
    for name in NAMES:
        used = getattr(tests, name, None)
        assert used is None or used is sys.modules[name], (tests, name)
    files = {}
    for name, module in list(sys.modules.items()):
        last = name.rpartition(".")[2]
        if last in NAMES or last == "_asyncore":
            files[name] = os.path.realpath(module.__file__)
            if directory and last != "smtpd":
                home = os.path.dirname(files[name])
                assert home == os.path.realpath(directory), files[name]
    assert not directory or "_asyncore" in files
    return files


def load(name, folder):
    """The module of tests, from the test package or from that folder."""
    path = folder and os.path.join(folder, name + ".py")
    if not path:
        return importlib.import_module("test." + name)
    spec = importlib.util.spec_from_file_location("test." + name, path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pick(suite, word):
    """The tests whose name has the word in it."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from pick(test, word)
        elif word is None or word in test.id():
            yield test


def child(name, folder, directory):
    """Run one file, and print what came of it as JSON."""
    warnings.simplefilter("ignore")
    modules = install(directory)
    tests = load(name, folder)
    suite = unittest.defaultTestLoader.loadTestsFromModule(tests)
    suite = unittest.TestSuite(pick(suite, TESTS[name]))
    ids = sorted(test.id() for test in suite)
    out = os.dup(1)
    os.dup2(2, 1)
    result = unittest.TextTestRunner(sys.stderr, verbosity=1).run(suite)
    answer = {
        "files": check(modules, tests, directory),
        "tests": ids,
        "skipped": sorted(test.id() for test, _ in result.skipped),
        "failed": sorted(
            test.id() for test, _ in result.failures + result.errors
        ),
    }
    with os.fdopen(out, "w") as file:
        json.dump(answer, file)


# ---- in the parent ---------------------------------------------------------

def run(name, folder, directory):
    """What the child says, and the text it wrote."""
    command = [sys.executable, "-W", "ignore", __file__, "--child", name]
    if folder:
        command += ["--tests", folder]
    environment = dict(os.environ)
    environment.pop("PYTHONPATH", None)
    try:
        result = subprocess.run(
            command + [directory],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=environment,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired as late:
        return None, f"{name} hangs\n{late.stderr}"
    try:
        return json.loads(result.stdout), result.stderr
    except ValueError:
        return None, result.stderr


def judge(stock, ours):
    """What is wrong with our run, in words."""
    if ours is None:
        return ["it did not come to its end"]
    wrong = [f"failed: {test}" for test in ours["failed"]]
    if not ours["tests"]:
        wrong.append("there is no test in it")
    if stock is None:
        return wrong + ["the original did not come to its end"]
    known = set(stock["skipped"])
    wrong += [f"skipped: {t}" for t in ours["skipped"] if t not in known]
    if ours["tests"] != stock["tests"]:
        wrong.append("other tests than with the original")
    return wrong


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("--tests", default="")
    parser.add_argument("--child", choices=TESTS)
    parser.add_argument("directory", nargs="?", default="")
    return parser.parse_args()


def report(name, wrong, answer, text):
    """Two lines or more about one file of tests."""
    if wrong:
        print(f"{name}: FAILED")
        for line in wrong:
            print(f"  {line}")
        print("  " + text[-6000:].replace("\n", "\n  "))
        return
    count, skipped = len(answer["tests"]), len(answer["skipped"])
    print(f"{name}: {count} tests, {skipped} skipped as ever")
    for module, file in sorted(answer["files"].items()):
        print(f"  {module}: {file}")


def main():
    arguments = parse()
    if arguments.child:
        child(arguments.child, arguments.tests, arguments.directory)
        return 0
    if importlib.util.find_spec("test.mock_socket") is None:
        print("this Python has no test package\n0 passed, 0 failed")
        return 0
    failed = passed = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name in TESTS:
            folder = ""
            if name in OF_THE_MODULES and not HAS_MODULES:
                folder = arguments.tests
                if not folder:
                    print(f"{name}: not there (see --tests)")
                    continue
            directories = [""]
            if not arguments.stock:
                directories.append(arguments.directory)
            answers = list(
                pool.map(lambda where: run(name, folder, where), directories)
            )
            answer, text = answers[-1]
            wrong = judge(answers[0][0], answer)
            report(name, wrong, answer, text)
            passed += not wrong
            failed += bool(wrong)
    print(f"{passed} passed, {failed} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
