#!/usr/bin/env python3
"""Runs the C++ test program of a build folder and the Python tests beside this file.

Usage: tests/run_all.py BUILD_FOLDER. Counts test cases, not assertions; the last line is "N passed, N failed". A test
program that dies without a count is one failure.
"""
import os
import pathlib
import re
import subprocess
import sys
import unittest

TESTS = pathlib.Path(__file__).resolve().parent


def catch_counts(output):
    """(passed, failed) test cases in the last lines that Catch2 prints, or None."""
    all_passed = re.search(r"^All tests passed \(.* in (\d+) test cases?\)", output, re.MULTILINE)
    if all_passed:
        return int(all_passed[1]), 0
    line = re.search(r"^test cases:\s*(\d+)(.*)$", output, re.MULTILINE)
    if not line:
        return None
    failed = re.search(r"(\d+) failed", line[2])
    passed = re.search(r"(\d+) passed", line[2])
    return int(passed[1]) if passed else 0, int(failed[1]) if failed else 0


def run_cpp_tests(program):
    run = subprocess.run([program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    counts = catch_counts(run.stdout)
    if run.returncode != 0 or counts is None:
        print(run.stdout)
    if counts is None:
        print(f"{program} ended with {run.returncode} and no count")
        return 0, 1
    passed, failed = counts
    return passed, failed if failed or run.returncode == 0 else 1


class Counting(unittest.TextTestResult):
    """Counts test methods: one with failing subtests is one failure."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.failed = set()

    def addError(self, test, err):
        super().addError(test, err)
        self.failed.add(test.id())

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.failed.add(test.id())

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.failed.add(test.id())


def run_python_tests():
    suite = unittest.defaultTestLoader.discover(str(TESTS), pattern="*_test.py")
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=0, resultclass=Counting).run(suite)
    return max(0, result.testsRun - len(result.failed) - len(result.skipped)), len(result.failed)


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    os.environ["MESHLOOM_PROGRAM"] = str(build / "meshloom")
    os.environ["MESHLOOM_PROFILE_PROGRAM"] = str(build / "meshloom-profile")
    counts = [run_cpp_tests(str(build / "tests" / "meshloom_tests")), run_python_tests()]
    passed, failed = (sum(column) for column in zip(*counts))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
